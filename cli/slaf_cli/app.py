"""The command `slaf` and its subcommands."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from slaf_cli.annotate import annotate
from slaf_cli.append import append
from slaf_cli.compact import compact
from slaf_cli.convert import convert
from slaf_cli.diff import diff
from slaf_cli.export import export
from slaf_cli.history import history
from slaf_cli.info import info
from slaf_cli.process import end, set_up
from slaf_cli.query import query
from slaf_cli.repair import repair
from slaf_cli.report import ExitCode, error_to_json, print_json
from slaf_cli.status import status
from slaf_cli.transform import transform
from slaf_cli.verify import verify

__all__ = ["app", "main", "program"]

# Missing arguments and unknown options are its other children.
_UsageError: type[typer.BadParameter] = typer.BadParameter.__base__  # type: ignore[assignment]

_JSON = "--json"


class _Commands(TyperGroup):
    """The commands; a wrong call with `--json` is told in JSON too."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Note whether JSON is requested before the words are handed on."""
        ctx.meta[_JSON] = _JSON in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run a command."""
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            if ctx.meta[_JSON]:
                message, remedy = error.format_message(), "slaf COMMAND --help lists the options"
                print_json(error_to_json("UsageError", message, remedy, ExitCode.USAGE))
            raise


app = typer.Typer(
    name="slaf",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
)


def _print_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        typer.echo(f"slaf {version('slaf')}")
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
    another unfinished conversion), 5 verification failed, or a difference, 6 storage, 7 all
    inputs are in the dataset already, 130 or 143 stopped by a signal, 141 the reader of the output
    has gone, 1 a bug. With --json an error is printed as JSON too.
    """


_COMMANDS = (
    *(convert, append, annotate, compact, info, status, history, verify, repair, query, export),
    *(diff, transform),
)
for _command in _COMMANDS:
    app.command()(_command)


def main() -> None:
    """Run the command line; raises `SystemExit` with the exit code."""
    set_up()
    app()


def program() -> None:
    """Run the command line and end the process; the entry point that is installed as `slaf`."""
    try:
        main()
    except SystemExit as stop:
        if not isinstance(stop.code, int):
            raise
        end(stop.code)
