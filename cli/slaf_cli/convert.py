"""`slaf convert`: convert inputs into a dataset."""

from __future__ import annotations

from typing import Annotated

import typer

from slaf.options import ConvertOptions
from slaf_cli import options
from slaf_cli.running import print_preview, watched

__all__ = ["convert"]


@options.command(ConvertOptions)
def convert(
    inputs: options.Inputs,
    output: Annotated[
        str,
        typer.Argument(
            metavar="OUTPUT",
            help="A directory that does not exist yet, or its URL.",
            show_default=False,
        ),
    ],
    chosen: options.Chosen,
    *,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Convert inputs into a dataset.

    Cells of several inputs follow each other, and their genes are aligned by id. Until every part
    is on disk there is no dataset at OUTPUT. A conversion that was stopped is finished by the same
    command.
    """
    import slaf

    if chosen.pop("dry_run"):
        print_preview(slaf.convert(inputs, output, dry_run=True, **chosen), json=json)
        return
    with watched(output, chosen["storage_options"], quiet=quiet, json=json) as bar:
        slaf.convert(inputs, output, dry_run=False, **chosen, progress=bar)
