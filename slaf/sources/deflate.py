"""HDF5 columns packed by gzip, inflated outside of HDF5's lock and several times faster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.errors import DamagedInput
from slaf.sources.ranged import Chunks, StoredColumn

if TYPE_CHECKING:
    import h5py
    from numpy.typing import NDArray

    from slaf.storage.remote_bytes import RemoteBytes

__all__ = ["DeflatedColumn", "fast_column"]

# https://github.com/HDFGroup/hdf5/blob/develop/src/H5Zpublic.h
_DEFLATE, _SHUFFLE = 1, 2


def fast_column(
    dataset: h5py.Dataset, data: RemoteBytes | None = None
) -> h5py.Dataset | DeflatedColumn | StoredColumn:
    """The column in the fastest way there is: by its raw chunks if they are only deflated.

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
    properties = dataset.id.get_create_plist()
    filters = tuple(properties.get_filter(i)[0] for i in range(properties.get_nfilters()))
    if data is not None and dataset.file.userblock_size:
        data = None  # HDF5 counts from behind it
    if filters in {(_DEFLATE,), (_SHUFFLE, _DEFLATE)}:
        chunks = None if data is None else Chunks(dataset, data)
        return DeflatedColumn(dataset, shuffled=filters[0] == _SHUFFLE, chunks=chunks)
    if data is None or filters:
        return dataset
    if dataset.chunks is not None:
        return DeflatedColumn(dataset, shuffled=False, chunks=Chunks(dataset, data), packed=False)
    return dataset if dataset.id.get_offset() is None else StoredColumn(dataset, data)


class DeflatedColumn:
    """A dataset of one dimension, read chunk by chunk and inflated by ISA-L.

    What a chunk inflates to is held against the size it must have: a file is not trusted.

    Parameters
    ----------
    dataset
        Chunked, with no filter but deflate, or shuffle and deflate.
    shuffled
        Whether the bytes of each chunk were shuffled before.
    chunks
        What fetches the chunks, of a file that lies elsewhere.
    packed
        False if they are not even deflated, and only fetched.
    """

    def __init__(
        self,
        dataset: h5py.Dataset,
        *,
        shuffled: bool,
        chunks: Chunks | None = None,
        packed: bool = True,
    ) -> None:
        self._dataset = dataset
        self._is_packed = packed
        self._shuffled = shuffled
        self._chunks = chunks
        self._rows: int = dataset.chunks[0]
        self.dtype: np.dtype[Any] = dataset.dtype
        # Asking of each chunk whether it was written costs as much as reading it.
        self._gaps = dataset.id.get_num_chunks() < -(-len(dataset) // self._rows)
        # The last chunk of a slice is mostly the first of the next one.
        self._last: tuple[int, NDArray[Any]] = (-1, np.empty(0, self.dtype))

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, key: slice) -> NDArray[Any]:
        start, stop, step = key.indices(len(self))
        if step != 1:
            return np.asarray(self._dataset[key])
        out = np.empty(max(stop - start, 0), self.dtype)
        for index in range(start // self._rows, -(-stop // self._rows)):
            first = index * self._rows
            low, high = max(start, first), min(stop, first + self._rows)
            out[low - start : high - start] = self._chunk(index)[low - first : high - first]
        return out

    def _chunk(self, index: int) -> NDArray[Any]:
        last, values = self._last
        if last != index:
            values = self._read(index)
            self._last = (index, values)
        return values

    def _read(self, index: int) -> NDArray[Any]:
        first = index * self._rows
        packed = self._packed(first)
        if packed is None:
            return np.asarray(self._dataset[first : first + self._rows])
        raw = np.frombuffer(self._inflate(packed, first), np.uint8)
        if self._shuffled:
            raw = np.ascontiguousarray(raw.reshape(self.dtype.itemsize, self._rows).T)
        return raw.reshape(-1).view(self.dtype)

    def _packed(self, first: int) -> bytes | None:
        """The bytes of a chunk, if all filters were applied to it."""
        if self._chunks is not None:
            found = self._chunks.packed((first,))
        elif self._gaps and self._dataset.id.get_chunk_info_by_coord((first,)).byte_offset is None:
            # A chunk that was never written has no bytes, but values: those that fill it.
            found = None
        else:
            found = self._dataset.id.read_direct_chunk((first,))
        if found is None:
            return None
        skipped_filters, packed = found
        return None if skipped_filters else packed

    def _inflate(self, packed: bytes, first: int) -> bytes:
        from isal import isal_zlib

        size = self._rows * self.dtype.itemsize
        if not self._is_packed and len(packed) == size:
            return packed
        inflater = isal_zlib.decompressobj()
        try:
            found: bytes = inflater.decompress(packed, size + 1)
        except isal_zlib.error as error:  # type: ignore[misc]  # its stub says it is an object
            msg = f"{self._dataset.name}: the chunk at {first:,} cannot be inflated ({error})"
            raise DamagedInput(msg) from error
        if len(found) != size or not inflater.eof:
            msg = f"{self._dataset.name}: the chunk at {first:,} does not inflate to {size:,} bytes"
            raise DamagedInput(msg)
        return found
