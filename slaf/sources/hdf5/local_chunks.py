"""Read the chunks of HDF5 arrays in local files without HDF5, and so without its lock."""

from __future__ import annotations

import math
import os
import threading
import weakref
from array import array
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from slaf.kernels import kernels
from slaf.kernels.reference import Windows
from slaf.sources.hdf5.chunks import ChunkLabel, impossible_chunk, largest_chunk
from slaf.sources.hdf5.elements import kept, layout_of

if TYPE_CHECKING:
    import h5py
    from numpy.typing import NDArray

__all__ = ["LocalChunks"]

_LARGEST_OFFSET = 2**63 - 1

# The bytes that are read at once: the next chunk, or that of the next cells, often follows.
_WINDOW_BYTES = 4 << 10

# Larger chunks: one window seldom holds two.
_SMALL_BYTES = 64 << 10


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
        self._chunks = np.array(layout_of(dataset).chunks, np.uint64)
        self._counts = tuple(counts)
        self._starts, self._sizes, self._skipped = _index(dataset, self._chunks, self._counts)
        self._descriptor = _opened_again(dataset.file)
        weakref.finalize(self, os.close, self._descriptor)
        self._largest = min(largest_chunk(dataset), os.fstat(self._descriptor).st_size)
        self._largest_packed = min(int(self._sizes.max(initial=0)), self._largest)
        self._kept = threading.local()

    @staticmethod
    def serves(dataset: h5py.Dataset) -> bool:
        """Whether a dataset is in a local file, with all its chunks where HDF5 says."""
        of_file = kept(dataset).of_file
        if "local" not in of_file:
            file = dataset.file
            of_file["local"] = file.driver == "sec2" and not file.userblock_size
        return bool(of_file["local"]) and dataset.id.get_num_chunks() == math.prod(_counts(dataset))

    def read_raw(self, origin: tuple[int, ...]) -> tuple[int, bytes]:
        """The skipped filters and the bytes of a chunk.

        Raises
        ------
        DamagedInput
            If the chunk is larger than possible, or the file ends before it does.
        """
        at = self._places(np.array([origin]))[0]
        start, size = int(self._starts[at]), int(self._sizes[at])
        is_possible = size <= self._largest and start <= _LARGEST_OFFSET
        raw = _read_at(self._descriptor, size, start) if is_possible else b""
        if not size or len(raw) != size:
            raise impossible_chunk(ChunkLabel(self._name, origin))
        return int(self._skipped[at]), raw

    def inflate(self, origins: NDArray[np.int64], out: NDArray[np.uint8]) -> int:
        """Undo deflate, the last filter of some chunks.

        Parameters
        ----------
        origins
            Their positions.
        out
            An array of chunks × bytes.

        Returns
        -------
        int
            How many were written, from the first on; the next one is for `read_raw`.
        """
        places = self._places(origins)
        starts, sizes = self._starts[places], self._sizes[places]
        if self._skipped[places].any() or sizes.max(initial=0) > self._largest:
            return 0
        windows = self._windows(*out.shape)
        return kernels().inflate(self._descriptor, starts, sizes, out, windows)

    def _windows(self, n_chunks: int, n_bytes: int) -> Windows:
        """The windows of this thread for so many chunks; not much larger than these."""
        size = max(self._largest_packed, min(n_bytes, _WINDOW_BYTES))
        number = n_chunks if size <= 2 * n_bytes <= 2 * _SMALL_BYTES else 1
        windows: Windows | None = getattr(self._kept, "windows", None)
        if windows is None or (len(windows.data), windows.size) != (number, size):
            windows = self._kept.windows = Windows(number, size)
        return windows

    def _places(self, origins: NDArray[np.int64]) -> NDArray[np.intp]:
        return _places(origins.astype(np.uint64), self._chunks, self._counts)


def _index(
    dataset: h5py.Dataset, chunks: NDArray[np.uint64], counts: tuple[int, ...]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]]:
    """The first byte, the size and the skipped filters of each chunk, row by row."""
    found = array("Q")  # in one pass, and without an object for each of perhaps a million chunks

    def note(chunk: h5py.h5d.StoreInfo) -> None:
        found.extend(chunk.chunk_offset + chunk[1:])

    dataset.id.chunk_iter(note)
    table = np.frombuffer(found, np.uint64).reshape(-1, len(counts) + 3)
    origins = table[:, : len(counts)]
    is_in = (origins // chunks < np.array(counts)).all(axis=1)  # else the index is damaged
    columns = np.zeros((3, math.prod(counts)), np.uint64)
    columns[:, _places(origins[is_in], chunks, counts)] = table[is_in, len(counts) :].T
    skipped, starts, sizes = columns
    return starts, sizes, skipped


def _places(
    origins: NDArray[np.uint64], chunks: NDArray[np.uint64], counts: tuple[int, ...]
) -> NDArray[np.intp]:
    """The positions of chunks, counted row by row."""
    axes = (origins // chunks).astype(np.intp).T
    at: NDArray[np.intp] = axes[0] if len(axes) == 1 else np.ravel_multi_index(tuple(axes), counts)
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
    pairs = zip(dataset.shape, layout_of(dataset).chunks or (), strict=True)
    return [-(-size // chunk) for size, chunk in pairs]
