"""obs and var of several inputs as one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from slaf.annotations.columns import from_lance, to_lance
from slaf.annotations.concat_columns import columns_not_in_all, concat_rows, outer_join_genes
from slaf.annotations.dataframes import from_frame, to_frame
from slaf.errors import InputError
from slaf.format.schema import CELL_COLUMNS
from slaf.testing.strategies import columns, frames

if TYPE_CHECKING:
    import pyarrow as pa


def read_back(table: pa.Table) -> pd.DataFrame:
    """The frame of a table that a dataset stores and reads."""
    return to_frame(*to_lance(table, CELL_COLUMNS))


def concatenated(*inputs: pd.DataFrame) -> pd.DataFrame:
    """The rows of several frames."""
    tables = [from_frame(frame, "cell_id") for frame in inputs]
    return read_back(concat_rows(tables, [f"in-{number}.h5ad" for number in range(len(inputs))]))


def joined(
    left: pd.DataFrame, right: pd.DataFrame, positions: list[int]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The genes of two frames; those of the second at some positions."""
    left_table, right_table = (from_frame(frame, "gene_id") for frame in (left, right))
    n_genes = max(len(left), *(position + 1 for position in positions))
    table, disagreeing = outer_join_genes(
        left_table, right_table, np.array(positions), n_genes, ("a.h5ad", "b.h5ad")
    )
    return read_back(table), disagreeing


def frame(**values: Any) -> pd.DataFrame:
    """A frame with some columns."""
    length = max(map(len, values.values()), default=0)
    index = pd.Index([f"row-{number}" for number in range(length)], dtype=object)
    # With its type: pandas 3 infers strings from objects.
    series = {k: pd.Series(v, index, dtype=getattr(v, "dtype", None)) for k, v in values.items()}
    return pd.DataFrame(series, index)


def is_missing(value: Any) -> bool:
    """Whether a value is missing; NaN counts as missing."""
    return value is None or value is pd.NA or value is pd.NaT or value != value  # noqa: PLR0124


def same_value(left: Any, right: Any) -> bool:
    """Whether two values are equal, of whatever type, or both missing."""
    if is_missing(left) or is_missing(right):
        return is_missing(left) and is_missing(right)
    return bool(left == right)


@settings(max_examples=150)
@given(data=st.data())
def test_every_value_is_kept_or_the_column_is_refused(data: st.DataObject) -> None:
    """The rows of an input have its values, missing ones if it has no such column."""
    inputs = [data.draw(frames(data.draw(st.integers(0, 4)))) for _ in range(3)]
    try:
        whole = concatenated(*inputs)
    except InputError as error:
        assert "column" in str(error)  # noqa: PT017 - both outcomes are right
        return
    assert list(whole.index) == [name for each in inputs for name in each.index]
    assert list(whole.columns) == list(dict.fromkeys(n for each in inputs for n in each.columns))
    start = 0
    for each in inputs:
        part = whole.iloc[start : start + len(each)]
        start += len(each)
        for name in whole.columns:
            expected = each[name].to_list() if name in each.columns else [None] * len(each)
            assert all(map(same_value, part[name].to_list(), expected)), name


@settings(max_examples=100)
@given(data=st.data())
def test_concatenation_is_associative(data: st.DataObject) -> None:
    """Three tables at once give the same as two, and then the third."""
    lengths = [data.draw(st.integers(0, 3)) for _ in range(3)]
    inputs = [
        pd.DataFrame(
            {"x": data.draw(columns(n))},
            index=pd.Index([f"row-{at}" for at in range(n)], dtype=object),
        )
        if data.draw(st.integers(0, 4))
        else pd.DataFrame(index=pd.Index([f"row-{at}" for at in range(n)], dtype=object))
        for n in lengths
    ]
    tables = [from_frame(each, "cell_id") for each in inputs]
    try:
        whole = concat_rows(tables, ["a", "b", "c"])
    except InputError:
        return
    first_two = concat_rows(tables[:2], ["a", "b"])
    stored, described = to_lance(first_two, CELL_COLUMNS)
    stepwise = concat_rows([from_lance(stored, described), tables[2]], ["ab", "c"])
    pd.testing.assert_frame_equal(read_back(stepwise), read_back(whole))


@settings(max_examples=60)
@given(data=st.data())
def test_equal_tables_keep_their_types(data: st.DataObject) -> None:
    """Equal tables keep types, categories and their order."""
    original = data.draw(frames(data.draw(st.integers(1, 3))))
    whole = concatenated(original, original)
    for name in original.columns:
        assert whole[name].dtype == original[name].dtype, name
    again = whole.iloc[len(original) :]
    pd.testing.assert_frame_equal(again, original, check_names=False)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("int8", "int64", "int64"),
        ("uint8", "int8", "int16"),
        ("int32", "float32", "float64"),
        ("int8", "float16", "float16"),
        ("uint8", "float32", "float32"),
        ("float16", "float64", "float64"),
        ("uint64", "int8", "int64"),
        ("bool", "bool", "bool"),
        ("bool", "boolean", "boolean"),
        ("Int8", "int64", "Int64"),
        ("UInt16", "Float32", "Float32"),
        ("Int32", "float32", "Float64"),
        ("string", "object", "string"),
        ("datetime64[s]", "datetime64[ns]", "datetime64[ns]"),
        ("timedelta64[ms]", "timedelta64[us]", "timedelta64[us]"),
    ],
)
def test_types_are_promoted(left: Any, right: Any, expected: str) -> None:
    """Two types become the smallest type with the values of both."""
    values: Any = ["a", "b"] if expected == "string" else [0, 1]
    first, second = (frame(x=pd.array(values, dtype=dtype)) for dtype in (left, right))
    whole = concatenated(first, second)
    assert whole["x"].dtype == expected
    assert whole["x"].to_list() == first["x"].to_list() + second["x"].to_list()


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (np.array([1, 2]), np.array(["a", "b"], object)),
        (np.array([True, False]), np.array([1, 2])),
        (np.array([1.5]), np.array(["2020-01-01"], "M8[s]")),
        (np.array(["2020-01-01"], "M8[s]"), np.array([3], "m8[s]")),
        (pd.to_datetime(["2020-01-01"], utc=True), pd.to_datetime(["2020-01-01"])),
        (pd.Categorical(["a"]), np.array([1])),
        (pd.Categorical(["a"]), pd.Categorical([1])),
        (pd.Categorical(["a"]), pd.Categorical(["a"], ordered=True)),
        (
            pd.Categorical(["a"], ["a", "b"], ordered=True),
            pd.Categorical(["a"], ["b", "a"], ordered=True),
        ),
        (
            pd.Categorical(["a"], ["a", "b"], ordered=True),
            pd.Categorical(["b"], ["b", "c"], ordered=True),
        ),
        (np.array([2**63], "u8"), np.array([-1])),
        (np.array([2**53 + 1]), np.array([0.5])),
        (np.array([0.5]), np.array([2**53 + 1])),
        (pd.Categorical([2**53 + 1]), pd.Categorical([0.5])),
        (pd.Categorical([2**53 + 1]), np.array([0.5])),
        (np.array(["2999-01-01"], "M8[s]"), np.array(["2020-01-01"], "M8[ns]")),
    ],
)
def test_incompatible_columns_are_refused(left: Any, right: Any) -> None:
    """The error names the column and both inputs."""
    with pytest.raises(InputError) as caught:
        concatenated(frame(x=left), frame(x=right))
    for part in ("column 'x'", "in-0.h5ad", "in-1.h5ad"):
        assert part in str(caught.value)


def test_errors_name_types() -> None:
    """The error names both types, and the first few categories."""
    with pytest.raises(InputError, match=r"is of int64 in in-0\.h5ad, but of object in in-1\.h5ad"):
        concatenated(frame(x=[1]), frame(x=np.array(["a"], object)))
    ordered = pd.Categorical(list("abcde"), ordered=True)
    with pytest.raises(InputError, match=r"ordered categories \[a, b, c, d, …\] of .* in in-0"):
        concatenated(frame(x=ordered), frame(x=[1]))
    with pytest.raises(InputError, match=r"int64 in in-0\.h5ad.*float64 in in-1\.h5ad"):
        concatenated(frame(x=[2**53 + 1]), frame(x=[0.5]))


def test_union_of_categories() -> None:
    """The categories of the first input come first, then those of others; unused ones stay."""
    left = pd.Categorical(["b", None], ["b", "a"])
    right = pd.Categorical(["a", "c"], ["c", "x", "a"])
    whole = concatenated(frame(x=left), frame(x=right))["x"]
    assert list(whole.cat.categories) == ["b", "a", "c", "x"]
    assert whole.to_list()[0] == "b"
    assert whole.isna().to_list() == [False, True, False, False]
    assert whole.to_list()[2:] == ["a", "c"]


def test_union_of_ordered_categories() -> None:
    """Ordered categories are combined if one list has all of the other in the same order."""
    few = pd.Categorical(["low"], ["low", "high"], ordered=True)
    all_of_them = pd.Categorical(["mid"], ["low", "mid", "high"], ordered=True)
    for pair in ((few, all_of_them), (all_of_them, few)):
        whole = concatenated(*(frame(x=values) for values in pair))["x"]
        assert whole.cat.ordered
        assert list(whole.cat.categories) == ["low", "mid", "high"]


@pytest.mark.parametrize("right", [pd.Categorical([1]), np.array([1.5]), np.array(["a"], object)])
def test_a_column_without_values_fits_any_type(right: Any) -> None:
    """A column without any value, or without categories, takes the type of the others."""
    blank_columns = [
        pd.Categorical([None]),
        np.array([None], object),
        pd.array([None], dtype="Int8"),
    ]
    for left in blank_columns:
        for pair in ((left, right), (right, left)):
            whole = concatenated(*(frame(x=values) for values in pair))["x"]
            assert sorted(whole.isna()) == [False, True]
            assert whole.dropna().to_list() == list(right)


def test_zeros_of_both_signs_are_one_category() -> None:
    """Zeros of both signs are one category, as in pandas, and no row loses its value."""
    whole = concatenated(frame(x=pd.Categorical([0.0])), frame(x=pd.Categorical([-0.0, 1.0])))["x"]
    assert list(whole.cat.categories) == [0.0, 1.0]
    assert whole.to_list() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("int16", "Int16"),
        ("uint64", "UInt64"),
        ("float16", "Float32"),
        ("float32", "Float32"),
        ("bool", "boolean"),
        ("Int8", "Int8"),
        ("boolean", "boolean"),
        ("object", "object"),
        ("string", "string"),
        ("str", pd.Series(["a"]).dtype),  # of pandas 2 object, of pandas 3 str
        ("datetime64[ns]", "datetime64[ns]"),
        ("timedelta64[s]", "timedelta64[s]"),
        ("datetime64[ns, UTC]", "datetime64[ns, UTC]"),
    ],
)
def test_a_column_of_one_input(dtype: Any, expected: Any) -> None:
    """An input without the column has missing values, and the type becomes nullable."""
    text = dtype in {"object", "string", "str"}
    values: Any = ["a", "b"] if text else [0, 1]
    having = frame(x=pd.array(values, dtype=dtype))
    for pair, missing in (
        ((having, frame(y=[1])), [False, False, True]),
        ((frame(y=[1]), having), [True, False, False]),
    ):
        whole = concatenated(*pair)
        assert whole["x"].dtype == expected
        assert whole["x"].isna().to_list() == missing
        assert whole["x"].dropna().to_list() == having["x"].to_list()


def test_errors_name_the_inputs_that_differ() -> None:
    """The error names the inputs whose types differ, not one without values."""
    none = np.array([None, None], object)
    with pytest.raises(InputError, match=r"is of .* in in-1\.h5ad, but of int64 in in-2\.h5ad"):
        concatenated(frame(x=none), frame(x=["a", "b"]), frame(x=[1, 2]))


def test_nan_is_not_missing() -> None:
    """NaN stays a value if other rows are missing."""
    whole = concatenated(frame(x=[float("nan"), 1.0]), frame(y=[1]))
    table = concat_rows(
        [from_frame(each, "cell_id") for each in (frame(x=[float("nan"), 1.0]), frame(y=[1]))],
        ["a", "b"],
    )
    assert whole["x"].dtype == "Float64"
    assert table.column("x").null_count == 1
    assert table.column("x").to_pylist()[1:] == [1.0, None]


def test_columns_not_in_all() -> None:
    """Columns that not all tables have are given in the order of first occurrence."""
    tables = [from_frame(each, "cell_id") for each in (frame(b=[1], a=[1]), frame(a=[1], c=[1]))]
    assert columns_not_in_all(tables) == ("b", "c")
    assert columns_not_in_all(tables[:1]) == ()


def test_the_name_of_the_index_is_the_first() -> None:
    """The index has the name of the first table's index."""
    left, right = frame(a=[1]), frame(a=[1])
    left.index.name, right.index.name = "barcode", "other"
    assert concatenated(left, right).index.name == "barcode"


def test_outer_join_of_genes() -> None:
    """Each gene has the first value that is not missing, and new genes come last."""
    left = frame(symbol=np.array(["A", None, "C"], object), chrom=pd.Categorical(["1", "2", "1"]))
    right = frame(
        symbol=np.array(["D", "B", "C"], object),
        chrom=pd.Categorical(["X", "2", None]),
        length=[40, 20, 30],
    )
    right.index = pd.Index(["row-3", "row-1", "row-2"], dtype=object)
    whole, disagreeing = joined(left, right, [3, 1, 2])
    assert disagreeing == ()
    assert list(whole.index) == ["row-0", "row-1", "row-2", "row-3"]
    assert whole["symbol"].to_list() == ["A", "B", "C", "D"]
    assert whole["chrom"].to_list() == ["1", "2", "1", "X"]
    assert whole["length"].dtype == "Int64"
    assert whole["length"].isna().to_list() == [True, False, False, False]
    assert whole["length"].to_list()[1:] == [20, 30, 40]


def test_genes_that_are_left_out() -> None:
    """A gene of the second table without a position is not in the result."""
    whole, _ = joined(frame(a=[1, 2]), frame(b=[10, 20, 30]), [1, -1, 0])
    assert whole["b"].to_list() == [30, 10]
    assert whole["b"].dtype == "int64"


@pytest.mark.parametrize(
    ("left", "right", "differ"),
    [
        ([1, 2], [1, 2], False),
        ([1, 2], [1, 3], True),
        ([1.0, np.nan], [1.0, np.nan], False),
        ([1.0, np.nan], [1.0, 2.0], True),
        ([1, 2], [1.0, 2.0], False),
        (np.array([1, 2], "f2"), np.array([1, 3], "f2"), True),
        (np.array([1, 2], "f2"), np.array([1, 2], "f2"), False),
        (pd.Categorical(["a", "b"]), pd.Categorical(["a", "c"]), True),
        (pd.Categorical(["a", "b"]), pd.Categorical(["a", "b"], ["b", "a"]), False),
        (np.array(["a", "b"], object), pd.Categorical(["a", "b"]), False),
        (np.array(["a", None], object), np.array(["a", "b"], object), False),
        ([True, False], [True, True], True),
    ],
)
def test_disagreeing_columns(left: Any, right: Any, differ: Any) -> None:
    """Columns with different values for a gene are named, and the first value is taken."""
    whole, disagreeing = joined(frame(x=left), frame(x=right), [0, 1])
    assert disagreeing == (("x",) if differ else ())
    expected = [b if is_missing(a) and a is None else a for a, b in zip(left, right, strict=True)]
    assert all(map(same_value, whole["x"].to_list(), expected))


@settings(max_examples=100)
@given(data=st.data())
def test_outer_join_of_any_genes(data: st.DataObject) -> None:
    """Each gene has the first value of both tables, for columns of any kind."""
    n_genes = data.draw(st.integers(1, 4))
    left = data.draw(frames(data.draw(st.integers(0, n_genes))))
    positions_of_genes = data.draw(st.permutations(range(n_genes)))
    new_positions = [position for position in range(n_genes) if position >= len(left)]
    chosen = [p for p in positions_of_genes if p in new_positions or data.draw(st.booleans())]
    right = data.draw(frames(len(chosen)))
    if not chosen:
        return
    try:
        whole, _ = joined(left, right, chosen)
    except InputError as error:
        assert "column" in str(error)  # noqa: PT017 - both outcomes are right
        return
    for name in whole.columns:
        for position, value in enumerate(whole[name].to_list()):
            candidates = []
            if name in left.columns and position < len(left):
                candidates.append(left[name].to_list()[position])
            if name in right.columns and position in chosen:
                candidates.append(right[name].to_list()[chosen.index(position)])
            # NaN of floats is a value; a missing value is replaced.
            assert any(same_value(value, candidate) for candidate in candidates) or is_missing(
                value
            )
            if candidates and not is_missing(candidates[0]):
                assert same_value(value, candidates[0])
