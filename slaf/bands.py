"""The entries of some cells: as they came, in a file without a name, and sorted, in memory."""

from __future__ import annotations

import os
import tempfile
import weakref
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from slaf.arrays import BATCH_NONZEROS, Batch, RowRange, batch_from_compressed
from slaf.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["Band", "Entries", "SortedBand", "ascend", "stable_order"]


@dataclass(frozen=True, slots=True)
class Entries:
    """Some entries of a matrix, in any order: three arrays of one length."""

    cells: NDArray[Any]
    genes: NDArray[Any]
    values: NDArray[Any]


def ascend(numbers: NDArray[Any]) -> bool:
    """Whether none is smaller than the one before."""
    return bool((numbers[1:] >= numbers[:-1]).all())


def stable_order(numbers: NDArray[Any]) -> NDArray[np.intp] | slice:
    """What puts numbers in ascending order, and leaves equal ones in theirs."""
    return slice(None) if ascend(numbers) else np.argsort(numbers, kind="stable")


@dataclass(slots=True)
class _Stretch:
    """Records of one type, one after the other in the file."""

    record: np.dtype[Any]
    offset: int
    length: int = 0


class Band:
    """The entries of some cells, in an unnamed file.

    Parameters
    ----------
    record
        What holds any of them.
    scratch
        The directory of the file.

    Attributes
    ----------
    record
        What holds each of those that are there: "cell", counted from the band's first, "gene"
        and "value".
    in_order
        Whether their cells ascend.
    """

    def __init__(self, record: np.dtype[Any], scratch: str | os.PathLike[str]) -> None:
        self.record = record
        self.in_order = True
        self._scratch = scratch
        self._file: IO[bytes] | None = None
        self._stretches: list[_Stretch] = []
        self._size = 0
        self._last_cell = 0

    def __len__(self) -> int:
        return sum(stretch.length for stretch in self._stretches)

    def append(self, records: NDArray[Any], *, in_order: bool) -> None:
        """Put entries behind those that are there; their types may only become wider.

        Parameters
        ----------
        records
            With the fields of `record`.
        in_order
            Whether their cells ascend.

        Raises
        ------
        StorageError
            If the disk is full.
        """
        if not len(records):
            return
        if not self._stretches or self.record != records.dtype:
            self.record = records.dtype
            self._stretches.append(_Stretch(records.dtype, self._size))
        self.in_order &= in_order and int(records["cell"][0]) >= self._last_cell
        self._last_cell = int(records["cell"][-1])
        self._write(np.ascontiguousarray(records).view(np.uint8).data)
        self._stretches[-1].length += len(records)

    def close(self) -> None:
        """Free the file."""
        if self._file is not None:
            self._file.close()

    def pieces(self, size: int) -> Iterator[Entries]:
        """All of them, as they came, so many at a time at the most."""
        for stretch in self._stretches:
            for part in RowRange(0, stretch.length).split(size):
                records = self._read(stretch, part)
                yield Entries(records["cell"], records["gene"], records["value"])

    def _write(self, view: memoryview) -> None:
        try:
            file = self._opened()
            while view:
                written = file.write(view)
                self._size += written
                view = view[written:]
        except OSError as error:
            msg = (
                f"{self._scratch}: scratch data cannot be written there ({error.strerror}); "
                "name another directory with --scratch"
            )
            raise StorageError(error.errno, msg) from error

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            # It has no name, so that nothing is left of it whatever becomes of this process.
            self._file = tempfile.TemporaryFile(dir=self._scratch, buffering=0)  # noqa: SIM115
            weakref.finalize(self, self._file.close)
        return self._file

    def _read(self, stretch: _Stretch, part: RowRange) -> NDArray[Any]:
        size = stretch.record.itemsize
        buffer = bytearray(len(part) * size)
        view = memoryview(buffer)
        at = stretch.offset + part.start * size
        while view:
            n_read = os.preadv(self._opened().fileno(), [view], at)
            view, at = view[n_read:], at + n_read
        return np.frombuffer(buffer, stretch.record)


class SortedBand:
    """The entries of a band in memory, in the order of its cells.

    Parameters
    ----------
    band
        What is sorted.
    shape
        Its cells, and all genes.
    size
        How many entries are read, and put in their places, at a time.
    """

    def __init__(self, band: Band, shape: tuple[int, int], size: int) -> None:
        n_cells, self._n_genes = shape
        self._indptr = np.zeros(n_cells + 1, np.int64)
        self._genes = np.empty(len(band), band.record["gene"])
        self._values = np.empty(len(band), band.record["value"])
        taken = 0
        for piece in band.pieces(size):
            self._indptr[1:] += np.bincount(piece.cells, minlength=n_cells)
            if band.in_order:
                there = slice(taken, taken + len(piece.cells))
                self._genes[there], self._values[there] = piece.genes, piece.values
                taken = there.stop
        np.cumsum(self._indptr, out=self._indptr)
        if not band.in_order:
            self._sort(band, size)

    def _sort(self, band: Band, size: int) -> None:
        # A piece at a time, so that beside the result there is next to nothing in memory.
        begun = self._indptr[:-1].copy()
        for piece in band.pieces(size):
            cells = np.ascontiguousarray(piece.cells)
            order = stable_order(cells)
            counts = np.bincount(cells, minlength=len(begun))
            # How far each cell's entries move from where they are in the sorted piece.
            moves = begun - (np.cumsum(counts) - counts)
            places = np.arange(len(cells)) + np.repeat(moves, counts)
            self._genes[places] = piece.genes[order]
            self._values[places] = piece.values[order]
            begun += counts

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, counted from the band's first, in order."""
        low, high = int(self._indptr[rows.start]), int(self._indptr[rows.stop])
        n_batches = max((high - low) // BATCH_NONZEROS, 1)
        for part in rows.split(max(-(-len(rows) // n_batches), 1)):
            indptr = self._indptr[part.start : part.stop + 1]
            span = slice(int(indptr[0]), int(indptr[-1]))
            # Copies: a batch that waits to be written must not keep its whole band in memory.
            genes, values = self._genes[span].copy(), self._values[span].copy()
            yield batch_from_compressed(part, indptr, genes, values, self._n_genes)
