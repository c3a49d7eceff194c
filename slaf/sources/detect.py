"""The format of an input, known by its content."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slaf.errors import DamagedInput, NoSuchInput, StorageError, UnknownFormat
from slaf.sources.unsupported import FOREIGN, UNSUPPORTED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slaf.sources.base import SourceFormat

__all__ = ["check_exists", "check_supported", "detect", "format_named", "recognising"]


def detect(path: Path, formats: Sequence[SourceFormat], name: str | None = None) -> SourceFormat:
    """The one format that recognises an input, or has this name.

    Raises
    ------
    DamagedInput
        If its name is not text.
    UnknownFormat
        If no format recognises it, or several do.
    NoSuchInput
        If nothing is at the path.
    """
    check_exists(path)
    if name is not None:
        # If it is not recognised, the format itself says what is missing.
        return format_named(name, formats)
    check_supported(path)
    matching = recognising(path, formats)
    if len(matching) > 1:
        names = ", ".join(format.name for format in matching)
        msg = f"{path}: it may be any of {names}; say which with --format"
        raise UnknownFormat(msg)
    if not matching:
        raise _unknown(path, formats)
    return matching[0]


def check_exists(path: Path) -> None:
    """Refuse a path with nothing at it.

    Raises
    ------
    DamagedInput, NoSuchInput, StorageError
        If its name is not text, nothing is there, or the system refuses to look.
    """
    try:
        str(path).encode()
        exists = path.exists()
    except UnicodeEncodeError as error:
        # Neither config.json nor a message could hold such a name.
        msg = f"{path}: its name is not text in UTF-8"
        raise DamagedInput(msg, remedy="rename it") from error
    except StorageError:
        raise
    except OSError as error:
        msg = f"{path}: cannot look at it: {error.strerror}; check the path"
        raise StorageError(error.errno, msg) from error
    if not exists:
        msg = f"{path}: there is no such file or directory"
        raise NoSuchInput(msg)


def check_supported(path: Path) -> None:
    """Refuse what a format may take for its own, but is something else.

    Raises
    ------
    UnknownFormat
        With what to do.
    """
    for unsupported in UNSUPPORTED:
        if unsupported.recognises(path):
            raise unsupported.refusal(path)


def recognising(path: Path, formats: Sequence[SourceFormat]) -> list[SourceFormat]:
    """The formats that recognise what is at a path."""
    return [format for format in formats if format.recognises(path)]


def format_named(name: str, formats: Sequence[SourceFormat]) -> SourceFormat:
    """The format of this name.

    Raises
    ------
    UnknownFormat
        If there is none; the error lists the names.
    """
    for format in formats:
        if format.name == name:
            return format
    known = ", ".join(format.name for format in formats)
    msg = f"there is no format {name!r}; known are {known}"
    raise UnknownFormat(msg)


def _unknown(path: Path, formats: Sequence[SourceFormat]) -> UnknownFormat:
    for foreign in FOREIGN:
        if foreign.recognises(path):
            return foreign.refusal(path)
    looked_for = "; ".join(f"{format.name}: {format.looks_for}" for format in formats)
    return UnknownFormat(f"{path}: no known format ({looked_for})")
