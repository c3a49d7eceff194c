"""MuData and loom: what is chosen, what goes along, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import slaf
from slaf.errors import DamagedInput, InputError, MissingMatrix
from slaf.options import ReadOptions
from slaf.sources import open_source
from slaf.testing.strategies import Stored
from tests.builders import write_elements
from tests.formats.store_builders import write_h5mu, write_loom, write_zarr
from tests.sources.test_laws import everything
from tests.targets.checks import assert_everything

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STORED = Stored((3, 2), np.array([0, 2, 2]), np.array([1, 0, 1]), np.array([3, 4, 5], np.int32))


def test_the_modality(tmp_path: Path) -> None:
    """Rna is taken by default, or the only one; the others, and what all share, are named."""
    path = write_h5mu(tmp_path / "in.h5mu", prot=STORED, rna=STORED)
    with h5py.File(path, "r+") as file:
        del file["obs"]
        write_elements(file, obs=pd.DataFrame({"rna:n": [1, 2, 3], "donor": 1}, index=list("abc")))
    with open_source(path) as source:
        assert source.info.not_converted == (
            "modality prot",
            "columns of obs of the MuData (donor)",
        )
    with pytest.raises(
        MissingMatrix, match=r"no modality 'atac'; choose one with --modality: prot, rna"
    ):
        open_source(path, options=ReadOptions(modality="atac"))
    dataset = slaf.convert(path, tmp_path / "out.slaf", modality="prot")
    assert dict(dataset.sources[0].choice) == {"modality": "prot"}
    assert slaf.verify(dataset, path).ok
    only = write_h5mu(tmp_path / "only.h5mu", atac=STORED)
    assert slaf.convert(only, tmp_path / "only.slaf").shape == STORED.shape
    with pytest.raises(MissingMatrix, match="has no modality to choose"):
        slaf.convert(write_loom(tmp_path / "a.loom", STORED), tmp_path / "a.slaf", modality="rna")


def test_all_of_a_modality(tmp_path: Path) -> None:
    """Layers, raw and slots of a modality are those of its AnnData."""
    path, adata = tmp_path / "in.h5mu", everything()
    with h5py.File(path, "w") as file:
        write_elements(file, **{"mod/rna": adata, "obs": adata.obs, "var": adata.var})
    assert_everything(slaf.convert(path, tmp_path / "out.slaf").to_anndata(), adata)


def test_a_modality_annotates(tmp_path: Path) -> None:
    """What a dataset is annotated from is chosen as an input is, and only where there is one."""
    path = write_h5mu(tmp_path / "in.h5mu", a=STORED, b=STORED)
    dataset = slaf.convert(path, tmp_path / "out.slaf", modality="a")
    with h5py.File(path, "r+") as file:
        del file["mod/b/obs"]
        ids = pd.Index(dataset.obs_names, dtype=object)
        write_elements(file["mod/b"], obs=pd.DataFrame({"kind": [1, 2, 3]}, index=ids))
    with pytest.raises(MissingMatrix, match="--modality: a, b"):
        slaf.annotate(dataset, from_anndata=path)
    annotated = slaf.annotate(dataset, from_anndata=path, modality="b")
    assert annotated.obs["kind"].tolist() == [1, 2, 3]
    with pytest.raises(InputError, match="modality says how from_anndata is read"):
        slaf.annotate(dataset, drop="obs:kind", modality="b")


def test_several_tables_of_a_zarr(tmp_path: Path) -> None:
    """A MuData on zarr is read as one in HDF5."""
    path = write_zarr(tmp_path / "in.zarr", STORED, at="mod/a")
    write_zarr(path, STORED, at="mod/b")
    with pytest.raises(MissingMatrix, match="--modality: a, b"):
        open_source(path)
    dataset = slaf.convert(path, tmp_path / "out.slaf", modality="b")
    assert (
        dataset.published.blocks
        == slaf.convert(
            write_h5mu(tmp_path / "b.h5mu", b=STORED), tmp_path / "b.slaf"
        ).published.blocks
    )


def rich_loom(path: Path, version: Any) -> Path:
    """A loom with attributes of every kind, graphs, and gene names that repeat."""
    write_loom(path, STORED, version=version, layers={"spliced": STORED})
    with h5py.File(path, "r+") as file:
        del file["row_attrs/Gene"]
        text = "S" if version == 2 else object
        file["row_attrs/Gene"] = np.array(["A", "A"], text)
        file["row_attrs/Accession"] = np.array(["E1", "E2"], text)
        file["row_attrs/Loadings"] = np.arange(4.0).reshape(2, 2)
        file["col_attrs/Age"] = np.array([[1], [2], [3]])
        entity = b"caf&#233; &amp; bar" if version == 2 else "café & bar"
        file["col_attrs/Place"] = np.array(
            [entity, b"x", b"y"] if version == 2 else [entity, "x", "y"], text
        )
        file["col_attrs/UMAP"] = np.arange(6.0, dtype=np.float32).reshape(3, 2)
        for name, ends in (("col_graphs/KNN", ([0, 2], [1, 0])), ("row_graphs/G", ([1], [0]))):
            for part, values in zip("abw", (*ends, [0.5] * len(ends[0])), strict=True):
                file[f"{name}/{part}"] = np.array(values)
    return path


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
@pytest.mark.parametrize("version", [2, 3])
def test_everything_of_a_loom(version: Any, tmp_path: Path) -> None:
    """Attributes are columns, obsm and varm, graphs are obsp and varp, the rest is uns."""
    path = rich_loom(tmp_path / "in.loom", version)
    dataset = slaf.convert(path, tmp_path / "out.slaf")
    adata = dataset.to_anndata()
    assert slaf.verify(dataset, path).ok
    assert adata.obs_names.to_list() == ["cell-0", "cell-1", "cell-2"]
    assert (adata.var_names.to_list(), adata.var.index.name) == (["A", "A"], "Gene")
    assert adata.var["Accession"].to_list() == ["E1", "E2"]
    assert adata.obs["Age"].to_list() == [1, 2, 3]
    assert adata.obs["Place"].to_list() == ["café & bar", "x", "y"]
    np.testing.assert_array_equal(adata.obsm["UMAP"], np.arange(6).reshape(3, 2))
    np.testing.assert_array_equal(adata.varm["Loadings"], np.arange(4).reshape(2, 2))
    np.testing.assert_array_equal(adata.X.toarray(), STORED.dense())
    np.testing.assert_array_equal(adata.layers["spliced"].toarray(), STORED.dense())
    np.testing.assert_array_equal(
        adata.obsp["KNN"].toarray(), [[0, 0.5, 0], [0, 0, 0], [0.5, 0, 0]]
    )
    np.testing.assert_array_equal(adata.varp["G"].toarray(), [[0, 0], [0.5, 0]])
    assert adata.uns["LOOM_SPEC_VERSION"] == {2: "2.0.1", 3: "3.0.0"}[version]
    layer = slaf.convert(path, tmp_path / "layer.slaf", matrix="layer:spliced")
    assert list(layer.annotations.layers) == ["X"]


def test_a_loom_without_ids(tmp_path: Path) -> None:
    """Cells and genes without names are numbered, and other names are found."""
    path = write_loom(tmp_path / "in.loom", STORED)
    with h5py.File(path, "r+") as file:
        del file["col_attrs/CellID"]
        file.move("row_attrs/Gene", "row_attrs/var_names")
    dataset = slaf.convert(path, tmp_path / "out.slaf")
    assert dataset.obs_names.to_list() == ["0", "1", "2"]
    assert dataset.var_names.to_list() == ["gene-0", "gene-1"]


def put(name: str, values: Any) -> Callable[[h5py.File], None]:
    """What puts other values in place of a dataset."""

    def edit(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file[name] = values

    return edit


BROKEN: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "short attribute": (put("col_attrs/CellID", np.array([b"a"])), "3 rows are needed"),
    "deep attribute": (put("col_attrs/Depth", np.ones((3, 1, 2))), "not one value for each row"),
    "layer of another shape": (put("layers/a", np.ones((2, 2))), r"but matrix has \(2, 3\)"),
    "vector": (put("matrix", np.ones(3)), "not genes × cells"),
    "edge": (put("col_graphs/K/a", np.array([7])), "beyond 3 nodes"),
    "text": (put("col_attrs/Name", np.array([b"\xff", b"", b""])), "col_attrs"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_loom(name: str, tmp_path: Path) -> None:
    """A loom that contradicts itself is refused with the file and what is wrong."""
    path = write_loom(tmp_path / "in.loom", STORED)
    edit, message = BROKEN[name]
    with h5py.File(path, "r+") as file:
        edit(file)
        if name == "edge":
            file["col_graphs/K/b"] = file["col_graphs/K/w"] = np.array([0])
    with pytest.raises(DamagedInput, match=message):
        slaf.convert(path, tmp_path / "out.slaf")


def test_edges_that_are_given_twice(tmp_path: Path) -> None:
    """Edges that repeat are kept as they are, not summed."""
    path = write_loom(tmp_path / "in.loom", STORED)
    with h5py.File(path, "r+") as file:
        for part, values in zip("abw", ([1, 1], [0, 0], [1.0, 2.0]), strict=True):
            file[f"col_graphs/K/{part}"] = np.array(values)
    graph = slaf.convert(path, tmp_path / "out.slaf").obsp["K"]
    assert isinstance(graph, sp.csr_matrix)
    assert graph.data.tolist() == [1, 2]
