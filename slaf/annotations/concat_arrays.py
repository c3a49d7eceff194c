"""Elements of obsm, varm, obsp and varp of several inputs as one element.

What one input lacks is missing there, which among numbers is NaN. Types are promoted so that it
does not matter in which order, or how many at a time, inputs are brought together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.annotations.columns import to_lance
from slaf.annotations.concat_columns import concat_rows, outer_join_genes
from slaf.annotations.dataframes import from_frame, to_frame
from slaf.annotations.equality import is_sparse
from slaf.errors import InexactValue, InputError
from slaf.sparse.casting import exact_cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

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
    """What one input has of an element.

    Attributes
    ----------
    place
        What to call the input in an error.
    element
        None if it has none.
    ids
        Of its cells, as they are in the dataset.
    """

    place: str
    element: Any
    ids: pa.ChunkedArray


def promote_dtype(dtypes: Iterable[np.dtype[Any]], *, lacking: bool = False) -> np.dtype[Any]:
    """The numeric type for values of all these types.

    It is theirs if they have one type; else int64 for whole numbers, and float64.

    Parameters
    ----------
    lacking
        Whether there must be room for NaN.
    """
    distinct = {dtype.newbyteorder("=") for dtype in dtypes}
    if len(distinct) == 1:
        (dtype,) = distinct
        if dtype.kind == "f" or not lacking:
            return dtype
    fractions = lacking or any(dtype.kind == "f" for dtype in distinct)
    return np.dtype(np.float64 if fractions else np.int64)


def concat_obsm(name: str, pieces: Sequence[InputElement]) -> Any:
    """An element of obsm: the rows of all inputs, in order.

    Arrays of fewer columns are filled up with NaN, as `anndata.concat(join="outer")` does.

    Parameters
    ----------
    name
        What to call it in an error, and after ``--without``.
    pieces
        Of each input; of one at the least there is an element.

    Raises
    ------
    InputError
        If they are of kinds, or types, that nothing holds together.
    """
    there = [piece for piece in pieces if piece.element is not None]
    elements = [piece.element for piece in there]
    if all(map(_is_numeric_array, elements)) and len({e.ndim for e in elements}) == 1:
        return _stacked_arrays(name, pieces)
    if all(is_sparse(e) and _is_number(e.dtype) for e in elements):
        return _stacked_sparse(name, pieces)
    if all(map(_is_frame, elements)):
        return _stacked_frames(pieces)
    kinds = {(type(e), getattr(e, "dtype", None), getattr(e, "shape", ())[1:]) for e in elements}
    if len(there) < len(pieces):
        lacks = next(piece.place for piece in pieces if piece.element is None)
        msg = (
            f"{name} is a {_told(elements[0])} in {there[0].place}, in which nothing can stand for "
            f"what {lacks} lacks; leave it out with --without {name}"
        )
        raise InputError(msg)
    if len(kinds) > 1 or not isinstance(elements[0], np.ndarray):
        raise _apart(name, there)
    return np.concatenate(elements)


def concat_obsp(name: str, pieces: Sequence[InputElement]) -> Any:
    """An element of obsp: those of all inputs along the diagonal, and nothing between them.

    Parameters and errors are those of `below_each_other`.
    """
    there = [piece for piece in pieces if piece.element is not None]
    if not all(_is_numeric_matrix(piece.element) for piece in there):
        raise _apart(name, there)
    dtype = promote_dtype(piece.element.dtype for piece in there)
    rows, columns, values, first = [], [], [], 0
    for piece in pieces:
        if piece.element is not None:
            at_row, at_column, held = _entries(piece.element)
            rows.append(at_row + first)
            columns.append(at_column + first)
            values.append(_cast(name, piece.place, held, dtype))
        first += len(piece.ids)
    found = np.concatenate(values)
    return _sparse(np.concatenate(rows), np.concatenate(columns), found, first, _kind(there))


def align_varm(
    name: str, piece: InputElement, positions: NDArray[np.int64], ids: pa.ChunkedArray
) -> Any:
    """An element of varm of one input, among the genes of all.

    Parameters
    ----------
    name, piece
        As for `below_each_other`.
    positions
        Of each of its genes the place among all; −1 for those left out.
    ids
        Of all genes.
    """
    n_genes, element = len(ids), piece.element
    if np.array_equal(positions, np.arange(n_genes)):
        return element
    rows = np.full(n_genes, -1, np.int64)
    rows[positions[positions >= 0]] = np.flatnonzero(positions >= 0)
    lacking = bool((rows < 0).any())
    if _is_frame(element):
        # The places of genes are given; what they are called there does not matter.
        blank = from_frame(_frame_of(ids), _ID)
        placed, _ = outer_join_genes(
            blank, from_frame(element, _ID), positions, n_genes, (name, piece.place)
        )
        return _to_frame(placed)
    if is_sparse(element) and _is_number(element.dtype):
        import scipy.sparse as sp

        # Of the same type: among others scipy would pass through one that is not exact.
        none = sp.csr_matrix((1, element.shape[1]), dtype=element.dtype)
        return type(element)(sp.vstack([element.tocsr(), none], "csr")[rows])
    if _is_numeric_array(element):
        dtype = promote_dtype([element.dtype], lacking=lacking)
        whole = np.zeros((n_genes, *element.shape[1:]), dtype)
        if lacking:
            whole[rows < 0] = np.nan
        whole[rows >= 0] = _cast(name, piece.place, element[rows[rows >= 0]], dtype)
        return whole
    if lacking or not isinstance(element, np.ndarray):
        msg = (
            f"{name} is a {_told(element)} in {piece.place}, in which nothing can stand for genes "
            f"that it lacks; leave it out with --without {name}"
        )
        raise InputError(msg)
    return element[rows]


def align_varp(name: str, piece: InputElement, positions: NDArray[np.int64], n_genes: int) -> Any:
    """An element of varp of one input, among the genes of all.

    Parameters are those of `at_places`.
    """
    element = piece.element
    if np.array_equal(positions, np.arange(n_genes)):
        return element
    if not _is_numeric_matrix(element):
        raise _apart(name, [piece])
    rows, columns, values = _entries(element)
    rows, columns = positions[rows], positions[columns]
    kept = (rows >= 0) & (columns >= 0)
    return _sparse(rows[kept], columns[kept], values[kept], n_genes, _kind([piece]))


def _stacked_arrays(name: str, pieces: Sequence[InputElement]) -> NDArray[Any]:
    there = [piece for piece in pieces if piece.element is not None]
    shapes = {piece.element.shape[1:] for piece in there}
    lacking = len(shapes) > 1 or len(there) < len(pieces)
    dtype = promote_dtype((piece.element.dtype for piece in there), lacking=lacking)
    whole = np.zeros((sum(len(piece.ids) for piece in pieces), *max(shapes)), dtype)
    if lacking:
        whole[:] = np.nan
    first = 0
    for piece in pieces:
        rows = slice(first, first + len(piece.ids))
        if piece.element is not None:
            width = tuple(slice(n) for n in piece.element.shape[1:])
            whole[(rows, *width)] = _cast(name, piece.place, piece.element, dtype)
        first = rows.stop
    return whole


def _stacked_sparse(name: str, pieces: Sequence[InputElement]) -> Any:
    import scipy.sparse as sp

    there = [piece for piece in pieces if piece.element is not None]
    dtype = promote_dtype(piece.element.dtype for piece in there)
    width = max(piece.element.shape[1] for piece in there)
    blocks = []
    for piece in pieces:
        block = sp.csr_matrix((len(piece.ids), width), dtype=dtype)
        if piece.element is not None:
            held = piece.element.tocsr()
            values = _cast(name, piece.place, held.data, dtype)
            block = sp.csr_matrix((values, held.indices, held.indptr), shape=block.shape)
        blocks.append(block)
    return getattr(sp, _kind(there))(sp.vstack(blocks, "csr"))


def _stacked_frames(pieces: Sequence[InputElement]) -> pd.DataFrame:
    tables = []
    for piece in pieces:
        frame, found = _frame_of(piece.ids), piece.element
        if found is not None:
            # Its ids may have been given a prefix since.
            same = found.index.equals(frame.index)
            frame = found if same else found.set_axis(frame.index.rename(found.index.name), axis=0)
        tables.append(from_frame(frame, _ID))
    return _to_frame(concat_rows(tables, [piece.place for piece in pieces]))


def _to_frame(table: pa.Table) -> pd.DataFrame:
    """A table as pandas has it; text of which some is missing is of the type that says so."""
    frame = to_frame(*to_lance(table, ()))
    for name in frame.columns:
        # Objects, which anndata writes only if none is missing.
        if frame[name].dtype == object and frame[name].isna().any():
            frame[name] = frame[name].astype("string")
    return frame


def _frame_of(ids: pa.ChunkedArray) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(index=pd.Index(ids.to_pylist(), dtype=object))


def _entries(element: Any) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
    """What a square matrix stores; of a dense one what is not zero, or a zero with a sign."""
    if is_sparse(element):
        entries = element.tocoo()
        return entries.row.astype(np.int64), entries.col.astype(np.int64), entries.data
    there = element != 0
    if element.dtype.kind == "f":
        there |= np.signbit(element)
    rows, columns = np.nonzero(there)
    return rows, columns, element[rows, columns]


def _sparse(
    rows: NDArray[np.int64], columns: NDArray[np.int64], values: NDArray[Any], n: int, kind: str
) -> Any:
    import scipy.sparse as sp

    # By hand, for scipy adds up what is stored twice.
    order = np.lexsort((columns, rows))
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(rows, minlength=n))])
    whole = sp.csr_matrix((values[order], columns[order], indptr), shape=(n, n))
    return getattr(sp, kind)(whole)


def _kind(there: Sequence[InputElement]) -> str:
    kinds = {type(piece.element).__name__ for piece in there}
    kind = kinds.pop()
    return "csr_matrix" if kinds or kind == "ndarray" else kind


def _cast(name: str, place: str, values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if values.dtype == dtype:
        return values
    try:
        cast = exact_cast(np.ravel(values).astype(values.dtype.newbyteorder("=")), dtype)
    except InexactValue as error:
        msg = (
            f"{name} of {place} cannot stand in {dtype} beside those of other inputs: {error}; "
            f"leave it out with --without {name}"
        )
        raise InputError(msg) from error
    return cast.reshape(values.shape)


def _apart(name: str, there: Sequence[InputElement]) -> InputError:
    told = [f"a {_told(piece.element)} in {piece.place}" for piece in there]
    other = next((one for one in told[1:] if one.split(" in ")[0] != told[0].split(" in ")[0]), "")
    both = f"{told[0]}, but {other}" if other else told[0]
    return InputError(
        f"{name} is {both}, which nothing brings together; make them alike, or leave it out with "
        f"--without {name}"
    )


def _told(element: Any) -> str:
    dtype, shape = getattr(element, "dtype", None), getattr(element, "shape", ())
    return f"{type(element).__name__} of {dtype}, {len(shape)} dimensions"


def _is_number(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "biuf" and dtype.itemsize <= 8  # noqa: PLR2004 - 64 bits


def _is_numeric_array(element: Any) -> bool:
    return type(element) is np.ndarray and _is_number(element.dtype) and element.ndim in {1, 2}


def _is_numeric_matrix(element: Any) -> bool:
    return _is_numeric_array(element) or (is_sparse(element) and _is_number(element.dtype))


def _is_frame(element: Any) -> bool:
    return type(element).__name__ == "DataFrame"
