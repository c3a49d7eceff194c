"""Read the chunks of HDF5 arrays in local files without HDF5, and so without its lock."""

from __future__ import annotations

import math
import os
import weakref
from array import array
from contextlib import suppress
from typing import TYPE_CHECKING

from slaf.errors import DamagedInput
from slaf.sources.hdf5.chunks import ChunkLabel, largest_chunk

if TYPE_CHECKING:
    import h5py

__all__ = ["LocalChunks"]

_LARGEST_OFFSET = 2**63 - 1


class LocalChunks:
    """The raw chunks of a dataset whose chunks were all written, by their origin.

    Parameters
    ----------
    dataset
        A dataset that `serves` accepts.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._name = str(dataset.name)
        counts = _counts(dataset)
        self._axes = tuple(zip(dataset.chunks, counts, strict=True))
        # In one pass over the index of HDF5; in arrays, for there may be a million chunks.
        n_chunks = math.prod(counts)
        self._starts, self._sizes = array("Q", bytes(8 * n_chunks)), array("Q", bytes(8 * n_chunks))
        self._skipped = array("L", bytes(array("L").itemsize * n_chunks))
        dataset.id.chunk_iter(self._note)
        self._descriptor = _opened_again(dataset.file)
        weakref.finalize(self, os.close, self._descriptor)
        self._largest = min(largest_chunk(dataset), os.fstat(self._descriptor).st_size)

    @staticmethod
    def serves(dataset: h5py.Dataset) -> bool:
        """Whether a dataset is in a local file, with all its chunks where HDF5 says."""
        file = dataset.file
        is_local = file.driver == "sec2" and not file.userblock_size
        return is_local and dataset.id.get_num_chunks() == math.prod(_counts(dataset))

    def read_raw(self, origin: tuple[int, ...]) -> tuple[int, bytes]:
        """The skipped filters and the bytes of a chunk.

        Raises
        ------
        DamagedInput
            If the chunk is larger than possible, or the file ends before it does.
        """
        at = self._index(origin)
        start, size = self._starts[at], self._sizes[at]
        is_possible = size <= self._largest and start <= _LARGEST_OFFSET
        raw = _read_at(self._descriptor, size, start) if is_possible else b""
        if not size or len(raw) != size:
            msg = f"{ChunkLabel(self._name, origin)} lies beyond its file"
            raise DamagedInput(msg)
        return self._skipped[at], raw

    def _note(self, chunk: h5py.h5d.StoreInfo) -> None:
        at = self._index(chunk.chunk_offset)
        if at >= len(self._starts):
            return  # of a damaged index
        self._starts[at], self._sizes[at] = chunk.byte_offset, chunk.size
        self._skipped[at] = chunk.filter_mask

    def _index(self, origin: tuple[int, ...]) -> int:
        at = 0
        for start, (size, count) in zip(origin, self._axes, strict=True):
            at = at * count + start // size
        return at


def _read_at(descriptor: int, size: int, start: int) -> bytes:
    """So many bytes of a file, or those before its end."""
    raw = os.pread(descriptor, size, start)
    # Linux reads at most 2 GiB at a time.
    while len(raw) < size and (more := os.pread(descriptor, size - len(raw), start + len(raw))):
        raw += more
    return raw


def _opened_again(file: h5py.File) -> int:
    """A descriptor of an open file: that of HDF5 may become another file's when it is closed.

    A duplicate would keep the lock of HDF5 too, for as long as anything refers to the chunks.
    """
    handle = file.id.get_vfd_handle()
    with suppress(OSError):
        descriptor = os.open(file.filename, os.O_RDONLY)
        if os.path.samestat(os.fstat(descriptor), os.fstat(handle)):
            return descriptor
        os.close(descriptor)
    return os.dup(handle)


def _counts(dataset: h5py.Dataset) -> list[int]:
    """The number of chunks along each axis."""
    return [-(-size // chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True)]
