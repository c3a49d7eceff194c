"""Fingerprints of inputs, to notice that one was changed or replaced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from slaf.storage.paths import as_remote
from slaf.storage.urls import is_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from slaf.format.config import SourceRecord
    from slaf.storage.remote_path import RemotePath

__all__ = [
    "address_of",
    "content_identity",
    "content_key",
    "file_identity",
    "folder_identity",
    "without_times",
]

_SAMPLES = 16
_TIME = "mtime_ns"
_SAMPLE_BYTES = 64 << 10


def file_identity(path: Path) -> Mapping[str, Any]:
    """The size of a file, its modification time in nanoseconds, and a digest of samples of it.

    The samples are spread evenly, with the first and the last bytes, so that a file of the same
    size and time is noticed; they are a megabyte of any file. For a remote object its etag is
    enough.
    """
    remote = as_remote(path)
    if remote is not None:
        return _remote_identity(remote)
    status = path.stat()
    digest = xxhash.xxh3_128()
    for sample in _samples(path, status.st_size):
        digest.update(sample)
    return {"size": status.st_size, _TIME: status.st_mtime_ns, "sample": digest.hexdigest()}


def _samples(path: Path, size: int) -> Iterator[bytes | memoryview]:
    """So many samples of a file; they overlap in a small one, which is read once."""
    last = max(size - _SAMPLE_BYTES, 0)
    starts = [last * number // (_SAMPLES - 1) for number in range(_SAMPLES)]
    with path.open("rb") as file:
        if size <= _SAMPLES * _SAMPLE_BYTES:
            whole = memoryview(file.read(size))
            yield from (whole[start : start + _SAMPLE_BYTES] for start in starts)
            return
        for start in starts:
            file.seek(start)
            yield file.read(_SAMPLE_BYTES)


def folder_identity(folder: Path) -> Mapping[str, Any]:
    """The bytes in a folder, the latest change, and a digest of names, sizes and samples of files.

    The samples are of 16 files at most, spread evenly. For remote objects their etags are enough.
    """
    remote = as_remote(folder)
    files: list[tuple[str, Any]]
    if remote is None:
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        files = [(path.relative_to(folder).as_posix(), path.stat()) for path in paths]
    else:
        files = remote.walk_files()
    digest = xxhash.xxh3_128()
    for name, status in files:
        tag = status.st_size if remote is None else (status.st_size, status.e_tag)
        digest.update(f"{name}\0{tag}\n".encode(errors="surrogateescape"))
    if remote is None:
        for number in range(min(_SAMPLES, len(files))):
            name = files[(len(files) - 1) * number // max(_SAMPLES - 1, 1)][0]
            with (folder / name).open("rb") as file:
                digest.update(file.read(_SAMPLE_BYTES))
    return {
        "size": sum(status.st_size for _, status in files),
        _TIME: max((status.st_mtime_ns for _, status in files), default=0),
        "sample": digest.hexdigest(),
    }


def _remote_identity(path: RemotePath) -> Mapping[str, Any]:
    status = path.stat()
    if status.e_tag is None:
        return {"size": status.st_size, _TIME: status.st_mtime_ns}
    return {"size": status.st_size, "etag": status.e_tag.strip('"')}


def content_identity(pieces: Iterable[bytes]) -> Mapping[str, Any]:
    """The size and digest of content that is not a file."""
    digest = xxhash.xxh3_128()
    size = 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
    return {"size": size, "sample": digest.hexdigest()}


def address_of(uri: str) -> str:
    """The URL or the absolute path of an input."""
    return uri if is_url(uri) else str(Path(uri).absolute())


def content_key(source: SourceRecord) -> str:
    """A key that is equal for inputs with the same content, such as a file and its copy.

    Inputs with different content have different keys, unless their samples are equal.
    """
    identity = without_times(source.identity)
    return json.dumps([source.format, source.matrix, dict(source.choice), identity], sort_keys=True)


def without_times(identity: Any) -> Any:
    """An identity, or a part of one, without the times of its files."""
    if not hasattr(identity, "items"):
        return identity
    return {key: without_times(value) for key, value in identity.items() if key != _TIME}
