"""Cells or genes asked for by position, slice, mask, id or filter, as positions."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slaf.errors import SelectionError
from slaf.sparse.ranges import RowRange, Rows

__all__ = ["Indexer", "as_filter", "resolve_indexer"]


# Texts, and names in the quotes of Lance and of SQL; a quote is in its like if it is there twice.
_QUOTED = re.compile(r"""'(?:[^']|'')*'|`[^`]*`|"(?P<name>(?:[^"]|"")*)\"""")
Indexer = int | slice | str | Sequence[int] | Sequence[str] | NDArray[Any] | None


def resolve_indexer(
    selector: Indexer,
    n: int,
    ids: Callable[[], Sequence[str]],
    where: Callable[[str], NDArray[np.int64]],
    what: str,
) -> Rows:
    """The cells or genes asked for, in the order asked for; neighbours as a range.

    Parameters
    ----------
    selector
        None for all; a position (negative ones count from the end) or several; a slice; a
        mask of n booleans; a list of ids; or a string, which is a filter on the table.
    n
        How many there are.
    ids
        Gives all ids in order.
    where
        Gives the positions that a filter leaves.
    what
        "cells" or "genes", for errors.

    Raises
    ------
    SelectionError
        If one of them does not exist, or an id stands for several.
    """
    if selector is None:
        return RowRange(0, n)
    if isinstance(selector, slice):
        return _sliced(range(n)[selector])
    if isinstance(selector, str):
        return where(selector)
    wanted = np.atleast_1d(np.asarray(selector))
    if wanted.ndim > 1:
        msg = f"{what} are selected by one dimension, not by an array of {wanted.ndim}"
        raise SelectionError(msg)
    if wanted.dtype.kind == "b":
        return _masked(wanted, n, what)
    if wanted.dtype.kind in "UO":
        return _named(wanted.tolist(), ids(), what)
    return _numbered(wanted, n, what)


def as_filter(condition: str) -> str:
    """A condition as Lance takes it: there a name in double quotes is no name, but a text.

    Examples
    --------
    >>> print(as_filter('"cell type" <> gene'))
    `cell type` <> gene
    """
    return _QUOTED.sub(_as_name, condition)


def _as_name(quoted: re.Match[str]) -> str:
    name = quoted["name"]
    return quoted[0] if name is None else "`" + name.replace('""', '"') + "`"


def _sliced(found: range) -> Rows:
    if found.step == 1:
        return RowRange(found.start, max(found.start, found.stop))
    return np.arange(found.start, found.stop, found.step)


def _masked(mask: NDArray[Any], n: int, what: str) -> NDArray[np.int64]:
    if len(mask) != n:
        msg = f"the mask has {len(mask):,} values, but there are {n:,} {what}"
        raise SelectionError(msg)
    return np.flatnonzero(mask)


def _numbered(wanted: NDArray[Any], n: int, what: str) -> NDArray[np.int64]:
    if not len(wanted):
        return np.empty(0, np.int64)
    if wanted.dtype.kind not in "iu":
        msg = f"{what} are selected by whole numbers, not by values of type {wanted.dtype}"
        raise SelectionError(msg)
    found = wanted
    if wanted.dtype.kind == "i":
        found = wanted.astype(np.int64)
        found = np.where(found < 0, found + n, found)
    outside = (found < 0) | (found >= n)
    if outside.any():
        msg = f"there is no position {wanted[outside][0]} among {n:,} {what}"
        raise SelectionError(msg)
    return np.asarray(found, dtype=np.int64)


def _named(wanted: list[str], ids: Sequence[str], what: str) -> NDArray[np.int64]:
    sought = set(wanted)
    found: dict[str, int] = {}
    for position, name in enumerate(ids):
        if name in sought:
            if name in found:
                msg = f"{name!r} is the id of several {what}; select them by position"
                raise SelectionError(msg)
            found[name] = position
    missing = [name for name in wanted if name not in found]
    if missing:
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        msg = f"there are no {what} with the id {missing[0]!r}{more}"
        raise SelectionError(msg)
    return np.array([found[name] for name in wanted], dtype=np.int64)
