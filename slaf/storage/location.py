"""Location: where a dataset lives, with every change to it announced."""

from __future__ import annotations

import errno
import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from slaf.errors import StorageError
from slaf.storage.backend import LOCK_NAME
from slaf.storage.local import Directory
from slaf.storage.urls import is_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from slaf.storage.backend import Backend, FileStat, Lock

__all__ = ["Location"]

logger = logging.getLogger(__name__)

# To take the lock of a directory that others make and remove.
_ATTEMPTS = 10


class Location:
    """A directory, or the like of one in a bucket, that holds a dataset.

    Every method that changes what is stored announces it through `mutation`, and so does
    :mod:`slaf.tables` for what Lance changes. That one method is the place to watch, or to
    break, what a conversion does to a disk.

    Parameters
    ----------
    path
        A directory of this machine, which need not exist, or a URL: s3://, gs://, az://.
    storage_options
        For a URL, how to reach it, by the names that Lance and obstore have for it. What is
        not said is taken from the environment.

    Raises
    ------
    StorageError
        If it is a URL of another kind, or no text at all, or an option is not known.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        storage_options: Mapping[str, str] | None = None,
    ) -> None:
        self._place = _place(path, storage_options or {})
        self._hold: Lock | None = None

    @classmethod
    def of(
        cls,
        place: str | os.PathLike[str] | Location,
        storage_options: Mapping[str, str] | None = None,
    ) -> Location:
        """The location itself, or the one at this path."""
        return place if isinstance(place, Location) else cls(place, storage_options)

    def __str__(self) -> str:
        return str(self._place)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    @property
    def path(self) -> Path:
        """The directory.

        Raises
        ------
        StorageError
            If it is none of this machine.
        """
        return self._place.path

    @property
    def is_remote(self) -> bool:
        """Whether it is in a bucket."""
        return not isinstance(self._place, Directory)

    @property
    def storage_options(self) -> dict[str, str] | None:
        """What Lance needs to be told to reach it; None for a directory. They may be secret."""
        return dict(self._place.options) or None

    @contextmanager
    def mutation(self, action: str, name: str) -> Iterator[None]:
        """Surround one change to what is stored; `action` says what, `name` to which file.

        Raises
        ------
        Locked
            If the lock under which it was to be done is lost.
        """
        if self._hold is not None:
            self._hold.check()
        yield
        logger.debug("%s %s/%s", action, self, name)

    def uri(self, name: str) -> str:
        """The address of a file or table, as Lance takes it."""
        return self._place.uri(name)

    def exists(self) -> bool:
        """Whether there is anything here, be it an empty directory."""
        return self._place.exists()

    def is_empty(self) -> bool:
        """Whether a dataset may be made here: nothing there, or an empty directory.

        What a process left that was stopped before its first file was whole counts for nothing.
        """
        return self._place.is_empty()

    def read(self, name: str) -> bytes | None:
        """The content of a file, or None if there is no such file.

        Raises
        ------
        StorageError
            If that cannot be told.
        """
        return self._place.read(name)

    def list(self, directory: str) -> list[str]:
        """The names of all files below a directory, relative to the location, sorted."""
        return sorted(self._place.sizes(directory))

    def size(self, directory: str = ".") -> int:
        """The bytes of all files below a directory."""
        return sum(self._place.sizes(directory).values())

    def size_of(self, name: str) -> int | None:
        """The bytes of one file, or None if there is no such file."""
        return self._place.size_of(name)

    def sizes(self) -> dict[str, int]:
        """All files, relative to the location, and their bytes."""
        return self._place.sizes(".")

    def stat(self, name: str) -> FileStat | None:
        """What tells the content of a file from others; None if there is no such file.

        On a disk that is the digest of its content. A bucket is not asked for the content: there
        it is the tag that the bucket gave it.
        """
        return self._place.stat(name)

    def digest(self, name: str) -> str | None:
        """The xxh3-128 of the content of a file, which is read; None if there is no such file.

        Raises
        ------
        StorageError
            If it cannot be read.
        """
        return self._place.digest(name)

    def etags(self) -> Mapping[str, str]:
        """The tag that a bucket gave each file; none on a disk."""
        return self._place.etags()

    def free(self) -> int | None:
        """The bytes that are free on the disk of this directory; None where there is no limit."""
        return self._place.free()

    def shares_disk(self, other: Location) -> bool:
        """Whether what is written to both takes from the same free space."""
        return self._place.disk() == other._place.disk()

    def mkdir(self) -> None:
        """Make the directory, and those above it."""
        if not self._place.directory_exists():
            with self.mutation("make", "."):
                self._place.mkdir()

    def put(self, name: str, data: bytes) -> None:
        """Write a file whole: after a crash it is the old one or the new one, and durable.

        Raises
        ------
        Locked
            If it was read under the lock of this location, and is another by now.
        """
        with self.mutation("put", name):
            self._place.put(name, data)

    def sync(self, names: Iterable[str]) -> None:
        """Make files that something else wrote durable, and their directories."""
        unsynced = self._place.unsynced(names)
        if unsynced:
            with self.mutation("sync", unsynced[0]):
                self._place.sync(unsynced)

    def move(self, name: str, to: str) -> None:
        """Give a file another name, in place of whatever has that; after a crash it has either.

        Where there is no such file, and one of the other name, it was moved before.
        """
        if self._place.has(name):
            with self.mutation("move", to):
                self._place.move(name, to)

    def remove(self, name: str) -> None:
        """Remove a file or a directory with all that is in it; nothing, if it is not there."""
        if self._place.has(name):
            with self.mutation("remove", name):
                self._place.remove(name)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only writer here, making the directory if it is not there.

        The lock is gone with the process that held it: at once where the operating system
        keeps it, and in a bucket when its lease runs out, or when another process of the same
        machine sees that its holder is dead. A directory that holds nothing at the end, and
        was not found empty, is removed.

        Raises
        ------
        Locked
            If another process holds it.
        """
        keep = self._place.is_empty_directory()
        hold: Lock | None = None
        try:
            hold = self._acquired(keep=keep)
            self._hold = hold
            try:
                yield
            finally:
                self._hold = None
                with self.mutation("unlock", LOCK_NAME):
                    hold.tidy()
        finally:
            if hold is not None:
                hold.release()

    def _acquired(self, *, keep: bool) -> Lock:
        """The lock, once more if whoever held it removes the directory meanwhile."""
        for left in reversed(range(_ATTEMPTS)):
            self.mkdir()
            try:
                return self._held(keep=keep)
            except StorageError as error:
                if error.errno != errno.ENOENT or not left:
                    raise
        raise AssertionError  # the last attempt returns or raises

    def _held(self, *, keep: bool) -> Lock:
        hold: Lock | None = None
        try:
            with self.mutation("lock", LOCK_NAME):
                hold = self._place.acquire(keep=keep)
        except BaseException:
            # Nobody else would give it back, and a lease be renewed as long as this process lives.
            if hold is not None:
                hold.release()
            raise
        return hold

    def is_locked(self) -> bool:
        """Whether a process is writing here at this moment."""
        return self._place.is_locked()

    def break_stale_lock(self) -> None:
        """Remove the lock that a process left which was killed.

        Raises
        ------
        Locked
            If the process lives.
        """
        if self._place.has_lock():
            with self.lock():
                pass


def _place(path: str | os.PathLike[str], options: Mapping[str, str]) -> Backend:
    text = os.fspath(path)
    if is_url(text):
        from slaf.storage.object_prefix import ObjectPrefix

        return ObjectPrefix(text, options)
    return Directory(text)
