"""`slaf copy`: copy a dataset between disks and buckets."""

from __future__ import annotations

from typing import Annotated

import typer

from slaf.options import ConvertOptions
from slaf_cli import options
from slaf_cli.progress import Bar
from slaf_cli.report import print_json

__all__ = ["copy"]


@options.command(ConvertOptions, "storage_options", "input_storage_options")
def copy(
    dataset: options.Dataset,
    output: Annotated[str, typer.Argument(help="The new path or URL.", show_default=False)],
    chosen: options.Chosen,
    *,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace a dataset at OUTPUT. Bytes for both meanwhile."),
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Copy a dataset between disks and buckets.

    Each file is checked against its digest. Until all are there, there is no dataset at OUTPUT, or
    the one that it replaces. A copy that was stopped is finished by the same command.
    """
    import slaf

    with Bar(shown=not quiet) as bar:
        made = slaf.copy(dataset, output, overwrite=overwrite, **chosen, progress=bar)
    if json:
        print_json({"dataset": str(made.location), "n_cells": made.n_cells})
        return
    typer.echo(f"{made.location}: {made.n_cells:,} cells × {made.n_genes:,} genes")
