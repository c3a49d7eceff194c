"""Objects as a store of zarr, for metadata and whatever is read whole.

The module imports zarr: import it where a store is opened.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from zarr.abc.store import OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from slaf.sources.zarr.store import Objects

__all__ = ["ReadOnlyStore"]


class ReadOnlyStore(Store):
    """A store of zarr over `Objects`."""

    def __init__(self, objects: Objects) -> None:
        super().__init__(read_only=True)
        self._objects = objects

    supports_writes = False
    supports_deletes = False
    supports_partial_writes = False
    supports_listing = True

    def __eq__(self, value: object) -> bool:
        return self is value

    def __hash__(self) -> int:
        return id(self)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """An object, or a part of it; None if it does not exist."""
        start, stop = 0, None
        if isinstance(byte_range, RangeByteRequest):
            start, stop = byte_range.start, byte_range.end
        elif isinstance(byte_range, OffsetByteRequest):
            start = byte_range.offset
        elif isinstance(byte_range, SuffixByteRequest):
            start = -byte_range.suffix
        if self._objects.is_remote:
            data = await asyncio.to_thread(self._objects.read, key, start, stop)
        else:
            data = self._objects.read(key, start, stop)
        return None if data is None else prototype.buffer.from_bytes(data)

    async def get_partial_values(self, prototype: Any, key_ranges: Any) -> list[Any]:
        """Several objects, or parts of them."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        """Whether an object exists."""
        return self._objects.read(key, 0, 0) is not None

    async def set(self, key: str, value: Any) -> None:
        """Refuse: inputs are not written."""
        raise NotImplementedError

    async def set_partial_values(self, key_start_values: Any) -> None:
        """Refuse: inputs are not written."""
        raise NotImplementedError

    async def delete(self, key: str) -> None:
        """Refuse: inputs are not written."""
        raise NotImplementedError

    async def list(self) -> AsyncIterator[str]:
        """The keys of all objects."""
        for key in self._objects.sizes(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """The keys below a prefix."""
        for key in self._objects.sizes(prefix.strip("/")):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """The names directly below a prefix."""
        for name in self._objects.children(prefix.strip("/")):
            yield name
