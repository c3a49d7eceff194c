"""Fetch the chunks of HDF5 arrays in remote files, several at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.errors import DamagedInput
from slaf.sources.hdf5.chunks import ChunkLabel, impossible_chunk, largest_chunk, stored_chunks
from slaf.storage.range_prefetch import RANGE_BYTES, RangePrefetcher

if TYPE_CHECKING:
    from collections.abc import Iterator

    import h5py
    from numpy.typing import NDArray

    from slaf.storage.remote_bytes import RemoteBytes

__all__ = ["ContiguousArray", "RemoteChunks"]


# A gap of so many bytes between chunks is fetched too, to save a request.
_MAX_GAP = 8 << 10

# The first request of a dataset: often only its beginning is read. Each further request is twice as
# large, up to a span.
_FIRST_BYTES = 128 << 10


class RemoteChunks:
    """The raw chunks of a dataset, by their origin.

    Parameters
    ----------
    dataset
        A chunked dataset.
    data
        The bytes of its file.

    Raises
    ------
    DamagedInput
        If a chunk is beyond the end of the file, or larger than possible.
    """

    def __init__(self, dataset: h5py.Dataset, data: RemoteBytes) -> None:
        self._chunks = {chunk.chunk_offset: chunk for chunk in stored_chunks(dataset)}
        largest = largest_chunk(dataset)
        for origin, chunk in self._chunks.items():
            if chunk.size > largest or chunk.byte_offset + chunk.size > data.size:
                raise impossible_chunk(ChunkLabel(str(dataset.name), origin))
        spans = [[self._chunks[origin] for origin in run] for run in _runs(self._chunks)]
        self._span_of = {chunk.chunk_offset: at for at, span in enumerate(spans) for chunk in span}
        self._starts = [min(chunk.byte_offset for chunk in span) for span in spans]
        stops = [max(chunk.byte_offset + chunk.size for chunk in span) for span in spans]
        self._fetched = RangePrefetcher(data.fetch, list(zip(self._starts, stops, strict=True)))

    def read_raw(self, origin: tuple[int, ...]) -> tuple[int, bytes] | None:
        """The skipped filters and the bytes of a chunk; None if it was never written."""
        chunk = self._chunks.get(origin)
        if chunk is None:
            return None
        span = self._span_of[origin]
        start = chunk.byte_offset - self._starts[span]
        return chunk.filter_mask, self._fetched[span][start : start + chunk.size]


class ContiguousArray:
    """A dataset of one dimension that is stored in one piece, without filters.

    Parameters
    ----------
    dataset
        The dataset.
    data
        The bytes of its file.
    """

    def __init__(self, dataset: h5py.Dataset, data: RemoteBytes) -> None:
        self.dtype: np.dtype[Any] = dataset.dtype
        self._length = len(dataset)
        self._rows = max(RANGE_BYTES // self.dtype.itemsize, 1)
        first, size = dataset.id.get_offset(), self.dtype.itemsize
        if first + self._length * size > data.size:
            msg = f"{dataset.name}: it lies beyond the end of its file"
            raise DamagedInput(msg)
        self._spans = RangePrefetcher(
            data.fetch,
            [
                (first + start * size, first + min(start + self._rows, self._length) * size)
                for start in range(0, self._length, self._rows)
            ],
        )

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, key: slice) -> NDArray[Any]:
        start, stop, step = key.indices(self._length)
        if stop <= start:
            return np.empty(0, self.dtype)
        first, last = start // self._rows, (stop - 1) // self._rows
        values = np.frombuffer(b"".join(self._spans.read(first, last + 1)), self.dtype)
        return values[start - first * self._rows : stop - first * self._rows : step]


def _runs(chunks: dict[tuple[int, ...], Any]) -> Iterator[list[tuple[int, ...]]]:
    """Runs of chunks that follow each other in the file too, as many as fit in a span."""
    run: list[tuple[int, ...]] = []
    start = stop = 0
    limit = _FIRST_BYTES
    for origin in sorted(chunks):
        chunk = chunks[origin]
        near = 0 <= chunk.byte_offset - stop <= _MAX_GAP
        if run and not (near and chunk.byte_offset + chunk.size - start <= limit):
            yield run
            limit = min(2 * limit, RANGE_BYTES)
            run = []
        if not run:
            start = chunk.byte_offset
        run.append(origin)
        stop = chunk.byte_offset + chunk.size
    if run:
        yield run
