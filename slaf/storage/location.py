"""Location: the directory or bucket prefix of a dataset, with every change to it announced."""

from __future__ import annotations

import errno
import logging
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from slaf.errors import StorageError
from slaf.runtime.extras import require
from slaf.storage.backend import LOCK_NAME
from slaf.storage.local import Directory
from slaf.storage.urls import is_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from slaf.storage.backend import Backend, FileStat, Lock

__all__ = ["Location"]

logger = logging.getLogger(__name__)

# Attempts to lock a directory that other processes make and remove.
_ATTEMPTS = 10


class Location:
    """A directory, or a prefix of a bucket, that holds a dataset.

    Every method that changes files announces it through `mutation`, and so does
    :mod:`slaf.tables` for the changes that Lance makes. A subclass that overrides this one method
    observes, or interrupts, everything that a conversion writes.

    Parameters
    ----------
    path
        A directory of this machine, which need not exist, or a URL: s3://, gs://, az://.
    storage_options
        Credentials and settings for a URL, by their names in Lance and obstore. The others are
        taken from the environment.

    Raises
    ------
    StorageError
        If the path is empty, its scheme is not supported, or an option is not known.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        storage_options: Mapping[str, str] | None = None,
    ) -> None:
        self._backend = _backend(path, storage_options or {})
        self._writer_lock: Lock | None = None

    @classmethod
    def of(
        cls,
        path: str | os.PathLike[str] | Location,
        storage_options: Mapping[str, str] | None = None,
    ) -> Location:
        """The location of a path; a location is returned as it is."""
        return path if isinstance(path, Location) else cls(path, storage_options)

    def __str__(self) -> str:
        return str(self._backend)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    @property
    def path(self) -> Path:
        """The directory.

        Raises
        ------
        StorageError
            If it is in a bucket.
        """
        return self._backend.path

    @property
    def is_remote(self) -> bool:
        """Whether it is in a bucket."""
        return not isinstance(self._backend, Directory)

    @property
    def storage_options(self) -> dict[str, str] | None:
        """Storage options for Lance, which may be secret; None for a directory."""
        return dict(self._backend.options) or None

    @contextmanager
    def mutation(self, action: str, name: str) -> Iterator[None]:
        """Surround one change to what is stored, by its verb and the name of the file.

        Raises
        ------
        Locked
            If the lock of this location was held and is lost.
        """
        if self._writer_lock is not None:
            self._writer_lock.check()
        yield
        logger.debug("%s %s/%s", action, self, name)

    def uri(self, name: str) -> str:
        """The address of a file or table for Lance."""
        return self._backend.uri(name)

    def exists(self) -> bool:
        """Whether the directory exists, even empty, or any file below the prefix."""
        return self._backend.exists()

    def is_empty(self) -> bool:
        """Whether a dataset may be made here: nothing exists, or an empty directory.

        Files of a lock, and of a write that a process did not finish, do not count.
        """
        return self._backend.is_empty()

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if it does not exist.

        Raises
        ------
        StorageError
            If it cannot be read.
        """
        return self._backend.read(name)

    def list(self, directory: str) -> list[str]:
        """The names of all files below a directory, relative to the location, sorted."""
        return sorted(self._backend.sizes(directory))

    def size(self, directory: str = ".") -> int:
        """The bytes of all files below a directory."""
        return sum(self._backend.sizes(directory).values())

    def size_of(self, name: str) -> int | None:
        """The bytes of one file; None if it does not exist."""
        return self._backend.size_of(name)

    def sizes(self) -> dict[str, int]:
        """The bytes of each file, by its name relative to the location."""
        return self._backend.sizes(".")

    def stat(self, name: str) -> FileStat | None:
        """Size and identity of the content of a file; None if it does not exist.

        The identity is the digest of the content on a disk, and the etag in a bucket.
        """
        return self._backend.stat(name)

    def digest(self, name: str) -> str | None:
        """The xxh3-128 of the content of a file, which is read; None if it does not exist.

        Raises
        ------
        StorageError
            If it cannot be read.
        """
        return self._backend.digest(name)

    def etags(self) -> Mapping[str, str]:
        """The etag of each file in a bucket; empty on a disk."""
        return self._backend.etags()

    def free(self) -> int | None:
        """The free bytes on the disk; None where there is no limit."""
        return self._backend.free()

    def file_system(self) -> str:
        """The type of the file system, like "nfs4"; "" in a bucket, and where it is not known."""
        return self._backend.file_system()

    def shares_disk(self, other: Location) -> bool:
        """Whether both take their space from the same disk."""
        return self._backend.disk() == other._backend.disk()

    def mkdir(self) -> None:
        """Make the directory and its parents."""
        if not self._backend.directory_exists():
            with self.mutation("make", "."):
                self._backend.mkdir()

    def put(self, name: str, data: bytes) -> None:
        """Write a file durably; after a crash it is the old one or the new one.

        Raises
        ------
        Locked
            If it was read under the lock of this location, and another process has replaced it.
        """
        with self.mutation("put", name):
            self._backend.put(name, data)

    def put_new(self, name: str, data: bytes) -> bool:
        """Write a file as `put` does, unless there is one of this name; whether it was written."""
        with self.mutation("put", name):
            return self._backend.put_new(name, data)

    def sync(self, names: Iterable[str]) -> None:
        """Make files that another library wrote durable, and their directories."""
        names = list(names) if self._backend.needs_sync else []
        if names:
            with self.mutation("sync", names[0]):
                self._backend.sync(names)

    def copy(self, name: str, to: str) -> None:
        """Make a durable copy of a file that never changes, replacing a file of the new name.

        On a disk both may be one file under two names.
        """
        with self.mutation("copy", to):
            self._backend.copy(name, to)

    def remove(self, name: str) -> None:
        """Remove a file, or a directory and its content, if it exists."""
        if self._backend.has(name):
            with self.mutation("remove", name):
                self._backend.remove(name)

    @contextmanager
    def lock(self, fence: Callable[[], None] | None = None) -> Iterator[None]:
        """Be the only writer of this location, whose directory is made if it does not exist.

        The lock ends with the process that holds it: at once on a disk; in a bucket when its lease
        expires, or when another process of the same machine sees that its holder is dead. A
        directory that is empty at the end is removed, unless it was empty before.

        Parameters
        ----------
        fence
            Called under the lock, before anything else, where the lease of another process had
            run out, which may still be sending what it began. If it fails, so does the lock.

        Raises
        ------
        Locked
            If another process holds it.
        """
        keep = self._backend.is_empty_directory()
        with ExitStack() as released:
            lock = self._acquire(released, keep=keep)
            self._writer_lock = lock
            released.callback(setattr, self, "_writer_lock", None)
            if fence is not None and lock.taken_over:
                fence()
            try:
                yield
            finally:
                self._writer_lock = None
                with self.mutation("unlock", LOCK_NAME):
                    lock.clean_up()

    def _acquire(self, released: ExitStack, *, keep: bool) -> Lock:
        """The lock, tried again if its holder removes the directory meanwhile.

        It is released with the stack, also if announcing it fails: nothing else would end a lease,
        which is renewed as long as this process lives.
        """
        for left in reversed(range(_ATTEMPTS)):
            self.mkdir()
            try:
                with self.mutation("lock", LOCK_NAME):
                    lock = self._backend.acquire(keep=keep)
                    released.callback(lock.release)
            except StorageError as error:
                if error.errno != errno.ENOENT or not left:
                    raise
            else:
                return lock
        raise AssertionError  # the last attempt returns or raises

    def is_locked(self) -> bool:
        """Whether a process is writing here now."""
        return self._backend.is_locked()

    def break_stale_lock(self, fence: Callable[[], None] | None = None) -> None:
        """Remove the lock of a process that was killed; `fence` as for `lock`.

        Raises
        ------
        Locked
            If the process lives.
        """
        if self._backend.size_of(LOCK_NAME) is not None:
            with self.lock(fence):
                pass


def _backend(path: str | os.PathLike[str], options: Mapping[str, str]) -> Backend:
    text = os.fspath(path)
    if is_url(text):
        require("obstore", "a bucket")
        from slaf.storage.object_prefix import ObjectPrefix

        return ObjectPrefix(text, options)
    return Directory(text)
