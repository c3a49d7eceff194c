"""anndata to zarr, with the Rust codecs of zarrs, which its guide recommends for writing."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import anndata
import zarr
import zarrs  # noqa: F401 - registers its codecs
from anndata.io import read_elem, sparse_dataset
from content import content, print_result
from reads import timed

_FAST = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}

anndata.settings.zarr_write_format = 3
anndata.settings.auto_shard_zarr_v3 = True


def convert(kind: str, source: str, output: str) -> None:
    """Read an input into memory, and write it; many files are concatenated on disk."""
    if kind == "files":
        from anndata.experimental import concat_on_disk

        # Without zarrs, which refuses the arrays of h5ad files here.
        concat_on_disk(sorted(Path(source).iterdir()), output, merge="same")
        return
    zarr.config.set(_FAST)
    _read(kind, source).write_zarr(output)


def _read(kind: str, source: str) -> anndata.AnnData:
    if kind == "h5ad":
        return anndata.read_h5ad(source)
    import scanpy

    if kind == "10x H5":
        adata = scanpy.read_10x_h5(source)
        adata.var_names = adata.var["gene_ids"].to_numpy()
        return adata
    return scanpy.read_10x_mtx(source, var_names="gene_ids", cache=False)


def main(verb: str, path: str, *rest: str) -> Any:
    """Run one verb: convert, content or reads."""
    if verb == "convert":
        return convert(path, *rest)
    zarr.config.set(_FAST)
    if verb == "content":
        adata = anndata.read_zarr(path)
        return content(adata.X, adata.obs, adata.var)
    group = zarr.open_group(path, mode="r")
    matrix = sparse_dataset(group["X"])

    @cache
    def table(name: str) -> Any:
        return read_elem(group[name])

    def filtered(label: str) -> anndata.AnnData:
        chosen = (table("obs")["cell_type"] == label).to_numpy()
        return anndata.AnnData(matrix[chosen], obs=table("obs")[chosen], var=table("var"))

    reads = {
        "64 random cells": lambda cells: matrix[cells],
        "10,000 neighbouring cells": lambda span: matrix[slice(*span)],
        "one gene": lambda gene: matrix[:, [gene]],
        "filter to AnnData": filtered,
    }
    return timed(reads, *rest)


if __name__ == "__main__":
    print_result(main(*sys.argv[1:]))
