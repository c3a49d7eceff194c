"""The arguments and options that commands share; those of the library come from `slaf.options`."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from slaf.options import ConvertOptions, Option, Options, docs_of, options_of

__all__ = [
    "INPUT",
    "Chosen",
    "Dataset",
    "Inputs",
    "Json",
    "Quiet",
    "Verbose",
    "flag_of",
    "parse_bytes",
    "takes",
    "words_of",
]

INPUT = "an .h5ad file, a 10x .h5 file or folder of matrix.mtx, or a TileDB-SOMA experiment"

# HDF5 and TileDB are read by one thread at a time: more workers would wait for it.
_MOST_WORKERS = 8
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}

# The type of options that are given as KEY=VALUE.
_PAIRS = Mapping[str, str]

# Additions of the command line to the documentation of an option.
_REPEATED = "May be given several times."
_MORE_HELP = {
    "memory": "Written as 512M or 2G.",
    "workers": "By default as many as there are cores for this process, at most 8.",
    "storage_options": _REPEATED,
    "input_storage_options": _REPEATED,
    "without": _REPEATED,
}

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...",
        help=f"The inputs: {INPUT}; a folder stands for all that is in it.",
        show_default=False,
    ),
]
Dataset = Annotated[str, typer.Argument(metavar="DATASET", help="A dataset.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", help="No progress bar and no notes; warnings and errors still appear."
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", help="Also log every change on disk, and show tracebacks of errors."
    ),
]

# The options of the library that were given to a command, as keywords.
Chosen: TypeAlias = dict[str, Any]


def flag_of(option: Option) -> str:
    """The name of an option on the command line."""
    return option.flag or f"--{option.name.replace('_', '-')}"


# As documentation names options.
_FLAGS = {name: flag_of(option) for name, option in options_of(ConvertOptions).items()}


def takes(
    record: type[Options], *names: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command options of the library, which it gets as its argument `chosen`.

    Parameters
    ----------
    record
        The record that has the options.
    names
        Those to take; none for all.
    """
    known, docs = options_of(record), docs_of(record)
    taken = [known[name] for name in names or known if name != "progress"]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        def command(**given: Any) -> None:
            values = {option.name: _value(option, given.pop(option.name)) for option in taken}
            chosen = {name: value for name, value in values.items() if value is not None}
            function(**given, chosen=chosen)

        own = [
            parameter
            for parameter in inspect.signature(function, eval_str=True).parameters.values()
            if parameter.name != "chosen"
        ]
        own += [_parameter(option, docs.get(option.name, "")) for option in taken]
        # Stable: arguments, then what the command alone has, then the library's, then the output.
        own.sort(key=lambda each: (each.kind, each.name in {"json", "quiet", "verbose"}))
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in own}
        return command

    return decorate


def _parameter(option: Option, doc: str) -> inspect.Parameter:
    """An option of the library as typer takes it."""
    kind, default, sized = _kind(option), option.default, option.name == "memory"
    info = typer.Option(
        _declaration(option),
        metavar=_metavar(option),
        help=_help(option, doc),
        parser=parse_bytes if sized else None,
        min=None if sized else option.minimum,
    )
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None if option.name == "workers" or default in ("", ()) else default,
        annotation=Annotated[kind, info],
    )


def _kind(option: Option) -> Any:
    """The type by which typer reads an option."""
    if _PAIRS in option.kinds or option.default == ():
        return list[str] | None
    if os.PathLike[str] in option.kinds:
        return Path | None
    if int in option.kinds:
        return int | None
    return str if option.name == "layers" else option.type


def _metavar(option: Option) -> str | None:
    """The placeholder for a value; None for a flag, and where typer lists the choices."""
    if option.metavar or option.choices or bool in option.kinds:
        return option.metavar
    if option.name == "memory":
        return "SIZE"
    if _PAIRS in option.kinds:
        return "KEY=VALUE"
    if os.PathLike[str] in option.kinds:
        return "DIRECTORY"
    return "N" if int in option.kinds else "NAME"


def _declaration(option: Option) -> str:
    flag = flag_of(option)
    two = bool in option.kinds and option.default is not False
    return f"{flag}/--no-{flag.removeprefix('--')}" if two else flag


def _help(option: Option, doc: str) -> str:
    text = re.sub(r"`(\w+)`", lambda name: _FLAGS.get(name[1], name[0]), doc)
    return f"{text} {_MORE_HELP[option.name]}" if option.name in _MORE_HELP else text


def _value(option: Option, given: Any) -> Any:
    """The value on the command line as the library takes it; None if there is none."""
    if _PAIRS in option.kinds:
        return key_values(given, flag_of(option))
    if option.name == "workers" and given is None:
        return _cores()
    if option.name == "layers" and given not in {"all", "none", "strict"}:
        return [name for name in given.split(",") if name]
    if given is None:
        return None
    try:
        return option.checked(given)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=flag_of(option)) from None


def words_of(option: Option, value: Any) -> Iterator[str]:
    """The words that give an option a value on the command line; none for its default."""
    flag = flag_of(option)
    if value == option.default:
        return
    if bool in option.kinds:
        yield flag if value else f"--no-{flag.removeprefix('--')}"
    elif option.default == ():
        for each in value:
            yield from (flag, each)
    else:
        yield from (flag, value if isinstance(value, str) else _text(value))


def _text(value: Any) -> str:
    return ",".join(value) if isinstance(value, Sequence) else str(value)


def parse_bytes(text: str) -> int:
    """A number of bytes, as in 512M or 2G (powers of 1024).

    Raises
    ------
    typer.BadParameter
        If it is not one.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    number = float(match[1]) * (1 << _UNITS[match[2].upper()]) if match else 0
    if number < 1:
        msg = f"{text!r} is not a size; write it as 512M or 2G"
        raise typer.BadParameter(msg)
    return int(number)


def key_values(pairs: list[str] | None, flag: str) -> Mapping[str, str]:
    """The values that an option has as KEY=VALUE, by key.

    Raises
    ------
    typer.BadParameter
        If one is not of that form. Its text, which may be secret, is not shown.
    """
    values: dict[str, str] = {}
    for pair in pairs or ():
        key, sign, value = pair.partition("=")
        if not (key and sign):
            msg = "an option is not of the form KEY=VALUE"
            raise typer.BadParameter(msg, param_hint=flag)
        values[key] = value
    return values


def _cores() -> int:
    from slaf.runtime.resources import cpu_count

    return min(cpu_count(), _MOST_WORKERS)
