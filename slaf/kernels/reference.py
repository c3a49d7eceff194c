"""The kernels in numpy: what the compiled ones are tested with, and what replaces them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["DenseCells", "Entries", "Gather", "Kernels", "Sums", "Tiles", "Windows"]

# The sum, the sum of squares, the least and the largest of some whole numbers.
Sums = tuple[int, int, int, int]

# Rows, columns and values.
Entries: TypeAlias = "tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[Any] | None]"

# Writes some rows into an array.
Gather: TypeAlias = "Callable[[NDArray[np.int64], NDArray[Any]], None]"


class Tiles(NamedTuple):
    """Some whole cells of a dense matrix, in parts of one shape.

    Attributes
    ----------
    values
        Parts × cells × genes, in any order of memory.
    cells, genes
        The positions of the first cell and the first gene of each part, which may be below 0.
        Those of a cell are in the order of genes.
    shape
        The number of cells and genes; elements beyond them are left out.
    """

    values: NDArray[Any]
    cells: NDArray[np.int64]
    genes: NDArray[np.int64]
    shape: tuple[int, int]

    @classmethod
    def of(cls, block: NDArray[Any]) -> Tiles:
        """Whole cells in one part."""
        start = np.zeros(1, np.int64)
        return cls(block[np.newaxis], start, start, (block.shape[0], block.shape[1]))


class DenseCells:
    """Whole cells of a dense matrix, of which the nonzero elements are read.

    Parameters
    ----------
    tiles
        Their elements.

    Attributes
    ----------
    counts
        The nonzero elements of each cell.
    """

    def __init__(self, tiles: Tiles) -> None:
        self._tiles = tiles
        self.counts = np.zeros(tiles.shape[0], np.int64)
        for part, cell, _ in self._parts(0, tiles.shape[0]):
            self.counts[cell : cell + len(part)] += (part != 0).sum(axis=1)

    def write(self, first: int, stop: int, genes: NDArray[np.uint32], values: NDArray[Any]) -> None:
        """Write genes and values of the nonzero elements of these cells, by cell and gene.

        Parameters
        ----------
        first, stop
            The cells from `first` to before `stop`.
        genes, values
            Arrays of as many elements as these cells have; values of the type of the tiles.
        """
        columns: list[list[NDArray[Any]]] = [[], [], []]
        for part, cell, gene in self._parts(first, stop):
            rows, positions = np.nonzero(part)
            entries = rows + cell, positions + gene, part[rows, positions]
            for column, entry in zip(columns, entries, strict=True):
                column.append(entry)
        cells, all_genes, all_values = map(_joined, columns)
        order = np.argsort(cells, kind="stable")
        genes[:], values[:] = all_genes[order], all_values[order]

    def _parts(self, first: int, stop: int) -> Iterator[tuple[NDArray[Any], int, int]]:
        """The part of each tile in these cells, with its first cell and gene."""
        values, cells, genes, (_, n_genes) = self._tiles
        for part, cell, gene in zip(values, cells.tolist(), genes.tolist(), strict=True):
            row, column = max(first - cell, 0), max(-gene, 0)
            kept = part[row : max(stop - cell, 0), column : max(n_genes - gene, 0)]
            if kept.size:
                yield kept, cell + row, gene + column


class Windows:
    """The bytes of a file that were read with its chunks, which may hold the next chunks too.

    Parameters
    ----------
    number
        At least 1. With as many as chunks, each finds what was read with the chunk in its place.
    size
        The bytes of each; a larger chunk is not inflated.

    Attributes
    ----------
    spans
        The first byte of each in the file, and how many were read.
    data
        The bytes, and room behind them.
    size
        As given.
    """

    # As in inflate.c.
    _PADDING = 64

    def __init__(self, number: int, size: int) -> None:
        self.size = size
        self.spans = np.zeros((number, 2), np.uint64)
        self.data = np.empty((number, size + self._PADDING), np.uint8)


class Kernels:
    """Passes over the entries of a matrix."""

    def cast(self, values: NDArray[Any], out: NDArray[Any]) -> bool:
        """Write values in another type; whether it holds all of them exactly.

        Parameters
        ----------
        values
            Numbers.
        out
            As many numbers of another type; undefined, if that does not hold all.
        """
        # Casting back finds the values that do not fit; numpy need not warn.
        with np.errstate(invalid="ignore", over="ignore"):
            np.copyto(out, values, casting="unsafe")
        return first_changed(values, out) is None

    def positions(
        self, positions: NDArray[Any], out: NDArray[np.uint32], start: int, size: int
    ) -> int:
        """Write positions on an axis as uint32.

        Parameters
        ----------
        positions
            Integers in the byte order of this machine.
        out
            An array in which the positions of earlier calls are written before `start`.
        start
            Where the first of these is written.
        size
            The length of the axis.

        Returns
        -------
        int
            The number of positions that are not above the one before, in this call or an earlier
            one; −1 if a position is not on the axis.
        """
        # As unsigned numbers negative positions are huge: one pass finds both errors.
        unsigned = positions.view(f"u{positions.dtype.itemsize}")
        if len(unsigned) and int(unsigned.max()) >= size:
            return -1
        stop = start + len(unsigned)
        out[start:stop] = unsigned
        with_last = out[max(start - 1, 0) : stop]
        return int(np.count_nonzero(with_last[1:] <= with_last[:-1]))

    def repeat(self, first: int, counts: NDArray[np.int64], out: NDArray[np.uint32]) -> None:
        """Write `first`, `first + 1` and so on, each as often as its count says."""
        ids = np.arange(first, first + len(counts), dtype=np.uint32)
        out[:] = np.repeat(ids, counts)

    def sums(self, values: NDArray[np.uint16]) -> Sums:
        """The sum, the sum of squares, the least and the largest of at least one number."""
        wide = values.astype(np.uint64)
        squares = np.einsum("i,i->", wide, wide)
        return int(wide.sum()), int(squares), int(values.min()), int(values.max())

    def row_sums(self, counts: NDArray[np.int64], values: NDArray[Any]) -> NDArray[Any]:
        """The sum of each row of entries: of floats float64, added from left to right.

        Parameters
        ----------
        counts
            The number of entries in each row.
        values
            The entries; int64 holds the sum of the whole numbers of a row.
        """
        if values.dtype.kind == "f":
            rows = np.repeat(np.arange(len(counts)), counts)
            # numpy counts whole numbers where there are no entries.
            return np.bincount(rows, values, len(counts)).astype(np.float64, copy=False)
        # Sums of all rows may wrap around, and their differences are right.
        sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(values, dtype=np.int64)])
        ends = np.cumsum(counts)
        totals: NDArray[Any] = sums[ends] - sums[ends - counts]
        return totals

    def scale(
        self,
        counts: NDArray[np.int64],
        values: NDArray[Any],
        factors: NDArray[np.float64],
        out: NDArray[Any],
    ) -> bool:
        """Write the entries of each row times its factor, in float64, rounded once.

        Parameters
        ----------
        counts, values
            As for `row_sums`.
        factors
            The factor of each row.
        out
            As many floats.

        Returns
        -------
        bool
            True if one of them is infinite.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            np.copyto(out, values * np.repeat(factors, counts), casting="unsafe")
        return bool(np.isinf(out).any())

    def select(
        self,
        counts: NDArray[np.int64],
        columns: NDArray[Any],
        values: NDArray[Any],
        places: NDArray[np.int32],
    ) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[Any]]:
        """The entries in some columns: their number in each row, their places, and their values.

        Parameters
        ----------
        counts, columns, values
            The number of entries in each row, the column of each entry, and its value.
        places
            The place of each column among some of them; −1 for the others.

        Raises
        ------
        IndexError
            If a column is outside.
        """
        at = places[columns]
        kept = np.flatnonzero(at >= 0)
        bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        return np.diff(np.searchsorted(kept, bounds)), at[kept], values[kept]

    def gather(
        self,
        arrays: Sequence[NDArray[Any]],
        array: NDArray[np.int64],
        starts: NDArray[np.int64],
        stops: NDArray[np.int64],
    ) -> Gather:
        """A function that writes some of many rows one after the other.

        Parameters
        ----------
        arrays
            Arrays of one type.
        array, starts, stops
            The array of each row, and its elements in it.

        Returns
        -------
        Callable
            Of the positions of rows, and of an array of as many elements, whose type holds them.
        """

        def write(rows: NDArray[np.int64], out: NDArray[Any]) -> None:
            places = (each[rows].tolist() for each in (array, starts, stops))
            pieces = [arrays[at][start:stop] for at, start, stop in zip(*places, strict=True)]
            np.concatenate([out[:0], *pieces], out=out, casting="unsafe")

        return write

    def dense(
        self,
        indptr: NDArray[np.int64],
        genes: NDArray[np.int32],
        values: NDArray[Any],
        out: NDArray[np.float32],
    ) -> None:
        """Write rows of entries as whole rows, zero elsewhere.

        Parameters
        ----------
        indptr
            The first entry of each row, and the end of the last.
        genes, values
            The column and the value of each entry.
        out
            Rows × columns.

        Raises
        ------
        IndexError
            If a column is outside.
        """
        out[:] = 0
        out[np.repeat(np.arange(len(out)), np.diff(indptr)), genes] = values

    def unshuffle(self, raw: bytes | memoryview, itemsize: int) -> NDArray[np.uint8]:
        """The bytes of elements whose first bytes are together, then their second ones, and so on.

        Parameters
        ----------
        raw
            A multiple of `itemsize` bytes.
        itemsize
            The bytes of an element.
        """
        planes = np.frombuffer(raw, np.uint8).reshape(itemsize, -1)
        elements = np.zeros((planes.shape[1], itemsize), np.uint8)
        for at, plane in enumerate(planes):
            # Most bytes of small numbers are zero: checking costs a tenth of copying.
            if plane.any():
                elements[:, at] = plane
        return elements.reshape(-1)

    def inflate(
        self,
        file: int,  # noqa: ARG002
        starts: NDArray[np.uint64],  # noqa: ARG002
        sizes: NDArray[np.uint64],  # noqa: ARG002
        out: NDArray[np.uint8],  # noqa: ARG002
        windows: Windows,  # noqa: ARG002
    ) -> int:
        """Read chunks from a file and inflate them, in order, as far as that goes.

        Parameters
        ----------
        file
            The descriptor of the file.
        starts, sizes
            The first byte of each chunk, and how many there are: a whole zlib stream.
        out
            An array of chunks × bytes.
        windows
            The bytes of the file that earlier calls read.

        Returns
        -------
        int
            How many chunks were written: those before the first that is not a stream of so many
            bytes. It is always 0 in numpy, which inflates nothing.
        """
        return 0

    def dense_cells(self, tiles: Tiles) -> DenseCells:
        """Whole cells of a dense matrix, of which the nonzero elements are read."""
        return DenseCells(tiles)

    def entries(
        self,
        text: bytes,  # noqa: ARG002
        shape: tuple[int, int],  # noqa: ARG002
        dtype: np.dtype[Any] | None,  # noqa: ARG002
    ) -> Entries | None:
        """The entries in whole lines of an MTX file.

        Parameters
        ----------
        text
            Lines of a row, a column and a value, which are whole numbers of at most nine digits.
        shape
            The numbers of rows and columns.
        dtype
            The type of the values, of 64 bits; None for lines without a value.

        Returns
        -------
        tuple or None
            Rows and columns, counted from 0, and values (None without); or None, if a line is
            anything else, or out of range. It is always None in numpy, which parses no text.
        """
        return None

    def distribute(
        self,
        cells: NDArray[np.uint32],
        genes: NDArray[np.uint32],
        values: NDArray[Any],
        *,
        width: int,
        out: NDArray[Any],
        bounds: NDArray[np.int64],
    ) -> None:
        """Write entries as records, by bucket of so many cells, those of one in their order.

        Parameters
        ----------
        cells, genes, values
            The entries.
        width
            The number of cells in a bucket.
        out
            Records of a "cell", counted from the first of its bucket, a "gene" and a "value".
        bounds
            Receives the first record of each bucket, and the number of records.

        Raises
        ------
        IndexError
            If a cell is in no bucket.
        """
        buckets = cells // np.uint32(width)
        if len(buckets) and int(buckets.max()) >= len(bounds) - 1:
            msg = f"cell {cells.max()} is in none of {len(bounds) - 1} buckets of {width}"
            raise IndexError(msg)
        # numpy sorts numbers of 8 and 16 bits by radix.
        order = np.argsort(buckets.astype(np.min_scalar_type(len(bounds))), kind="stable")
        # Column by column: numpy moves whole records several times slower.
        out["cell"] = (cells - buckets * np.uint32(width))[order]
        out["gene"], out["value"] = genes[order], values[order]
        bounds[0] = 0
        np.cumsum(np.bincount(buckets, minlength=len(bounds) - 1), out=bounds[1:])

    def count_cells(self, records: NDArray[Any], counts: NDArray[np.int64]) -> None:
        """Add how many records each cell has.

        Parameters
        ----------
        records
            As `distribute` writes them.
        counts
            The number so far, of each cell.
        """
        counts += np.bincount(records["cell"], minlength=len(counts))

    def place(
        self,
        records: NDArray[Any],
        ends: NDArray[np.int64],
        genes: NDArray[Any],
        values: NDArray[Any],
    ) -> None:
        """Write genes and values of records to the next places of their cells, in their order.

        Parameters
        ----------
        records
            As `distribute` writes them.
        ends
            The next place of each cell, which moves on.
        genes, values
            Arrays of the types of the records.
        """
        order = np.argsort(records["cell"], kind="stable")
        counts = np.bincount(records["cell"], minlength=len(ends))
        # The distance of the entries of each cell from their positions in the sorted records.
        targets = np.arange(len(records)) + np.repeat(ends - np.cumsum(counts) + counts, counts)
        genes[targets], values[targets] = records["gene"][order], records["value"][order]
        ends += counts


def _joined(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.zeros(0, np.int64)


# The limits up to which a float type holds every whole number.
_LARGEST_EXACT = {
    np.dtype(np.float16): 2**11,
    np.dtype(np.float32): 2**24,
    np.dtype(np.float64): 2**53,
}


def first_changed(values: NDArray[Any], cast: NDArray[Any]) -> int | None:
    """The position of the first value that a cast has changed; None if there is none."""
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
        # A signed number and an unsigned one may have the same bits.
        same &= (values >= 0) & (cast >= 0)
    return None if same.all() else int(np.argmin(same))


def _within(floats: NDArray[Any], limits: np.iinfo[Any]) -> NDArray[np.bool_]:
    """A mask of the floats within the limits of an integer; beyond, a cast back proves nothing.

    2**32 as float32 may be cast to the uint32 2**32 - 1, which as float32 is 2**32 again.
    """
    # As float16 the limits themselves would be infinite.
    wide = floats.astype(np.float32) if floats.dtype == np.float16 else floats
    return (wide >= float(limits.min)) & (wide < float(limits.max) + 1.0)
