"""Every slot of an AnnData in every target."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import tiledbsoma
import tiledbsoma.io

from slaf.options import ArrayCompression, Layout
from slaf.runtime.progress import NullProgress
from slaf.sparse.batch import Batch
from slaf.sparse.ranges import RowRange
from slaf.targets import FORMATS
from slaf.targets.base import WriteOptions
from slaf.targets.contents import Contents
from tests.builders import counts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slaf.targets.base import Target

N_CELLS, N_GENES, N_RAW = 40, 12, 20
BY_NAME = {format.name: format for format in FORMATS}


def whole() -> anndata.AnnData:
    """An AnnData with every slot filled."""
    raw = counts(N_CELLS, N_RAW, seed=1)
    adata = anndata.AnnData(counts(N_CELLS, N_GENES), layers={"half": counts(N_CELLS, N_GENES) / 2})
    adata.obs_names = [f"cell-{number}" for number in range(N_CELLS)]
    adata.var_names = [f"gene-{number}" for number in range(N_GENES)]
    adata.layers["whole"] = counts(N_CELLS, N_GENES, seed=2).astype(np.int64)
    loadings = np.arange(2.0 * N_RAW).reshape(N_RAW, 2)
    adata.raw = anndata.AnnData(raw, obs=adata.obs, varm={"loadings": loadings})
    rng = np.random.default_rng(0)
    adata.obsm["X_pca"] = rng.random((N_CELLS, 3))
    adata.varm["PCs"] = rng.random((N_GENES, 3)).astype(np.float32)
    adata.obsp["near"] = counts(N_CELLS, N_CELLS)
    adata.varp["near"] = counts(N_GENES, N_GENES)
    adata.uns["n"] = 3
    return adata


@dataclass(frozen=True)
class InMemory:
    """A matrix in memory as an export reads it."""

    stored: sp.csr_matrix
    is_counted: bool = True

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""
        n_cells, n_genes = self.stored.shape
        return n_cells, n_genes

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its values."""
        return np.dtype(self.stored.dtype)

    value_type = dtype

    @property
    def n_entries(self) -> int:
        """Number of entries."""
        return int(self.stored.nnz)

    def batches(self) -> Iterator[Batch]:
        """All cells."""
        counts, genes = np.diff(self.stored.indptr), self.stored.indices.astype(np.uint32)
        yield Batch(RowRange(0, self.shape[0]), counts.astype(np.int64), genes, self.stored.data)


def contents_of(adata: anndata.AnnData) -> Contents:
    """All of an AnnData, as a dataset gives it to a target."""
    slots = {"X": adata.X, "raw/X": adata.raw.X}
    slots |= {f"layers/{name}": layer for name, layer in adata.layers.items() if name is not None}
    elements = {"obs": adata.obs, "var": adata.var, "raw/var": adata.raw.var}
    dictionaries = {
        name: dict(getattr(adata, name)) for name in ("obsm", "varm", "obsp", "varp", "uns")
    }
    dictionaries["raw/varm"] = dict(adata.raw.varm)
    return Contents(
        {slot: InMemory(sp.csr_matrix(x)) for slot, x in slots.items()}, elements | dictionaries
    )


def target(
    name: str,
    adata: anndata.AnnData,
    folder: Path,
    layout: Layout = "csr",
    compression: ArrayCompression = "gzip",
) -> Target:
    """The target of an AnnData in a format."""
    options = WriteOptions(layout, compression, 1 << 12, folder)
    return BY_NAME[name].open(contents_of(adata), options)


def assert_equal(result: Any, expected: Any) -> None:
    """Compare two elements: frames, sparse and dense matrices, and dictionaries of them."""
    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(result, expected)
    elif isinstance(expected, dict):
        assert result.keys() == expected.keys()
        for name, value in expected.items():
            assert_equal(result[name], value)
    elif hasattr(expected, "toarray"):
        assert result.dtype == expected.dtype
        np.testing.assert_array_equal(result.toarray(), expected.toarray())
    else:
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("compression", get_args(ArrayCompression))
@pytest.mark.parametrize("layout", get_args(Layout))
@pytest.mark.parametrize("name", ["h5ad", "zarr"])
def test_anndata_holds_every_slot(
    name: str, layout: Layout, compression: ArrayCompression, tmp_path: Path
) -> None:
    """Layers, raw, obsm, varm, obsp, varp and uns are read back unchanged."""
    if compression not in BY_NAME[name].compressions:
        return
    adata = whole()
    adata.obsm["frame"] = pd.DataFrame({"a": range(N_CELLS)}, index=adata.obs_names)
    adata.obsm["sparse"] = counts(N_CELLS, 5)
    adata.uns["deep"] = {"er": {"frame": pd.DataFrame({"x": ["a", "b"]}, index=["0", "1"])}}
    adata.uns["texts"] = np.array(["a", "b"], object)
    adata.uns |= {"text": "a", "number": 0.5, "flag": True, "none": None, "empty": np.empty(0)}
    written = target(name, adata, tmp_path, layout, compression)
    assert written.left_out == ()
    output = tmp_path / f"out.{name}"
    written.write(output, NullProgress())
    result = (anndata.read_h5ad if name == "h5ad" else anndata.read_zarr)(output)
    assert_equal(result.X, adata.X)
    assert_equal(result.raw.X, adata.raw.X)
    assert_equal(result.raw.var, adata.raw.var)
    assert_equal(dict(result.raw.varm), dict(adata.raw.varm))
    assert result.layers["half"].format == layout
    for slot in ("layers", "obsm", "varm", "obsp", "varp", "uns"):
        assert_equal(dict(getattr(result, slot)), dict(getattr(adata, slot)))


@pytest.mark.parametrize("name", ["h5ad", "zarr"])
def test_values_that_anndata_cannot_write(name: str, tmp_path: Path) -> None:
    """A value that anndata cannot write is left out and reported, and no other."""
    adata = whole()
    adata.uns["deep"] = {"set": {1, 2}, "kept": 1, "a/b": 2}
    adata.obsm["frame"] = pd.DataFrame(
        {"when": pd.to_datetime(["2020-01-01"] * N_CELLS), "n": 1}, index=adata.obs_names
    )
    written = target(name, adata, tmp_path)
    assert written.left_out == (
        "obsm['frame']['when'] (datetime64[ns]) is left out",
        "uns['deep']['set'] (set) is left out",
        "uns['deep']['a/b'] (int) is left out",
    )
    output = tmp_path / f"out.{name}"
    written.write(output, NullProgress())
    result = (anndata.read_h5ad if name == "h5ad" else anndata.read_zarr)(output)
    assert result.uns["deep"] == {"kept": 1}
    assert list(result.obsm["frame"].columns) == ["n"]
    assert adata.uns["deep"].keys() == {"set", "kept", "a/b"}


def test_soma_holds_matrices_of_every_slot(tmp_path: Path) -> None:
    """X, layers, obsm, varm, obsp, varp, uns, and raw as a measurement of its own."""
    adata = whole()
    written = target("tiledb", adata, tmp_path)
    assert written.left_out == ("raw/varm['loadings'] (ndarray) is left out",)
    written.write(tmp_path / "out.soma", NullProgress())
    with (
        warnings.catch_warnings(),
        tiledbsoma.Experiment.open(str(tmp_path / "out.soma")) as experiment,
    ):
        warnings.simplefilter("ignore")
        result = tiledbsoma.io.to_anndata(
            experiment, measurement_name="RNA", extra_X_layer_names=["half", "whole"]
        )
        raw = tiledbsoma.io.to_anndata(experiment, measurement_name="raw")
    assert_equal(result.X, adata.X)
    assert_equal(raw.X, adata.raw.X)
    for slot in ("layers", "varm", "obsp", "varp", "uns"):
        assert_equal(dict(getattr(result, slot)), dict(getattr(adata, slot)))
    assert_equal(result.obsm["X_pca"], adata.obsm["X_pca"])


@pytest.mark.parametrize("name", ["10x_h5", "10x_mtx"])
def test_10x_reports_every_other_slot(name: str, tmp_path: Path) -> None:
    """Every slot but X is reported, with its contents."""
    written = target(name, whole(), tmp_path)
    assert {message.removesuffix(" is left out") for message in written.left_out} == {
        *("raw/X", "layers/half", "layers/whole", "obsm (X_pca)", "varm (PCs)"),
        *("obsp (near)", "varp (near)", "uns (n)", "raw/varm (loadings)"),
    }


def test_values_that_tiledbsoma_cannot_write(tmp_path: Path) -> None:
    """Values that it drops, changes or fails on are left out and reported, and no others."""
    adata = whole()
    adata.obs["index"] = 1
    adata.var.index.name = "index"
    twice = sp.csr_matrix((np.ones(2), [1, 1], [0, *[2] * N_CELLS]), (N_CELLS, N_CELLS))
    adata.obsp["twice"] = twice
    adata.obsm.update({"none": np.empty((N_CELLS, 0)), "soma_x": np.ones((N_CELLS, 2))})
    adata.uns = {
        "kept": {
            "text": "",
            "number": np.float32(2),
            "flag": np.ones(1, np.bool_)[0],
            "nought": np.array(3),
        },
        "frame": pd.DataFrame({"a": [1, 2], "index": [3, 4]}, index=["x", "y"]),
        "lists": {"texts": ["a", ""], "numbers": [1.5, 2.0], "mixed": [1, "a"], "empty": []},
        "some": np.array(["a", None], dtype=object),
        "zero": "a\0b",
        "huge": 2**63,
        "soma_y": 1,
        "rows": pd.DataFrame({"a": []}),
    }
    written = target("tiledb", adata, tmp_path)
    assert [message.removesuffix(" is left out") for message in written.left_out] == [
        "obs['index'] (int64)",
        "the name of the index of var, 'index',",
        "obsm['none'] (ndarray)",
        "obsm['soma_x'] (ndarray)",
        "obsp['twice'] (csr_matrix)",
        "uns['frame']['index'] (int64)",
        "uns['lists']['mixed'] (list)",
        "uns['lists']['empty'] (list)",
        "uns['some'] (ndarray)",
        "uns['zero'] (str)",
        "uns['huge'] (int)",
        "uns['soma_y'] (int)",
        "uns['rows'] (DataFrame)",
        "raw/varm['loadings'] (ndarray)",
    ]
    written.write(tmp_path / "out.soma", NullProgress())
    with (
        warnings.catch_warnings(),
        tiledbsoma.Experiment.open(str(tmp_path / "out.soma")) as experiment,
    ):
        warnings.simplefilter("ignore")
        result = tiledbsoma.io.to_anndata(experiment, measurement_name="RNA")
    assert list(result.obs_names) == list(adata.obs_names)
    assert list(result.var_names) == list(adata.var_names)
    assert result.uns.keys() == {"kept", "frame", "lists"}
    assert result.uns["kept"] == {"text": "", "number": 2.0, "flag": True, "nought": 3}
    assert result.uns["frame"].to_dict() == {"a": {"x": 1, "y": 2}}
    assert {name: list(value) for name, value in result.uns["lists"].items()} == {
        "texts": ["a", ""],
        "numbers": [1.5, 2.0],
    }
