"""Exact casts: the only conversions of numeric types that data goes through."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from slaf.errors import DamagedInput, InexactValue
from slaf.kernels import kernels
from slaf.kernels.reference import first_changed
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

__all__ = [
    "CACHE_ENTRIES",
    "Float64WithRemainder",
    "as_float64",
    "checked_gene_ids",
    "checked_indices",
    "exact_cast",
    "first_inexact",
    "is_lossless",
    "is_whole",
    "native_byte_order",
    "pooled_empty",
    "to_int64",
]


# Entries for several passes in a row: they fit the cache of a processor, and intermediate arrays of
# them take little memory.
CACHE_ENTRIES = 1 << 15


def pooled_empty(length: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """An uninitialised array of one dimension, whose memory has one of few sizes.

    Batches consist of whole cells, so that hardly two have the same length. With few sizes the
    memory of a freed batch fits the next one; else the heap would fill with holes.
    """
    return np.empty(-(-length // CACHE_ENTRIES) * CACHE_ENTRIES, dtype)[:length]


def exact_cast(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The values as `dtype`, if it holds every one of them.

    Raises
    ------
    InexactValue
        With the first value that `dtype` cannot hold.
    """
    if values.dtype == dtype:
        return values
    cast = pooled_empty(len(values), dtype)
    if is_lossless(values.dtype, dtype):
        np.copyto(cast, values)
        return cast
    for part in RowRange(0, len(values)).split(CACHE_ENTRIES):
        original = values[part.start : part.stop]
        if not kernels().cast(original, cast[part.start : part.stop]):
            msg = f"{original[first_inexact(original, dtype)]!s} cannot be held exactly as {dtype}"
            raise InexactValue(msg)
    return cast


def is_lossless(source: np.dtype[Any], target: np.dtype[Any]) -> bool:
    """Whether `target` holds every value of `source` exactly."""
    # Of 64-bit integers numpy calls the cast to float64 safe, which rounds them.
    rounds = source.kind in "iu" and target.kind in "fc" and source.itemsize >= target.itemsize
    return np.can_cast(source, target) and not rounds


def first_inexact(values: NDArray[Any], dtype: np.dtype[Any]) -> int | None:
    """The position of the first value that `dtype` cannot hold exactly; None if it holds all."""
    if is_lossless(values.dtype, dtype):
        return None
    values = native_byte_order(values)
    with np.errstate(invalid="ignore", over="ignore"):
        cast = values.astype(dtype)
    return first_changed(values, cast)


def is_whole(values: NDArray[Any]) -> bool:
    """Whether every value is a whole number."""
    if values.dtype.kind != "f":
        return True
    return bool((np.isfinite(values) & (np.trunc(values) == values)).all())


class Float64WithRemainder(NamedTuple):
    """Values as float64, and the remainders of integers beyond 2**53; None if all are zero.

    Equal numbers have an equal pair, whatever their type.
    """

    values: NDArray[np.float64]
    rest: NDArray[np.int64] | None


def as_float64(values: NDArray[Any]) -> Float64WithRemainder:
    """The values as float64 with the remainder; every NaN becomes the same NaN."""
    wide = values.astype(np.float64)
    if values.dtype.kind == "f":
        missing = np.isnan(wide)
        if missing.any():
            wide[missing] = np.nan
        return Float64WithRemainder(wide, None)
    if values.dtype.itemsize < np.dtype(np.int64).itemsize:
        return Float64WithRemainder(wide, None)
    # The largest integers round up to a float beyond their type, whose cast back depends on the
    # processor: their remainder is counted from the limit of the type.
    beyond = wide >= float(np.iinfo(values.dtype).max)
    rest = (values - np.where(beyond, 0.0, wide).astype(values.dtype)).astype(np.int64)
    if values.dtype.kind == "i":
        rest[beyond] += np.iinfo(np.int64).min
    return Float64WithRemainder(wide, rest if rest.any() else None)


def to_int64(values: NDArray[Any]) -> NDArray[np.int64]:
    """Offsets or sizes as int64.

    Raises
    ------
    DamagedInput
        If they are not whole numbers that int64 can hold.
    """
    if values.dtype.kind in "iu" and values.dtype.itemsize < np.dtype(np.int64).itemsize:
        return values.astype(np.int64)
    try:
        return exact_cast(native_byte_order(values), np.dtype(np.int64))
    except InexactValue as error:
        msg = f"an offset is not a whole number: {error}"
        raise DamagedInput(msg) from error


def checked_gene_ids(
    pieces: Iterable[NDArray[Any]], n_genes: int, rows: RowRange, counts: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], int]:
    """Gene positions as uint32, each checked to be below `n_genes`.

    Parameters
    ----------
    pieces
        The positions of the entries, one for each, in any number of arrays.
    n_genes
        The number of genes.
    rows, counts
        The cells, and the number of entries in each.

    Returns
    -------
    ids
        All positions.
    int
        The number of those that are not above the one before.

    Raises
    ------
    DamagedInput
        With the cell and the position, if one is out of range.
    """
    ids, at, descents = pooled_empty(int(counts.sum()), np.dtype(np.uint32)), 0, 0
    for piece in pieces:
        found = kernels().positions(_native_integers(piece, "gene"), ids, at, n_genes)
        if found < 0:
            cells = np.repeat(np.arange(rows.start, rows.stop), counts)[at:]
            checked_indices(piece, n_genes, "gene", partial(_owner, cells))
        descents += found
        at += len(piece)
    return ids, descents


def checked_indices(
    positions: NDArray[Any], size: int, axis: str, owner: Callable[[int], str]
) -> NDArray[Any]:
    """The positions as unsigned integers of the same width, each checked to be below `size`.

    Parameters
    ----------
    positions
        Positions of cells or genes.
    size
        The number of all cells or genes.
    axis
        "cell" or "gene".
    owner
        Describes the entry at an index, for the message.

    Raises
    ------
    DamagedInput
        With the owner and the position, if one is out of range.
    """
    positions = _native_integers(positions, axis)
    # As unsigned numbers negative positions are huge: one pass finds both errors.
    unsigned = positions.view(f"u{positions.dtype.itemsize}")
    if len(unsigned) and int(unsigned.max()) >= size:
        wrong = int(np.argmax(unsigned >= size))
        msg = (
            f"{owner(wrong)} has an entry for {axis} {int(positions[wrong])}, "
            f"but the matrix has {size:,} {axis}s (0 to {size - 1:,})"
        )
        raise DamagedInput(msg)
    return unsigned


def _owner(cells: NDArray[np.int64], entry: int) -> str:
    return f"cell {cells[entry]}"


def _native_integers(positions: NDArray[Any], axis: str) -> NDArray[Any]:
    if positions.dtype.kind not in "iu":
        msg = f"{axis} positions are of type {positions.dtype}, not integers"
        raise DamagedInput(msg)
    return native_byte_order(positions)


def native_byte_order(values: NDArray[Any]) -> NDArray[Any]:
    """Values in the byte order of this machine; booleans as uint8."""
    if values.dtype.kind == "b":
        return values.view(np.uint8)
    return values.astype(values.dtype.newbyteorder("="), copy=False)
