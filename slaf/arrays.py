"""The rules that a batch of cells obeys, and the only casts that data goes through.

Everything here is a pure function or a frozen value: no files, no tables, no formats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from slaf.errors import DamagedInput, InexactValue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = [
    "BATCH_NONZEROS",
    "CACHED",
    "Batch",
    "GenePlaces",
    "RowRange",
    "Widened",
    "as_float64",
    "batch_from_compressed",
    "batch_from_dense",
    "cuts",
    "exact_cast",
    "first_inexact",
    "is_whole",
    "spread_evenly",
    "to_ids",
    "to_int64",
    "to_positions",
]

# Entries handled at a time: large enough for numpy, small enough to forget. Four times as many are
# 3 % faster, but how many batches happen to wait for each other then moves the peak by a tenth.
BATCH_NONZEROS = 1 << 18

# Entries that several passes are made over before the next ones: they stay in the cache, and what
# is made of them in between takes no memory to speak of.
CACHED = 1 << 15

# Up to here a float type holds every whole number.
_LARGEST_EXACT = {
    np.dtype(np.float16): 2**11,
    np.dtype(np.float32): 2**24,
    np.dtype(np.float64): 2**53,
}


def roomy(length: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array that is not filled yet, of one dimension, in memory of one of few sizes.

    Batches are of whole cells, and so hardly two are of the same size. Where all are given as
    much memory, that of one serves for another; else holes would be left between them.
    """
    return np.empty(-(-length // CACHED) * CACHED, dtype)[:length]


@dataclass(frozen=True, slots=True, order=True)
class RowRange:
    """The half-open range of rows ``[start, stop)``."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop:
            msg = f"not a range of rows: [{self.start}, {self.stop})"
            raise ValueError(msg)

    def __len__(self) -> int:
        return self.stop - self.start

    def split(self, size: int) -> Iterator[RowRange]:
        """Cut into ranges of `size` rows, the last one of what is left."""
        for start in range(self.start, self.stop, size):
            yield RowRange(start, min(start + size, self.stop))

    def shifted(self, by: int) -> RowRange:
        """As many rows, so much further on; before, if it is negative."""
        return RowRange(self.start + by, self.stop + by)

    def overlap(self, other: RowRange) -> RowRange:
        """The rows that are in both; an empty range if there are none."""
        start = max(self.start, other.start)
        return RowRange(start, max(start, min(self.stop, other.stop)))


@dataclass(frozen=True, slots=True)
class Batch:
    """Whole cells, one after the other: compressed sparse rows with the cells' lengths.

    Within a cell the genes ascend strictly, and no value is zero; NaN is a value.

    Attributes
    ----------
    rows
        The cells held, in the order of the source.
    counts
        Nonzeros in each cell, ``len(rows)`` of them.
    genes
        Gene positions, ``counts.sum()`` of them, uint32.
    values
        Their values, in the numeric type of the source, or a narrower one that holds all of them;
        sums of repeated entries in a wider one.
    """

    rows: RowRange
    counts: NDArray[np.int64]
    genes: NDArray[np.uint32]
    values: NDArray[Any]

    @property
    def nnz(self) -> int:
        """Nonzeros in the batch."""
        return len(self.genes)

    def cells(self) -> NDArray[np.uint32]:
        """The cell of each nonzero, counted from the first cell of the source."""
        ids = np.arange(self.rows.start, self.rows.stop, dtype=np.uint32)
        cells = roomy(self.nnz, ids.dtype)
        cells[:] = np.repeat(ids, self.counts)
        return cells

    def gene_ids(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        """The genes in a narrower type, which the caller knows to hold the matrix's width."""
        if dtype == self.genes.dtype:
            return self.genes
        narrow = roomy(self.nnz, dtype)
        np.copyto(narrow, self.genes, casting="unsafe")
        return narrow

    def shifted(self, by: int) -> Batch:
        """The same entries, of cells that stand so much further on; before, if it is negative."""
        return Batch(self.rows.shifted(by), self.counts, self.genes, self.values)

    def split(self, cell: int) -> tuple[Batch, Batch]:
        """The cells before this one, and those from it on."""
        at = cell - self.rows.start
        row = int(self.counts[:at].sum())
        return (
            Batch(
                RowRange(self.rows.start, cell),
                self.counts[:at],
                self.genes[:row],
                self.values[:row],
            ),
            Batch(
                RowRange(cell, self.rows.stop),
                self.counts[at:],
                self.genes[row:],
                self.values[row:],
            ),
        )

    def cell_of(self, nonzero: int) -> int:
        """The cell that holds the nonzero at this position of the batch."""
        ends = np.cumsum(self.counts)
        return self.rows.start + int(np.searchsorted(ends, nonzero, side="right"))


def batch_from_compressed(
    rows: RowRange,
    indptr: NDArray[Any],
    genes: NDArray[Any],
    values: NDArray[Any],
    n_genes: int,
) -> Batch:
    """Make a batch of compressed sparse rows as a file holds them.

    Genes that are out of order are sorted, repeated ones are summed (as scipy does, but
    exactly: whole numbers as 64-bit integers, fractions as float64), stored zeros are left out.

    Parameters
    ----------
    rows
        The cells that the arrays hold.
    indptr
        ``len(rows) + 1`` offsets into the arrays; the first may be any number.
    genes, values
        The entries of those cells.
    n_genes
        The width of the matrix.

    Raises
    ------
    DamagedInput
        If a length, an offset or a gene position cannot be right.
    """
    counts = np.diff(to_int64(indptr))
    _check_lengths(rows, counts, genes, values)
    ids = to_ids(genes, n_genes, rows, counts)
    values = _native(values)
    if not _strictly_ascending(ids, counts):
        ids, values, counts = _sorted_and_summed(rows, ids, values, counts)
    present = values != 0
    if not present.all():
        owners = np.repeat(np.arange(len(rows)), counts)
        counts = np.bincount(owners[present], minlength=len(rows))
        ids, values = ids[present], values[present]
    return Batch(rows, counts, ids, values)


def batch_from_dense(rows: RowRange, block: NDArray[Any]) -> Batch:
    """Make a batch of a dense block of shape ``(len(rows), n_genes)``."""
    present = block != 0
    counts = np.count_nonzero(present, axis=1)
    genes = np.nonzero(present)[1].astype(np.uint32)
    return Batch(rows, counts, genes, _native(block[present]))


class GenePlaces:
    """Where the genes of a matrix stand in a wider one, or a narrower.

    Parameters
    ----------
    positions
        The place of each gene, no two the same; −1 for one that is left out.
    n_genes
        The width of the other matrix.
    """

    def __init__(self, positions: NDArray[np.int64], n_genes: int) -> None:
        self._positions = positions
        self._n_genes = n_genes
        self._stay = bool(np.array_equal(positions, np.arange(len(positions))))

    def place(self, batch: Batch) -> Batch:
        """The same cells with their genes at these places; the batch itself if all stay."""
        if self._stay:
            return batch
        genes, values, counts = self._positions[batch.genes], batch.values, batch.counts
        kept = genes >= 0
        if not kept.all():
            ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])
            counts = np.diff(ends[np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])])
            genes, values = genes[kept], values[kept]
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        return batch_from_compressed(batch.rows, indptr, genes, values, self._n_genes)


def cuts(offsets: NDArray[np.int64], target: int) -> Iterator[tuple[int, int]]:
    """Cut rows, of which these are the offsets, into runs of about `target` entries.

    A run is of one row at the least, and the rows of each are half-open.
    """
    first, end = 0, len(offsets) - 1
    while first < end:
        within = int(np.searchsorted(offsets, offsets[first] + target, side="right")) - 1
        last = min(max(within, first + 1), end)
        yield first, last
        first = last


def spread_evenly(n_cells: int, step: int, entries: int) -> NDArray[np.int64]:
    """Entries before cells 0, step, 2 * step, …, and n_cells: as if each cell had as many."""
    before = np.append(np.arange(0, n_cells, step), n_cells)
    found = (before * (entries / max(n_cells, 1))).astype(np.int64)
    found[-1] = entries
    return found


def exact_cast(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Cast to `dtype`, or raise if one value would change.

    Raises
    ------
    InexactValue
        Naming the first value that `dtype` cannot hold.
    """
    if values.dtype == dtype:
        return values
    cast = roomy(len(values), dtype)
    for part in RowRange(0, len(values)).split(CACHED):
        piece, made = values[part.start : part.stop], cast[part.start : part.stop]
        _cast(piece, made)
        wrong = _first_changed(piece, made)
        if wrong is not None:
            msg = f"{piece[wrong]!s} cannot be held exactly as {dtype}"
            raise InexactValue(msg)
    return cast


def first_inexact(values: NDArray[Any], dtype: np.dtype[Any]) -> int | None:
    """The position of the first value that `dtype` cannot hold exactly, if there is one."""
    if values.dtype == dtype:
        return None
    values = _native(values)
    cast = np.empty(values.shape, dtype)
    _cast(values, cast)
    return _first_changed(values, cast)


def is_whole(values: NDArray[Any]) -> bool:
    """Whether every value is a whole number."""
    if values.dtype.kind != "f":
        return True
    return bool((np.isfinite(values) & (np.trunc(values) == values)).all())


class Widened(NamedTuple):
    """Values as float64, and what float64 leaves of integers beyond 2**53, if it leaves any.

    The pair says the same of the same numbers, whatever type held them.
    """

    values: NDArray[np.float64]
    rest: NDArray[np.int64] | None


def as_float64(values: NDArray[Any]) -> Widened:
    """The values as float64 and the rest; every NaN becomes the same NaN."""
    wide = values.astype(np.float64)
    if values.dtype.kind == "f":
        missing = np.isnan(wide)
        if missing.any():
            wide[missing] = np.nan
        return Widened(wide, None)
    if values.dtype.itemsize < np.dtype(np.int64).itemsize:
        return Widened(wide, None)
    # The last integers round up to a float that is no such integer, and what a processor makes
    # of that one differs: they are counted from it by hand.
    beyond = wide >= float(np.iinfo(values.dtype).max)
    rest = (values - np.where(beyond, 0.0, wide).astype(values.dtype)).astype(np.int64)
    if values.dtype.kind == "i":
        rest[beyond] += np.iinfo(np.int64).min
    return Widened(wide, rest if rest.any() else None)


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
        return exact_cast(_native(values), np.dtype(np.int64))
    except InexactValue as error:
        msg = f"an offset is not a whole number: {error}"
        raise DamagedInput(msg) from error


def to_ids(
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

    return to_positions(genes, n_genes, "gene", owner).astype(np.uint32, copy=False)


def to_positions(
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
    found = _native(found)
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


def _native(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind == "b":
        return values.view(np.uint8)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _check_lengths(
    rows: RowRange, counts: NDArray[np.int64], genes: NDArray[Any], values: NDArray[Any]
) -> None:
    if len(counts) != len(rows):
        msg = f"{len(counts):,} cells were read where {len(rows):,} were declared"
        raise DamagedInput(msg)
    if len(counts) and int(counts.min()) < 0:
        cell = rows.start + int(np.argmin(counts))
        msg = f"the offsets of the cells decrease at cell {cell}"
        raise DamagedInput(msg)
    total = int(counts.sum())
    if not total == len(genes) == len(values):
        msg = (
            f"cells {rows.start} to {rows.stop} should hold {total:,} entries, but there are "
            f"{len(genes):,} gene positions and {len(values):,} values"
        )
        raise DamagedInput(msg)


def _strictly_ascending(genes: NDArray[np.uint32], counts: NDArray[np.int64]) -> bool:
    if len(genes) < 2:  # noqa: PLR2004 - one entry is in order
        return True
    ascends = genes[1:] > genes[:-1]
    if ascends.all():
        return True
    starts = np.cumsum(counts)[:-1]
    starts = starts[(starts > 0) & (starts < len(genes))]
    ascends[starts - 1] = True
    return bool(ascends.all())


def _sorted_and_summed(
    rows: RowRange, genes: NDArray[np.uint32], values: NDArray[Any], counts: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[Any], NDArray[np.int64]]:
    owners = np.repeat(np.arange(len(counts), dtype=np.uint64), counts)
    keys = (owners << np.uint64(32)) | genes
    order = np.argsort(keys)
    first = np.ones(len(keys), dtype=np.bool_)
    first[1:] = np.diff(keys[order]) != 0
    if first.all():
        return genes[order], values[order], counts
    # Repeated entries are summed in the order of the file, wherever it is cut.
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(first)
    kept = order[starts]
    counts = np.bincount(owners[kept].astype(np.int64), minlength=len(counts))
    sums, beyond = _sums(values[order], starts)
    if beyond is not None:
        msg = (
            f"the entries of cell {rows.start + int(owners[kept[beyond]])} for gene "
            f"{int(genes[kept[beyond]])} add up to more than 64 bits hold; correct them"
        )
        raise InexactValue(msg)
    return genes[kept], sums, counts


def _sums(values: NDArray[Any], starts: NDArray[np.intp]) -> tuple[NDArray[Any], int | None]:
    """The sums of runs of values, and the first that is beyond its type, if there is one."""
    if values.dtype.kind == "f":
        return _float_sums(values.astype(np.float64), starts)
    wide = values if values.dtype == np.uint64 else exact_cast(values, np.dtype(np.int64))
    sums = np.add.reduceat(wide, starts)
    # A sum that has wrapped around is 2**64 away from what floats make of it, or a multiple.
    rough = np.add.reduceat(wide.astype(np.float64), starts)
    wrapped = np.abs(rough - sums.astype(np.float64)) > 2.0**62
    return sums, int(np.argmax(wrapped)) if wrapped.any() else None


def _float_sums(
    values: NDArray[np.float64], starts: NDArray[np.intp]
) -> tuple[NDArray[np.float64], int | None]:
    with np.errstate(invalid="ignore", over="ignore"):
        sums = np.add.reduceat(values, starts)
    infinite = np.isinf(sums)
    if infinite.any():
        infinite &= ~np.logical_or.reduceat(np.isinf(values), starts)
    return sums, int(np.argmax(infinite)) if infinite.any() else None
