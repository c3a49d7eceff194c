"""What is read of a dataset is what scipy and AnnData would have given of its source."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given

import slaf
from slaf.errors import (
    ConversionInProgress,
    DamagedDataset,
    NotADataset,
    QueryError,
    SelectionError,
    UnsupportedFormat,
)
from slaf.format.validation import with_checksum
from slaf.testing.crashing import Crash, CrashingStorage
from tests.builders import counts, write_h5ad

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from slaf.dataset.dataset import Dataset

N_CELLS, N_GENES = 30, 12


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An h5ad with a cell and a gene that have no nonzeros."""
    matrix = counts(N_CELLS, N_GENES).tolil()
    matrix[7], matrix[:, 4] = 0, 0
    return write_h5ad(tmp_path_factory.mktemp("source") / "in.h5ad", matrix.tocsr())


@pytest.fixture(scope="module")
def adata(source: Path) -> anndata.AnnData:
    """What it holds."""
    return anndata.read_h5ad(source)


@pytest.fixture(scope="module")
def dataset(source: Path) -> Dataset:
    """The dataset of it, in several parts."""
    return slaf.convert(source, source.with_name("out.slaf"), chunk_size=7)


def assert_same_matrix(found: Any, expected: Any) -> None:
    """Equal in type, shape and every value."""
    assert isinstance(found, sp.csr_matrix)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.toarray(), expected.toarray())


# ---------------------------------------------------------------------------------------- the whole


def test_what_it_says_of_itself(dataset: Dataset, adata: anndata.AnnData, source: Path) -> None:
    """Shape, nonzeros and sources are those of the input."""
    assert dataset.shape == (dataset.n_cells, dataset.n_genes) == (N_CELLS, N_GENES)
    assert dataset.nnz == adata.X.nnz
    assert [record.uri for record in dataset.sources] == [str(source)]
    assert "out.slaf': 30 cells × 12 genes, float32\n    obs: 'batch', 'depth'" in repr(dataset)


def test_everything(dataset: Dataset, adata: anndata.AnnData) -> None:
    """Without a choice all is read: matrix, obs and var."""
    assert_same_matrix(dataset.X.to_memory(), adata.X)
    found = dataset.to_anndata()
    assert_same_matrix(found.X, adata.X)
    pd.testing.assert_frame_equal(found.obs, adata.obs)
    pd.testing.assert_frame_equal(found.var, adata.var)
    pd.testing.assert_frame_equal(dataset.obs, adata.obs)
    pd.testing.assert_frame_equal(dataset.var, adata.var)


def test_the_tables(dataset: Dataset, adata: anndata.AnnData) -> None:
    """Cells, genes and nonzeros are there as they are stored, ids first."""
    assert dataset.table("cells").schema.names[:3] == [
        "cell_id",
        "cell_integer_id",
        "cell_start_index",
    ]
    assert dataset.obs_names.to_list() == adata.obs_names.to_list()
    assert dataset.var_names.to_list() == adata.var_names.to_list()
    table = dataset.expression.to_table()
    assert table.column_names == ["cell_integer_id", "gene_integer_id", "value"]
    cells, genes, values = (column.to_numpy() for column in table.columns)
    expected = adata.X.tocoo()
    np.testing.assert_array_equal(cells, expected.row)
    np.testing.assert_array_equal(genes, expected.col)
    np.testing.assert_array_equal(values, expected.data)


def test_offsets(dataset: Dataset, adata: anndata.AnnData) -> None:
    """The offsets of the cells are the row pointers of a sparse matrix."""
    np.testing.assert_array_equal(dataset.offsets("expression"), adata.X.indptr)


def test_offsets_of_every_table(dataset: Dataset, tmp_path: Path) -> None:
    """Where rows begin is told of every table that has an order, and of no other."""
    of_raw = pd.DataFrame(index=[f"raw-{gene}" for gene in range(N_GENES + 1)])
    raw = {"X": counts(N_CELLS, N_GENES + 1, seed=2), "var": of_raw}
    layers = {"other": counts(N_CELLS, N_GENES, seed=1)}
    source = write_h5ad(tmp_path / "in.h5ad", counts(N_CELLS, N_GENES), layers=layers, raw=raw)
    ds = slaf.convert(source, tmp_path / "out.slaf", by_gene=True)
    told = {}
    for name in ds.published.tables:
        try:
            told[name] = ds.offsets(name)
        except KeyError:
            continue
    assert told.keys() == {"expression", "expression_by_gene", "layers", "raw"}
    for name, offsets in told.items():
        axis, n = ("gene", N_GENES) if name == "expression_by_gene" else ("cell", N_CELLS)
        ids = ds.table(name).to_table([f"{axis}_integer_id"]).column(0).to_numpy()
        np.testing.assert_array_equal(np.diff(offsets), np.bincount(ids, minlength=n))
        assert offsets[0] == 0
    with pytest.raises(KeyError):
        dataset.offsets("layers")


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_without_cells_or_genes(shape: tuple[int, int], tmp_path: Path) -> None:
    """A dataset without cells, or without genes, is read like any other."""
    ds = slaf.convert(anndata.AnnData(np.zeros(shape)), tmp_path / "out.slaf")
    assert ds.X.to_memory().shape == ds.to_anndata().shape == shape
    assert ds[[], []].X.to_memory().shape == (0, 0)
    assert ds[:, :].X.to_memory().shape == shape
    assert ds.sql("SELECT COUNT(*) AS n FROM expression")["n"].to_list() == [0]


# ------------------------------------------------------------------------------------------ choices


def selectors(n: int, name: str) -> SearchStrategy[Any]:
    """Ways to choose among n cells or genes that numpy, or a frame's index, understands too."""
    one = st.integers(-n, n - 1)
    ids = st.integers(0, n - 1).map(lambda at: f"{name}-{at}")
    return st.one_of(
        st.none(),
        st.slices(n),
        one,
        st.lists(one, max_size=n),
        st.lists(one, max_size=n).map(lambda chosen: np.array(chosen, np.int64)),
        st.lists(st.booleans(), min_size=n, max_size=n).map(np.array),
        st.lists(ids, max_size=n),
        st.integers(0, n).map(lambda limit: f"{name}_integer_id >= {limit}"),
    )


def as_numpy(selector: Any, names: pd.Index[str]) -> Any:
    """The positions that a selector stands for, found another way."""
    every = np.arange(len(names))
    if selector is None:
        return every
    if isinstance(selector, str):
        return every[every >= int(selector.rsplit(" ", 1)[1])]
    if isinstance(selector, list) and selector and isinstance(selector[0], str):
        return np.array([names.get_loc(name) for name in selector])
    return np.atleast_1d(
        every[np.array([], int) if isinstance(selector, list) and not selector else selector]
    )


@given(selectors(N_CELLS, "cell"), selectors(N_GENES, "gene"))
def test_any_choice(dataset: Dataset, adata: anndata.AnnData, cells: Any, genes: Any) -> None:
    """Any choice on both axes gives what the same choice of the source gives, in its order."""
    rows, columns = as_numpy(cells, adata.obs_names), as_numpy(genes, adata.var_names)
    expected = adata.X[rows][:, columns]
    assert_same_matrix(dataset[cells, genes].X.to_memory(), expected)


@given(selectors(N_CELLS, "cell"), selectors(N_GENES, "gene"))
@pytest.mark.filterwarnings("ignore:.* names are not unique:UserWarning")
def test_any_choice_as_anndata(
    dataset: Dataset, adata: anndata.AnnData, cells: Any, genes: Any
) -> None:
    """Any choice gives the AnnData that the same choice of the source gives: X, obs and var."""
    rows, columns = as_numpy(cells, adata.obs_names), as_numpy(genes, adata.var_names)
    found = dataset[cells, genes].to_anndata()
    assert_same_matrix(found.X, adata.X[rows][:, columns])
    # Categories that no cell of the choice has are kept, as pandas does.
    pd.testing.assert_frame_equal(found.obs, adata.obs.iloc[rows])
    pd.testing.assert_frame_equal(found.var, adata.var.iloc[columns])


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ("batch = 'b1'", range(1, N_CELLS, 3)),
        ("batch IN ('b0', 'b1') AND cell_integer_id < 4", [0, 1, 3]),
        ("cell_id = 'cell-7'", [7]),
        ("depth > 0.5", []),
    ],
)
def test_a_filter(
    cells: str, expected: list[int], dataset: Dataset, adata: anndata.AnnData
) -> None:
    """A filter on the table of the cells may speak of ids and of columns of obs."""
    assert_same_matrix(dataset[cells].X.to_memory(), adata.X[list(expected)])


def test_a_column_whose_name_needs_quotes(tmp_path: Path) -> None:
    """It is the column that is asked, and not its name."""
    obs = pd.DataFrame({"cell type": ["T", "B", "cell type"], "n": [1, 2, 3]}, list("abc"))
    dataset = slaf.convert(
        anndata.AnnData(counts(3, 2), obs, pd.DataFrame(index=["g", "h"])), tmp_path / "out.slaf"
    )
    for condition, rows in (
        ("\"cell type\" = 'T'", [0]),
        ("`cell type` <> 'T'", [1, 2]),
        ("'cell type' = \"cell type\"", [2]),
        ('"n" > 1', [1, 2]),
    ):
        found = dataset[condition].to_anndata().obs_names
        assert found.tolist() == ["abc"[row] for row in rows]
    with pytest.raises(SelectionError, match="text stands in single quotes"):
        dataset['"cell type" = "T"'].X.to_memory()


def test_of_what_was_written_to_since(tmp_path: Path) -> None:
    """What an append has replaced is not called damaged without saying what else it may be."""
    before = slaf.convert(write_h5ad(tmp_path / "in.h5ad", counts(9, 5)), tmp_path / "out.slaf")
    slaf.append(write_h5ad(tmp_path / "more.h5ad", counts(4, 5, seed=1)), tmp_path / "out.slaf")
    with pytest.raises(DamagedDataset, match="written to since it was opened, open it anew"):
        _ = before.obs
    assert len(slaf.open(tmp_path / "out.slaf").obs) == 13


def test_a_filter_on_genes(dataset: Dataset, adata: anndata.AnnData) -> None:
    """A filter on the table of the genes may speak of columns of var."""
    assert_same_matrix(dataset[:, "length BETWEEN 3 AND 5"].X.to_memory(), adata.X[:, 3:6])


def test_indices_are_sorted(dataset: Dataset) -> None:
    """A matrix comes with its genes in order and without repetition, ready to be used."""
    for genes in (None, [5, 2, 9], slice(None, None, -1)):
        matrix = dataset[:, genes].X.to_memory()
        again = matrix.copy()
        again.sum_duplicates()
        np.testing.assert_array_equal(again.toarray(), matrix.toarray())
        assert again.nnz == matrix.nnz


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"cells": N_CELLS}, "no position 30 among 30 cells"),
        ({"genes": [0, -N_GENES - 1]}, "no position -13 among 12 genes"),
        ({"cells": ["cell-1", "elsewhere"]}, "no cells with the id 'elsewhere'"),
        ({"genes": np.ones(3, bool)}, "mask has 3 values, but there are 12 genes"),
        ({"cells": [0.5]}, "cells are selected by whole numbers"),
        (
            {"cells": "nowhere > 3"},
            "'nowhere > 3' is no cell, and no filter on cells: there is no column 'nowhere'",
        ),
        ({"genes": "length >"}, "'length >' is no gene, and no filter on genes: it ends too early"),
        (
            {"genes": "length"},
            "'length' is no gene, and no filter on genes: it has values of type BIGINT",
        ),
    ],
)
def test_what_is_not_there(choice: dict[str, Any], message: str, dataset: Dataset) -> None:
    """What a dataset does not have is refused by name."""
    with pytest.raises(SelectionError, match=message):
        dataset[choice.get("cells"), choice.get("genes")]


def test_an_id_of_several(tmp_path: Path) -> None:
    """An id that several cells have stands for none of them; a filter finds them all."""
    obs = pd.DataFrame(index=["a", "b", "a"])
    with pytest.warns(UserWarning, match="not unique"):
        adata = anndata.AnnData(np.eye(3, dtype=np.float32), obs=obs)
    ds = slaf.convert(adata, tmp_path / "out.slaf")
    assert ds[["b"]].X.to_memory().toarray().tolist() == [[0, 1, 0]]
    assert ds["cell_id = 'a'"].X.to_memory().toarray().tolist() == [[1, 0, 0], [0, 0, 1]]
    with pytest.raises(SelectionError, match="'a' is the id of several cells"):
        ds[["b", "a"]].X.to_memory()


# --------------------------------------------------------------------------------------------- cost


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset whose table is much larger than a page of it."""
    rng = np.random.default_rng(0)
    matrix = sp.random(4000, 500, 0.3, "csr", np.float32, random_state=rng)
    top = tmp_path_factory.mktemp("large")
    slaf.convert(anndata.AnnData(matrix), top / "out.slaf", chunk_size=500)
    return top / "out.slaf"


def bytes_read(dataset: Dataset, cells: Any) -> int:
    """Bytes that are read of files for these cells, by a reader that knows the offsets only."""
    # Tables that are not open yet are opened, and of the offsets all are read.
    assert dataset[[]].X.to_memory().nnz == 0
    before, counted = bytes_read_so_far()
    dataset[cells].X.to_memory()
    return bytes_read_so_far()[0] - before - counted


def bytes_read_so_far() -> tuple[int, int]:
    """Bytes that this process has read of files, and those that it takes to count them."""
    counters = Path("/proc/self/io").read_bytes()
    return int(counters.split()[1]), len(counters)


@pytest.mark.parametrize("cells", [[5], slice(1990, 2010), [0, 2222, 3999], slice(3990, None)])
def test_cells_are_read_by_their_offset(cells: Any, large: Path) -> None:
    """A few cells cost a few reads, not a scan of the table."""
    everything = bytes_read(slaf.open(large), None)
    stored = sum(file.stat().st_size for file in (large / "expression.lance/data").iterdir())
    assert everything > stored / 2
    assert 0 < bytes_read(slaf.open(large), cells) < everything / 10


def test_no_cells_cost_nothing(large: Path) -> None:
    """No cells are read without a look at the table: the system's own counters take some bytes."""
    assert bytes_read(slaf.open(large), []) < 1_000


def test_the_last_costs_as_much_as_the_first(large: Path) -> None:
    """What comes before a range of cells is not read."""
    first, last = (bytes_read(slaf.open(large), slice(at, at + 10)) for at in (100, 3900))
    assert last < 2 * first


def test_long_and_short_ranges(large: Path) -> None:
    """Ranges that are scanned and ranges that are taken come out in the order asked for."""
    ds = slaf.open(large)
    whole = ds.X.to_memory()
    cells = [3999, *range(1000), 17, *range(2000, 2600), *range(3900, 3000, -1)]
    assert_same_matrix(ds[cells].X.to_memory(), whole[cells])


# ----------------------------------------------------------------------------------- sql and polars


def test_sql(dataset: Dataset, adata: anndata.AnnData) -> None:
    """A query joins the tables, and gives sums per cell, batch and gene."""
    total = dataset.sql("SELECT SUM(value) AS total, COUNT(*) AS n FROM expression")
    assert total.row(0) == (adata.X.sum(), adata.X.nnz)
    grouped = dataset.sql(
        "SELECT batch, SUM(value) AS total FROM expression JOIN cells USING (cell_integer_id) "
        "GROUP BY batch ORDER BY batch"
    )
    expected = pd.Series(np.asarray(adata.X.sum(axis=1)).ravel()).groupby(
        adata.obs["batch"].to_numpy()
    )
    assert dict(grouped.iter_rows()) == expected.sum().to_dict()
    gene = dataset.sql(
        "SELECT SUM(value) AS total FROM expression JOIN genes USING (gene_integer_id) "
        "WHERE gene_id = 'gene-3'"
    )
    assert gene["total"].to_list() == [adata.X[:, 3].sum()]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELEC 1", "it is no SQL at 'SELEC'$"),
        (
            "SELECT bach FROM cells",
            "no column 'bach'; the nearest is 'batch', and all are cell_integer_id",
        ),
        ("SELECT * FROM cell", "no table 'cell'; the nearest is 'cells', and all are expression"),
        ("", "it has 0 statements; write one SELECT"),
        ("SELECT 1; SELECT 2", "it has 2 statements"),
        ("SELECT * FROM cells WHERE batch = 1", "batch holds text, and 1 is a number; write text"),
        ("SELECT sum(batch) FROM cells", "sum is not possible with values of type VARCHAR"),
    ],
)
def test_sql_that_is_none(query: str, message: str, dataset: Dataset) -> None:
    """A query that cannot be run is refused with the one thing that is wrong."""
    with pytest.raises(QueryError, match=message):
        dataset.sql(query)


@pytest.mark.parametrize("name", ["expression", "cells", "genes"])
def test_lazy(name: str, dataset: Dataset) -> None:
    """A table as a LazyFrame holds what the table holds, categories as their values."""
    frame = dataset.lazy(name).collect()
    assert frame.columns == dataset.table(name).schema.names
    assert frame.to_dict(as_series=False) == dataset.table(name).to_table().to_pydict()


def test_lazy_expressions(dataset: Dataset, adata: anndata.AnnData) -> None:
    """Filters, projections, limits and counts of a LazyFrame are those of the matrix."""
    lazy = dataset.lazy()
    large = lazy.filter(pl.col("value") > 5).select("gene_integer_id").collect()
    assert large.columns == ["gene_integer_id"]
    assert large.height == (adata.X.data > 5).sum()
    assert lazy.select(pl.len()).collect().item() == adata.X.nnz
    assert lazy.head(3).collect()["value"].to_list() == adata.X.data[:3].tolist()
    assert lazy.filter(pl.col("cell_integer_id") == 3).head(1).collect().height == 1


# ------------------------------------------------------------------------------------------ opening


def test_nothing_there(tmp_path: Path) -> None:
    """A path that does not exist is no dataset, and a FileNotFoundError as well."""
    with pytest.raises(NotADataset, match=r"missing\.slaf: not a SLAF dataset \(it does not exist"):
        slaf.open(tmp_path / "missing.slaf")
    with pytest.raises(FileNotFoundError):
        slaf.open(str(tmp_path / "missing.slaf"))


def test_other_things_there(source: Path, tmp_path: Path) -> None:
    """An empty directory, one of other things, and a file are no datasets."""
    (tmp_path / "other").mkdir()
    with pytest.raises(NotADataset, match=r"has no config\.json"):
        slaf.open(tmp_path / "other")
    (tmp_path / "other/notes.txt").write_text("notes")
    with pytest.raises(NotADataset, match=r"has no config\.json"):
        slaf.open(tmp_path / "other")
    with pytest.raises(NotADataset, match=r"in\.h5ad: not a SLAF dataset"):
        slaf.open(source)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("1.2", r"of format 1\.2, newer than this release reads \(1\.1\); upgrade slaf"),
        ("2.0", r"of format 2\.0, newer"),
        ("0.4", r"of format 0\.4, which another program wrote"),
    ],
)
def test_another_format(version: str, message: str, source: Path, tmp_path: Path) -> None:
    """A dataset of a newer format, or of another program's, is refused by its version."""
    slaf.convert(source, tmp_path / "out.slaf")
    config = json.loads((tmp_path / "out.slaf/config.json").read_bytes())
    config["format_version"] = version
    (tmp_path / "out.slaf/config.json").write_bytes(with_checksum(config))
    with pytest.raises(UnsupportedFormat, match=message):
        slaf.open(tmp_path / "out.slaf")


def test_the_previous_format(source: Path, tmp_path: Path) -> None:
    """A dataset of format 1.0 is read."""
    config = tmp_path / "out.slaf/config.json"
    expected = slaf.convert(source, config.parent).X.to_memory()
    config.write_bytes(with_checksum(json.loads(config.read_bytes()) | {"format_version": "1.0"}))
    assert_same_matrix(slaf.open(config.parent).X.to_memory(), expected)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b'{"a": 1}'])
def test_a_damaged_config(content: bytes, tmp_path: Path) -> None:
    """A config.json that is none is an error that names the file."""
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(DamagedDataset, match=r"config\.json"):
        slaf.open(tmp_path)


def test_in_progress(source: Path, tmp_path: Path) -> None:
    """Nothing of an unfinished conversion is shown, but how far it is."""
    storage = CrashingStorage(tmp_path / "out.slaf", 16)
    with pytest.raises(Crash):
        slaf.convert(source, storage, chunk_size=7)
    with pytest.raises(ConversionInProgress, match=r"conversion in progress, \d of 5 parts"):
        slaf.open(tmp_path / "out.slaf")


@pytest.mark.parametrize("name", ["expression", "cells", "genes"])
def test_a_table_less(name: str, source: Path, tmp_path: Path) -> None:
    """A dataset whose table is gone, or cannot be read, is an error that names the table."""
    slaf.convert(source, tmp_path / "out.slaf")
    ds = slaf.open(tmp_path / "out.slaf")
    for file in (tmp_path / f"out.slaf/{name}.lance/data").iterdir():
        file.write_bytes(b"")
    with pytest.raises(DamagedDataset, match=rf"{name}\.lance"):
        ds.to_anndata()
    for file in (tmp_path / f"out.slaf/{name}.lance/_versions").iterdir():
        file.unlink()
    with pytest.raises(DamagedDataset, match=rf"{name}\.lance cannot be opened"):
        slaf.open(tmp_path / "out.slaf").to_anndata()


# --------------------------------------------------------------------------- readers and one writer


def test_a_reader_while_the_dataset_is_replaced(
    source: Path, adata: anndata.AnnData, tmp_path: Path
) -> None:
    """A reader sees the older dataset until the new one is published, whenever it opens it."""
    older = sp.csr_matrix(np.full((4, N_GENES), 3, np.float32))
    slaf.convert(anndata.AnnData(older), tmp_path / "older.slaf")
    recorder = CrashingStorage(shutil.copytree(tmp_path / "older.slaf", tmp_path / "whole.slaf"))
    slaf.convert(source, recorder, overwrite=True, chunk_size=15)
    seen = []
    for at in range(2, len(recorder.effects), 4):
        path = shutil.copytree(tmp_path / "older.slaf", tmp_path / f"{at}.slaf")
        reader = slaf.open(path)
        with pytest.raises(Crash):
            slaf.convert(source, CrashingStorage(path, at), overwrite=True, chunk_size=15)
        found = slaf.open(path).X.to_memory()
        is_older = found.shape == older.shape
        assert_same_matrix(found, older if is_older else adata.X)
        if is_older:
            assert_same_matrix(reader.X.to_memory(), older)
            pd.testing.assert_frame_equal(reader.obs, slaf.open(path).obs)
        seen.append(is_older)
    assert seen == sorted(seen, reverse=True)
    assert {True, False} == set(seen)


def test_a_reader_after_the_dataset_was_replaced(source: Path, tmp_path: Path) -> None:
    """A reader whose version was cleaned away is told so; it is never given the new one."""
    older = anndata.AnnData(np.full((4, N_GENES), 3, np.float32))
    reader = slaf.convert(older, tmp_path / "out.slaf")
    slaf.convert(source, tmp_path / "out.slaf", overwrite=True)
    assert reader.shape == (4, N_GENES)
    with pytest.raises(DamagedDataset, match="cannot be"):
        reader.X.to_memory()
    assert slaf.open(tmp_path / "out.slaf").shape == (N_CELLS, N_GENES)


@pytest.mark.parametrize("removed", [False, True])
def test_a_reader_after_a_table_was_made_again(tmp_path: Path, *, removed: bool) -> None:
    """A table that is made again at the same version is not read as the one that was opened."""
    output = tmp_path / "out.slaf"

    def input_of(value: float) -> anndata.AnnData:
        matrix = sp.csr_matrix(np.eye(3, dtype=np.float32) * value)
        return anndata.AnnData(matrix, layers={"spliced": matrix * 2})

    old = slaf.convert(input_of(1), output)
    layer = old.layers["spliced"]
    old.offsets("layers")
    if removed:
        shutil.rmtree(output)
    else:
        slaf.convert(input_of(2), output, layers="none", overwrite=True)
    slaf.convert(input_of(5), output, overwrite=not removed)
    with pytest.raises(DamagedDataset, match=r"is that of another dataset.*; open it anew"):
        layer.to_memory()


def test_a_dataset_where_a_place_is_asked_for(dataset: Dataset) -> None:
    """It describes itself."""
    assert slaf.info(dataset) == slaf.info(dataset.location.path)
