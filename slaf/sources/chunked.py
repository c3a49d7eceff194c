"""Arrays read chunk by chunk, with the last chunk kept for the next slice."""

from __future__ import annotations

import itertools
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.sparse.casting import pooled_empty

if TYPE_CHECKING:
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
        wanted = [range(size)[part] for part, size in zip(keys, self.shape, strict=True)]
        if len(wanted) > 1 and any(part.step != 1 for part in wanted):
            msg = "only an array of one dimension is read in steps"
            raise IndexError(msg)
        return self._read_1d(*wanted) if len(wanted) == 1 else self._read_nd(wanted)

    def _read_1d(self, wanted: range) -> NDArray[Any]:
        out = pooled_empty(len(wanted), self.dtype)
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
        axes = [
            range(part.start - part.start % size, part.stop if len(part) else 0, size)
            for part, size in zip(wanted, self.chunks, strict=True)
        ]
        for origin in itertools.product(*axes):
            to, source = [], []
            for part, start, size in zip(wanted, origin, self.chunks, strict=True):
                low, high = max(part.start, start), min(part.stop, start + size)
                to.append(slice(low - part.start, high - part.start))
                source.append(slice(low - start, high - start))
            out[tuple(to)] = self._chunk(origin)[tuple(source)]
        return out

    def _chunk(self, origin: tuple[int, ...]) -> NDArray[Any]:
        if self._last.origin != origin:
            self._last.values = self.read_chunk(origin)
            self._last.origin = origin
        return self._last.values
