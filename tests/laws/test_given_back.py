"""What was published can be given back: as an AnnData, as every export, whole and in part."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings

import slaf
from slaf.errors import DamagedDataset, InputError, TargetError, VerificationFailed
from slaf.format.validation import with_checksum
from slaf.targets import FORMATS
from slaf.testing.strategies import NUMERIC_TYPES, columns, frames, matrices
from tests.builders import counts, write_h5ad

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

    from slaf.dataset.dataset import Dataset

# scipy has no matrices of half floats.
_DTYPES = [dtype for dtype in NUMERIC_TYPES if dtype != np.float16]
_READERS = {"h5ad": anndata.read_h5ad, "zarr": anndata.read_zarr}
_SUFFIXES = {each.name: "".join(each.suffixes[:1]) for each in FORMATS}
_NAMES = st.sampled_from(["X_pca", "a.b", "A.B", "X", "a/b", "table", "value", "cell_id", "é"])


@st.composite
def arrays(draw: DrawFn, n_rows: int, width: int | None = None) -> Any:
    """A dense or sparse matrix with this number of rows."""
    dtype = draw(st.sampled_from(_DTYPES))
    n_columns = draw(st.integers(0, 3)) if width is None else width
    values = np.arange(n_rows * n_columns, dtype=np.int64).reshape(n_rows, n_columns).astype(dtype)
    make: Any = draw(st.sampled_from([np.asarray, sp.csr_matrix, sp.csc_matrix, sp.csr_array]))
    return make(values)


@st.composite
def aligned(draw: DrawFn, ids: pd.Index[Any]) -> Any:
    """An element of obsm or varm: a matrix, a table, or an array of another kind."""
    n_rows = len(ids)
    kind = draw(st.sampled_from(["matrix", "table", "cube", "text", "structured"]))
    if kind == "table":
        names = draw(st.lists(st.sampled_from("abc"), unique=True))
        data = {name: draw(columns(n_rows, on_disk=True)) for name in names}
        return pd.DataFrame(data, index=ids, columns=pd.Index(names, dtype=object))
    return {
        "matrix": draw(arrays(n_rows)),
        "cube": np.zeros((n_rows, 2, 2), np.float32),
        "text": np.array([["a", "b"]] * n_rows, dtype=object).reshape(n_rows, 2),
        "structured": np.zeros(n_rows, dtype=[("a", "i4"), ("b", "f4")]),
    }[kind]


def mappings(values: Any) -> Any:
    """Elements by awkward names."""
    return st.dictionaries(_NAMES, values, max_size=2)


@st.composite
def adatas(draw: DrawFn, prefix: str) -> anndata.AnnData:
    """An AnnData with anything in any slot; its cell ids are unique."""
    n_cells, n_genes = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    obs, var = draw(frames(n_cells, on_disk=True)), draw(frames(n_genes, on_disk=True))
    obs.index = pd.Index([f"{prefix}{at}" for at in range(n_cells)], name=obs.index.name)
    var.index = pd.Index([f"g{at}" for at in range(n_genes)], name=var.index.name)
    x = draw(matrices(draw(st.sampled_from(_DTYPES)))).dense()
    matrix = np.zeros((n_cells, n_genes), x.dtype)
    shared = min(n_cells, x.shape[0]), min(n_genes, x.shape[1])
    matrix[: shared[0], : shared[1]] = x[: shared[0], : shared[1]]
    adata = anndata.AnnData(
        sp.csr_matrix(matrix),
        obs=obs,
        var=var,
        layers=draw(mappings(arrays(n_cells, n_genes))),
        obsm=draw(mappings(aligned(obs.index))),
        varm=draw(mappings(aligned(var.index))),
        obsp=draw(mappings(arrays(n_cells, n_cells))),
        varp=draw(mappings(arrays(n_genes, n_genes))),
        uns=draw(mappings(st.integers(0, 9) | st.text("ab") | arrays(2))),
    )
    if draw(st.booleans()):
        ids = pd.Index([f"r{at}" for at in range(n_genes + 1)])
        raw = anndata.AnnData(
            np.ones((n_cells, n_genes + 1), np.float32),
            obs=obs[[]],
            var=draw(frames(n_genes + 1, on_disk=True)).set_index(ids),
            varm=draw(mappings(aligned(ids))),
        )
        adata.raw = raw
    return adata


def assert_given_back(dataset: Dataset, folder: Path, formats: tuple[str, ...]) -> None:
    """A dataset that passes its proof is given back whole, in part, and as these formats."""
    assert slaf.verify(dataset).ok
    n_cells, n_genes = dataset.shape
    assert dataset.to_anndata().shape == dataset.shape
    some = list(range(n_cells))[::-2], list(range(n_genes))[1:]
    assert dataset[some].to_anndata().shape == (len(some[0]), len(some[1]))
    for name in formats:
        for at, (cells, genes) in enumerate([(None, None), some]):
            output = folder / f"{name}-{at}{_SUFFIXES[name]}"
            try:
                slaf.export(dataset[cells, genes], output, format=name)
            except TargetError:
                # The other formats do not hold every type and name, and say so.
                assert name not in _READERS
                continue
            if name in _READERS:
                _READERS[name](output)


def check_random_inputs(data: st.DataObject) -> None:
    """Convert one input or two, with and without a prefix, and give the dataset back."""
    inputs = [data.draw(adatas("c"))]
    if data.draw(st.booleans()):
        inputs.append(data.draw(adatas("d")))
    # Two inputs of no cells may be equal.
    options: Any = {"cell_id_prefix": data.draw(st.booleans()), "join": "union"}
    options["allow_duplicate"] = True
    later = data.draw(st.booleans())
    formats = (data.draw(st.sampled_from([*_READERS, *_READERS, "10x_h5", "10x_mtx"])),)
    with tempfile.TemporaryDirectory() as name:
        output = Path(name) / "out.slaf"
        try:
            dataset = slaf.convert(inputs[0] if later else inputs, output, **options)
            if later and len(inputs) > 1:
                dataset = slaf.append(inputs[1], output, **options)
        except InputError:
            if not output.exists():
                return
            dataset = slaf.open(output)
        assert_given_back(dataset, Path(name), formats)


@settings(max_examples=10)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore")
def test_what_was_published_is_given_back(data: st.DataObject) -> None:
    """One input or two, with and without a prefix: a verified dataset can be given back."""
    check_random_inputs(data)


@pytest.mark.slow
@settings(max_examples=300)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore")
def test_whatever_was_published_is_given_back(data: st.DataObject) -> None:
    """The same, with more inputs."""
    check_random_inputs(data)


@pytest.mark.corpus
@pytest.mark.slow
def test_every_dataset_of_the_corpus_is_given_back(
    converted_corpus: dict[Path, Path], tmp_path: Path
) -> None:
    """Every dataset of the corpus is given back as every format."""
    for path, converted in converted_corpus.items():
        folder = tmp_path / path.parent.name
        folder.mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert_given_back(slaf.open(converted), folder, tuple(each.name for each in FORMATS))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """An h5ad with a table in obsm, in varm, and in the varm of raw."""
    cells, genes = ([f"{axis}-{at}" for at in range(n)] for axis, n in (("cell", 5), ("gene", 4)))
    frames = [pd.DataFrame({"a": range(len(ids))}, index=ids) for ids in (cells, genes)]
    matrix = counts(5, 4)
    path = write_h5ad(
        tmp_path / "in.h5ad", matrix, obsm={"table": frames[0]}, varm={"table": frames[1]}
    )
    adata = anndata.read_h5ad(path)
    adata.raw = adata.copy()
    adata.write_h5ad(path)
    return path


def test_a_table_takes_the_prefix_of_its_cells(table: Path, tmp_path: Path) -> None:
    """A table in obsm has the cell ids of the dataset, with their prefix, as its index."""
    dataset = slaf.convert(table, tmp_path / "out.slaf", cell_id_prefix=True)
    assert list(dataset.obsm["table"].index) == [f"in_cell-{at}" for at in range(5)]
    assert list(dataset.to_anndata().obsm["table"]["a"]) == list(range(5))
    assert slaf.verify(dataset, table).ok
    slaf.export(dataset, tmp_path / "back.h5ad")
    assert list(anndata.read_h5ad(tmp_path / "back.h5ad").obs_names) == list(dataset.obs.index)


@pytest.mark.parametrize("slot", ["obsm", "varm", "raw/varm"])
@pytest.mark.parametrize("several", [False, True])
def test_a_table_with_other_ids_is_refused(
    table: Path, tmp_path: Path, slot: str, *, several: bool
) -> None:
    """A table whose index is not that of its axis is refused by name, and can be left out."""
    import h5py

    other = write_h5ad(tmp_path / "other.h5ad", counts(3, 4))
    with h5py.File(table, "r+") as file:
        group = file[f"{slot}/table"]
        index = group[group.attrs["_index"]]
        if isinstance(index, h5py.Group):  # with pandas 3 text is written with a mask
            index = index["values"]
        index[...] = [f"z{at}" for at in range(len(index))]
    inputs: Any = [other, table] if several else table
    name = f"{slot.replace('/', '_')}:table"
    with pytest.raises(InputError, match=f"{name} has the index 'z0' in row 0.*--without {name}"):
        slaf.convert(inputs, tmp_path / "out.slaf", allow_duplicate=True)
    assert not (tmp_path / "out.slaf").exists()
    dataset = slaf.convert(inputs, tmp_path / "out.slaf", without=name)
    assert dataset.n_genes == 4


def with_other_elements(dataset: Dataset, other: Dataset) -> Dataset:
    """The dataset with the tables of obsm of another one, as a release that checked no ids had it.

    That release stored the ids of the input, where those of the dataset have a prefix.
    """
    path, source = (Path(str(each.location)) for each in (dataset, other))
    config, others = (json.loads((at / "config.json").read_bytes()) for at in (path, source))
    old, new = config["elements"]["file"], others["elements"]["file"]
    (path / old).unlink()
    shutil.copy(source / new, path / new)
    config["elements"] = others["elements"]
    stored = {each["file"]: each for each in others["proof"]["files"]}
    files = config["proof"]["files"]
    config["proof"]["files"] = [stored[new] if each["file"] == old else each for each in files]
    (path / "config.json").write_bytes(with_checksum(config))
    return slaf.open(path)


def test_a_dataset_of_an_earlier_release_fails_its_proof(table: Path, tmp_path: Path) -> None:
    """Verify and diff name a table with other ids than its axis, and `to_anndata` refuses it."""
    good = slaf.convert(table, tmp_path / "good.slaf")
    bad = with_other_elements(slaf.convert(table, tmp_path / "bad.slaf", cell_id_prefix=True), good)
    with pytest.raises(VerificationFailed, match=r"index of obsm\['table'\]"):
        slaf.verify(bad)
    assert any("obsm" in str(each) for each in slaf.diff(good, bad).differences)
    with pytest.raises(DamagedDataset, match="slaf verify"):
        bad.to_anndata()
