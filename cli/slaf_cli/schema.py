"""`slaf schema`: the columns of the tables."""

from __future__ import annotations

from slaf.options import ConvertOptions
from slaf_cli import options
from slaf_cli.table import print_frame

__all__ = ["schema"]


@options.command(ConvertOptions, *options.READING)
def schema(
    target: options.Target,
    chosen: options.Chosen,
    *,
    json: options.Json = False,
) -> None:
    """Print the tables that SQL reads, their columns and types.

    An input is described as a conversion would make it; nothing is written.
    """
    import slaf

    print_frame(slaf.schema(target, **chosen), json=json)
