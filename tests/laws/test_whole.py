"""Everything an AnnData holds is in its dataset, and comes back as it was."""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

import slaf
from slaf.annotations.equality import equal_elements
from slaf.errors import InexactValue, InputError, MissingMatrix, SelectionError
from slaf.testing.strategies import NUMERIC_TYPES, Stored, frames, matrices
from tests.builders import as_matrix, assert_same_matrix, counts, examples, write_h5ad
from tests.conversion.cases import slots
from tests.laws.test_round_trip import smallest

PAGE = Path(__file__).parents[2] / "docs/reference/round-trip.md"
N_CELLS, N_GENES = 12, 6
SLOTS = ("obsm", "varm", "obsp", "varp", "uns")
# scipy has no matrices of half floats.
LAYER_TYPES = [dtype for dtype in NUMERIC_TYPES if dtype != np.float16]


def assert_equal(found: anndata.AnnData, expected: anndata.AnnData) -> None:
    """Equal in every slot and type; X, the layers and raw may be of another layout."""
    assert_same_matrix(found.X, expected.X)
    for slot in ("obs", "var"):
        assert equal_elements(getattr(found, slot), getattr(expected, slot)), slot
    assert list(found.layers) == list(expected.layers)
    for name in expected.layers:
        assert_same_matrix(found.layers[name], expected.layers[name])
    for slot in SLOTS:
        ours, theirs = dict(getattr(found, slot)), dict(getattr(expected, slot))
        assert set(ours) == set(theirs), slot
        for key, element in theirs.items():
            assert equal_elements(ours[key], element), (slot, key)
    assert (found.raw is None) == (expected.raw is None)
    if expected.raw is not None:
        assert_same_matrix(found.raw.X, expected.raw.X)
        assert equal_elements(found.raw.var, expected.raw.var)
        assert equal_elements(dict(found.raw.varm), dict(expected.raw.varm))


def whole(**parts: Any) -> anndata.AnnData:
    """An AnnData that has something in every slot."""
    held = slots(counts(N_CELLS, N_GENES, seed=5) * np.float32(0.5)) | parts
    obs = pd.DataFrame(index=[f"cell-{cell}" for cell in range(N_CELLS)])
    var = pd.DataFrame(index=[f"gene-{gene}" for gene in range(N_GENES)])
    return anndata.AnnData(counts(N_CELLS, N_GENES), obs=obs, var=var, **held)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[anndata.AnnData, slaf.Dataset]:
    """An AnnData with something in every slot, and its dataset in several parts."""
    adata = whole()
    return adata, slaf.convert(adata, tmp_path_factory.mktemp("whole") / "out.slaf", chunk_size=5)


@pytest.mark.corpus
def test_every_file_of_the_corpus(converted_corpus: dict[Path, Path]) -> None:
    """What anndata reads of a file is what the dataset gives back, in every slot."""
    # Which are refused, and why, stands in tests/sources/test_h5ad_corpus.py.
    assert len(converted_corpus) == 30
    for path, converted in converted_corpus.items():
        dataset = slaf.open(converted)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adata = anndata.read_h5ad(path)
            assert_equal(dataset.to_anndata(), adata)
            assert slaf.verify(dataset, path).ok
        pd.testing.assert_frame_equal(dataset.obs, adata.obs)
        pd.testing.assert_frame_equal(dataset.var, adata.var)


def test_everything_comes_back(made: tuple[anndata.AnnData, slaf.Dataset], tmp_path: Path) -> None:
    """An AnnData in memory, and one that was written, are what the dataset gives back."""
    adata, dataset = made
    assert_equal(dataset.to_anndata(), adata)
    assert slaf.verify(dataset, adata).ok
    adata.write_h5ad(tmp_path / "in.h5ad")
    again = slaf.convert(tmp_path / "in.h5ad", tmp_path / "out.slaf", workers=2, chunk_size=4)
    assert_equal(again.to_anndata(), anndata.read_h5ad(tmp_path / "in.h5ad"))
    assert slaf.verify(again, tmp_path / "in.h5ad").ok


@pytest.mark.parametrize(
    ("cells", "genes"),
    [(slice(3, 9), None), ([5, 2, 2, 11], [4, 0]), (None, [1]), ([], []), (slice(0, 0), None)],
)
def test_a_part_comes_back(
    made: tuple[anndata.AnnData, slaf.Dataset], cells: Any, genes: Any
) -> None:
    """Cells and genes are chosen in every slot as anndata chooses them; raw keeps its genes."""
    adata, dataset = made
    rows = slice(None) if cells is None else np.arange(N_CELLS)[cells]
    columns = slice(None) if genes is None else np.arange(N_GENES)[genes]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = dataset[cells, genes].to_anndata()
        expected = adata[rows][:, columns].copy()
    assert_equal(found, expected)
    for name in dataset.layers:
        assert_same_matrix(dataset[cells, genes].layers[name].to_memory(), expected.layers[name])
    assert dataset.raw is not None
    assert_same_matrix(dataset.raw[cells, genes].X.to_memory(), adata.raw.X[rows][:, columns])


def test_what_a_dataset_says_it_has(made: tuple[anndata.AnnData, slaf.Dataset]) -> None:
    """Names are given without reading; a layer that is not there is refused with those that are."""
    adata, dataset = made
    assert tuple(dataset.layers) == ("whole", "late")
    for slot in SLOTS[:-1]:
        assert list(getattr(dataset, slot)) == list(getattr(adata, slot))
    assert equal_elements(dataset.obsm["frame"], adata.obsm["frame"])
    assert dataset.raw is not None
    assert dataset.raw.shape == (N_CELLS, 9)
    assert dataset.raw.X.nnz == adata.raw.X.nnz
    with pytest.raises(SelectionError, match="there is no layer 'x'; there are 'whole', 'late'"):
        dataset.matrix("x")
    with pytest.raises(KeyError):
        dataset.obsm["x"]
    # anndata 0.13 lists X among the layers, as None.
    assert [n for n in dataset.to_anndata(layers=["late"]).layers if n is not None] == ["late"]
    found = dataset.sql("SELECT COUNT(whole) AS n FROM layers")
    assert found["n"][0] == adata.layers["whole"].nnz


def test_what_is_not_asked_for(tmp_path: Path) -> None:
    """Layers and raw are left out where they are not asked for; a strange name is refused."""
    adata = whole()
    dataset = slaf.convert(adata, tmp_path / "a.slaf", layers=["late"], raw=False)
    assert tuple(dataset.layers) == ("late",)
    assert dataset.raw is None
    assert slaf.verify(dataset, adata).ok
    dataset = slaf.convert(adata, tmp_path / "b.slaf", layers="none")
    assert tuple(dataset.layers) == ()
    with pytest.raises(MissingMatrix, match="choose with --layers: whole, late"):
        slaf.convert(adata, tmp_path / "c.slaf", layers=["x"])


def test_another_matrix(tmp_path: Path) -> None:
    """Where a layer is the matrix X is a layer; beside raw stands what belongs to its genes."""
    adata = whole()
    dataset = slaf.convert(adata, tmp_path / "layer.slaf", matrix="layer:whole")
    assert tuple(dataset.layers) == ("late", "X")
    assert_same_matrix(dataset.X.to_memory(), adata.layers["whole"])
    assert_same_matrix(dataset.layers["X"].to_memory(), adata.X)
    assert slaf.verify(dataset, adata).ok
    dataset = slaf.convert(adata, tmp_path / "raw.slaf", matrix="raw")
    assert tuple(dataset.layers) == ()
    assert dataset.raw is None
    assert set(dataset.obsm) == {"X_pca", "frame"}
    assert not dataset.varm
    found = slaf.info(adata, matrix="raw")
    assert isinstance(found, slaf.InputInfo)
    assert found.not_converted == (
        *("X", "layer:whole", "layer:late", "varm (loadings)", "varp (dense)"),
    )
    assert slaf.verify(dataset, adata).ok


def test_awkward_names(tmp_path: Path) -> None:
    """Names that Lance refuses, or that the format and obs use, are stored under others."""
    obs = pd.DataFrame({"X_pca": [1, 2]}, index=["a", "b"])
    names = ("a.b", "a_b", "cell_integer_id", "value", "A_B", "_rowid", "é")
    matrix = np.arange(4, dtype=np.float32).reshape(2, 2)
    layers = {name: matrix + at for at, name in enumerate(names)}
    elements = {**{name: matrix + at for at, name in enumerate(names)}, "X_pca": matrix}
    adata = anndata.AnnData(matrix, obs=obs, layers=layers, obsm=elements, obsp=elements)
    dataset = slaf.convert(adata, tmp_path / "out.slaf")
    assert_equal(dataset.to_anndata(), adata)
    assert slaf.verify(dataset, adata).ok


@examples(8)
@given(data=st.data())
def test_every_layer_is_stored_exactly_in_its_smallest_type(data: st.DataObject) -> None:
    """Layers of any types and positions share a table, which has a row where one has a value."""
    dtypes = data.draw(st.lists(st.sampled_from(LAYER_TYPES), min_size=1, max_size=3))
    first = data.draw(matrices(np.dtype(np.float32)))
    layers = {}
    for at, dtype in enumerate(dtypes):
        stored = data.draw(matrices(dtype))
        inside = (stored.cells < first.shape[0]) & (stored.genes < first.shape[1])
        layers[f"layer {at}"] = Stored(
            first.shape, *(array[inside] for array in (stored.cells, stored.genes, stored.values))
        )
    held = {name: stored.dense() for name, stored in layers.items()}
    # anndata 0.13 puts X into the mapping of layers.
    adata = anndata.AnnData(sp.csr_matrix(first.dense()), layers=dict(held))
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.slaf"
        try:
            dataset = slaf.convert(adata, output, chunk_size=data.draw(st.integers(1, 4)))
        except InexactValue:
            assert not output.exists()
            assert any(array.dtype == np.uint64 for array in held.values())
            return
        rows = dataset.table("layers").to_table()
        places = list(
            zip(
                rows["cell_integer_id"].to_pylist(),
                rows["gene_integer_id"].to_pylist(),
                strict=True,
            )
        )
        union = set().union(*(zip(*np.nonzero(array), strict=True) for array in held.values()))
        assert places == sorted((int(cell), int(gene)) for cell, gene in union)
        for record in dataset.annotations.layers.values():
            values = held[record.original][held[record.original] != 0]
            assert rows[record.name].null_count == len(places) - len(values)
            assert np.dtype(record.value_type) == smallest(values.tolist())
        for name, array in held.items():
            np.testing.assert_array_equal(dataset.layers[name].to_memory().toarray(), array)
        assert slaf.verify(dataset, adata).ok


@examples(6)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore:.* names are not unique")
def test_tables_in_slots(data: st.DataObject) -> None:
    """Tables of any columns in obsm come back, or are refused before anything is written."""
    n_cells = data.draw(st.integers(1, 3))
    frame = data.draw(frames(n_cells, on_disk=True))
    frame.index = pd.Index([f"c{at}" for at in range(n_cells)], dtype=object)
    obs = pd.DataFrame(index=frame.index)
    adata = anndata.AnnData(np.ones((n_cells, 2)), obs=obs, obsm={"frame": frame})
    with tempfile.TemporaryDirectory() as folder:
        output, cause = Path(folder) / "out.slaf", ""
        try:
            dataset = slaf.convert(adata, output)
        except InputError as error:
            cause = str(error)
        if cause:
            assert "['frame']" in cause
            assert not output.exists()
        else:
            assert equal_elements(dataset.obsm["frame"], adata.obsm["frame"])


def test_a_value_that_no_type_holds_is_named(tmp_path: Path) -> None:
    """The error says which layer it is in; nothing is left."""
    layer = np.zeros((3, 2), np.uint64)
    layer[2, 1] = 2**64 - 1
    adata = anndata.AnnData(np.ones((3, 2), np.float32), layers={"odd": layer})
    said = rf"layer 'odd' holds {2**64 - 1} at cell 2 \('2'\), gene '1'"
    with pytest.raises(InexactValue, match=said):
        slaf.convert(adata, tmp_path / "out.slaf")
    assert not (tmp_path / "out.slaf").exists()


def test_resuming_with_another_layer_is_refused(tmp_path: Path) -> None:
    """What is in the layers belongs to the identity of an AnnData in memory."""
    from slaf.errors import UnfinishedRun
    from slaf.testing.crashing import Crash, CrashingStorage

    adata = whole()
    with pytest.raises(Crash):
        slaf.convert(adata, CrashingStorage(tmp_path / "out.slaf", at=25), chunk_size=3)
    adata.layers["late"] = adata.layers["late"] * 2
    with pytest.raises(UnfinishedRun, match=r"input .* was changed since it began"):
        slaf.convert(adata, tmp_path / "out.slaf", chunk_size=3)


def test_uns_is_readable(tmp_path: Path) -> None:
    """uns.json is there for people, and goes when uns does; the HDF5 files are named by content."""
    path = write_h5ad(tmp_path / "in.h5ad", counts(4, 3), uns={"n": np.arange(2), "s": "ü"})
    output = tmp_path / "out.slaf"
    slaf.convert(path, output)
    assert json.loads((output / "uns.json").read_bytes()) == {"n": [0, 1], "s": "ü"}
    assert len(list(output.glob("uns-*.h5"))) == 1
    slaf.convert(write_h5ad(path, counts(4, 3)), output, overwrite=True)
    assert not list(output.glob("uns*"))


# ------------------------------------------------------------------------- the matrix of the page

N = 3
NAMES = pd.Index([f"cell-{at}" for at in range(N)], dtype=object)
FULL = np.arange(1.0, N * N + 1).reshape(N, N)
KINDS: dict[str, Any] = {
    "array of float32, float64": FULL.astype("f4"),
    "array of float16": FULL.astype("f2"),
    "array of integers": FULL.astype("i8"),
    "array of booleans": FULL > 2,
    "array in the other order of bytes": FULL.astype(">f4"),
    "array of one dimension": FULL[0],
    "array of three dimensions": np.stack([FULL, FULL], axis=2),
    "array of complex numbers": FULL * 1j,
    "array of text": np.array([[f"t{v}" for v in row] for row in FULL], dtype=object),
    "array of text of fixed length": np.array([[f"t{v}" for v in row] for row in FULL]),
    "structured array": np.array([(1, 2.0)] * N, dtype=[("a", "i4"), ("b", "f4")]),
    "masked array": np.ma.masked_array(FULL, FULL > 2),
    "CSR, CSC matrix": sp.csr_matrix(FULL * (FULL > 4)),
    "CSR, CSC array": sp.csc_array(FULL * (FULL > 4)),
    "stored zeros": sp.csr_matrix((np.array([0.0, 2]), np.array([0, 2]), [0, 1, 2, 2]), (N, N)),
    "table": pd.DataFrame({"a": pd.Categorical(["x", None, "y"]), "b": [1, 2, 3]}, index=NAMES),
    "table with times": pd.DataFrame({"a": pd.to_datetime(["2020-01-01"] * N)}, index=NAMES),
    "categories, nullable arrays": pd.array([1, None, 3], dtype="Int64"),
    "number, text, truth, None": {"a": 1, "b": "x", "c": True, "d": None},
    "list": [1, 2, 3],
    "tuple, set, other objects": (1, 2, 3),
    "mapping": {"deep": {"er": np.arange(3)}},
}
PLACES = ("X, layers, raw", "obsm, varm", "obsp, varp", "uns")


def outcome(place: str, element: Any, output: Path) -> str:
    """What becomes of an element in a place: exact, stored otherwise, refused, or not possible."""
    obs, parts = pd.DataFrame(index=NAMES), {}
    if place == "X, layers, raw":
        parts = {"layers": {"it": element}}
    else:
        parts = {place.partition(",")[0]: {"it": element}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            adata = anndata.AnnData(np.ones((N, N), "f4"), obs=obs, **parts)
            held = adata.layers if "layers" in parts else getattr(adata, next(iter(parts)))
            held = held["it"]
        except (ValueError, TypeError, AttributeError, IndexError):
            return "–"
        try:
            dataset = slaf.convert(adata, output)
        except InputError:
            assert not output.exists()
            return "refused"
    if "layers" not in parts:
        found = dataset.to_anndata()
        assert equal_elements(getattr(found, next(iter(parts)))["it"], held)
        return "exact"
    found = dataset.layers["it"].to_memory()
    np.testing.assert_array_equal(found.toarray(), as_matrix(held))
    if found.dtype != held.dtype:
        return f"as {found.dtype}"
    return "exact, as CSR"


def test_the_page_of_the_round_trip(tmp_path: Path) -> None:
    """The table in the documentation is what becomes of each kind of element in each place."""
    lines = [f"| | {' | '.join(PLACES)} |", f"|---|{'---|' * len(PLACES)}"]
    for at, (kind, element) in enumerate(KINDS.items()):
        cells = [outcome(place, element, tmp_path / f"{at}-{place}") for place in PLACES]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    assert "\n".join(lines) in PAGE.read_text(), "\n".join(lines)
