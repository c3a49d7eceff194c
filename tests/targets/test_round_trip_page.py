"""The page of the round trip, for each format to export to."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy
import tiledbsoma
import tiledbsoma.io

import slaf
from slaf.annotations.equality import equal_elements, is_sparse
from slaf.errors import TargetError
from tests.builders import as_matrix, counts
from tests.laws.test_whole import FULL, KINDS, NAMES, PAGE, PLACES, N

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

FORMATS = ("h5ad", "zarr", "tiledb", "10x_h5", "10x_mtx")
WHOLE = ("h5ad", "zarr", "tiledb")
SLOTS = {
    "X, layers, raw": ("layers",),
    "obsm, varm": ("obsm", "varm"),
    "obsp, varp": ("obsp", "varp"),
    "uns": ("uns",),
}
COLUMNS: dict[str, Any] = {
    "text": np.array(["a", "b", "c"], dtype=object),
    "text with missing values": np.array(["a", None, "c"], dtype=object),
    "nullable text": pd.array(["a", None, "b"], dtype="string"),
    "categories": pd.Categorical(["a", "b", "b"], ["b", "a", "c"]),
    "categories with missing values": pd.Categorical(["a", None, "b"], ["b", "a", "c"]),
    "ordered categories": pd.Categorical(["a", "b", "b"], ["b", "a", "c"], ordered=True),
    "categories that are numbers": pd.Categorical([1, 2, 1]),
    "integers": np.arange(N),
    "floats": np.array([0.5, np.nan, 1]),
    "half floats": np.arange(N, dtype="f2"),
    "booleans": np.array([True, False, True]),
    "nullable integers": pd.array([1, None, 3], dtype="Int64"),
    "nullable booleans": pd.array([True, None, False], dtype="boolean"),
    "nullable floats": pd.array([1.5, None, 3], dtype="Float64"),
    "times": pd.to_datetime(["2020-01-01"] * N),
    "times with a zone": pd.to_datetime(["2020-01-01"] * N, utc=True),
    "durations": pd.to_timedelta([1, 2, 3]),
    "index": np.arange(N),
}
MATRICES: dict[str, Any] = {
    "counts as float32, float64": counts(N, N).astype("f4"),
    "counts as integers": counts(N, N).astype("i8"),
    "fractions": (FULL / 8).astype("f4"),
    "booleans": FULL > 4,
    "NaN": np.where(FULL > 4, np.nan, FULL),
}
# Columns of var that scanpy adds when it reads 10x files.
TENX_COLUMNS = {"gene_ids", "feature_types", "genome"}

pytestmark = [
    # tiledbsoma's own.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:tiledbsoma"),
    pytest.mark.filterwarnings("ignore::FutureWarning:tiledbsoma"),
]


def rows_of_page() -> dict[str, list[str]]:
    """The rows of the first table, which is about datasets and has its own test."""
    first = PAGE.read_text().partition("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in first.splitlines()]
    return {line[0]: line[1:] for line in lines if len(line) == len(PLACES) + 1}


def everything() -> anndata.AnnData:
    """An AnnData with every kind of element and column that a dataset holds."""
    parts: dict[str, dict[str, Any]] = {slot: {} for slots in SLOTS.values() for slot in slots}
    page_rows = rows_of_page()
    for kind, element in KINDS.items():
        for label, cell in zip(PLACES, page_rows[kind], strict=True):
            if cell not in {"–", "refused"}:
                for slot in SLOTS[label]:
                    parts[slot][kind] = element
    frame = pd.DataFrame(COLUMNS, index=NAMES)
    return anndata.AnnData(np.eye(N, dtype="f4"), obs=frame, var=frame.copy(), **parts)


def read(path: Path, format: str, matrix: str = "X") -> anndata.AnnData:
    """The AnnData that the reader of a format reads from an output."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if format == "tiledb":
            measurement = "raw" if matrix == "raw" else "RNA"
            with tiledbsoma.Experiment.open(str(path)) as experiment:
                names = [name for name in experiment.ms[measurement].X if name != "data"]
                return tiledbsoma.io.to_anndata(
                    experiment, measurement_name=measurement, extra_X_layer_names=names
                )
        reader: Any = {
            "h5ad": anndata.read_h5ad,
            "zarr": anndata.read_zarr,
            "10x_h5": scanpy.read_10x_h5,
            "10x_mtx": scanpy.read_10x_mtx,
        }[format]
        result: anndata.AnnData = reader(path)
        return result


Made = tuple[anndata.AnnData, tuple[str, ...]]


@pytest.fixture(scope="module")
def source() -> anndata.AnnData:
    """What is exported."""
    return everything()


@pytest.fixture(scope="module")
def outputs(source: anndata.AnnData, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    """The AnnData that each reader reads, and the messages of the export."""
    folder = tmp_path_factory.mktemp("outputs")
    dataset = slaf.convert(source, folder / "in.slaf")
    outputs = {}
    for format in FORMATS:
        with warnings.catch_warnings():
            # anndata warns of strings in zarr.
            warnings.simplefilter("ignore")
            report = slaf.export(dataset, folder / format, format=format)
        outputs[format] = read(folder / format, format), report.left_out
        with pytest.raises(TargetError, match="does not hold all"):
            slaf.export(dataset, folder / f"strict-{format}", format=format, strict=True)
    return outputs


def message_about(label: str, messages: tuple[str, ...]) -> str:
    """The message about an element; empty if there is none."""
    return next(
        (message for message in messages if message.startswith((f"{label} ", f"{label}["))), ""
    )


def outcome(result: Any, expected: Any, message: str) -> str:
    """The page's word for an element that was read back; its values are equal.

    It is in italics if there was a message.
    """
    if equal_elements(result, expected):
        assert not message
        return "exact"
    form = form_of(result, expected)
    return f"*{form}*" if message else form


def form_of(result: Any, expected: Any) -> str:
    """The type of an element that was read back with another type; its values are compared."""
    if isinstance(expected, dict):
        assert [key for key in expected if key not in result] == ["d"]
        assert all(equal_elements(result[key], expected[key]) for key in result)
        return "but None"
    if isinstance(expected, list):
        assert result.tolist() == expected
        return "as array"
    if result.dtype.kind in "UOT":
        assert result.tolist() == expected.tolist()
        return f"as {type(result.dtype).__name__}" if result.dtype.kind == "T" else "as text"
    np.testing.assert_array_equal(as_matrix(result), as_matrix(expected))
    words = []
    if result.dtype != np.asarray(as_matrix(expected)).dtype.newbyteorder("="):
        words.append(str(result.dtype))
    if type(result) is not type(expected):
        words.append("CSR" if is_sparse(result) else "array")
        if is_sparse(result) and is_sparse(expected):
            words[-1] = result.format.upper() + " matrix"
    if words:
        return f"as {', '.join(words)}"
    return "without zeros" if is_sparse(result) else f"as {result.dtype}"


def columns_outcome(result: pd.DataFrame, expected: pd.DataFrame, name: str, message: str) -> str:
    """The page's word for a column that was read back, or left out."""
    if name not in result:
        assert message.endswith("is left out"), (name, message)
        return "*left out*"
    column, expected_column = result[name], expected[name]
    if equal_elements(column, expected_column):
        assert not message
        return "exact"
    assert [None if pd.isna(v) else v for v in column] == [
        None if pd.isna(v) else v for v in expected_column
    ]
    if isinstance(column.dtype, pd.CategoricalDtype):
        assert set(column.cat.categories) == set(expected_column.dropna())
        form = "its categories in use"
    else:
        was_categories = isinstance(expected_column.dtype, pd.CategoricalDtype)
        form = f"as {'text' if was_categories else column.dtype}"
    return f"*{form}*" if message else form


def table(title: str, columns: tuple[str, ...], rows: Mapping[str, list[str]]) -> Iterator[str]:
    """The lines of a table."""
    yield f"| {title} | {' | '.join(columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for name, cells in rows.items():
        yield f"| {name} | {' | '.join(cells)} |"


@pytest.mark.parametrize("format", WHOLE)
def test_elements(format: str, source: anndata.AnnData, outputs: dict[str, Made]) -> None:
    """The page is right about each kind of element in each slot of a format."""
    result, messages = outputs[format]
    rows = {}
    for kind in KINDS:
        cells = []
        for slots in SLOTS.values():
            outcomes = set()
            for slot in slots:
                elements = dict(getattr(source, slot))
                if kind not in elements:
                    outcomes.add("–")
                    continue
                label = f"layers/{kind}" if slot == "layers" else f"{slot}[{kind!r}]"
                message = message_about(label, messages)
                read_elements = dict(getattr(result, slot))
                if kind in read_elements:
                    outcomes.add(outcome(read_elements[kind], elements[kind], message))
                else:
                    assert message.endswith("is left out"), (slot, kind)
                    outcomes.add("*left out*")
            assert len(outcomes) == 1, (kind, slots, outcomes)
            cells.append(outcomes.pop())
        rows[kind] = cells
    lines = list(table(f"`{format}`", ("layers", *PLACES[1:]), rows))
    assert "\n".join(lines) in PAGE.read_text(), "\n".join(lines)


def test_columns(source: anndata.AnnData, outputs: dict[str, Made]) -> None:
    """The page is right about each kind of column in each format."""
    rows = {}
    for kind in COLUMNS:
        cells = []
        for format in FORMATS:
            result, messages = outputs[format]
            is_10x = format.startswith("10x")
            outcomes = set()
            for slot in ("var",) if is_10x else ("obs", "var"):
                message = message_about(f"{slot}[{kind!r}]", messages)
                if is_10x and kind in listed_columns(message_about("var", messages)):
                    message = "is left out"
                elements, read_elements = (getattr(adata, slot) for adata in (source, result))
                outcomes.add(columns_outcome(read_elements, elements, kind, message))
            assert len(outcomes) == 1, (format, kind, outcomes)
            cells.append(outcomes.pop())
        name = "any, called `index`" if kind == "index" else kind
        rows[name] = cells
    columns = tuple(f"`{format}`" for format in FORMATS)
    lines = list(table("column", columns, rows))
    assert "\n".join(lines) in PAGE.read_text(), "\n".join(lines)


def listed_columns(message: str) -> list[str]:
    """The columns in a message of a 10x format."""
    return message.partition("(")[2].rpartition(")")[0].split(", ")


def test_10x_names_every_slot(source: anndata.AnnData, outputs: dict[str, Made]) -> None:
    """10x formats report everything but X and var as left out."""
    for format in ("10x_h5", "10x_mtx"):
        result, messages = outputs[format]
        for slot in ("obs", "obsm", "varm", "obsp", "varp", "uns"):
            assert message_about(slot, messages).endswith("is left out")
            assert not len(getattr(result, slot).keys())
        for name in source.layers:
            assert name is None or message_about(f"layers/{name}", messages).endswith("is left out")
        assert not result.layers


def test_matrices(tmp_path: Path) -> None:
    """The page is right about X and raw in each format."""
    rows: dict[str, list[str]] = {}
    for number, (kind, matrix) in enumerate(MATRICES.items()):
        tables = {"obs": pd.DataFrame(index=NAMES), "var": pd.DataFrame(index=[*"abc"])}
        raw = anndata.AnnData(matrix, varm={"loadings": np.ones((N, 2))}, **tables)
        adata = anndata.AnnData(matrix, **tables)
        adata.raw = raw
        dataset = slaf.convert(adata, tmp_path / f"{number}.slaf")
        rows[f"X of {kind}"] = []
        for format in FORMATS:
            output, cause = tmp_path / f"{number}-{format}", ""
            try:
                messages = slaf.export(dataset, output, format=format).left_out
            except TargetError as error:
                cause = str(error)
            if cause:
                assert "which Matrix Market cannot hold" in cause
                assert not output.exists()
                rows[f"X of {kind}"].append("refused")
                continue
            result = read(output, format)
            cell = matrix_outcome(result.X, adata.X, message_about("X", messages))
            rows[f"X of {kind}"].append(cell)
            for label, outcome in raw_outcomes(result, adata, output, format, messages):
                # X changes only the type of X of raw.
                row = rows.setdefault(label, [])
                if number == 0:
                    row.append(outcome)
                elif "X of raw" not in label:
                    assert row[FORMATS.index(format)] == outcome
    columns = tuple(f"`{format}`" for format in FORMATS)
    ordered = {kind: rows[kind] for kind in sorted(rows, key=lambda kind: "raw" in kind)}
    lines = list(table("matrix", columns, ordered))
    assert "\n".join(lines) in PAGE.read_text(), "\n".join(lines)


def matrix_outcome(result: Any, expected: Any, message: str) -> str:
    """The page's word for a matrix that was read back; its values are equal."""
    np.testing.assert_array_equal(as_matrix(result), as_matrix(expected))
    form = "exact, as CSR" if result.dtype == expected.dtype else f"as {result.dtype}"
    return f"*{form}*" if message else form


def raw_outcomes(
    result: anndata.AnnData,
    adata: anndata.AnnData,
    output: Path,
    format: str,
    messages: tuple[str, ...],
) -> Iterator[tuple[str, str]]:
    """The page's words for X, var and varm of raw."""
    raw: Any = result.raw
    if format == "tiledb":
        raw = read(output, format, "raw")
    if raw is None:
        for label in ("raw/X", "raw/varm"):
            assert message_about(label, messages).endswith("is left out")
        for label in ("X of raw", "var of raw", "varm of raw"):
            yield label, "*left out*"
        return
    yield "X of raw", matrix_outcome(raw.X, adata.raw.X, message_about("raw/X", messages))
    assert equal_elements(raw.var, adata.raw.var)
    yield "var of raw", "exact"
    if "loadings" in raw.varm:
        assert equal_elements(raw.varm["loadings"], adata.raw.varm["loadings"])
        yield "varm of raw", "exact"
    else:
        assert message_about("raw/varm", messages).endswith("is left out")
        yield "varm of raw", "*left out*"
