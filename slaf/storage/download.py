"""Download of inputs in buckets and on the web to a directory that keeps them."""

from __future__ import annotations

import logging
import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import xxhash

from slaf.errors import StorageError
from slaf.storage.local import storage_errors, write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slaf.storage.remote_path import ObjectStat, RemotePath

__all__ = ["download"]

logger = logging.getLogger("slaf")


def download(source: RemotePath, directory: Path) -> Path:
    """The local copy of an input in a directory, downloaded unless it is up to date.

    Each component of the address becomes a folder, so that no input replaces another. A file with
    the size and the time of change of the object is up to date. A Matrix Market file is downloaded
    with the other files of its folder.

    Raises
    ------
    StorageError
        If the input cannot be read, or the copy cannot be written.
    """
    target = _local_copy(source, directory)
    if source.is_dir():
        _download_folder(source, target)
    elif ".mtx" in source.name and not source.is_web:
        for sibling in source.parent.iterdir():
            if sibling.is_file():
                _download_file(sibling, target.with_name(sibling.name))
    else:
        _download_file(source, target)
    return target


def _local_copy(source: RemotePath, directory: Path) -> Path:
    host, *parts = PurePosixPath(str(source).partition("://")[2]).parts
    _check_within(source, parts)
    # Two addresses of the web may differ in their query alone, which may be secret.
    query = [xxhash.xxh3_64_hexdigest(source.query.encode())] if source.query else []
    return directory.joinpath(host, *query, *parts)


def _check_within(source: RemotePath, parts: Sequence[str]) -> None:
    if ".." in parts:
        msg = (
            f"{source}: it holds {'/'.join(parts)!r}, a name that leads out of the folder of the "
            "download; rename the object"
        )
        raise StorageError(msg)


def _download_folder(source: RemotePath, target: Path) -> None:
    for name, stat in source.walk_files():
        parts = PurePosixPath(name.lstrip("/")).parts
        _check_within(source, parts)
        file = source
        for part in parts:
            file = file / part
        _download_file(file.with_stat(stat), target.joinpath(*parts))


def _download_file(source: RemotePath, target: Path) -> None:
    stat = source.stat()
    if _is_up_to_date(target, stat):
        return
    logger.info("downloading %s (%d bytes) to %s", source, stat.st_size, target)
    with storage_errors("write", target), write_atomically(target) as file:
        ranges = source.content.ranges()
        for number in range(len(ranges)):
            file.write(ranges[number])
        file.flush()
        os.utime(file.fileno(), ns=(stat.st_mtime_ns, stat.st_mtime_ns))


def _is_up_to_date(target: Path, stat: ObjectStat) -> bool:
    if not target.is_file():
        return False
    local = target.stat()
    return (local.st_size, local.st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
