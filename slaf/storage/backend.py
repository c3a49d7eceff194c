"""Protocols of storage (`Backend`) and its lock (`Lock`), and the record of a file (`FileStat`)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["LOCK_NAME", "NEW_SUFFIX", "Backend", "FileStat", "Lock", "is_transient"]

LOCK_NAME = ".lock"
NEW_SUFFIX = ".new"
_TRANSIENT = re.compile(rf"{re.escape(LOCK_NAME)}|\..+{re.escape(NEW_SUFFIX)}")


class FileStat(NamedTuple):
    """Size of a file, with a digest or an etag of its content.

    Attributes
    ----------
    bytes
        The size.
    digest
        The xxh3-128 of the content; "" if the content was not read.
    etag
        The etag that a bucket gave it; "" on a disk.
    """

    bytes: int
    digest: str = ""
    etag: str = ""


def is_transient(name: str) -> bool:
    """Whether a file belongs to a lock, or to a write that has not finished."""
    return _TRANSIENT.fullmatch(name) is not None


class Lock(Protocol):
    """A lock that this process holds."""

    @property
    def taken_over(self) -> bool:
        """Whether it was taken from a holder that may still be sending something."""

    def check(self) -> None:
        """Raise `Locked` if the lock was lost."""

    def clean_up(self) -> None:
        """Remove the file of the lock: the last change made under it."""

    def release(self) -> None:
        """Free the lock for other processes, whether or not `clean_up` succeeded."""


class Backend(Protocol):
    """Files by name. :class:`slaf.storage.location.Location` announces the changes to them.

    Attributes
    ----------
    needs_sync
        Whether a file that another library wrote has to be forced to the disk.
    """

    needs_sync: bool

    @property
    def path(self) -> Path:
        """The directory."""

    @property
    def options(self) -> Mapping[str, str]:
        """Storage options for Lance."""

    def __str__(self) -> str: ...

    def uri(self, name: str) -> str:
        """The address of a file or table for Lance."""

    def exists(self) -> bool:
        """Whether the directory, or any file, exists."""

    def is_empty(self) -> bool:
        """Whether it holds only transient files, or nothing."""

    def has(self, name: str) -> bool:
        """Whether a file or directory of this name exists."""

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if it does not exist."""

    def sizes(self, directory: str) -> dict[str, int]:
        """The bytes of each file below a directory, by its name relative to the backend."""

    def size_of(self, name: str) -> int | None:
        """The bytes of a file; None if it does not exist."""

    def stat(self, name: str) -> FileStat | None:
        """The size of a file, with the digest or etag that costs little; None if it is missing."""

    def digest(self, name: str) -> str | None:
        """The xxh3-128 of the content of a file, which is read; None if it does not exist."""

    def etags(self) -> Mapping[str, str]:
        """The etag of every file; empty on a disk."""

    def copy(self, name: str, to: str) -> None:
        """Give a file a second name, or a durable copy, replacing a file of that name."""

    def free(self) -> int | None:
        """The free bytes; None where there is no limit."""

    def file_system(self) -> str:
        """The type of the file system; "" if there is none, or it is not known."""

    def disk(self) -> object:
        """A value that is equal for all directories of one disk."""

    def directory_exists(self) -> bool:
        """Whether files can be written without `mkdir`."""

    def mkdir(self) -> None:
        """Make the directory."""

    def put(self, name: str, data: bytes) -> None:
        """Write a file atomically and durably."""

    def put_new(self, name: str, data: bytes) -> bool:
        """Do the same unless a file of this name exists; whether it was written."""

    def sync(self, names: Iterable[str]) -> None:
        """Force files to the disk."""

    def remove(self, name: str) -> None:
        """Remove a file, or a directory and its content."""

    def is_empty_directory(self) -> bool:
        """Whether it is a directory without any file, which a lock has to keep."""

    def acquire(self, *, keep: bool) -> Lock:
        """Take the lock; `keep` the directory at its end even if it is empty."""

    def is_locked(self) -> bool:
        """Whether a process holds the lock."""
