"""HDF5 arrays packed by gzip, inflated outside of HDF5's lock and several times faster."""

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
    decode_chunk,
    filters_of,
    is_plain,
)
from slaf.sources.hdf5.remote_chunks import ContiguousArray, RemoteChunks
from slaf.sparse.casting import pooled_empty

if TYPE_CHECKING:
    import h5py
    from numpy.typing import NDArray

    from slaf.storage.remote_bytes import RemoteBytes

__all__ = ["ChunkedArray", "open_1d", "open_nd"]


def open_1d(
    dataset: h5py.Dataset, data: RemoteBytes | None = None
) -> h5py.Dataset | ChunkedArray | ContiguousArray:
    """The column in the fastest way there is.

    Parameters
    ----------
    dataset
        The column.
    data
        What fetches the bytes of its file, if that lies elsewhere.

    Raises
    ------
    DamagedInput
        If it has not one dimension.
    """
    if dataset.shape is None or dataset.ndim != 1:
        msg = f"{dataset.name} has the shape {dataset.shape}, not one of a list"
        raise DamagedInput(msg)
    if data is not None and _in_one_piece(dataset) and is_plain(dataset):
        return ContiguousArray(dataset, data)
    return open_nd(dataset, data)


def open_nd(dataset: h5py.Dataset, data: RemoteBytes | None = None) -> h5py.Dataset | ChunkedArray:
    """The array in the fastest way there is: by its raw chunks if they are only deflated.

    Of a file that lies elsewhere, chunks are fetched as they are, deflated or not.

    Raises
    ------
    DamagedInput
        If it is to be read by HDF5, and has chunks that do not fill their place.
    """
    if data is not None and _is_shifted(dataset):
        data = None
    filters = filters_of(dataset)
    as_stored = data is not None and dataset.chunks is not None and not filters
    if is_plain(dataset) and (as_stored or filters in {(DEFLATE,), (SHUFFLE, DEFLATE)}):
        return ChunkedArray(dataset, data)
    check_chunks(dataset)
    return dataset


def _is_shifted(dataset: h5py.Dataset) -> bool:
    """Whether HDF5 counts bytes not from the beginning of the file, but from behind a block."""
    return bool(dataset.file.userblock_size)


def _in_one_piece(dataset: h5py.Dataset) -> bool:
    there = dataset.chunks is None and dataset.id.get_offset() is not None
    return there and not _is_shifted(dataset)


class _Last(threading.local):
    """The last chunk that a thread has read of an array.

    The last one of a slice is mostly the first of the next one, which the same thread asks for.
    """

    origin: tuple[int, ...] = ()
    values: NDArray[Any]


class ChunkedArray:
    """A dataset that is read chunk by chunk and inflated by ISA-L.

    What a chunk inflates to is held against the size it must have: a file is not trusted.

    Parameters
    ----------
    dataset
        Chunked, with no filter but deflate, or shuffle and deflate.
    data
        What fetches the bytes of its file, if that lies elsewhere: then its chunks may also have
        no filter at all.
    """

    def __init__(self, dataset: h5py.Dataset, data: RemoteBytes | None = None) -> None:
        self._dataset = dataset
        self._filters = filters_of(dataset)
        self._fetched = None if data is None else RemoteChunks(dataset, data)
        self._chunks: tuple[int, ...] = dataset.chunks
        self.shape: tuple[int, ...] = dataset.shape
        self.dtype: np.dtype[Any] = dataset.dtype
        # Asking of each chunk whether it was written costs as much as reading it.
        pieces = zip(self.shape, self._chunks, strict=True)
        n_chunks = math.prod(-(-size // chunk) for size, chunk in pieces)
        self._gaps = dataset.id.get_num_chunks() < n_chunks
        self._name = dataset.name
        self._last = _Last()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: slice | tuple[slice, ...]) -> NDArray[Any]:
        keys = key if isinstance(key, tuple) else (key,)
        wanted = [range(size)[part] for part, size in zip(keys, self.shape, strict=True)]
        if any(part.step != 1 for part in wanted):
            return np.asarray(self._dataset[key])
        return self._line(*wanted) if len(wanted) == 1 else self._block(wanted)

    def _line(self, wanted: range) -> NDArray[Any]:
        out = pooled_empty(len(wanted), self.dtype)
        (size,) = self._chunks
        for origin in range(wanted.start - wanted.start % size, wanted.stop, size):
            low, high = max(wanted.start, origin), min(wanted.stop, origin + size)
            found = self._chunk((origin,))[low - origin : high - origin]
            out[low - wanted.start : high - wanted.start] = found
        return out

    def _block(self, wanted: list[range]) -> NDArray[Any]:
        out = np.empty([len(part) for part in wanted], self.dtype)
        spans = zip(wanted, self._chunks, strict=True)
        touched = [range(w.start // c, -(-w.stop // c) if len(w) else 0) for w, c in spans]
        for index in itertools.product(*touched):
            origin = tuple(i * c for i, c in zip(index, self._chunks, strict=True))
            places = list(zip(wanted, origin, self._chunks, strict=True))
            common = [(max(w.start, o), min(w.stop, o + c)) for w, o, c in places]
            here = zip(common, wanted, strict=True)
            there = zip(common, origin, strict=True)
            out[tuple(slice(low - w.start, high - w.start) for (low, high), w in here)] = (
                self._chunk(origin)[tuple(slice(low - o, high - o) for (low, high), o in there)]
            )
        return out

    def _chunk(self, origin: tuple[int, ...]) -> NDArray[Any]:
        if self._last.origin != origin:
            self._last.values = self._read(origin)
            self._last.origin = origin
        return self._last.values

    def _read(self, origin: tuple[int, ...]) -> NDArray[Any]:
        found = self._stored(origin)
        if found is None:
            # A chunk that was never written has no bytes, but values: those that fill it.
            return np.full(self._chunks, self._dataset.fillvalue, self.dtype)
        skipped, packed = found
        itemsize = self.dtype.itemsize
        size = math.prod(self._chunks) * itemsize
        place = f"{self._name}: the chunk at {', '.join(f'{o:,}' for o in origin)}"
        raw = decode_chunk(
            packed, self._filters, skipped, size=size, itemsize=itemsize, place=place
        )
        return np.frombuffer(raw, self.dtype).reshape(self._chunks)

    def _stored(self, origin: tuple[int, ...]) -> tuple[int, bytes] | None:
        """The filters that a chunk has skipped, and its bytes; None if it was never written."""
        if self._fetched is not None:
            return self._fetched.packed(origin)
        if self._gaps and self._dataset.id.get_chunk_info_by_coord(origin).byte_offset is None:
            return None
        skipped, packed = self._dataset.id.read_direct_chunk(origin)
        return skipped, packed
