"""The objects of a prefix, by name: got, put whole, put on condition, listed, deleted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError, PreconditionError

from slaf.errors import Locked, NoSuchBucket, SlafError, StorageError, StorageUnavailable
from slaf.storage.backend import FileStat
from slaf.storage.errors import storage_error
from slaf.storage.object_options import open_store
from slaf.storage.urls import redacted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

__all__ = ["ObjectStore"]


# A conditional put may have been done although its answer was lost: obstore does not send it
# again then. It is here, unless the attempt has taken so many seconds of retries already.
_ATTEMPTS, _LONG = 3, 20.0
_ERRORS = (BaseError, OSError)
_PIECES_AT_ONCE = 4


class ObjectStore:
    """The objects below a URL, by name; every error is one of ours.

    Parameters
    ----------
    url
        Of the prefix.
    options
        How to reach it.
    """

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        self._url = redacted(url).rstrip("/")
        self._store = open_store(url.rstrip("/"), options)

    def __str__(self) -> str:
        return self._url

    def get(self, name: str) -> tuple[bytes, dict[str, str]] | None:
        """An object and its version; None if there is none, in a bucket that there is."""
        try:
            found = obstore.get(self._store, name)
            return bytes(found.bytes()), _version(found.meta)
        except FileNotFoundError as error:
            failure = storage_error(f"{self}/{name}", "read", error)
            if isinstance(failure, NoSuchBucket):
                raise failure from None
            return None
        except _ERRORS as error:
            raise storage_error(f"{self}/{name}", "read", error) from None

    def put(self, name: str, data: bytes) -> None:
        """Put an object over whatever is there."""
        try:
            obstore.put(self._store, name, data, use_multipart=False)
        except _ERRORS as error:
            raise storage_error(f"{self}/{name}", "write", error) from None

    def upload(self, name: str, pieces: Iterator[bytes], size: int) -> None:
        """Put an object over whatever is there, of pieces that need not fit in memory.

        Until the last is taken there is nothing of it to be seen. What `pieces` raises is raised
        here, and those that were sent are discarded.

        Parameters
        ----------
        name
            The object.
        pieces
            Its content.
        size
            The bytes of each piece but the last.
        """
        try:
            obstore.put(self._store, name, pieces, chunk_size=size, max_concurrency=_PIECES_AT_ONCE)
        except SlafError:
            raise
        except _ERRORS as error:
            raise storage_error(f"{self}/{name}", "write", error) from None

    def swap(self, name: str, data: bytes, over: Mapping[str, str] | None) -> dict[str, str]:
        """Put an object over one of this version, or over none, and give its version.

        Raises
        ------
        Locked
            If something else is there.
        """
        mode: Any = "create" if over is None else dict(over)
        begun = time.monotonic()
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return _version(
                    obstore.put(self._store, name, data, mode=mode, use_multipart=False)
                )
            except (AlreadyExistsError, PreconditionError, FileNotFoundError) as error:
                failure = storage_error(f"{self}/{name}", "write", error)
                if isinstance(failure, NoSuchBucket):
                    raise failure from None
                return self._as_put(name, data)
            except (NotSupportedError, NotImplementedError) as error:
                msg = (
                    f"{self}: this storage has no conditional writes, without which two processes "
                    "cannot be kept from writing at once; convert to a disk, and copy"
                )
                raise StorageError(msg) from error
            except _ERRORS as error:
                failure = storage_error(f"{self}/{name}", "write", error)
                last = attempt == _ATTEMPTS or time.monotonic() - begun > _LONG
                if last or not isinstance(failure, StorageUnavailable):
                    raise failure from None
        raise AssertionError  # the last attempt has ended it

    def changed(self, name: str) -> datetime | None:
        """When an object was put, by the clock of the server."""
        try:
            return obstore.head(self._store, name)["last_modified"]
        except FileNotFoundError:
            return None
        except _ERRORS as error:
            raise storage_error(f"{self}/{name}", "read", error) from None

    def sizes(self, prefix: str) -> dict[str, int]:
        """The objects below a prefix, and their bytes."""
        try:
            chunks = obstore.list(self._store, prefix or None)
            return {found["path"]: found["size"] for chunk in chunks for found in chunk}
        except _ERRORS as error:
            raise storage_error(f"{self}/{prefix}", "list", error) from None

    def size_of(self, name: str) -> int | None:
        """The bytes of an object; None if there is none."""
        try:
            return obstore.head(self._store, name)["size"]
        except FileNotFoundError:
            return None
        except _ERRORS as error:
            raise storage_error(f"{self}/{name}", "read", error) from None

    def stat(self, name: str) -> FileStat | None:
        """The bytes and the tag of an object; None if there is none."""
        try:
            found = obstore.head(self._store, name)
        except FileNotFoundError:
            return None
        except _ERRORS as error:
            raise storage_error(f"{self}/{name}", "read", error) from None
        return FileStat(found["size"], etag=_tag(found["e_tag"]))

    def etags(self) -> dict[str, str]:
        """The tags of all objects."""
        try:
            chunks = obstore.list(self._store)
            return {found["path"]: _tag(found["e_tag"]) for chunk in chunks for found in chunk}
        except _ERRORS as error:
            raise storage_error(str(self), "list", error) from None

    def copy(self, name: str, to: str) -> None:
        """Copy an object, over whatever has the other name."""
        try:
            obstore.copy(self._store, name, to)
        except _ERRORS as error:
            raise storage_error(f"{self}/{to}", "write", error) from None

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; those that are not there are no matter."""
        for name in names:
            try:
                obstore.delete(self._store, name)
            except FileNotFoundError:
                continue
            except _ERRORS as error:
                raise storage_error(f"{self}/{name}", "remove", error) from None

    def _as_put(self, name: str, data: bytes) -> dict[str, str]:
        """The version of what was put after all, by a request whose answer was lost."""
        there = self.get(name)
        if there is not None and there[0] == data:
            return there[1]
        msg = f"{self}/{name}: another process has written it meanwhile"
        raise Locked(msg)


def _version(found: Mapping[str, Any]) -> dict[str, str]:
    """What tells this content of an object from others."""
    return {key: found[key] for key in ("e_tag", "version") if found.get(key)}


def _tag(told: str | None) -> str:
    """A tag without its quotes, which Azure leaves out where it lists."""
    return (told or "").strip('"')
