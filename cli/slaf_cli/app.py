"""The command `slaf` and its subcommands."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from slaf_cli.aggregate import aggregate
from slaf_cli.annotate import annotate
from slaf_cli.append import append
from slaf_cli.compact import compact
from slaf_cli.completion import complete_at_once, take_shell
from slaf_cli.convert import convert
from slaf_cli.copy import copy
from slaf_cli.dataset_report import report
from slaf_cli.diff import diff
from slaf_cli.export import export
from slaf_cli.formats import formats
from slaf_cli.head import head
from slaf_cli.help import Command, Commands
from slaf_cli.history import history
from slaf_cli.info import info
from slaf_cli.part import part
from slaf_cli.plan import plan
from slaf_cli.process import end, set_up
from slaf_cli.publish import publish
from slaf_cli.qc import qc
from slaf_cli.query import query
from slaf_cli.region import region
from slaf_cli.remove import remove
from slaf_cli.repair import repair
from slaf_cli.schema import schema
from slaf_cli.status import status
from slaf_cli.transform import transform
from slaf_cli.verify import verify

__all__ = ["app", "main", "program"]

# The commands by purpose, as `slaf --help` lists them.
_PURPOSES: dict[str, tuple[Callable[..., None], ...]] = {
    "Write a dataset": (convert, append, transform, annotate, remove, compact),
    "Write it by many machines": (plan, part, publish),
    "Look at it": (info, report, head, schema, query, region, formats),
    "Compute": (qc, aggregate),
    "Hand it on": (export, copy),
    "Trust it": (verify, diff, status, history, repair),
}

app = typer.Typer(
    name="slaf",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
)


def _print_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        from slaf.kernels import are_compiled

        kernels = "with" if are_compiled() else "without"
        typer.echo(f"slaf {version('slaf')}, {kernels} compiled kernels")
        raise typer.Exit


@app.callback()
def _slaf(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Turn single-cell matrices, exactly, into Lance tables to query and train on.

    Exit codes: 0 done, 2 usage, 3 bad input, 4 conflict (the output exists, is locked, or holds
    another unfinished conversion; parts are missing), 5 verification failed, or a difference, 6
    storage, 7 all inputs are in the dataset already, 130 or 143 stopped by a signal, 141 the reader
    of the output has gone, 1 a bug. With --json an error is printed as JSON too.
    """


for _purpose, _commands in _PURPOSES.items():
    for _command in _commands:
        app.command(cls=Command, rich_help_panel=_purpose)(_command)


def main() -> None:
    """Run the command line; raises `SystemExit` with the exit code."""
    set_up()
    take_shell(sys.argv[1:])
    try:
        app()
    finally:
        complete_at_once(sys.argv[1:])


def program() -> None:
    """Run the command line and end the process; the entry point that is installed as `slaf`."""
    try:
        main()
    except SystemExit as stop:
        if not isinstance(stop.code, int):
            raise
        end(stop.code)
