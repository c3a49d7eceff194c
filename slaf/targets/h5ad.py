"""h5ad: AnnData on HDF5."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from slaf.targets.anndata_groups import AnnDataTarget
from slaf.targets.base import TargetFormat
from slaf.targets.hdf5_columns import Column, created, is_file, packers, packing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    import h5py
    import numpy as np
    from numpy.typing import NDArray

    from slaf.options import ArrayCompression
    from slaf.targets.base import WriteOptions
    from slaf.targets.hdf5_file import SafeFile

__all__ = ["FORMAT"]


class _File:
    """An HDF5 file; a `slaf.targets.anndata_groups.Groups`."""

    def __init__(
        self,
        root: h5py.File,
        disk: SafeFile,
        compression: ArrayCompression,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.root = root
        self._disk = disk
        # anndata knows which of these no single value takes, but for shuffle.
        self.packing = packing(compression, shuffle=False)
        self._compression = compression
        self._pool = pool

    def growing(self, group: h5py.Group, name: str, dtype: np.dtype[Any], size: int) -> Column:
        """A column whose chunks the pool packs."""
        return Column(
            group,
            name,
            dtype,
            size=size,
            compression=self._compression,
            pool=self._pool,
            disk=self._disk,
        )

    def whole(self, group: h5py.Group, name: str, values: NDArray[Any]) -> None:
        """Write an array."""
        group.create_dataset(name, data=values, **packing(self._compression))


@contextmanager
def _created(path: Path, options: WriteOptions) -> Iterator[_File]:
    with created(path) as (file, disk), packers() as pool:
        yield _File(file, disk, options.compression, pool)


def _in_memory() -> h5py.File:
    import h5py

    return h5py.File("probe", "w", driver="core", backing_store=False)


FORMAT = TargetFormat(
    name="h5ad",
    description="AnnData on HDF5",
    suffixes=(".h5ad",),
    is_one=is_file,
    open=partial(AnnDataTarget, probe=_in_memory, create=_created),
    layouts=("csr", "csc"),
    compressions=("gzip", "zstd", "lzf", "none"),
)
