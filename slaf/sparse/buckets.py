"""Entries of some cells in any order: kept in a file or in memory, then sorted by cell."""

from __future__ import annotations

import os
import tempfile
import weakref
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np

from slaf.errors import InexactValue, StorageError
from slaf.kernels import kernels
from slaf.sparse.batch import BATCH_NONZEROS, Batch, batch_from_compressed
from slaf.sparse.casting import exact_cast
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = [
    "MAX_CELLS",
    "Bucket",
    "Coo",
    "FileBucket",
    "MemoryBucket",
    "NarrowType",
    "SortedBucket",
    "record_type",
]

# Cells of a bucket fit 16 bits.
MAX_CELLS = 1 << 16

# Types for whole numbers that fit them: counts hardly ever need the bits of their source.
_NARROW_TYPES = (np.dtype("<u2"), np.dtype("<u4"))


@dataclass(frozen=True, slots=True)
class Coo:
    """Entries of a matrix, in any order: three arrays of one length."""

    cells: NDArray[Any]
    genes: NDArray[Any]
    values: NDArray[Any]


def record_type(values: np.dtype[Any], n_genes: int) -> np.dtype[Any]:
    """The type of an entry; cells are counted from the first of their bucket."""
    gene = "<u2" if n_genes <= MAX_CELLS else "<u4"
    return np.dtype([("cell", "<u2"), ("gene", gene), ("value", values)])


class Bucket(Protocol):
    """The entries of some cells.

    Attributes
    ----------
    record
        A type that holds every entry: "cell", counted from the bucket's first, "gene" and "value".
    in_order
        True if the cells ascend.
    """

    record: np.dtype[Any]
    in_order: bool

    def __len__(self) -> int:
        """The number of entries."""

    def records(self, size: int) -> Iterator[NDArray[Any]]:
        """All records, in the order of `append`, at most `size` at a time."""


@dataclass(slots=True)
class _Run:
    """Records of one type, one after the other in a file."""

    record: np.dtype[Any]
    offset: int
    length: int = 0


class FileBucket:
    """The entries of some cells, in an unnamed file.

    Parameters
    ----------
    record
        A type that holds every entry.
    scratch
        The directory of the file.

    Attributes
    ----------
    record
        The type of the entries so far: "cell", counted from the bucket's first, "gene" and "value".
    in_order
        True if the cells ascend.
    """

    def __init__(self, record: np.dtype[Any], scratch: str | os.PathLike[str]) -> None:
        self.record = record
        self.in_order = True
        self._scratch = scratch
        self._file: IO[bytes] | None = None
        self._runs: list[_Run] = []
        self._size = 0
        self._last_cell = 0

    def __len__(self) -> int:
        return sum(run.length for run in self._runs)

    def append(self, records: NDArray[Any], *, in_order: bool) -> None:
        """Append entries, whose type may be wider than that of the entries before.

        Parameters
        ----------
        records
            The entries, with the fields of `record`.
        in_order
            True if their cells ascend.

        Raises
        ------
        StorageError
            If the disk is full.
        """
        if not len(records):
            return
        if not self._runs or self.record != records.dtype:
            self.record = records.dtype
            self._runs.append(_Run(records.dtype, self._size))
        self.in_order &= in_order and int(records["cell"][0]) >= self._last_cell
        self._last_cell = int(records["cell"][-1])
        self._write(np.ascontiguousarray(records).view(np.uint8).data)
        self._runs[-1].length += len(records)

    def close(self) -> None:
        """Free the file."""
        if self._file is not None:
            self._file.close()

    def pieces(self, size: int) -> Iterator[Coo]:
        """All entries, in the order of `append`, at most `size` at a time."""
        for records in self.records(size):
            yield Coo(records["cell"], records["gene"], records["value"])

    def records(self, size: int) -> Iterator[NDArray[Any]]:
        """All records, in the order of `append`, at most `size` at a time."""
        for run in self._runs:
            for part in RowRange(0, run.length).split(size):
                yield self._read(run, part)

    def _write(self, view: memoryview) -> None:
        try:
            file = self._open()
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

    def _open(self) -> IO[bytes]:
        if self._file is None:
            # Without a name the system removes it even if this process is killed.
            self._file = tempfile.TemporaryFile(dir=self._scratch, buffering=0)  # noqa: SIM115
            weakref.finalize(self, self._file.close)
        return self._file

    def _read(self, run: _Run, part: RowRange) -> NDArray[Any]:
        buffer = bytearray(len(part) * run.record.itemsize)
        view = memoryview(buffer)
        offset = run.offset + part.start * run.record.itemsize
        while view:
            n_read = os.preadv(self._open().fileno(), [view], offset)
            view, offset = view[n_read:], offset + n_read
        return np.frombuffer(buffer, run.record)


class MemoryBucket:
    """The entries of some cells, in memory.

    Parameters
    ----------
    shape
        The numbers of its cells, at most `MAX_CELLS`, and of all genes.
    dtype
        The type of the values.

    Attributes
    ----------
    record
        The type of the entries so far: "cell", "gene" and "value".
    """

    in_order = False

    def __init__(self, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self._n_cells, self._n_genes = shape
        self._narrow = NarrowType(dtype)
        self._pieces: list[NDArray[Any]] = []
        self._length = 0
        self.record = record_type(self._narrow.dtype, self._n_genes)

    def __len__(self) -> int:
        return self._length

    def append(self, entries: Coo) -> None:
        """Append entries; their cells, which exist, are counted from the first of the bucket."""
        values = np.ascontiguousarray(self._narrow.cast(entries.values))
        cells, genes = (each.astype(np.uint32) for each in (entries.cells, entries.genes))
        self.record = record_type(values.dtype, self._n_genes)
        records, bounds = np.empty(len(cells), self.record), np.zeros(2, np.int64)
        kernels().distribute(cells, genes, values, width=self._n_cells, out=records, bounds=bounds)
        self._pieces.append(records)
        self._length += len(records)

    def records(self, size: int) -> Iterator[NDArray[Any]]:
        """All records, in the order of `append`, at most `size` at a time."""
        for records in self._pieces:
            for part in RowRange(0, len(records)).split(size):
                yield records[part.start : part.stop]


class SortedBucket:
    """The entries of a bucket in memory, in the order of its cells.

    Parameters
    ----------
    bucket
        The entries.
    shape
        The numbers of its cells and of all genes.
    size
        The entries to read and sort at a time.
    """

    def __init__(self, bucket: Bucket, shape: tuple[int, int], size: int) -> None:
        n_cells, self._n_genes = shape
        self._indptr = np.zeros(n_cells + 1, np.int64)
        self._genes = np.empty(len(bucket), bucket.record["gene"])
        self._values = np.empty(len(bucket), bucket.record["value"])
        end = 0
        for records in bucket.records(size):
            kernels().count_cells(records, self._indptr[1:])
            if bucket.in_order:
                start, end = end, end + len(records)
                self._genes[start:end] = records["gene"]
                self._values[start:end] = records["value"]
        np.cumsum(self._indptr, out=self._indptr)
        if not bucket.in_order:
            # A piece at a time, to need little memory besides the result.
            ends = self._indptr[:-1].copy()
            for records in bucket.records(size):
                wide = records.astype(bucket.record, copy=False)
                kernels().place(wide, ends, self._genes, self._values)

    def close(self) -> None:
        """Nothing: it has no file."""

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """The batches of a range of cells, counted from the bucket's first, in order."""
        low, high = int(self._indptr[rows.start]), int(self._indptr[rows.stop])
        n_batches = max((high - low) // BATCH_NONZEROS, 1)
        for part in rows.split(max(-(-len(rows) // n_batches), 1)):
            indptr = self._indptr[part.start : part.stop + 1]
            span = slice(int(indptr[0]), int(indptr[-1]))
            # Copies: a batch in a queue must not keep the whole bucket in memory.
            genes, values = self._genes[span].copy(), self._values[span].copy()
            yield batch_from_compressed(part, indptr, genes, values, self._n_genes)


class NarrowType:
    """The narrowest type of all values so far: an unsigned one if all are whole, none negative.

    Parameters
    ----------
    dtype
        The type of the matrix; values may have a narrower one, and sums of them a wider one.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._candidates = [narrow for narrow in _NARROW_TYPES if narrow.itemsize < dtype.itemsize]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The narrowest type so far."""
        return self._candidates[0] if self._candidates else self._dtype

    def cast(self, values: NDArray[Any]) -> NDArray[Any]:
        """These values in the narrowest type that holds them and all before."""
        while self._candidates:
            try:
                return exact_cast(values, self._candidates[0])
            except InexactValue:
                del self._candidates[0]
        if not (self._dtype == np.uint64 and values.dtype.kind == "i" and (values >= 0).all()):
            self._dtype = np.result_type(self._dtype, values.dtype)
        return exact_cast(values, self._dtype)
