"""`slaf schema`: the columns of the tables."""

from __future__ import annotations

from slaf.options import ConvertOptions
from slaf_cli import options
from slaf_cli.report import edge
from slaf_cli.table import print_frame

__all__ = ["schema"]


@options.takes(ConvertOptions, "format", "storage_options")
def schema(
    target: options.Target,
    chosen: options.Chosen,
    *,
    json: options.Json = False,
    verbose: options.Verbose = False,
    log_file: options.LogFile = None,
) -> None:
    """Print the tables that SQL reads, their columns and types.

    An input is described as a conversion would make it; nothing is written.
    """
    with edge(quiet=False, verbose=verbose, log_file=log_file, json=json):
        import slaf

        print_frame(slaf.schema(target, **chosen), json=json)
