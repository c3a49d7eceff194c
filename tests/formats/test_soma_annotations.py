"""Annotations and layers of a TileDB-SOMA experiment are those that tiledbsoma gives."""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import warnings
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
from hypothesis import given, settings
from hypothesis import strategies as st

import slaf
from benchmarks.inputs.soma import from_h5ad
from slaf.annotations.equality import equal_elements
from slaf.errors import DamagedInput
from slaf.runtime.worker_thread import WorkerThread
from slaf.sources import open_source
from slaf.sparse.ranges import RowRange
from slaf.testing.strategies import Stored
from tests.formats.builders import ids, write_soma, write_to
from tests.formats.checks import converted, refused

SLOTS = ("layers", "obsm", "varm", "obsp", "varp", "uns")
N_CELLS, N_GENES = 6, 5
STORED = Stored(
    (N_CELLS, N_GENES), np.array([1, 1, 2, 5]), np.array([0, 4, 3, 1]), np.array([2, 3, 5, 8.0])
)
CELL_JOINS, GENE_JOINS = [2, 3, 7, 8, 9, 20], [1, 2, 5, 6, 30]


def everything(n_cells: int, n_genes: int, seed: int, dtype: Any = np.float32) -> anndata.AnnData:
    """An AnnData with all that an experiment has a place for."""
    rng = np.random.default_rng(seed)

    def sparse(rows: int, columns: int, dtype: Any) -> sp.csr_matrix:
        values = rng.integers(1, 99, (rows, columns)) * (rng.random((rows, columns)) < 0.3)
        return sp.csr_matrix(values.astype(dtype))

    cells, genes = ids("cell", n_cells), ids("gene", n_genes)
    found = anndata.AnnData(
        sparse(n_cells, n_genes, np.float32),
        obs=pd.DataFrame({"depth": rng.random(n_cells)}, index=cells),
        var=pd.DataFrame({"symbol": [f"S{gene}" for gene in genes]}, index=genes),
        layers={
            "other": sparse(n_cells, n_genes, dtype),
            "half": sparse(n_cells, n_genes, "f4") / 2,
        },
        obsm={"X_pca": rng.random((n_cells, 3)), "ranks": rng.integers(0, 9, (n_cells, 2))},
        varm={"PCs": rng.random((n_genes, 3)).astype(np.float32)},
        obsp={"graph": sparse(n_cells, n_cells, np.float64)},
        varp={"pairs": sparse(n_genes, n_genes, np.float32)},
        uns={
            "colour": "red",
            "count": 3,
            "share": 0.25,
            "sizes": rng.random((2, 3)),
            "names": np.array(["a", "é"], dtype=object),
            "grid": np.array([["a", "b"], ["c", "d"]], dtype=object),
            "deep": {
                "er": {"n": np.arange(3)},
                "table": pd.DataFrame({"a": [1, 2], "b": ["x", ""]}),
            },
        },
    )
    more = ids("raw", n_genes + 2)
    raw = anndata.AnnData(
        sparse(n_cells, n_genes + 2, np.float32),
        obs=found.obs,
        var=pd.DataFrame({"kind": ["k"] * len(more)}, index=more),
    )
    found.raw = raw
    return found


def written(path: Path, adata: anndata.AnnData) -> Path:
    """What `tiledbsoma.io.from_h5ad` makes of an h5ad file, and that file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata.write_h5ad(path.with_suffix(".h5ad"))
        from_h5ad(path, path.with_suffix(".h5ad"))
    return path


def theirs(path: Path, **options: Any) -> anndata.AnnData:
    """What tiledbsoma reads of an experiment."""
    with warnings.catch_warnings(), tiledbsoma.Experiment.open(str(path)) as experiment:
        warnings.simplefilter("ignore")
        layers = list(experiment.ms["RNA"].X)
        options = {"X_layer_name": "data", "extra_X_layer_names": layers} | options
        return tiledbsoma.io.to_anndata(experiment, "RNA", **options)


def assert_as_theirs(dataset: slaf.Dataset, expected: anndata.AnnData) -> None:
    """Equal in every slot; the layers may be of another layout."""
    found = dataset.to_anndata()
    assert list(found.obs_names) == list(expected.obs_names)
    assert list(found.var_names) == list(expected.var_names)
    for slot in SLOTS:
        ours, wanted = dict(getattr(found, slot)), dict(getattr(expected, slot))
        assert set(ours) == set(wanted), slot
        for key, element in wanted.items():
            if slot == "layers":
                assert ours[key].dtype == element.dtype
                assert not (ours[key] != element).nnz
            else:
                assert equal_elements(ours[key], element), (slot, key)


def test_uns_is_read_when_it_is_asked_for(tmp_path: Path) -> None:
    """The other slots can be looked at without uns, of which each element is an array to open."""
    path = written(tmp_path / "in", everything(N_CELLS, N_GENES, seed=1))
    with open_source(path) as source:
        shutil.rmtree(path / "ms/RNA/uns/sizes")
        slots = source.slots()
        assert slots.obsm["X_pca"].shape == (N_CELLS, 3)
        with pytest.raises(DamagedInput, match="uns"):
            list(slots.uns)


def test_all_that_tiledbsoma_gives(tmp_path: Path) -> None:
    """Layers, obsm, varm, obsp, varp and uns are what `to_anndata` gives, and raw what went in."""
    adata = everything(N_CELLS, N_GENES, seed=1)
    path = written(tmp_path / "in", adata)
    described = slaf.info(path)
    assert isinstance(described, slaf.InputInfo)
    assert described.not_converted == ()
    dataset = slaf.convert(path, tmp_path / "out.slaf", chunk_size=2, workers=2)
    assert_as_theirs(dataset, theirs(path))
    assert dataset.raw is not None
    made = dataset.to_anndata().raw
    assert not (made.X != adata.raw.X).nnz
    assert list(made.var_names) == list(adata.raw.var_names)
    assert made.var["kind"].to_list() == ["k"] * (N_GENES + 2)
    assert slaf.verify(dataset, path).ok
    assert not dict(slaf.diff(dataset, path).counts)


def test_another_layer_and_without_raw(tmp_path: Path) -> None:
    """Where another layer is the matrix, data is a layer; raw may be left out, or be the matrix."""
    path = written(tmp_path / "in", everything(N_CELLS, N_GENES, seed=2))
    dataset = slaf.convert(path, tmp_path / "a.slaf", matrix="layer:other", raw=False)
    assert tuple(dataset.layers) == ("data", "half")
    assert dataset.raw is None
    assert_as_theirs(dataset, theirs(path, X_layer_name="other"))
    assert slaf.verify(dataset, path).ok
    dataset = slaf.convert(path, tmp_path / "b.slaf", measurement="raw")
    assert dataset.raw is None
    assert dataset.shape == (N_CELLS, N_GENES + 2)
    found = slaf.info(path, measurement="raw")
    assert isinstance(found, slaf.InputInfo)
    assert found.not_converted == ("measurement RNA",)


@settings(max_examples=3, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_cells=st.integers(1, 9),
    n_genes=st.integers(1, 9),
    dtype=st.sampled_from(["f4", "f8", "i4", "i8", "u1", "u2"]),
)
def test_by_way_of_an_experiment(seed: int, n_cells: int, n_genes: int, dtype: str) -> None:
    """An h5ad that went through an experiment becomes the dataset that the h5ad itself becomes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = written(folder / "in", everything(n_cells, n_genes, seed, dtype))
        found = slaf.convert(path, folder / "a.slaf", chunk_size=2).to_anndata()
        wanted = slaf.convert(path.with_suffix(".h5ad"), folder / "b.slaf").to_anndata()
    # Arrays of text come back as such of fixed length, and numbers of uns as Python's.
    for name in ("names", "grid"):
        assert found.uns.pop(name).tolist() == wanted.uns.pop(name).tolist()
    for name in ("count", "share"):
        assert found.uns.pop(name) == wanted.uns.pop(name)
    table, expected = found.uns["deep"].pop("table"), wanted.uns["deep"].pop("table")
    assert table.to_dict("list") == expected.to_dict("list")
    for slot in SLOTS:
        ours, wants = dict(getattr(found, slot)), dict(getattr(wanted, slot))
        assert set(ours) == set(wants), slot
        for key, element in wants.items():
            assert equal_elements(ours[key], element), (slot, key)
    for ours, wants in ((found, wanted), (found.raw, wanted.raw)):
        assert equal_elements(ours.X, wants.X)
        assert equal_elements(ours.var.drop(columns="soma_joinid"), wants.var)
    assert list(found.obs_names) == list(wanted.obs_names)


def add(path: Path, slot: str, name: str, table: dict[str, Any], shape: tuple[int, ...]) -> None:
    """A sparse array in a slot of the measurement."""
    root = path / "ms/RNA"
    if not (root / slot).exists():
        with write_to(root) as measurement:
            measurement.add_new_collection(slot).close()
    data = pa.table(table)
    with write_to(root / slot) as collection:
        made = collection.add_new_sparse_ndarray(
            name, type=data.schema.field("soma_data").type, shape=shape
        )
        made.write(data)
        made.close()


def entries(rows: list[int], columns: list[int], values: list[float]) -> dict[str, Any]:
    """The columns of a sparse array."""
    return {"soma_dim_0": rows, "soma_dim_1": columns, "soma_data": pa.array(values, pa.float64())}


def test_join_ids_with_gaps(tmp_path: Path) -> None:
    """Rows, of obsp and varp columns too, stand where the join id of their cell or gene does."""
    joins: Any = {"cell_joins": CELL_JOINS, "gene_joins": GENE_JOINS}
    path = write_soma(tmp_path / "in", STORED, **joins)
    add(path, "obsm", "place", entries([2, 20, 7], [0, 1, 1], [1, 2, 3]), (21, 2))
    add(path, "varm", "load", entries([30, 1], [0, 0], [4, 5]), (31, 1))
    add(path, "obsp", "graph", entries([2, 9], [20, 3], [6, 7]), (21, 21))
    add(path, "varp", "pairs", entries([6], [30], [8]), (31, 31))
    full = np.arange(42.0).reshape(21, 2)
    with write_to(path / "ms/RNA/obsm") as obsm:
        dense = obsm.add_new_dense_ndarray("dense", type=pa.float64(), shape=(21, 2))
        dense.write((slice(0, 20), slice(0, 1)), pa.Tensor.from_numpy(full))
        dense.close()
    dataset = converted(path, STORED, chunk_size=2)
    found = dataset.to_anndata()
    np.testing.assert_array_equal(
        found.obsm["place"], [[1, 0], [0, 0], [0, 3], [0, 0], [0, 0], [0, 2]]
    )
    np.testing.assert_array_equal(found.obsm["dense"], full[CELL_JOINS])
    np.testing.assert_array_equal(found.varm["load"].ravel(), [5, 0, 0, 0, 4])
    graph, pairs = np.zeros((N_CELLS, N_CELLS)), np.zeros((N_GENES, N_GENES))
    graph[0, 5], graph[4, 1], pairs[3, 4] = 6, 7, 8
    np.testing.assert_array_equal(found.obsp["graph"].toarray(), graph)
    np.testing.assert_array_equal(found.varp["pairs"].toarray(), pairs)


@pytest.mark.parametrize("slot", ["obsm", "obsp"])
def test_an_entry_of_no_cell(slot: str, tmp_path: Path) -> None:
    """An entry of a slot that belongs to no cell is refused, with its place."""
    path = write_soma(tmp_path / "in", STORED, cell_joins=CELL_JOINS)
    add(path, slot, "odd", entries([4], [2], [1]), (21, 21))
    assert f"{slot} odd has an entry with the join id 4, which is none" in refused(path)


def test_a_slot_too_wide_to_be_dense(tmp_path: Path) -> None:
    """A sparse array of obsm that would not fit in memory dense is refused."""
    path = write_soma(tmp_path / "in", STORED)
    add(path, "obsm", "wide", entries([1], [2], [1]), (N_CELLS, 2**40))
    assert "obsm wide has 1 of 6 × 1,099,511,627,776 elements: too few" in refused(path)


def test_what_is_left(tmp_path: Path) -> None:
    """What AnnData has no place for, or anndata no way to write, is named, and all else taken."""
    adata = everything(N_CELLS, N_GENES, seed=3)
    path = written(tmp_path / "in", adata)
    times = pa.table(
        {"soma_joinid": pa.array([0], pa.int64()), "at": pa.array([0], pa.timestamp("s"))}
    )
    with (
        write_to(path / "ms/RNA/uns") as uns,
        uns.add_new_dataframe("times", schema=times.schema, domain=[(0, 0)]) as frame,
    ):
        frame.write(times)
    with write_to(path / "ms/RNA/obsm") as obsm:
        obsm.add_new_sparse_ndarray("cube", type=pa.float32(), shape=(N_CELLS, 2, 2)).close()
    with write_to(path) as experiment:
        experiment.add_new_collection("spatial").close()
        experiment.ms.add_new_collection("protein", kind=tiledbsoma.Measurement).close()
    with write_to(path / "ms/raw/X") as layers:
        layers.add_new_sparse_ndarray("second", type=pa.float32(), shape=(N_CELLS, 3)).close()
    found = slaf.info(path)
    assert isinstance(found, slaf.InputInfo)
    assert set(found.not_converted) == {
        *("obsm (cube)", "uns (times)", "spatial of the experiment"),
        *("measurement protein", "measurement raw"),
    }
    dataset = slaf.convert(path, tmp_path / "out.slaf")
    assert set(dataset.obsm) == {"X_pca", "ranks"}
    assert set(dataset.uns) == set(adata.uns)
    assert dataset.raw is None
    assert slaf.verify(dataset, path).ok


# ------------------------------------------------------------------- one thread, and no crashes


def test_all_is_done_in_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays are opened, read and closed in one thread, and none outlives the source."""
    path = written(tmp_path / "one_thread", everything(N_CELLS, N_GENES, seed=4))
    threads: set[int] = set()
    for cls, name in (
        (tiledbsoma.SparseNDArray, "read"),
        (tiledbsoma.DataFrame, "read"),
        (tiledbsoma.SparseNDArray, "open"),
        (tiledbsoma.Experiment, "open"),
        (tiledbsoma.Experiment, "close"),
    ):
        true = getattr(cls, name)

        def watched(*args: Any, true: Any = true, **kwargs: Any) -> Any:
            # Others may close what an earlier test has left.
            if path.name in "".join(str(getattr(arg, "uri", arg)) for arg in args):
                threads.add(threading.get_ident())
            return true(*args, **kwargs)

        monkeypatch.setattr(cls, name, watched)
    gc.collect()
    before = open_arrays()
    gc.disable()
    try:
        with open_source(path) as source:
            held = source.slots()
            kept = [source.cells(), source.genes(), source.raw(), dict(held.obsm), dict(held.obsp)]
            kept += [batch.values for batch in source.matrix().batches(RowRange(0, N_CELLS))]
            assert open_arrays() > before
        assert open_arrays() == before
        assert len(kept) > len(threads) == 1
        assert threads.isdisjoint({threading.get_ident()})
    finally:
        gc.enable()


def open_arrays() -> int:
    """How many objects of tiledbsoma there are."""
    kinds = (tiledbsoma.SparseNDArray, tiledbsoma.DataFrame, tiledbsoma.Collection)
    # Some objects warn when they are asked for their class, which `isinstance` does.
    return sum(issubclass(type(found), kinds) for found in gc.get_objects())


def test_what_fails_in_the_thread_leaves_nothing() -> None:
    """An exception comes out of the thread, and what its frames held stays inside."""
    seen: list[int] = []

    class Held:
        def __del__(self) -> None:
            seen.append(threading.get_ident())

    def fail() -> None:
        held = Held()
        msg = f"{held is None}"
        raise DamagedInput(msg)

    thread = WorkerThread("test")
    with pytest.raises(DamagedInput, match="False"):
        thread.call(fail)
    assert seen == [thread.call(threading.get_ident)]
    thread.close()


CONVERT = """
import sys, slaf
path, output, workers, chunk_size = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
dataset = slaf.convert(path, output, workers=workers, chunk_size=chunk_size, overwrite=True)
assert dataset.layers and dataset.obsm
"""


def survives(path: Path, output: Path, seed: int, *, times: int) -> None:
    """Convert it so often, each time in a new process, while another process keeps a core busy."""
    rng = np.random.default_rng(seed)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        for run in range(times):
            arguments = (path, output, run % 2 * 2, rng.integers(2, 60))
            done = subprocess.run(
                [sys.executable, "-X", "faulthandler", "-c", CONVERT, *map(str, arguments)],
                capture_output=True,
                check=False,
                text=True,
            )
            assert done.returncode == 0, (run, arguments, done.stderr)
    finally:
        busy.kill()
        busy.wait()


def test_it_does_not_crash(tmp_path: Path) -> None:
    """Conversions with layers and slots, by threads and without, in processes of their own."""
    path = written(tmp_path / "in", everything(120, 60, seed=5))
    survives(path, tmp_path / "out.slaf", seed=0, times=2)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_it_does_not_crash_in_two_hundred_runs(tmp_path: Path) -> None:
    """TileDB crashed about once in twenty such runs where it ordered its tiles in tasks."""
    path = written(tmp_path / "in", everything(200, 100, seed=6))
    survives(path, tmp_path / "out.slaf", seed=1, times=200)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.corpus
def test_experiments_of_the_corpus_do_not_crash(corpus: Path, tmp_path: Path) -> None:
    """Nor do the experiments that R wrote."""
    for number, archive in enumerate(sorted((corpus / "soma").glob("*/*.tar.gz"))):
        with tarfile.open(archive) as packed:
            packed.extractall(tmp_path / str(number), filter="data")
        survives(tmp_path / str(number), tmp_path / "out.slaf", seed=number, times=100)
