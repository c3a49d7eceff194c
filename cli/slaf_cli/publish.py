"""`slaf publish`: make a plan whose parts are done a dataset."""

from __future__ import annotations

from typing import Annotated

import typer

from slaf.options import ConvertOptions
from slaf_cli import options
from slaf_cli.running import watched

__all__ = ["publish"]


@options.command(
    ConvertOptions,
    "workers",
    "memory",
    "scratch",
    "storage_options",
    "input_storage_options",
    "stage",
)
def publish(
    output: Annotated[
        str,
        typer.Argument(metavar="OUTPUT", help="The output of `slaf plan`.", show_default=False),
    ],
    chosen: options.Chosen,
    *,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Make the dataset of a plan.

    Readers see it from then on. Each receipt of a part is compared with the plan and with the
    files. If parts are missing, the exit code is 4, and the message has them as --array takes them.
    """
    import slaf

    with watched(output, chosen["storage_options"], quiet=quiet, json=json) as bar:
        slaf.publish(output, **chosen, progress=bar)
