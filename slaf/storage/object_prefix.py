"""Prefixes of a bucket: objects that are put whole, under a lease."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar
from uuid import uuid4

from slaf.errors import Locked, StorageError
from slaf.storage.backend import LOCK_NAME, NEW_SUFFIX, FileStat, is_transient
from slaf.storage.lease import LEASE_SECONDS, Lease, LeaseRecord, is_expired
from slaf.storage.object_store import ObjectStore
from slaf.storage.urls import BUCKETS, redacted, scheme_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["ObjectPrefix"]


# Timeouts of a renewal, which is tried again when they have passed.
_LEASE_TIMEOUTS = {"timeout": "10s", "client_max_retries": "3", "client_retry_timeout": "10"}
logger = logging.getLogger(__name__)


class ObjectPrefix:
    """A prefix of a bucket; a :class:`slaf.storage.backend.Backend`.

    A file that was read under the lock is put only in place of the version that was read: a
    process that has lost the lock without noticing replaces nothing.

    Parameters
    ----------
    url
        The prefix.
    options
        Credentials and settings.
    """

    lease_seconds: ClassVar[float] = LEASE_SECONDS
    needs_sync = False

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        if scheme_of(url) not in BUCKETS:
            msg = (
                f"{redacted(url)}: this scheme is for inputs only; name a dataset on a disk or in "
                "a bucket"
            )
            raise StorageError(msg)
        self._objects = ObjectStore(url, options)
        # Versions of the objects that were read under the lock; None while it is not held.
        self._versions: dict[str, dict[str, str] | None] | None = None
        self.options = self._objects.lance_options

    def __str__(self) -> str:
        return str(self._objects)

    @property
    def path(self) -> Path:
        """Not available: the prefix is no path of this machine.

        Raises
        ------
        StorageError
            Always.
        """
        msg = f"{self}: this has to be a path of this machine"
        raise StorageError(msg)

    def uri(self, name: str) -> str:
        """The URL of a file or table."""
        return f"{self._objects.url}/{name}"

    def exists(self) -> bool:
        """Whether the prefix has any object."""
        return bool(self._objects.sizes(""))

    def is_empty(self) -> bool:
        """Whether the prefix has only transient objects, or none."""
        return all(map(is_transient, self._objects.sizes("")))

    def has(self, name: str) -> bool:
        """Whether an object of this name, or below it, exists."""
        return bool(self._names(name))

    def read(self, name: str) -> bytes | None:
        """The content of an object; None if it does not exist."""
        data, version = self._objects.get(name) or (None, None)
        if self._versions is not None:
            self._versions[name] = version
        return data

    def sizes(self, directory: str) -> dict[str, int]:
        """The bytes of each object below a directory, by its name."""
        return self._objects.sizes("" if directory == "." else directory)

    def size_of(self, name: str) -> int | None:
        """The bytes of an object; None if it does not exist."""
        return self._objects.size_of(name)

    def stat(self, name: str) -> FileStat | None:
        """The size and etag of an object, whose content is not read."""
        meta = self._objects.head(name)
        return None if meta is None else FileStat(meta["size"], etag=_bare_etag(meta["e_tag"]))

    def digest(self, name: str) -> str | None:
        """The xxh3-128 of the content of an object; None if it does not exist."""
        import xxhash

        stored = self._objects.get(name)
        return None if stored is None else str(xxhash.xxh3_128(stored[0]).hexdigest())

    def etags(self) -> Mapping[str, str]:
        """The etag of every object."""
        return {meta["path"]: _bare_etag(meta["e_tag"]) for meta in self._objects.list("")}

    def copy(self, name: str, to: str) -> None:
        """Copy an object within the bucket."""
        self._objects.copy(name, to)

    def free(self) -> None:
        """None: a bucket has no limit."""

    def file_system(self) -> str:
        """None."""
        return ""

    def disk(self) -> object:
        """A value that equals no other: prefixes share no disk."""
        return object()

    def directory_exists(self) -> bool:
        """True: a bucket has no directories."""
        return True

    def mkdir(self) -> None:
        """Nothing: a bucket has no directories."""

    def put(self, name: str, data: bytes) -> None:
        """Put an object; in place of the version that was read, if it was read under the lock."""
        if self._versions is None or name not in self._versions:
            self._objects.put(name, data)
        else:
            self._versions[name] = self._objects.swap(name, data, self._versions[name])

    def put_new(self, name: str, data: bytes) -> bool:
        """Put an object unless one of this name exists; whether it was put."""
        try:
            self._objects.swap(name, data, None)
        except Locked:
            return False
        return True

    def sync(self, names: Iterable[str]) -> None:
        """Nothing: an object is durable once it is put."""

    def remove(self, name: str) -> None:
        """Delete an object, and all objects below its name."""
        self._objects.delete(self._names(name))
        if self._versions is not None and name in self._versions:
            self._versions[name] = None

    def is_empty_directory(self) -> bool:
        """False: a bucket has no directories."""
        return False

    def acquire(self, *, keep: bool) -> Lease:
        """Take the lock if it is free, its lease has expired, or its holder is dead.

        Raises
        ------
        Locked
            If another process holds it.
        """
        del keep
        objects = ObjectStore(self._objects.url, self._objects.options | _LEASE_TIMEOUTS)
        record, requested = LeaseRecord.of_this_process(self.lease_seconds), Lease.now()
        taken_over = False
        try:
            version = objects.swap(LOCK_NAME, record.to_bytes(), None)
        except Locked:
            version, taken_over = self._take_over(objects, record)
        except StorageError:
            # The object may have been put although its answer was lost.
            record.abandon()
            raise
        self._versions = {}
        return Lease(
            objects,
            LOCK_NAME,
            record,
            version,
            requested=requested,
            ended=self._end_lock,
            taken_over=taken_over,
        )

    def is_locked(self) -> bool:
        """Whether a lock is held, by the clock of this machine.

        Unlike `acquire` it writes nothing: reading may be all that the credentials allow.
        """
        stored = self._objects.get(LOCK_NAME)
        modified = self._modified(LOCK_NAME)
        if stored is None or modified is None:
            return False
        age = (datetime.now(UTC) - modified).total_seconds()
        return not is_expired(LeaseRecord.from_bytes(stored[0]), age)

    def _end_lock(self) -> None:
        """Put objects in place of any version again."""
        self._versions = None

    def _take_over(self, objects: ObjectStore, record: LeaseRecord) -> tuple[dict[str, str], bool]:
        """The version of the lock, and whether another process held it before."""
        stored = objects.get(LOCK_NAME)
        if stored is None:
            # Its holder has released it since.
            return objects.swap(LOCK_NAME, record.to_bytes(), None), False
        data, version = stored
        holder = LeaseRecord.from_bytes(data)
        if not self._is_over(holder):
            raise self._locked(holder)
        new_version = objects.swap(LOCK_NAME, record.to_bytes(), version)
        logger.debug("took over the lock of %s from a process that has ended", self)
        return new_version, True

    def _is_over(self, holder: LeaseRecord | None) -> bool:
        """Whether the holder of the lock is dead or its lease expired, by the server's clock."""
        if holder is not None and holder.is_abandoned():
            return True
        modified = self._modified(LOCK_NAME)
        return modified is None or is_expired(holder, self._seconds_since(modified))

    def _modified(self, name: str) -> datetime | None:
        """The time at which an object was put, by the clock of the server."""
        meta = self._objects.head(name)
        return None if meta is None else meta["last_modified"]

    def _seconds_since(self, modified: datetime) -> float:
        """The seconds since a time of the server, by the server's clock."""
        probe = f"{LOCK_NAME}-{uuid4().hex}{NEW_SUFFIX}"
        self._objects.put(probe, b"")
        try:
            now = self._modified(probe)
        finally:
            self._objects.delete([probe])
        return (now - modified).total_seconds() if now else 0.0

    def _locked(self, holder: LeaseRecord | None) -> Locked:
        process = f" (process {holder.pid} on {holder.host})" if holder else ""
        seconds = holder.seconds if holder else LEASE_SECONDS
        msg = (
            f"{self}: another process is writing here{process}; wait until it ends, then try again "
            f"(if it is dead already, its lock expires within {seconds:.0f} seconds)"
        )
        return Locked(msg)

    def _names(self, name: str) -> list[str]:
        """The object of this name, and all objects below it."""
        exact = [] if self._objects.size_of(name) is None else [name]
        return exact + [below for below in self._objects.sizes(name) if below != name]


def _bare_etag(etag: str | None) -> str:
    """An etag without its quotes, which Azure leaves out in lists."""
    return (etag or "").strip('"')
