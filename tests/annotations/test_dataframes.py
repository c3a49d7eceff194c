"""obs and var to Arrow tables and back."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaf.annotations import text
from slaf.annotations.columns import ColumnSet, to_lance
from slaf.annotations.dataframes import from_arrays, from_frame, on_axis, to_frame
from slaf.errors import InputError
from slaf.format.schema import CELL_COLUMNS
from slaf.testing.strategies import frames, names

if TYPE_CHECKING:
    from collections.abc import Callable

TIMES: Any = ["2020-07-01", "2021-01-01", None]
PARIS = pd.to_datetime(TIMES).tz_localize("Europe/Paris")
TEXT: Any = ["x", "y", None]
categorical: Any = pd.Categorical
array: Any = pd.array
series: Any = pd.Series
NOTHING: Any = [None, None, None]

KEPT: dict[str, Any] = {
    "big-endian": np.array([1, 2, 70_000], ">i4"),
    "boolean objects": np.array([True, False, True], object),
    "days": pd.to_timedelta([1, 2, None], unit="s"),
    "times of a zone": PARIS,
    "uint64": np.array([0, 2**64 - 1, 2**63], np.uint64),
    "float16": np.array([0.5, np.nan, np.inf], np.float16),
    "NaN that is not missing": pd.arrays.FloatingArray(
        np.array([np.nan, 1.0, 2.0]), np.array([False, False, True])
    ),
    "nullable uint64": array([2**64 - 1, None, 0], dtype="UInt64"),
    "strings with None": np.array(["x", None, ""], object),
    "strings with NaN": np.array(["x", np.nan, ""], object),
    "all None": np.array([None, None, None], object),
    "all NaN": np.array([np.nan, np.nan, np.nan], object),
    "Arrow integers": array([1, 2, None], dtype="int64[pyarrow]"),
    "Arrow strings": array(TEXT, dtype=pd.ArrowDtype(pa.string())),
    "pyarrow strings": array(["x", "y", None], dtype="string[pyarrow]"),
    "NUL in text": np.array(["a\0b", "\0", ""], object),
    "categories of int8": categorical(np.array([3, 1, 3], np.int8)),
    "categories of float32": categorical(np.array([0.1, 1, np.nan], np.float32)),
    "categories of booleans": categorical([True, False, None]),
    "categories of nullable integers": series([1, None, 2], dtype="Int64").astype("category"),
    "categories of strings": series(["b", None, "a"], dtype="string").astype("category"),
    "unused categories": categorical(["b", "b", "b"], categories=["c", "b", "a"]),
    "ordered categories": categorical(["b", "a", "b"], ["c", "b", "a"], ordered=True),
    "categories of no row": categorical(NOTHING, categories=["x", "y"]),
    "no categories": categorical(NOTHING),
}

REFUSED: dict[str, tuple[Any, str]] = {
    "several kinds": ([1, "x", None], r"Python objects \(NoneType, int, str\)"),
    "None and NaN": (np.array(["x", None, np.nan], object), r"Python objects \(NoneType, float"),
    "integers as objects": (np.array([1, 2, 3], object), r"Python objects \(int\)"),
    "booleans and None": (np.array([True, None, False], object), r"\(NoneType, bool\)"),
    "lists": ([[1], [2], [3]], r"Python objects \(list\)"),
    "decimals": ([Decimal(1)] * 3, r"Python objects \(Decimal\)"),
    "bytes": ([b"a", b"b", b"c"], r"Python objects \(bytes\)"),
    "complex": ([1j, 2j, 3j], "values of type complex128"),
    "extended floats": (np.array([1, 2, 3], np.longdouble), "cannot be stored"),
    "intervals": (pd.cut([1, 2, 3], 2), r"Python objects \(Interval\)"),
    "periods": (pd.period_range("2020", periods=3, freq="Y"), r"Python objects \(Period\)"),
    "sparse": (pd.arrays.SparseArray([1, 0, 0]), "values of type Sparse"),
    "categories of times": (pd.Categorical(PARIS), "categories that are times"),
    "categories of several kinds": (pd.Categorical([1, "a", 2]), r"Python objects \(int, str\)"),
    "no unicode": (np.array(["\ud800", "b", "c"], object), "surrogates not allowed"),
}


def is_array(name: str) -> bool:
    """Whether a column is an array of numpy."""
    return isinstance(KEPT[name] if name in KEPT else REFUSED[name][0], np.ndarray)


def made(make: Callable[..., pa.Table], *arguments: Any) -> str:
    """The content and the types of a table; or the error."""
    try:
        table = make(*arguments)
    except InputError as error:
        return str(error)
    fields = [(field.name, field.type, field.metadata) for field in table.schema]
    return f"{table.to_pylist()} {fields} {table.schema.metadata}"


def round_trip(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame that is read back from a table and a config.json."""
    table, described = to_lance(from_frame(frame, "cell_id"), CELL_COLUMNS)
    assert len({name.casefold() for name in table.column_names}) == table.num_columns
    written = json.dumps(msgspec.to_builtins(described))
    return to_frame(table, msgspec.convert(json.loads(written), ColumnSet))


def native(series: pd.Series[Any]) -> pd.Series[Any]:
    """The column in the machine's order of bytes."""
    if isinstance(series.dtype, np.dtype):
        return series.astype(series.dtype.newbyteorder("="))
    return series


@given(st.integers(0, 5).flatmap(frames))
def test_a_frame_comes_back(frame: pd.DataFrame) -> None:
    """Any frame is read back with equal types, names, order, categories and missing values."""
    result = round_trip(frame)
    pd.testing.assert_frame_equal(result, frame)
    assert result.index.name == frame.index.name


@pytest.mark.parametrize("name", KEPT)
def test_a_column_comes_back(name: str) -> None:
    """Every kind of column is read back unchanged, in the machine's order of bytes."""
    frame = pd.DataFrame({"x": KEPT[name]}, index=list("abc"))
    result = round_trip(frame)["x"]
    expected = native(frame["x"])
    pd.testing.assert_series_equal(result, expected)
    assert [type(value) for value in result] == [type(value) for value in expected]


@pytest.mark.parametrize("name", KEPT)
def test_a_column_of_no_rows_comes_back(name: str) -> None:
    """A column without rows keeps its type and its categories."""
    frame = pd.DataFrame({"x": KEPT[name]}, index=list("abc")).iloc[:0]
    pd.testing.assert_series_equal(round_trip(frame)["x"], native(frame["x"]))


@pytest.mark.parametrize("name", REFUSED)
def test_an_unsupported_column_is_refused(name: str) -> None:
    """The error for an unsupported column names the column and the cause."""
    values, message = REFUSED[name]
    # With its type: pandas 3 infers strings from objects.
    odd = pd.Series(values, list("abc"), dtype=getattr(values, "dtype", None))
    with pytest.raises(InputError, match=message) as caught:
        from_frame(odd.to_frame("odd"), "cell_id")
    assert "column 'odd'" in str(caught.value)


@pytest.mark.parametrize("name", [name for name in KEPT | REFUSED if is_array(name)])
def test_an_array_is_a_column(name: str) -> None:
    """Arrays become the table that a frame does, their text as that of pandas; or are refused."""
    values = KEPT[name] if name in KEPT else REFUSED[name][0]
    index = pd.Index(["b", "a", "b"], dtype=object, name="Barcode")
    frame = pd.DataFrame({"x": pd.Series(values, index, dtype=values.dtype)})
    of_frame = made(from_frame, frame, "cell_id").replace(f'"{text.OBJECTS}"', f'"{text.TEXT}"')
    assert made(from_arrays, list("bab"), {"x": values}, "cell_id", "Barcode") == of_frame


@pytest.mark.parametrize(
    "index",
    [
        pd.Index(["b", "a", "b"], dtype=object),
        pd.Index(["", "é", "細胞"], dtype=object, name="barcode"),
        pd.Index(["b", "a", "b"], dtype="string", name="x"),
        pd.Index(["b", "a", "b"], dtype=pd.StringDtype("python", np.nan)),
        pd.Index(["b", "a", "b"], name="cell_id"),
    ],
    ids=repr,
)
def test_an_index_comes_back(index: pd.Index[str]) -> None:
    """Ids may repeat, be empty or of any script; their type and name are kept."""
    frame = pd.DataFrame({"x": [1, 2, 3], "cell_id": ["p", "q", "r"]}, index=index)
    pd.testing.assert_frame_equal(round_trip(frame), frame)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_a_missing_id_is_refused(missing: Any) -> None:
    """A row without an id is an error that names the row; the id is not "nan"."""
    frame = pd.DataFrame(index=pd.Index(["a", missing, "c"], dtype=object))
    with pytest.raises(InputError, match="row 1 has no cell_id"):
        from_frame(frame, "cell_id")


def test_an_id_that_is_not_unicode_is_refused() -> None:
    """Half a surrogate pair cannot be an id."""
    with pytest.raises(InputError, match="a gene_id cannot be stored as text"):
        from_frame(pd.DataFrame(index=pd.Index(["\ud800"], dtype=object)), "gene_id")


def test_a_table_has_the_index_of_its_axis() -> None:
    """Ids of another type of text become those of the axis; the name stays, and so do other ids."""
    ids = pd.Index(["a", "b"], dtype=object)
    table = pd.DataFrame({"x": [1, 2]}, index=pd.Index(["a", "b"], dtype="string", name="barcode"))
    found = on_axis(table, ids)
    pd.testing.assert_index_equal(found.index, ids.rename("barcode"))
    assert found["x"].to_list() == [1, 2]
    assert on_axis(table, ids[::-1]) is table
    assert on_axis(ids, ids) is ids


def test_a_name_that_is_not_a_string_is_refused() -> None:
    """A column named 0 would be read back as "0"."""
    with pytest.raises(InputError, match="the name of column 0 is of type int"):
        from_frame(pd.DataFrame({0: [1]}, index=["a"]), "cell_id")


def test_repeated_names_are_refused() -> None:
    """Two columns with the same name are an error that gives the name."""
    frame = pd.DataFrame([[1, 2, 3]], index=["a"], columns=["x", "y", "x"])
    with pytest.raises(InputError, match="several columns have the name 'x'; rename one"):
        from_frame(frame, "cell_id")


@given(st.lists(names(), unique=True, max_size=9))
def test_stored_names_are_safe_and_distinct(result: list[str]) -> None:
    """Stored names are not reserved, not refused by Lance, and differ in more than case."""
    frame = pd.DataFrame({name: [1] for name in result}, index=["a"])
    table, described = to_lance(from_frame(frame, "cell_id"), CELL_COLUMNS)
    safe = table.column_names[1:]
    assert [column.original for column in described.columns[1:]] == result
    assert not set(safe) & {*CELL_COLUMNS, "", "*", "_rowid", "_rowaddr", "_rowoffset"}
    assert not any(character in name for name in safe for character in ".`\0")


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        (["a.b", "a_b"], ["a_b", "user_a_b"]),
        (["cell_id", "user_cell_id"], ["user_cell_id", "user_user_cell_id"]),
        (["x", "X", "x."], ["x", "user_X", "x_"]),
        (["_rowid", ""], ["user_rowid", "user_"]),
        (["*", "a*"], ["user_*", "a*"]),
        (["n_genes", "a/b"], ["n_genes", "a/b"]),
    ],
)
def test_safe_names_are_readable(original: list[str], expected: list[str]) -> None:
    """A name changes only if it must, and remains readable."""
    frame = pd.DataFrame({name: [1] for name in original}, index=["a"])
    table, _ = to_lance(from_frame(frame, "cell_id"), CELL_COLUMNS)
    assert table.column_names[1:] == expected
