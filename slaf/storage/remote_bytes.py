"""Reads of a remote file: at random through a cache of blocks, or in sequence with prefetching."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from slaf.storage.range_prefetch import RANGE_BYTES, RangePrefetcher

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["RemoteBytes"]


# HDF5 reads its metadata two or four kilobytes at a time.
_BLOCK = 4 << 10

# The most blocks that are read ahead; sequential reads double the number each time.
_MAX_AHEAD = 256

# Size of the cache, which all files share: an input that is opened again is not fetched again.
_CACHE_BYTES = 16 << 20

# At the beginning of a file, often the only part that is read, less than a range is fetched.
_HEAD = 32 << 10


class _BlockCache:
    """Blocks of files, without those that were used least recently."""

    def __init__(self) -> None:
        self._blocks: OrderedDict[tuple[Hashable, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, file: Hashable, number: int) -> bytes | None:
        """A block of a file; None if it is not in the cache."""
        with self._lock:
            block = self._blocks.get((file, number))
            if block is not None:
                self._blocks.move_to_end((file, number))
            return block

    def add(self, file: Hashable, number: int, block: bytes) -> None:
        """Add a block, and drop old ones."""
        with self._lock:
            self._blocks[file, number] = block
            while len(self._blocks) * _BLOCK > _CACHE_BYTES:
                self._blocks.popitem(last=False)


_CACHE = _BlockCache()


class RemoteBytes:
    """The bytes of an object: small reads go through the cache, large ones are requests.

    Parameters
    ----------
    fetch
        Reads the bytes from one offset to another in one request.
    size
        The bytes of the object.
    version
        The object and its state, as a key of the cache; None where they cannot be told apart from
        others, so that no other reader shares the blocks.
    """

    def __init__(
        self, fetch: Callable[[int, int], bytes], size: int, version: Hashable | None
    ) -> None:
        self.size = size
        self.fetch = fetch
        self._file: Hashable = object() if version is None else version
        self._lock = threading.Lock()
        self._next = -1
        self._ahead = 0

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from one offset to another, or to the end of the object."""
        stop = min(stop, self.size)
        if stop <= start:
            return b""
        if stop - start >= RANGE_BYTES:
            return self.fetch(start, stop)
        first, end = start // _BLOCK, -(-stop // _BLOCK)
        with self._lock:
            data = b"".join(self._blocks(first, end))
        return data[start - first * _BLOCK : stop - first * _BLOCK]

    def ranges(self) -> RangePrefetcher:
        """The whole object, in ranges of `RANGE_BYTES`."""
        starts = range(0, self.size, RANGE_BYTES)
        return RangePrefetcher(self.fetch, [(s, min(s + RANGE_BYTES, self.size)) for s in starts])

    def open_random(self) -> io.RawIOBase:
        """The object as a file for reads at random offsets."""
        return _RemoteFile(self.size, self.read)

    def open_sequential(self) -> io.RawIOBase:
        """The object as a file for reads from start to end."""
        ranges = self.ranges()

        def read(start: int, stop: int) -> bytes:
            if start < _HEAD or start >= self.size:
                return self.read(start, min(stop, _HEAD))
            number, offset = divmod(start, RANGE_BYTES)
            return ranges[number][offset : offset + stop - start]

        return _RemoteFile(self.size, read)

    def _blocks(self, first: int, end: int) -> list[bytes]:
        """Blocks of the cache; the missing ones are fetched in one request."""
        cached = {number: _CACHE.get(self._file, number) for number in range(first, end)}
        missing = [number for number, block in cached.items() if block is None]
        fetched = self._fetch(missing[0], missing[-1] + 1, end) if missing else {}
        blocks = [fetched.get(number, block) for number, block in cached.items()]
        return [block for block in blocks if block is not None]

    def _fetch(self, first: int, stop: int, end: int) -> dict[int, bytes]:
        """Missing blocks, and if reads are sequential, blocks ahead."""
        if stop == end:
            is_sequential = first == self._next
            self._ahead = min(2 * (self._ahead + stop - first), _MAX_AHEAD) if is_sequential else 0
            while stop < end + self._ahead and _CACHE.get(self._file, stop) is None:
                stop += 1
            self._next = stop
        data = self.fetch(first * _BLOCK, min(stop * _BLOCK, self.size))
        pieces = (data[at : at + _BLOCK] for at in range(0, len(data), _BLOCK))
        blocks = dict(enumerate(pieces, first))
        for number, block in blocks.items():
            _CACHE.add(self._file, number, block)
        return blocks


class _RemoteFile(io.RawIOBase):
    """A file of a known size over a function that reads from one offset to another."""

    def __init__(self, size: int, read: Callable[[int, int], bytes]) -> None:
        self._size = size
        self._read = read
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self._read(self._position, self._position + len(view))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)
