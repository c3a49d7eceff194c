"""Where an input lies: a path of this machine, or what behaves as one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeGuard, cast

from slaf.storage.urls import is_url, local_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import anndata

    from slaf.storage.remote_bytes import RemoteBytes
    from slaf.storage.remote_path import RemotePath

__all__ = ["as_remote", "input_path", "is_anndata", "remote_bytes", "reopened"]


def input_path(what: str | os.PathLike[str], options: Mapping[str, str] | None) -> Path:
    """The place of an input.

    A URL becomes a :class:`slaf.storage.remote_path.RemotePath`, which has of a path all that the
    formats use of one.

    Raises
    ------
    StorageError
        If it is a URL of a kind that is not known.
    """
    if not is_url(what):
        return local_path(what)
    from slaf.storage.remote_path import RemotePath

    return cast("Path", RemotePath.of(what, options or {}))


def is_anndata(what: object) -> TypeGuard[anndata.AnnData]:
    """Whether an input is an AnnData, which is not imported to tell; a dataset has no X."""
    return all(hasattr(what, name) for name in ("obs", "var", "X"))


def as_remote(path: object) -> RemotePath | None:
    """The path as one of a bucket or the web; None if it is of this machine."""
    return None if isinstance(path, os.PathLike) else cast("RemotePath", path)


def remote_bytes(path: object) -> RemoteBytes | None:
    """What fetches the bytes of a file that lies elsewhere; None if it is on this machine."""
    found = as_remote(path)
    return None if found is None else found.content


def reopened(path: Path) -> Path:
    """The same input, without the bytes that were read of it and are kept where it lies elsewhere.

    What is opened again and again would else hold some megabytes for each of very many inputs.
    """
    found = as_remote(path)
    return path if found is None else cast("Path", found.afresh())
