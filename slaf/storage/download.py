"""Inputs of buckets and the web, downloaded to a directory that keeps them."""

from __future__ import annotations

import logging
import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import xxhash

from slaf.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slaf.storage.remote_path import RemotePath, Status

__all__ = ["download"]

logger = logging.getLogger("slaf")


def download(source: RemotePath, directory: Path) -> Path:
    """An input in a directory, where it is put unless it is there already.

    It lies in as many folders as its address has, so that no input is in the way of another.
    A file of the same size and time as that of the bucket is taken for the same. Of a matrix
    in Matrix Market form the files beside it come along.

    Raises
    ------
    StorageError
        If it cannot be read, or the directory cannot hold it.
    """
    target = _place(source, directory)
    if source.is_dir():
        _stage_all(source, target)
        return target
    if ".mtx" in source.name and not source.is_web:
        for beside in source.parent.iterdir():
            if beside.is_file():
                _stage(beside, target.with_name(beside.name))
        return target
    _stage(source, target)
    return target


def _place(source: RemotePath, directory: Path) -> Path:
    host, *parts = PurePosixPath(str(source).partition("://")[2]).parts
    _check_within(source, parts)
    # What tells two addresses of the web apart may be the query alone, which is not to be seen.
    query = [xxhash.xxh3_64_hexdigest(source.query.encode())] if source.query else []
    return directory.joinpath(host, *query, *parts)


def _check_within(source: RemotePath, parts: Sequence[str]) -> None:
    if ".." in parts:
        msg = f"{source}: it holds {'/'.join(parts)!r}, which is no name of a file within it"
        raise StorageError(msg)


def _stage_all(source: RemotePath, target: Path) -> None:
    for name, status in source.walk_files():
        parts = PurePosixPath(name.lstrip("/")).parts
        _check_within(source, parts)
        below = source
        for part in parts:
            below = below / part
        _stage(below.known(status), target.joinpath(*parts))


def _stage(source: RemotePath, target: Path) -> None:
    status = source.stat()
    if _is_there(target, status):
        return
    new = target.with_name(f".{target.name}.new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        logger.info("downloading %s (%d bytes) to %s", source, status.st_size, target)
        with new.open("wb") as file:
            spans = source.content.spans()
            for number in range(len(spans)):
                file.write(spans[number])
            file.flush()
            os.fsync(file.fileno())
        os.utime(new, ns=(status.st_mtime_ns, status.st_mtime_ns))
        new.replace(target)
    except StorageError:
        raise
    except OSError as error:
        msg = f"{target}: cannot write it: {error.strerror}"
        raise StorageError(error.errno, msg) from error
    finally:
        new.unlink(missing_ok=True)


def _is_there(target: Path, status: Status) -> bool:
    if not target.is_file():
        return False
    found = target.stat()
    return (found.st_size, found.st_mtime_ns) == (status.st_size, status.st_mtime_ns)
