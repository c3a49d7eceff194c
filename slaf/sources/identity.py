"""What makes an input this input: enough to notice that it was changed or exchanged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import xxhash

from slaf.storage.paths import as_remote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from slaf.format.config import SourceRecord
    from slaf.storage.remote_path import RemotePath

__all__ = ["content_identity", "content_key", "file_identity"]

_SAMPLES = 16
_TIME = "mtime_ns"
_SAMPLE_BYTES = 64 << 10


def file_identity(path: Path) -> Mapping[str, Any]:
    """The size of a file, its time of change in nanoseconds, and a digest of samples of it.

    The samples are spread evenly and take in the first and the last bytes, so that files of
    one size that differ are told apart even where the time was set back; reading them costs
    about a megabyte whatever the size. Of an object in a bucket or on the web, its tag is
    enough.
    """
    elsewhere = as_remote(path)
    if elsewhere is not None:
        return _remote_identity(elsewhere)
    status = path.stat()
    digest = xxhash.xxh3_128()
    last = max(status.st_size - _SAMPLE_BYTES, 0)
    with path.open("rb") as file:
        for number in range(_SAMPLES):
            file.seek(last * number // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE_BYTES))
    return {"size": status.st_size, _TIME: status.st_mtime_ns, "sample": digest.hexdigest()}


def _remote_identity(path: RemotePath) -> Mapping[str, Any]:
    status = path.stat()
    if status.e_tag is None:
        return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
    return {"size": status.st_size, "etag": status.e_tag.strip('"')}


def content_identity(pieces: Iterable[bytes]) -> Mapping[str, Any]:
    """The size and digest of what has no file."""
    digest = xxhash.xxh3_128()
    size = 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
    return {"size": size, "sample": digest.hexdigest()}


def content_key(source: SourceRecord) -> str:
    """What two inputs have alike if, and as far as samples tell only if, they hold the same.

    A copy of a file, which lies elsewhere and was written later, has the same.
    """
    chosen = [source.format, source.matrix, dict(source.choice), _untimed(source.identity)]
    return json.dumps(chosen, sort_keys=True)


def _untimed(identity: Any) -> Any:
    if not hasattr(identity, "items"):
        return identity
    return {key: _untimed(value) for key, value in identity.items() if key != _TIME}
