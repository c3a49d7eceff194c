"""Directories and buckets behind one interface: locations of datasets, paths of inputs."""

from __future__ import annotations

from slaf.storage.errors import safe_cause, translate_lance_error
from slaf.storage.location import Location
from slaf.storage.paths import as_remote, input_path, is_anndata, remote_bytes, reopened
from slaf.storage.urls import is_url, is_web, local_path, redacted

__all__ = [
    "Location",
    "as_remote",
    "input_path",
    "is_anndata",
    "is_url",
    "is_web",
    "local_path",
    "redacted",
    "remote_bytes",
    "reopened",
    "safe_cause",
    "translate_lance_error",
]
