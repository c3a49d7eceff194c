"""The format of an input, known by its content."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from slaf.errors import DamagedInput, InputError, UnknownFormat
from slaf.sources.hdf5.file import opened_once
from slaf.sources.unsupported import FOREIGN
from slaf.storage.paths import check_exists

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slaf.sources.base import SourceFormat

__all__ = ["detect", "format_named", "recognising"]

# Files of a folder of no format that are looked at.
_MOST_FILES: Final = 20


def detect(path: Path, formats: Sequence[SourceFormat], name: str | None = None) -> SourceFormat:
    """The one format that recognises an input, or has this name.

    Raises
    ------
    DamagedInput
        If its name is not text.
    UnknownFormat
        If no format recognises it, or several do.
    DamagedInput
        If it is empty.
    NoSuchInput
        If nothing is at the path.
    """
    check_exists(path)
    if name is not None:
        # If it is not recognised, the format itself says what is missing.
        return format_named(name, formats)
    matching = recognising(path, formats)
    if len(matching) > 1:
        names = ", ".join(format.name for format in matching)
        msg = f"{path}: it may be any of {names}; say which with --format"
        raise UnknownFormat(msg)
    if not matching:
        raise _unknown(path, formats)
    return matching[0]


def recognising(path: Path, formats: Sequence[SourceFormat]) -> list[SourceFormat]:
    """The formats that recognise what is at a path."""
    with opened_once():
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


def _unknown(path: Path, formats: Sequence[SourceFormat]) -> InputError:
    if path.is_file() and not path.stat().st_size:
        return DamagedInput(f"{path}: the file is empty")
    files = _files(path) if path.is_dir() else []
    for foreign in FOREIGN:
        inside = [] if foreign.is_plain and len(files) > 1 else files
        for each in (path, *inside):
            if foreign.recognises(each):
                return foreign.refusal(each)
    looked_for = "; ".join(f"{format.name}: {format.looks_for}" for format in formats)
    return UnknownFormat(f"{path}: no known format ({looked_for})")


def _files(folder: Path) -> list[Path]:
    """The first files of a folder of no format, among them an archive that was downloaded."""
    first = itertools.islice(sorted(folder.iterdir()), _MOST_FILES)
    return [path for path in first if path.is_file() and not path.name.startswith(".")]
