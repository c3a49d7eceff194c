"""Filters and SQL mean what pandas means: a missing value is missing, and no number wraps."""

from __future__ import annotations

import operator
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import duckdb
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given

import slaf
from slaf.errors import QueryError, SelectionError
from tests.builders import examples

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

N = 6
_KINDS = pd.CategoricalDtype(["b", "a", "", "ü", "it's"])
_NUMBERS = pd.CategoricalDtype([3, -3, 0, 1, -1, 2, -2])
_OPERATORS = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def columns() -> dict[str, tuple[SearchStrategy[Any], SearchStrategy[Any]]]:
    """Columns of each type with missing values, and constants to compare them with."""
    numbers = st.sampled_from([0.1, 0.5, -1.0, 2.5, 0.0])
    whole = st.integers(-3, 3)
    texts = st.sampled_from(["a", "b", "", "ü", "it's"])
    times = st.sampled_from(["2024-01-01", "2024-06-01", "2025-01-01"])

    def series(values: SearchStrategy[Any], dtype: Any) -> SearchStrategy[Any]:
        return st.lists(values, min_size=N, max_size=N).map(lambda v: pd.Series(v, dtype=dtype))

    return {
        "f64": (series(numbers | st.just(np.nan), np.float64), numbers),
        "f32": (series(numbers | st.just(np.nan), np.float32), numbers),
        "Float64": (series(numbers | st.none(), "Float64"), numbers),
        "i8": (series(whole, np.int8), whole),
        "u8": (series(st.integers(0, 3), np.uint8), whole),
        "u64": (series(st.sampled_from([0, 1, 2**64 - 1]), np.uint64), whole),
        "Int64": (series(whole | st.none(), "Int64"), whole),
        "flag": (series(st.booleans(), bool), st.booleans()),
        "boolean": (series(st.booleans() | st.none(), "boolean"), st.booleans()),
        "text": (series(texts | st.none(), object), texts),
        "category": (series(texts | st.none(), _KINDS), texts),
        "numbers": (series(whole | st.none(), _NUMBERS), whole),
        "time": (series(times | st.none(), "datetime64[ns]"), times),
    }


def constant(value: Any) -> str:
    """A constant in SQL."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value).upper() if isinstance(value, bool) else repr(value)


def comparable(series: pd.Series[Any], value: Any) -> tuple[Any, Any]:
    """A column with missing values of pandas' own, and a constant of its type."""
    if series.isna().all() and isinstance(value, str) and series.dtype.kind != "M":
        return series.astype("string"), value
    if series.dtype == "category":
        series = series.astype(object)
    if series.dtype.kind == "M":
        return series, pd.Timestamp(value)
    return series.convert_dtypes(convert_integer=False, convert_floating=False), value


def truth(series: pd.Series[Any], sign: str, value: Any) -> pd.Series[Any]:
    """A comparison of three values: true, false and missing."""
    column, value = comparable(series, value)
    found = _OPERATORS[sign](column, value).astype("boolean")
    masked: pd.Series[Any] = found.mask(series.isna())
    return masked


def views(obs: pd.DataFrame, folder: str) -> tuple[slaf.View, slaf.View]:
    """A scan and a dataset of these cells."""
    adata = anndata.AnnData(np.eye(N, 2, dtype=np.float32), obs=obs)
    return slaf.scan(adata), slaf.convert(adata, Path(folder) / "out.slaf")


@examples(15)
@given(data=st.data())
def test_filters_are_those_of_pandas(data: st.DataObject) -> None:
    """Every comparison, negated, in a list, between bounds and combined, equals pandas'."""
    names = data.draw(st.lists(st.sampled_from(sorted(columns())), min_size=2, max_size=2))
    series, texts, truths = {}, [], []
    for at, name in enumerate(names):
        values, constants = columns()[name]
        series[f"c{at}"] = column = data.draw(values)
        sign = data.draw(st.sampled_from([*_OPERATORS, "IN", "NOT IN", "BETWEEN", "IS NULL"]))
        one, other = data.draw(constants), data.draw(constants)
        if sign == "IS NULL":
            texts.append(f"c{at} IS NULL")
            truths.append(column.isna().astype("boolean"))
        elif sign == "BETWEEN":
            texts.append(f"c{at} BETWEEN {constant(one)} AND {constant(other)}")
            truths.append(truth(column, ">=", one) & truth(column, "<=", other))
        elif sign in _OPERATORS:
            texts.append(f"c{at} {sign} {constant(one)}")
            truths.append(truth(column, sign, one))
        else:
            texts.append(f"c{at} {sign} ({constant(one)}, {constant(other)})")
            among = truth(column, "=", one) | truth(column, "=", other)
            truths.append(among if sign == "IN" else ~among)
        if data.draw(st.booleans()):
            texts[-1], truths[-1] = f"NOT ({texts[-1]})", ~truths[-1]
    conjunction = data.draw(st.sampled_from(["AND", "OR"]))
    expected = truths[0] & truths[1] if conjunction == "AND" else truths[0] | truths[1]
    condition = f"{texts[0]} {conjunction} {texts[1]}"
    obs = pd.DataFrame(series).set_axis([f"cell-{at}" for at in range(N)])
    chosen = obs.index[expected.fillna(value=False).to_numpy(bool)].to_list()
    with tempfile.TemporaryDirectory() as folder:
        for view in views(obs, folder):
            assert view[condition].obs_names.to_list() == chosen, condition
            found = view.sql(f"SELECT cell_id FROM obs WHERE {condition}")  # noqa: S608 - ours
            assert sorted(found["cell_id"]) == chosen, condition


@pytest.fixture(scope="module")
def odd() -> slaf.View:
    """Columns of each kind, under names that SQL knows otherwise."""
    stages = pd.Categorical(["early", "late", "mid"] * 2, ["early", "mid", "late"], ordered=True)
    obs = pd.DataFrame(
        {
            "n": np.arange(N),
            "ok": [True, False] * 3,
            "type": list("xyxyxy"),
            "stage": stages,
            "cell type": ["B cell"] * N,
            "when": pd.to_datetime(["2024-01-01"] * N),
        },
        index=list("abcdef"),
    )
    return slaf.scan(anndata.AnnData(np.eye(N, 2, dtype=np.float32), obs=obs))


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("type = 'x' & n > 3", "write AND instead of &"),
        ("(type == 'x') | (n > 3)", "write OR instead of |"),
        ("ok && n > 3", "write AND instead of &&"),
        ("n > 3 || ok", "write OR instead of ||"),
        ("~ok & (n > 3)", "write AND instead of &, NOT instead of ~"),
        ("!ok", "write NOT instead of !"),
        ("1 < n < 3", "a comparison has two sides"),
        ("type = 1", "type holds text, and 1 is a number"),
        ("type < 1.5", "type holds text, and 1.5 is a number"),
        ("type = true", "type holds text, and true is true or false"),
        ("n = '3'", "n holds numbers, and '3' is text; write a number without quotes"),
        ("n IN (1, 'x')", "n holds numbers, and 'x' is text"),
        ("ok = 'yes'", "ok holds true and false, and 'yes' is text; write ok, or NOT ok"),
        ("n = NULL", "write n IS NULL, or n IS NOT NULL"),
        ("n NOT IN (1, NULL)", "write n IS NULL, or n IS NOT NULL"),
        ("n == None", "None is no value in SQL; write column IS NULL"),
        ("stage < 'late'", "stage is an ordered category, whose order SQL does not know"),
        ("stage BETWEEN 'early' AND 'mid'", "stage is an ordered category"),
        ("cell type = 'B cell'", 'write it in double quotes: "cell type"'),
        ("'cell type' = 'B cell'", 'in single quotes is text; the column is "cell type"'),
        ("when > '2024-01-01'", 'write it in double quotes: "when"'),
        ("sum(n) > 3", "looks at one row at a time"),
        ("row_number() OVER () > 3", "looks at one row at a time"),
        ("unnest([true, ok])", "looks at one row at a time"),
        ("type.isin(['x'])", "SQL has no isin; write column IN ('a', 'b')"),
        ("type.isna()", "SQL has no isna; write column IS NULL"),
        ("obs.n > 3", "there is no table 'obs' here; write the name of the column alone"),
        ("n > 3 AND", "it ends too early"),
        ("(n > 3) AND", "it ends too early"),
        ("n > 3 ORDER BY n", "it is no SQL at 'ORDER'"),
        ("lower(n) = '3'", "lower is not possible with values of type BIGINT"),
        ("", "it is empty"),
        ("n", "values of type BIGINT, and is not true or false"),
    ],
)
def test_conditions_that_are_refused(condition: str, told: str, odd: slaf.View) -> None:
    """What SQL understands otherwise than pandas, or not at all, says what to write instead."""
    with pytest.raises(SelectionError) as caught:
        odd[condition]
    assert told in str(caught.value)
    assert "Candidate" not in str(caught.value)


def test_an_operator_of_sql_is_not_to_be_replaced(odd: slaf.View) -> None:
    """Of a condition with != and &, only & is to be written otherwise."""
    with pytest.raises(SelectionError, match="write AND instead of &") as caught:
        odd["type != 'x' & n > 3"]
    assert "NOT" not in str(caught.value)


@pytest.mark.parametrize(
    ("condition", "chosen"),
    [
        ("n & 1 = 1", "bdf"),
        ("stage = 'mid' AND n <> 2", "f"),
        ("ok = true", "ace"),
        ("ok > 0", "ace"),
        ("stage IS DISTINCT FROM 'early'", "bcef"),
        ("\"when\" >= '2024-01-01' AND NOT ok", "bdf"),
        ("n = (SELECT MAX(n) FROM cells)", "f"),
    ],
)
def test_conditions_that_are_not_refused(condition: str, chosen: str, odd: slaf.View) -> None:
    """Bits, true, ordered categories by name, times as text, and queries in a condition."""
    assert odd[condition].obs_names.to_list() == list(chosen)


def test_names_in_a_query_are_its_own(odd: slaf.View) -> None:
    """A name that a query gives is not taken for the column of that name."""
    found = odd.sql(
        "SELECT cell_id FROM (SELECT cell_id, CAST(n AS VARCHAR) AS n FROM obs) WHERE n = '3'"
    )
    assert found["cell_id"].to_list() == ["d"]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[slaf.View, slaf.View]:
    """A scan and a dataset with columns whose sums are large."""
    obs = pd.DataFrame(
        {
            "doublet": [True, False, False, False, False, False],
            "type": list("xyxyxy"),
            "reads": np.full(N, 2**62, "i8"),
            "most": np.full(N, 2**64 - 1, "u8"),
            "small": np.full(N, 200, "u1"),
            "pct": [0.1, 0.3, np.nan, 0.5, np.nan, 0.2],
        },
        index=list("abcdef"),
    )
    return views(obs, str(tmp_path_factory.mktemp("both")))


@pytest.mark.parametrize(
    ("sql", "right"),
    [
        ("SELECT SUM(doublet) - 2 FROM cells", -1),
        ("SELECT MIN(LENGTH(type) - 3) FROM cells", -2),
        ("SELECT MIN(cell_integer_id - 1) FROM cells", -1),
        ("SELECT MAX(a.cell_integer_id - b.cell_integer_id) FROM cells a CROSS JOIN cells b", 5),
        ("SELECT SUM(reads) FROM cells", N * 2**62),
        ("SELECT SUM(most) FROM obs", N * (2**64 - 1)),
        ("SELECT MIN(small - 201) FROM cells", -1),
        ("SELECT SUM(small * small) FROM cells", N * 40_000),
        ("SELECT COUNT(pct) FROM cells", 4),
        ("SELECT MAX(pct) FROM cells", 0.5),
        ("SELECT COUNT(*) FROM expression", 2),
        ("SELECT COUNT(*) FROM cells x JOIN cells y USING (cell_id)", N),
    ],
)
def test_numbers_are_right(sql: str, right: Any, both: tuple[slaf.View, slaf.View]) -> None:
    """Sums and differences do not wrap, whatever types the tables store."""
    for view in both:
        assert view.sql(sql).item() == right


def test_a_result_that_is_too_large(both: tuple[slaf.View, slaf.View]) -> None:
    """What no type holds is an error."""
    for view in both:
        with pytest.raises(QueryError, match="Overflow in multiplication"):
            view.sql("SELECT MAX(most * most * most) FROM cells")


def test_lazy_frames_do_not_wrap(both: tuple[slaf.View, slaf.View]) -> None:
    """A LazyFrame has signed numbers wide enough for their sums, and null for NaN in cells."""
    dataset = both[1]
    assert isinstance(dataset, slaf.Dataset)
    cells = dataset.lazy("cells")
    found = cells.select(
        pl.col("reads").sum(),
        pl.col("most").sum(),
        pl.col("small").sum(),
        (pl.col("cell_integer_id") - 1).min(),
    ).collect()
    assert found.row(0) == (N * 2**62, N * (2**64 - 1), N * 200, -1)
    assert cells.filter(pl.col("pct") > 0.2).select("cell_id").collect().to_series().to_list() == [
        "b",
        "d",
    ]


def test_names_of_tables(both: tuple[slaf.View, slaf.View]) -> None:
    """Obs and var are tables in Python too; one that is not there is named, with the nearest."""
    dataset = both[1]
    assert isinstance(dataset, slaf.Dataset)
    assert dataset.table("obs").count_rows() == N
    assert dataset.lazy("var").collect().height == 2
    for read in (dataset.table, dataset.lazy):
        with pytest.raises(SelectionError, match=r"no table 'cell'; the nearest is 'cells'"):
            read("cell")
    with pytest.raises(SelectionError, match=r"several genes are a list, or a filter: column IN"):
        dataset[:, "0,1"]


def test_names_and_columns(both: tuple[slaf.View, slaf.View]) -> None:
    """Aggregates have names, tables are described, and names in backticks are names."""
    for view in both:
        found = view.sql("SELECT COUNT(*), SUM(reads), `type`, type FROM obs GROUP BY type")
        assert found.columns == ["count_star()", "sum(reads)", "type", "type_2"]
        described = view.sql("DESCRIBE var")
        assert described["column_name"].to_list()[0] == "gene_id"
        assert view.sql("SELECT * FROM cells").height == N


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM parquet_scan('/etc/passwd')",
        "COPY cells TO '/tmp/out.csv'",
        "ATTACH '/tmp/x.db'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SELECT * FROM found",
    ],
)
def test_sql_reads_nothing_else(sql: str, both: tuple[slaf.View, slaf.View]) -> None:
    """SQL reads no file of the machine, no variable of Python, and writes nothing."""
    found = pd.DataFrame({"a": [1]})
    for view in both:
        with pytest.raises(QueryError) as caught:
            view.sql(sql)
        assert "root:" not in str(caught.value)
    assert len(found) == 1


def test_duckdb_reads_our_tables(both: tuple[slaf.View, slaf.View]) -> None:
    """DuckDB itself reads a table as Arrow, with a condition."""
    dataset = both[1]
    assert isinstance(dataset, slaf.Dataset)
    cells = dataset.table("cells").to_table()
    found = duckdb.from_arrow(cells).filter("type = 'x'").project("cell_id")
    assert sorted(found.fetchall()) == [("a",), ("c",), ("e",)]


def test_a_name_that_is_stored_under_another(tmp_path: Path) -> None:
    """A column is found by its own name, where the table has another for it."""
    obs = pd.DataFrame({"a.b": [1, 2], "cell_id": ["p", "q"]}, index=["x", "y"])
    adata = anndata.AnnData(np.eye(2), obs=obs)
    for view in (slaf.scan(adata), slaf.convert(adata, tmp_path / "out.slaf")):
        assert view['"a.b" = 2'].obs_names.to_list() == ["y"]
        assert view["user_cell_id = 'p'"].obs_names.to_list() == ["x"]
        assert view["cell_id = 'x'"].obs_names.to_list() == ["x"]
