"""What anndata hides of a stored AnnData, and what programs in R and Julia write."""

from __future__ import annotations

import subprocess
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr

import slaf
from slaf.errors import InputError, MissingMatrix
from tests.builders import counts, write_h5ad

if TYPE_CHECKING:
    from collections.abc import Iterator
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


@pytest.fixture(params=["in.h5ad", "in.zarr", "in.h5mu"])
def anywhere(request: pytest.FixtureRequest, path: Path) -> Path:
    """The same AnnData as h5ad, on zarr, and as the modality of a MuData."""
    store: Path = path.with_name(request.param)
    if store.suffix == ".zarr":
        with warnings.catch_warnings():
            # anndata tells what its next release will do.
            warnings.simplefilter("ignore")
            anndata.read_h5ad(path).write_zarr(store)
    elif store.suffix == ".h5mu":
        with h5py.File(store, "w") as file, h5py.File(path, "r") as whole:
            whole.copy("/", file.create_group("mod"), "rna")
    return store


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The group of the AnnData in an h5ad, a zarr store or a MuData, to write into."""
    if path.suffix == ".zarr":
        root = zarr.open_group(path, mode="a", use_consolidated=False)
        yield root
        with warnings.catch_warnings():
            # In version 3 it is no part of the specification, and anndata writes it.
            warnings.simplefilter("ignore")
            zarr.consolidate_metadata(root.store)
        return
    with h5py.File(path, "r+") as file:
        yield file["mod/rna"] if path.suffix == ".h5mu" else file


def test_what_anndata_hides_is_named(anywhere: Path) -> None:
    """Columns that are not in column-order, and unknown groups at the top, are left behind."""
    with opened(anywhere) as group:
        anndata.io.write_elem(group["obsm"], "t", pd.DataFrame({"a": range(5)}))
        group["obs/score"] = np.arange(5.0)
        group["var/chrom"] = np.arange(4)
        group["obsm/t/b"] = np.arange(5)
        group["velocity/spliced"] = np.ones((5, 4))
    info = slaf.info(anywhere)
    assert isinstance(info, slaf.InputInfo)
    assert info.not_converted == ("obs (score)", "var (chrom)", "obsm:t (b)", "velocity")


@pytest.mark.parametrize("anywhere", ["in.h5mu"], indirect=True)
def test_members_of_a_mudata_that_are_not_converted_are_named(anywhere: Path) -> None:
    """What a MuData holds besides its modalities, tables and slots is left behind by name."""
    with h5py.File(anywhere, "r+") as file:
        file["velocity/spliced"] = np.ones((5, 4))
    info = slaf.info(anywhere)
    assert isinstance(info, slaf.InputInfo)
    assert info.not_converted == ("others of the MuData (velocity)",)


def test_slashes_in_names(anywhere: Path, tmp_path: Path) -> None:
    """A name with a slash is read as such; an export of AnnData leaves it out, and says so."""
    path = anywhere
    with opened(path) as group:
        group["layers/G1/S"] = np.ones((5, 4), "f4")
        group["obsm/G2/M"] = np.ones((5, 2))
        group["obsm/G2/deep/N"] = np.zeros((5, 2))
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


def test_a_table_with_a_slash_in_its_name(anywhere: Path, tmp_path: Path) -> None:
    """Such a table of obsm is refused with what leaves it out, and that leaves it out."""
    with opened(anywhere) as group:
        ids = pd.Index([f"cell-{at}" for at in range(5)])
        anndata.io.write_elem(group["obsm"].require_group("G"), "t", pd.DataFrame(index=ids))
    with pytest.raises(InputError, match="leave it out with --without obsm:G/t"):
        slaf.convert(anywhere, tmp_path / "out.slaf")
    assert not slaf.convert(anywhere, tmp_path / "out.slaf", without="obsm:G/t").obsm


def test_tables_without_an_encoding(anywhere: Path, tmp_path: Path) -> None:
    """A table that does not say that it is one, as SeuratDisk's, is read by its attributes."""
    path, order = anywhere, ["n", "kind"]
    with opened(path) as root:
        for slot, n in (("obs", 5), ("var", 4)):
            del root[slot]
            group = root.create_group(slot)
            group.attrs["_index"] = "rows"
            group.attrs["column-order"] = order
            group["n"] = np.arange(n)
            group["kind"] = np.arange(n, dtype="i4") % 2
            rows = np.array([f"{slot}-{at}" for at in range(n)], dtype=object)
            anndata.io.write_elem(group, "rows", rows)
            levels = group.create_group("__categories")
            anndata.io.write_elem(levels, "kind", np.array(["x", "y"], dtype=object))
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
    assert list(dataset.obs.columns) == ["depth", "sample"]
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
