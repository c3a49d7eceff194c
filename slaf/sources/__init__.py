"""Formats in: each a file of this folder, and a line in `FORMATS`; imported when one is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slaf.runtime.imports import imported_from

if TYPE_CHECKING:
    from slaf.sources.base import SourceFormat
    from slaf.sources.inputs import (
        FORMATS,
        InputList,
        as_inputs,
        choices_of,
        open_source,
        recorded_input,
    )

__all__ = [
    "FORMATS",
    "REGISTERED",
    "InputList",
    "as_inputs",
    "choices_of",
    "open_source",
    "recorded_input",
    "register",
]

# Formats that are defined above this package; `FORMATS` is this list with those of this package.
REGISTERED: list[SourceFormat] = []


def register(format: SourceFormat) -> None:
    """Add a format that is defined above this package."""
    if format not in REGISTERED:
        REGISTERED.append(format)


if not TYPE_CHECKING:  # else every name would be one of this module
    __getattr__ = imported_from("slaf.sources.inputs", __name__, __all__)
