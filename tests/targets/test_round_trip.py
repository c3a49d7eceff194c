"""What goes through a dataset into another format is what went in, or is named as left out."""

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
import tiledbsoma
import tiledbsoma.io
from hypothesis import given, settings
from hypothesis import strategies as st

import slaf
from slaf.errors import InexactValue, TargetError
from slaf.testing.strategies import NUMERIC_TYPES, Stored, frames, matrices
from tests.builders import as_matrix, counts, names, write_stored
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
    """A dataset of these entries, and a folder to write to."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write_stored(folder / "in.h5ad", stored, layout, **tables)
        yield slaf.convert(path, folder / "in.slaf", chunk_size=4, memory=2000), folder


@pytest.mark.parametrize("kind", READERS)
@settings(max_examples=8)
@given(data=st.data(), stored=matrices(), source_layout=st.sampled_from(["csr", "csc"]))
def test_every_value_comes_out_as_it_went_in(
    kind: str, data: st.DataObject, stored: Stored, source_layout: str
) -> None:
    """Of any type, in any layout and packing, in the type that the source had."""
    options: dict[str, Any] = {
        "layout": data.draw(st.sampled_from(["csr", "csc"])),
        "compression": data.draw(st.sampled_from(COMPRESSIONS[kind])),
        "memory": data.draw(st.integers(1, 2000)),
    }
    try:
        with converted(stored, source_layout) as (dataset, folder):
            output = folder / f"out.{kind}"
            made = slaf.export(dataset, output, **options)
            found = READERS[kind](output)
            assert found.X.format == options["layout"]
            assert found.X.dtype == np.dtype(dataset.published.dtype)
            assert_values(found.X, stored)
            assert_same(found, dataset.to_anndata())
            assert (made.n_cells, made.n_genes) == stored.shape
            assert made.left_out == ()
    except InexactValue:
        assert stored.values.dtype == np.uint64


@pytest.mark.parametrize("dtype", NUMERIC_TYPES, ids=str)
@pytest.mark.parametrize("kind", READERS)
def test_the_type_of_the_source_is_given_back(
    kind: str, dtype: np.dtype[Any], tmp_path: Path
) -> None:
    """Whole numbers that were stored as uint16 are floats again where they were floats."""
    stored = Stored((2, 3), np.array([0, 1]), np.array([2, 0]), np.array([1, 1], dtype))
    dataset = slaf.convert(write_stored(tmp_path / "in.h5ad", stored), tmp_path / "in.slaf")
    assert dataset.published.value_type == "uint16"
    slaf.export(dataset, tmp_path / f"out.{kind}")
    found = READERS[kind](tmp_path / f"out.{kind}").X
    # scipy has no matrices of half floats.
    assert found.dtype == (np.float32 if dtype == np.float16 else dtype)
    assert found.toarray().tolist() == [[0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("kind", READERS)
@settings(max_examples=8)
@given(data=st.data())
def test_tables_of_h5ad_come_out_as_they_went_in(kind: str, data: st.DataObject) -> None:
    """Columns of every type that h5ad holds, with their names, order and missing values."""
    n_cells, n_genes = data.draw(st.integers(0, 4)), data.draw(st.integers(0, 4))
    obs = data.draw(frames(n_cells, on_disk=True))
    var = data.draw(frames(n_genes, on_disk=True))
    empty = np.empty(0, np.int64)
    stored = Stored((n_cells, n_genes), empty, empty, np.empty(0, np.float32))
    with converted(stored, obs=obs, var=var) as (dataset, folder):
        made = slaf.export(dataset, folder / f"out.{kind}")
        assert made.left_out == ()
        assert_same(READERS[kind](folder / f"out.{kind}"), dataset.to_anndata())


@pytest.mark.parametrize("kind", READERS)
@settings(max_examples=10)
@given(data=st.data())
def test_a_column_is_written_or_named(kind: str, data: st.DataObject) -> None:
    """Each column of any kind is in the output as it was, or among what was left out."""
    n_cells = data.draw(st.integers(0, 4))
    obs = data.draw(frames(n_cells))
    adata = anndata.AnnData(np.zeros((n_cells, 2), np.float32), obs=obs, var=names("gene", 2))
    with tempfile.TemporaryDirectory() as folder:
        dataset = slaf.convert(adata, Path(folder) / "in.slaf")
        made = slaf.export(dataset, Path(folder) / f"out.{kind}")
        found = READERS[kind](Path(folder) / f"out.{kind}").obs
        assert list(found.index) == list(dataset.obs.index)
        notes = "\n".join(made.left_out)
        for name in dataset.obs.columns:
            where = f"obs[{name!r}] "
            if where in notes:
                assert (name in found) == (f"{where}({dataset.obs[name].dtype}) becomes" in notes)
            else:
                assert_same_column(found[name], dataset.obs[name])
        assert set(found.columns) <= set(dataset.obs.columns)


def assert_same_column(found: pd.Series[Any], expected: pd.Series[Any]) -> None:
    """Compare columns; strings may be held by another of pandas' types."""
    if isinstance(expected.dtype, pd.StringDtype):
        pd.testing.assert_series_equal(found.astype(expected.dtype), expected)
    else:
        pd.testing.assert_series_equal(found, expected)


@settings(max_examples=8)
@given(stored=matrices(np.dtype(np.float32), values=WHOLE.map(float), repeated=False))
def test_10x_h5_of_counts(stored: Stored) -> None:
    """Scanpy reads the values, the ids of cells and genes, and finds all are gene expression."""
    with converted(stored) as (dataset, folder):
        slaf.export(dataset, folder / "out.h5")
        found = scanpy.read_10x_h5(folder / "out.h5")
        assert_values(found.X, stored)
        assert found.X.dtype == np.float32
        assert list(found.obs_names) == list(dataset.obs.index)
        assert list(found.var["gene_ids"]) == list(dataset.var.index)
        assert set(found.var["feature_types"]) <= {"Gene Expression"}


@settings(max_examples=8)
@given(stored=matrices())
def test_10x_h5_of_any_numbers(stored: Stored) -> None:
    """Numbers of any type, fractions and NaN too, are read back by `slaf.diff` as they were."""
    try:
        with converted(stored) as (dataset, folder):
            slaf.export(dataset, folder / "out.h5")
            found = slaf.diff(dataset, folder / "out.h5")
            # The file has no word for the type that counts had.
            assert dict(found.counts).keys() <= {"type", "genes"}
            again = slaf.convert(folder / "out.h5", folder / "again.slaf")
            assert_values(again.read(), stored)
    except InexactValue:
        assert stored.values.dtype == np.uint64


@settings(max_examples=10)
@given(data=st.data())
def test_10x_mtx(data: st.DataObject) -> None:
    """Scanpy reads the values as float32, scipy as they are, by the ids of cells and genes."""
    whole = data.draw(st.booleans())
    dtype = np.dtype(np.int32 if whole else np.float64)
    # Of no entries at all, and of one cell, scanpy makes other shapes.
    stored = data.draw(
        matrices(dtype, values=WHOLE if whole else EIGHTHS, repeated=False).filter(
            lambda stored: len(stored.values) > 0
        )
    )
    with converted(stored) as (dataset, folder):
        made = slaf.export(dataset, folder / "out", format="10x_mtx")
        assert made.left_out == ()
        found = scanpy.read_10x_mtx(folder / "out", var_names="gene_ids")
        assert_values(found.X, stored)
        assert list(found.obs_names) == list(dataset.obs.index)
        assert list(found.var_names) == list(dataset.var.index)
        plain = folder / "matrix.mtx"
        plain.write_bytes(gzip.decompress((folder / "out" / "matrix.mtx.gz").read_bytes()))
        assert entries(scipy.io.mmread(plain).T) == entries(dataset.read())
        assert dict(slaf.diff(folder / "out", dataset).counts).keys() <= {"type", "genes"}


@settings(max_examples=8)
@given(value=st.floats(allow_nan=False, allow_infinity=False), width=st.sampled_from([32, 64]))
def test_mtx_holds_every_fraction_exactly(value: float, width: int) -> None:
    """The text of a number is that number, also where it came as float32."""
    with np.errstate(over="ignore"):
        number = np.array([value]).astype(f"f{width // 8}")
    if not number[0] or not np.isfinite(number[0]):
        return
    stored = Stored((1, 1), np.zeros(1, int), np.zeros(1, int), number)
    with converted(stored) as (dataset, folder):
        slaf.export(dataset, folder / "out", format="10x_mtx")
        assert_values(slaf.convert(folder / "out", folder / "again.slaf").read(), stored)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_mtx_refuses_what_it_has_no_word_for(value: float, tmp_path: Path) -> None:
    """NaN and infinities end the export, which then leaves nothing."""
    stored = Stored((3, 2), np.arange(3), np.array([0, 1, 0]), np.array([1.5, value, 2.5]))
    dataset = slaf.convert(write_stored(tmp_path / "in.h5ad", stored), tmp_path / "in.slaf")
    with pytest.raises(TargetError, match=f"cell 1 has the value {value} for gene 1"):
        slaf.export(dataset, tmp_path / "out", format="10x_mtx")
    assert {path.name for path in tmp_path.iterdir()} == {"in.h5ad", "in.slaf"}


@settings(max_examples=5)
@given(data=st.data())
def test_soma(data: st.DataObject) -> None:
    """Tiledbsoma reads values, types and ids, and every column of obs that it does not change."""
    dtype = data.draw(st.sampled_from([d for d in NUMERIC_TYPES if d != np.uint64]))
    stored = data.draw(matrices(dtype).filter(lambda stored: min(stored.shape) > 0))
    obs = names("cell", stored.shape[0])
    obs["kind"] = pd.Categorical(["b", "a"] * 9, ["b", "c", "a"], ordered=True)[: len(obs)]
    obs["depth"] = np.linspace(0, 1, len(obs))
    with converted(stored, obs=obs) as (dataset, folder):
        slaf.export(dataset, folder / "out.soma")
        found = from_soma(folder / "out.soma")
        assert_values(found.X, stored)
        is_bool = dataset.published.dtype == "bool"
        assert found.X.dtype == ("uint8" if is_bool else dataset.published.dtype)
        pd.testing.assert_frame_equal(found.obs, dataset.obs)
        assert list(found.var_names) == list(dataset.var.index)
        # As a source an experiment has its join ids among its columns.
        assert dict(slaf.diff(dataset, folder / "out.soma").counts).keys() <= {
            *("type", "cells", "genes")
        }


def from_soma(path: Path) -> anndata.AnnData:
    """The experiment, as tiledbsoma reads it."""
    with warnings.catch_warnings(), tiledbsoma.Experiment.open(str(path)) as experiment:
        warnings.simplefilter("ignore")
        return tiledbsoma.io.to_anndata(experiment, measurement_name="RNA")


@pytest.mark.parametrize(
    ("name", "format"), [("out.h5ad", None), ("out.zarr", None), ("out", "10x_mtx")]
)
def test_a_part_is_what_the_dataset_reads_of_it(
    name: str, format: str | None, tmp_path: Path
) -> None:
    """Cells and genes that are chosen, in the order asked for, are those of `to_anndata`."""
    rng = np.random.default_rng(0)
    cells, genes = np.nonzero(rng.random((50, 20)) < 0.4)
    stored = Stored((50, 20), cells, genes, rng.integers(1, 9, len(cells)).astype(np.float32))
    dataset = slaf.convert(write_stored(tmp_path / "in.h5ad", stored), tmp_path / "in.slaf")
    chosen: dict[str, Any] = {"cells": [7, 3, 41, 40], "genes": ["gene-9", "gene-2", "gene-11"]}
    expected = dataset.to_anndata(**chosen)
    slaf.export(dataset, tmp_path / name, format=format, **chosen)
    if format is None:
        read = READERS[name.removeprefix("out.")]
        assert_same(read(tmp_path / name), expected)
    else:
        found = scanpy.read_10x_mtx(tmp_path / name)
        assert entries(found.X) == entries(expected.X)
        assert list(found.obs_names) == list(expected.obs_names)
        assert list(found.var_names) == list(expected.var_names)


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("layout", ["csr", "csc"])
def test_a_part_of_every_slot(kind: str, layout: Layout, tmp_path: Path) -> None:
    """What is chosen is chosen in every slot, as anndata does; raw keeps its genes."""
    source = everything()
    dataset = slaf.convert(source, tmp_path / "in.slaf", chunk_size=5)
    cells, genes = [7, 3, 11, 10], ["gene-4", "gene-0"]
    output = tmp_path / f"out.{kind}"
    made = slaf.export(dataset, output, cells=cells, genes=genes, layout=layout, memory=1 << 12)
    assert made.left_out == ()
    expected = source[cells, genes].copy()
    assert_everything(READERS[kind](output), expected, texts=True)


def test_a_part_by_way_of_soma(tmp_path: Path) -> None:
    """So it is for TileDB-SOMA: layers, embeddings, graphs and raw are of the cells chosen."""
    source = everything()
    dataset = slaf.convert(source, tmp_path / "in.slaf")
    slaf.export(dataset, tmp_path / "out.soma", cells=[7, 3, 11], genes=[4, 0])
    expected = source[[7, 3, 11], [4, 0]].copy()
    with warnings.catch_warnings(), tiledbsoma.Experiment.open(str(tmp_path / "out.soma")) as made:
        warnings.simplefilter("ignore")
        found = tiledbsoma.io.to_anndata(
            made, measurement_name="RNA", extra_X_layer_names=["whole", "late"]
        )
        raw = tiledbsoma.io.to_anndata(made, measurement_name="raw")
    assert list(found.obs_names) == list(raw.obs_names) == list(expected.obs_names)
    assert list(found.var_names) == list(expected.var_names)
    for one, other in (
        (found.X, expected.X),
        (raw.X, expected.raw.X),
        *((found.layers[name], expected.layers[name]) for name in ("whole", "late")),
        (found.obsm["X_pca"], expected.obsm["X_pca"]),
        (found.varm["loadings"], expected.varm["loadings"]),
        (found.obsp["graph"], expected.obsp["graph"]),
        (found.varp["dense"], expected.varp["dense"]),
    ):
        np.testing.assert_array_equal(as_matrix(one), as_matrix(other))


def everything() -> anndata.AnnData:
    """An AnnData with something in every slot."""
    obs, var = names("cell", N_CELLS), names("gene", N_GENES)
    held = slots(counts(N_CELLS, N_GENES, seed=5) * np.float32(0.5))
    return anndata.AnnData(counts(N_CELLS, N_GENES), obs=obs, var=var, **held)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A dataset of two and a half million nonzeros: several batches, and chunks of any format."""
    path = tmp_path_factory.mktemp("large") / "in.slaf"
    return slaf.convert(anndata.AnnData(counts(1600, 8000)), path)


@pytest.mark.parametrize("layout", ["csr", "csc"])
@pytest.mark.parametrize(
    ("kind", "compression"),
    [(kind, packed) for kind, all_ in COMPRESSIONS.items() for packed in all_],
)
def test_many_chunks(
    kind: str, compression: ArrayCompression, layout: Layout, large: Dataset, tmp_path: Path
) -> None:
    """What is cut into batches, bands and chunks is put together as it was."""
    output = tmp_path / f"out.{kind}"
    slaf.export(large, output, layout=layout, compression=compression, memory=16 << 20)
    assert_same(READERS[kind](output), large.to_anndata())


@pytest.mark.parametrize(
    "name", ["out.h5", "out.mtx", pytest.param("out.soma", marks=pytest.mark.slow)]
)
def test_many_batches(name: str, large: Dataset, tmp_path: Path) -> None:
    """So are the batches of formats that leave no choice."""
    format = "10x_mtx" if name == "out.mtx" else None
    slaf.export(large, tmp_path / name, format=format)
    found = slaf.convert(tmp_path / name, tmp_path / "again.slaf").read()
    expected = large.read()
    for part in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(found, part), getattr(expected, part))
