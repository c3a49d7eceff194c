"""h5ad: AnnData on HDF5."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from slaf.targets.anndata_groups import AnnDataTarget
from slaf.targets.base import TargetFormat
from slaf.targets.hdf5_columns import is_file, new_hdf5_file

if TYPE_CHECKING:
    import h5py

__all__ = ["FORMAT"]


def _in_memory() -> h5py.File:
    import h5py

    return h5py.File("probe", "w", driver="core", backing_store=False)


FORMAT = TargetFormat(
    name="h5ad",
    description="AnnData on HDF5",
    suffixes=(".h5ad",),
    matches=is_file,
    open=partial(AnnDataTarget, probe=_in_memory, create=new_hdf5_file, takes_plain=True),
    layouts=("csr", "csc"),
    compressions=("gzip", "zstd", "lzf", "none"),
)
