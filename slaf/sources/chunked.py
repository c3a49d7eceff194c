"""Arrays read chunk by chunk, with the last chunk kept for the next slice."""

from __future__ import annotations

import itertools
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.sparse.casting import pooled_empty

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["ChunkedArray"]


class _LastChunk(threading.local):
    """The chunk of an array that a thread read last.

    It is usually the last of a slice and the first of the next one, read by the same thread.
    """

    origin: tuple[int, ...] = ()
    values: NDArray[Any]


class ChunkedArray(ABC):
    """An array in chunks of one shape, which is sliced without decoding a chunk twice.

    Parameters
    ----------
    shape
        The shape of the array.
    dtype
        The type of its elements in memory.
    chunks
        The shape of each chunk.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], chunks: tuple[int, ...]
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self.chunks = chunks
        self._last = _LastChunk()

    @abstractmethod
    def read_chunk(self, origin: tuple[int, ...]) -> NDArray[Any]:
        """The elements of the chunk that begins here, at least those within the array."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: slice | tuple[slice, ...]) -> NDArray[Any]:
        keys = key if isinstance(key, tuple) else (key,)
        if len(keys) == 1:
            return self._read_1d(range(len(self))[keys[0]])
        wanted = [range(size)[part] for part, size in zip(keys, self.shape, strict=True)]
        if any(part.step != 1 for part in wanted):
            msg = "only an array of one dimension is read in steps"
            raise IndexError(msg)
        return self._read_nd(wanted)

    def stack(
        self, keys: tuple[slice, slice], out: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
        """The whole chunks of a part of an array of two dimensions, row by row.

        Parameters
        ----------
        keys
            The part.
        out
            An array of an earlier call, which is used again if it has the right shape.

        Returns
        -------
        tuple
            The chunks, with the position in the part of the first row and column of each.
        """
        parts = [range(size)[key] for key, size in zip(keys, self.shape, strict=True)]
        starts = [
            range(part.start - part.start % size, part.stop, size)
            for part, size in zip(parts, self.chunks, strict=True)
        ]
        origins = np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, 2)
        shape = (len(origins), *self.chunks)
        out = out if out.shape == shape else np.empty(shape, self.dtype)
        self.read_chunks(origins, out)
        rows, columns = origins.T
        return out, rows - parts[0].start, columns - parts[1].start

    def read_chunks(self, origins: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Read the chunks that begin at these positions into an array of chunks.

        Parameters
        ----------
        origins
            Chunks × axes.
        out
            Chunks × the shape of one.
        """
        for at, origin in enumerate(origins.tolist()):
            out[at] = self.read_chunk(tuple(origin))

    def read_run(self, start: int, stop: int) -> NDArray[Any]:
        """Elements of an array of one dimension: one or more whole chunks from `start` on.

        Parameters
        ----------
        start
            The first element of a chunk.
        stop
            Where the elements that are needed end; no chunk behind it is read.
        """
        del stop
        return self.read_chunk((start,))

    def pieces(self, start: int, stop: int) -> Iterator[NDArray[Any]]:
        """A part of an array of one dimension, as views of its chunks, none of them empty."""
        (size,) = self.chunks
        while start < stop:
            origin = start - start % size
            if self._last.origin == (origin,):
                values = self._last.values
            else:
                values = self.read_run(origin, stop)
                at = (len(values) - 1) // size * size
                self._last.origin, self._last.values = (origin + at,), values[at:]
            piece = values[start - origin : stop - origin]
            yield piece
            start += len(piece)

    def _read_1d(self, wanted: range) -> NDArray[Any]:
        out = pooled_empty(len(wanted), self.dtype)
        if wanted.step == 1:
            at = 0
            for piece in self.pieces(wanted.start, wanted.stop):
                out[at : at + len(piece)] = piece
                at += len(piece)
            return out
        (size,) = self.chunks
        done = 0
        for origin in range(wanted.start - wanted.start % size, wanted.stop, size):
            # The wanted positions before the end of the chunk, and not in the chunks before.
            stop = len(range(wanted.start, min(wanted.stop, origin + size), wanted.step))
            part = wanted[done:stop]
            if len(part):
                values = self._chunk((origin,))
                out[done:stop] = values[part.start - origin : part.stop - origin : part.step]
            done = stop
        return out

    def _read_nd(self, wanted: list[range]) -> NDArray[Any]:
        out = np.empty([len(part) for part in wanted], self.dtype)
        spans = [_spans(part, size) for part, size in zip(wanted, self.chunks, strict=True)]
        for chunk in itertools.product(*spans):
            origin, to, source = zip(*chunk, strict=True)
            out[to] = self._chunk(origin)[source]
        return out

    def _chunk(self, origin: tuple[int, ...]) -> NDArray[Any]:
        if self._last.origin != origin:
            self._last.values = self.read_chunk(origin)
            self._last.origin = origin
        return self._last.values


def _spans(wanted: range, size: int) -> list[tuple[int, slice, slice]]:
    """For each chunk along an axis: its origin, and its part in the result and in the chunk."""
    spans = []
    for origin in range(wanted.start - wanted.start % size, wanted.stop, size):
        low, high = max(wanted.start, origin), min(wanted.stop, origin + size)
        to = slice(low - wanted.start, high - wanted.start)
        spans.append((origin, to, slice(low - origin, high - origin)))
    return spans if len(wanted) else []
