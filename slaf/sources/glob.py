"""Inputs that are named by a pattern: samples/*.h5ad, on a disk and in a bucket."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from slaf.errors import NoSuchInput
from slaf.storage.paths import as_remote

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["expand_glob"]

_WILD = frozenset("*?[")


def expand_glob(place: Path) -> list[Path]:
    """What a place stands for: itself, or, if it is a pattern, all that match it, in order.

    ``*``, ``?`` and ``[…]`` stand for parts of one name, as in a shell. What exists under the
    very name is meant by it, whatever is in the name.

    Parameters
    ----------
    place
        A path, or what behaves as one.

    Raises
    ------
    NoSuchInput
        If nothing matches.
    """
    elsewhere = as_remote(place)
    is_pattern = bool(_WILD & set(str(place))) and not (elsewhere and elsewhere.is_web)
    if not is_pattern or place.exists():
        return [place]
    found = sorted(_matches(place))
    if not found:
        msg = f"{place}: nothing matches this pattern; name an input, or a folder of inputs"
        raise NoSuchInput(msg)
    return found


def _matches(place: Path) -> list[Path]:
    above = place.parent
    if above == place:
        # The root of a disk, or a bucket, whose name no pattern stands for.
        return [place]
    folders = _matches(above) if _WILD & set(str(above)) else [above]
    if not _WILD & set(place.name):
        return [found for folder in folders if (found := folder / place.name).exists()]
    return [
        child
        for folder in folders
        if folder.is_dir()
        for child in folder.iterdir()
        if fnmatchcase(child.name, place.name)
        # What is hidden is only taken if it is asked for, as in a shell.
        and (not child.name.startswith(".") or place.name.startswith("."))
    ]
