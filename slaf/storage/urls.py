"""URLs and local paths: their kind, their scheme, and their text without secrets."""

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


def is_url(value: object) -> bool:
    """Whether a value is the text of a URL, of any scheme."""
    return isinstance(value, str) and _URL.match(value) is not None


def is_web(value: object) -> bool:
    """Whether a value is an address of the web."""
    return is_url(value) and scheme_of(str(value)) in WEB


def scheme_of(url: str) -> str:
    """The scheme of a URL.

    Raises
    ------
    StorageError
        If the scheme is not supported, or nothing follows it.
    """
    if re.fullmatch(r"[a-z][a-z0-9+.-]*:/*", url, re.IGNORECASE):
        msg = f"{url}: this names no bucket or host; write it as s3://bucket/path"
        raise StorageError(msg)
    matched = _URL.match(url)
    scheme = matched[1].lower() if matched else ""
    if scheme not in BUCKETS | WEB:
        supported = ", ".join(f"{name}://" for name in sorted(BUCKETS | WEB))
        msg = f"{redacted(url)}: {scheme}:// is not known here; name a path, or one of {supported}"
        raise StorageError(msg)
    return scheme


def local_path(path: str | os.PathLike[str]) -> Path:
    """A path of this machine, with `~` expanded to the home of the user.

    Raises
    ------
    StorageError
        If it is a URL, or empty, as an unset variable of a shell is.
    """
    text = os.fspath(path)
    if not text:
        msg = "a path is empty; name a file, a directory or a URL"
        raise StorageError(msg)
    if is_url(text):
        msg = f"{redacted(text)}: this has to be a path of this machine"
        raise StorageError(msg)
    return Path(os.path.expanduser(text))  # noqa: PTH111 - Path.expanduser fails for unknown users


def redacted(url: str) -> str:
    """A URL without user name, password and query, which may be a signature; a path as it is."""
    if not is_url(url):
        return url
    parts = urlsplit(url)
    # In Azure's URLs the container comes first: abfss://container@account.dfs.core.windows.net
    host = parts.netloc.rpartition("@")[2] if parts.scheme.lower() in WEB else parts.netloc
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
