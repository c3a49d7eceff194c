"""h5ad: AnnData on HDF5."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slaf.targets.base import Compression, Layout, TargetFormat
from slaf.targets.compressed import index_type, steps, write_compressed
from slaf.targets.contents import LAYERS, RAW
from slaf.targets.elements import fitted, write_elements
from slaf.targets.hdf5 import Column, created, packers, packing

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    import h5py

    from slaf.progress import Progress
    from slaf.targets.base import WriteOptions
    from slaf.targets.contents import Contents, Matrix

__all__ = ["FORMAT", "H5adTarget"]


class H5adTarget:
    """An AnnData file; matrices are sparse, the rest is as anndata writes it.

    Parameters
    ----------
    contents
        What it will hold.
    options
        Layout and compression are chosen freely.
    """

    def __init__(self, contents: Contents, options: WriteOptions) -> None:
        self._contents = contents
        self._options = options
        self._elements, self._left_out = fitted(contents.elements, _in_memory)

    def left_out(self) -> tuple[str, ...]:
        """Columns and values that anndata has no word for."""
        return self._left_out

    def write(self, path: Path, seen: Progress) -> None:
        """Write the file."""
        seen.begin(0, 0, steps(self._contents, self._options.layout))
        with created(path) as file, packers() as pool:
            mark(file, "anndata", "0.1.0")
            write_elements(file, {LAYERS.rstrip("/"): {}})
            if RAW in self._contents.matrices:
                mark(file.create_group("raw"), "raw", "0.1.0")
            options = packing(self._options.compression)
            write_elements(file, self._elements, options)
            for slot, matrix in self._contents.matrices.items():
                self._write_matrix(file.create_group(slot), matrix, pool, seen)

    def _write_matrix(
        self, group: h5py.Group, matrix: Matrix, pool: ThreadPoolExecutor, seen: Progress
    ) -> None:
        by_cell = self._options.layout is Layout.CSR
        mark(group, f"{self._options.layout}_matrix", "0.1.0")
        group.attrs["shape"] = matrix.shape
        size, compression = matrix.n_entries, self._options.compression
        positions = index_type(matrix.shape[1 if by_cell else 0])
        indices, data = (
            Column(group, name, dtype, size=size, compression=compression, pool=pool)
            for name, dtype in (("indices", positions), ("data", matrix.dtype))
        )
        indptr = write_compressed(matrix, indices, data, self._options, seen)
        offsets = indptr.astype(index_type(int(indptr[-1])))
        group.create_dataset("indptr", data=offsets, **packing(compression))


def mark(group: Any, encoding: str, version: str) -> None:
    """Say what a group is, as anndata does."""
    group.attrs["encoding-type"] = encoding
    group.attrs["encoding-version"] = version


def _in_memory() -> h5py.File:
    import h5py

    return h5py.File("probe", "w", driver="core", backing_store=False)


def _is_one(path: Path) -> bool:
    return path.is_file()


FORMAT = TargetFormat(
    name="h5ad",
    description="AnnData on HDF5",
    suffixes=(".h5ad",),
    is_one=_is_one,
    open=H5adTarget,
    layouts=(Layout.CSR, Layout.CSC),
    compressions=(Compression.GZIP, Compression.ZSTD, Compression.LZF, Compression.NONE),
)
