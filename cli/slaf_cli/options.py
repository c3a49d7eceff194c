"""Arguments and options that commands share, and those made from `slaf.options`."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from slaf.options import INPUT_CHOICES, ConvertOptions, Option, Options, docs_of, options_of
from slaf.options import parse_bytes as size_in_bytes
from slaf.storage.paths import check_local_dataset, check_local_paths
from slaf_cli.report import edge

__all__ = [
    "INPUT",
    "READING",
    "Chosen",
    "Dataset",
    "Inputs",
    "Json",
    "Layer",
    "Quiet",
    "Target",
    "command",
    "flag_of",
    "parse_bytes",
    "words_of",
]

INPUT = (
    "an AnnData, MuData, loom or 10x file, a folder of matrix.mtx, a zarr store, a TileDB-SOMA "
    "experiment, an SCDL folder, a BAM or CRAM file, or a dataset"
)

# HDF5 and TileDB read in one thread at a time: more workers would wait for it.
_MOST_WORKERS = 8

# Type of the options that are written as KEY=VALUE.
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

_OUTPUT = "Output"

# The options of the library by purpose, as --help lists them.
_PURPOSES = {
    "Input": ("matrix", *INPUT_CHOICES, "format", "allow_duplicate", "new_only"),
    "Content": ("join", "layers", "raw", "without", "uns_merge"),
    "Samples": ("cell_id_prefix", "samples"),
    "Tables": (
        *("compression", "create_indices", "string_ids", "by_gene", "plain_types"),
        *("chunk_size", "compact"),
    ),
    "Run": (
        *("workers", "memory", "scratch", "restart", "overwrite", "dry_run", "append"),
        *("executor", "ray_address"),
    ),
    "Buckets": ("storage_options", "input_storage_options", "stage"),
}
_PURPOSE_OF = {name: purpose for purpose, names in _PURPOSES.items() for name in names}

# The options of a command that reads an input and converts nothing.
READING = ("matrix", *INPUT_CHOICES, "format", "memory", "scratch", "storage_options", "stage")

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...",
        help=f"The inputs: {INPUT}; a folder stands for all that is in it.",
        show_default=False,
    ),
]
Target = Annotated[
    str,
    typer.Argument(
        metavar="DATASET|INPUT", help=f"A dataset, or an input: {INPUT}.", show_default=False
    ),
]
Dataset = Annotated[str, typer.Argument(metavar="DATASET", help="A dataset.", show_default=False)]
Json = Annotated[
    bool,
    typer.Option(
        "--json", help="Print the result, or the error, as JSON.", rich_help_panel=_OUTPUT
    ),
]
Layer = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="This layer, or raw, instead of X.", show_default=False),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="No progress and no notes; warnings and errors still appear.",
        rich_help_panel=_OUTPUT,
    ),
]
_Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Also log every change on disk, and show tracebacks of errors.",
        rich_help_panel=_OUTPUT,
    ),
]
_LogFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Write log lines, with times, to the end of this file too, also with --quiet.",
        show_default=False,
        rich_help_panel=_OUTPUT,
    ),
]

# The options of every command, besides those that it declares.
_LOGGING = [
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
    for name, default, kind in (("verbose", False, _Verbose), ("log_file", None, _LogFile))
]

# The arguments that are read, and so have to be there.
_READ = {"DATASET", "INPUT...", "DATASET|INPUT", "DATASET|INPUT...", "A", "B"}

# Values of the library's options, as keywords.
Chosen: TypeAlias = dict[str, Any]


def flag_of(option: Option) -> str:
    """Name of an option on the command line."""
    return option.flag or f"--{option.name.replace('_', '-')}"


# The name that documentation of the library gives an option, and its flag.
_FLAGS = {name: flag_of(option) for name, option in options_of(ConvertOptions).items()}


def command(
    record: type[Options] | None = None,
    *names: str,
    prints_json: Callable[[Mapping[str, Any]], bool] = itemgetter("json"),
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command: add options, and turn its errors into a paragraph and an exit code.

    The options are --verbose, --log-file and those of the library, which the command gets as its
    argument `chosen`.

    Parameters
    ----------
    record
        Record with the options of the library; None adds none of them.
    names
        Options to add; all if none is named.
    prints_json
        Decides by the arguments of a call if its errors are JSON too, as its result is.
    """
    available, docs = ({}, {}) if record is None else (options_of(record), docs_of(record))
    added = [available[name] for name in names or available if name != "progress"]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        def run(*, verbose: bool, log_file: Path | None, **arguments: Any) -> None:
            quiet, json = arguments.get("quiet", False), prints_json(arguments)
            with edge(quiet=quiet, verbose=verbose, log_file=log_file, json=json):
                values = {each.name: _value(each, arguments.pop(each.name)) for each in added}
                if record is not None:
                    chosen = {name: value for name, value in values.items() if value is not None}
                    arguments["chosen"] = chosen
                for name in read:
                    _check_is_there(arguments[name], is_dataset=name == "dataset")
                function(**arguments)

        parameters = [
            parameter
            for parameter in inspect.signature(function, eval_str=True).parameters.values()
            if parameter.name != "chosen"
        ]
        read = [each.name for each in parameters if _metavar_of(each) in _READ]
        parameters += [_parameter(option, docs.get(option.name, "")) for option in added]
        parameters += _LOGGING
        # A stable sort: arguments, options of the command, of the library, and of the output.
        parameters.sort(
            key=lambda each: (each.kind, each.name in {"json", "quiet", "verbose", "log_file"})
        )
        run.__name__, run.__doc__ = function.__name__, function.__doc__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate


def _metavar_of(parameter: inspect.Parameter) -> str | None:
    """Placeholder of an argument or option that a command declares."""
    metavar: str | None = parameter.annotation.__metadata__[0].metavar
    return metavar


def _check_is_there(argument: str | list[str], *, is_dataset: bool) -> None:
    """Refuse paths of this machine where nothing is, before anything heavy is imported."""
    if is_dataset:
        check_local_dataset(str(argument))
    else:
        check_local_paths([argument] if isinstance(argument, str) else argument)


def _parameter(option: Option, doc: str) -> inspect.Parameter:
    """Make the parameter from which typer makes an option."""
    kind, default, sized = _kind(option), option.default, option.name == "memory"
    info = typer.Option(
        _declaration(option),
        metavar=_metavar(option),
        help=_help(option, doc),
        parser=parse_bytes if sized else None,
        min=None if sized else option.minimum,
        rich_help_panel=_PURPOSE_OF.get(option.name),
    )
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None if option.name == "workers" or default in ("", ()) else default,
        annotation=Annotated[kind, info],
    )


def _kind(option: Option) -> Any:
    """Type by which typer parses an option."""
    if _PAIRS in option.kinds or option.default == ():
        return list[str] | None
    if os.PathLike[str] in option.kinds:
        return Path | None
    if int in option.kinds:
        return int | None
    if str in option.kinds:
        return str | None if option.default is None else str
    return option.type


def _metavar(option: Option) -> str | None:
    """Placeholder for the value; None for a flag, and where typer lists the choices."""
    if option.metavar or option.choices or bool in option.kinds:
        return option.metavar
    if option.name == "memory":
        return "SIZE"
    if _PAIRS in option.kinds:
        return "KEY=VALUE"
    if os.PathLike[str] in option.kinds:
        return "DIRECTORY"
    return "N" if option.kinds & {int, float} else "NAME"


def _declaration(option: Option) -> str:
    flag = flag_of(option)
    can_be_negated = bool in option.kinds and option.default is not False
    return f"{flag}/--no-{flag.removeprefix('--')}" if can_be_negated else flag


def _help(option: Option, doc: str) -> str:
    text = re.sub(r"`(\w+)`", lambda name: _FLAGS.get(name[1], name[0]), doc)
    return f"{text} {_MORE_HELP[option.name]}" if option.name in _MORE_HELP else text


def _value(option: Option, argument: Any) -> Any:
    """Convert a value of the command line to the library's; None if there is none."""
    if _PAIRS in option.kinds:
        return key_values(argument, flag_of(option))
    if option.name == "workers" and argument is None:
        return _cores()
    if option.name == "layers" and argument not in {"all", "none", "strict"}:
        return [name for name in argument.split(",") if name]
    if argument is None:
        return None
    try:
        return option.checked(argument)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=flag_of(option)) from None


def words_of(option: Option, value: Any) -> Iterator[str]:
    """Words that set an option on the command line; none for its default."""
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
    """Parse a number of bytes, as in 512M or 2G (powers of 1024).

    Raises
    ------
    typer.BadParameter
        If it is not one.
    """
    with suppress(ValueError):
        if number := size_in_bytes(text):
            return number
    msg = f"{text!r} is not a size; write it as 512M or 2G"
    raise typer.BadParameter(msg)


def key_values(pairs: list[str] | None, flag: str) -> Mapping[str, str]:
    """Parse values of the form KEY=VALUE; values by key.

    Raises
    ------
    typer.BadParameter
        If a value is not of that form. Its text, which may be secret, is not shown.
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
