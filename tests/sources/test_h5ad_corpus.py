"""Every h5ad of the corpus: converted exactly, in each of its matrices, or refused by name."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import anndata
import pandas as pd
import pytest

import slaf
from slaf.errors import DamagedInput, MissingMatrix
from slaf.options import ReadOptions
from slaf.sources import open_source
from tests.builders import assert_same_matrix

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.corpus

# All that are not converted as they are, and the words that name the cause.
REFUSED = {
    "anndata_archive_v0.11.4/adata.h5ad": (MissingMatrix, "there is no matrix 'X'"),
    "scp_bad_h5/bad.h5": (DamagedInput, "truncated file"),
    "soma_x_none/x-none.h5ad": (MissingMatrix, "there is no matrix 'X'"),
}
N_FILES = 33
# Those with raw or layers.
N_WITH_OTHERS = 14


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
    return adata.layers[matrix.removeprefix("layer:")], adata.var


def test_every_file_is_converted_or_refused_by_name(
    corpus: Path, converted_corpus: dict[Path, Path], tmp_path: Path
) -> None:
    """The files that are refused are those that are listed, and nothing is left of them."""
    found = inputs(corpus)
    assert len(found) == N_FILES
    assert {name for name, path in found.items() if path not in converted_corpus} == set(REFUSED)
    for name, (kind, cause) in REFUSED.items():
        with pytest.raises(kind) as caught:
            slaf.convert(found[name], tmp_path / "out.slaf")
        assert cause in str(caught.value)
        assert name in str(caught.value)
        assert not (tmp_path / "out.slaf").exists()


@pytest.mark.parametrize("number", [1, pytest.param(None, marks=pytest.mark.slow)])
def test_each_other_matrix_verifies_against_its_file(
    number: int | None, converted_corpus: dict[Path, Path], tmp_path: Path
) -> None:
    """Raw and every layer convert, verify without a difference, and are what anndata reads.

    In the short form one of each file. X, with all else, is compared in tests/laws/test_whole.py.
    """
    checked = 0
    for path in converted_corpus:
        for matrix in [one for one in matrices(path) if one != "X"][:number]:
            output = tmp_path / f"{path.parent.name}-{matrix}".replace("/", "-")
            dataset = slaf.convert(path, output, matrix=matrix)
            assert slaf.verify(dataset, path).ok
            adata = read(path)
            expected, var = matrix_of(adata, matrix)
            assert_same_matrix(dataset.X.to_memory(), expected)
            pd.testing.assert_frame_equal(dataset.obs, adata.obs)
            pd.testing.assert_frame_equal(dataset.var, var)
            assert (dataset.obs.index.name, dataset.var.index.name) == (
                adata.obs.index.name,
                var.index.name,
            )
            checked += 1
    assert checked >= N_WITH_OTHERS


@pytest.mark.parametrize("matrix", ["raw", "layer:counts"])
def test_a_matrix_that_is_not_there_is_refused_with_those_that_are(
    corpus: Path, matrix: str
) -> None:
    """Asking for what a file does not have lists what it has."""
    path = inputs(corpus)["pbmc3k_counts/pbmc3k_counts.h5ad"]
    with pytest.raises(MissingMatrix, match=r"choose one with --matrix: X, layer:log1p"):
        open_source(path, options=ReadOptions(matrix=matrix))
