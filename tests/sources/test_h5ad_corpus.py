"""Every h5ad of the corpus: converted exactly, in each of its matrices, or refused by name."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest

import slaf
from slaf.errors import DamagedInput, MissingMatrix
from slaf.options import ReadOptions
from slaf.sources import open_source

if TYPE_CHECKING:
    from pathlib import Path

    import scipy.sparse as sp

pytestmark = pytest.mark.corpus

# All that are not converted as they are, and the words that name the cause.
REFUSED = {
    "anndata_archive_v0.11.4/adata.h5ad": (MissingMatrix, "there is no matrix 'X'"),
    "scp_bad_h5/bad.h5": (DamagedInput, "truncated file"),
    "soma_x_none/x-none.h5ad": (MissingMatrix, "there is no matrix 'X'"),
}
N_FILES = 33


def inputs(corpus: Path) -> dict[str, Path]:
    """The files by folder and name."""
    folder = corpus / "h5ad"
    found = sorted(folder.glob("*/*.h5*"))
    return {path.relative_to(folder).as_posix(): path for path in found}


def matrices(path: Path) -> tuple[str, ...]:
    """The names of the matrices of a file."""
    with open_source(path) as source:
        return source.info.matrices


def read(path: Path) -> anndata.AnnData:
    """As anndata reads it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return anndata.read_h5ad(path)


def matrix_of(adata: anndata.AnnData, matrix: str) -> tuple[Any, pd.DataFrame]:
    """A matrix and the table of its genes."""
    if matrix == "raw":
        return adata.raw.X, adata.raw.var
    if matrix == "X":
        return adata.X, adata.var
    return adata.layers[matrix.removeprefix("layer:")], adata.var


def assert_same_matrix(found: sp.csr_matrix, expected: Any) -> None:
    """Equal in type and in every value, NaN included."""
    assert found.dtype == expected.dtype
    dense = expected.toarray() if hasattr(expected, "toarray") else np.asarray(expected)
    np.testing.assert_array_equal(found.toarray(), dense)


def test_every_file_is_converted_or_refused_by_name(corpus: Path, tmp_path: Path) -> None:
    """The files that are refused are those that are listed, and nothing is left of them."""
    refused = {}
    for name, path in inputs(corpus).items():
        output = tmp_path / name.replace("/", "-")
        try:
            slaf.convert(path, output)
        except slaf.InputError as error:
            refused[name] = error
            assert not output.exists()
    assert len(inputs(corpus)) == N_FILES
    assert set(refused) == set(REFUSED)
    for name, (kind, cause) in REFUSED.items():
        assert isinstance(refused[name], kind)
        assert cause in str(refused[name])
        assert name in str(refused[name])


def test_each_matrix_verifies_against_its_file(corpus: Path, tmp_path: Path) -> None:
    """X, raw and every layer convert, verify without a difference, and are what anndata reads."""
    checked = 0
    for name, path in inputs(corpus).items():
        if name in REFUSED:
            continue
        adata = read(path)
        for matrix in matrices(path):
            output = tmp_path / f"{name}-{matrix}".replace("/", "-")
            dataset = slaf.convert(path, output, matrix=matrix)
            assert slaf.verify(dataset, path).ok
            expected, var = matrix_of(adata, matrix)
            assert_same_matrix(dataset.read(), expected)
            pd.testing.assert_frame_equal(dataset.obs, adata.obs)
            pd.testing.assert_frame_equal(dataset.var, var)
            assert (dataset.obs.index.name, dataset.var.index.name) == (
                adata.obs.index.name,
                var.index.name,
            )
            checked += 1
    assert checked > N_FILES


@pytest.mark.parametrize("matrix", ["raw", "layer:counts"])
def test_a_matrix_that_is_not_there_is_refused_with_those_that_are(
    corpus: Path, matrix: str
) -> None:
    """Asking for what a file does not have lists what it has."""
    path = inputs(corpus)["pbmc3k_counts/pbmc3k_counts.h5ad"]
    with pytest.raises(MissingMatrix, match=r"choose one with --matrix: X, layer:log1p"):
        open_source(path, options=ReadOptions(matrix=matrix))
