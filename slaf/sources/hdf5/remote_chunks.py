"""HDF5 arrays of files that lie elsewhere: only their chunks are fetched, several at a time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.errors import DamagedInput
from slaf.storage.range_prefetch import RANGE_BYTES, RangePrefetcher

if TYPE_CHECKING:
    from collections.abc import Iterator

    import h5py
    from numpy.typing import NDArray

    from slaf.storage.remote_bytes import RemoteBytes

__all__ = ["ContiguousArray", "RemoteChunks"]


# Between chunks so many bytes are fetched along with them, rather than asking once more.
_GAP = 8 << 10

# The first of a dataset, of which many look only at the beginning; each further one is twice as
# large, until it is a span.
_FIRST = 128 << 10

# Packing makes what cannot be packed larger by less than this.
_SLACK = 64 << 10


class RemoteChunks:
    """The chunks of a dataset, as they are stored, by where they begin in it.

    Parameters
    ----------
    dataset
        A chunked dataset.
    data
        The file that it is in.

    Raises
    ------
    DamagedInput
        If a chunk lies beyond the end of the file, or is larger than it can be.
    """

    def __init__(self, dataset: h5py.Dataset, data: RemoteBytes) -> None:
        found: list[Any] = []
        # One pass over HDF5's own index of the chunks.
        dataset.id.chunk_iter(found.append)
        self._at = {chunk.chunk_offset: chunk for chunk in found}
        most = 2 * math.prod(dataset.chunks) * dataset.dtype.itemsize + _SLACK
        for chunk in found:
            if chunk.size > most or chunk.byte_offset + chunk.size > data.size:
                at = ", ".join(f"{start:,}" for start in chunk.chunk_offset)
                msg = f"{dataset.name}: the chunk at {at} lies beyond its file"
                raise DamagedInput(msg)
        runs = list(_runs(self._at))
        self._span_of = {origin: number for number, run in enumerate(runs) for origin in run}
        self._spans = [
            (
                min(self._at[origin].byte_offset for origin in run),
                max(self._at[origin].byte_offset + self._at[origin].size for origin in run),
            )
            for run in runs
        ]
        self._fetched = RangePrefetcher(data.fetch, self._spans)

    def packed(self, origin: tuple[int, ...]) -> tuple[int, bytes] | None:
        """The filters that a chunk has skipped, and its bytes; None if it was never written."""
        chunk = self._at.get(origin)
        if chunk is None:
            return None
        number = self._span_of[origin]
        start = chunk.byte_offset - self._spans[number][0]
        return chunk.filter_mask, self._fetched[number][start : start + chunk.size]


class ContiguousArray:
    """A dataset of one dimension that is stored in one piece, without filters.

    Parameters
    ----------
    dataset
        The dataset.
    data
        The file that it is in.
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
    """Chunks that follow each other in the file as well, as many as a span holds."""
    run: list[tuple[int, ...]] = []
    start = stop = 0
    most = _FIRST
    for origin in sorted(chunks):
        chunk = chunks[origin]
        near = 0 <= chunk.byte_offset - stop <= _GAP
        if run and not (near and chunk.byte_offset + chunk.size - start <= most):
            yield run
            most = min(2 * most, RANGE_BYTES)
            run = []
        if not run:
            start = chunk.byte_offset
        run.append(origin)
        stop = chunk.byte_offset + chunk.size
    if run:
        yield run
