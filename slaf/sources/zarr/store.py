"""Objects of a zarr store by key: in a folder, a zip file or a bucket."""

from __future__ import annotations

import os
import stat
import struct
import threading
import zipfile
import zlib
from functools import cached_property
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Protocol, cast

from slaf.errors import DamagedInput, StorageError
from slaf.sources.hdf5.limits import check_expansion_ratio
from slaf.sources.identity import file_identity, folder_identity
from slaf.storage.paths import as_remote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from slaf.storage.remote_path import ObjectStat, RemotePath

__all__ = ["Objects", "is_zip", "open_objects"]

_ZIP_SIGNATURE = b"PK\x03\x04"

_SMALL_BYTES = 16 << 10

# The best compression of zip: https://zlib.net/zlib_tech.html
_MAX_ZIP_RATIO = 1_100


class Objects(Protocol):
    """Objects by key, read-only.

    Attributes
    ----------
    is_remote
        Whether each read is a request.
    """

    is_remote: bool

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes | None:
        """An object, or the bytes from one offset to another; None if it does not exist.

        A negative start counts from the end.
        """

    def sizes(self, prefix: str) -> Mapping[str, int]:
        """The bytes of each object below a prefix, by its key."""

    def children(self, prefix: str) -> list[str]:
        """The names directly below a prefix, sorted."""

    def identity(self, prefix: str) -> Mapping[str, Any]:
        """A fingerprint of all objects below a prefix, or of the whole file."""

    def close(self) -> None:
        """Close what is open."""


def is_zip(path: Path) -> bool:
    """Whether a file has the signature of a zip file."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_ZIP_SIGNATURE)) == _ZIP_SIGNATURE


def open_objects(path: Path) -> Objects:
    """The objects of a folder, a zip file or a prefix of a bucket.

    Raises
    ------
    DamagedInput
        If it is not a whole zip file.
    """
    remote = as_remote(path)
    if path.is_file():
        return _ZipObjects(path)
    return _FolderObjects(path) if remote is None else _RemoteObjects(remote)


class _FolderObjects:
    """The files of a folder."""

    is_remote = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes | None:
        _check_key(key)
        path = self._folder / key
        try:
            file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            msg = f"{path}: cannot read it: {error.strerror}; check that you may"
            raise StorageError(error.errno, msg) from error
        try:
            return self._read(file, path, start, stop)
        finally:
            os.close(file)

    def _read(self, file: int, path: Path, start: int, stop: int | None) -> bytes | None:
        status = os.fstat(file)
        if stat.S_ISDIR(status.st_mode):
            return None
        if not stat.S_ISREG(status.st_mode):
            # Reading a pipe would wait for ever.
            msg = f"{path}: it is not a file"
            raise DamagedInput(msg)
        first, last = _span(start, stop, status.st_size)
        return os.pread(file, last - first, first) if last > first else b""

    def sizes(self, prefix: str) -> Mapping[str, int]:
        found: dict[str, int] = {}
        for folder, _, names in os.walk(self._folder / prefix):
            for name in names:
                path = os.path.join(folder, name)  # noqa: PTH118 - of hundreds of thousands
                found[os.path.relpath(path, self._folder)] = os.stat(path).st_size  # noqa: PTH116
        return found

    def children(self, prefix: str) -> list[str]:
        folder = self._folder / prefix
        return sorted(os.listdir(folder)) if folder.is_dir() else []  # noqa: PTH208 - only names

    def identity(self, prefix: str) -> Mapping[str, Any]:
        return folder_identity(self._folder / prefix)

    def close(self) -> None:
        pass


class _RemoteObjects:
    """The objects below a prefix of a bucket."""

    is_remote = True

    def __init__(self, root: RemotePath) -> None:
        self._root = root

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes | None:
        _check_key(key)
        status = self._stats.get(key)
        if status is None:
            return None
        first, last = _span(start, stop, status.st_size)
        path = self._path(key).with_stat(status)
        if last <= first:
            return b""
        # Small ones, as all metadata, go through the cache that an input opened again finds.
        return (path.content.read if last - first <= _SMALL_BYTES else path.fetch)(first, last)

    def sizes(self, prefix: str) -> Mapping[str, int]:
        start = f"{prefix}/" if prefix else ""
        return {k: s.st_size for k, s in self._stats.items() if k.startswith(start)}

    def children(self, prefix: str) -> list[str]:
        return _children(self.sizes(prefix), prefix)

    def identity(self, prefix: str) -> Mapping[str, Any]:
        return folder_identity(cast("Path", self._path(prefix)))

    def close(self) -> None:
        pass

    @cached_property
    def _stats(self) -> Mapping[str, ObjectStat]:
        return {key.lstrip("/"): status for key, status in self._root.walk_files()}

    def _path(self, key: str) -> RemotePath:
        path = self._root
        for part in PurePosixPath(key).parts:
            path = path / part
        return path


class _ZipObjects:
    """The members of a zip file; those stored without compression are read in part."""

    is_remote = False

    def __init__(self, path: Path) -> None:
        self._path = path
        remote = as_remote(path)
        self._file: IO[bytes] = cast(
            "IO[bytes]", path.open("rb") if remote is None else remote.open_random()
        )
        self._lock = threading.Lock()
        try:
            self._zip = zipfile.ZipFile(self._file)
        except zipfile.BadZipFile as error:
            self._file.close()
            msg = f"{path}: not a readable zip file ({error})"
            raise DamagedInput(msg, remedy="was it copied to its end?") from error
        # A zip may hold several members of one name: the last one counts.
        self._members = {info.filename: info for info in self._zip.infolist()}

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes | None:
        member = self._members.get(key)
        if member is None:
            return None
        first, last = _span(start, stop, member.file_size)
        is_stored = member.compress_type == zipfile.ZIP_STORED
        with self._lock:
            if is_stored and (first, last) != (0, member.file_size):
                return self._read_stored(member, first, last)
            label = f"{self._path}: {key}"
            check_expansion_ratio(label, member.compress_size, member.file_size, _MAX_ZIP_RATIO)
            try:
                return self._zip.read(member)[first:last]
            except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
                msg = f"{label} cannot be read ({error})"
                raise DamagedInput(msg) from error

    def _read_stored(self, member: zipfile.ZipInfo, first: int, last: int) -> bytes:
        # The lengths of the name and of the extra field, after which the data begins:
        # https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT (4.3.7)
        self._file.seek(member.header_offset + 26)
        lengths = self._file.read(4)
        if len(lengths) == 4:  # noqa: PLR2004 - two lengths of two bytes
            self._file.seek(member.header_offset + 30 + sum(struct.unpack("<2H", lengths)) + first)
            data = self._file.read(last - first)
            if len(data) == last - first:
                return data
        msg = f"{self._path}: {member.filename} lies beyond the end of the file"
        raise DamagedInput(msg)

    def sizes(self, prefix: str) -> Mapping[str, int]:
        start = f"{prefix}/" if prefix else ""
        return {k: m.file_size for k, m in self._members.items() if k.startswith(start)}

    def children(self, prefix: str) -> list[str]:
        return _children(self.sizes(prefix), prefix)

    def identity(self, prefix: str) -> Mapping[str, Any]:  # noqa: ARG002 - the whole file
        return file_identity(self._path)

    def close(self) -> None:
        self._zip.close()
        self._file.close()


def _children(keys: Iterable[str], prefix: str) -> list[str]:
    start = len(prefix) + 1 if prefix else 0
    return sorted({key[start:].partition("/")[0] for key in keys} - {""})


def _span(start: int, stop: int | None, size: int) -> tuple[int, int]:
    return slice(start, stop).indices(size)[:2]


def _check_key(key: str) -> None:
    if ".." in PurePosixPath(key).parts or key.startswith("/"):
        msg = f"{key!r} leads out of the folder of the input"
        raise DamagedInput(msg)
