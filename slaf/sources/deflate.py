"""HDF5 arrays packed by gzip, inflated outside of HDF5's lock and several times faster."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.errors import DamagedInput
from slaf.sources.chunks import DEFLATE, SHUFFLE, check_chunks, filters_of, unpacked

if TYPE_CHECKING:
    import h5py
    from numpy.typing import NDArray

__all__ = ["DeflatedArray", "fast_array", "fast_column"]


def fast_column(dataset: h5py.Dataset) -> h5py.Dataset | DeflatedArray:
    """The column in the fastest way there is.

    Raises
    ------
    DamagedInput
        If it has not one dimension.
    """
    if dataset.shape is None or dataset.ndim != 1:
        msg = f"{dataset.name} has the shape {dataset.shape}, not one of a list"
        raise DamagedInput(msg)
    return fast_array(dataset)


def fast_array(dataset: h5py.Dataset) -> h5py.Dataset | DeflatedArray:
    """The array in the fastest way there is: by its raw chunks if they are only deflated.

    Raises
    ------
    DamagedInput
        If it is to be read by HDF5, and has chunks that do not fill their place.
    """
    if filters_of(dataset) in {(DEFLATE,), (SHUFFLE, DEFLATE)}:
        return DeflatedArray(dataset)
    check_chunks(dataset)
    return dataset


class DeflatedArray:
    """A dataset that is read chunk by chunk and inflated by ISA-L.

    What a chunk inflates to is held against the size it must have: a file is not trusted.

    Parameters
    ----------
    dataset
        Chunked, with no filter but deflate, or shuffle and deflate.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset
        self._filters = filters_of(dataset)
        self._chunks: tuple[int, ...] = dataset.chunks
        self.shape: tuple[int, ...] = dataset.shape
        self.dtype: np.dtype[Any] = dataset.dtype
        # Asking of each chunk whether it was written costs as much as reading it.
        pieces = zip(self.shape, self._chunks, strict=True)
        n_chunks = math.prod(-(-size // chunk) for size, chunk in pieces)
        self._gaps = dataset.id.get_num_chunks() < n_chunks
        # The last chunk of a slice is mostly the first of the next one.
        self._last: tuple[tuple[int, ...], NDArray[Any]] = ((), np.empty(0, self.dtype))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: slice | tuple[slice, ...]) -> NDArray[Any]:
        keys = key if isinstance(key, tuple) else (key,)
        wanted = [range(size)[part] for part, size in zip(keys, self.shape, strict=True)]
        if any(part.step != 1 for part in wanted):
            return np.asarray(self._dataset[key])
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
        last, values = self._last
        if last != origin:
            values = self._read(origin)
            self._last = (origin, values)
        return values

    def _read(self, origin: tuple[int, ...]) -> NDArray[Any]:
        if self._gaps and self._dataset.id.get_chunk_info_by_coord(origin).byte_offset is None:
            # A chunk that was never written has no bytes, but values: those that fill it.
            return np.full(self._chunks, self._dataset.fillvalue, self.dtype)
        skipped, packed = self._dataset.id.read_direct_chunk(origin)
        itemsize = self.dtype.itemsize
        size = math.prod(self._chunks) * itemsize
        place = f"{self._dataset.name}: the chunk at {', '.join(f'{o:,}' for o in origin)}"
        raw = unpacked(packed, self._filters, skipped, size=size, itemsize=itemsize, place=place)
        return np.frombuffer(raw, self.dtype).reshape(self._chunks)
