"""Arrays and matrices of obsm, varm, obsp and varp to Arrow columns and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from slaf.annotations.arrays import (
    arrays_to_columns,
    column_to_array,
    pairs_to_table,
    table_to_matrix,
)
from slaf.annotations.equality import equal_elements
from slaf.errors import InputError
from slaf.testing.strategies import NUMERIC_TYPES, numbers

IDS = ("cell_integer_id_i", "cell_integer_id_j")
SPARSE = (sp.csr_matrix, sp.csc_matrix, sp.csr_array, sp.csc_array)
KEYS = st.dictionaries(st.sampled_from(["X_pca", "x_PCA", "a.b", "", "cell_id", "ü"]), st.none())


@st.composite
def arrays(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """An array of any numeric type, in either order of bytes."""
    dtype = draw(st.sampled_from(NUMERIC_TYPES))
    size = int(np.prod(shape))
    values = draw(st.lists(numbers(dtype), min_size=size, max_size=size))
    array = np.array(values, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder(draw(st.sampled_from("<>"))))


@given(data=st.data())
def test_arrays_come_back(data: st.DataObject) -> None:
    """Every array is read back from its column bit for bit, with type and shape."""
    n_rows = data.draw(st.integers(0, 4))
    shapes = st.sampled_from([(n_rows,), (n_rows, 1), (n_rows, 3)])
    elements = {key: data.draw(arrays(data.draw(shapes))) for key in data.draw(KEYS)}
    columns, specs = arrays_to_columns(elements, n_rows, ["cell_id", "X_PCA"])
    assert [spec.key for spec in specs] == list(elements)
    names = [str(spec.name).casefold() for spec in specs]
    assert len({"cell_id", "x_pca", *names}) == 2 + len(elements)
    for spec in specs:
        result = column_to_array(pa.chunked_array([columns[str(spec.name)]]), spec)
        expected = elements[spec.key]
        assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(result, expected)
        if result.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(result), np.signbit(expected))


@given(data=st.data())
def test_pairs_come_back(data: st.DataObject) -> None:
    """Matrices of any kind and type are read back from one table, stored zeros included."""
    n = data.draw(st.integers(0, 4))
    elements: dict[str, Any] = {}
    for key in data.draw(KEYS):
        array = data.draw(arrays((n, n)))
        kind = data.draw(st.sampled_from([None, *SPARSE]))
        # scipy has no matrices of half floats.
        if kind is not None and array.dtype.str[1:] != "f2":
            array = kind(array.astype(array.dtype.newbyteorder("=")))
            array.data[: data.draw(st.integers(0, array.nnz))] = 0
        elements[key] = array
    table, specs = pairs_to_table(elements, n, IDS)
    assert [spec.key for spec in specs] == list(elements)
    assert (table is None) == (not elements)
    for spec in specs:
        assert equal_elements(table_to_matrix(table, IDS, spec), elements[spec.key])
    if table is not None:
        pairs = list(zip(*(table.column(name).to_pylist() for name in IDS), strict=True))
        assert pairs == sorted(set(pairs))
        values = [table.column(name) for name in table.column_names[2:]]
        assert not any(
            all(not column[row].is_valid for column in values) for row in range(len(pairs))
        )


def test_elements_without_a_column() -> None:
    """Text, three dimensions, no columns and repeated entries have no Arrow column."""
    repeated = sp.csr_matrix((np.ones(2), np.zeros(2, int), [0, 2, 2]), shape=(2, 2))
    for element in (np.array([["a"], ["b"]]), np.zeros((2, 0)), np.zeros((2, 2, 2)), repeated):
        columns, specs = arrays_to_columns({"it": element}, 2, [])
        assert columns == {}
        assert specs[0].name is None
    table, specs = pairs_to_table({"it": repeated}, 2, IDS)
    assert table is None
    assert specs[0].name is None


@pytest.mark.parametrize("element", [np.zeros(3), np.zeros((3, 2))])
def test_wrong_rows_are_refused(element: Any) -> None:
    """An element with another number of rows is refused by name."""
    with pytest.raises(InputError, match="'it' has 3 rows where 2 are needed"):
        arrays_to_columns({"it": element}, 2, [])


def test_wrong_pairs_are_refused() -> None:
    """A matrix that is not cells × cells is refused by name."""
    with pytest.raises(InputError, match=r"'it' has the shape \(3, 2\), not 2 × 2"):
        pairs_to_table({"it": np.zeros((3, 2))}, 2, IDS)
