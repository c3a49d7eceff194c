"""The bytes of a remote file, here and there by blocks that are kept, or from start to end."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from slaf.storage.range_prefetch import SPAN_BYTES, RangePrefetcher

if TYPE_CHECKING:
    from collections.abc import Hashable

    from slaf.storage.remote_path import RemotePath, Status

__all__ = ["Random", "RemoteBytes", "Stream"]


# What HDF5 looks up here and there is two kilobytes or four each time.
_BLOCK = 4 << 10

# Blocks beyond those that are asked for, where one read follows another: twice as many each time.
_MOST_AHEAD = 256

# Of all files together: what is opened again, as inputs are, is not fetched again.
_BYTES_KEPT = 16 << 20

# As much as is fetched in one request of its own, and kept by nobody.
_LARGE = 1 << 20

# Of the beginning, which many only look at, less than a span is fetched.
_HEAD = 32 << 10


class _Blocks:
    """Blocks of files, of which those that were not asked for the longest time are dropped."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Hashable, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, file: Hashable, number: int) -> bytes | None:
        """A block of a file; None if it is not here."""
        with self._lock:
            found = self._kept.get((file, number))
            if found is not None:
                self._kept.move_to_end((file, number))
            return found

    def keep(self, file: Hashable, number: int, data: bytes) -> None:
        """Keep a block for a while."""
        with self._lock:
            self._kept[file, number] = data
            while len(self._kept) * _BLOCK > _BYTES_KEPT:
                self._kept.popitem(last=False)


_BLOCKS = _Blocks()


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
        # Without a tag nothing tells whether it is still the object that was read before.
        self._file: Hashable = (path.reach, status) if status.e_tag else object()
        self._lock = threading.Lock()
        self._next = -1
        self._ahead = 0

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from one offset to another, as far as there are any."""
        stop = min(stop, self.size)
        if stop <= start:
            return b""
        if stop - start >= _LARGE:
            return self.fetch(start, stop)
        first, end = start // _BLOCK, -(-stop // _BLOCK)
        with self._lock:
            data = b"".join(self._found(first, end))
        return data[start - first * _BLOCK : stop - first * _BLOCK]

    def spans(self) -> RangePrefetcher:
        """All of it, in spans."""
        starts = range(0, self.size, SPAN_BYTES)
        return RangePrefetcher(self.fetch, [(s, min(s + SPAN_BYTES, self.size)) for s in starts])

    def _found(self, first: int, end: int) -> list[bytes]:
        """These blocks, of which those that are missing are fetched in one request."""
        found = [_BLOCKS.get(self._file, number) for number in range(first, end)]
        missing = [first + at for at, block in enumerate(found) if block is None]
        if missing:
            fetched = self._fetched(missing[0], missing[-1] + 1, end)
            found = [fetched.get(first + at, block) for at, block in enumerate(found)]
        return [block for block in found if block is not None]

    def _fetched(self, first: int, stop: int, end: int) -> dict[int, bytes]:
        """Blocks that are missing, and if all before them was read, more of what follows."""
        if stop == end:
            in_order = first == self._next
            self._ahead = min(2 * (self._ahead + stop - first), _MOST_AHEAD) if in_order else 0
            while stop < end + self._ahead and _BLOCKS.get(self._file, stop) is None:
                stop += 1
            self._next = stop
        start = first * _BLOCK
        data = self.fetch(start, min(stop * _BLOCK, self.size))
        pieces = (data[at : at + _BLOCK] for at in range(0, len(data), _BLOCK))
        blocks = dict(enumerate(pieces, first))
        for number, block in blocks.items():
            _BLOCKS.keep(self._file, number, block)
        return blocks


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
