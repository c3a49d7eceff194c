"""Equality of AnnData elements."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp

from slaf.annotations.equality import equal_elements

NOT_MISSING = np.zeros(1, np.bool_)


def test_types_and_values_count() -> None:
    """Types and values count; the order in a sparse matrix and the class of a mapping do not."""
    unsorted = sp.csr_matrix((np.array([1.0, 2.0]), np.array([1, 0]), [0, 2]), shape=(1, 2))
    assert equal_elements(unsorted, unsorted.sorted_indices())
    assert equal_elements({"a": [1, (2, np.nan)]}, {"a": [1, (2, np.nan)]})
    for left, right in (
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
        assert equal_elements(left, left) == (type(left) is not object)
        assert not equal_elements(left, right)
