"""Paths of inputs in buckets and on the web, with the interface of `pathlib.Path` for reading."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property, total_ordering
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from slaf.errors import NoSuchInput, StorageError
from slaf.storage.object_store import ObjectStore
from slaf.storage.remote_bytes import RemoteBytes
from slaf.storage.urls import is_web, scheme_of

if TYPE_CHECKING:
    import os
    from collections.abc import Hashable, Iterator, Mapping

__all__ = ["ObjectStat", "RemotePath"]

_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class ObjectStat:
    """Size, time of change and etag of an object, by the names of `os.stat_result`."""

    st_size: int
    st_mtime_ns: int
    e_tag: str | None


@total_ordering
class RemotePath:
    """An object, or the common prefix of several objects.

    Parameters
    ----------
    root
        The bucket, or an address of the web.
    key
        The name of the object in it; "" on the web.
    """

    def __init__(self, root: ObjectStore, key: str) -> None:
        self._root = root
        self._key = key.strip("/")

    @classmethod
    def of(cls, url: str | os.PathLike[str], options: Mapping[str, str]) -> RemotePath:
        """The path of a URL."""
        url = str(url)
        if is_web(url):
            return cls(ObjectStore(url, options), "")
        parts = urlsplit(url)
        root = ObjectStore(f"{parts.scheme}://{parts.netloc}", options)
        return cls(root, unquote(parts.path))

    def __str__(self) -> str:
        return f"{self._root}/{self._key}" if self._key else str(self._root)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and str(self) == str(other)

    def __lt__(self, other: RemotePath) -> bool:
        return str(self) < str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(self._root, f"{self._key}/{name}")

    @property
    def name(self) -> str:
        """The last component."""
        return str(self).rpartition("/")[2]

    @property
    def parent(self) -> RemotePath:
        """The path without its last component."""
        return RemotePath(self._root, self._key.rpartition("/")[0])

    @property
    def is_web(self) -> bool:
        """Whether it is an address of the web, which has no siblings and no children."""
        return self._root.is_web

    @property
    def query(self) -> str:
        """The query of an address of the web, which may be secret."""
        return urlsplit(self._root.url).query if self.is_web else ""

    @property
    def scheme(self) -> str:
        """The scheme of its URL."""
        return scheme_of(self._root.url)

    @property
    def storage_options(self) -> dict[str, str]:
        """Storage options, with retries and timeouts, which may be secret."""
        return self._root.lance_options

    @property
    def cache_key(self) -> Hashable:
        """An identity of the object and the credentials used, which may be secret."""
        return (self._root.url, self._key, frozenset(self._root.options.items()))

    def with_stat(self, stat: ObjectStat) -> RemotePath:
        """The path itself, with metadata from a list, which saves a request."""
        self.__dict__["_stat"] = stat
        return self

    def reopened(self) -> RemotePath:
        """The same path with the metadata of this one, but without its open file."""
        path = RemotePath(self._root, self._key)
        return path.with_stat(self._stat) if self._stat is not None else path

    def absolute(self) -> RemotePath:
        """The path itself."""
        return self

    def resolve(self) -> RemotePath:
        """The path itself: there are no links."""
        return self

    def exists(self) -> bool:
        """Whether an object of this name, or below it, exists."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Whether an object of this name exists."""
        return self._stat is not None

    def is_dir(self) -> bool:
        """Whether objects below this name exist."""
        return not self.is_web and bool(self._children)

    def iterdir(self) -> Iterator[RemotePath]:
        """The paths directly below it, in order."""
        for key, stat in sorted(self._children.items()):
            child = RemotePath(self._root, key)
            yield child if stat is None else child.with_stat(stat)

    def walk_files(self) -> list[tuple[str, ObjectStat]]:
        """All objects below it, by their relative names, in order."""
        start = len(self._key) + 1 if self._key else 0
        return sorted(
            (meta["path"][start:], _object_stat(meta)) for meta in self._root.list(self._key)
        )

    def stat(self) -> ObjectStat:
        """Size, time of change and etag of the object.

        Raises
        ------
        NoSuchInput
            If it does not exist.
        """
        if self._stat is None:
            msg = f"{self}: there is no such object"
            raise NoSuchInput(msg)
        return self._stat

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """The object as a file, for reads from start to end."""
        del mode
        return io.BufferedReader(self.content.open_sequential(), _BUFFER_BYTES)

    def read_bytes(self) -> bytes:
        """The whole object.

        Raises
        ------
        NoSuchInput
            If it does not exist.
        """
        return self.content.read(0, self.stat().st_size)

    def open_random(self) -> io.RawIOBase:
        """The object as a file, for reads at random offsets."""
        return self.content.open_random()

    @cached_property
    def content(self) -> RemoteBytes:
        """The bytes of the object, which are read on demand."""
        stat = self.stat()
        # Without an etag two versions of an object cannot be told apart.
        version = (self.cache_key, stat) if stat.e_tag else None
        return RemoteBytes(self.fetch, stat.st_size, version)

    def fetch(self, start: int, stop: int) -> bytes:
        """The bytes from one offset to another, if the object has not changed since `stat`.

        Raises
        ------
        StorageError
            If it cannot be read, or has changed.
        """
        etag = self.stat().e_tag
        strong = None if etag is None or etag.startswith("W/") else etag
        data = self._root.get_range(self._key, start, stop, strong)
        if data is None:
            msg = f"{self}: it was changed while it was read; begin again"
            raise StorageError(msg)
        if len(data) != stop - start:
            msg = (
                f"{self}: the server sent {len(data):,} bytes where {stop - start:,} were "
                "requested; run the same command again"
            )
            raise StorageError(msg)
        return data

    @cached_property
    def _stat(self) -> ObjectStat | None:
        # The object of a web address has no key, and an object of a bucket has one.
        if bool(self._key) is self.is_web:
            return None
        meta = self._root.head(self._key)
        return None if meta is None else _object_stat(meta)

    @cached_property
    def _children(self) -> dict[str, ObjectStat | None]:
        """The objects directly below it with their metadata, and the prefixes of others."""
        listed = self._root.children(self._key)
        prefixes: dict[str, ObjectStat | None] = dict.fromkeys(listed["common_prefixes"])
        return prefixes | {meta["path"]: _object_stat(meta) for meta in listed["objects"]}


def _object_stat(meta: Mapping[str, Any]) -> ObjectStat:
    modified = meta["last_modified"].timestamp()
    return ObjectStat(int(meta["size"]), round(modified * 1e9), meta["e_tag"])
