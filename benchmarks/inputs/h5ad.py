"""Counts as an h5ad file: CSR, CSC or dense, compressed or not."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.io import write_elem

from benchmarks.inputs.column import Column
from benchmarks.inputs.counts import blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from benchmarks.inputs.counts import Counts, Layout

__all__ = ["tables", "write_h5ad"]

# Genes converted to columns at a time.
_BAND = 500


def write_h5ad(path: Path, counts: Counts) -> int:
    """Write the file in bounded memory; its number of nonzeros."""
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        nonzeros = _WRITERS[counts.layout](file, counts)
        for name, table in zip(("obs", "var"), tables(counts), strict=True):
            write_elem(file, name, table, dataset_kwargs=_compression(counts))
        # As anndata writes it; readers of many files need the empty groups.
        for slot in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
            write_elem(file, slot, {})
    return nonzeros


def tables(counts: Counts) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables obs and var."""
    rng = np.random.default_rng((counts.seed, counts.n_cells))
    n_cells, n_genes = counts.n_cells, counts.n_genes
    letters = rng.choice(list("ACGT"), (n_cells, 12))
    obs = pd.DataFrame(
        {
            "batch": pd.Categorical(rng.choice(["b1", "b2", "b3"], n_cells)),
            "cell_type": pd.Categorical(rng.choice([f"type {i}" for i in range(40)], n_cells)),
            "pct_mt": rng.random(n_cells, np.float32),
            "is_doublet": rng.random(n_cells) < 0.05,  # noqa: PLR2004 - a usual rate of doublets
        },
        index=pd.Index([f"{''.join(cell)}-{i}" for i, cell in enumerate(letters)]),
    )
    var = pd.DataFrame(
        {
            "gene_symbol": [f"GENE{i}" for i in range(n_genes)],
            "feature_types": pd.Categorical(["Gene Expression"] * n_genes),
        },
        index=pd.Index([f"ENSG{i:011d}" for i in range(n_genes)]),
    )
    return obs, var


def _compression(counts: Counts) -> dict[str, str]:
    return {"compression": "gzip"} if counts.compressed else {}


def _write_rows(file: h5py.File, counts: Counts) -> int:
    return _write_sparse(file, "csr_matrix", counts, blocks(counts))


def _write_columns(file: h5py.File, counts: Counts) -> int:
    """Write the blocks to a temporary file, and collect each band of genes from it."""
    with (
        TemporaryDirectory(dir=Path(file.filename).parent) as folder,
        h5py.File(Path(folder) / "blocks.h5", "w") as scratch,
    ):
        n_blocks = 0
        for block in blocks(counts):
            by_gene = sp.csc_matrix(block)
            for name in ("indptr", "indices", "data"):
                scratch[f"{n_blocks}/{name}"] = getattr(by_gene, name)
            scratch[str(n_blocks)].attrs["n_cells"] = block.shape[0]
            n_blocks += 1
        bands = (
            sp.vstack(
                [
                    _genes_of(scratch[str(number)], start, min(start + _BAND, counts.n_genes))
                    for number in range(n_blocks)
                ],
                format="csc",
            )
            for start in range(0, counts.n_genes, _BAND)
        )
        return _write_sparse(file, "csc_matrix", counts, bands)


def _genes_of(block: h5py.Group, start: int, stop: int) -> sp.csc_matrix:
    indptr = block["indptr"][start : stop + 1]
    entries = slice(indptr[0], indptr[-1])
    shape = (block.attrs["n_cells"], stop - start)
    content = (block["data"][entries], block["indices"][entries], indptr - indptr[0])
    return sp.csc_matrix(content, shape=shape)


def _write_sparse(
    file: h5py.File,
    encoding: str,
    counts: Counts,
    pieces: Iterable[sp.csr_matrix | sp.csc_matrix],
) -> int:
    group = file.create_group("X")
    shape = (counts.n_cells, counts.n_genes)
    group.attrs.update({"encoding-type": encoding, "encoding-version": "0.1.0", "shape": shape})
    lengths = []
    with (
        Column(group, "data", np.float32, compressed=counts.compressed) as data,
        Column(group, "indices", np.int32, compressed=counts.compressed) as indices,
    ):
        for piece in pieces:
            lengths.append(np.diff(piece.indptr))
            data.append(piece.data)
            indices.append(piece.indices)
    indptr = np.concatenate([[0], np.cumsum(np.concatenate(lengths), dtype=np.int64)])
    # As scipy writes it: one width for all, 64 bits only if 32 do not suffice.
    narrow = indptr[-1] <= np.iinfo(np.int32).max
    group.create_dataset(
        "indptr", data=indptr.astype(np.int32) if narrow else indptr, **_compression(counts)
    )
    return int(indptr[-1])


def _write_dense(file: h5py.File, counts: Counts) -> int:
    shape = (counts.n_cells, counts.n_genes)
    x = file.create_dataset("X", shape, np.float32, chunks=True, **_compression(counts))
    x.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    start = nonzeros = 0
    for block in blocks(counts):
        stop = start + block.shape[0]
        x[start:stop] = block.toarray()
        start = stop
        nonzeros += block.nnz
    return nonzeros


_WRITERS: dict[Layout, Callable[[h5py.File, Counts], int]] = {
    "csr": _write_rows,
    "csc": _write_columns,
    "dense": _write_dense,
}
