"""Generate docs/reference/cli.md, the command-line reference, from the app.

Run ``python docs/generate_cli.py`` after changing a command; a test fails while it is outdated.
"""

from __future__ import annotations

import inspect
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from typer.models import ArgumentInfo, OptionInfo

from slaf_cli.app import make_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE = Path(__file__).parent / "reference" / "cli.md"

_INTRODUCTION = """\
# Command line

Results go to stdout, everything else to stderr. Every command has `--help`. [Errors and exit
codes](errors.md) lists the exit codes.
"""


def page() -> str:
    """The page as Markdown."""
    sections = [_INTRODUCTION]
    app = make_app()
    root = app.registered_callback
    if root is not None and root.callback is not None:
        sections.append("\n".join(_section("slaf", ["COMMAND"], root.callback)))
    for command in app.registered_commands:
        if command.callback is not None:
            name = command.name or command.callback.__name__.replace("_", "-")
            sections.append("\n".join(_section(f"slaf {name}", ["[OPTIONS]"], command.callback)))
    return "\n".join(sections)


def _section(name: str, rest: list[str], function: Callable[..., Any]) -> Iterator[str]:
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    arguments = list(filter(None, map(_argument, parameters)))
    usage = " ".join([name, *(metavar for metavar, _ in arguments), *rest])
    yield from (f"## {name}", "", "```text", usage, "```", "")
    yield from (inspect.getdoc(function) or "", "")
    for metavar, text in arguments:
        yield f"- **`{metavar}`**: {text}"
    for option, text in filter(None, map(_option, parameters)):
        yield f"- **`{option}`**: {text}"
    yield ""


def _argument(parameter: inspect.Parameter) -> tuple[str, str] | None:
    _, info = _parts(parameter)
    if not isinstance(info, ArgumentInfo):
        return None
    return str(info.metavar or parameter.name.upper()), str(info.help or "")


def _option(parameter: inspect.Parameter) -> tuple[str, str] | None:
    kind, info = _parts(parameter)
    if not isinstance(info, OptionInfo):
        return None
    # In `Annotated`, typer stores the first name in the field `default`.
    declared = (info.default, *(info.param_decls or ()))
    names = ", ".join(name for name in declared if isinstance(name, str) and name[:1] == "-")
    names = names or f"--{parameter.name.replace('_', '-')}"
    value, default = info.metavar, parameter.default
    if isinstance(kind, type) and issubclass(kind, Enum):
        value = "|".join(member.value for member in kind)
    elif get_origin(kind) is Literal:
        value = "|".join(get_args(kind))
    if bool in (kind, *get_args(kind)):
        shown = f" Default: `{names.partition('/')[0]}`." if default is True else ""
        return names, f"{info.help or ''}{shown}"
    is_shown = default not in {None, inspect.Parameter.empty}
    shown = "" if not is_shown else f" Default: `{default}`."
    return f"{names} {value or 'VALUE'}", f"{info.help or ''}{shown}"


def _parts(parameter: inspect.Parameter) -> tuple[Any, object]:
    kind, *metadata = get_args(parameter.annotation) or (parameter.annotation,)
    return kind, metadata[0] if metadata else None


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
