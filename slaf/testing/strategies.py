"""Hypothesis strategies for matrices and tables as files hold them, edge cases included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import hypothesis.strategies as st
import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy
    from numpy.typing import NDArray

__all__ = ["NUMERIC_TYPES", "Stored", "columns", "frames", "matrices", "names", "numbers"]


# Types of values in h5ad files.
NUMERIC_TYPES: Final = tuple(
    np.dtype(name)
    for name in (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64"),
    )
)

# Bits at which integer types end, and at which floats no longer hold all whole numbers.
_EDGES = (8, 11, 16, 24, 31, 32, 53, 63, 64)
_AWKWARD_INTEGERS = tuple(
    sorted(
        {0, 1, -1}
        | {sign * 2**bits + by for bits in _EDGES for by in (-1, 0, 1) for sign in (1, -1)}
    )
)
_AWKWARD_FLOATS = (0.0, -0.0, 0.5, 1.7, -1.5, float("nan"), float("inf"), float("-inf"), 1e-40)

# Names that Lance refuses, that the format uses itself, or that differ in unsafe characters only.
_AWKWARD_NAMES = (
    *("cell_id", "gene_id", "cell_integer_id", "gene_integer_id", "cell_start_index"),
    *("source_file", "n_genes", "value", "_rowid", "_rowaddr", "_rowoffset", "user_cell_id"),
    *("", "a.b", "a_b", "A_B", "a b", "a`b", "ячейка", "細胞", "é", "1", "None"),
)

# Characters that HDF5 stores in strings and names.
_CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
_TEXT = st.text(_CHARACTERS, max_size=6)


@dataclass(frozen=True, slots=True)
class Stored:
    """Entries of a matrix as a file may store them: in any order, repeated, or zero.

    Attributes
    ----------
    shape
        Number of cells and of genes.
    cells, genes, values
        The entries, in the order of the file.
    """

    shape: tuple[int, int]
    cells: NDArray[np.int64]
    genes: NDArray[np.int64]
    values: NDArray[Any]

    def rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
        """Compressed sparse rows: indptr, indices, data."""
        return self._compressed(self.cells, self.genes, self.shape[0])

    def columns(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
        """Compressed sparse columns: indptr, indices, data."""
        return self._compressed(self.genes, self.cells, self.shape[1])

    def dense(self) -> NDArray[Any]:
        """Dense matrix; of repeated entries the last one counts."""
        matrix = np.zeros(self.shape, self.values.dtype)
        matrix[self.cells, self.genes] = self.values
        return matrix

    def _compressed(
        self, major: NDArray[np.int64], minor: NDArray[np.int64], size: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
        order = np.argsort(major, kind="stable")
        indptr = np.append(0, np.cumsum(np.bincount(major, minlength=size)))
        return indptr, minor[order], self.values[order]


def numbers(dtype: np.dtype[Any]) -> SearchStrategy[Any]:
    """Numbers that a type holds exactly, among them limits of types."""
    if dtype.kind == "b":
        return st.booleans()
    if dtype.kind == "f":
        width = dtype.itemsize * 8
        whole = st.sampled_from(_AWKWARD_INTEGERS).map(float)
        awkward = whole | st.sampled_from(_AWKWARD_FLOATS)
        with_edges = awkward.map(lambda value: _rounded(value, dtype))
        return with_edges | st.integers(0, 300).map(float) | st.floats(width=width)  # type: ignore[arg-type]
    limits = np.iinfo(dtype)
    low, high = int(limits.min), int(limits.max)
    inside = [value for value in _AWKWARD_INTEGERS if low <= value <= high]
    return st.sampled_from(inside) | st.integers(0, min(300, high)) | st.integers(low, high)


@st.composite
def matrices(
    draw: DrawFn,
    dtype: np.dtype[Any] | None = None,
    *,
    max_cells: int = 9,
    max_genes: int = 7,
    values: SearchStrategy[Any] | None = None,
    repeated: bool = True,
) -> Stored:
    """Matrices as files store them; some have no cells, no genes, or no entries.

    Parameters
    ----------
    dtype
        Type of the values; any of `NUMERIC_TYPES` if None.
    max_cells, max_genes
        The largest shape.
    values
        Strategy for the values; `numbers` of the type if None.
    repeated
        Whether a cell and gene may have several entries.
    """
    chosen = draw(st.sampled_from(NUMERIC_TYPES)) if dtype is None else dtype
    n_cells, n_genes = draw(st.integers(0, max_cells)), draw(st.integers(0, max_genes))
    positions = st.tuples(st.integers(0, max(n_cells - 1, 0)), st.integers(0, max(n_genes - 1, 0)))
    most = min(n_cells * n_genes, 1) * 24
    entries = draw(
        st.lists(
            st.tuples(positions, numbers(chosen) if values is None else values),
            max_size=most,
            unique_by=None if repeated else lambda entry: entry[0],
        )
    )
    return Stored(
        (n_cells, n_genes),
        np.array([cell for (cell, _), _ in entries], np.int64),
        np.array([gene for (_, gene), _ in entries], np.int64),
        np.array([value for _, value in entries], chosen),
    )


def names() -> SearchStrategy[str]:
    """Names of columns: those reserved by the format or by Lance, and any text."""
    return st.sampled_from(_AWKWARD_NAMES) | _TEXT


@st.composite
def columns(draw: DrawFn, n_rows: int, *, on_disk: bool = False) -> Any:
    """A column of obs or var in pandas.

    Parameters
    ----------
    n_rows
        Number of rows.
    on_disk
        Only types that anndata writes to h5ad: no times, nullable floats or nullable strings.
    """
    kinds = [_numeric, _strings, _categorical, _nullable]
    kinds += [] if on_disk else [_times, _nullable_floats, _nullable_strings]
    return draw(draw(st.sampled_from(kinds))(n_rows))


@st.composite
def frames(draw: DrawFn, n_rows: int, *, on_disk: bool = False) -> pd.DataFrame:
    """A table like obs or var: ids that may repeat, and columns of every type.

    Parameters
    ----------
    n_rows
        Number of rows.
    on_disk
        Only columns that anndata writes to h5ad.
    """
    column_names = draw(
        st.lists(
            names().filter(lambda name: not on_disk or _fits_hdf5(name)), max_size=5, unique=True
        )
    )
    ids = pd.Index(draw(_rows(_TEXT, n_rows)), dtype=object)
    # anndata writes no index with the name of a column.
    ids.name = draw(
        st.none()
        | st.sampled_from(["index", "barcode"]).filter(lambda name: name not in column_names)
    )
    data = {name: draw(columns(n_rows, on_disk=on_disk)) for name in column_names}
    # Names have the type that pandas infers for text: in pandas 2 object, in pandas 3 str.
    return pd.DataFrame(data, index=ids, columns=pd.Index(["", *column_names])[1:])


def _rounded(value: float, dtype: np.dtype[Any]) -> float:
    with np.errstate(over="ignore"):
        return float(np.asarray(value).astype(dtype))


def _fits_hdf5(name: str) -> bool:
    return name not in {"", ".", "_index"} and "/" not in name


def _rows(values: SearchStrategy[Any], n_rows: int) -> SearchStrategy[list[Any]]:
    return st.lists(values, min_size=n_rows, max_size=n_rows)


@st.composite
def _numeric(draw: DrawFn, n_rows: int) -> NDArray[Any]:
    dtype = draw(st.sampled_from(NUMERIC_TYPES))
    return np.array(draw(_rows(numbers(dtype), n_rows)), dtype)


@st.composite
def _strings(draw: DrawFn, n_rows: int) -> NDArray[Any]:
    return np.array(draw(_rows(_TEXT, n_rows)), object)


@st.composite
def _categorical(draw: DrawFn, n_rows: int) -> pd.Categorical:
    kind = draw(st.sampled_from([_TEXT, st.integers(-5, 5), st.floats(-1, 1), st.booleans()]))
    categories: list[Any] = draw(st.lists(kind, max_size=4, unique=True))
    codes = draw(_rows(st.integers(-1, len(categories) - 1), n_rows))
    index = pd.Index(categories) if categories else pd.Index([], dtype=object)
    return pd.Categorical.from_codes(codes, categories=index, ordered=draw(st.booleans()))


@st.composite
def _nullable(draw: DrawFn, n_rows: int) -> Any:
    name: Any = draw(st.sampled_from(["Int8", "Int64", "UInt16", "UInt64", "boolean"]))
    whole = numbers(np.dtype(name.lower())) if name != "boolean" else st.booleans()
    return pd.array(draw(_rows(whole | st.none(), n_rows)), dtype=name)


@st.composite
def _nullable_floats(draw: DrawFn, n_rows: int) -> Any:
    name: Any = draw(st.sampled_from(["Float32", "Float64"]))
    values = numbers(np.dtype(name.lower())).filter(lambda value: value == value)  # noqa: PLR0124
    return pd.array(draw(_rows(values | st.none(), n_rows)), dtype=name)


@st.composite
def _nullable_strings(draw: DrawFn, n_rows: int) -> Any:
    storage: Any = draw(st.sampled_from(["python", "pyarrow"]))
    missing: Any = draw(st.sampled_from([pd.NA, np.nan]))
    return pd.array(draw(_rows(_TEXT | st.none(), n_rows)), dtype=pd.StringDtype(storage, missing))


@st.composite
def _times(draw: DrawFn, n_rows: int) -> Any:
    unit = draw(st.sampled_from(["s", "ms", "us", "ns"]))
    ticks = np.array(draw(_rows(st.integers(-(2**40), 2**40), n_rows)), np.int64)
    if draw(st.booleans()):
        return ticks.view(f"m8[{unit}]")
    times = pd.Series(ticks.view(f"M8[{unit}]"))
    zone = draw(st.sampled_from([None, "UTC", "Europe/Paris"]))
    return (
        times.to_numpy() if zone is None else times.dt.tz_localize("UTC").dt.tz_convert(zone).array
    )
