"""Formats to export to: each a module of this folder and a line in `FORMATS`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slaf.targets import bigwig, h5ad, scdl, soma, tenx_h5, tenx_mtx, zarr

if TYPE_CHECKING:
    from slaf.targets.base import TargetFormat

__all__ = ["FORMATS"]

FORMATS: tuple[TargetFormat, ...] = (
    h5ad.FORMAT,
    zarr.FORMAT,
    tenx_h5.FORMAT,
    tenx_mtx.FORMAT,
    soma.FORMAT,
    scdl.FORMAT,
    bigwig.FORMAT,
)
