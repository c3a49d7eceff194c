"""TileDB-SOMA experiments, as their own library writes them, and damaged ones."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
import tiledbsoma
import tiledbsoma.io

import slaf
from benchmarks.inputs.soma import from_h5ad
from slaf.errors import UnfinishedRun
from slaf.sources.soma import experiment
from slaf.sources.soma import layer as soma_layer
from slaf.sources.soma.context import Memory
from slaf.testing.strategies import Stored
from tests.cli.terminal import stop_after
from tests.formats.builders import Mtx, ids, write_soma, write_to
from tests.formats.checks import converted, refused

# Cells 0 and 3 are empty, a zero is stored.
STORED = Stored(
    (6, 5),
    np.array([1, 1, 2, 4, 4, 5, 5, 5]),
    np.array([4, 0, 3, 2, 1, 0, 1, 2]),
    np.array([2, 3, 5, 0, 7, 8, 70_000, 10], np.float32),
)
OTHER = replace(STORED, values=STORED.values + np.float32(1))
N_CELLS, N_GENES = 6, 5
CELL_JOINS, GENE_JOINS = [2, 3, 7, 8, 9, 20], [1, 2, 5, 6, 30]


def written(path: Path, adata: anndata.AnnData) -> Path:
    """What `tiledbsoma.io` makes of an AnnData on disk."""
    source = path.with_suffix(".h5ad")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata.write_h5ad(source)
        from_h5ad(path, source)
    return path


def example(**parts: Any) -> anndata.AnnData:
    """An AnnData with columns of every kind that an experiment holds."""
    obs = pd.DataFrame(
        {
            "grade": pd.Categorical(list("abcabc"), categories=list("cbaz"), ordered=True),
            "number": pd.Categorical([1, 2, 1, 2, 1, 2]),
            "count": np.arange(N_CELLS, dtype="i4"),
            "share": [0.1, np.nan, 3, 4, 5, 6],
            "flag": [True, False, True, True, False, True],
            "note": ["a", "", "é", "b", "c", "d"],
            "maybe": pd.array([1, None, 3, 4, 5, 6], dtype="Int64"),
            "either": pd.array([True, None, False, True, True, True], dtype="boolean"),
        },
        index=ids("cell", N_CELLS),
    )
    var = pd.DataFrame({"symbol": [f"S{n}" for n in range(N_GENES)]}, index=ids("gene", N_GENES))
    matrix = sp.csr_matrix((STORED.values, (STORED.cells, STORED.genes)), shape=STORED.shape)
    return anndata.AnnData(matrix, obs=obs, var=var, **parts)


def test_what_tiledbsoma_writes(tmp_path: Path) -> None:
    """An experiment that tiledbsoma made of an AnnData gives back its matrix, obs and var."""
    adata = example()
    dataset = converted(written(tmp_path / "in", adata), STORED, chunk_size=2)
    # They write NaN as a missing value, which of floats Float64 alone has.
    expected = adata.obs.astype({"share": "Float64"})
    pd.testing.assert_frame_equal(dataset.obs.drop(columns="soma_joinid"), expected)
    pd.testing.assert_frame_equal(dataset.var.drop(columns="soma_joinid"), adata.var)
    assert dataset.obs["soma_joinid"].to_list() == list(range(N_CELLS))


@pytest.mark.parametrize("name", ["barcode", "cell name", "obs_id"])
def test_the_index_that_tiledbsoma_remembers(name: str, tmp_path: Path) -> None:
    """An index that had a name is the id and keeps its name, whatever that is."""
    adata = example()
    adata.obs.index.name, adata.var.index.name = name, "ensembl"
    dataset = converted(written(tmp_path / "in", adata), STORED)
    assert dataset.obs_names.to_list() == ids("cell", N_CELLS)
    assert dataset.var_names.to_list() == ids("gene", N_GENES)
    assert (dataset.obs.index.name, dataset.var.index.name) == (name, "ensembl")


def test_what_is_beside_the_matrix(tmp_path: Path) -> None:
    """Other layers, raw and the slots go along; each layer and measurement can be taken."""
    adata = example(obsm={"X_pca": np.ones((N_CELLS, 2))}, uns={"colour": "red"})
    adata.layers["other"] = adata.X * 2
    adata.raw = adata.copy()
    path = written(tmp_path / "in", adata)
    found = slaf.info(path)
    assert isinstance(found, slaf.InputInfo)
    assert found.matrices == ("layer:data", "layer:other")
    assert found.not_converted == ()
    assert found.annotations == ("layers (other)", "raw (5 genes)", "obsm (X_pca)", "uns (colour)")
    converted(path, STORED)
    converted(path, replace(STORED, values=STORED.values * 2), matrix="layer:other")
    converted(path, STORED, measurement="raw")


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "u2", "i8", "u1"])
def test_every_type(dense: bool, dtype: str, tmp_path: Path) -> None:  # noqa: FBT001 - pytest names them
    """Layers of any numeric type are read, sparse and dense."""
    stored = replace(STORED, values=(STORED.values % 100).astype(dtype))
    dataset = converted(write_soma(tmp_path / "in", stored, dense=dense), stored, chunk_size=2)
    assert dataset.sources[0].dtype == np.dtype(dtype).name


@pytest.mark.parametrize("dense", [False, True])
def test_join_ids_with_gaps(dense: bool, tmp_path: Path) -> None:  # noqa: FBT001 - pytest names them
    """Join ids need not begin with 0 nor follow each other."""
    joins: Any = {"cell_joins": CELL_JOINS, "gene_joins": GENE_JOINS}
    path = write_soma(tmp_path / "in", STORED, dense=dense, **joins)
    dataset = converted(path, STORED, chunk_size=2)
    assert dataset.obs["soma_joinid"].to_list() == CELL_JOINS
    assert dataset.var["soma_joinid"].to_list() == GENE_JOINS


@pytest.mark.parametrize("most", [100, 1 << 20])
def test_cells_of_several_tiles(most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries lie tile by tile, some written twice, and some cells have most of them."""
    monkeypatch.setattr(soma_layer, "_SPARSE_ENTRIES", 5_000)
    monkeypatch.setattr(soma_layer, "_MOST_ENTRIES", most)
    shape, rng = (5_000, 2_500), np.random.default_rng(0)
    everywhere = rng.choice(shape[0] * shape[1], 5_000, replace=False)
    full = 2_100 * shape[1] + rng.choice(10 * shape[1], 5_000, replace=False)
    cells, genes = np.divmod(np.unique(np.concatenate([everywhere, full])), shape[1])
    stored = Stored(shape, cells, genes, rng.integers(1, 9, len(cells)).astype(np.float32))
    again = rng.permutation(len(cells))[: len(cells) // 2]
    first = stored.values.copy()
    first[again] += 1
    path = write_soma(tmp_path / "in", replace(stored, values=first))
    entries = {"soma_dim_0": cells[again], "soma_dim_1": genes[again]}
    with write_to(path / "ms/RNA/X/data") as array:
        array.write(pa.table(entries | {"soma_data": stored.values[again]}))
    converted(path, stored)


def test_tiles_for_which_little_memory_is_too_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries that TileDB does not read with the memory for usual tiles are read with more."""
    path = write_soma(tmp_path / "in", STORED)
    monkeypatch.setattr(experiment, "LITTLE", Memory(1 << 20, 1))
    converted(path, STORED, chunk_size=2)
    monkeypatch.setattr(experiment, "AMPLE", Memory(1 << 20, 1))
    assert "memory budget" in refused(path)


_WITHOUT_ANNDATA = """
import sys

import slaf
from slaf.sources import open_source

with open_source(sys.argv[1]) as source:
    assert source.read(None).nnz == 7
assert "anndata" not in sys.modules
import tiledbsoma

with tiledbsoma.Experiment.open(sys.argv[1]) as experiment:
    with experiment.axis_query("RNA") as query:
        print(type(query.to_anndata("data")).__name__, "anndata" in sys.modules)
"""


def test_an_experiment_is_read_without_anndata(tmp_path: Path) -> None:
    """Nothing but a query of tiledbsoma that makes an AnnData imports it."""
    path = write_soma(tmp_path / "in", STORED)
    words = [sys.executable, "-W", "ignore", "-c", _WITHOUT_ANNDATA, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout) == ("", "AnnData True\n")


def test_tables_in_another_order(tmp_path: Path) -> None:
    """A table that is indexed by another column comes in another order, and is put in this."""
    path = write_soma(tmp_path / "in", STORED)
    shutil.rmtree(path / "obs")
    table = pa.table(
        {
            "soma_joinid": pa.array(range(N_CELLS), pa.int64()),
            "cell_type": pa.array(list("bababa"), pa.large_string()),
            "obs_id": pa.array(ids("cell", N_CELLS), pa.large_string()),
        }
    )
    made = tiledbsoma.DataFrame.create(
        str(path / "obs"),
        schema=table.schema,
        index_column_names=["cell_type", "soma_joinid"],
        domain=[None, (0, N_CELLS)],
    )
    with made as frame:
        frame.write(table)
    with tiledbsoma.DataFrame.open(str(path / "obs")) as frame:
        assert frame.read().concat().column("soma_joinid").to_pylist() != list(range(N_CELLS))
    dataset = converted(path, STORED)
    assert dataset.obs["cell_type"].to_list() == list("bababa")


@pytest.mark.parametrize(
    ("obs", "expected"),
    [
        ({"obs_id": list("abcdef"), "name": list("uvwxyz")}, list("abcdef")),
        ({"name": list("uvwxyz"), "cell_id": list("abcdef")}, list("abcdef")),
        ({"barcode": list("abcdef")}, list("abcdef")),
        ({"anything": list("abcdef"), "type": list("xxyyzz")}, list("abcdef")),
        ({"one": list("abcdef"), "two": list("uvwxyz")}, list("012345")),
        ({"type": list("xxyyzz")}, list("012345")),
        ({}, list("012345")),
    ],
)
def test_ids_of_cells(obs: dict[str, list[str]], expected: list[str], tmp_path: Path) -> None:
    """The id is in a known column, or the only one that tells all cells apart, or the join id."""
    dataset = converted(write_soma(tmp_path / "in", STORED, obs=obs), STORED)
    assert dataset.obs_names.to_list() == expected
    # Whatever was not taken for the id is kept.
    for name, values in obs.items():
        assert values in (expected, dataset.obs.get(name, pd.Series(dtype=object)).to_list())


def test_ids_of_genes(tmp_path: Path) -> None:
    """The id of the census is called feature_id."""
    var = {"feature_id": ["E1", "E1", "E3", "E4", "E5"], "feature_name": list("abcde")}
    dataset = converted(write_soma(tmp_path / "in", STORED, var=var), STORED)
    assert dataset.var_names.to_list() == var["feature_id"]
    assert dataset.var["feature_name"].to_list() == var["feature_name"]


def test_every_column_type(tmp_path: Path) -> None:
    """Columns keep their types; a missing value and NaN are two things."""
    columns = {
        "small": pa.array([1, 2, 3, 4, 5, 6], pa.int8()),
        "large": pa.array([0, 1, 2, 3, 4, 2**64 - 1], pa.uint64()),
        "lacking": pa.array([1, None, 3, 4, 5, 6], pa.int32()),
        "single": pa.array([0.5, None, float("nan"), 4, 5, 6], pa.float32()),
        "flag": pa.array([True, None, False, True, True, True]),
        "text": pa.array(["a", None, "", "NA", "é", "f"], pa.large_string()),
        "time": pa.array([0, 1, 2, 3, 4, 5], pa.timestamp("ms")),
        "kind": pa.array([*"abcab", None]).dictionary_encode(),
    }
    obs = {"obs_id": ids("cell", N_CELLS)} | columns
    dataset = converted(write_soma(tmp_path / "in", STORED, obs=obs), STORED)
    table = dataset.table("cells").to_table()
    for name, values in columns.items():
        assert repr(table[name].to_pylist()) == repr(values.to_pylist())
    found = dataset.obs
    assert [str(found[name].dtype) for name in columns] == [
        *("int8", "uint64", "Int32", "Float32", "boolean", "object", "datetime64[ms]", "category"),
    ]
    single = found["single"].array
    assert single.isna().tolist() == [False, True, False, False, False, False]
    assert np.isnan(single[2])


@pytest.mark.parametrize("rows", [["u", None, "u"] * 2, [None] * 6])
def test_categories_that_no_cell_has(rows: list[str | None], tmp_path: Path) -> None:
    """Categories without a cell are kept, also where no cell has any."""
    kind = pa.array(rows, pa.dictionary(pa.int8(), pa.large_string()))
    path = write_soma(tmp_path / "in", STORED, obs={"obs_id": ids("cell", N_CELLS), "kind": kind})
    missing = pa.array([name for name in ("u", "v") if name not in rows], pa.large_string())
    with write_to(path / "obs") as frame:
        frame.extend_enumeration_values({"kind": missing})
    found = converted(path, STORED).obs["kind"]
    assert found.cat.categories.to_list() == ["u", "v"]
    assert found.astype(object).where(found.notna(), None).to_list() == rows


def test_a_missing_id(tmp_path: Path) -> None:
    """A cell without an id is refused."""
    obs = {"obs_id": pa.array(["a", None, "c", "d", "e", "f"], pa.large_string())}
    said = refused(write_soma(tmp_path / "in", STORED, obs=obs))
    assert "obs_id, which holds the ids of" in said
    assert "has missing values" in said


def test_several_layers(tmp_path: Path) -> None:
    """Of several layers the one called data is taken, or one that is named."""
    layers = {"data": STORED, "other": OTHER}
    path = write_soma(tmp_path / "in", STORED, layers=layers)
    converted(path, STORED)
    converted(path, STORED, matrix="layer:data")
    assert converted(path, OTHER, matrix="layer:other").sources[0].matrix == "layer:other"


def test_layers_without_a_default(tmp_path: Path) -> None:
    """Where none is called data they are listed; a single one is taken."""
    path = write_soma(tmp_path / "in", STORED, layers={"raw": STORED, "norm": OTHER})
    for options in ((), ("--matrix", "raw"), ("--matrix", "layer:counts")):
        said = refused(path, *options)
        assert f"{path}: measurement RNA has no matrix" in said
        assert "choose one with --matrix: layer:norm, layer:raw" in said
    converted(path, STORED, matrix="layer:raw")
    converted(write_soma(tmp_path / "single", OTHER, layers={"raw": OTHER}), OTHER)


def test_counts_in_another_layer(tmp_path: Path) -> None:
    """Where data holds fractions and another layer whole numbers, that is said."""
    halves = replace(STORED, values=STORED.values / 2 + np.float32(0.25))
    path = write_soma(tmp_path / "in", STORED, layers={"data": halves, "counts": STORED})
    assert slaf.convert(path, tmp_path / "out.slaf", dry_run=True).counts_in == ("layer:counts",)


def test_measurements(tmp_path: Path) -> None:
    """RNA is taken, or the only measurement, or the one that is named; else they are listed."""
    path = write_soma(tmp_path / "in", STORED, measurement="ATAC")
    converted(path, STORED)
    with tiledbsoma.Experiment.open(str(path), "w") as experiment:
        experiment.ms.add_new_collection("protein", kind=tiledbsoma.Measurement)
    said = refused(path)
    assert f"{path}: there is no measurement 'RNA'; choose one with --measurement:" in said
    assert "ATAC, protein" in said
    assert "there is no measurement 'GEX'" in refused(path, "--measurement", "GEX")
    assert f"{path}, measurement protein: there is no var" in refused(
        path, "--measurement", "protein"
    )
    assert converted(path, STORED, measurement="ATAC").sources[0].choice == {"measurement": "ATAC"}


def test_the_collection_of_the_converter(tmp_path: Path) -> None:
    """`tiledb_collection_name` and `tiledb_layer_name` choose in experiments only."""
    atac = write_soma(tmp_path / "atac", STORED, measurement="ATAC")
    folder = Mtx().write(tmp_path / "mtx", STORED)
    for number, (converter, source, format) in enumerate(
        [
            (slaf.SLAFConverter(), atac, "auto"),
            (slaf.SLAFConverter(tiledb_collection_name="ATAC"), atac, "auto"),
            (slaf.SLAFConverter(tiledb_collection_name="ATAC"), atac, "tiledb"),
            (slaf.SLAFConverter(tiledb_collection_name="ATAC"), folder, "auto"),
            (slaf.SLAFConverter(tiledb_collection_name="ATAC"), folder, "10x_mtx"),
            (slaf.SLAFConverter(tiledb_layer_name="counts"), folder, "auto"),
        ]
    ):
        made = converter.convert(source, tmp_path / f"{number}.slaf", input_format=format)
        assert slaf.verify(made, source).ok
    with pytest.raises(slaf.InputError, match="there is no measurement 'GEX'"):
        slaf.SLAFConverter(tiledb_collection_name="GEX").convert(atac, tmp_path / "out.slaf")
    with pytest.raises(slaf.InputError, match="layer:data"):
        slaf.SLAFConverter(tiledb_layer_name="counts").convert(atac, tmp_path / "out.slaf")


@pytest.mark.parametrize(
    ("cell", "gene", "what"),
    [
        (0, 1, "an entry of the cell with the join id 0, which is none"),
        (5, 1, "an entry of the cell with the join id 5, which is none"),
        (15, 30, "an entry of the cell with the join id 15, which is none"),
        (20, 29, "an entry of the gene with the join id 29, which is none"),
        (2, 0, "an entry of the gene with the join id 0, which is none"),
    ],
)
def test_an_entry_of_no_cell(cell: int, gene: int, what: str, tmp_path: Path) -> None:
    """An entry that belongs to no cell or gene is refused, not left out."""
    joins: Any = {"cell_joins": CELL_JOINS, "gene_joins": GENE_JOINS}
    path = write_soma(tmp_path / "in", STORED, **joins)
    stray = {"soma_dim_0": [cell], "soma_dim_1": [gene], "soma_data": pa.array([1], pa.float32())}
    with write_to(path / "ms/RNA/X/data") as array:
        array.write(pa.table(stray))
    said = refused(path, "--chunk-size", "1")
    assert f"{path}, X layer data of RNA has {what}" in said


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize(("table", "name"), [("obs", "obs"), ("ms/RNA/var", "var")])
def test_a_layer_that_is_too_small(table: str, name: str, dense: bool, tmp_path: Path) -> None:  # noqa: FBT001 - pytest names them
    """A layer whose shape has no place for a cell or gene is refused."""
    path = write_soma(tmp_path / "in", STORED, dense=dense)
    with write_to(path / table) as frame:
        frame.change_domain([(0, 9)])
    row = {"soma_joinid": [9], f"{name}_id": pa.array(["new"], pa.large_string())}
    with write_to(path / table) as frame:
        frame.write(pa.table(row))
    said = refused(path)
    assert f"X layer data of RNA has the shape 6 × 5, but {name} has the join id 9" in said


@pytest.mark.parametrize("part", ["obs", "ms/RNA/var", "ms/RNA/X/data"])
def test_a_damaged_part(part: str, tmp_path: Path) -> None:
    """A part whose data are cut short, or are not there, is refused with its name."""
    path = write_soma(tmp_path / "in", STORED)
    for file in (path / part / "__fragments").rglob("*.tdb"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    said = refused(path)
    assert str(path) in said
    assert "cannot be read" in said
    shutil.rmtree(path / part)
    assert "cannot be read" in refused(path)


def test_categories_that_are_not_there(tmp_path: Path) -> None:
    """Codes without their categories, as a write with the creation may leave, are refused."""
    path = write_soma(tmp_path / "in", STORED)
    made = tiledbsoma.Experiment.create(str(tmp_path / "other"))
    table = pa.table(
        {
            "soma_joinid": pa.array(range(N_CELLS), pa.int64()),
            "kind": pa.array(list("ababab")).dictionary_encode(),
        }
    )
    with made as other, other.add_new_dataframe("obs", schema=table.schema, domain=[(0, 9)]) as obs:
        obs.write(table)
    shutil.rmtree(path / "obs")
    shutil.move(tmp_path / "other" / "obs", path / "obs")
    shutil.rmtree(tmp_path / "other")
    with tiledbsoma.DataFrame.open(str(path / "obs")) as frame:
        column = frame.read().concat().column("kind")
    if len(column.chunk(0).dictionary):
        pytest.skip("this release of tiledbsoma writes them")
    assert f"{path}: obs contradicts itself" in refused(path)


@pytest.mark.parametrize("part", ["ms", "ms/RNA"])
def test_a_part_of_an_experiment(part: str, tmp_path: Path) -> None:
    """A collection or a measurement is not an experiment, and is refused as such."""
    path = write_soma(tmp_path / "in", STORED)
    assert f"{path / part}: not an experiment that can be opened" in refused(path / part)


def test_an_empty_experiment(tmp_path: Path) -> None:
    """An experiment without measurements is refused as such."""
    tiledbsoma.Experiment.create(str(tmp_path / "in")).close()
    said = refused(tmp_path / "in")
    assert "there is no measurement 'RNA'; there is none to choose: write one" in said


def test_times_in_x(tmp_path: Path) -> None:
    """A layer of anything but numbers is refused."""
    path = write_soma(tmp_path / "in", STORED, layers={})
    with write_to(path / "ms/RNA/X") as layers:
        layers.add_new_sparse_ndarray("data", type=pa.timestamp("s"), shape=(6, 5)).close()
    assert "X layer data of RNA holds values of type datetime64[s], not numbers" in refused(path)


def test_another_input(tmp_path: Path) -> None:
    """A conversion that was stopped is not resumed when the experiment has changed."""
    path = write_soma(tmp_path / "in", STORED)
    stop_after(4, path, tmp_path / "out.slaf", chunk_size=2)
    entry = {"soma_dim_0": [0], "soma_dim_1": [0], "soma_data": pa.array([9], pa.float32())}
    with write_to(path / "ms/RNA/X/data") as array:
        array.write(pa.table(entry))
    with pytest.raises(UnfinishedRun, match=r"input .* was changed since it began"):
        slaf.convert(path, tmp_path / "out.slaf", chunk_size=2)


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is taken from where the process is now, not where it began."""
    for number, stored in enumerate((STORED, OTHER)):
        write_soma(tmp_path / str(number) / "in", stored)
        monkeypatch.chdir(tmp_path / str(number))
        assert converted(Path("in"), stored).sources[0].uri == "in"


def test_resuming(tmp_path: Path) -> None:
    """A conversion that was stopped is finished: reading an experiment does not change it."""
    path = write_soma(tmp_path / "in", STORED)
    stop_after(4, path, tmp_path / "out.slaf", chunk_size=2)
    dataset = slaf.convert(path, tmp_path / "out.slaf", chunk_size=2)
    assert slaf.verify(dataset, path).ok
