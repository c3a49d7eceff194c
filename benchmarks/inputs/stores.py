"""Counts on zarr with shards, as MuData and as loom."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import zarr
from anndata.io import write_elem

from benchmarks.inputs.counts import blocks
from benchmarks.inputs.h5ad import tables, write_h5ad

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.inputs.counts import Counts

__all__ = ["write_loom", "write_mudata", "write_zarr"]

# Elements in a chunk, and in a shard.
_CHUNK, _SHARD = 1 << 15, 1 << 20


def write_zarr(path: Path, counts: Counts) -> int:
    """Write a folder of zarr 3 in bounded memory; its number of nonzeros."""
    root = zarr.open_group(path, mode="w", zarr_format=3)
    root.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    with warnings.catch_warnings():
        # anndata tells what its next release will do.
        warnings.simplefilter("ignore")
        for name, table in zip(("obs", "var"), tables(counts), strict=True):
            write_elem(root, name, table)
    matrix = root.create_group("X")
    matrix.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
    matrix.attrs["shape"] = [counts.n_cells, counts.n_genes]
    arrays = {
        name: matrix.create_array(name, shape=(0,), dtype=dtype, chunks=(_CHUNK,), shards=(_SHARD,))
        for name, dtype in (("indices", "i4"), ("data", "f4"))
    }
    offsets = [0]
    for block in blocks(counts):
        for name, array in arrays.items():
            array.append(getattr(block, name).astype(array.dtype))
        offsets += (block.indptr[1:] + offsets[-1]).tolist()
    matrix.create_array("indptr", data=np.array(offsets))
    return offsets[-1]


def write_mudata(path: Path, counts: Counts) -> int:
    """Write an h5mu of one modality in bounded memory; its number of nonzeros."""
    h5ad = path.with_suffix(".part")
    nonzeros = write_h5ad(h5ad, counts)
    with h5py.File(path, "w") as file, h5py.File(h5ad) as modality:
        file.attrs.update({"encoding-type": "MuData", "encoding-version": "0.1.0"})
        modality.copy(modality["/"], file, "mod/rna")
        for name in ("obs", "var"):
            modality.copy(name, file)
    h5ad.unlink()
    return nonzeros


def write_loom(path: Path, counts: Counts) -> int:
    """Write a loom, in the chunks of loompy, in bounded memory; its number of nonzeros."""
    nonzeros, start = 0, 0
    with h5py.File(path, "w") as file:
        for name in ("layers", "row_attrs", "col_attrs", "row_graphs", "col_graphs", "attrs"):
            file.create_group(name)
        shape = (counts.n_genes, counts.n_cells)
        how: Any = {"chunks": (64, 64), "compression": "gzip", "compression_opts": 2}
        matrix = file.create_dataset("matrix", shape, "f4", **how)
        for block in blocks(counts):
            matrix[:, start : start + block.shape[0]] = block.T.toarray()
            start, nonzeros = start + block.shape[0], nonzeros + block.nnz
        obs, var = tables(counts)
        for name, table in (("col_attrs/CellID", obs), ("row_attrs/Gene", var)):
            file[name] = table.index.to_numpy(object)
        file["attrs/LOOM_SPEC_VERSION"] = "3.0.0"
    return nonzeros
