"""Paths of this machine, and URLs, told apart and shown without what is secret in them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from slaf.errors import StorageError

__all__ = ["BUCKETS", "WEB", "is_url", "is_web", "local_path", "redacted", "scheme_of"]

BUCKETS = frozenset({"s3", "gs", "az", "abfs", "abfss"})
WEB = frozenset({"http", "https"})
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)


def is_url(place: object) -> bool:
    """Whether this is the text of a URL, of whatever scheme."""
    return isinstance(place, str) and _URL.match(place) is not None


def is_web(place: object) -> bool:
    """Whether this is an address of the web."""
    return is_url(place) and scheme_of(str(place)) in WEB


def scheme_of(url: str) -> str:
    """The scheme of a URL.

    Raises
    ------
    StorageError
        If it is none that is read or written here.
    """
    matched = _URL.match(url)
    scheme = matched[1].lower() if matched else ""
    if scheme not in BUCKETS | WEB:
        known = ", ".join(f"{name}://" for name in sorted(BUCKETS | WEB))
        msg = f"{redacted(url)}: {scheme}:// is not known here; known are paths, and {known}"
        raise StorageError(msg)
    return scheme


def local_path(path: str | os.PathLike[str]) -> Path:
    """The path as one of this machine, where `~` is the home of its user.

    Raises
    ------
    StorageError
        If it is a URL, or no text at all, as an unset variable of a shell leaves it.
    """
    text = os.fspath(path)
    if not text:
        msg = "a path is empty; name a file, a directory or a URL"
        raise StorageError(msg)
    if is_url(text):
        msg = f"{redacted(text)}: this has to be a path of this machine"
        raise StorageError(msg)
    return Path(os.path.expanduser(text))  # noqa: PTH111 - that of Path refuses unknown users


def redacted(url: str) -> str:
    """A URL without the name and password, and without the query that may be a signature.

    A path is shown as it is.
    """
    if not is_url(url):
        return url
    parts = urlsplit(url)
    # Azure has the container there: abfss://container@account.dfs.core.windows.net
    place = parts.netloc.rpartition("@")[2] if parts.scheme.lower() in WEB else parts.netloc
    return urlunsplit((parts.scheme, place, parts.path, "", ""))
