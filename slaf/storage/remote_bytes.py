"""The bytes of a remote file, here and there by blocks that are kept, or from start to end."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from slaf.storage.spans import SPAN_BYTES, Spans

if TYPE_CHECKING:
    from slaf.storage.remote import RemotePath, Status

__all__ = ["Random", "RemoteBytes", "Stream"]

_BLOCK = 32 << 10
# Blocks that are missing in a row are fetched together, twice as many each time.
_MOST_TOGETHER = 32
_BLOCKS_KEPT = 256
# Of the beginning, which many only look at, less than a span is fetched.
_HEAD = 2 * _BLOCK


class RemoteBytes:
    """The bytes of an object: small reads by blocks that are kept, large ones as they are.

    Attributes
    ----------
    path
        The object.
    size
        Its bytes.
    """

    def __init__(self, path: RemotePath, status: Status) -> None:
        self.path = path
        self.size = status.st_size
        self.fetch = path.fetch
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._next = -1
        self._together = 1

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from one offset to another, as far as there are any."""
        stop = min(stop, self.size)
        if stop <= start:
            return b""
        if stop - start >= _BLOCK * _MOST_TOGETHER:
            return self.fetch(start, stop)
        first, last = start // _BLOCK, (stop - 1) // _BLOCK
        with self._lock:
            data = b"".join(self._block(number) for number in range(first, last + 1))
        return data[start - first * _BLOCK : stop - first * _BLOCK]

    def spans(self) -> Spans:
        """All of it, in spans."""
        starts = range(0, self.size, SPAN_BYTES)
        return Spans(self.fetch, [(s, min(s + SPAN_BYTES, self.size)) for s in starts])

    def _block(self, number: int) -> bytes:
        found = self._blocks.get(number)
        if found is not None:
            self._blocks.move_to_end(number)
            return found
        in_order = number == self._next
        self._together = min(2 * self._together, _MOST_TOGETHER) if in_order else 1
        start = number * _BLOCK
        stop = min(start + self._together * _BLOCK, self.size)
        data = self.fetch(start, stop)
        self._next = number + self._together
        for at in range(0, len(data), _BLOCK):
            self._blocks[number + at // _BLOCK] = data[at : at + _BLOCK]
        while len(self._blocks) > _BLOCKS_KEPT:
            self._blocks.popitem(last=False)
        return data[:_BLOCK]


class _File(io.RawIOBase):
    """A position in the bytes of an object."""

    def __init__(self, data: RemoteBytes) -> None:
        self._data = data
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._data.size}[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        found = self._read(self._at, self._at + len(view))
        view[: len(found)] = found
        self._at += len(found)
        return len(found)

    def _read(self, start: int, stop: int) -> bytes:
        raise NotImplementedError


class Random(_File):
    """The bytes as a file that is read here and there."""

    def _read(self, start: int, stop: int) -> bytes:
        return self._data.read(start, stop)


class Stream(_File):
    """The bytes as a file that is read from its start to its end, with some under way ahead."""

    def __init__(self, data: RemoteBytes) -> None:
        super().__init__(data)
        self._spans = data.spans()

    def _read(self, start: int, stop: int) -> bytes:
        if start >= self._data.size:
            return b""
        if start < _HEAD:
            return self._data.read(start, min(stop, _HEAD))
        number, skipped = divmod(start, SPAN_BYTES)
        return self._spans[number][skipped : skipped + stop - start]
