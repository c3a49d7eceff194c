"""`slaf remove`: take the cells of some inputs out of a dataset again."""

from __future__ import annotations

from typing import Annotated

import typer

from slaf.options import ConvertOptions
from slaf_cli import options
from slaf_cli.progress import Bar
from slaf_cli.report import print_json

__all__ = ["remove"]


@options.command(ConvertOptions, "workers", "restart", "storage_options")
def remove(
    dataset: options.Dataset,
    chosen: options.Chosen,
    *,
    source: Annotated[
        list[str],
        typer.Option(
            "--source",
            metavar="NAME",
            help="An input: its name in the column source_file, its path or URL, or its sample. "
            "Cells behind it are written again. May be given several times.",
        ),
    ],
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Take the cells of some inputs out of a dataset again.

    Genes keep their positions, and columns, elements and layers stay. Rows that are written again
    are checked against their digests. Until all is on disk, readers see DATASET as it was. A run
    that was stopped is finished by the same command.
    """
    import slaf

    with Bar(shown=not quiet) as bar:
        made = slaf.remove(dataset, source, **chosen, progress=bar)
    published = made.published
    removed = [one.uri for one in published.removed]
    if json:
        print_json(
            {
                "dataset": str(made.location),
                "version": published.version,
                "n_cells": made.n_cells,
                "n_genes": made.n_genes,
                "sources": [one.uri for one in published.sources],
                "removed": removed,
            }
        )
        return
    shape = f"{made.n_cells:,} cells × {made.n_genes:,} genes"
    typer.echo(f"{made.location}: version {published.version}, {shape}")
    typer.echo(f"removed so far: {', '.join(removed)}")
