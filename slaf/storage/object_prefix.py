"""A prefix of a bucket: objects that are put whole, under a lease."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar
from uuid import uuid4

from slaf.errors import Locked, StorageError
from slaf.storage.backend import LOCK_NAME, NEW_SUFFIX
from slaf.storage.lease import LEASE_SECONDS, Lease, LeaseRecord, is_expired
from slaf.storage.object_options import lance_options
from slaf.storage.object_store import ObjectStore
from slaf.storage.urls import BUCKETS, redacted, scheme_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from slaf.storage.backend import FileStat

__all__ = ["ObjectPrefix"]


# A renewal that is not through by then is tried anew.
_HASTE = {"timeout": "10s", "client_max_retries": "3", "client_retry_timeout": "10"}

# The object that says what is published: whoever takes over a lease rewrites it, so that nothing
# the former holder may still send replaces it.
_FENCED = "config.json"
_BLANKS = bytes.maketrans(b"01", b" \t")
logger = logging.getLogger(__name__)


class ObjectPrefix:
    """A prefix of a bucket; a :class:`slaf.storage.backend.Backend`.

    A file that is read under the lock is put only over what was read: whoever lost the lock
    without knowing it replaces nothing.

    Parameters
    ----------
    url
        Of the prefix, in a bucket.
    options
        How to reach it.
    """

    lease_seconds: ClassVar[float] = LEASE_SECONDS

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        if scheme_of(url) not in BUCKETS:
            msg = (
                f"{redacted(url)}: an input may be there, but a dataset is on a disk or in a bucket"
            )
            raise StorageError(msg)
        self._url = url.rstrip("/")
        self._given = dict(options)
        self._objects = ObjectStore(url, options)
        self._seen: dict[str, dict[str, str] | None] | None = None
        self.options = lance_options(url, options)

    def __str__(self) -> str:
        return str(self._objects)

    @property
    def path(self) -> Path:
        """None of this machine.

        Raises
        ------
        StorageError
            Always.
        """
        msg = f"{self}: this has to be a path of this machine"
        raise StorageError(msg)

    def uri(self, name: str) -> str:
        """The URL of a file or table."""
        return f"{self._url}/{name}"

    def exists(self) -> bool:
        """Whether there is any object below the prefix."""
        return bool(self._objects.sizes(""))

    def is_empty(self) -> bool:
        """Whether there is nothing but what a lock leaves."""
        return all(map(_is_transient, self._objects.sizes("")))

    def has(self, name: str) -> bool:
        """Whether there is an object of this name, or are some below it."""
        return bool(self._named(name))

    def read(self, name: str) -> bytes | None:
        """The content of an object, or None if there is none."""
        found = self._objects.get(name)
        if self._seen is not None:
            self._seen[name] = found[1] if found else None
        return found[0] if found else None

    def sizes(self, directory: str) -> dict[str, int]:
        """All objects below a directory, and their bytes."""
        return self._objects.sizes("" if directory == "." else directory)

    def size_of(self, name: str) -> int | None:
        """The bytes of an object, or None if there is none."""
        return self._objects.size_of(name)

    def stat(self, name: str) -> FileStat | None:
        """Its bytes and its tag: what Lance has sent did not pass through here."""
        return self._objects.stat(name)

    def digest(self, name: str) -> str | None:
        """The xxh3-128 of the content of an object, or None if there is none."""
        import xxhash

        found = self._objects.get(name)
        return None if found is None else str(xxhash.xxh3_128(found[0]).hexdigest())

    def etags(self) -> Mapping[str, str]:
        """The tag of every object."""
        return self._objects.etags()

    def move(self, name: str, to: str) -> None:
        """Copy an object within the bucket, and delete the first."""
        self._objects.copy(name, to)
        self._objects.delete([name])

    def free(self) -> None:
        """There is no limit that could be asked for."""

    def disk(self) -> object:
        """Nobody else's."""
        return object()

    def directory_exists(self) -> bool:
        """There are no directories to make."""
        return True

    def mkdir(self) -> None:
        """Nothing."""

    def put(self, name: str, data: bytes) -> None:
        """Put an object whole; over what was read of it, if it was read under the lock."""
        if self._seen is None or name not in self._seen:
            self._objects.put(name, data)
        else:
            self._seen[name] = self._objects.swap(name, data, self._seen[name])

    def unsynced(self, names: Iterable[str]) -> list[str]:
        """None of them: what a bucket has taken, it has."""
        del names
        return []

    def sync(self, names: Iterable[str]) -> None:
        """Nothing."""

    def remove(self, name: str) -> None:
        """Delete an object, and all that are below its name."""
        self._objects.delete(self._named(name))
        if self._seen is not None and name in self._seen:
            self._seen[name] = None

    def is_empty_directory(self) -> bool:
        """There are no directories to be left as they were found."""
        return False

    def acquire(self, *, keep: bool) -> _PrefixLock:
        """Take the lock: as nobody has it, or as its lease has run out, or its holder is dead.

        Raises
        ------
        Locked
            If another process holds it.
        """
        del keep
        objects = ObjectStore(self._url, self._given | _HASTE)
        ticket, begun = LeaseRecord.mine(self.lease_seconds), Lease.now()
        try:
            version = objects.swap(LOCK_NAME, ticket.to_bytes(), None)
        except Locked:
            version = self._take_over(objects, ticket)
        except StorageError:
            # It may be there although the answer was lost, and this process does not hold it.
            ticket.let_go()
            raise
        self._seen = {}
        return _PrefixLock(self, Lease(objects, LOCK_NAME, ticket, version, begun))

    def forget(self) -> None:
        """Put again without a look at what is there: the lock is given back."""
        self._seen = None

    def is_locked(self) -> bool:
        """Whether there is a lock that holds off others, as far as this machine's clock goes.

        Unlike `acquire`, it writes nothing: whoever asks may only be allowed to read.
        """
        found = self._objects.get(LOCK_NAME)
        changed = self._objects.changed(LOCK_NAME)
        if found is None or changed is None:
            return False
        return not is_expired(
            LeaseRecord.of(found[0]), (datetime.now(UTC) - changed).total_seconds()
        )

    def has_lock(self) -> bool:
        """Whether there is a lock, held or not."""
        return self._objects.size_of(LOCK_NAME) is not None

    def _take_over(self, objects: ObjectStore, ticket: LeaseRecord) -> dict[str, str]:
        found = objects.get(LOCK_NAME)
        if found is None:
            # It was given back this moment.
            return objects.swap(LOCK_NAME, ticket.to_bytes(), None)
        data, version = found
        if not self._is_over(data):
            raise self._locked(data)
        taken = objects.swap(LOCK_NAME, ticket.to_bytes(), version)
        logger.debug("took over the lock of %s from a process that is no more", self)
        self._fence(objects)
        return taken

    def _is_over(self, data: bytes) -> bool:
        """Whether a lock holds no one off any more, by the clock of the server."""
        ticket = LeaseRecord.of(data)
        if ticket is not None and ticket.is_dead():
            return True
        changed = self._objects.changed(LOCK_NAME)
        return changed is None or is_expired(ticket, self._seconds(changed))

    def _seconds(self, since: datetime) -> float:
        """The seconds since then, by the clock that said then."""
        probe = f"{LOCK_NAME}-{uuid4().hex}{NEW_SUFFIX}"
        self._objects.put(probe, b"")
        try:
            now = self._objects.changed(probe)
        finally:
            self._objects.delete([probe])
        return (now - since).total_seconds() if now else 0.0

    def _locked(self, data: bytes) -> Locked:
        ticket = LeaseRecord.of(data)
        who = f" (process {ticket.pid} on {ticket.host})" if ticket else ""
        seconds = ticket.seconds if ticket else LEASE_SECONDS
        msg = (
            f"{self}: another process is writing here{who}; wait until it ends, then try again "
            f"(if it is dead already, its lock runs out within {seconds:.0f} seconds)"
        )
        return Locked(msg)

    def _fence(self, objects: ObjectStore) -> None:
        """Give config.json another version, of the same content, which nobody has read before.

        Blanks behind JSON say nothing; what they are makes the version another on servers that
        count versions by the content.
        """
        found = objects.get(_FENCED)
        if found is not None:
            data, version = found
            mark = f"{uuid4().int >> 64:064b}".encode().translate(_BLANKS)
            objects.swap(_FENCED, data.rstrip() + b"\n" + mark, version)

    def _named(self, name: str) -> list[str]:
        exact = [] if self._objects.size_of(name) is None else [name]
        return exact + [found for found in self._objects.sizes(name) if found != name]


class _PrefixLock:
    """The lease of a prefix; a :class:`slaf.storage.backend.Lock`."""

    def __init__(self, prefix: ObjectPrefix, lease: Lease) -> None:
        self._prefix = prefix
        self._lease = lease

    def check(self) -> None:
        """Raise `Locked` if the lease is lost."""
        self._lease.check()

    def tidy(self) -> None:
        """Remove the lock."""
        self._prefix.forget()
        self._lease.tidy()

    def release(self) -> None:
        """Let the lease run out, if it was not removed."""
        self._prefix.forget()
        self._lease.release()


def _is_transient(name: str) -> bool:
    return name == LOCK_NAME or (name.startswith(".") and name.endswith(NEW_SUFFIX))
