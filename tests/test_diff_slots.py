"""Layers, raw, obsm, varm, obsp, varp and uns are compared: presence, types and every value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import slaf
from slaf.verification.report import Difference
from tests.builders import counts
from tests.conversion.cases import N_CELLS, N_GENES, slots

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Change = Callable[[anndata.AnnData], object]

CELLS = pd.Index([f"cell-{cell}" for cell in range(N_CELLS)], dtype=object)


def whole() -> anndata.AnnData:
    """An AnnData with elements of every type in every slot."""
    held = slots(counts(N_CELLS, N_GENES, seed=5) * np.float32(0.5))
    for matrices, name in ((held["layers"], "whole"), (held["raw"], "X")):
        dense = matrices[name].toarray()
        dense[0, 0] = 7
        matrices[name] = sp.csr_matrix(dense)
    adata = anndata.AnnData(
        counts(N_CELLS, N_GENES),
        obs=pd.DataFrame(index=CELLS),
        var=pd.DataFrame(index=[f"gene-{gene}" for gene in range(N_GENES)]),
        **held,
    )
    adata.raw.var["name"] = "n"
    adata.raw.varm["loadings"] = np.ones((9, 2))
    adata.obsm["frame"]["kind"] = pd.Categorical(["a", None, "b"] * 4, ["b", "a", "c"])
    adata.obsm["frame"]["text"] = np.array(["x", "nan", "y"] * 4, dtype=object)
    adata.obsm["frame"]["maybe"] = pd.array([1, None] * 6, dtype="Int64")
    adata.obsm["sparse"] = sp.csr_matrix(np.eye(N_CELLS, 3))
    adata.obsp["graph"] = sp.csr_matrix(([0.0, 2.0], ([0, 1], [1, 2])), (N_CELLS, N_CELLS))
    adata.uns |= {
        "deep": {"number": 1, "text": "nan", "missing": np.float64(np.nan)},
        "list": ["b", "a"],
        "texts": np.array(["a", "b"], dtype=object),
        "records": np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f4")]),
    }
    return adata


def put(holder: Callable[[anndata.AnnData], Any], key: Any, value: object) -> Change:
    """Change that sets an item of a mapping of an AnnData."""
    return lambda adata: holder(adata).__setitem__(key, value)


def raw_of(adata: anndata.AnnData, **parts: Any) -> None:
    """Replace parts of raw."""
    raw = {"X": adata.raw.X, "var": adata.raw.var, "varm": dict(adata.raw.varm)} | parts
    kept = anndata.AnnData(raw["X"], obs=adata.obs, var=raw["var"], varm=raw["varm"])
    adata.raw = kept


def frame(adata: anndata.AnnData) -> Any:
    """The table in obsm."""
    return adata.obsm["frame"]


def deep(adata: anndata.AnnData) -> Any:
    """The mapping in uns."""
    return adata.uns["deep"]


CASES: list[tuple[str, Change, tuple[str, str, str, str]]] = [
    (
        "a value of a layer",
        put(lambda adata: adata.layers["whole"].data, 0, 300),
        ("layers", "'whole', cell 0 ('cell-0'), gene 0 ('gene-0')", "7", "300"),
    ),
    (
        "a layer that is gone",
        lambda adata: adata.layers.pop("late"),
        ("layers", "'late'", "a layer of float32", "nothing"),
    ),
    (
        "a layer that is new",
        lambda adata: adata.layers.update(new=adata.X.astype("i8")),
        ("layers", "'new'", "nothing", "a layer of int64"),
    ),
    (
        "the type of a layer",
        lambda adata: adata.layers.update(whole=adata.layers["whole"].astype("f8")),
        ("type", "of layer 'whole'", "float32", "float64"),
    ),
    (
        "a value of raw",
        put(lambda adata: adata.raw.X.data, 0, 300),
        ("raw", "cell 0 ('cell-0'), gene 0 ('raw-0')", "7", "300"),
    ),
    (
        "no raw",
        lambda adata: setattr(adata, "raw", None),
        ("raw", "raw", "12 cells × 9 genes", "nothing"),
    ),
    (
        "fewer genes of raw",
        lambda adata: raw_of(adata, X=adata.raw.X[:, :8], var=adata.raw.var[:8], varm={}),
        ("raw", "number of genes", "9", "8"),
    ),
    (
        "a gene of raw",
        lambda adata: raw_of(adata, var=adata.raw.var.rename({"raw-3": "other"})),
        ("raw_genes", "index of row 3", "'raw-3'", "'other'"),
    ),
    (
        "a column of raw",
        lambda adata: raw_of(adata, var=adata.raw.var.assign(name=["m", *["n"] * 8])),
        ("raw_genes", "column 'name' of row 0", "'n'", "'m'"),
    ),
    (
        "loadings of raw",
        put(lambda adata: adata.raw.varm["loadings"], (4, 1), 0.5),
        ("raw varm", "raw varm['loadings'][4, 1]", "1.0", "0.5"),
    ),
    (
        "an embedding's value",
        put(lambda adata: adata.obsm["X_pca"], (2, 1), np.nan),
        ("obsm", "obsm['X_pca'][2, 1]", "5.0", "nan"),
    ),
    (
        "an embedding's type",
        lambda adata: adata.obsm.update(X_pca=adata.obsm["X_pca"].astype("f8")),
        ("obsm", "dtype of obsm['X_pca']", "float32", "float64"),
    ),
    (
        "an embedding's shape",
        lambda adata: adata.obsm.update(X_pca=adata.obsm["X_pca"][:, :1]),
        ("obsm", "shape of obsm['X_pca']", "(12, 2)", "(12, 1)"),
    ),
    (
        "an embedding that is gone",
        lambda adata: adata.obsm.pop("X_pca"),
        ("obsm", "obsm['X_pca']", "ndarray (12, 2) float32", "nothing"),
    ),
    (
        "another kind of embedding",
        lambda adata: adata.obsm.update(sparse=np.eye(N_CELLS, 3)),
        ("obsm", "type of obsm['sparse']", "csr_matrix (12, 3) float64", "ndarray (12, 3) float64"),
    ),
    (
        "a number of a table",
        put(frame, "a", [9, *range(1, N_CELLS)]),
        ("obsm", "column 'a' of obsm['frame'], row 0", "0", "9"),
    ),
    (
        "a type of a table",
        put(frame, "a", np.arange(N_CELLS, dtype="i4")),
        ("obsm", "type of column 'a' of obsm['frame']", "int64", "int32"),
    ),
    (
        "text of a table",
        put(frame, "text", np.array(["x", "NaN", "y", *["x", "nan", "y"] * 3], dtype=object)),
        ("obsm", "column 'text' of obsm['frame'], row 1", "'nan'", "'NaN'"),
    ),
    (
        "a number for what is missing",
        put(frame, "maybe", pd.array([1, 0] + [1, None] * 5, dtype="Int64")),
        ("obsm", "column 'maybe' of obsm['frame'], row 1", "<NA>", "0"),
    ),
    (
        "a category",
        put(
            frame,
            "kind",
            pd.Categorical(["c", None, "b"] + ["a", None, "b"] * 3, ["b", "a", "c"]),
        ),
        ("obsm", "column 'kind' of obsm['frame'], row 0", "'a'", "'c'"),
    ),
    (
        "the order of categories",
        put(
            frame,
            "kind",
            pd.Categorical(["a", None, "b"] * 4, ["a", "b", "c"]),
        ),
        (
            "obsm",
            "type of column 'kind' of obsm['frame']",
            "categories ['b', 'a', 'c'] (object)",
            "categories ['a', 'b', 'c'] (object)",
        ),
    ),
    (
        "whether categories have an order",
        put(
            frame,
            "kind",
            pd.Categorical(["a", None, "b"] * 4, ["b", "a", "c"], ordered=True),
        ),
        (
            "obsm",
            "type of column 'kind' of obsm['frame']",
            "categories ['b', 'a', 'c'] (object)",
            "ordered categories ['b', 'a', 'c'] (object)",
        ),
    ),
    (
        "an edge",
        put(lambda adata: adata.obsp["graph"].data, 1, 3.0),
        ("obsp", "obsp['graph'][1, 2]", "2.0", "3.0"),
    ),
    (
        "an edge of length 0",
        lambda adata: adata.obsp["graph"].eliminate_zeros(),
        ("obsp", "obsp['graph'][0, 1]", "0.0", "nothing"),
    ),
    (
        "a pair of genes",
        put(lambda adata: adata.varp["dense"], (1, 1), -1),
        ("varp", "varp['dense'][1, 1]", "1.0", "-1.0"),
    ),
    (
        "a loading",
        put(lambda adata: adata.varm["loadings"], (0, 2), 0),
        ("varm", "varm['loadings'][0, 2]", "1.0", "0.0"),
    ),
    (
        "a type in uns",
        put(deep, "number", 1.0),
        ("uns", "type of uns['deep']['number']", "int 1", "float 1.0"),
    ),
    ("text in uns", put(deep, "text", "NaN"), ("uns", "uns['deep']['text']", "'nan'", "'NaN'")),
    (
        "a value in uns",
        put(deep, "missing", np.float64(0)),
        ("uns", "uns['deep']['missing']", "nan", "0.0"),
    ),
    (
        "a key in uns",
        put(deep, "new", {"a": 1}),
        ("uns", "uns['deep']['new']", "nothing", "a mapping of 1 keys"),
    ),
    (
        "a list in uns",
        put(lambda adata: adata.uns, "list", ["b", "b"]),
        ("uns", "uns['list'][1]", "'a'", "'b'"),
    ),
    (
        "a longer list",
        put(lambda adata: adata.uns, "list", ["b", "a", "c"]),
        ("uns", "uns['list']", "['b', 'a']", "['b', 'a', 'c']"),
    ),
    (
        "a text of an array",
        put(lambda adata: adata.uns["texts"], 1, "c"),
        ("uns", "uns['texts'][1]", "'b'", "'c'"),
    ),
    (
        "a field of a record",
        put(lambda adata: adata.uns["records"]["b"], 0, 3),
        ("uns", "uns['records']['b'][0]", "2.0", "3.0"),
    ),
]


# Of those that exclude each other, with which half they are made; -1 for with none.
TOGETHER = {
    "the type of a layer": 1,
    "a value of a layer": 0,
    "no raw": 1,
    "a value of raw": 0,
    "fewer genes of raw": -1,
    "a gene of raw": 0,
    "a column of raw": 0,
    "loadings of raw": 0,
    "an embedding's value": 0,
    "an embedding's type": 1,
    "an embedding's shape": -1,
    "an embedding that is gone": -1,
    "a number of a table": 0,
    "a type of a table": 1,
    "a category": 0,
    "the order of categories": 1,
    "whether categories have an order": -1,
    "a list in uns": 0,
    "a longer list": 1,
    "a pair of genes": 0,
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> slaf.Dataset:
    """A dataset of it, in several blocks."""
    return slaf.convert(whole(), tmp_path_factory.mktemp("slots") / "in.slaf", chunk_size=5)


def test_what_is_the_same_does_not_differ(dataset: slaf.Dataset, tmp_path: Path) -> None:
    """A dataset equals its AnnData, its file, and a dataset with other blocks."""
    adata = whole()
    path = tmp_path / "in.h5ad"
    # anndata changes what it writes.
    whole().write_h5ad(path)
    other = slaf.convert(adata, tmp_path / "other.slaf", compression="small", plain_types=True)
    of_file = slaf.convert(path, tmp_path / "of_file.slaf")
    for one, two in ((dataset, adata), (adata, other), (dataset, other), (of_file, path)):
        found = slaf.diff(one, two)
        assert found.differences == ()
        assert found.checks == ("ids, values, columns, types and slots",)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_one_change_is_one_difference(
    case: tuple[str, Change, tuple[str, str, str, str]], dataset: slaf.Dataset
) -> None:
    """One change is one difference, with slot, path and both values."""
    _, change, expected = case
    adata = whole()
    change(adata)
    assert differences_of(slaf.diff(dataset, adata)) == [Difference(*expected)]


@pytest.mark.parametrize("half", [0, 1])
def test_datasets_differ_as_their_inputs_do(
    half: int, dataset: slaf.Dataset, tmp_path: Path
) -> None:
    """All changes at once are found between two datasets, in both directions."""
    adata = whole()
    chosen = [case for case in CASES if TOGETHER.get(case[0], half) == half]
    for _, change, _ in chosen:
        change(adata)
    other = slaf.convert(adata, tmp_path / "other.slaf")
    expected = [Difference(*fields) for _, _, fields in chosen]
    found = differences_of(slaf.diff(dataset, other))
    assert sorted(found, key=str) == sorted(expected, key=str)
    exchanged = [Difference(d.kind, d.where, d.found, d.expected) for d in found]
    assert sorted(differences_of(slaf.diff(other, dataset)), key=str) == sorted(exchanged, key=str)


def differences_of(found: slaf.Comparison) -> list[Difference]:
    """The differences, without the type of numbers that are equal: 7 and 7.0."""
    numbers = {"layers", "raw"}
    return [
        Difference(d.kind, d.where, plain(d.expected), plain(d.found)) if d.kind in numbers else d
        for d in found.differences
    ]


def plain(text: str) -> str:
    """A whole number without its point."""
    return text.removesuffix(".0")


def test_many_differences_are_counted(dataset: slaf.Dataset) -> None:
    """The first ten differences of each slot are kept, and all are counted."""
    adata = whole()
    adata.obsm["X_pca"] += 1
    adata.varp["dense"] += 1
    found = slaf.diff(dataset, adata)
    assert dict(found.counts) == {"obsm": 2 * N_CELLS, "varp": N_GENES**2}
    for slot in ("obsm", "varp"):
        assert sum(d.kind == slot for d in found.differences) == 10


def test_a_pair_that_is_stored_twice(tmp_path: Path) -> None:
    """Sparse matrices with repeated entries differ as a whole."""
    twice = sp.csr_matrix((np.array([1.0, 2.0]), np.array([1, 1]), [0, 2, 2]), (2, 2))
    adatas = [
        anndata.AnnData(np.ones((2, 2), np.float32), obsp={"graph": graph})
        for graph in (twice, sp.csr_matrix(twice.toarray()))
    ]
    dataset = slaf.convert(adatas[0], tmp_path / "in.slaf")
    assert slaf.diff(dataset, adatas[0]).ok
    [found] = slaf.diff(dataset, adatas[1]).differences
    assert (found.kind, found.where) == ("obsp", "obsp['graph']")


def test_what_was_left_out_differs(tmp_path: Path) -> None:
    """A dataset without layers and raw verifies, but differs from its input."""
    adata = whole()
    dataset = slaf.convert(adata, tmp_path / "in.slaf", layers="none", raw=False)
    assert slaf.verify(dataset, adata).ok
    assert dict(slaf.diff(adata, dataset).counts) == {"layers": 2, "raw": 1}


def test_what_cannot_be_read_is_a_difference(tmp_path: Path) -> None:
    """A missing file of elements is a difference; other content is compared."""
    dataset = slaf.convert(whole(), tmp_path / "in.slaf")
    [file] = (tmp_path / "in.slaf").glob("uns-*.h5")
    file.unlink()
    other = slaf.convert(whole(), tmp_path / "other.slaf")
    for pair in ((dataset, other), (other, dataset), (whole(), dataset)):
        assert dict(slaf.diff(*pair).counts) == {"unreadable": 1}
