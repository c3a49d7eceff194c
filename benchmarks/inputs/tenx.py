"""Counts as Cell Ranger writes them: an H5 file, or a folder with a compressed matrix."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pyarrow as pa
from pyarrow import csv

from benchmarks.inputs.column import Column
from benchmarks.inputs.counts import blocks, in_threads
from benchmarks.inputs.h5ad import tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import scipy.sparse as sp

    from benchmarks.inputs.counts import Counts

__all__ = ["write_h5", "write_mtx"]

_KIND, _GENOME = "Gene Expression", "GRCh38"
_LEVEL = 6


def write_h5(path: Path, counts: Counts) -> int:
    """Write a feature-barcode matrix of Cell Ranger 3 and later; its number of nonzeros."""
    obs, var = tables(counts)
    with h5py.File(path, "w") as file:
        matrix = file.create_group("matrix")
        lengths = []
        with (
            Column(matrix, "data", np.int32, compressed=True) as data,
            Column(matrix, "indices", np.int64, compressed=True) as indices,
        ):
            for block in blocks(counts):
                lengths.append(np.diff(block.indptr))
                data.append(block.data)
                indices.append(block.indices)
        indptr = np.concatenate([[0], np.cumsum(np.concatenate(lengths), dtype=np.int64)])
        matrix["indptr"] = indptr
        matrix["shape"] = np.array([counts.n_genes, counts.n_cells], np.int32)
        matrix["barcodes"] = _bytes(obs.index)
        features = matrix.create_group("features")
        features["id"], features["name"] = _bytes(var.index), _bytes(var["gene_symbol"])
        features["feature_type"] = _bytes([_KIND] * counts.n_genes)
        features["genome"] = _bytes([_GENOME] * counts.n_genes)
        features["_all_tag_keys"] = _bytes(["genome"])
    return int(indptr[-1])


def write_mtx(path: Path, counts: Counts) -> int:
    """Write a folder with `matrix.mtx.gz`, in cell order; its number of nonzeros."""
    obs, var = tables(counts)
    path.mkdir()
    symbols = zip(var.index, var["gene_symbol"], strict=True)
    features = "".join(f"{gene}\t{symbol}\t{_KIND}\n" for gene, symbol in symbols)
    barcodes = "".join(f"{cell}\n" for cell in obs.index)
    for name, text in (("features", features), ("barcodes", barcodes)):
        with gzip.open(path / f"{name}.tsv.gz", "wb") as table:
            table.write(text.encode())
    # The header has the number of entries, so they are drawn twice.
    nonzeros = sum(block.nnz for block in blocks(counts))
    sizes = f"{counts.n_genes} {counts.n_cells} {nonzeros}"
    # One gzip stream, as from Cell Ranger.
    with gzip.open(path / "matrix.mtx.gz", "wb", _LEVEL) as matrix:
        matrix.write(f"%%MatrixMarket matrix coordinate integer general\n{sizes}\n".encode())
        for text in in_threads(_as_text, _with_starts(counts)):
            matrix.write(text)
    return nonzeros


def _with_starts(counts: Counts) -> Iterator[tuple[int, sp.csr_matrix]]:
    start = 0
    for block in blocks(counts):
        yield start, block
        start += block.shape[0]


def _as_text(start_and_block: tuple[int, sp.csr_matrix]) -> pa.Buffer:
    start, block = start_and_block
    cells = np.repeat(np.arange(start + 1, start + 1 + block.shape[0]), np.diff(block.indptr))
    columns = [block.indices + 1, cells, block.data.astype(np.int32)]
    lines = pa.BufferOutputStream()
    options = csv.WriteOptions(include_header=False, delimiter=" ")
    csv.write_csv(pa.table(columns, ["gene", "cell", "count"]), lines, options)
    return lines.getvalue()


def _bytes(texts: Iterable[str]) -> np.ndarray[tuple[int, ...], np.dtype[np.bytes_]]:
    return np.array(list(texts), dtype="S")
