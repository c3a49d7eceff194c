"""What config.json says of the files of a dataset, and of the content of its whole tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["LOCK_NAME", "NEW_SUFFIX", "Backend", "FileStat", "Lock"]


class FileStat(NamedTuple):
    """What tells the content of a file from others: its bytes, and one of its marks.

    Attributes
    ----------
    bytes
        Its size.
    digest
        The xxh3-128 of its content; "" where it was not read.
    etag
        The tag that a bucket gave it; "" on a disk.
    """

    bytes: int
    digest: str = ""
    etag: str = ""


LOCK_NAME = ".lock"
NEW_SUFFIX = ".new"


class Lock(Protocol):
    """A lock that is held."""

    def check(self) -> None:
        """Raise `Locked` if it is not held any more."""

    def tidy(self) -> None:
        """Remove what the lock left, as the last thing that is done under it."""

    def release(self) -> None:
        """Let the next one in; after `tidy`, or where that failed."""


class Backend(Protocol):
    """Files by name, behind :class:`slaf.storage.location.Location`, which announces changes."""

    @property
    def path(self) -> Path:
        """The directory."""

    @property
    def options(self) -> Mapping[str, str]:
        """What Lance needs to reach it."""

    def __str__(self) -> str: ...

    def uri(self, name: str) -> str:
        """The address of a file or table, as Lance takes it."""

    def exists(self) -> bool:
        """Whether there is anything here."""

    def is_empty(self) -> bool:
        """Whether there is nothing but what was never whole."""

    def has(self, name: str) -> bool:
        """Whether there is a file, or a directory, of this name."""

    def read(self, name: str) -> bytes | None:
        """The content of a file, or None if there is none."""

    def sizes(self, directory: str) -> dict[str, int]:
        """The files below a directory, relative to the place, and their bytes."""

    def size_of(self, name: str) -> int | None:
        """The bytes of a file, or None if there is none."""

    def stat(self, name: str) -> FileStat | None:
        """What tells the content of a file from others, as far as it is cheap to know."""

    def digest(self, name: str) -> str | None:
        """The xxh3-128 of the content of a file, which is read; None if there is no such file."""

    def etags(self) -> Mapping[str, str]:
        """The tag of every file, where the place gives files such."""

    def move(self, name: str, to: str) -> None:
        """Give a file another name, in place of whatever has that."""

    def free(self) -> int | None:
        """The bytes that are free; None where there is no limit."""

    def disk(self) -> object:
        """What tells its free space from that of others."""

    def directory_exists(self) -> bool:
        """Whether files can be put here at once."""

    def mkdir(self) -> None:
        """Make the directory."""

    def put(self, name: str, data: bytes) -> None:
        """Write a file whole and durably."""

    def unsynced(self, names: Iterable[str]) -> list[str]:
        """Of these files, those that something still has to force to the disk."""

    def sync(self, names: Iterable[str]) -> None:
        """Force files to the disk."""

    def remove(self, name: str) -> None:
        """Remove a file, or all below a name."""

    def is_empty_directory(self) -> bool:
        """Whether it is there and holds nothing, to be left so by a lock."""

    def acquire(self, *, keep: bool) -> Lock:
        """Take the lock; `keep` an empty directory at its end."""

    def is_locked(self) -> bool:
        """Whether a process holds the lock."""

    def has_lock(self) -> bool:
        """Whether there is a lock, be its holder dead."""
