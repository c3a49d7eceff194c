"""Where datasets and inputs lie: directories and buckets, behind one interface."""

from __future__ import annotations

from slaf.storage.failures import blamed, cause
from slaf.storage.inputs import afresh, bytes_of, input_path, is_anndata, remote
from slaf.storage.location import Location
from slaf.storage.urls import is_url, is_web, on_disk, shown

__all__ = [
    "Location",
    "afresh",
    "blamed",
    "bytes_of",
    "cause",
    "input_path",
    "is_anndata",
    "is_url",
    "is_web",
    "on_disk",
    "remote",
    "shown",
]
