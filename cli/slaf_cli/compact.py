"""`slaf compact`: merge the small fragments of many appends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from slaf_cli import options
from slaf_cli.progress import Bar
from slaf_cli.report import edge, print_json

if TYPE_CHECKING:
    from slaf import Compacted

__all__ = ["compact"]


def compact(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="A dataset.", show_default=False)
    ],
    *,
    workers: options.Workers = None,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart",
            help="Discard an unfinished run at DATASET, be it an append: its time is lost.",
        ),
    ] = False,
    storage_option: options.StorageOption = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Merge the small fragments of a dataset.

    Many appends leave them. The rows stay what they are, in their order, each block held against
    its digest; fragments that are large enough stay too. Until all is on disk, readers see DATASET
    as it was, and it takes bytes for both. What was stopped is finished by the same command.
    """
    with edge(quiet=quiet, verbose=verbose):
        import slaf

        with Bar(shown=not quiet) as bar:
            compacted = slaf.compact(
                dataset,
                workers=options.chosen_workers(workers),
                restart=restart,
                storage_options=options.key_values(storage_option),
                progress=bar,
            )
        _print(compacted, json=json)


def _print(compacted: Compacted, *, json: bool) -> None:
    if json:
        print_json(compacted.to_json())
        return
    if not compacted.cells:
        counts = ", ".join(f"{name} {n:,}" for name, n in compacted.before.items())
        typer.echo(f"{compacted.dataset}: nothing to merge (fragments: {counts})")
        return
    counts = ", ".join(
        f"{name} {n:,} → {compacted.after[name]:,}" for name, n in compacted.before.items()
    )
    written = f"{compacted.cells:,} cells written again"
    typer.echo(f"{compacted.dataset}: {written} (fragments: {counts})")
