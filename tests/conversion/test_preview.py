"""A preview says what the conversion then does, and how much it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

import slaf
from slaf.options import Compression
from tests.builders import counts, write_h5ad

if TYPE_CHECKING:
    from pathlib import Path


def logarithms() -> sp.csr_matrix:
    """What normalised counts look like."""
    matrix = counts(200, 1000)
    matrix.data = np.log1p(matrix.data * np.random.default_rng(0).random(len(matrix.data)))
    return matrix


@pytest.mark.parametrize(
    "matrix",
    [counts(200, 1000), logarithms(), sp.csc_matrix(counts(200, 1000)), logarithms().toarray()],
    ids=["counts", "logarithms", "columns", "dense"],
)
@pytest.mark.parametrize("options", [{}, {"chunk_size": 30}, {"compression": "small"}], ids=str)
def test_it_says_what_is_done(matrix: Any, options: dict[str, Any], tmp_path: Path) -> None:
    """Type, parts, entries and shape are those of the conversion that follows."""
    source = write_h5ad(tmp_path / "in.h5ad", matrix)
    preview = slaf.convert(source, tmp_path / "out.slaf", **options, dry_run=True)
    ds = slaf.convert(source, tmp_path / "out.slaf", **options)
    assert preview.value_type == ds.published.value_type
    about = 0 if preview.size.exact else 0.1
    assert preview.size.entries == pytest.approx(ds.nnz, rel=about)
    assert preview.parts == len(ds.expression.get_fragments())
    assert preview.sources == ds.sources


@pytest.mark.parametrize("compression", get_args(Compression))
@pytest.mark.parametrize("kind", ["counts", "fractions"])
def test_the_size_is_about_right(kind: str, compression: Compression, tmp_path: Path) -> None:
    """The expected bytes are within a half of what the table takes, and it takes the least."""
    matrix = counts(300, 8000)
    values = 1 + np.random.default_rng(0).poisson(1.0, matrix.nnz).astype(np.float32)
    # In each cell the logarithms are other numbers.
    depths = np.repeat(np.linspace(1, 2, 300), np.diff(matrix.indptr))
    matrix.data = values if kind == "counts" else np.log1p(values * depths).astype(np.float32)
    adata = anndata.AnnData(matrix)
    expected = slaf.convert(
        adata, tmp_path / "out.slaf", compression=compression, dry_run=True
    ).estimate
    slaf.convert(adata, tmp_path / "out.slaf", compression=compression)
    files = (tmp_path / "out.slaf" / "expression.lance").rglob("*")
    size = sum(file.stat().st_size for file in files if file.is_file())
    assert 0.5 < expected.bytes / size < 1.5
    assert expected.least_bytes < size


def test_what_packs_far_better_is_not_refused(tmp_path: Path) -> None:
    """The least that a conversion is said to take is less than what the best of cases takes."""
    adata = anndata.AnnData(sp.csr_matrix(np.ones((2000, 500), np.float32)))
    for compression in get_args(Compression):
        path = tmp_path / f"{compression}.slaf"
        expected = slaf.convert(adata, path, compression=compression, dry_run=True).estimate
        slaf.convert(adata, path, compression=compression)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        assert expected.least_bytes < size


def test_nothing_is_written(tmp_path: Path) -> None:
    """A preview leaves the disk as it was, the scratch directory too."""
    source = write_h5ad(tmp_path / "in.h5ad", sp.csc_matrix(counts(30, 10)))
    preview = slaf.convert(source, tmp_path / "made" / "out.slaf", dry_run=True)
    assert preview.estimate.scratch == 8 * preview.size.entries
    assert [path.name for path in tmp_path.iterdir()] == ["in.h5ad"]
