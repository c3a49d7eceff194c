"""Output of commands: results on stdout, errors on stderr, and the exit code."""

from __future__ import annotations

import json
import re
import signal
import sys
import traceback
from contextlib import contextmanager, suppress
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from slaf.errors import AlreadyInDataset, ConflictError, SlafError, StorageError, VerificationFailed
from slaf_cli.log import FILE_ONLY, logger, logging_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from types import FrameType

    from slaf import Comparison, Report
    from slaf.sources.search import LeftOut

__all__ = [
    "RESUMABLE",
    "ExitCode",
    "Terminated",
    "annotation_rows",
    "edge",
    "error_to_json",
    "exit_code",
    "in_bytes",
    "left_out_rows",
    "lines",
    "print_counts",
    "print_json",
]


_STEP = 1000
_MOST_LEFT_OUT = 20
_NO_MEMORY = re.compile(r"can't start new thread|failed to map segment|annot allocate memory")


class ExitCode(IntEnum):
    """Exit codes of commands."""

    DONE = 0
    BUG = 1
    USAGE = 2
    BAD_INPUT = 3
    CONFLICT = 4
    VERIFICATION_FAILED = 5
    STORAGE = 6
    ALREADY_IN_DATASET = 7
    INTERRUPTED = 128 + signal.SIGINT
    UNREAD = 128 + 13  # SIGPIPE, which not every system has
    TERMINATED = 128 + signal.SIGTERM


# Exit codes of commands that are finished by running them again.
RESUMABLE = {ExitCode.STORAGE, ExitCode.INTERRUPTED, ExitCode.TERMINATED}


class Terminated(KeyboardInterrupt):
    """The process received SIGTERM; it stops as cleanly as by Ctrl-C."""


# The first match counts. Other errors of SlafError concern inputs, paths and queries of the user.
_CODES: tuple[tuple[type[BaseException], ExitCode], ...] = (
    (Terminated, ExitCode.TERMINATED),
    (KeyboardInterrupt, ExitCode.INTERRUPTED),
    (VerificationFailed, ExitCode.VERIFICATION_FAILED),
    (AlreadyInDataset, ExitCode.ALREADY_IN_DATASET),
    (ConflictError, ExitCode.CONFLICT),
    (StorageError, ExitCode.STORAGE),
    (SlafError, ExitCode.BAD_INPUT),
    (typer.BadParameter, ExitCode.USAGE),
    (BrokenPipeError, ExitCode.UNREAD),
    (OSError, ExitCode.STORAGE),
    (BaseException, ExitCode.BUG),  # panics of libraries in Rust are no Exception
)


@contextmanager
def edge(
    *, quiet: bool, verbose: bool, log_file: Path | None = None, json: bool = False
) -> Iterator[None]:
    """Run a command: log to stderr and to a file, turn errors into a paragraph and an exit code.

    With `json`, stdout holds one document also when the command fails: the error.

    Raises
    ------
    typer.Exit
        With an `ExitCode`, if the command raised.
    """
    with _termination():
        try:
            with logging_of(quiet=quiet, verbose=verbose, log_file=log_file), _end_in_log():
                yield
        except (typer.Exit, typer.BadParameter, SystemExit, GeneratorExit):
            raise  # typer and Python handle these
        except BrokenPipeError as error:
            raise typer.Exit(exit_code(error)) from None
        except BaseException as error:  # noqa: BLE001 - the edge reports it
            if verbose:
                traceback.print_exception(error, file=sys.stderr)
            with suppress(OSError):  # the exit code remains
                typer.echo(f"slaf: {_on_one_line(_explanation(error))}", err=True)
            if json:
                _print_error(error)
            raise typer.Exit(exit_code(error)) from None


@contextmanager
def _end_in_log() -> Iterator[None]:
    """Log the exit code, and the error, to the file."""
    try:
        yield
    except typer.Exit as stop:  # its result is printed
        _log_end(stop.exit_code)
        raise
    except (SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # whatever ends a command stands in its log
        logger.error("slaf: %s", _on_one_line(_explanation(error)), extra=FILE_ONLY)
        _log_end(exit_code(error))
        raise
    _log_end(ExitCode.DONE)


def _log_end(code: int) -> None:
    logger.info("end: exit code %d", code, extra=FILE_ONLY)


def exit_code(error: BaseException) -> ExitCode:
    """Exit code of an error."""
    if _is_exhaustion(error):
        return ExitCode.STORAGE
    return next(code for kind, code in _CODES if isinstance(error, kind))


def error_to_json(
    what: str, message: str, remedy: str, code: ExitCode
) -> dict[str, dict[str, str | int | None]]:
    """An error as a document: exit code, what was found, name of its kind, what to do."""
    return {
        "error": {
            "code": int(code),
            "message": _on_one_line(message),
            "what": what,
            "remedy": remedy or None,
        }
    }


def print_json(data: dict[str, Any]) -> None:
    """Print a result in JSON."""
    typer.echo(json.dumps(data, indent=1, ensure_ascii=False, default=str))


def print_counts(report: Report | Comparison) -> None:
    """Print the number of differences that were not printed, by kind."""
    for kind, count in report.counts:
        shown = sum(difference.kind == kind for difference in report.differences)
        if count > shown:
            typer.echo(f"{kind}: and {count - shown:,} more")


def lines(rows: Iterable[tuple[str, object]]) -> str:
    """Format names and values in two aligned columns; a value may have several lines."""
    listed = [(name, str(value)) for name, value in rows]
    width = max((len(name) for name, _ in listed), default=0)
    indent = "\n" + " " * (width + 2)
    return "\n".join(
        f"{name:<{width}}  {indent.join(value.splitlines())}".rstrip() for name, value in listed
    )


def annotation_rows(annotations: Sequence[str]) -> list[tuple[str, object]]:
    """Row of the annotations for `lines`, if there are any."""
    return [("annotations", "\n".join(annotations))] if annotations else []


def left_out_rows(left_out: Sequence[LeftOut]) -> list[tuple[str, object]]:
    """Row of what is in a folder and not taken for `lines`, if there is anything."""
    shown = [f"{one.path}: {one.reason}" for one in left_out[:_MOST_LEFT_OUT]]
    if len(left_out) > _MOST_LEFT_OUT:
        shown.append(f"and {len(left_out) - _MOST_LEFT_OUT:,} more (--json lists them)")
    return [("left out", "\n".join(shown))] if shown else []


def in_bytes(number: float) -> str:
    """Format a number of bytes with three digits, as in 1.31 GB."""
    if number < _STEP:
        return f"{number:.0f} bytes"
    units = ["kB", "MB", "GB", "TB"]
    number /= _STEP
    while number >= _STEP - 0.5 and len(units) > 1:
        number /= _STEP
        del units[0]
    digits = max(2 - len(str(int(number))) + 1, 0)
    return f"{number:,.{digits}f} {units[0]}"


def _print_error(error: BaseException) -> None:
    """Print an error in JSON; after a failed verification with the fields of its report."""
    found = error.report.to_json() if isinstance(error, VerificationFailed) else {}
    message, remedy = _explanation(error), ""
    if isinstance(error, SlafError):
        message, remedy = error.message, error.remedy
    with suppress(OSError):  # the exit code remains
        print_json(found | error_to_json(type(error).__name__, message, remedy, exit_code(error)))


def _on_one_line(text: str) -> str:
    """Text on one line without control characters, which names in files may contain."""
    spaced = " ".join(text.split())
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in spaced)


def _explanation(error: BaseException) -> str:
    if isinstance(error, SlafError):
        return str(error)
    if isinstance(error, typer.BadParameter):
        return error.format_message()
    notes = "; ".join(("", *getattr(error, "__notes__", ())))
    if isinstance(error, KeyboardInterrupt):
        return f"{exit_code(error).name.lower()}{notes}"
    if _is_exhaustion(error):
        return f"the memory of this machine is used up ({error!r}); try a smaller --memory{notes}"
    if isinstance(error, OSError):
        return f"the system refused: {error}{notes}"
    return (
        f"this is a bug in slaf ({type(error).__name__}: {error}); please report it with what "
        f"--verbose prints{notes}"
    )


def _is_exhaustion(error: BaseException) -> bool:
    """Whether the system refused memory, which Python and the linker say only in messages."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | ImportError) and bool(_NO_MEMORY.search(str(error)))
    )


@contextmanager
def _termination() -> Iterator[None]:
    def stop(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise Terminated

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
