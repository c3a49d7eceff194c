"""A directory of this machine: atomic and durable files, under a lock of the system."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from slaf.errors import Locked, StorageError
from slaf.storage.backend import LOCK_NAME, NEW_SUFFIX, FileStat
from slaf.storage.urls import local_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from filelock import BaseFileLock

__all__ = ["Directory"]


# Seconds: `is_locked` holds the lock for an instant, which is not to be taken for a writer.
_LOCK_PATIENCE = 0.2
_READ_BYTES = 1 << 20


class Directory:
    """Files below a directory; a :class:`slaf.storage.backend.Backend`.

    Parameters
    ----------
    path
        The directory; it need not exist.
    """

    options: Mapping[str, str] = {}

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._named = Path(path)
        # What is open stays where it was, wherever the process goes; and Lance, which takes "~"
        # for a home and "a:" for a kind of storage, is asked for nothing but what is said here.
        self.path = local_path(path).absolute()

    def __str__(self) -> str:
        return str(self._named)

    def uri(self, name: str) -> str:
        """The path of a file or table."""
        return str(self.path / name)

    def exists(self) -> bool:
        """Whether there is anything here."""
        return os.path.lexists(self.path)

    def is_empty(self) -> bool:
        """Whether there is nothing here but an empty directory, or what was never whole."""
        if not self.exists():
            return True
        return self.path.is_dir() and all(map(_is_transient, self.path.iterdir()))

    def has(self, name: str) -> bool:
        """Whether there is a file or a directory of this name."""
        return os.path.lexists(self.path / name)

    def read(self, name: str) -> bytes | None:
        """The content of a file, or None if there is no such file."""
        try:
            # A pipe would be waited for, and a device has no end.
            return (self.path / name).read_bytes() if (self.path / name).is_file() else None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _storage_error("read", self.path / name, error) from error

    def sizes(self, directory: str) -> dict[str, int]:
        """All files below a directory, and their bytes."""
        sizes: dict[str, int] = {}
        for root, _, names in os.walk(self.path / directory):
            for name in names:
                file = Path(root) / name
                # A writer may have removed it since it was listed.
                with suppress(FileNotFoundError):
                    sizes[file.relative_to(self.path).as_posix()] = file.stat().st_size
        return sizes

    def size_of(self, name: str) -> int | None:
        """The bytes of one file, or None if there is no such file."""
        try:
            return (self.path / name).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _storage_error("read", self.path / name, error) from error

    def stat(self, name: str) -> FileStat | None:
        """Its bytes and their digest: right after it was written they are still in memory."""
        size = self.size_of(name)
        return None if size is None else FileStat(size, self.digest(name) or "")

    def digest(self, name: str) -> str | None:
        """The xxh3-128 of the content of a file, or None if there is no such file."""
        import xxhash

        path, found = self.path / name, xxhash.xxh3_128()
        if not path.is_file():
            return None
        buffer = memoryview(bytearray(_READ_BYTES))
        try:
            with path.open("rb", buffering=0) as file:
                while read := file.readinto(buffer):
                    found.update(buffer[:read])
        except OSError as error:
            raise _storage_error("read", path, error) from error
        return found.hexdigest()

    def etags(self) -> Mapping[str, str]:
        """None: a disk has no such thing."""
        return {}

    def move(self, name: str, to: str) -> None:
        """Rename a file, and make both directories durable."""
        source, target = self.path / name, self.path / to
        with _reported("write", target):
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
            for directory in self._directories_of([target, source]):
                _sync(directory)

    def free(self) -> int:
        """The bytes that are free on the disk of this directory, which need not exist."""
        return shutil.disk_usage(self._nearest()).free

    def disk(self) -> object:
        """The number of the disk."""
        return self._nearest().stat().st_dev

    def directory_exists(self) -> bool:
        """Whether the directory is there."""
        return self.path.is_dir()

    def mkdir(self) -> None:
        """Make the directory, and those above it."""
        missing = [path for path in (self.path, *self.path.parents) if not path.is_dir()]
        with _reported("make", self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            for path in missing:
                _sync(path.parent)

    def put(self, name: str, data: bytes) -> None:
        """Write a file whole and durably, by renaming one that is on disk already."""
        target = self.path / name
        # One writer holds the lock, so one fixed name is enough: a crash leaves at most one
        # such file, which the next put of that name replaces.
        temporary = target.with_name(f".{target.name}{NEW_SUFFIX}")
        with _reported("write", target):
            target.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
            for directory in self._directories_of([target]):
                _sync(directory)

    def unsynced(self, names: Iterable[str]) -> list[str]:
        """All of them: Lance syncs nothing."""
        return list(names)

    def sync(self, names: Iterable[str]) -> None:
        """Force files and their directories to the disk."""
        paths = [self.path / name for name in names]
        for path in (*paths, *self._directories_of(paths)):
            with _reported("sync", path):
                _sync(path)

    def remove(self, name: str) -> None:
        """Remove a file, or a directory with all that is in it."""
        path = self.path / name
        with _reported("remove", path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def is_empty_directory(self) -> bool:
        """Whether the directory is there and empty."""
        return self.path.is_dir() and not any(self.path.iterdir())

    def acquire(self, *, keep: bool) -> _DirectoryLock:
        """Take the lock; `keep` the directory at its end, though it be empty.

        Raises
        ------
        Locked
            If another process holds it.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / LOCK_NAME)
        try:
            lock.acquire(timeout=_LOCK_PATIENCE)
        except Timeout:  # an OSError itself
            msg = f"{self}: another process is writing here; wait until it ends, then try again"
            raise Locked(msg) from None
        except OSError as error:
            raise _storage_error("lock", self.path, error) from error
        return _DirectoryLock(self, lock, keep=keep)

    def is_locked(self) -> bool:
        """Whether a process holds the lock."""
        import fcntl

        try:
            with (self.path / LOCK_NAME).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except (FileNotFoundError, NotADirectoryError):
            return False
        return False

    def has_lock(self) -> bool:
        """Whether there is a lock, held or not."""
        return os.path.lexists(self.path / LOCK_NAME)

    def _nearest(self) -> Path:
        """The directory itself, or the one in which it would be made."""
        return next(path for path in (self.path, *self.path.absolute().parents) if path.is_dir())

    def _directories_of(self, files: Iterable[Path]) -> tuple[Path, ...]:
        """The directories that these files are in, up to the location, the innermost first."""
        found: set[Path] = set()
        for file in files:
            for above in file.parents:
                found.add(above)
                if above == self.path:
                    break
        return tuple(sorted(found, reverse=True))


class _DirectoryLock:
    """The lock of a directory, which the system takes back when the process ends."""

    def __init__(self, directory: Directory, lock: BaseFileLock, *, keep: bool) -> None:
        self._directory = directory
        self._lock = lock
        self._keep = keep

    def check(self) -> None:
        """Nothing takes it from a process that lives."""

    def tidy(self) -> None:
        """Remove the lock's file while the lock is held, and a directory that holds nothing."""
        path = self._directory.path
        with _reported("unlock", path):
            vacant = self._directory.is_empty()
            if vacant:
                for left in path.glob(f".*{NEW_SUFFIX}"):
                    left.unlink()
            # Whoever opened the file before this sees that it lost its name, and tries again.
            (path / LOCK_NAME).unlink(missing_ok=True)
            if vacant and not self._keep:
                # Another process may have come in since: then it is not empty, and stays.
                with suppress(OSError):
                    path.rmdir()

    def release(self) -> None:
        """Let the system have it back."""
        self._lock.release()


@contextmanager
def _reported(verb: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _storage_error(verb, path, error) from error


def _storage_error(verb: str, path: Path, error: OSError) -> StorageError:
    reason = error.strerror or str(error)
    return StorageError(error.errno, f"{path}: cannot {verb} it: {reason}")


def _is_transient(path: Path) -> bool:
    return path.name == LOCK_NAME or (path.name[0] == "." and path.suffix == NEW_SUFFIX)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
