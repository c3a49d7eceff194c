"""Tables of several inputs as one: what each of them says is found in it again."""

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


def read_dtype(table: pa.Table) -> pd.DataFrame:
    """The frame of a table, by way of how a dataset keeps it."""
    return to_frame(*to_lance(table, CELL_COLUMNS))


def united(*found: pd.DataFrame) -> pd.DataFrame:
    """The frames below each other."""
    tables = [from_frame(frame, "cell_id") for frame in found]
    return read_dtype(concat_rows(tables, [f"in-{number}.h5ad" for number in range(len(found))]))


def side_by_side(
    one: pd.DataFrame, other: pd.DataFrame, positions: list[int]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The genes of both, of which the second's have these places."""
    ours, theirs = (from_frame(frame, "gene_id") for frame in (one, other))
    n_genes = max(len(one), *(place + 1 for place in positions))
    table, disagreeing = outer_join_genes(
        ours, theirs, np.array(positions), n_genes, ("a.h5ad", "b.h5ad")
    )
    return read_dtype(table), disagreeing


def frame(**values: Any) -> pd.DataFrame:
    """A frame of these columns."""
    length = max(map(len, values.values()), default=0)
    index = pd.Index([f"row-{number}" for number in range(length)], dtype=object)
    return pd.DataFrame({name: pd.Series(v, index=index) for name, v in values.items()}, index)


def is_missing(value: Any) -> bool:
    """Whether it stands for no value; NaN, which is one, is among these."""
    return value is None or value is pd.NA or value is pd.NaT or value != value  # noqa: PLR0124


def same(one: Any, other: Any) -> bool:
    """Whether two values are one, in whatever type; a missing one is only a missing one."""
    if is_missing(one) or is_missing(other):
        return is_missing(one) and is_missing(other)
    return bool(one == other)


@settings(max_examples=150)
@given(data=st.data())
def test_every_value_is_there_or_the_column_is_refused(data: st.DataObject) -> None:
    """Each input's values are where its rows are, and missing where it has no such column."""
    found = [data.draw(frames(data.draw(st.integers(0, 4)))) for _ in range(3)]
    try:
        whole = united(*found)
    except InputError as error:
        assert "column" in str(error)  # noqa: PT017 - both outcomes are right
        return
    assert list(whole.index) == [name for one in found for name in one.index]
    assert list(whole.columns) == list(dict.fromkeys(name for one in found for name in one.columns))
    start = 0
    for one in found:
        part = whole.iloc[start : start + len(one)]
        start += len(one)
        for name in whole.columns:
            expected = one[name].to_list() if name in one.columns else [None] * len(one)
            assert all(map(same, part[name].to_list(), expected)), name


@settings(max_examples=100)
@given(data=st.data())
def test_one_after_the_other_is_all_at_once(data: st.DataObject) -> None:
    """Three tables at once are what two are to which the third is added."""
    lengths = [data.draw(st.integers(0, 3)) for _ in range(3)]
    found = [
        pd.DataFrame(
            {"x": data.draw(columns(n))},
            index=pd.Index([f"row-{at}" for at in range(n)], dtype=object),
        )
        if data.draw(st.integers(0, 4))
        else pd.DataFrame(index=pd.Index([f"row-{at}" for at in range(n)], dtype=object))
        for n in lengths
    ]
    tables = [from_frame(one, "cell_id") for one in found]
    try:
        whole = concat_rows(tables, ["a", "b", "c"])
    except InputError:
        return
    before = concat_rows(tables[:2], ["a", "b"])
    kept, described = to_lance(before, CELL_COLUMNS)
    stepwise = concat_rows([from_lance(kept, described), tables[2]], ["ab", "c"])
    pd.testing.assert_frame_equal(read_dtype(stepwise), read_dtype(whole))


@settings(max_examples=60)
@given(data=st.data())
def test_a_table_below_itself_keeps_its_types(data: st.DataObject) -> None:
    """Of equal tables nothing is promoted: types, categories and their order stay."""
    one = data.draw(frames(data.draw(st.integers(1, 3))))
    whole = united(one, one)
    for name in one.columns:
        assert whole[name].dtype == one[name].dtype, name
    again = whole.iloc[len(one) :]
    pd.testing.assert_frame_equal(again, one, check_names=False)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
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
def test_types_are_promoted(one: Any, other: Any, expected: str) -> None:
    """Two types become the smallest that has the values of both."""
    values: Any = ["a", "b"] if expected == "string" else [0, 1]
    left = frame(x=pd.array(values, dtype=one))
    right = frame(x=pd.array(values, dtype=other))
    whole = united(left, right)
    assert whole["x"].dtype == expected
    assert whole["x"].to_list() == left["x"].to_list() + right["x"].to_list()


@pytest.mark.parametrize(
    ("one", "other"),
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
            pd.Categorical(["a"], ["b", "c"], ordered=True),
        ),
        (np.array([2**63], "u8"), np.array([-1])),
        (np.array([2**53 + 1]), np.array([0.5])),
        (np.array([0.5]), np.array([2**53 + 1])),
        (pd.Categorical([2**53 + 1]), pd.Categorical([0.5])),
        (pd.Categorical([2**53 + 1]), np.array([0.5])),
        (np.array(["2999-01-01"], "M8[s]"), np.array(["2020-01-01"], "M8[ns]")),
    ],
)
def test_what_no_column_can_hold_is_refused(one: Any, other: Any) -> None:
    """The error names the column, both inputs, and what each has in it."""
    with pytest.raises(InputError) as caught:
        united(frame(x=one), frame(x=other))
    for part in ("column 'x'", "in-0.h5ad", "in-1.h5ad"):
        assert part in str(caught.value)


def test_types_are_in_the_refusal() -> None:
    """Both types are told, of categories the first few."""
    with pytest.raises(InputError, match=r"is of int64 in in-0\.h5ad, but of object in in-1\.h5ad"):
        united(frame(x=[1]), frame(x=np.array(["a"], object)))
    ordered = pd.Categorical(list("abcde"), ordered=True)
    with pytest.raises(InputError, match=r"ordered categories \[a, b, c, d, …\] of .* in in-0"):
        united(frame(x=ordered), frame(x=[1]))
    with pytest.raises(InputError, match=r"int64 in in-0\.h5ad.*float64 in in-1\.h5ad"):
        united(frame(x=[2**53 + 1]), frame(x=[0.5]))


def test_categories_are_united_in_order() -> None:
    """The categories of the first come first, then what others add; unused ones stay."""
    one = pd.Categorical(["b", None], ["b", "a"])
    other = pd.Categorical(["a", "c"], ["c", "x", "a"])
    whole = united(frame(x=one), frame(x=other))["x"]
    assert list(whole.cat.categories) == ["b", "a", "c", "x"]
    assert whole.to_list()[0] == "b"
    assert whole.isna().to_list() == [False, True, False, False]
    assert whole.to_list()[2:] == ["a", "c"]


def test_an_order_that_holds_another_is_kept() -> None:
    """Ordered categories are united where one list has all of the other in its order."""
    few = pd.Categorical(["low"], ["low", "high"], ordered=True)
    all_of_them = pd.Categorical(["mid"], ["low", "mid", "high"], ordered=True)
    for pair in ((few, all_of_them), (all_of_them, few)):
        whole = united(*(frame(x=one) for one in pair))["x"]
        assert whole.cat.ordered
        assert list(whole.cat.categories) == ["low", "mid", "high"]


@pytest.mark.parametrize("other", [pd.Categorical([1]), np.array([1.5]), np.array(["a"], object)])
def test_a_column_that_says_nothing_fits_any(other: Any) -> None:
    """A column without any value, or without categories, stands in nobody's way."""
    nothing = [pd.Categorical([None]), np.array([None], object), pd.array([None], dtype="Int8")]
    for one in nothing:
        for pair in ((one, other), (other, one)):
            whole = united(*(frame(x=values) for values in pair))["x"]
            assert sorted(whole.isna()) == [False, True]
            assert whole.dropna().to_list() == list(other)


def test_zeros_of_both_signs_are_one_category() -> None:
    """What pandas takes for one category is one, and no row loses it."""
    whole = united(frame(x=pd.Categorical([0.0])), frame(x=pd.Categorical([-0.0, 1.0])))["x"]
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
        ("datetime64[ns]", "datetime64[ns]"),
        ("timedelta64[s]", "timedelta64[s]"),
        ("datetime64[ns, UTC]", "datetime64[ns, UTC]"),
    ],
)
def test_a_column_that_is_absent(dtype: Any, expected: str) -> None:
    """Where an input has no such column its values are missing, and the type can say so."""
    text = dtype in {"object", "string"}
    values: Any = ["a", "b"] if text else [0, 1]
    there = frame(x=pd.array(values, dtype=dtype))
    for pair, missing in (
        ((there, frame(y=[1])), [False, False, True]),
        ((frame(y=[1]), there), [True, False, False]),
    ):
        whole = united(*pair)
        assert whole["x"].dtype == expected
        assert whole["x"].isna().to_list() == missing
        assert whole["x"].dropna().to_list() == there["x"].to_list()


def test_those_that_differ_are_named() -> None:
    """Of several tables those whose types disagree are said, and not one that has no value."""
    none = np.array([None, None], object)
    with pytest.raises(InputError, match=r"is of .* in in-1\.h5ad, but of int64 in in-2\.h5ad"):
        united(frame(x=none), frame(x=["a", "b"]), frame(x=[1, 2]))


def test_nan_is_not_missing() -> None:
    """NaN stays a value beside rows that have none."""
    whole = united(frame(x=[float("nan"), 1.0]), frame(y=[1]))
    table = concat_rows(
        [from_frame(one, "cell_id") for one in (frame(x=[float("nan"), 1.0]), frame(y=[1]))],
        ["a", "b"],
    )
    assert whole["x"].dtype == "Float64"
    assert table.column("x").null_count == 1
    assert table.column("x").to_pylist()[1:] == [1.0, None]


def test_absent_somewhere() -> None:
    """The columns that not all tables have are named in the order of the first that has them."""
    tables = [from_frame(one, "cell_id") for one in (frame(b=[1], a=[1]), frame(a=[1], c=[1]))]
    assert columns_not_in_all(tables) == ("b", "c")
    assert columns_not_in_all(tables[:1]) == ()


def test_the_name_of_the_index_is_the_first() -> None:
    """The index is called as in the first table."""
    one, other = frame(a=[1]), frame(a=[1])
    one.index.name, other.index.name = "barcode", "other"
    assert united(one, other).index.name == "barcode"


def test_genes_beside_each_other() -> None:
    """Of each gene the first value that is there is taken, and new genes stand behind."""
    one = frame(symbol=np.array(["A", None, "C"], object), chrom=pd.Categorical(["1", "2", "1"]))
    other = frame(
        symbol=np.array(["D", "B", "C"], object),
        chrom=pd.Categorical(["X", "2", None]),
        length=[40, 20, 30],
    )
    other.index = pd.Index(["row-3", "row-1", "row-2"], dtype=object)
    whole, disagreeing = side_by_side(one, other, [3, 1, 2])
    assert disagreeing == ()
    assert list(whole.index) == ["row-0", "row-1", "row-2", "row-3"]
    assert whole["symbol"].to_list() == ["A", "B", "C", "D"]
    assert whole["chrom"].to_list() == ["1", "2", "1", "X"]
    assert whole["length"].dtype == "Int64"
    assert whole["length"].isna().to_list() == [True, False, False, False]
    assert whole["length"].to_list()[1:] == [20, 30, 40]


def test_genes_that_are_left_out() -> None:
    """A gene of the second that has no place is not in the result."""
    whole, _ = side_by_side(frame(a=[1, 2]), frame(b=[10, 20, 30]), [1, -1, 0])
    assert whole["b"].to_list() == [30, 10]
    assert whole["b"].dtype == "int64"


@pytest.mark.parametrize(
    ("one", "other", "differ"),
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
def test_disagreement_is_told(one: Any, other: Any, differ: Any) -> None:
    """Columns that say different things of one gene are named, and the first is believed."""
    whole, disagreeing = side_by_side(frame(x=one), frame(x=other), [0, 1])
    assert disagreeing == (("x",) if differ else ())
    first = [b if is_missing(a) and a is None else a for a, b in zip(one, other, strict=True)]
    assert all(map(same, whole["x"].to_list(), first))


@settings(max_examples=100)
@given(data=st.data())
def test_any_genes_beside_each_other(data: st.DataObject) -> None:
    """Whatever the columns, each gene has the first value that one of both has."""
    n_genes = data.draw(st.integers(1, 4))
    one = data.draw(frames(data.draw(st.integers(0, n_genes))))
    places = data.draw(st.permutations(range(n_genes)))
    behind = [place for place in range(n_genes) if place >= len(one)]
    chosen = [p for p in places if p in behind or data.draw(st.booleans())]
    other = data.draw(frames(len(chosen)))
    if not chosen:
        return
    try:
        whole, _ = side_by_side(one, other, chosen)
    except InputError as error:
        assert "column" in str(error)  # noqa: PT017 - both outcomes are right
        return
    for name in whole.columns:
        for place, value in enumerate(whole[name].to_list()):
            candidates = []
            if name in one.columns and place < len(one):
                candidates.append(one[name].to_list()[place])
            if name in other.columns and place in chosen:
                candidates.append(other[name].to_list()[chosen.index(place)])
            # NaN of floats is a value, and stands; what is missing gives way.
            assert any(same(value, one) for one in candidates) or is_missing(value)
            if candidates and not is_missing(candidates[0]):
                assert same(value, candidates[0])
