"""Columns and elements of h5ad that anndata hides, or that programs in R and Julia wrote."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

import slaf
from slaf.errors import InputError, MissingMatrix
from tests.builders import counts, write_h5ad

if TYPE_CHECKING:
    from pathlib import Path

LOGICAL = {"FALSE": 0, "TRUE": 1, "NA": 2}
LEVELS = {"low": 1, "mid": 2, "high": 3}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An h5ad of 5 cells and 4 genes."""
    return write_h5ad(tmp_path / "in.h5ad", counts(5, 4, seed=3))


def put_enumeration(file: h5py.File, name: str, codes: Any, names: dict[str, int]) -> None:
    """Write an enumeration, and list it where it is a column."""
    dtype = h5py.enum_dtype(names, basetype="i4")
    file.create_dataset(name, data=np.asarray(codes, "i4"), dtype=dtype)
    slot, _, column = name.partition("/")
    if slot in {"obs", "var"}:
        order = [*file[slot].attrs["column-order"], column]
        file[slot].attrs.create("column-order", order, dtype=h5py.string_dtype())


def test_enumerations_are_their_names(path: Path, tmp_path: Path) -> None:
    """Logical columns are nullable booleans and others categories, NA is missing; in uns too."""
    with h5py.File(path, "r+") as file:
        put_enumeration(file, "obs/doublet", [0, 1, 2, 1, -(2**31)], LOGICAL)
        put_enumeration(file, "var/level", [3, 1, -(2**31), 2], LEVELS)
        file.create_group("uns/deep")
        put_enumeration(file, "uns/deep/flags", [1, 2], LOGICAL)
        put_enumeration(file, "uns/one", 1, LOGICAL)
    dataset = slaf.convert(path, tmp_path / "out.slaf")
    assert dataset.obs["doublet"].dtype == "boolean"
    assert dataset.obs["doublet"].tolist() == [False, True, pd.NA, True, pd.NA]
    assert dataset.var["level"].cat.categories.tolist() == ["low", "mid", "high"]
    assert dataset.var["level"].cat.codes.tolist() == [2, 0, -1, 1]
    assert dataset.uns["deep"]["flags"].tolist() == [True, pd.NA]
    assert dataset.uns["one"] is True
    assert slaf.verify(dataset, path).ok


@pytest.mark.parametrize(
    ("name", "codes", "cause"),
    [
        ("obs/odd", [0, 1, 7, 1, 0], "the code 7 without a name"),
        ("obsm/odd", np.zeros((5, 2)), "--without"),
        ("layers/odd", np.zeros((5, 4)), "an enumeration of HDF5, not numbers"),
    ],
)
def test_enumerations_that_mean_nothing_are_refused(
    path: Path, tmp_path: Path, name: str, codes: Any, cause: str
) -> None:
    """A code without a name is refused, and a matrix of codes."""
    with h5py.File(path, "r+") as file:
        put_enumeration(file, name, codes, LOGICAL)
    with pytest.raises(InputError, match=cause):
        slaf.convert(path, tmp_path / "out.slaf")


def test_what_anndata_hides_is_named(path: Path) -> None:
    """Columns that are not in column-order, and unknown groups at the top, are left behind."""
    with h5py.File(path, "r+") as file:
        file["obs/score"] = np.arange(5.0)
        file["var/chrom"] = np.arange(4)
        file["velocity/spliced"] = np.ones((5, 4))
    info = slaf.info(path)
    assert isinstance(info, slaf.InputInfo)
    assert info.not_converted == ("obs (score)", "var (chrom)", "velocity")


def test_slashes_in_names(path: Path, tmp_path: Path) -> None:
    """A name with a slash is read as such; an export of AnnData leaves it out, and says so."""
    with h5py.File(path, "r+") as file:
        anndata.io.write_elem(file["layers"], "G1", {})
        for attribute in list(file["layers/G1"].attrs):
            del file["layers/G1"].attrs[attribute]
        file["layers/G1/S"] = np.ones((5, 4), "f4")
        file["obsm/G2/M"] = np.ones((5, 2))
        file["obsm/G2/deep/N"] = np.zeros((5, 2))
    dataset = slaf.convert(path, tmp_path / "out.slaf")
    assert list(dataset.layers) == ["G1/S"]
    assert list(dataset.obsm) == ["G2/M", "G2/deep/N"]
    assert dataset.to_anndata().layers["G1/S"].sum() == 20
    assert slaf.verify(dataset, path).ok
    report = slaf.export(dataset, tmp_path / "back.h5ad")
    assert "layers/G1/S is left out" in report.left_out
    assert not anndata.read_h5ad(tmp_path / "back.h5ad").layers
    without = ["obsm:G2/M", "layer:G1/S"]
    dataset = slaf.convert(path, tmp_path / "some.slaf", without=without)
    assert (list(dataset.layers), list(dataset.obsm)) == ([], ["G2/deep/N"])


def test_tables_without_an_encoding(path: Path, tmp_path: Path) -> None:
    """A table that does not say that it is one, as SeuratDisk's, is read by its attributes."""
    with h5py.File(path, "r+") as file:
        order = ["n", "kind"]
        for slot, n in (("obs", 5), ("var", 4)):
            del file[slot]
            group = file.create_group(slot)
            group.attrs["_index"] = "rows"
            group.attrs.create("column-order", order, dtype=h5py.string_dtype())
            group["rows"] = [f"{slot}-{at}" for at in range(n)]
            group["n"] = np.arange(n)
            group["kind"] = np.arange(n, dtype="i4") % 2
            group["__categories/kind"] = ["x", "y"]
    dataset = slaf.convert(path, tmp_path / "out.slaf")
    assert dataset.obs.index.tolist() == [f"obs-{at}" for at in range(5)]
    assert dataset.obs["kind"].tolist() == ["x", "y", "x", "y", "x"]
    assert list(dataset.var.columns) == order
    assert slaf.verify(dataset, path).ok


def test_columns_are_left_out(tmp_path: Path) -> None:
    """A column of obs, or of var and of raw's, is left out by name, in appends and proofs too."""
    paths = [write_h5ad(tmp_path / f"{n}.h5ad", counts(n, 4)) for n in (3, 5)]
    for at in paths:
        adata = anndata.read_h5ad(at)
        adata.raw = adata.copy()
        adata.write_h5ad(at)
    without = ["obs:batch", "var:length"]
    dataset = slaf.convert(paths[0], tmp_path / "out.slaf", without=without)
    dataset = slaf.append(paths[1], tmp_path / "out.slaf")
    assert list(dataset.obs.columns) == ["depth"]
    assert list(dataset.var.columns) == []
    assert dataset.raw is not None
    assert list(dataset.raw.var.columns) == []
    assert slaf.verify(dataset, paths).ok
    with pytest.raises(MissingMatrix, match="no obs:x to leave out; there is obs:batch, obs:depth"):
        slaf.convert(paths[0], tmp_path / "other.slaf", without="obs:x")
    with pytest.raises(MissingMatrix, match="no obs:x to leave out"):
        slaf.append(paths[1], tmp_path / "out.slaf", without="obs:x", allow_duplicate=True)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pd.Categorical(list("xyx")), "category"),
        (["a", "b", "c"], "object"),
        ([1, 2, 2**60 + 1], "Int64"),
        ([True, False, True], "boolean"),
        ([0.5, 1.5, 2.5], "float64"),
    ],
)
def test_a_column_of_nan_joins_any_type(tmp_path: Path, values: Any, kind: str, dtype: str) -> None:
    """A column that holds nothing but NaN in one input has no value there, whatever the other."""
    paths = []
    for name, column in (("a", np.full(3, np.nan, dtype)), ("b", values)):
        obs = pd.DataFrame({"it": column}, index=[f"{name}{at}" for at in range(3)])
        paths.append(tmp_path / f"{name}.h5ad")
        anndata.AnnData(counts(3, 2), obs=obs).write_h5ad(paths[-1])
    for order in (paths, paths[::-1]):
        output = tmp_path / f"{order[0].stem}.slaf"
        dataset = slaf.convert(order, output)
        assert str(dataset.obs["it"].dtype) in {kind, "str"}
        own = dataset.obs.loc[[f"b{at}" for at in range(3)], "it"]
        assert own.tolist() == list(values)
        assert dataset.obs["it"].isna().sum() == 3
        assert slaf.verify(dataset, order).ok


@pytest.mark.filterwarnings("ignore:Support for Awkward Arrays")
def test_awkward_arrays(path: Path, tmp_path: Path) -> None:
    """An awkward array is kept, of several inputs too; refused by name without its package."""
    awkward = pytest.importorskip("awkward")
    adata = anndata.read_h5ad(path)
    adata.obsm["airr"] = awkward.Array([[1, 2], [], [3], [4, 5, 6], [None, 1]])
    adata.write_h5ad(path)
    dataset = slaf.convert(path, tmp_path / "out.slaf")
    assert dataset.to_anndata().obsm["airr"].to_list() == adata.obsm["airr"].to_list()
    assert dataset[[4, 0]].to_anndata().obsm["airr"].to_list() == [[None, 1], [1, 2]]
    assert slaf.verify(dataset, path).ok
    slaf.export(dataset, tmp_path / "back.h5ad")
    back = anndata.read_h5ad(tmp_path / "back.h5ad")
    assert back.obsm["airr"].to_list() == adata.obsm["airr"].to_list()
    twice = slaf.convert([path, path], tmp_path / "twice.slaf", allow_duplicate=True)
    assert twice.obsm["airr"].to_list() == adata.obsm["airr"].to_list() * 2
    without = (
        "import sys; sys.modules['awkward'] = None; from slaf_cli.app import program; program()"
    )
    command: list[Any] = [sys.executable, "-c", without, "convert", path, tmp_path / "none.slaf"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 3
    assert "--without obsm:airr" in ended.stderr
    subprocess.run([*command, "--without", "obsm:airr"], check=True)
