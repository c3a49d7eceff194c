"""Directories of this machine: atomic, durable writes under a lock of the operating system."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING
from uuid import uuid4

from slaf.errors import Locked, SlafError, StorageError
from slaf.storage.backend import LOCK_NAME, NEW_SUFFIX, FileStat, is_transient
from slaf.storage.system_errors import system_error
from slaf.storage.urls import local_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from filelock import BaseFileLock

__all__ = ["Directory", "storage_errors", "write_atomically"]


# Seconds. `is_locked` holds the lock for an instant, which must not look like a writer.
_LOCK_TIMEOUT = 0.2
# Attempts to remove a directory to which other processes write.
_REMOVALS = 20
_MISSING = (FileNotFoundError, NotADirectoryError)

# What a file system says that has no hard links, or no more of one file.
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}

# What one says that has no locks: Lustre without `-o flock`, some FUSE, NFS without its daemon.
_NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}


class Directory:
    """Files below a directory; a :class:`slaf.storage.backend.Backend`.

    Parameters
    ----------
    path
        The directory; it need not exist.
    """

    options: Mapping[str, str] = {}
    needs_sync = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._label = str(Path(path))
        # Absolute: a change of the working directory moves nothing, and Lance, which reads "~" as
        # a home and "a:" as a scheme, gets a plain path.
        self.path = local_path(path).absolute()

    def __str__(self) -> str:
        return self._label

    def uri(self, name: str) -> str:
        """The path of a file or table."""
        return str(self.path / name)

    def exists(self) -> bool:
        """Whether the directory, or a file in its place, exists."""
        return os.path.lexists(self.path)

    def is_empty(self) -> bool:
        """Whether it does not exist, or holds only transient files, or nothing."""
        if not self.exists():
            return True
        return self.path.is_dir() and all(is_transient(path.name) for path in self.path.iterdir())

    def has(self, name: str) -> bool:
        """Whether a file or directory of this name exists."""
        return os.path.lexists(self.path / name)

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if it is missing or no regular file."""
        path = self.path / name
        with storage_errors("read", path), suppress(*_MISSING):
            # Reading a pipe would wait for a writer, and a device has no end.
            return path.read_bytes() if path.is_file() else None
        return None

    def sizes(self, directory: str) -> dict[str, int]:
        """The bytes of each file below a directory, by its relative path."""
        sizes: dict[str, int] = {}
        for root, _, names in os.walk(self.path / directory):
            folder = Path(root)
            inner = folder.relative_to(self.path)
            for name in names:
                # A writer may have removed it since it was listed.
                with suppress(FileNotFoundError):
                    sizes[(inner / name).as_posix()] = (folder / name).stat().st_size
        return sizes

    def size_of(self, name: str) -> int | None:
        """The bytes of a file; None if it does not exist."""
        path = self.path / name
        with storage_errors("read", path), suppress(*_MISSING):
            return path.stat().st_size
        return None

    def stat(self, name: str) -> FileStat | None:
        """The size and digest of a file: its content is in memory right after it was written."""
        size = self.size_of(name)
        return None if size is None else FileStat(size, self.digest(name) or "")

    def digest(self, name: str) -> str | None:
        """The xxh3-128 of the content of a file; None if it does not exist."""
        import hashlib

        import xxhash

        path = self.path / name
        if not path.is_file():
            return None
        with storage_errors("read", path), path.open("rb", buffering=0) as file:
            return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()

    def etags(self) -> Mapping[str, str]:
        """Empty: a disk has no etags."""
        return {}

    def copy(self, name: str, to: str) -> None:
        """Link a file, or copy it where the file system has no links."""
        target = self.path / to
        with storage_errors("write", target):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            if not _linked(self.path / name, target):
                shutil.copyfile(self.path / name, target)
                _sync(target)
            self._sync_directories([target])

    def free(self) -> int:
        """The free bytes on the disk of this directory, which need not exist."""
        return shutil.disk_usage(self._existing_parent()).free

    def file_system(self) -> str:
        """The type of the file system, as Linux has it in /proc; "" on another system."""
        device = self._existing_parent().stat().st_dev
        number = f"{os.major(device)}:{os.minor(device)}"
        with suppress(OSError):
            for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
                fields, _, kind = line.partition(" - ")
                if fields.split()[2] == number:
                    return kind.split()[0]
        return ""

    def disk(self) -> object:
        """The device number of the disk."""
        return self._existing_parent().stat().st_dev

    def directory_exists(self) -> bool:
        """Whether the directory exists."""
        return self.path.is_dir()

    def mkdir(self) -> None:
        """Make the directory and its parents."""
        missing = [path for path in (self.path, *self.path.parents) if not path.is_dir()]
        with storage_errors("make", self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            for path in missing:
                _sync(path.parent)

    def put(self, name: str, data: bytes) -> None:
        """Write a file atomically and durably."""
        target = self.path / name
        # Several processes write the files of a run, in a directory, and one those next to it.
        mark = f".{uuid4().hex}" if "/" in name else ""
        with storage_errors("write", target):
            with write_atomically(target, mark) as file:
                file.write(data)
            self._sync_directories([target])

    def put_new(self, name: str, data: bytes) -> bool:
        """Do the same unless a file of this name exists; whether it was written."""
        target = self.path / name
        with storage_errors("write", target):
            try:
                # Several processes may write at once, each to a file of its own.
                with write_atomically(target, f".{uuid4().hex}", _link_new) as file:
                    file.write(data)
            except FileExistsError:
                return False
            self._sync_directories([target])
        return True

    def sync(self, names: Iterable[str]) -> None:
        """Force files and their directories to the disk."""
        paths = [self.path / name for name in names]
        for path in paths:
            with storage_errors("sync", path):
                _sync(path)
        self._sync_directories(paths)

    def remove(self, name: str) -> None:
        """Remove a file, or a directory and its content."""
        path = self.path / name
        with storage_errors("remove", path):
            if path.is_dir() and not path.is_symlink():
                _remove_directory(path)
            else:
                path.unlink()

    def is_empty_directory(self) -> bool:
        """Whether the directory exists without any file."""
        return self.path.is_dir() and not any(self.path.iterdir())

    def acquire(self, *, keep: bool) -> _DirectoryLock:
        """Take the lock; `keep` the directory at its end even if it is empty.

        Raises
        ------
        Locked
            If another process holds it.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / LOCK_NAME)
        with storage_errors("lock", self.path):
            self._check_locks()
            try:
                lock.acquire(timeout=_LOCK_TIMEOUT)
            except Timeout:  # an OSError itself
                msg = f"{self}: another process is writing here; wait until it ends, then try again"
                raise Locked(msg) from None
        return _DirectoryLock(self, lock, keep=keep)

    def is_locked(self) -> bool:
        """Whether a process holds the lock."""
        import fcntl

        try:
            with suppress(*_MISSING), (self.path / LOCK_NAME).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError as error:
            # Nobody can hold a lock that there is not.
            if error.errno not in _NO_LOCKS:
                raise system_error(str(self.path), "lock", error) from error
        return False

    def _check_locks(self) -> None:
        """Refuse a file system without locks that end with their process.

        Raises
        ------
        StorageError
            If it is one.
        """
        import fcntl

        descriptor = os.open(self.path / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                msg = (
                    f"{self}: the file system ({self.file_system() or 'unknown'}) has no locks, "
                    "without which two processes could write at once; mount it with -o flock, or "
                    "name an output elsewhere"
                )
                raise StorageError(error.errno, msg) from error
            # Any other is for the lock itself to report.
        finally:
            os.close(descriptor)

    def _existing_parent(self) -> Path:
        """The directory, or the nearest parent that exists."""
        return next(path for path in (self.path, *self.path.parents) if path.is_dir())

    def _sync_directories(self, files: Iterable[Path]) -> None:
        """Make the directories of files durable, up to this one, the innermost first."""
        depth = len(self.path.parts)
        directories = {
            directory
            for parent in {file.parent for file in files}
            for directory in (parent, *parent.parents[: len(parent.parts) - depth])
        }
        for directory in sorted(directories, reverse=True):
            with storage_errors("sync", directory):
                _sync(directory)


class _DirectoryLock:
    """The lock of a directory, which the operating system frees when the process ends."""

    taken_over = False

    def __init__(self, directory: Directory, lock: BaseFileLock, *, keep: bool) -> None:
        self._directory = directory
        self._lock = lock
        self._keep = keep

    def check(self) -> None:
        """Nothing: a living process cannot lose it."""

    def clean_up(self) -> None:
        """Remove the file of the lock, and the directory if it holds nothing else."""
        path = self._directory.path
        with storage_errors("unlock", path):
            is_empty = self._directory.is_empty()
            if is_empty:
                for unfinished in path.glob(f".*{NEW_SUFFIX}"):
                    unfinished.unlink()
            # A process that has opened the file sees that it has no name any more, and retries.
            (path / LOCK_NAME).unlink(missing_ok=True)
            if is_empty and not self._keep:
                # A directory to which another process has written by now is not empty, and stays.
                with suppress(OSError):
                    path.rmdir()

    def release(self) -> None:
        """Free the lock."""
        self._lock.release()


@contextmanager
def write_atomically(
    target: Path, mark: str = "", rename: Callable[[Path, Path], object] = Path.replace
) -> Iterator[IO[bytes]]:
    """A file that becomes `target` when the block ends, and is on the disk before.

    Without a mark its name is fixed, for only the holder of a lock writes: a crash leaves at most
    one such file, which the next write of the same target replaces. An error leaves none.
    """
    new = target.with_name(f".{target.name}{mark}{NEW_SUFFIX}")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with new.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        rename(new, target)
    except BaseException:  # no error and no Ctrl-C leaves the file
        new.unlink(missing_ok=True)
        raise


@contextmanager
def storage_errors(verb: str, path: Path) -> Iterator[None]:
    """Raise a `StorageError` that names the path for each error of the operating system."""
    try:
        yield
    except SlafError:
        raise
    except OSError as error:
        raise system_error(str(path), verb, error) from error


def _linked(source: Path, target: Path) -> bool:
    """Give a file a second name; whether the file system has hard links."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return False
    return True


def _link_new(new: Path, target: Path) -> None:
    """Rename a file, unless a file of the new name exists.

    Raises
    ------
    FileExistsError
        If it exists.
    """
    if _linked(new, target):
        new.unlink()
    elif target.exists():
        raise FileExistsError
    else:
        # Without hard links two writers of one moment may both believe to be the first.
        new.replace(target)


def _remove_directory(path: Path) -> None:
    """Remove a directory to which other processes may still write."""
    for left in reversed(range(_REMOVALS)):
        try:
            shutil.rmtree(path)
        except OSError as error:
            if error.errno == errno.ENOENT and not path.exists():
                return
            if error.errno not in {errno.ENOENT, errno.ENOTEMPTY} or not left:
                raise
        else:
            return


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
