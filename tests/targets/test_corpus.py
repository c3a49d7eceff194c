"""Every input of the corpus that converts comes out again as it went in."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy

import slaf
from slaf.errors import InputError
from slaf.sources import open_source
from tests.targets.checks import entries

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.corpus

_TENX = {
    "10x_h5/scanpy_cr3.0/filtered_feature_bc_matrix.h5": scanpy.read_10x_h5,
    "10x_h5/scp_jl_adt_rna/GSE164378_RNA_ADT_3P_P1_subsetted.h5": scanpy.read_10x_h5,
    "10x_mtx/msti_visium/filtered_feature_bc_matrix": scanpy.read_10x_mtx,
    "10x_mtx/scanpy_v3/filtered_feature_bc_matrix": scanpy.read_10x_mtx,
}


def read(reader: Callable[..., anndata.AnnData], path: Path, **options: Any) -> anndata.AnnData:
    """What others read, without what they say of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return reader(path, **options)


def matrix_of(path: Path) -> str | None:
    """The matrix of a file that is taken: X, or the first there is; None if it is refused."""
    try:
        with open_source(path) as source:
            names = source.matrices()
    except InputError:
        return None
    return "X" if "X" in names else names[0]


def test_every_h5ad(corpus: Path, tmp_path: Path) -> None:
    """X, obs and var of each h5ad are read by anndata as they are read of the file it came from."""
    checked = 0
    for path in sorted((corpus / "h5ad").glob("*/*.h5*")):
        matrix = matrix_of(path)
        if matrix is None:
            continue
        name = f"{path.parent.name}-{path.name}"
        dataset = slaf.convert(path, tmp_path / f"{name}.slaf", matrix=matrix)
        layout = "csc" if checked % 2 else "csr"
        output = tmp_path / f"{name}.h5ad"
        made = slaf.export(dataset, output, layout=layout, memory=1 << 20)
        assert made.left_out == (), name
        found, source = read(anndata.read_h5ad, output), read(anndata.read_h5ad, path)
        expected = source.X
        assert found.X.dtype == expected.dtype, name
        dense = expected.toarray() if hasattr(expected, "toarray") else np.asarray(expected)
        np.testing.assert_array_equal(found.X.toarray(), dense)
        for one, other in ((found.obs, source.obs), (found.var, source.var)):
            pd.testing.assert_frame_equal(one, other)
            assert one.index.name == other.index.name
        with h5py.File(output) as file:
            assert file["X"].attrs["encoding-type"] == f"{layout}_matrix"
        assert slaf.diff(dataset, output).ok, name
        checked += 1
    assert checked == 30


@pytest.mark.parametrize("name", _TENX)
def test_10x_as_scanpy_reads_it(name: str, corpus: Path, tmp_path: Path) -> None:
    """Scanpy reads the same of an export as of the input, features and types too."""
    path, reader = corpus / name, _TENX[name]
    dataset = slaf.convert(path, tmp_path / "in.slaf")
    is_file = path.is_file()
    output = tmp_path / ("out.h5" if is_file else "out")
    slaf.export(dataset, output, format="10x_h5" if is_file else "10x_mtx")
    found, expected = (read(reader, place, gex_only=False) for place in (output, path))
    assert entries(found.X) == entries(expected.X)
    assert list(found.obs_names) == list(expected.obs_names)
    for frame in (found.var, expected.var):
        frame.columns = frame.columns.astype(object)
    pd.testing.assert_frame_equal(
        found.var.sort_index(axis=1), expected.var.sort_index(axis=1), check_names=False
    )
