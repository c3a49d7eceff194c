"""Refuse an output that is an input, around one, or within a dataset."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from slaf.errors import OutputExists
from slaf.storage.urls import is_url

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["check_apart"]

# What every dataset has.
_DATASET = "config.json"


def check_apart(output: object, inputs: Iterable[str]) -> None:
    """Check that an output, which may be replaced, is no input, around one, or within a dataset.

    A folder of files, as those of a matrix, may hold the output too.

    Parameters
    ----------
    output
        Its path or URL, or what has this as its text.
    inputs
        The paths and URLs of the inputs.

    Raises
    ------
    OutputExists
        If it is.
    """
    place = _resolved(str(output))
    for uri in inputs:
        other = _resolved(uri)
        if place == other:
            msg = f"{uri}: it is the output and an input; write to another place"
            raise OutputExists(msg)
        if other.startswith(place):
            msg = f"{output}: the input {uri} is within this output; write to another place"
            raise OutputExists(msg)
        if place.startswith(other) and (is_url(other) or os.path.exists(f"{other}{_DATASET}")):  # noqa: PTH110
            msg = f"{output}: it would be in the dataset {uri}, an input; write to another place"
            raise OutputExists(msg)


def _resolved(place: str) -> str:
    """A path without links, or a URL, as the text that what is within it begins with."""
    return f"{(place if is_url(place) else os.path.realpath(place)).rstrip('/')}/"
