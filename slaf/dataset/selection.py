"""Resolve positions, slices, masks, ids and filters to positions of cells or genes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slaf.errors import SelectionError
from slaf.sparse.ranges import RowRange, Rows

__all__ = ["Indexer", "as_filter", "resolve_indexer"]


# Texts, and names in the quotes of Lance and of SQL; a doubled quote stands for itself.
_QUOTED = re.compile(r"""'(?:[^']|'')*'|`[^`]*`|"(?P<name>(?:[^"]|"")*)\"""")
Indexer = int | slice | str | Sequence[int] | Sequence[str] | NDArray[Any] | None


def resolve_indexer(
    indexer: Indexer,
    n: int,
    ids: Callable[[], Sequence[str]],
    where: Callable[[str], NDArray[np.int64]],
    what: str,
) -> Rows:
    """The positions of the requested cells or genes, in their order; a slice as a range.

    Parameters
    ----------
    indexer
        None for all; a position (negative ones count from the end) or several; a slice; a
        mask of n booleans; a list of ids; or a string, which is a filter on the table.
    n
        The number of all cells or genes.
    ids
        Returns all ids in order.
    where
        Returns the positions of the rows that satisfy a filter.
    what
        "cells" or "genes", for errors.

    Raises
    ------
    SelectionError
        If one of them does not exist, or several have the same id.
    """
    if indexer is None:
        return RowRange(0, n)
    if isinstance(indexer, slice):
        return _sliced(range(n)[indexer])
    if isinstance(indexer, str):
        return where(indexer)
    requested = np.atleast_1d(np.asarray(indexer))
    if requested.ndim > 1:
        msg = f"{what} are selected by one dimension, not by an array of {requested.ndim}"
        raise SelectionError(msg)
    if requested.dtype.kind == "b":
        return _masked(requested, n, what)
    if requested.dtype.kind in "UO":
        return _named(requested.tolist(), ids(), what)
    return _numbered(requested, n, what)


def as_filter(condition: str) -> str:
    """A condition in the syntax of Lance, which has names in backticks, not in double quotes.

    Examples
    --------
    >>> print(as_filter('"cell type" <> gene'))
    `cell type` <> gene
    """
    return _QUOTED.sub(_in_backticks, condition)


def _in_backticks(quoted: re.Match[str]) -> str:
    name = quoted["name"]
    return quoted[0] if name is None else "`" + name.replace('""', '"') + "`"


def _sliced(positions: range) -> Rows:
    start, stop, step = positions.start, positions.stop, positions.step
    return RowRange(start, max(start, stop)) if step == 1 else np.arange(start, stop, step)


def _masked(mask: NDArray[Any], n: int, what: str) -> NDArray[np.int64]:
    if len(mask) != n:
        msg = f"the mask has {len(mask):,} values, but there are {n:,} {what}"
        raise SelectionError(msg)
    return np.flatnonzero(mask)


def _numbered(requested: NDArray[Any], n: int, what: str) -> NDArray[np.int64]:
    if not len(requested):
        return np.empty(0, np.int64)
    if requested.dtype.kind not in "iu":
        msg = f"{what} are selected by whole numbers, not by values of type {requested.dtype}"
        raise SelectionError(msg)
    positions = requested
    if requested.dtype.kind == "i":
        positions = requested.astype(np.int64)
        positions = np.where(positions < 0, positions + n, positions)
    outside = (positions < 0) | (positions >= n)
    if outside.any():
        msg = f"there is no position {requested[outside][0]} among {n:,} {what}"
        raise SelectionError(msg)
    return np.asarray(positions, dtype=np.int64)


def _named(requested: list[str], ids: Sequence[str], what: str) -> NDArray[np.int64]:
    names = set(requested)
    positions: dict[str, int] = {}
    for position, name in enumerate(ids):
        if name in names:
            if name in positions:
                msg = f"{name!r} is the id of several {what}; select them by position"
                raise SelectionError(msg)
            positions[name] = position
    missing = [name for name in requested if name not in positions]
    if missing:
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        msg = f"there are no {what} with the id {missing[0]!r}{more}"
        raise SelectionError(msg)
    return np.array([positions[name] for name in requested], dtype=np.int64)
