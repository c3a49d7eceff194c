"""Whichever of its types pandas holds strings in, they are the same strings."""

from __future__ import annotations

import json
from contextlib import nullcontext
from itertools import permutations
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest

import slaf
from slaf.annotations.equality import equal_elements
from slaf.annotations.text import text_type
from tests.builders import counts

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

# What pandas 2 and 3 make of a column of strings, and what either makes of a nullable one.
TYPES = (np.dtype(object), pd.StringDtype("pyarrow", na_value=np.nan), pd.StringDtype("python"))


def with_strings(dtype: Any, categories: tuple[str, ...] = ("a", "b")) -> anndata.AnnData:
    """Strings in the index, in a column and in categories, one of them missing."""
    obs = pd.DataFrame(
        {
            "note": pd.Series(["x", None, "z"], dtype=dtype).to_numpy(object),
            "batch": pd.Categorical.from_codes([0, 1, 0], pd.Index(categories, dtype=dtype)),
        },
        index=pd.Index(["c0", "c1", "c2"], dtype=object),
    ).astype({"note": dtype})
    return anndata.AnnData(counts(3, 4), obs=obs)


@pytest.mark.parametrize(("written", "read"), list(permutations(TYPES, 2)), ids=str)
def test_a_dataset_is_proven_by_another_pandas(written: Any, read: Any, tmp_path: Path) -> None:
    """A source whose strings are read as another type than once is still the source."""
    dataset = slaf.convert(with_strings(written), tmp_path / "out.slaf")
    assert slaf.verify(dataset, against=with_strings(read)).ok


def test_other_strings_are_found(tmp_path: Path) -> None:
    """Categories that differ are no matter of types."""
    dataset = slaf.convert(with_strings(TYPES[0]), tmp_path / "out.slaf")
    with pytest.raises(slaf.VerificationFailed, match="categories of column 'batch'"):
        slaf.verify(dataset, against=with_strings(TYPES[1], ("a", "c")))


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_categories_keep_their_type(dtype: Any, tmp_path: Path) -> None:
    """Categories are given back in the type that they had, whatever pandas would choose."""
    expected = with_strings(dtype)
    found = slaf.convert(expected, tmp_path / "out.slaf").obs
    assert found["batch"].cat.categories.dtype == expected.obs["batch"].cat.categories.dtype


# -------------------------------------------------------------------------- pandas 2 and 3 together

# The option gives pandas 2 the text of pandas 3, which has no other.
NEWER = ("3 in 2", "2 in 3") if pd.__version__ < "3" else ()


def newer_text(*, is_newer: bool) -> AbstractContextManager[None]:
    """A context in which pandas 2 gives text the type that pandas 3 gives it."""
    if not is_newer:
        return nullcontext()
    return pd.option_context("future.infer_string", True)  # noqa: FBT003 - as pandas takes it


# pandas 3 writes text as Python objects in one way, and its own text in another one.
@pytest.fixture(scope="module", params=dict.fromkeys((np.dtype(object), text_type())), ids=str)
def stored_text(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with text in obs, var, tables of each slot, uns, and categories."""

    def text(*values: str) -> Any:
        return pd.Index(values, dtype=request.param)

    path = tmp_path_factory.mktemp("text") / "in.h5ad"
    batch = pd.Categorical.from_codes([0, -1, 0], text("b", "a"))
    columns = {"note": text("x", "", "z"), "batch": batch, "n": [1, 2, 3]}
    obs, var = pd.DataFrame(columns, text(*"cde")), pd.DataFrame(columns, text(*"ghi"))
    adata = anndata.AnnData(counts(3, 3), obs, var)
    adata.raw = adata.copy()
    adata.obsm["table"], adata.varm["table"] = obs, var
    adata.uns = {"table": obs, "deep": {"kinds": batch}}
    adata.write_h5ad(path)
    return path


def parts(adata: anndata.AnnData) -> dict[str, Any]:
    """What holds text in an AnnData."""
    raw: Any = adata.raw
    slots = {slot: dict(getattr(adata, slot)) for slot in ("obsm", "varm", "uns")}
    return {"obs": adata.obs, "var": adata.var, "raw.var": raw.var, **slots}


@pytest.mark.parametrize("case", ["one", *NEWER])
def test_a_file_is_given_back_as_anndata_reads_it(
    case: str, stored_text: Path, tmp_path: Path
) -> None:
    """Whichever pandas converted it, a file comes back as anndata reads it by the pandas of the
    reader, and the dataset says nothing of the one that converted it.
    """
    with newer_text(is_newer=case == "3 in 2"):
        slaf.convert(stored_text, tmp_path / "out.slaf")
    config = json.loads((tmp_path / "out.slaf/config.json").read_bytes())
    records = [*config["columns"]["cells"]["columns"], *config["columns"]["genes"]["columns"]]
    kinds = {(each.get("dtype"), each.get("categories")) for each in records}
    assert kinds == {("object", None), ("int64", None), ("category", "object")}
    assert config["elements"]["notes"] == config["uns"]["notes"] == []
    with newer_text(is_newer=case == "2 in 3"):
        found = parts(slaf.open(tmp_path / "out.slaf").to_anndata())
        expected = parts(anndata.read_h5ad(stored_text))
        for name, part in expected.items():
            assert equal_elements(found[name], part), name
        assert repr(found["obs"]["note"].dtype) == repr(text_type())
        assert slaf.verify(tmp_path / "out.slaf", stored_text).ok


@pytest.mark.parametrize("dtype", [*TYPES, pd.StringDtype("python", na_value=np.nan)], ids=repr)
def test_tables_keep_the_type_of_their_text(dtype: Any, tmp_path: Path) -> None:
    """Ids, names of columns, columns, categories and arrays, some without rows, keep their type."""
    ids = pd.Index(["c", "d", "e"], dtype=dtype)
    # anndata writes no objects that are missing.
    notes: Any = ["x", None, "z"] if isinstance(dtype, pd.StringDtype) else ["x", "y", "z"]
    columns = {
        "note": pd.Series(notes, dtype=dtype, index=ids),
        "batch": pd.Categorical.from_codes([0, -1, 0], pd.Index(["b", "a"], dtype=dtype)),
        "none": pd.Categorical.from_codes([-1, -1, -1], pd.Index([], dtype=dtype)),
    }
    table = pd.DataFrame(columns, index=ids).set_axis(pd.Index([*columns], dtype=dtype), axis=1)
    uns = {"table": table, "no rows": table[:0], "deep": {"kinds": columns["batch"]}}
    if isinstance(dtype, pd.StringDtype):
        uns["array"] = columns["note"].array
    adata = anndata.AnnData(counts(3, 4), pd.DataFrame(index=ids), uns=uns)
    adata.obsm["table"] = table
    dataset = slaf.convert(adata, tmp_path / "out.slaf")
    found = dataset.to_anndata()
    assert equal_elements(found.obsm["table"], adata.obsm["table"])
    assert equal_elements(dict(found.uns), uns)
    assert slaf.verify(dataset, adata).ok
    with newer_text(is_newer=bool(NEWER) and isinstance(dtype, pd.StringDtype)):
        assert equal_elements(dict(slaf.open(tmp_path / "out.slaf").uns), uns)
