"""Formats in: each a file of this folder, and a line in `FORMATS`; imported when one is needed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

# Those that are defined above this package; `FORMATS` is this list, once it is needed.
REGISTERED: list[SourceFormat] = []


def register(format: SourceFormat) -> None:
    """Add a format that is defined above this package."""
    if format not in REGISTERED:
        REGISTERED.append(format)


if not TYPE_CHECKING:  # else every name would be one of this module

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        return getattr(import_module("slaf.sources.inputs"), name)
