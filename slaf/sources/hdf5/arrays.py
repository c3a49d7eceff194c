"""Read chunked HDF5 arrays fast, outside the lock of HDF5."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.errors import DamagedInput
from slaf.kernels import kernels
from slaf.sources.chunked import ChunkedArray
from slaf.sources.hdf5.chunks import (
    DEFLATE,
    SHUFFLE,
    ChunkLabel,
    check_chunks,
    decode_chunk,
    impossible_chunk,
    is_plain,
    largest_chunk,
)
from slaf.sources.hdf5.elements import layout_of
from slaf.sources.hdf5.file import numeric
from slaf.sources.hdf5.limits import check_arrays
from slaf.sources.hdf5.links import resolve_link
from slaf.sources.hdf5.local_chunks import LocalChunks
from slaf.sources.hdf5.remote_chunks import ContiguousArray, RemoteChunks
from slaf.sparse.casting import pooled_empty

if TYPE_CHECKING:
    import h5py
    from numpy.typing import NDArray

    from slaf.storage.remote_bytes import RemoteBytes

# Chunks that are inflated at once, in one call: they fit the cache of a processor.
_RUN_BYTES = 1 << 20
# Chunks that HDF5 may read while other threads wait for it.
_LARGEST_AT_ONCE = 1 << 20

__all__ = ["DeflatedArray", "open_1d", "open_compressed", "open_nd"]


def open_1d(
    dataset: h5py.Dataset, data: RemoteBytes | None = None
) -> h5py.Dataset | DeflatedArray | ContiguousArray:
    """An array of one dimension, opened for the fastest way of reading.

    Parameters
    ----------
    dataset
        The array.
    data
        The bytes of a remote file.

    Raises
    ------
    DamagedInput
        If it has not one dimension.
    """
    if dataset.shape is None or dataset.ndim != 1:
        msg = f"{dataset.name} has the shape {dataset.shape}, not one of a list"
        raise DamagedInput(msg)
    if data is not None and _is_contiguous(dataset) and is_plain(dataset):
        return ContiguousArray(dataset, data)
    return open_nd(dataset, data)


def open_nd(dataset: h5py.Dataset, data: RemoteBytes | None = None) -> h5py.Dataset | DeflatedArray:
    """An array, opened for the fastest way of reading: by raw chunks, deflated or not.

    Raises
    ------
    DamagedInput
        If HDF5 has to read it, and it has chunks of a wrong size.
    """
    if data is not None and _is_shifted(dataset):
        data = None
    layout = layout_of(dataset)
    filters = layout.filters
    is_raw = not filters and layout.chunks is not None
    is_raw = is_raw and (data is not None or LocalChunks.serves(dataset))
    if is_plain(dataset) and (is_raw or filters in {(DEFLATE,), (SHUFFLE, DEFLATE)}):
        return DeflatedArray(dataset, data)
    check_chunks(dataset)
    return dataset


def open_compressed(
    group: h5py.Group, label: str, data: RemoteBytes | None
) -> tuple[Any, Any, Any]:
    """The arrays indptr, indices and data of a sparse matrix, in a group that is checked.

    Raises
    ------
    InputError
        If one is missing, damaged, or does not hold numbers.
    """
    names = ("indptr", "indices", "data")
    parts = [numeric(resolve_link(group, name), f"{label}/{name}") for name in names]
    check_arrays(label, *parts)
    indptr, indices, values = (open_1d(part, data) for part in parts)
    return indptr, indices, values


def _is_contiguous(dataset: h5py.Dataset) -> bool:
    """True for an array whose elements are in one piece, where HDF5 says."""
    in_one_piece = layout_of(dataset).chunks is None and dataset.id.get_offset() is not None
    return in_one_piece and not _is_shifted(dataset)


def _is_shifted(dataset: h5py.Dataset) -> bool:
    """Whether the offsets of HDF5 count from behind a user block."""
    return bool(dataset.file.userblock_size)


class DeflatedArray(ChunkedArray):
    """A dataset read by raw chunks, without HDF5 and its lock.

    Files are not trusted: the size of each chunk is checked.

    Parameters
    ----------
    dataset
        Chunked, with no filter but shuffle and deflate.
    data
        The bytes of a remote file.
    """

    def __init__(self, dataset: h5py.Dataset, data: RemoteBytes | None = None) -> None:
        layout = layout_of(dataset)
        super().__init__(dataset.shape, dataset.dtype, layout.chunks or ())
        self._dataset = dataset
        self._filters = layout.filters
        self._data = data
        self._name = str(dataset.name)
        self._chunk_bytes = math.prod(self.chunks) * self.dtype.itemsize

    def read_chunk(self, origin: tuple[int, ...]) -> NDArray[Any]:
        """The elements of the chunk that begins here."""
        return np.frombuffer(self._decoded(origin), self.dtype).reshape(self.chunks)

    def read_run(self, start: int, stop: int) -> NDArray[Any]:
        """Elements of an array of one dimension: one or more whole chunks from `start` on."""
        if not self._is_inflated_in_runs:
            return super().read_run(start, stop)
        (size,) = self.chunks
        origins = np.arange(start, stop, size)[: _RUN_BYTES // self._chunk_bytes, np.newaxis]
        out = pooled_empty(len(origins) * size, self.dtype)
        self.read_chunks(origins, out)
        return out

    def read_chunks(self, origins: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Read the chunks that begin at these positions into an array of chunks."""
        raw = out.reshape(-1).view(np.uint8).reshape(len(origins), -1)
        done = self._inflate(origins, raw)
        for at, origin in enumerate(origins[done:].tolist(), done):
            raw[at].data[:] = self._decoded(tuple(origin))

    @cached_property
    def _is_inflated_in_runs(self) -> bool:
        """True for chunks that one call inflates; memory for larger ones would be kept."""
        is_known = self._filters in {(DEFLATE,), (SHUFFLE, DEFLATE)}
        is_small = self._chunk_bytes <= _RUN_BYTES
        return is_known and is_small and isinstance(self._chunks, LocalChunks)

    def _inflate(self, origins: NDArray[np.int64], out: NDArray[np.uint8]) -> int:
        """Write the bytes of the first chunks, many in one call; the number of these chunks."""
        chunks = self._chunks
        if not self._is_inflated_in_runs or not isinstance(chunks, LocalChunks):
            return 0
        if SHUFFLE not in self._filters:
            return chunks.inflate(origins, out)
        most = _RUN_BYTES // self._chunk_bytes
        shuffled = np.empty_like(out[:most])
        for start in range(0, len(out), most):
            part = slice(start, start + most)
            done = chunks.inflate(origins[part], shuffled[: len(out[part])])
            for row, elements in zip(out[part], shuffled[:done], strict=False):
                row[:] = kernels().unshuffle(elements.data, self.dtype.itemsize)
            if done < len(out[part]):
                return start + done
        return len(out)

    def _decoded(self, origin: tuple[int, ...]) -> bytes | memoryview:
        """The bytes of a chunk in memory."""
        chunk = self._read_raw(origin)
        if chunk is None:
            # A chunk that was never written has the fill value.
            return np.full(self.chunks, self._dataset.fillvalue, self.dtype).tobytes()
        skipped, packed = chunk
        return decode_chunk(
            packed,
            self._filters,
            skipped,
            size=self._chunk_bytes,
            itemsize=self.dtype.itemsize,
            label=ChunkLabel(self._name, origin),
        )

    @cached_property
    def _chunks(self) -> RemoteChunks | LocalChunks | None:
        """The chunks without HDF5, once one is read: thousands of inputs are only opened."""
        if self._data is not None:
            return RemoteChunks(self._dataset, self._data)
        # An array of one chunk is read once, and soon.
        pairs = zip(self.shape, self.chunks, strict=True)
        is_one = all(size <= of_chunk for size, of_chunk in pairs)
        if is_one and self._chunk_bytes <= _LARGEST_AT_ONCE:
            return None
        return LocalChunks(self._dataset) if LocalChunks.serves(self._dataset) else None

    def _read_raw(self, origin: tuple[int, ...]) -> tuple[int, bytes] | None:
        """The skipped filters and the bytes of a chunk; None if it was never written."""
        if self._chunks is not None:
            return self._chunks.read_raw(origin)
        info = self._dataset.id.get_chunk_info_by_coord(origin)
        if info.byte_offset is None:
            return None
        if info.size > largest_chunk(self._dataset):
            raise impossible_chunk(ChunkLabel(self._name, origin))
        skipped, packed = self._dataset.id.read_direct_chunk(origin)
        return skipped, packed
