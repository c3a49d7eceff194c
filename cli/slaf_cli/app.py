"""The command `slaf` and its subcommands."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from slaf_cli.completion import complete_at_once, take_shell
from slaf_cli.help import Command, Commands
from slaf_cli.process import end, set_up

__all__ = ["main", "make_app", "program"]

# The commands by purpose, as `slaf --help` lists them.
_PURPOSES: dict[str, tuple[str, ...]] = {
    "Write a dataset": ("convert", "append", "transform", "annotate", "remove", "compact"),
    "Write it by many machines": ("plan", "part", "publish"),
    "Look at it": ("info", "report", "head", "schema", "query", "region", "formats"),
    "Compute": ("qc", "aggregate"),
    "Hand it on": ("export", "copy"),
    "Trust it": ("verify", "diff", "status", "history", "repair"),
}
_COMMANDS = {name: purpose for purpose, names in _PURPOSES.items() for name in names}

# The modules of commands whose names others have.
_MODULES = {"report": "dataset_report"}


def make_app(words: Sequence[object] = ()) -> typer.Typer:
    """The command line for these words: with the command that they call, or else with all.

    The others take longer to import than many commands to run.
    """
    app = typer.Typer(
        name="slaf",
        cls=Commands,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
    )
    app.callback()(_slaf)
    for name in [str(word) for word in words[:1] if word in _COMMANDS] or _COMMANDS:
        module = import_module(f"slaf_cli.{_MODULES.get(name, name)}")
        register = app.command(cls=Command, rich_help_panel=_COMMANDS[name])
        register(getattr(module, name))
    return app


def _print_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        from slaf.kernels import are_compiled

        kernels = "with" if are_compiled() else "without"
        typer.echo(f"slaf {version('slaf')}, {kernels} compiled kernels")
        raise typer.Exit


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


def main() -> None:
    """Run the command line; raises `SystemExit` with the exit code."""
    words = sys.argv[1:]
    set_up("".join(words[:1]))
    take_shell(words)
    app = make_app(words)
    try:
        app()
    finally:
        complete_at_once(words)


def program() -> None:
    """Run the command line and end the process; the entry point that is installed as `slaf`."""
    try:
        main()
    except SystemExit as stop:
        if not isinstance(stop.code, int):
            raise
        end(stop.code)
