"""The page of the round trip says what each format that is exported to makes of everything."""

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
# What scanpy reads of 10x beside var, and names for it.
OF_10X = {"gene_ids", "feature_types", "genome"}

pytestmark = [
    # tiledbsoma's own.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:tiledbsoma"),
    pytest.mark.filterwarnings("ignore::FutureWarning:tiledbsoma"),
]


def rows_of_page() -> dict[str, list[str]]:
    """What a dataset makes of each kind of element: the first table, which has its own test."""
    first = PAGE.read_text().partition("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in first.splitlines()]
    return {line[0]: line[1:] for line in lines if len(line) == len(PLACES) + 1}


def everything() -> anndata.AnnData:
    """An AnnData with every kind of element and of column that a dataset takes."""
    parts: dict[str, dict[str, Any]] = {slot: {} for slots in SLOTS.values() for slot in slots}
    said = rows_of_page()
    for kind, element in KINDS.items():
        for place, cell in zip(PLACES, said[kind], strict=True):
            if cell not in {"–", "refused"}:
                for slot in SLOTS[place]:
                    parts[slot][kind] = element
    frame = pd.DataFrame(COLUMNS, index=NAMES)
    return anndata.AnnData(np.eye(N, dtype="f4"), obs=frame, var=frame.copy(), **parts)


def read(path: Path, format: str, matrix: str = "X") -> anndata.AnnData:
    """An output as the reader of its format reads it."""
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
        found: anndata.AnnData = reader(path)
        return found


Made = tuple[anndata.AnnData, tuple[str, ...]]


@pytest.fixture(scope="module")
def source() -> anndata.AnnData:
    """What is exported."""
    return everything()


@pytest.fixture(scope="module")
def outputs(source: anndata.AnnData, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    """What each reader finds, and what was said to be left out."""
    folder = tmp_path_factory.mktemp("outputs")
    dataset = slaf.convert(source, folder / "in.slaf")
    found = {}
    for format in FORMATS:
        with warnings.catch_warnings():
            # anndata's own, of text in zarr.
            warnings.simplefilter("ignore")
            made = slaf.export(dataset, folder / format, format=format)
        found[format] = read(folder / format, format), made.left_out
        with pytest.raises(TargetError, match="does not hold all"):
            slaf.export(dataset, folder / f"strict-{format}", format=format, strict=True)
    return found


def told(place: str, notes: tuple[str, ...]) -> str:
    """What was said of an element before it was written."""
    return next((note for note in notes if note.startswith((f"{place} ", f"{place}["))), "")


def outcome(found: Any, expected: Any, note: str) -> str:
    """What became of an element: its values are the same, whatever it is stored as.

    Where it was said to become something else, the outcome is in italics.
    """
    if equal_elements(found, expected):
        assert not note
        return "exact"
    form = form_of(found, expected)
    return f"*{form}*" if note else form


def form_of(found: Any, expected: Any) -> str:
    """As what an element came back that is not of the same type; its values are compared."""
    if isinstance(expected, dict):
        assert [key for key in expected if key not in found] == ["d"]
        assert all(equal_elements(found[key], expected[key]) for key in found)
        return "but None"
    if isinstance(expected, list):
        assert found.tolist() == expected
        return "as array"
    if found.dtype.kind in "UOT":
        assert found.tolist() == expected.tolist()
        return f"as {type(found.dtype).__name__}" if found.dtype.kind == "T" else "as text"
    np.testing.assert_array_equal(as_matrix(found), as_matrix(expected))
    words = []
    if found.dtype != np.asarray(as_matrix(expected)).dtype.newbyteorder("="):
        words.append(str(found.dtype))
    if type(found) is not type(expected):
        words.append("CSR" if is_sparse(found) else "array")
        if is_sparse(found) and is_sparse(expected):
            words[-1] = found.format.upper() + " matrix"
    if words:
        return f"as {', '.join(words)}"
    return "without zeros" if is_sparse(found) else f"as {found.dtype}"


def columns_outcome(found: pd.DataFrame, expected: pd.DataFrame, name: str, note: str) -> str:
    """What became of a column."""
    if name not in found:
        assert note.endswith("is left out"), (name, note)
        return "*left out*"
    ours, theirs = found[name], expected[name]
    if equal_elements(ours, theirs):
        assert not note
        return "exact"
    assert [None if pd.isna(v) else v for v in ours] == [None if pd.isna(v) else v for v in theirs]
    if isinstance(ours.dtype, pd.CategoricalDtype):
        assert set(ours.cat.categories) == set(theirs.dropna())
        form = "its categories in use"
    else:
        form = f"as {'text' if isinstance(theirs.dtype, pd.CategoricalDtype) else ours.dtype}"
    return f"*{form}*" if note else form


def table(title: str, columns: tuple[str, ...], rows: Mapping[str, list[str]]) -> Iterator[str]:
    """The lines of a table."""
    yield f"| {title} | {' | '.join(columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for name, cells in rows.items():
        yield f"| {name} | {' | '.join(cells)} |"


@pytest.mark.parametrize("format", WHOLE)
def test_elements(format: str, source: anndata.AnnData, outputs: dict[str, Made]) -> None:
    """What the page says of each kind of element in each slot of a format is so."""
    found, notes = outputs[format]
    rows = {}
    for kind in KINDS:
        cells = []
        for slots in SLOTS.values():
            seen = set()
            for slot in slots:
                held = dict(getattr(source, slot))
                if kind not in held:
                    seen.add("–")
                    continue
                place = f"layers/{kind}" if slot == "layers" else f"{slot}[{kind!r}]"
                note = told(place, notes)
                there = dict(getattr(found, slot))
                if kind in there:
                    seen.add(outcome(there[kind], held[kind], note))
                else:
                    assert note.endswith("is left out"), (slot, kind)
                    seen.add("*left out*")
            assert len(seen) == 1, (kind, slots, seen)
            cells.append(seen.pop())
        rows[kind] = cells
    lines = list(table(f"`{format}`", ("layers", *PLACES[1:]), rows))
    assert "\n".join(lines) in PAGE.read_text(), "\n".join(lines)


def test_columns(source: anndata.AnnData, outputs: dict[str, Made]) -> None:
    """What the page says of each kind of column in each format is so."""
    rows = {}
    for kind in COLUMNS:
        cells = []
        for format in FORMATS:
            found, notes = outputs[format]
            of_10x = format.startswith("10x")
            seen = set()
            for slot in ("var",) if of_10x else ("obs", "var"):
                note = told(f"{slot}[{kind!r}]", notes)
                if of_10x and kind in listed(told("var", notes)):
                    note = "is left out"
                held, there = (getattr(adata, slot) for adata in (source, found))
                seen.add(columns_outcome(there, held, kind, note))
            assert len(seen) == 1, (format, kind, seen)
            cells.append(seen.pop())
        name = "any, called `index`" if kind == "index" else kind
        rows[name] = cells
    columns = tuple(f"`{format}`" for format in FORMATS)
    lines = list(table("column", columns, rows))
    assert "\n".join(lines) in PAGE.read_text(), "\n".join(lines)


def listed(note: str) -> list[str]:
    """The columns that a note of a 10x format names."""
    return note.partition("(")[2].rpartition(")")[0].split(", ")


def test_10x_names_every_slot(source: anndata.AnnData, outputs: dict[str, Made]) -> None:
    """Of everything but X and var, 10x formats say that it is left out."""
    for format in ("10x_h5", "10x_mtx"):
        found, notes = outputs[format]
        for slot in ("obs", "obsm", "varm", "obsp", "varp", "uns"):
            assert told(slot, notes).endswith("is left out")
            assert not len(getattr(found, slot).keys())
        for name in source.layers:
            assert name is None or told(f"layers/{name}", notes).endswith("is left out")
        assert not found.layers


def test_matrices(tmp_path: Path) -> None:
    """What the page says of X and raw in each format is so."""
    rows: dict[str, list[str]] = {}
    for at, (kind, matrix) in enumerate(MATRICES.items()):
        tables = {"obs": pd.DataFrame(index=NAMES), "var": pd.DataFrame(index=[*"abc"])}
        raw = anndata.AnnData(matrix, varm={"loadings": np.ones((N, 2))}, **tables)
        adata = anndata.AnnData(matrix, **tables)
        adata.raw = raw
        dataset = slaf.convert(adata, tmp_path / f"{at}.slaf")
        rows[f"X of {kind}"] = []
        for format in FORMATS:
            output, cause = tmp_path / f"{at}-{format}", ""
            try:
                notes = slaf.export(dataset, output, format=format).left_out
            except TargetError as error:
                cause = str(error)
            if cause:
                assert "which Matrix Market cannot hold" in cause
                assert not output.exists()
                rows[f"X of {kind}"].append("refused")
                continue
            found = read(output, format)
            cell = matrix_outcome(found.X, adata.X, told("X", notes))
            rows[f"X of {kind}"].append(cell)
            for place, outcome in raw_outcomes(found, adata, output, format, notes):
                # The same whatever X is, but for its type.
                row = rows.setdefault(place, [])
                if at == 0:
                    row.append(outcome)
                elif "X of raw" not in place:
                    assert row[FORMATS.index(format)] == outcome
    columns = tuple(f"`{format}`" for format in FORMATS)
    ordered = {kind: rows[kind] for kind in sorted(rows, key=lambda kind: "raw" in kind)}
    lines = list(table("matrix", columns, ordered))
    assert "\n".join(lines) in PAGE.read_text(), "\n".join(lines)


def matrix_outcome(found: Any, expected: Any, note: str) -> str:
    """What became of a matrix: its values are the same."""
    np.testing.assert_array_equal(as_matrix(found), as_matrix(expected))
    form = "exact, as CSR" if found.dtype == expected.dtype else f"as {found.dtype}"
    return f"*{form}*" if note else form


def raw_outcomes(
    found: anndata.AnnData,
    adata: anndata.AnnData,
    output: Path,
    format: str,
    notes: tuple[str, ...],
) -> Iterator[tuple[str, str]]:
    """What became of raw, its genes and what stands beside them."""
    raw: Any = found.raw
    if format == "tiledb":
        raw = read(output, format, "raw")
    if raw is None:
        for place in ("raw/X", "raw/varm"):
            assert told(place, notes).endswith("is left out")
        for place in ("X of raw", "var of raw", "varm of raw"):
            yield place, "*left out*"
        return
    yield "X of raw", matrix_outcome(raw.X, adata.raw.X, told("raw/X", notes))
    assert equal_elements(raw.var, adata.raw.var)
    yield "var of raw", "exact"
    if "loadings" in raw.varm:
        assert equal_elements(raw.varm["loadings"], adata.raw.varm["loadings"])
        yield "varm of raw", "exact"
    else:
        assert told("raw/varm", notes).endswith("is left out")
        yield "varm of raw", "*left out*"
