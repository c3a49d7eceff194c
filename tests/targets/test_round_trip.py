"""Round trip of inputs through a dataset to other formats."""

from __future__ import annotations

import contextlib
import gzip
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy
import scipy.io
import scipy.sparse as sp
import tiledbsoma
import tiledbsoma.io
from hypothesis import given
from hypothesis import strategies as st

import slaf
from slaf.annotations.equality import equal_elements
from slaf.annotations.text import made_alike
from slaf.errors import InexactValue, TargetError
from slaf.testing.strategies import NUMERIC_TYPES, Stored, frames, matrices
from tests.builders import (
    NEEDS_SOMA,
    as_matrix,
    counts,
    examples,
    names,
    soma_takes_pandas,
    write_stored,
)
from tests.conversion.cases import N_CELLS, N_GENES, slots
from tests.targets.checks import assert_everything, assert_same, assert_values, entries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slaf.dataset.dataset import Dataset
    from slaf.options import ArrayCompression, Layout

READERS = {"h5ad": anndata.read_h5ad, "zarr": anndata.read_zarr}
COMPRESSIONS = {"h5ad": ["gzip", "zstd", "lzf", "none"], "zarr": ["zstd", "gzip", "none"]}
WHOLE = st.integers(1, 2**24)
EIGHTHS = st.integers(1, 2**20).map(lambda number: number / 8)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.* names are not unique"),
    # tiledbsoma's own.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:tiledbsoma"),
    pytest.mark.filterwarnings("ignore::FutureWarning:tiledbsoma"),
]


@contextlib.contextmanager
def converted(stored: Stored, layout: str = "csr", **tables: Any) -> Iterator[tuple[Dataset, Path]]:
    """A dataset of some entries, and a folder for outputs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write_stored(folder / "in.h5ad", stored, layout, **tables)
        yield slaf.convert(path, folder / "in.slaf", chunk_size=4, memory=2000), folder


@pytest.mark.parametrize("kind", READERS)
@examples(5)
@given(data=st.data(), stored=matrices(), source_layout=st.sampled_from(["csr", "csc"]))
def test_every_value_comes_out_as_it_went_in(
    kind: str, data: st.DataObject, stored: Stored, source_layout: str
) -> None:
    """Values of any type, layout and compression have the type of the source."""
    options: dict[str, Any] = {
        "layout": data.draw(st.sampled_from(["csr", "csc"])),
        "compression": data.draw(st.sampled_from(COMPRESSIONS[kind])),
        "memory": data.draw(st.integers(1, 2000)),
    }
    try:
        with converted(stored, source_layout) as (dataset, folder):
            output = folder / f"out.{kind}"
            report = slaf.export(dataset, output, **options)
            result = READERS[kind](output)
            assert result.X.format == options["layout"]
            assert result.X.dtype == np.dtype(dataset.published.dtype)
            assert_values(result.X, stored)
            assert_same(result, dataset.to_anndata())
            assert (report.n_cells, report.n_genes) == stored.shape
            assert report.left_out == ()
    except InexactValue:
        assert stored.values.dtype == np.uint64


@pytest.mark.parametrize("dtype", NUMERIC_TYPES, ids=str)
@pytest.mark.parametrize("kind", READERS)
def test_the_type_of_the_source_is_given_back(
    kind: str, dtype: np.dtype[Any], tmp_path: Path
) -> None:
    """Whole numbers stored as uint16 are floats again if they were floats in the source."""
    stored = Stored((2, 3), np.array([0, 1]), np.array([2, 0]), np.array([1, 1], dtype))
    dataset = slaf.convert(write_stored(tmp_path / "in.h5ad", stored), tmp_path / "in.slaf")
    assert dataset.published.value_type == "uint16"
    slaf.export(dataset, tmp_path / f"out.{kind}")
    result = READERS[kind](tmp_path / f"out.{kind}").X
    # scipy has no matrices of half floats.
    assert result.dtype == (np.float32 if dtype == np.float16 else dtype)
    assert result.toarray().tolist() == [[0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("kind", READERS)
@examples(5)
@given(data=st.data())
def test_tables_of_h5ad_come_out_as_they_went_in(kind: str, data: st.DataObject) -> None:
    """Columns of every type that h5ad holds, with their names, order and missing values."""
    n_cells, n_genes = data.draw(st.integers(0, 4)), data.draw(st.integers(0, 4))
    obs = data.draw(frames(n_cells, on_disk=True))
    var = data.draw(frames(n_genes, on_disk=True))
    empty = np.empty(0, np.int64)
    stored = Stored((n_cells, n_genes), empty, empty, np.empty(0, np.float32))
    with converted(stored, obs=obs, var=var) as (dataset, folder):
        report = slaf.export(dataset, folder / f"out.{kind}")
        assert report.left_out == ()
        assert_same(READERS[kind](folder / f"out.{kind}"), dataset.to_anndata())


@pytest.mark.parametrize("kind", READERS)
@examples(6)
@given(data=st.data())
def test_a_column_is_written_or_named(kind: str, data: st.DataObject) -> None:
    """Each column of any kind is unchanged in the output, or reported."""
    n_cells = data.draw(st.integers(0, 4))
    obs = data.draw(frames(n_cells))
    adata = anndata.AnnData(np.zeros((n_cells, 2), np.float32), obs=obs, var=names("gene", 2))
    with tempfile.TemporaryDirectory() as folder:
        dataset = slaf.convert(adata, Path(folder) / "in.slaf")
        report = slaf.export(dataset, Path(folder) / f"out.{kind}")
        result = READERS[kind](Path(folder) / f"out.{kind}").obs
        assert list(result.index) == list(dataset.obs.index)
        messages = "\n".join(report.left_out)
        for name in dataset.obs.columns:
            where = f"obs[{name!r}] "
            if where in messages:
                assert (name in result) == (
                    f"{where}({dataset.obs[name].dtype}) becomes" in messages
                )
            else:
                assert_same_column(result[name], dataset.obs[name])
        assert set(result.columns) <= set(dataset.obs.columns)


def assert_same_column(result: pd.Series[Any], expected: pd.Series[Any]) -> None:
    """Compare columns; text, the ids too, may have another pandas type, as anndata reads it."""
    assert equal_elements(*made_alike(result.to_frame(), expected.to_frame()))


@examples(5)
@given(stored=matrices(np.dtype(np.float32), values=WHOLE.map(float), repeated=False))
def test_10x_h5_of_counts(stored: Stored) -> None:
    """Scanpy reads values, ids of cells and genes, and gene expression as the only type."""
    with converted(stored) as (dataset, folder):
        slaf.export(dataset, folder / "out.h5")
        result = scanpy.read_10x_h5(folder / "out.h5")
        assert_values(result.X, stored)
        assert result.X.dtype == np.float32
        assert list(result.obs_names) == list(dataset.obs.index)
        assert list(result.var["gene_ids"]) == list(dataset.var.index)
        assert set(result.var["feature_types"]) <= {"Gene Expression"}


@examples(5)
@given(stored=matrices())
def test_10x_h5_of_any_numbers(stored: Stored) -> None:
    """`slaf.diff` finds numbers of any type unchanged, fractions and NaN included."""
    try:
        with converted(stored) as (dataset, folder):
            slaf.export(dataset, folder / "out.h5")
            result = slaf.diff(dataset, folder / "out.h5")
            # 10x files have another type of counts.
            assert dict(result.counts).keys() <= {"type", "genes"}
            second = slaf.convert(folder / "out.h5", folder / "again.slaf")
            assert_values(second.X.to_memory(), stored)
    except InexactValue:
        assert stored.values.dtype == np.uint64


@pytest.mark.filterwarnings("ignore:The default value for `spmatrix`:DeprecationWarning")
@examples(6)
@given(data=st.data())
def test_10x_mtx(data: st.DataObject) -> None:
    """Scanpy reads the values as float32, scipy unchanged, and the ids of cells and genes."""
    whole = data.draw(st.booleans())
    dtype = np.dtype(np.int32 if whole else np.float64)
    # scanpy gives other shapes for matrices without entries, or with one cell.
    stored = data.draw(
        matrices(dtype, values=WHOLE if whole else EIGHTHS, repeated=False).filter(
            lambda stored: len(stored.values) > 0
        )
    )
    with converted(stored) as (dataset, folder):
        report = slaf.export(dataset, folder / "out", format="10x_mtx")
        assert report.left_out == ()
        result = scanpy.read_10x_mtx(folder / "out", var_names="gene_ids")
        assert_values(result.X, stored)
        assert list(result.obs_names) == list(dataset.obs.index)
        assert list(result.var_names) == list(dataset.var.index)
        plain = folder / "matrix.mtx"
        plain.write_bytes(gzip.decompress((folder / "out" / "matrix.mtx.gz").read_bytes()))
        assert entries(scipy.io.mmread(plain).T) == entries(dataset.X.to_memory())
        assert dict(slaf.diff(folder / "out", dataset).counts).keys() <= {"type", "genes"}


@examples(5)
@given(value=st.floats(allow_nan=False, allow_infinity=False), width=st.sampled_from([32, 64]))
def test_mtx_holds_every_fraction_exactly(value: float, width: int) -> None:
    """A number is read back from its text exactly, also one of float32."""
    with np.errstate(over="ignore"):
        number = np.array([value]).astype(f"f{width // 8}")
    if not number[0] or not np.isfinite(number[0]):
        return
    stored = Stored((1, 1), np.zeros(1, int), np.zeros(1, int), number)
    with converted(stored) as (dataset, folder):
        slaf.export(dataset, folder / "out", format="10x_mtx")
        assert_values(slaf.convert(folder / "out", folder / "again.slaf").X.to_memory(), stored)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_mtx_refuses_nan_and_infinity(value: float, tmp_path: Path) -> None:
    """NaN and infinities are an error, and the export leaves nothing."""
    stored = Stored((3, 2), np.arange(3), np.array([0, 1, 0]), np.array([1.5, value, 2.5]))
    dataset = slaf.convert(write_stored(tmp_path / "in.h5ad", stored), tmp_path / "in.slaf")
    with pytest.raises(TargetError, match=f"cell 1 has the value {value} for gene 1"):
        slaf.export(dataset, tmp_path / "out", format="10x_mtx")
    assert {path.name for path in tmp_path.iterdir()} == {"in.h5ad", "in.slaf"}


@NEEDS_SOMA
@examples(5)
@given(data=st.data())
def test_soma(data: st.DataObject) -> None:
    """Tiledbsoma reads values, types, ids, and every column of obs that it does not change."""
    dtype = data.draw(st.sampled_from([d for d in NUMERIC_TYPES if d != np.uint64]))
    stored = data.draw(matrices(dtype).filter(lambda stored: min(stored.shape) > 0))
    obs = names("cell", stored.shape[0])
    obs["kind"] = pd.Categorical(["b", "a"] * 9, ["b", "c", "a"], ordered=True)[: len(obs)]
    obs["depth"] = np.linspace(0, 1, len(obs))
    with converted(stored, obs=obs) as (dataset, folder):
        slaf.export(dataset, folder / "out.soma")
        result = from_soma(folder / "out.soma")
        assert_values(result.X, stored)
        is_bool = dataset.published.dtype == "bool"
        assert result.X.dtype == ("uint8" if is_bool else dataset.published.dtype)
        pd.testing.assert_frame_equal(result.obs, dataset.obs.copy())
        assert list(result.var_names) == list(dataset.var.index)
        # As a source, an experiment has join ids as further columns.
        assert dict(slaf.diff(dataset, folder / "out.soma").counts).keys() <= {
            *("type", "cells", "genes")
        }


@NEEDS_SOMA
def test_no_category_is_lost_in_soma(tmp_path: Path) -> None:
    """Tiledbsoma reads all categories, however fast they were written: most fast in memory."""
    kinds = pd.Categorical(["b", "a"], ["c", "b", "a"], ordered=True)
    tables = pd.DataFrame({"kind": kinds}, index=pd.Index(["x", "y"], dtype=object))
    adata = anndata.AnnData(sp.csr_matrix(np.eye(2, dtype=np.float32)), obs=tables, var=tables)
    adata.raw = adata
    adata.uns["of"] = {"tables": tables.reset_index(drop=True)}
    dataset = slaf.convert(adata, tmp_path / "in.slaf")
    for number in range(10):
        path = tmp_path / f"{number}.soma"
        slaf.export(dataset, path)
        result = from_soma(path)
        for table in (result.obs, result.var, result.uns["of"]["tables"]):
            assert table["kind"].tolist() == ["b", "a"]
            assert table["kind"].cat.categories.tolist() == ["c", "b", "a"]
        with tiledbsoma.Experiment.open(str(path)) as experiment:
            raw = experiment.ms["raw"].var.read().concat().to_pandas()
        assert raw["kind"].tolist() == ["b", "a"]


@pytest.mark.skipif(soma_takes_pandas(), reason="this release of tiledbsoma is for this pandas")
def test_an_experiment_with_a_pandas_that_soma_does_not_know(tmp_path: Path) -> None:
    """An experiment that tiledbsoma cannot write is refused with what helps, without a trace."""
    tables = pd.DataFrame({"kind": ["b", "a"]}, index=["x", "y"])
    adata = anndata.AnnData(sp.csr_matrix(np.eye(2, dtype=np.float32)), obs=tables, var=tables)
    dataset = slaf.convert(adata, tmp_path / "in.slaf")
    with pytest.raises(TargetError, match=r"may not know pandas 3\..*install 'pandas<3', or"):
        slaf.export(dataset, tmp_path / "out.soma")
    assert [path.name for path in tmp_path.iterdir()] == ["in.slaf"]


def from_soma(path: Path) -> anndata.AnnData:
    """The AnnData that tiledbsoma reads from an experiment."""
    with warnings.catch_warnings(), tiledbsoma.Experiment.open(str(path)) as experiment:
        warnings.simplefilter("ignore")
        return tiledbsoma.io.to_anndata(experiment, measurement_name="RNA")


@pytest.mark.parametrize(
    ("name", "format"), [("out.h5ad", None), ("out.zarr", None), ("out", "10x_mtx")]
)
def test_a_selection_equals_to_anndata(name: str, format: str | None, tmp_path: Path) -> None:
    """Selected cells and genes, in the order of the selection, equal those of `to_anndata`."""
    rng = np.random.default_rng(0)
    cells, genes = np.nonzero(rng.random((50, 20)) < 0.4)
    stored = Stored((50, 20), cells, genes, rng.integers(1, 9, len(cells)).astype(np.float32))
    dataset = slaf.convert(write_stored(tmp_path / "in.h5ad", stored), tmp_path / "in.slaf")
    view = dataset[[7, 3, 41, 40], ["gene-9", "gene-2", "gene-11"]]
    expected = view.to_anndata()
    slaf.export(view, tmp_path / name, format=format)
    if format is None:
        read = READERS[name.removeprefix("out.")]
        assert_same(read(tmp_path / name), expected)
    else:
        result = scanpy.read_10x_mtx(tmp_path / name)
        assert entries(result.X) == entries(expected.X)
        assert list(result.obs_names) == list(expected.obs_names)
        assert list(result.var_names) == list(expected.var_names)


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("layout", ["csr", "csc"])
def test_a_selection_of_every_slot(kind: str, layout: Layout, tmp_path: Path) -> None:
    """A selection applies to every slot, as in anndata; raw keeps its genes."""
    source = everything()
    dataset = slaf.convert(source, tmp_path / "in.slaf", chunk_size=5)
    cells, genes = [7, 3, 11, 10], ["gene-4", "gene-0"]
    output = tmp_path / f"out.{kind}"
    report = slaf.export(dataset[cells, genes], output, layout=layout, memory=1 << 12)
    assert report.left_out == ()
    expected = source[cells, genes].copy()
    assert_everything(READERS[kind](output), expected, texts=True)


@NEEDS_SOMA
def test_a_selection_by_way_of_soma(tmp_path: Path) -> None:
    """In TileDB-SOMA too, layers, embeddings, graphs and raw have the selected cells."""
    source = everything()
    dataset = slaf.convert(source, tmp_path / "in.slaf")
    slaf.export(dataset[[7, 3, 11], [4, 0]], tmp_path / "out.soma")
    expected = source[[7, 3, 11], [4, 0]].copy()
    with (
        warnings.catch_warnings(),
        tiledbsoma.Experiment.open(str(tmp_path / "out.soma")) as experiment,
    ):
        warnings.simplefilter("ignore")
        result = tiledbsoma.io.to_anndata(
            experiment, measurement_name="RNA", extra_X_layer_names=["whole", "late"]
        )
        raw = tiledbsoma.io.to_anndata(experiment, measurement_name="raw")
    assert list(result.obs_names) == list(raw.obs_names) == list(expected.obs_names)
    assert list(result.var_names) == list(expected.var_names)
    for left, right in (
        (result.X, expected.X),
        (raw.X, expected.raw.X),
        *((result.layers[name], expected.layers[name]) for name in ("whole", "late")),
        (result.obsm["X_pca"], expected.obsm["X_pca"]),
        (result.varm["loadings"], expected.varm["loadings"]),
        (result.obsp["graph"], expected.obsp["graph"]),
        (result.varp["dense"], expected.varp["dense"]),
    ):
        np.testing.assert_array_equal(as_matrix(left), as_matrix(right))


def everything() -> anndata.AnnData:
    """An AnnData with every slot filled."""
    obs, var = names("cell", N_CELLS), names("gene", N_GENES)
    parts = slots(counts(N_CELLS, N_GENES, seed=5) * np.float32(0.5))
    return anndata.AnnData(counts(N_CELLS, N_GENES), obs=obs, var=var, **parts)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A dataset of 2.5 million nonzeros: several batches, and several chunks of each format."""
    path = tmp_path_factory.mktemp("large") / "in.slaf"
    return slaf.convert(anndata.AnnData(counts(1600, 8000)), path)


@pytest.mark.parametrize("layout", ["csr", "csc"])
@pytest.mark.parametrize(
    ("kind", "compression"),
    [(kind, compression) for kind, choices in COMPRESSIONS.items() for compression in choices],
)
def test_many_chunks(
    kind: str, compression: ArrayCompression, layout: Layout, large: Dataset, tmp_path: Path
) -> None:
    """Batches, buckets and chunks are put together in order."""
    output = tmp_path / f"out.{kind}"
    slaf.export(large, output, layout=layout, compression=compression, memory=16 << 20)
    assert_same(READERS[kind](output), large.to_anndata())


@pytest.mark.parametrize(
    "name", ["out.h5", "out.mtx", pytest.param("out.soma", marks=[pytest.mark.slow, NEEDS_SOMA])]
)
def test_many_batches(name: str, large: Dataset, tmp_path: Path) -> None:
    """Batches of formats without choices are put together in order."""
    format = "10x_mtx" if name == "out.mtx" else None
    slaf.export(large, tmp_path / name, format=format)
    result = slaf.convert(tmp_path / name, tmp_path / "again.slaf").X.to_memory()
    expected = large.X.to_memory()
    for part in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(result, part), getattr(expected, part))
