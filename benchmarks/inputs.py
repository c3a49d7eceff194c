"""Files to measure with: counts as a droplet experiment has them, of any size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.io import write_elem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ["FOLDER", "Counts", "Layout", "blocks", "written"]

Layout = Literal["csr", "csc", "dense"]

FOLDER = Path(__file__).parents[1] / "build" / "bench"
# Cells drawn at a time, and genes put into columns at a time.
_BLOCK = 500
_BAND = 500
# What h5py chooses for columns of this size; chosen here so that it is the same for all sizes.
_CHUNK = 1 << 15
_WRITE_CACHE = 64 << 20


@dataclass(frozen=True, slots=True)
class Counts:
    """Which counts; the same ones give the same file, whatever its layout.

    Attributes
    ----------
    n_cells, n_genes
        The shape.
    layout
        How the file holds X.
    depth
        The median number of molecules of a cell.
    seed
        Of all that is random.
    """

    n_cells: int
    n_genes: int = 30_000
    layout: Layout = "csr"
    depth: float = 6_000.0
    seed: int = 3

    @property
    def name(self) -> str:
        """What a file of them is called."""
        return f"{self.layout}-{self.n_cells}x{self.n_genes}-{self.depth:g}-{self.seed}.h5ad"


def blocks(counts: Counts) -> Iterator[sp.csr_matrix]:
    """The matrix, some cells at a time: Poisson draws of depth × abundance.

    Depth and abundance are log-normal, and abundances vary by a gamma factor from block to
    block: about 2,500 of 30,000 genes are found in a cell, mostly once, a few a thousand times.
    """
    abundance = np.random.default_rng(counts.seed).lognormal(0, 2.2, counts.n_genes)
    abundance /= abundance.sum()
    for number, start in enumerate(range(0, counts.n_cells, _BLOCK)):
        rng = np.random.default_rng((counts.seed, number))
        depth = rng.lognormal(np.log(counts.depth), 0.4, min(_BLOCK, counts.n_cells - start))
        expected = np.outer(depth, abundance * rng.gamma(2.0, 0.5, counts.n_genes))
        yield sp.csr_matrix(rng.poisson(expected).astype(np.float32))


def written(counts: Counts, folder: Path = FOLDER) -> Path:
    """The file of these counts, made unless it is there; at no time is all of it in memory."""
    path = folder / counts.name
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    with h5py.File(unfinished, "w", rdcc_nbytes=_WRITE_CACHE) as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        _WRITERS[counts.layout](file, counts)
        _write_tables(file, counts)
    unfinished.replace(path)
    return path


def _write_rows(file: h5py.File, counts: Counts) -> None:
    columns = _Columns(file, "csr_matrix", counts, counts.n_cells)
    for block in blocks(counts):
        columns.append(block)
    columns.close()


def _write_columns(file: h5py.File, counts: Counts) -> None:
    """The blocks go to a file of their own first, from which each band of genes is collected."""
    scratch_path = Path(f"{file.filename}.scratch")
    columns = _Columns(file, "csc_matrix", counts, counts.n_genes)
    with h5py.File(scratch_path, "w") as scratch:
        n_blocks = 0
        for block in blocks(counts):
            by_gene = sp.csc_matrix(block)
            for name in ("indptr", "indices", "data"):
                scratch[f"{n_blocks}/{name}"] = getattr(by_gene, name)
            scratch[str(n_blocks)].attrs["n_cells"] = block.shape[0]
            n_blocks += 1
        for start in range(0, counts.n_genes, _BAND):
            stop = min(start + _BAND, counts.n_genes)
            band = [_genes_of(scratch[str(number)], start, stop) for number in range(n_blocks)]
            columns.append(sp.vstack(band, format="csc"))
    scratch_path.unlink()
    columns.close()


def _genes_of(block: h5py.Group, start: int, stop: int) -> sp.csc_matrix:
    indptr = block["indptr"][start : stop + 1]
    entries = slice(indptr[0], indptr[-1])
    shape = (block.attrs["n_cells"], stop - start)
    content = (block["data"][entries], block["indices"][entries], indptr - indptr[0])
    return sp.csc_matrix(content, shape=shape)


def _write_dense(file: h5py.File, counts: Counts) -> None:
    shape = (counts.n_cells, counts.n_genes)
    x = file.create_dataset("X", shape, np.float32, chunks=True, compression="gzip")
    x.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    start = 0
    for block in blocks(counts):
        stop = start + block.shape[0]
        x[start:stop] = block.toarray()
        start = stop


_WRITERS: dict[Layout, Callable[[h5py.File, Counts], None]] = {
    "csr": _write_rows,
    "csc": _write_columns,
    "dense": _write_dense,
}


class _Columns:
    """The three columns of a sparse X, written piece by piece."""

    def __init__(self, file: h5py.File, encoding: str, counts: Counts, n_major: int) -> None:
        self._group = file.create_group("X")
        shape = (counts.n_cells, counts.n_genes)
        self._group.attrs.update(
            {"encoding-type": encoding, "encoding-version": "0.1.0", "shape": shape}
        )
        self._indptr = np.zeros(n_major + 1, np.int64)
        self._done = 0
        for name, dtype in (("data", np.float32), ("indices", np.int32)):
            self._group.create_dataset(
                name, (0,), dtype, maxshape=(None,), chunks=(_CHUNK,), compression="gzip"
            )

    def append(self, piece: sp.csr_matrix | sp.csc_matrix) -> None:
        n_major = len(piece.indptr) - 1
        before = int(self._indptr[self._done])
        self._indptr[self._done + 1 : self._done + 1 + n_major] = before + piece.indptr[1:]
        self._done += n_major
        self._extend("data", piece.data)
        self._extend("indices", piece.indices)

    def close(self) -> None:
        # As scipy has it: it mixes no widths, and takes 64 bits where 32 do not do.
        narrow = self._indptr[-1] <= np.iinfo(np.int32).max
        indptr = self._indptr.astype(np.int32) if narrow else self._indptr
        self._group.create_dataset("indptr", data=indptr, compression="gzip")

    def _extend(self, name: str, values: NDArray[np.generic]) -> None:
        column = self._group[name]
        before = len(column)
        column.resize((before + len(values),))
        column[before:] = values


def _write_tables(file: h5py.File, counts: Counts) -> None:
    rng = np.random.default_rng((counts.seed, counts.n_cells))
    n_cells, n_genes = counts.n_cells, counts.n_genes
    letters = rng.choice(list("ACGT"), (n_cells, 12))
    obs = pd.DataFrame(
        {
            "batch": pd.Categorical(rng.choice(["b1", "b2", "b3"], n_cells)),
            "cell_type": pd.Categorical(rng.choice([f"type {i}" for i in range(40)], n_cells)),
            "pct_mt": rng.random(n_cells, np.float32),
            "is_doublet": rng.random(n_cells) < 0.05,  # noqa: PLR2004 - as doublets go
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
    for name, table in (("obs", obs), ("var", var)):
        write_elem(file, name, table, dataset_kwargs={"compression": "gzip"})
