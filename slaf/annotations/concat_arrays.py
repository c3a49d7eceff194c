"""obsm, varm, obsp and varp of several inputs as one.

Values are missing where an input lacks them: NaN among numbers. The promoted type does not depend
on the order of the inputs, or on how many are combined at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import structs

from slaf.annotations.arrays import is_numeric, sparse_from_sorted, stored_entries
from slaf.annotations.columns import to_lance
from slaf.annotations.concat_columns import concat_rows, outer_join_genes
from slaf.annotations.dataframes import from_frame, is_frame, to_frame
from slaf.annotations.equality import is_awkward, is_sparse
from slaf.annotations.text import OBJECTS, STRING, TEXT, text_index
from slaf.errors import InexactValue, InputError
from slaf.sparse.casting import exact_cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.annotations.columns import Column

__all__ = [
    "InputElement",
    "align_varm",
    "align_varp",
    "concat_obsm",
    "concat_obsp",
    "promote_dtype",
]

_ID = "cell_id"


@dataclass(frozen=True, slots=True)
class InputElement:
    """An element of one input.

    Attributes
    ----------
    label
        The name of the input in errors.
    element
        The element; None if the input has none.
    ids
        The cell ids of the input, as in the dataset.
    """

    label: str
    element: Any
    ids: pa.ChunkedArray


def promote_dtype(dtypes: Iterable[np.dtype[Any]], *, with_nan: bool = False) -> np.dtype[Any]:
    """The numeric type for values of several types.

    One type stays; else whole numbers become int64, and others float64.

    Parameters
    ----------
    dtypes
        The types; their order of bytes does not matter.
    with_nan
        Whether the type must hold NaN.
    """
    distinct = {dtype.newbyteorder("=") for dtype in dtypes}
    if len(distinct) == 1:
        (dtype,) = distinct
        if dtype.kind == "f" or not with_nan:
            return dtype
    fractions = with_nan or any(dtype.kind == "f" for dtype in distinct)
    return np.dtype(np.float64 if fractions else np.int64)


def concat_obsm(name: str, inputs: Sequence[InputElement]) -> Any:
    """An element of obsm with the rows of all inputs, in order.

    Arrays with fewer columns are filled up with NaN, as `anndata.concat(join="outer")` does.

    Parameters
    ----------
    name
        The name of the element in errors and after ``--without``.
    inputs
        All inputs; at least one has the element.

    Raises
    ------
    InputError
        If no type holds the elements of all inputs.
    """
    stacked = _stacked(inputs)
    having = [each for each, _ in stacked]
    elements = [each.element for each in having]
    n_rows = sum(len(each.ids) for each in inputs)
    if all(map(_is_numeric_array, elements)) and len({e.ndim for e in elements}) == 1:
        missing = len({e.shape[1:] for e in elements}) > 1 or len(having) < len(inputs)
        return _place_rows(name, stacked, n_rows, missing=missing)
    if all(map(_is_numeric_sparse, elements)):
        columns = np.arange(max(e.shape[1] for e in elements))
        placed = [(each, rows, columns) for each, rows in stacked]
        return _place_entries(name, placed, (n_rows, len(columns)))
    if all(map(is_frame, elements)):
        return _concat_frames(inputs)
    if len(having) < len(inputs):
        lacking = next(each.label for each in inputs if each.element is None)
        raise _no_missing_values(name, having[0], f"what {lacking} lacks")
    if all(map(is_awkward, elements)):
        import awkward

        return awkward.concatenate(elements)
    kinds = {(type(e), getattr(e, "dtype", None), getattr(e, "shape", ())[1:]) for e in elements}
    if len(kinds) > 1 or not isinstance(elements[0], np.ndarray):
        raise _incompatible(name, having)
    return np.concatenate(elements)


def concat_obsp(name: str, inputs: Sequence[InputElement]) -> Any:
    """An element of obsp with the matrices of all inputs along the diagonal.

    Parameters and errors are those of `concat_obsm`.
    """
    stacked = _stacked(inputs)
    if not all(_is_numeric_matrix(each.element) for each, _ in stacked):
        raise _incompatible(name, [each for each, _ in stacked])
    n = sum(len(each.ids) for each in inputs)
    return _place_entries(name, [(each, cells, cells) for each, cells in stacked], (n, n))


def align_varm(
    name: str, source: InputElement, positions: NDArray[np.int64], ids: pa.ChunkedArray
) -> Any:
    """An element of varm of one input with the genes of the dataset.

    Parameters
    ----------
    name, source
        As for `concat_obsm`.
    positions
        The position of each gene of the input in the dataset; −1 for genes to leave out.
    ids
        The genes of the dataset.
    """
    n_genes, element = len(ids), source.element
    if np.array_equal(positions, np.arange(n_genes)):
        return element
    missing = bool(np.count_nonzero(positions >= 0) < n_genes)
    if is_frame(element):
        empty = from_frame(_empty_frame(ids), _ID)
        table, _ = outer_join_genes(
            empty, from_frame(element, _ID), positions, n_genes, (name, source.label)
        )
        return _to_frame(table)
    if _is_numeric_sparse(element):
        columns = np.arange(element.shape[1])
        return _place_entries(name, [(source, positions, columns)], (n_genes, len(columns)))
    if _is_numeric_array(element):
        return _place_rows(name, [(source, positions)], n_genes, missing=missing)
    if missing or not isinstance(element, np.ndarray):
        raise _no_missing_values(name, source, "genes that it lacks")
    return element[np.argsort(positions)[len(positions) - n_genes :]]


def align_varp(name: str, source: InputElement, positions: NDArray[np.int64], n_genes: int) -> Any:
    """An element of varp of one input with the genes of the dataset.

    Parameters are those of `align_varm`, with the number of genes in place of the ids.
    """
    if np.array_equal(positions, np.arange(n_genes)):
        return source.element
    if not _is_numeric_matrix(source.element):
        raise _incompatible(name, [source])
    return _place_entries(name, [(source, positions, positions)], (n_genes, n_genes))


def _stacked(inputs: Sequence[InputElement]) -> list[tuple[InputElement, NDArray[np.int64]]]:
    """The inputs that have the element, and the positions of their cells in the dataset."""
    stops = np.cumsum([len(each.ids) for each in inputs])
    return [
        (each, np.arange(stop - len(each.ids), stop))
        for each, stop in zip(inputs, stops, strict=True)
        if each.element is not None
    ]


def _place_rows(
    name: str,
    placed: Sequence[tuple[InputElement, NDArray[np.int64]]],
    n_rows: int,
    *,
    missing: bool,
) -> NDArray[Any]:
    """An array with the rows of several at their positions; −1 leaves a row out.

    Parameters
    ----------
    name, placed
        The name of the element; the inputs and the positions of their rows.
    n_rows
        The number of rows.
    missing
        Whether other values are NaN, not zero.
    """
    dtype = promote_dtype((each.element.dtype for each, _ in placed), with_nan=missing)
    row_shape = max(each.element.shape[1:] for each, _ in placed)
    array = np.full((n_rows, *row_shape), np.nan if missing else 0, dtype)
    for each, positions in placed:
        kept = positions >= 0
        columns = array[:, : each.element.shape[1]] if array.ndim > 1 else array
        columns[positions[kept]] = _cast(name, each.label, each.element[kept], dtype)
    return array


def _place_entries(
    name: str,
    placed: Sequence[tuple[InputElement, NDArray[np.int64], NDArray[np.int64]]],
    shape: tuple[int, int],
) -> Any:
    """A sparse matrix with the entries of several at their positions; −1 leaves an entry out.

    Parameters
    ----------
    name, placed
        The name of the element; the inputs and the positions of their rows and columns.
    shape
        The shape of the matrix.
    """
    dtype = promote_dtype(each.element.dtype for each, _, _ in placed)
    blocks = []
    for each, row_positions, column_positions in placed:
        rows, columns, values = stored_entries(each.element)
        rows, columns = row_positions[rows], column_positions[columns]
        kept = (rows >= 0) & (columns >= 0)
        blocks.append((rows[kept], columns[kept], _cast(name, each.label, values[kept], dtype)))
    rows, columns, values = (np.concatenate(arrays) for arrays in zip(*blocks, strict=True))
    order = np.argsort(rows, kind="stable")
    kinds = {type(each.element).__name__ for each, _, _ in placed}
    kind = kinds.pop() if len(kinds) == 1 and is_sparse(placed[0][0].element) else "csr_matrix"
    return sparse_from_sorted(rows[order], columns[order], values[order], shape, kind)


def _concat_frames(inputs: Sequence[InputElement]) -> pd.DataFrame:
    tables = []
    for each in inputs:
        frame = _empty_frame(each.ids) if each.element is None else each.element
        tables.append(from_frame(frame, _ID))
    return _to_frame(concat_rows(tables, [each.label for each in inputs]))


def _to_frame(table: pa.Table) -> pd.DataFrame:
    """A table as a frame that anndata writes."""
    table, columns = to_lance(table, ())
    writable = tuple(map(_writable, columns.columns, table.columns))
    return to_frame(table, structs.replace(columns, columns=writable))


def _writable(column: Column, values: pa.ChunkedArray) -> Column:
    """Text with missing values in pandas' nullable type: anndata writes no such objects."""
    if column.dtype not in {TEXT, OBJECTS} or not values.null_count:
        return column
    return structs.replace(column, dtype=f"{STRING}python]", missing="NA")


def _empty_frame(ids: pa.ChunkedArray) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(index=text_index(ids.to_pylist()))


def _cast(name: str, label: str, values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if values.dtype == dtype:
        return values
    try:
        cast = exact_cast(np.ravel(values).astype(values.dtype.newbyteorder("=")), dtype)
    except InexactValue as error:
        msg = (
            f"{name} of {label} does not fit {dtype}, the type for the values of all inputs: "
            f"{error}; leave it out with --without {name}"
        )
        raise InputError(msg) from error
    return cast.reshape(values.shape)


def _no_missing_values(name: str, source: InputElement, lacking: str) -> InputError:
    return InputError(
        f"{name} is a {_describe(source.element)} in {source.label}, which has no missing value "
        f"for {lacking}; leave it out with --without {name}"
    )


def _incompatible(name: str, inputs: Sequence[InputElement]) -> InputError:
    """An error that describes the first element, and the first of another kind."""
    first, *others = (f"a {_describe(each.element)}" for each in inputs)
    text = f"{first} in {inputs[0].label}"
    for each, kind in zip(inputs[1:], others, strict=True):
        if kind != first:
            text += f", but {kind} in {each.label}"
            break
    return InputError(
        f"{name} is {text}, which cannot be combined; make them alike, or leave it out with "
        f"--without {name}"
    )


def _describe(element: Any) -> str:
    dtype, shape = getattr(element, "dtype", None), getattr(element, "shape", ())
    return f"{type(element).__name__} of {dtype}, {len(shape)} dimensions"


def _is_numeric_array(element: Any) -> bool:
    return type(element) is np.ndarray and is_numeric(element.dtype) and element.ndim in {1, 2}


def _is_numeric_sparse(element: Any) -> bool:
    return is_sparse(element) and is_numeric(element.dtype)


def _is_numeric_matrix(element: Any) -> bool:
    return _is_numeric_array(element) or _is_numeric_sparse(element)
