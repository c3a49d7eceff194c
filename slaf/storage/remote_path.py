"""Inputs in buckets and on the web, as paths are: looked into, listed, and read by ranges."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property, total_ordering
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import obstore

from slaf.errors import NoSuchBucket, NoSuchInput, StorageError
from slaf.storage.errors import storage_error
from slaf.storage.object_options import lance_options, open_store
from slaf.storage.remote_bytes import Random, RemoteBytes, Stream
from slaf.storage.urls import WEB, redacted, scheme_of

if TYPE_CHECKING:
    import os
    from collections.abc import Hashable, Iterator, Mapping

    from obstore import GetOptions
    from obstore.store import ObjectStore

__all__ = ["RemotePath"]

_TEXT_BUFFER = 1 << 20


@dataclass(frozen=True)
class Status:
    """What is known of a file without reading it."""

    st_size: int
    st_mtime_ns: int
    e_tag: str | None


class _Root:
    """A bucket, or one address of the web."""

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        self.url = redacted(url).rstrip("/")
        self.given = url
        self.options = dict(options)
        self.is_web = scheme_of(url) in WEB
        self.store: ObjectStore = open_store(url, options)


@total_ordering
class RemotePath:
    """An object, or the prefix of several: what :class:`pathlib.Path` is to files, for reading.

    Parameters
    ----------
    root
        The bucket.
    key
        The name of the object in it.
    """

    def __init__(self, root: _Root, key: str) -> None:
        self._root = root
        self._key = key.strip("/")

    @classmethod
    def of(cls, what: str | os.PathLike[str], options: Mapping[str, str]) -> RemotePath:
        """The path of a URL."""
        url = str(what)
        if scheme_of(url) in WEB:
            return cls(_Root(url, options), "")
        parts = urlsplit(url)
        root = _Root(f"{parts.scheme}://{parts.netloc}", options)
        return cls(root, unquote(parts.path))

    def __str__(self) -> str:
        return f"{self._root.url}/{self._key}" if self._key else self._root.url

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
        """The last part of it."""
        return str(self).rpartition("/")[2]

    @property
    def parent(self) -> RemotePath:
        """What it lies in."""
        return RemotePath(self._root, self._key.rpartition("/")[0])

    @property
    def is_web(self) -> bool:
        """Whether it is an address of the web, where nothing lies beside it."""
        return self._root.is_web

    @property
    def query(self) -> str:
        """Of an address of the web, what stands behind its path. It may be secret."""
        return urlsplit(self._root.given).query if self.is_web else ""

    @property
    def scheme(self) -> str:
        """The scheme of its URL."""
        return scheme_of(self._root.given)

    @property
    def storage_options(self) -> dict[str, str]:
        """How it is reached, with retries and timeouts. They may be secret."""
        return lance_options(self._root.given, self._root.options)

    @property
    def reach(self) -> Hashable:
        """What tells it, and the way to it, from all others. It may be secret."""
        return (self._root.given, self._key, frozenset(self._root.options.items()))

    def known(self, status: Status) -> RemotePath:
        """The path of an object that was listed, so that nobody has to ask for it again."""
        self.__dict__["_status"] = status
        return self

    def afresh(self) -> RemotePath:
        """The same object as it was when it was looked at, but nothing that was read of it."""
        found = RemotePath(self._root, self._key)
        return found.known(self._status) if self._status is not None else found

    def absolute(self) -> RemotePath:
        """It is that already."""
        return self

    def resolve(self) -> RemotePath:
        """There are no links."""
        return self

    def exists(self) -> bool:
        """Whether there is an object of this name, or some below it."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Whether there is an object of this name."""
        return self._status is not None

    def is_dir(self) -> bool:
        """Whether there are objects below this name."""
        return not self.is_web and bool(self._children)

    def iterdir(self) -> Iterator[RemotePath]:
        """What is in it, in order."""
        for name, status in sorted(self._children.items()):
            child = RemotePath(self._root, name)
            yield child if status is None else child.known(status)

    def walk_files(self) -> list[tuple[str, Status]]:
        """All objects below it, by their names from here, in order."""
        try:
            chunks = obstore.list(self._root.store, self._key or None)
            found = [(str(meta["path"]), _status(meta)) for chunk in chunks for meta in chunk]
        except (obstore.exceptions.BaseError, OSError) as error:
            raise storage_error(str(self), "list", error) from None
        start = len(self._key) + 1 if self._key else 0
        return sorted((path[start:], status) for path, status in found)

    def stat(self) -> Status:
        """Size, time of change and tag of an object.

        Raises
        ------
        NoSuchInput
            If there is none.
        """
        if self._status is None:
            msg = f"{self}: there is no such object"
            raise NoSuchInput(msg)
        return self._status

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """The object as a file, to be read from its start to its end."""
        del mode
        return io.BufferedReader(Stream(self.content), _TEXT_BUFFER)

    def read_bytes(self) -> bytes:
        """All of the object.

        Raises
        ------
        NoSuchInput
            If there is none.
        """
        return self.content.read(0, self.stat().st_size)

    def open_random(self) -> io.RawIOBase:
        """The object as a file, to be read here and there."""
        return Random(self.content)

    @cached_property
    def content(self) -> RemoteBytes:
        """The object's bytes, and those of them that were read already."""
        return RemoteBytes(self, self.stat())

    def fetch(self, start: int, stop: int) -> bytes:
        """These bytes of the object, if it is still the one that was looked at.

        Raises
        ------
        StorageError
            If it cannot be read, or is another by now.
        """
        status = self.stat()
        wanted: GetOptions = {"range": (start, stop)}
        if status.e_tag is not None and not status.e_tag.startswith("W/"):
            wanted["if_match"] = status.e_tag
        try:
            data = bytes(obstore.get(self._root.store, self._key, options=wanted).bytes())
        except obstore.exceptions.PreconditionError:
            msg = f"{self}: it was changed while it was read; begin again"
            raise StorageError(msg) from None
        except (obstore.exceptions.BaseError, OSError) as error:
            raise storage_error(str(self), "read", error) from None
        if len(data) != stop - start:
            msg = f"{self}: {len(data):,} bytes came where {stop - start:,} were asked for"
            raise StorageError(msg)
        return data

    @cached_property
    def _status(self) -> Status | None:
        if bool(self._key) is self._root.is_web:
            return None
        try:
            if self._root.is_web:
                # An address that is signed is signed for GET alone.
                found = obstore.get(self._root.store, "", options={"range": (0, 1)})
                return _status(found.meta)
            return _status(obstore.head(self._root.store, self._key))
        except FileNotFoundError as error:
            failure = storage_error(str(self), "read", error)
            if isinstance(failure, NoSuchBucket):
                raise failure from None
            return None
        except (obstore.exceptions.BaseError, OSError) as error:
            raise storage_error(str(self), "read", error) from None

    @cached_property
    def _children(self) -> dict[str, Status | None]:
        """What is in it: objects with what is known of them, and prefixes of others."""
        try:
            found = obstore.list_with_delimiter(self._root.store, self._key or None)
        except (obstore.exceptions.BaseError, OSError) as error:
            raise storage_error(str(self), "list", error) from None
        prefixes: dict[str, Status | None] = dict.fromkeys(found["common_prefixes"])
        return prefixes | {str(meta["path"]): _status(meta) for meta in found["objects"]}


def _status(meta: Mapping[str, Any]) -> Status:
    changed = meta["last_modified"].timestamp()
    return Status(int(meta["size"]), round(changed * 1e9), meta["e_tag"])
