"""Resolve positions, slices, masks, ids, symbols and filters to positions of cells or genes."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import pyarrow as pa

from slaf.annotations.columns import find_names
from slaf.errors import QueryError, SelectionError
from slaf.sparse.ranges import RowRange, Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    Indexer: TypeAlias = (
        int
        | slice
        | str
        | Sequence[int]
        | Sequence[str]
        | Sequence[bool]
        | NDArray[Any]
        | pd.Series[Any]
        | pd.Index[Any]
        | None
    )

__all__ = ["Indexer", "Names", "Unnamed", "resolve_indexer", "resolve_positions"]

# Missing names in an error, and those that the nearest names are looked for.
_LISTED = 50
_NEAREST = 5


class Names(Protocol):
    """The cells or genes that are selected from."""

    @property
    def axis(self) -> str:
        """The name of the axis, for errors: cells or genes."""

    @property
    def size(self) -> int:
        """Their number."""

    def ids(self) -> pa.ChunkedArray:
        """All ids, in order."""

    def find(self, names: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """As `find_names` of the ids."""

    def symbols(self) -> pa.ChunkedArray | None:
        """The symbols of all genes, in order; None without any."""

    def is_filter(self, text: str) -> bool:
        """Whether a text is a condition on a column of the table."""

    def where(self, condition: str) -> NDArray[np.int64]:
        """The positions for which a condition is true."""


def resolve_indexer(indexer: Any, names: Names) -> Rows:
    """The positions of the requested cells or genes, in their order; a slice as a range.

    Parameters
    ----------
    indexer
        None for all; a position (negative ones count from the end) or several; a slice of
        positions, or of ids with its end; a mask; a boolean Series, which is aligned by its index;
        an id or several, or symbols of genes; or a filter on the table.
    names
        The names of all cells or genes.

    Raises
    ------
    SelectionError
        If one of them does not exist, or is ambiguous.
    """
    if indexer is None or indexer is Ellipsis:
        return RowRange(0, names.size)
    if isinstance(indexer, slice):
        return _sliced(indexer, names)
    if isinstance(indexer, str):
        return _name_or_filter(indexer, names)
    requested = _as_array(indexer, names)
    if requested.dtype.kind == "b":
        return _masked(requested, names)
    if requested.dtype.kind in "UO":
        return _named(requested.tolist(), names)
    return _numbered(requested, names.size, names.axis)


def _as_array(indexer: Any, names: Names) -> NDArray[Any]:
    """One dimension of positions, booleans or names.

    Raises
    ------
    SelectionError
        If it is of another kind.
    """
    dtype = str(getattr(indexer, "dtype", None))
    if hasattr(indexer, "iloc") and dtype in {"bool", "boolean"}:
        return _aligned(indexer, names)
    if dtype == "boolean":
        _check_complete(indexer, names)
        return np.asarray(indexer, np.bool_)
    requested = np.atleast_1d(np.asarray(indexer))
    if requested.ndim > 1:
        msg = f"{names.axis} are selected by one dimension, not by an array of {requested.ndim}"
        raise SelectionError(msg)
    is_listed = requested.dtype.kind != "O" or all(isinstance(one, str) for one in requested)
    if not is_listed or requested.dtype.kind not in "biufUO":
        kind = type(indexer).__name__
        msg = (
            f"{names.axis} are not selected by a {kind} of {requested.dtype}; give positions, a "
            "slice, a mask, ids or a filter"
        )
        raise SelectionError(msg)
    return requested


def _aligned(mask: pd.Series[Any], names: Names) -> NDArray[np.bool_]:
    """A boolean Series in the order of the cells or genes, by its index."""
    import pandas as pd

    _check_complete(mask, names)
    values = mask.to_numpy(np.bool_)
    ids = pd.Index(names.ids().to_pylist(), dtype=object)
    index = mask.index.astype(object)
    if index.equals(ids):
        return values
    if not mask.index.is_unique:
        msg = (
            f"ids repeat in the index of the mask, which is not that of the {names.axis}; give "
            ".to_numpy()"
        )
        raise SelectionError(msg)
    places = index.get_indexer(ids)
    if (places < 0).any():
        missing = ids[places < 0]
        msg = (
            f"the index of the mask lacks {len(missing):,} of the {names.axis}, as {missing[0]!r}; "
            "give a mask of all, or .to_numpy() for one in their order"
        )
        raise SelectionError(msg)
    return values[places]


def _check_complete(mask: Any, names: Names) -> None:
    if mask.isna().any():
        msg = f"the mask of {names.axis} has missing values; decide on them with .fillna(False)"
        raise SelectionError(msg)


def _sliced(requested: slice, names: Names) -> Rows:
    """The rows of a slice; of ids, those from the first to the last, which is included."""
    start, stop = (
        _named([end], names)[0] if isinstance(end, str) else end
        for end in (requested.start, requested.stop)
    )
    if isinstance(requested.stop, str):
        stop += 1
    try:
        positions = range(names.size)[slice(start, stop, requested.step)]
    except (TypeError, ValueError) as error:
        msg = f"{requested!r} is no slice of {names.axis}: {error}"
        raise SelectionError(msg) from None
    start, stop, step = positions.start, positions.stop, positions.step
    return RowRange(start, max(start, stop)) if step == 1 else np.arange(start, stop, step)


def _name_or_filter(text: str, names: Names) -> NDArray[np.int64]:
    """The positions of an id or a symbol, or else of a filter.

    Raises
    ------
    SelectionError
        If it is both, or none.
    """
    one = names.axis.removesuffix("s")
    known, _ = names.find([text])
    symbols = names.symbols()
    is_name = len(known) or (symbols is not None and len(find_names([text], symbols)[0]))
    if not is_name:
        try:
            return names.where(text)
        except QueryError as error:
            near = _nearest([text], names)
            msg = f"{text!r} is no {one}{near}, and no filter on {names.axis}: {error}"
            if "," in text and "'" not in text:
                msg += f"; several {names.axis} are a list, or a filter: column IN ('a', 'b')"
            raise SelectionError(msg) from None
    if names.is_filter(text):
        msg = (
            f"{text!r} is a {one} and a filter on {names.axis}; write [{text!r}] for the {one}, or "
            f"({text}) = true for the filter"
        )
        raise SelectionError(msg)
    return _named([text], names)


def _masked(mask: NDArray[Any], names: Names) -> NDArray[np.int64]:
    if len(mask) != names.size:
        msg = f"the mask has {len(mask):,} values, but there are {names.size:,} {names.axis}"
        raise SelectionError(msg)
    return np.flatnonzero(mask).astype(np.int64)


def _numbered(requested: NDArray[Any], n: int, axis: str) -> NDArray[np.int64]:
    if not len(requested):
        return np.empty(0, np.int64)
    if requested.dtype.kind not in "iu":
        msg = f"{axis} are selected by whole numbers, not by values of type {requested.dtype}"
        raise SelectionError(msg)
    positions = requested
    if requested.dtype.kind == "i":
        positions = requested.astype(np.int64)
        positions = np.where(positions < 0, positions + n, positions)
    outside = (positions < 0) | (positions >= n)
    if outside.any():
        msg = f"there is no position {requested[outside][0]} among {n:,} {axis}"
        raise SelectionError(msg)
    return np.asarray(positions, dtype=np.int64)


def _named(requested: list[str], names: Names) -> NDArray[np.int64]:
    """The positions of ids; a name that is no id is a symbol."""
    unique = list(dict.fromkeys(requested))
    places = _unambiguous(unique, *names.find(unique), "id", names)
    others = [name for name, place in zip(unique, places.tolist(), strict=True) if place < 0]
    symbols = names.symbols() if others else None
    if symbols is not None:
        places[places < 0] = _unambiguous(others, *find_names(others, symbols), "symbol", names)
    missing = [name for name, place in zip(unique, places.tolist(), strict=True) if place < 0]
    if missing:
        listed = ", ".join(map(repr, missing[:_LISTED]))
        more = f" and {len(missing) - _LISTED:,} more" if len(missing) > _LISTED else ""
        kind = "id" if symbols is None else "id or symbol"
        msg = f"there are no {names.axis} with the {kind} {listed}{more}{_nearest(missing, names)}"
        raise SelectionError(msg)
    by_name = dict(zip(unique, places.tolist(), strict=True))
    return np.array([by_name[name] for name in requested], dtype=np.int64)


def _unambiguous(
    requested: list[str],
    which: NDArray[np.int64],
    positions: NDArray[np.int64],
    kind: str,
    names: Names,
) -> NDArray[np.int64]:
    """The position of each name; −1 where there is none."""
    counts = np.bincount(which, minlength=len(requested))
    if (counts > 1).any():
        name = requested[int(np.argmax(counts > 1))]
        msg = f"{name!r} is the {kind} of several {names.axis}; select them by position"
        raise SelectionError(msg)
    places = np.full(len(requested), -1, np.int64)
    places[which] = positions
    return places


def _nearest(missing: Sequence[str], names: Names) -> str:
    """The names that are most like the missing ones, for an error."""
    symbols = names.symbols()
    known = [*names.ids().to_pylist(), *([] if symbols is None else symbols.to_pylist())]
    known = list(dict.fromkeys(name for name in known if name is not None))
    lower = {name.lower(): name for name in known}
    found = []
    for name in missing[:_NEAREST]:
        near = lower.get(name.lower())
        matches = [near] if near else difflib.get_close_matches(name, known[:100_000], n=1)
        found += [f"{name!r} is like {match!r}" for match in matches]
    return f" ({', '.join(found)})" if found else ""


def resolve_positions(indexer: Any, size: int) -> Rows:
    """As `resolve_indexer`, of rows that have no names.

    Raises
    ------
    SelectionError
        If it is no position, slice or mask, or one is not there.
    """
    return resolve_indexer(indexer, Unnamed(size))


class Unnamed:
    """Rows without names and columns; `Names`."""

    axis = "rows"

    def __init__(self, size: int) -> None:
        self.size = size

    def ids(self) -> pa.ChunkedArray:
        """No ids."""
        return pa.chunked_array([], pa.string())

    def find(self, names: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """No row has a name."""
        return find_names(names, self.ids())

    def symbols(self) -> None:
        """No symbols."""

    def is_filter(self, text: str) -> bool:
        """No text is a filter."""
        del text
        return False

    def where(self, condition: str) -> NDArray[np.int64]:
        """No text is a filter."""
        msg = f"there are no columns for {condition!r}; select cells and genes of the view"
        raise QueryError(msg)
