"""Input paths: of this machine, in a bucket or on the web."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, TypeGuard, cast

from slaf.errors import DamagedInput, NoSuchInput, NotADataset, StorageError
from slaf.runtime.extras import require
from slaf.storage.urls import is_url, local_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import anndata

    from slaf.storage.remote_bytes import RemoteBytes
    from slaf.storage.remote_path import RemotePath

__all__ = [
    "as_remote",
    "check_exists",
    "check_local_dataset",
    "check_local_paths",
    "has_wildcards",
    "input_path",
    "is_anndata",
    "is_dataset",
    "no_dataset",
    "remote_bytes",
    "reopened",
]

_WILDCARDS = frozenset("*?[")


def input_path(name: object, options: Mapping[str, str] | None) -> Path:
    """The path of an input.

    A URL becomes a :class:`slaf.storage.remote_path.RemotePath`, which has all members of `Path`
    that sources use.

    Raises
    ------
    StorageError
        If the scheme of a URL is not supported.
    """
    if not isinstance(name, str | os.PathLike):
        msg = (
            f"{type(name).__name__} is no input: give a path, a URL or an AnnData, as in "
            "anndata.AnnData(matrix, obs=obs, var=var)"
        )
        raise TypeError(msg)
    if not is_url(name):
        return local_path(name)
    require("obstore", "a bucket")
    from slaf.storage.remote_path import RemotePath

    return cast("Path", RemotePath.of(name, options or {}))


def is_anndata(value: object) -> TypeGuard[anndata.AnnData]:
    """Whether an input is an AnnData, without importing anndata."""
    module = sys.modules.get("anndata")
    return module is not None and isinstance(value, module.AnnData)


def is_dataset(path: Path) -> bool:
    """True for a SLAF dataset, finished or not."""
    config = path / "config.json"
    # Opening a pipe would wait for ever.
    try:
        content = json.loads(config.read_bytes()) if config.is_file() else None
    except StorageError:
        raise
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and "format_version" in content


def as_remote(path: object) -> RemotePath | None:
    """The path as a remote one; None for a path of this machine."""
    return None if isinstance(path, os.PathLike) else cast("RemotePath", path)


def remote_bytes(path: object) -> RemoteBytes | None:
    """The bytes of a remote file; None for a path of this machine."""
    remote = as_remote(path)
    return None if remote is None else remote.content


def reopened(path: Path) -> Path:
    """The same input without its open file: many inputs would keep megabytes each."""
    remote = as_remote(path)
    return path if remote is None else cast("Path", remote.reopened())


def has_wildcards(name: str) -> bool:
    """Whether a name may be a pattern."""
    return bool(_WILDCARDS & set(name))


def check_local_paths(names: Iterable[str]) -> None:
    """Refuse a path of this machine where nothing is, before any library of a format is loaded.

    URLs and patterns are not checked.

    Raises
    ------
    NoSuchInput
        Naming the path.
    """
    for name in names:
        if not is_url(name) and not has_wildcards(name):
            check_exists(local_path(name))


def check_local_dataset(name: str) -> None:
    """Refuse a dataset of this machine that is not there, before any library is loaded.

    Raises
    ------
    NotADataset
        Naming it.
    """
    try:
        check_local_paths([name])
    except NoSuchInput:
        raise no_dataset(name, "does not exist") from None


def no_dataset(location: object, what: str) -> NotADataset:
    """The error of a place without a dataset, with what it does or has."""
    msg = (
        f"{location}: not a SLAF dataset (it {what}); make one with `slaf convert`, or read "
        "an input as it lies with slaf.scan"
    )
    return NotADataset(msg)


def check_exists(path: Path) -> None:
    """Refuse a path where nothing is.

    Raises
    ------
    NoSuchInput
        Naming the path.
    DamagedInput
        If its name is not text.
    StorageError
        If the disk or the bucket does not say.
    """
    try:
        str(path).encode()
        exists = path.exists()
    except UnicodeEncodeError as error:
        # Neither config.json nor a message could hold such a name.
        msg = f"{path}: its name is not text in UTF-8"
        raise DamagedInput(msg, remedy="rename it") from error
    except StorageError:
        raise
    except OSError as error:
        msg = f"{path}: cannot look at it: {error.strerror}; check the path"
        raise StorageError(error.errno, msg) from error
    if not exists:
        msg = f"{path}: there is no such file or directory"
        raise NoSuchInput(msg)
