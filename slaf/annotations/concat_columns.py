"""Tables of several inputs as one: cells below each other, genes side by side.

Columns are matched by the user's names. What one input lacks is missing there; types are
promoted only as far as every value stays what it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import structs

from slaf.annotations.columns import (
    Column,
    column_of,
    index_name_of,
    pandas_type,
    table_with_metadata,
)
from slaf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["columns_not_in_all", "concat_rows", "outer_join_genes"]


@dataclass(frozen=True, slots=True)
class _Form:
    """What a column is like, in one input or in several.

    Attributes
    ----------
    column
        What it was in the user's frame.
    type
        The Arrow type of its values; of its categories, where it has some.
    categories
        All of them in their order; None where it has none.
    blank
        Whether it says nothing: no category, and every value missing.
    """

    column: Column
    type: pa.DataType
    categories: pa.Array | None
    blank: bool

    def __str__(self) -> str:
        if self.categories is None:
            return self.column.dtype
        order = "ordered " if self.column.ordered else ""
        shown = ", ".join(map(str, self.categories[:4].to_pylist()))
        more = ", …" if len(self.categories) > 4 else ""  # noqa: PLR2004 - as many as are shown
        return f"{order}categories [{shown}{more}] of {self.column.categories}"


def concat_rows(tables: Sequence[pa.Table], places: Sequence[str]) -> pa.Table:
    """The cells of several inputs, one below the other, with all columns that any of them has.

    Parameters
    ----------
    tables
        As `slaf.annotations.columns.table_with_metadata` makes them: the index first.
    places
        What to call each in an error.

    Raises
    ------
    InputError
        If a column is of types that have no common one.
    """
    arrays, columns = [], []
    for original in _originals(tables):
        found = [_column(table, original) for table in tables]
        form = _form_of_all(found, places)
        pieces = _cast_all(found, form, [table.num_rows for table in tables], places)
        whole, column = _described(form, _concat_columns(pieces, form))
        arrays.append(whole)
        columns.append(column)
    return table_with_metadata(arrays, columns, index_name_of(tables[0]))


def outer_join_genes(
    first: pa.Table,
    second: pa.Table,
    positions: NDArray[np.int64],
    n_genes: int,
    places: tuple[str, str],
) -> tuple[pa.Table, tuple[str, ...]]:
    """The genes of an input beside those of the ones before it.

    Of each gene and column the first value that is not missing is taken.

    Parameters
    ----------
    first, second
        As `slaf.annotations.columns.table_with_metadata` makes them: the index first.
    positions
        Of each gene of the second its place in the result, and −1 for those left out. Those of
        the first are at its beginning.
    n_genes
        Genes in the result.
    places
        What to call both in an error.

    Returns
    -------
    table
        All genes, with all columns that one of both has.
    disagreeing
        The columns that hold different values for a gene of both.

    Raises
    ------
    InputError
        If a column is of types that have no common one.
    """
    ours = np.append(np.arange(first.num_rows), np.full(n_genes - first.num_rows, -1))
    theirs = np.full(n_genes, -1, np.int64)
    kept = positions >= 0
    theirs[positions[kept]] = np.flatnonzero(kept)
    arrays, columns, disagreeing = [], [], []
    for original in _originals((first, second)):
        found = [_column(table, original) for table in (first, second)]
        form = _form_of_all(found, places)
        pieces = _cast_all(found, form, [first.num_rows, second.num_rows], places)
        one, other = (
            _placed(piece, rows) for piece, rows in zip(pieces, (ours, theirs), strict=True)
        )
        if original is not None and _disagree(one, other):
            disagreeing.append(original)
        whole, column = _described(form, _dictionary(pc.coalesce(_plain(one), _plain(other)), form))
        arrays.append(whole)
        columns.append(column)
    return table_with_metadata(arrays, columns, index_name_of(first)), tuple(disagreeing)


def columns_not_in_all(tables: Sequence[pa.Table]) -> tuple[str, ...]:
    """The columns that some of the tables have and others have not."""
    return tuple(
        original
        for original in _originals(tables)
        if original is not None and any(_column(table, original) is None for table in tables)
    )


def _form_of_all(
    found: Sequence[tuple[Column, pa.ChunkedArray] | None], places: Sequence[str]
) -> _Form:
    there = [(place, one) for place, one in zip(places, found, strict=True) if one is not None]
    return reduce(_promoted, [(place, _form(*one)) for place, one in there])[1]


def _originals(tables: Iterable[pa.Table]) -> list[str | None]:
    """The names of all columns in the order in which they first occur; None is the index."""
    names = (column_of(field).original for table in tables for field in table.schema)
    return list(dict.fromkeys(names))


def _column(table: pa.Table, original: str | None) -> tuple[Column, pa.ChunkedArray] | None:
    for position, field in enumerate(table.schema):
        described = column_of(field)
        if described.original == original:
            return structs.replace(described, name=field.name), table.column(position)
    return None


def _form(column: Column, array: pa.ChunkedArray) -> _Form:
    if pa.types.is_dictionary(array.type):
        categories = _categories(column, array)
        return _Form(column, array.type.value_type, categories, blank=not len(categories))
    return _Form(column, array.type, None, blank=array.null_count == len(array))


def _categories(column: Column, array: pa.ChunkedArray) -> pa.Array:
    if column.values:
        return pa.array(column.values, array.type.value_type)
    chunks = array.unify_dictionaries().chunks
    return chunks[0].dictionary if chunks else pa.array([], array.type.value_type)


def _promoted(one: tuple[str, _Form], other: tuple[str, _Form]) -> tuple[str, _Form]:
    """The form that holds the values of both exactly."""
    (place, ours), (their_place, theirs) = one, other
    form = _common(ours, theirs)
    if form is None:
        msg = (
            f"column {ours.column.original!r} is of {ours} in {place}, but of {theirs} in "
            f"{their_place}, which no column can hold as they are; make them alike, or rename one"
        )
        raise InputError(msg)
    # Whose type it is: one without a value has none.
    return (their_place if ours.blank and not theirs.blank else place, form)


def _common(one: _Form, other: _Form) -> _Form | None:
    if one.blank or other.blank:
        return other if one.blank and not other.blank else one
    if one.categories is not None and other.categories is not None:
        return _common_categories(one, other)
    one, other = _of_values(one), _of_values(other)
    if _is_number(one.type) and _is_number(other.type):
        return _common_number(one, other)
    if one.type == other.type:
        same = one.column.dtype == other.column.dtype or pa.types.is_string(one.type)
        dtype = one.column.dtype if same else pandas_type(one.type, nullable=_nullable(one, other))
        return replace(one, column=structs.replace(one.column, dtype=dtype))
    return _common_time(one, other)


def _common_categories(one: _Form, other: _Form) -> _Form | None:
    values = _common(_of_values(one), _of_values(other))
    lists = [form.categories for form in (one, other) if form.categories is not None]
    if values is None or one.column.ordered != other.column.ordered:
        return None
    try:
        ours, theirs = (categories.cast(values.type).to_pylist() for categories in lists)
    except pa.ArrowInvalid:
        return None
    merged = list(dict.fromkeys([*ours, *theirs]))
    if one.column.ordered:
        # An order of both is certain only where one list holds the other in its own order.
        merged = max(ours, theirs, key=len)
        if any([c for c in merged if c in set(part)] != part for part in (ours, theirs)):
            return None
    return _Form(
        structs.replace(one.column, categories=values.column.dtype, values=None),
        values.type,
        pa.array(merged, values.type),
        blank=False,
    )


def _of_values(form: _Form) -> _Form:
    """The form of the values themselves, where they are categories."""
    if form.categories is None:
        return form
    column = Column(
        form.column.name,
        form.column.original,
        form.column.categories or "object",
        missing=form.column.missing,
    )
    return _Form(column, form.type, None, blank=False)


def _common_number(one: _Form, other: _Form) -> _Form:
    types = [np.dtype(form.type.to_pandas_dtype()) for form in (one, other)]
    common = np.result_type(*types)
    if common.kind == "f" and all(dtype.kind in "iu" for dtype in types):
        # Of signed and unsigned 64 bits: a value that int64 does not hold is found by the cast.
        common = np.dtype(np.int64)
    dtype = pa.from_numpy_dtype(common)
    name = pandas_type(dtype, nullable=_nullable(one, other))
    return replace(one, column=structs.replace(one.column, dtype=name), type=dtype)


def _common_time(one: _Form, other: _Form) -> _Form | None:
    for kind in (pa.types.is_timestamp, pa.types.is_duration):
        if kind(one.type) and kind(other.type):
            if getattr(one.type, "tz", None) != getattr(other.type, "tz", None):
                return None
            units = ("s", "ms", "us", "ns")
            return max(one, other, key=lambda form: units.index(form.type.unit))
    return None


def _is_number(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_integer(dtype) or pa.types.is_floating(dtype))


def _nullable(*forms: _Form) -> bool:
    """Whether one of the pandas types has missing values: "Int64" has, "int64" has none."""
    return any(f.column.dtype == "boolean" or not f.column.dtype.islower() for f in forms)


def _cast_all(
    found: Sequence[tuple[Column, pa.ChunkedArray] | None],
    form: _Form,
    lengths: Sequence[int],
    places: Sequence[str],
) -> list[pa.ChunkedArray]:
    """A column of each input in the common form; missing values where there is no such column."""
    pieces = []
    for one, n_rows, place in zip(found, lengths, places, strict=True):
        try:
            pieces.append(_cast(one, form, n_rows))
        except pa.ArrowInvalid as error:
            raise _inexact(found, places, place, form, error) from error
    return pieces


def _inexact(
    found: Sequence[tuple[Column, pa.ChunkedArray] | None],
    places: Sequence[str],
    place: str,
    form: _Form,
    error: pa.ArrowInvalid,
) -> InputError:
    """The refusal of a column of which the common type does not hold a value of one input."""
    forms = {at: _form(*one) for at, one in zip(places, found, strict=True) if one is not None}
    mine = forms.pop(place)
    other = next((at for at in forms if str(forms[at]) != str(mine)), place)
    return InputError(
        f"column {mine.column.original!r} is of {mine} in {place}, but of "
        f"{forms.get(other, mine)} in {other}, and {form.type}, which would hold both, does not "
        f"hold every value exactly ({error}); make them alike, or rename one"
    )


def _cast(
    found: tuple[Column, pa.ChunkedArray] | None, form: _Form, n_rows: int
) -> pa.ChunkedArray:
    dtype = form.type if form.categories is None else pa.dictionary(pa.int32(), form.type)
    if found is None or _form(*found).blank:
        return pa.chunked_array([_dictionary(pa.nulls(n_rows, _stored_type(form)), form)])
    column, array = found
    if form.categories is not None:
        return pa.chunked_array([_recoded(column, array, form)])
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    return array.cast(dtype)


def _concat_columns(pieces: Sequence[pa.ChunkedArray], form: _Form) -> Any:
    plain = [_plain(chunk) for piece in pieces for chunk in piece.chunks]
    whole = pa.chunked_array(plain, _stored_type(form))
    # One array of categories: Lance would add up the lists of several.
    return _dictionary(whole, form)


def _stored_type(form: _Form) -> pa.DataType:
    return form.type if form.categories is None else pa.int32()


def _recoded(column: Column, array: pa.ChunkedArray, form: _Form) -> pa.DictionaryArray:
    """The same categories by their places in the common list."""
    own = _categories(column, array).cast(form.type).to_pylist()
    # By Python's equality, as they were united: to Arrow zeros of both signs are two values.
    known = {} if form.categories is None else dict(_numbered(form.categories))
    places = pa.array([known[category] for category in own], pa.int32())
    whole = array.unify_dictionaries()
    indices = pa.chunked_array([chunk.indices for chunk in whole.chunks], pa.int32())
    return _dictionary(places.take(indices.combine_chunks()), form)


def _numbered(categories: pa.Array) -> Iterable[tuple[Any, int]]:
    return ((category, place) for place, category in enumerate(categories.to_pylist()))


def _dictionary(values: Any, form: _Form) -> Any:
    if form.categories is None:
        return values
    return pa.DictionaryArray.from_arrays(_whole(values), form.categories)


def _plain(values: Any) -> Any:
    """The positions of categories, or the values themselves."""
    return values.indices if pa.types.is_dictionary(values.type) else values


def _placed(column: pa.ChunkedArray, rows: NDArray[np.int64]) -> Any:
    """The values of these rows in their order; −1 stands for none."""
    return _whole(column).take(pa.array(rows, mask=rows < 0))


def _whole(values: Any) -> Any:
    combined = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if isinstance(combined, pa.ChunkedArray):
        return combined.chunk(0) if combined.num_chunks else pa.array([], values.type)
    return combined


def _disagree(one: Any, other: Any) -> bool:
    if pa.types.is_float16(one.type):
        # Arrow compares no half floats.
        one, other = one.cast(pa.float32()), other.cast(pa.float32())
    differ = pc.not_equal(_plain(one), _plain(other))
    if pa.types.is_floating(one.type):
        both_missing = pc.and_(pc.is_nan(one), pc.is_nan(other))
        differ = pc.and_not(differ, both_missing)
    return bool(pc.any(differ).as_py())


def _described(form: _Form, whole: Any) -> tuple[Any, Column]:
    """The column of all inputs, and what it is: where values are missing its type can say so."""
    column = form.column
    if form.categories is not None:
        values = form.categories.to_pylist() if whole.null_count == len(whole) else None
        return whole, structs.replace(column, dtype="category", values=values)
    if whole.null_count and pa.types.is_float16(whole.type):
        # pandas has no half floats that may be missing.
        whole = whole.cast(pa.float32())
    plain = column.dtype.islower() and column.dtype not in {"object", "boolean"}
    number = _is_number(whole.type) or pa.types.is_boolean(whole.type)
    if whole.null_count and plain and number:
        return whole, structs.replace(column, dtype=pandas_type(whole.type, nullable=True))
    return whole, column
