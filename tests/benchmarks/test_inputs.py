"""The inputs of benchmarks: the same counts, whatever the format."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anndata
import h5py
import numpy as np
import pytest
import scipy.sparse as sp

import slaf
from benchmarks.inputs import Counts, Input, blocks, cached_input
from benchmarks.inputs.column import Column

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.inputs import Kind

# Of two blocks, the second one not whole.
COUNTS = Counts(620, n_genes=80, depth=60.0)


def drawn(counts: Counts) -> sp.csr_matrix:
    """The whole matrix."""
    return sp.csr_matrix(sp.vstack(list(blocks(counts))))


def same(one: sp.csr_matrix, other: sp.csr_matrix) -> bool:
    """Whether both hold the same numbers."""
    return np.array_equal(one.toarray(), other.toarray())


def test_few_cells_are_the_first_of_many() -> None:
    """How many cells are drawn does not change those that are."""
    many = drawn(COUNTS)
    assert same(drawn(replace(COUNTS, n_cells=130)), many[:130])
    assert many.has_canonical_format
    assert many.data.min() >= 1


def test_counts_are_poisson_draws_of_depth_and_abundance() -> None:
    """Rare genes and common ones, drawn in different ways, have the variance of their mean."""
    counts = Counts(500, n_genes=400, depth=200.0)
    matrix = drawn(counts)
    totals = np.asarray(matrix.sum(axis=1)).ravel()
    expected = np.outer(totals, np.asarray(matrix.sum(axis=0)).ravel()) / totals.sum()
    rare = np.asarray(matrix.sum(axis=0)).ravel() < counts.n_cells
    for genes in (rare, ~rare):
        chosen = expected[:, genes]
        spread = ((matrix.toarray()[:, genes] - chosen) ** 2).sum() / chosen.sum()
        assert spread == pytest.approx(1, abs=0.1)
    # The depths are log-normal around the median.
    assert np.median(totals) == pytest.approx(counts.depth, rel=0.25)


@pytest.mark.parametrize(
    "counts",
    [
        COUNTS,
        replace(COUNTS, compressed=False),
        replace(COUNTS, layout="csc"),
        replace(COUNTS, layout="dense"),
        replace(COUNTS, normalised=True),
    ],
    ids=lambda counts: counts.name,
)
def test_every_h5ad_holds_the_same_counts(counts: Counts, tmp_path: Path) -> None:
    """An h5ad file of any layout and packing is read by anndata, and is made once."""
    made = cached_input(Input(counts), tmp_path)
    expected = drawn(replace(COUNTS, normalised=counts.normalised))
    adata = anndata.read_h5ad(made.path)
    assert same(sp.csr_matrix(adata.X), expected)
    assert made.nonzeros == expected.nnz
    stamp = made.path.stat().st_mtime_ns
    assert cached_input(Input(counts), tmp_path) == made
    assert made.path.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("kind", ["10x H5", "10x MTX", "SOMA", "zarr", "MuData", "loom"])
def test_every_format_holds_the_same_counts(kind: Kind, tmp_path: Path) -> None:
    """A 10x file or folder and an experiment hold the counts and ids of the h5ad file."""
    made = cached_input(Input(COUNTS, kind), tmp_path)
    dataset = slaf.convert(made.path, tmp_path / "made.slaf")
    adata = anndata.read_h5ad(cached_input(Input(COUNTS), tmp_path).path)
    assert same(dataset.X.to_memory(), sp.csr_matrix(adata.X))
    assert list(dataset.obs.index) == list(adata.obs_names)
    assert list(dataset.var.index) == list(adata.var_names)
    assert made.nonzeros == dataset.nnz


def test_what_a_stopped_run_left_is_made_anew(tmp_path: Path) -> None:
    """A file without its note is not taken for whole."""
    path = cached_input(Input(COUNTS), tmp_path).path
    path.with_name(f"{path.name}.json").unlink()
    path.write_bytes(b"half")
    assert anndata.read_h5ad(cached_input(Input(COUNTS), tmp_path).path).n_obs == COUNTS.n_cells


@pytest.mark.parametrize("compressed", [True, False])
def test_a_column_is_the_same_however_it_is_cut(compressed: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """Pieces of any size make the dataset that h5py reads as the values in order."""
    values = np.arange(100_000, dtype=np.int32) % 977
    with h5py.File(tmp_path / "column.h5", "w") as file:
        with Column(file, "column", np.int32, compressed=compressed) as column:
            for piece in np.split(values, [0, 1, 40_000, 70_001, 99_999]):
                column.append(piece)
        assert (file["column"][:] == values).all()
        assert file["column"].compression == ("gzip" if compressed else None)
