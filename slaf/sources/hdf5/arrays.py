"""Read chunked HDF5 arrays fast, outside the lock of HDF5."""

from __future__ import annotations

import itertools
import math
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.errors import DamagedInput
from slaf.sources.hdf5.chunks import (
    DEFLATE,
    SHUFFLE,
    check_chunks,
    chunk_label,
    decode_chunk,
    filters_of,
    is_plain,
)
from slaf.sources.hdf5.file import get_checked, numeric
from slaf.sources.hdf5.limits import check_arrays
from slaf.sources.hdf5.remote_chunks import ContiguousArray, RemoteChunks
from slaf.sparse.casting import pooled_empty

if TYPE_CHECKING:
    import h5py
    from numpy.typing import NDArray

    from slaf.storage.remote_bytes import RemoteBytes

__all__ = ["ChunkedArray", "open_1d", "open_compressed", "open_nd"]


def open_1d(
    dataset: h5py.Dataset, data: RemoteBytes | None = None
) -> h5py.Dataset | ChunkedArray | ContiguousArray:
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
    is_contiguous = dataset.chunks is None and dataset.id.get_offset() is not None
    if data is not None and is_contiguous and not _is_shifted(dataset) and is_plain(dataset):
        return ContiguousArray(dataset, data)
    return open_nd(dataset, data)


def open_nd(dataset: h5py.Dataset, data: RemoteBytes | None = None) -> h5py.Dataset | ChunkedArray:
    """An array, opened for the fastest way of reading: by raw chunks, if they are only deflated.

    Chunks of a remote file are fetched raw, deflated or not.

    Raises
    ------
    DamagedInput
        If HDF5 has to read it, and it has chunks of a wrong size.
    """
    if _is_shifted(dataset):
        data = None
    filters = filters_of(dataset)
    is_raw = data is not None and dataset.chunks is not None and not filters
    if is_plain(dataset) and (is_raw or filters in {(DEFLATE,), (SHUFFLE, DEFLATE)}):
        return ChunkedArray(dataset, data)
    check_chunks(dataset)
    return dataset


def open_compressed(
    group: h5py.Group, label: str, data: RemoteBytes | None
) -> tuple[Any, Any, Any]:
    """The arrays indptr, indices and data of a sparse matrix.

    Raises
    ------
    InputError
        If one is missing, damaged, or does not hold numbers.
    """
    names = ("indptr", "indices", "data")
    parts = [numeric(get_checked(group, name), f"{label}/{name}") for name in names]
    check_arrays(label, *parts)
    indptr, indices, values = (open_1d(part, data) for part in parts)
    return indptr, indices, values


def _is_shifted(dataset: h5py.Dataset) -> bool:
    """Whether the offsets of HDF5 count from behind a user block."""
    return bool(dataset.file.userblock_size)


class _LastChunk(threading.local):
    """The chunk of an array that a thread read last.

    It is usually the last of a slice and the first of the next one, read by the same thread.
    """

    origin: tuple[int, ...] = ()
    values: NDArray[Any]


class ChunkedArray:
    """A dataset read chunk by chunk and inflated by ISA-L, outside the lock of HDF5.

    Files are not trusted: the size of each chunk is checked.

    Parameters
    ----------
    dataset
        Chunked, with no filter but deflate, or shuffle and deflate.
    data
        The bytes of a remote file; then chunks may have no filter at all.
    """

    def __init__(self, dataset: h5py.Dataset, data: RemoteBytes | None = None) -> None:
        self._dataset = dataset
        self._filters = filters_of(dataset)
        self._remote = None if data is None else RemoteChunks(dataset, data)
        self._chunks: tuple[int, ...] = dataset.chunks
        self.shape: tuple[int, ...] = dataset.shape
        self.dtype: np.dtype[Any] = dataset.dtype
        # Asking whether a chunk was written costs as much as reading it.
        pairs = zip(self.shape, self._chunks, strict=True)
        n_chunks = math.prod(-(-size // chunk) for size, chunk in pairs)
        self._has_gaps = dataset.id.get_num_chunks() < n_chunks
        self._name = str(dataset.name)
        self._last = _LastChunk()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: slice | tuple[slice, ...]) -> NDArray[Any]:
        keys = key if isinstance(key, tuple) else (key,)
        wanted = [range(size)[part] for part, size in zip(keys, self.shape, strict=True)]
        if any(part.step != 1 for part in wanted):
            return np.asarray(self._dataset[key])
        return self._read_1d(*wanted) if len(wanted) == 1 else self._read_nd(wanted)

    def _read_1d(self, wanted: range) -> NDArray[Any]:
        out = pooled_empty(len(wanted), self.dtype)
        (size,) = self._chunks
        for origin in range(wanted.start - wanted.start % size, wanted.stop, size):
            low, high = max(wanted.start, origin), min(wanted.stop, origin + size)
            values = self._chunk((origin,))[low - origin : high - origin]
            out[low - wanted.start : high - wanted.start] = values
        return out

    def _read_nd(self, wanted: list[range]) -> NDArray[Any]:
        out = np.empty([len(part) for part in wanted], self.dtype)
        axes = [
            range(part.start - part.start % size, part.stop if len(part) else 0, size)
            for part, size in zip(wanted, self._chunks, strict=True)
        ]
        for origin in itertools.product(*axes):
            to, source = [], []
            for part, start, size in zip(wanted, origin, self._chunks, strict=True):
                low, high = max(part.start, start), min(part.stop, start + size)
                to.append(slice(low - part.start, high - part.start))
                source.append(slice(low - start, high - start))
            out[tuple(to)] = self._chunk(origin)[tuple(source)]
        return out

    def _chunk(self, origin: tuple[int, ...]) -> NDArray[Any]:
        if self._last.origin != origin:
            self._last.values = self._read(origin)
            self._last.origin = origin
        return self._last.values

    def _read(self, origin: tuple[int, ...]) -> NDArray[Any]:
        chunk = self._read_raw(origin)
        if chunk is None:
            # A chunk that was never written has the fill value.
            return np.full(self._chunks, self._dataset.fillvalue, self.dtype)
        skipped, packed = chunk
        itemsize = self.dtype.itemsize
        raw = decode_chunk(
            packed,
            self._filters,
            skipped,
            size=math.prod(self._chunks) * itemsize,
            itemsize=itemsize,
            label=chunk_label(self._name, origin),
        )
        return np.frombuffer(raw, self.dtype).reshape(self._chunks)

    def _read_raw(self, origin: tuple[int, ...]) -> tuple[int, bytes] | None:
        """The skipped filters and the bytes of a chunk; None if it was never written."""
        if self._remote is not None:
            return self._remote.read_raw(origin)
        if self._has_gaps and self._dataset.id.get_chunk_info_by_coord(origin).byte_offset is None:
            return None
        skipped, packed = self._dataset.id.read_direct_chunk(origin)
        return skipped, packed
