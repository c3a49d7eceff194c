"""`slaf head`: the first rows of a table."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from slaf.options import ConvertOptions
from slaf_cli import options
from slaf_cli.table import print_frame

__all__ = ["head"]


@options.command(ConvertOptions, *options.READING)
def head(
    target: options.Target,
    chosen: options.Chosen,
    *,
    n: Annotated[int, typer.Option("-n", min=0, metavar="N", help="How many rows.")] = 5,
    table: Annotated[
        Literal["obs", "var", "expression"],
        typer.Option(help="The cells, the genes, or the nonzeros."),
    ] = "obs",
    json: options.Json = False,
) -> None:
    """Print the first rows of obs, var or expression.

    An input is read as a conversion would make it; nothing is written.
    """
    import slaf

    print_frame(slaf.head(target, n, table=table, **chosen), json=json)
