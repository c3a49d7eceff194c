"""Help of commands, grouped by purpose; of a wrong call, the argument that is missing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from slaf_cli.report import ExitCode, error_to_json, print_json

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Command", "Commands"]

# Missing arguments and unknown options are its other children.
_UsageError: type[typer.BadParameter] = typer.BadParameter.__base__  # type: ignore[assignment]

_JSON = "--json"
_ORDER = ("Arguments", "Options")


# Messages of pydantic, which typer hands on, and what they mean.
_PLAIN = (
    (r"^Value error, ", ""),
    (r"^Input should be a valid integer.*", "it is no whole number"),
    (r"^Input should be greater than or equal to (.*)", r"it is \1 or more"),
)
# Words that are no commands, and what does what they mean.
_MEANT = {"open": "`slaf info` and `slaf head` show what is in it; in Python slaf.open opens it"}


class _Plain:
    """A command or group whose parameters take defaults and text as they are."""

    def get_params(self, ctx: Any) -> Any:
        """The parameters, `--help` and options of completion too."""
        return [_take_as_is(one) for one in super().get_params(ctx)]  # type: ignore[misc]


class Command(_Plain, TyperCommand):
    """A command whose options are listed by purpose."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Parse the words; of one word for two arguments the last argument is missing."""
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except _UsageError as error:
            error.message = _in_plain_words(error.message)
            missing: Any = getattr(error, "param", None)
            last: Any = self._last_argument(ctx)
            if missing is not None and missing.nargs == -1 and last is not None:
                given, *_ = self.make_parser(ctx).parse_args(words)
                if given.get(last.name) is not None:
                    error.param = last
            raise

    def _last_argument(self, ctx: typer.Context) -> Any:
        arguments = [one for one in self.get_params(ctx) if one.param_type_name == "argument"]
        return arguments[-1] if arguments else None

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, those of one purpose together."""
        sections: dict[str, list[tuple[str, str]]] = {title: [] for title in _ORDER}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                usual = "Arguments" if param.param_type_name == "argument" else "Options"
                title = getattr(param, "rich_help_panel", None) or usual
                sections.setdefault(title, []).append(record)
        _write(formatter, sections.items())


class Commands(_Plain, TyperGroup):
    """The commands, listed by purpose; a wrong call with `--json` is reported in JSON too."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Note whether JSON is requested before the words are handed on."""
        ctx.meta[_JSON] = _JSON in args
        try:
            return super().parse_args(ctx, args)
        except _UsageError as error:
            error.message = _in_plain_words(error.message)
            raise

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command of a word; of another word, what does what it means."""
        try:
            return super().resolve_command(ctx, args)
        except _UsageError as error:
            if meant := _MEANT.get(args[0]):
                error.message = f"No such command {args[0]!r}. {meant}"
            raise

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run a command."""
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            if ctx.meta[_JSON]:
                message, remedy = error.format_message(), "slaf COMMAND --help lists the options"
                print_json(error_to_json("UsageError", message, remedy, ExitCode.USAGE))
            raise

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands with the first sentence of each."""
        sections: dict[str, list[tuple[str, str]]] = {}
        width = formatter.width - 6 - max(map(len, self.commands), default=0)
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None:
                title = str(getattr(command, "rich_help_panel", None) or "Commands")
                row = (name, command.get_short_help_str(width))
                sections.setdefault(title, []).append(row)
        _write(formatter, sections.items())


def _take_as_is(parameter: Any) -> Any:
    """The parameter, which takes defaults and text as they are.

    Newer releases of typer import pydantic to check each value: a seventh of the time of a start.
    A parameter of an older release, which has no descriptor of its type, stays as it is.
    """
    descriptor = getattr(parameter, "type_descriptor", None)
    if descriptor is None or "process_value" in vars(parameter):
        return parameter
    check, callback, kind = parameter.process_value, parameter.callback, descriptor.annotation

    def process_value(ctx: Any, value: Any) -> Any:
        is_text = kind is str and isinstance(value, str)
        are_words = kind == list[str] and value and all(isinstance(word, str) for word in value)
        is_default = not parameter.required and (value is None or value is parameter.default)
        if not (is_text or are_words or is_default):
            return check(ctx, value)
        plain = list(value) if are_words else value
        return plain if callback is None else callback(ctx, parameter, plain)

    parameter.process_value = process_value
    return parameter


def _in_plain_words(message: str) -> str:
    for pattern, plain in _PLAIN:
        message = re.sub(pattern, plain, message)
    return message


def _write(formatter: Any, sections: Iterable[tuple[str, list[tuple[str, str]]]]) -> None:
    for title, rows in sections:
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)
