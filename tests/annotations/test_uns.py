"""uns, and elements that no table holds, to HDF5 and back; uns as JSON."""

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
    "text of any length": np.array(["ab", "", "ü"], "T"),  # as anndata reads it from zarr
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
def test_elements_are_read_back(name: str) -> None:
    """Each kind of element is read back in its type, with hints in JSON, from the same bytes."""
    elements = {"uns": {"it": ELEMENTS[name]}}
    content, hints = write_elements(elements)
    written = json.loads(json.dumps(msgspec.to_builtins(hints)))
    read_hints = msgspec.convert(written, list[TypeHint])
    assert equal_elements(read_elements(io.BytesIO(content), read_hints), elements)
    assert write_elements(elements) == (content, hints)


@given(data=st.data())
def test_frames_are_read_back(data: st.DataObject) -> None:
    """Frames with columns of any type are read back."""
    elements = {"uns": {"it": data.draw(frames(data.draw(st.integers(0, 3)), on_disk=True))}}
    try:
        content, hints = write_elements(elements)
    except InputError:
        # anndata does not write times, for example.
        return
    assert equal_elements(read_elements(io.BytesIO(content), hints), elements)


@pytest.mark.parametrize(
    ("element", "cause"),
    [
        ((1, 2), r"uns\['it'\]\['deep'\] holds a tuple, which anndata cannot write"),
        (object(), r"uns\['it'\]\['deep'\] holds a object, which anndata cannot write"),
        ([[1], [2, 3]], r"uns\['it'\]\['deep'\] holds a list"),
        ({"a/b": 1}, r"uns\['it'\]\['deep'\] has the key 'a/b', which HDF5 cannot store"),
        ({1: 1}, r"uns\['it'\]\['deep'\] has the key 1, which HDF5 cannot store"),
        (
            [1, "a"],
            r"uns\['it'\]\['deep'\] holds a list, which anndata reads back as a ndarray that is",
        ),
    ],
)
def test_unsupported_elements_are_refused(element: Any, cause: str) -> None:
    """An element that is not read back unchanged is refused, with its keys."""
    with pytest.raises(InputError, match=cause):
        write_elements({"uns": {"it": {"deep": element}}})


def test_readable_json() -> None:
    """Every kind of element has a form in JSON that other programs read."""
    result = json.loads(as_json(ELEMENTS | {"large": np.zeros(100_001), "infinite": np.inf}))
    assert result["records"] == {"x": ["a", "b"], "y": [1.0, 2.0]}
    assert result["deep"] == {"er": {"still": None}, "empty": {}}
    assert result["large"] == {"shape": [100_001], "dtype": "float64"}
    assert result["infinite"] is None
    assert result["a table"]["columns"]["kind"] == ["x", None]
    assert result["a sparse matrix"]["stored"] == 3
    assert result["categories"] == ["a", "b", "a"]
