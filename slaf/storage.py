"""Where a dataset lives: atomic and durable files in a directory, under a lock."""

from __future__ import annotations

import logging
import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from slaf.errors import Locked, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from filelock import BaseFileLock

__all__ = ["Location", "on_disk"]

_LOCK_NAME = ".lock"
_NEW_SUFFIX = ".new"
# Seconds: `is_locked` holds the lock for an instant, which is not to be taken for a writer.
_LOCK_PATIENCE = 0.2

logger = logging.getLogger(__name__)


def on_disk(path: str | os.PathLike[str]) -> Path:
    """The path as one of this machine.

    Raises
    ------
    StorageError
        If it is a URL: buckets are not supported yet.
    """
    text = os.fspath(path)
    if "://" in text:
        msg = f"{text}: only paths of this machine can be read and written in this release"
        raise StorageError(msg)
    return Path(text)


class Location:
    """A directory that holds a dataset.

    Every method that changes what is stored announces it through `effect`, and so does
    :mod:`slaf.tables` for what Lance changes. That one method is the place to watch, or to
    break, what a conversion does to a disk.

    Parameters
    ----------
    path
        A directory of this machine; it need not exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = on_disk(path)

    @classmethod
    def of(cls, place: str | os.PathLike[str] | Location) -> Location:
        """The location itself, or the one at this path."""
        return place if isinstance(place, Location) else cls(place)

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    @contextmanager
    def effect(self, action: str, name: str) -> Iterator[None]:
        """Surround one change to what is stored; `action` says what, `name` to which file."""
        yield
        logger.debug("%s %s/%s", action, self, name)

    def uri(self, name: str) -> str:
        """The address of a file or table, as Lance takes it."""
        return str(self.path / name)

    def exists(self) -> bool:
        """Whether there is anything here, be it an empty directory."""
        return os.path.lexists(self.path)

    def is_vacant(self) -> bool:
        """Whether a dataset may be made here: nothing there, or an empty directory.

        What a process left that was stopped before its first file was whole counts for nothing.
        """
        if not self.exists():
            return True
        return self.path.is_dir() and all(map(_is_transient, self.path.iterdir()))

    def read(self, name: str) -> bytes | None:
        """The content of a file, or None if there is no such file."""
        try:
            # A pipe would be waited for, and a device has no end.
            return (self.path / name).read_bytes() if (self.path / name).is_file() else None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _storage_error("read", self.path / name, error) from error

    def list(self, directory: str) -> list[str]:
        """The names of all files below a directory, relative to the location, sorted."""
        top = self.path / directory
        found = (Path(root) / name for root, _, names in os.walk(top) for name in names)
        return sorted(path.relative_to(self.path).as_posix() for path in found)

    def size(self, directory: str = ".") -> int:
        """The bytes of all files below a directory."""
        total = 0
        for name in self.list(directory):
            # A writer may have removed it since it was listed.
            with suppress(FileNotFoundError):
                total += (self.path / name).stat().st_size
        return total

    def size_of(self, name: str) -> int | None:
        """The bytes of one file, or None if there is no such file."""
        try:
            return (self.path / name).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _storage_error("read", self.path / name, error) from error

    def free(self) -> int:
        """The bytes that are free on the disk of this directory, which need not exist."""
        return shutil.disk_usage(self._nearest()).free

    def shares_disk(self, other: Location) -> bool:
        """Whether what is written to both takes from the same free space."""
        return self._nearest().stat().st_dev == other._nearest().stat().st_dev

    def make(self) -> None:
        """Make the directory, and those above it."""
        missing = [path for path in (self.path, *self.path.parents) if not path.is_dir()]
        if not missing:
            return
        with self.effect("make", "."), _reported("make", self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            for path in missing:
                _sync(path.parent)

    def put(self, name: str, data: bytes) -> None:
        """Write a file whole: after a crash it is the old one or the new one, and durable."""
        target = self.path / name
        # One writer holds the lock, so one fixed name is enough: a crash leaves at most one
        # such file, which the next put of that name replaces.
        temporary = target.with_name(f".{target.name}{_NEW_SUFFIX}")
        with self.effect("put", name), _reported("write", target):
            target.parent.mkdir(exist_ok=True)
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
            for directory in self._directories_of([target]):
                _sync(directory)

    def sync(self, names: Iterable[str]) -> None:
        """Make files that something else wrote durable, and their directories."""
        paths = [self.path / name for name in names]
        if not paths:
            return
        with self.effect("sync", paths[0].relative_to(self.path).as_posix()):
            for path in (*paths, *self._directories_of(paths)):
                with _reported("sync", path):
                    _sync(path)

    def remove(self, name: str) -> None:
        """Remove a file or a directory with all that is in it; nothing, if it is not there."""
        path = self.path / name
        if not os.path.lexists(path):
            return
        with self.effect("remove", name), _reported("remove", path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only writer here, making the directory if it is not there.

        The lock is the operating system's: it is gone with the process that held it. A
        directory that holds nothing at the end, and was not found empty, is removed.

        Raises
        ------
        Locked
            If another process holds it.
        """
        from filelock import FileLock

        found_empty = self.path.is_dir() and not any(self.path.iterdir())
        self.make()
        lock = FileLock(self.path / _LOCK_NAME)
        try:
            self._acquire(lock)
            try:
                yield
            finally:
                with self.effect("unlock", _LOCK_NAME), _reported("unlock", self.path):
                    self._tidy(keep=found_empty)
        finally:
            lock.release()

    def is_locked(self) -> bool:
        """Whether a process is writing here at this moment."""
        import fcntl

        try:
            with (self.path / _LOCK_NAME).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except (FileNotFoundError, NotADirectoryError):
            return False
        return False

    def sweep(self) -> None:
        """Remove the lock that a process left which was killed.

        Raises
        ------
        Locked
            If the process lives.
        """
        if os.path.lexists(self.path / _LOCK_NAME):
            with self.lock():
                pass

    def _acquire(self, lock: BaseFileLock) -> None:
        from filelock import Timeout

        try:
            with self.effect("lock", _LOCK_NAME):
                lock.acquire(timeout=_LOCK_PATIENCE)
        except Timeout:  # an OSError itself
            msg = f"{self}: another process is writing here; wait until it ends, then try again"
            raise Locked(msg) from None
        except OSError as error:
            raise _storage_error("lock", self.path, error) from error

    def _nearest(self) -> Path:
        """The directory itself, or the one in which it would be made."""
        return next(path for path in (self.path, *self.path.absolute().parents) if path.is_dir())

    def _tidy(self, *, keep: bool) -> None:
        """Remove the lock's file while the lock is held, and a directory that holds nothing."""
        vacant = self.is_vacant()
        if vacant:
            for path in self.path.glob(f".*{_NEW_SUFFIX}"):
                path.unlink()
        # Whoever opened the file before this sees that it lost its name, and tries again.
        (self.path / _LOCK_NAME).unlink(missing_ok=True)
        if vacant and not keep:
            # Another process may have come in since: then it is not empty, and stays.
            with suppress(OSError):
                self.path.rmdir()

    def _directories_of(self, files: Iterable[Path]) -> tuple[Path, ...]:
        """The directories that these files are in, up to the location, the innermost first."""
        found: set[Path] = set()
        for file in files:
            for above in file.parents:
                found.add(above)
                if above == self.path:
                    break
        return tuple(sorted(found, reverse=True))


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
    return path.name == _LOCK_NAME or (path.name[0] == "." and path.suffix == _NEW_SUFFIX)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
