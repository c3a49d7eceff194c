"""What no table holds is written by anndata and comes back as it was, or is refused."""

from __future__ import annotations

import io
import json
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from slaf.annotations.equality import equal_elements
from slaf.annotations.uns import TypeHint, as_json, read_elements, write_elements
from slaf.errors import InputError
from slaf.testing.strategies import frames

ELEMENTS: dict[str, Any] = {
    "an int": 1,
    "a float": 2.5,
    "text": "ü",
    "truth": True,
    "nothing": None,
    "a list": [1, 2],
    "a list of text": ["a", "b"],
    "an empty list": [],
    "numpy's truth": np.bool_(True),  # noqa: FBT003 - the value itself
    "numpy's float": np.float32(0.1),
    "numpy's text": np.str_("a"),
    "an array": np.arange(6).reshape(2, 3),
    "three dimensions": np.zeros((2, 2, 2), np.float32),
    "bytes swapped": np.arange(3, dtype=">i4"),
    "text of fixed length": np.array(["ab", "c"]),
    "bytes": np.array([b"ab", b"c"]),
    "records": np.array([("a", 1.0), ("b", 2.0)], [("x", "U1"), ("y", "f8")]).view(np.recarray),
    "a structured array": np.zeros(2, [("x", "<f4"), ("y", "O")]),
    "a table": pd.DataFrame(
        {
            "whole": pd.array([1, None], dtype="Int64"),
            "kind": pd.Categorical(["x", None], categories=["y", "x"], ordered=True),
            "text": pd.array(["a", None], dtype="string"),
        },
        index=["i", "j"],
    ),
    "categories": pd.Categorical(["a", "b", "a"]),
    "a sparse matrix": sp.csr_matrix(np.eye(3)),
    "columns": sp.csc_array(np.eye(3, dtype=np.int8)),
    "deep": {"er": {"still": np.nan}, "empty": {}},
}
ELEMENTS["a structured array"]["y"] = ["p", "q"]


@pytest.mark.parametrize("name", ELEMENTS)
def test_what_comes_back(name: str) -> None:
    """Each kind of element comes back in its type, by notes that JSON holds; bytes do not vary."""
    elements = {"uns": {"it": ELEMENTS[name]}}
    content, notes = write_elements(elements)
    written = json.loads(json.dumps(msgspec.to_builtins(notes)))
    noted = msgspec.convert(written, list[TypeHint])
    assert equal_elements(read_elements(io.BytesIO(content), noted), elements)
    assert write_elements(elements) == (content, notes)


@given(data=st.data())
def test_tables_come_back(data: st.DataObject) -> None:
    """Tables with columns of any type come back."""
    elements = {"uns": {"it": data.draw(frames(data.draw(st.integers(0, 3)), on_disk=True))}}
    try:
        content, notes = write_elements(elements)
    except InputError:
        # Times, say, which anndata does not write.
        return
    assert equal_elements(read_elements(io.BytesIO(content), notes), elements)


@pytest.mark.parametrize(
    ("element", "cause"),
    [
        ((1, 2), r"uns\['it'\]\['deep'\] holds a tuple, which anndata cannot write"),
        (object(), r"uns\['it'\]\['deep'\] holds a object, which anndata cannot write"),
        ([[1], [2, 3]], r"uns\['it'\]\['deep'\] holds a list"),
        ({"a/b": 1}, r"uns\['it'\]\['deep'\] has the key 'a/b', which no file holds"),
        ({1: 1}, r"uns\['it'\]\['deep'\] has the key 1, which no file holds"),
        ([1, "a"], r"uns\['it'\]\['deep'\] holds a list that would come back as a ndarray that"),
    ],
)
def test_what_is_refused(element: Any, cause: str) -> None:
    """What would not come back as it was is refused, with the way to it."""
    with pytest.raises(InputError, match=cause):
        write_elements({"uns": {"it": {"deep": element}}})


NOT_MISSING = np.zeros(1, np.bool_)


def test_what_is_the_same() -> None:
    """Types count as values do; order in a sparse matrix, and the class of a mapping, do not."""
    unsorted = sp.csr_matrix((np.array([1.0, 2.0]), np.array([1, 0]), [0, 2]), shape=(1, 2))
    assert equal_elements(unsorted, unsorted.sorted_indices())
    assert equal_elements({"a": [1, (2, np.nan)]}, {"a": [1, (2, np.nan)]})
    for one, other in (
        (1, 1.0),
        (np.zeros(2), np.zeros(2, np.float32)),
        (np.zeros(2), np.zeros((2, 1))),
        (sp.csr_matrix(np.eye(2)), sp.csc_matrix(np.eye(2))),
        (sp.csr_matrix(np.eye(2)), sp.csr_matrix(2 * np.eye(2))),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1.0]})),
        (pd.Categorical(["a"]), pd.Categorical(["a"], categories=["a", "b"])),
        (pd.DataFrame({"a": [None]}, dtype=object), pd.DataFrame({"a": [np.nan]}, dtype=object)),
        (pd.DataFrame({"a": ["nan"]}), pd.DataFrame({"a": [np.nan]}, dtype=object)),
        (pd.DataFrame({"a": ["1"]}, dtype=object), pd.DataFrame({"a": [1]}, dtype=object)),
        (pd.Categorical(["a"], ["a", "b"]), pd.Categorical(["a"], ["b", "a"])),
        (pd.Categorical(["a"]), pd.Categorical(["a"], ordered=True)),
        (pd.array([np.nan], "Float64"), pd.arrays.FloatingArray(np.array([np.nan]), NOT_MISSING)),
        (pd.Series([1], name="a"), pd.Series([1], name="b")),
        (pd.Index(["a"], name="x"), pd.Index(["a"])),
        (pd.MultiIndex.from_tuples([(1, "a")]), pd.MultiIndex.from_tuples([(1, "b")])),
        (pd.Timestamp(0), pd.Timestamp(1)),
        (pd.NA, pd.NaT),
        ({"a": 1}, {"a": 1, "b": 2}),
        ([1], [1, 2]),
        (object(), object()),
    ):
        assert equal_elements(one, one) == (type(one) is not object)
        assert not equal_elements(one, other)


def test_readable_json() -> None:
    """Whatever uns holds has a form in JSON that any program reads."""
    found = json.loads(as_json(ELEMENTS | {"large": np.zeros(100_001), "infinite": np.inf}))
    assert found["records"] == {"x": ["a", "b"], "y": [1.0, 2.0]}
    assert found["deep"] == {"er": {"still": None}, "empty": {}}
    assert found["large"] == {"shape": [100_001], "dtype": "float64"}
    assert found["infinite"] is None
    assert found["a table"]["columns"]["kind"] == ["x", None]
    assert found["a sparse matrix"]["stored"] == 3
    assert found["categories"] == ["a", "b", "a"]
