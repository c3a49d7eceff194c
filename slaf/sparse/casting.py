"""The rules that a batch of cells obeys, and the only casts that data goes through.

Everything here is a pure function or a frozen value: no files, no tables, no formats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from slaf.errors import DamagedInput, InexactValue
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = [
    "CACHED",
    "Float64WithRemainder",
    "as_float64",
    "checked_gene_ids",
    "checked_indices",
    "exact_cast",
    "first_inexact",
    "is_lossless",
    "is_whole",
    "to_int64",
]


# Entries that several passes are made over before the next ones: they stay in the cache, and what
# is made of them in between takes no memory to speak of.
CACHED = 1 << 15

# Up to here a float type holds every whole number.
_LARGEST_EXACT = {
    np.dtype(np.float16): 2**11,
    np.dtype(np.float32): 2**24,
    np.dtype(np.float64): 2**53,
}


def pooled_empty(length: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array that is not filled yet, of one dimension, in memory of one of few sizes.

    Batches are of whole cells, and so hardly two are of the same size. Where all are given as
    much memory, that of one serves for another; else holes would be left between them.
    """
    return np.empty(-(-length // CACHED) * CACHED, dtype)[:length]


def exact_cast(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Cast to `dtype`, or raise if one value would change.

    Raises
    ------
    InexactValue
        Naming the first value that `dtype` cannot hold.
    """
    if values.dtype == dtype:
        return values
    cast = pooled_empty(len(values), dtype)
    if is_lossless(values.dtype, dtype):
        np.copyto(cast, values)
        return cast
    for part in RowRange(0, len(values)).split(CACHED):
        piece, made = values[part.start : part.stop], cast[part.start : part.stop]
        _cast(piece, made)
        wrong = _first_changed(piece, made)
        if wrong is not None:
            msg = f"{piece[wrong]!s} cannot be held exactly as {dtype}"
            raise InexactValue(msg)
    return cast


def is_lossless(source: np.dtype[Any], target: np.dtype[Any]) -> bool:
    """Whether `target` holds every value of `source` exactly."""
    # Of 64-bit integers numpy calls the cast to float64 safe, which rounds them.
    rounds = source.kind in "iu" and target.kind in "fc" and source.itemsize >= target.itemsize
    return np.can_cast(source, target) and not rounds


def first_inexact(values: NDArray[Any], dtype: np.dtype[Any]) -> int | None:
    """The position of the first value that `dtype` cannot hold exactly, if there is one."""
    if values.dtype == dtype:
        return None
    values = native_byte_order(values)
    cast = np.empty(values.shape, dtype)
    _cast(values, cast)
    return _first_changed(values, cast)


def is_whole(values: NDArray[Any]) -> bool:
    """Whether every value is a whole number."""
    if values.dtype.kind != "f":
        return True
    return bool((np.isfinite(values) & (np.trunc(values) == values)).all())


class Float64WithRemainder(NamedTuple):
    """Values as float64, and what float64 leaves of integers beyond 2**53, if it leaves any.

    The pair says the same of the same numbers, whatever type held them.
    """

    values: NDArray[np.float64]
    rest: NDArray[np.int64] | None


def as_float64(values: NDArray[Any]) -> Float64WithRemainder:
    """The values as float64 and the rest; every NaN becomes the same NaN."""
    wide = values.astype(np.float64)
    if values.dtype.kind == "f":
        missing = np.isnan(wide)
        if missing.any():
            wide[missing] = np.nan
        return Float64WithRemainder(wide, None)
    if values.dtype.itemsize < np.dtype(np.int64).itemsize:
        return Float64WithRemainder(wide, None)
    # The last integers round up to a float that is no such integer, and what a processor makes
    # of that one differs: they are counted from it by hand.
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
    genes: NDArray[Any], n_genes: int, rows: RowRange, counts: NDArray[np.int64]
) -> NDArray[np.uint32]:
    """Gene positions as uint32, each checked to be below `n_genes`.

    Raises
    ------
    DamagedInput
        Naming the cell and the position, if one is out of range.
    """

    def owner(wrong: int) -> str:
        cell = rows.start + int(np.searchsorted(np.cumsum(counts), wrong, side="right"))
        return f"cell {cell}"

    return checked_indices(genes, n_genes, "gene", owner).astype(np.uint32, copy=False)


def checked_indices(
    found: NDArray[Any], size: int, what: str, owner: Callable[[int], str]
) -> NDArray[Any]:
    """Positions as unsigned integers of their width, each checked to be below `size`.

    Parameters
    ----------
    found
        The positions.
    size
        How many cells, or genes, there are.
    what
        "cell" or "gene".
    owner
        Says of an entry whose it is, if its position is out of range.

    Raises
    ------
    DamagedInput
        Naming the owner and the position, if one is.
    """
    if found.dtype.kind not in "iu":
        msg = f"{what} positions are of type {found.dtype}, not integers"
        raise DamagedInput(msg)
    found = native_byte_order(found)
    # Seen as unsigned a negative position is a huge one: one pass finds both mistakes.
    unsigned = found.view(f"u{found.dtype.itemsize}")
    if len(unsigned) and int(unsigned.max()) >= size:
        wrong = int(np.argmax(unsigned >= size))
        msg = (
            f"{owner(wrong)} has an entry for {what} {int(found[wrong])}, "
            f"but the matrix has {size:,} {what}s (0 to {size - 1:,})"
        )
        raise DamagedInput(msg)
    return unsigned


def _cast(values: NDArray[Any], out: NDArray[Any]) -> None:
    # What does not fit is found by casting back, not by numpy's warning.
    with np.errstate(invalid="ignore", over="ignore"):
        np.copyto(out, values, casting="unsafe")


def _first_changed(values: NDArray[Any], cast: NDArray[Any]) -> int | None:
    with np.errstate(invalid="ignore", over="ignore"):
        same = cast.astype(values.dtype) == values
    source, target = values.dtype.kind, cast.dtype.kind
    if source == target == "f":
        same |= np.isnan(values)
    elif source == "f" and target != "b":
        limits = np.iinfo(cast.dtype)
        if limits.max > _LARGEST_EXACT[values.dtype.newbyteorder("=")]:
            same &= _within(values, limits)
    elif target == "f":
        same &= _within(cast, np.iinfo(values.dtype))
    elif source != target:
        # A signed number and an unsigned one may share their bits.
        same &= (values >= 0) & (cast >= 0)
    return None if same.all() else int(np.argmin(same))


def _within(floats: NDArray[Any], limits: np.iinfo[Any]) -> NDArray[np.bool_]:
    """Which floats an integer type holds: for the others a cast back proves nothing.

    2**32 as float32 may be cast to the uint32 2**32 - 1, which as float32 is 2**32 again.
    """
    # As float16 the limits themselves would be infinite.
    wide = floats.astype(np.float32) if floats.dtype == np.float16 else floats
    return (wide >= float(limits.min)) & (wide < float(limits.max) + 1.0)


def native_byte_order(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind == "b":
        return values.view(np.uint8)
    return values.astype(values.dtype.newbyteorder("="), copy=False)
