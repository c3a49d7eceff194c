"""What a SOMA measurement holds beside its X layers, as the slots of an AnnData."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from slaf.errors import DamagedInput
from slaf.sources.soma.layer import ARRAYS, soma_errors
from slaf.sources.soma.tables import INDEX_NAME, JOIN_ID, copy_table, positions_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["ALIGNED", "PAIRED", "element_of", "left_beside_raw", "left_of", "names_of", "uns_of"]

ALIGNED: Final = ("obsm", "varm")
PAIRED: Final = ("obsp", "varp")
_OF_MEASUREMENT: Final = frozenset({"var", "X", "uns", *ALIGNED, *PAIRED})
_MATRIX_DIMENSIONS: Final = 2
_COLLECTION: Final = "SOMACollection"
_FRAME: Final = "SOMADataFrame"
_SPARSE: Final = "SOMASparseNDArray"

# What else a collection has of its own among its metadata.
_RESERVED: Final = "soma_"

# How tiledbsoma.io says that a table of uns was an array of text:
# https://github.com/single-cell-data/TileDB-SOMA/blob/main/apis/python/src/tiledbsoma/io/_common.py
_HINT: Final = "soma_uns_outgest_hint"
_LINE, _PLANE = "array_1d", "array_2d"
_VALUES, _VALUES_OF = "values", "values_"

# A sparse array of obsm or varm is given dense; of so many elements only if it is filled.
_MOST_ELEMENTS: Final = 1 << 26
_SPARSEST: Final = 64


def names_of(measurement: Any, slot: str) -> list[str]:
    """The elements of a slot that are taken: for obsm and the like the numeric matrices."""
    if slot not in measurement:
        return []
    return [name for name in measurement[slot] if _is_matrix(measurement[slot][name])]


def left_of(measurement: Any) -> tuple[str, ...]:
    """In words, what a measurement holds that is not taken."""
    found = [f"{name} of the measurement" for name in measurement if name not in _OF_MEASUREMENT]
    for slot in (*ALIGNED, *PAIRED):
        there = list(measurement[slot]) if slot in measurement else []
        taken = names_of(measurement, slot)
        names = [name for name in there if name not in taken]
        if names:
            found.append(f"{slot} ({', '.join(names)})")
    strange = list(_strange(measurement["uns"], "")) if "uns" in measurement else []
    return (*found, f"uns ({', '.join(strange)})") if strange else tuple(found)


def left_beside_raw(raw: Any) -> tuple[str, ...]:
    """In words, what the measurement raw holds beside its X, var and varm, which are taken."""
    there = [
        f"{slot} ({', '.join(raw[slot])})"
        for slot in ("obsm", *PAIRED)
        if slot in raw and len(raw[slot])
    ]
    return (*left_of(raw), *there)


def element_of(
    measurement: Any, slot: str, name: str, ids: NDArray[np.int64], place: str
) -> NDArray[Any] | Any:
    """A matrix of obsm, varm, obsp or varp.

    Parameters
    ----------
    measurement
        An open measurement.
    slot, name
        Which.
    ids
        The join ids of cells or genes, ascending.
    place
        Where the measurement is, for errors.

    Returns
    -------
    NDArray or csr_matrix
        Its rows (of obsp and varp its columns too) in the order of the join ids; as
        `tiledbsoma.io.to_anndata` has it: of obsp and varp sparse, of obsm and varm dense.

    Raises
    ------
    DamagedInput
        If it cannot be read, or has entries of cells or genes that are none.
    """
    place = f"{place}, {slot} {name}"
    with soma_errors(place):
        array = measurement[slot][name]
        paired = slot in PAIRED
        if not array.is_sparse:
            return _dense(array, ids, place, paired=paired)
        rows, columns, values = _entries(array)
        stray = f"{place} has an entry"
        rows = positions_of(rows, ids, stray)
        if paired:
            return _matrix(rows, positions_of(columns, ids, stray), values, (len(ids),) * 2)
        width = _width(array, columns)
        if len(ids) * width > max(_MOST_ELEMENTS, _SPARSEST * len(values)):
            msg = (
                f"{place} is of {len(ids):,} × {width:,} elements, of which it has {len(values):,}"
            )
            raise DamagedInput(msg)
        return _matrix(rows, columns, values, (len(ids), width)).toarray()


def uns_of(collection: Any, place: str) -> dict[str, Any]:
    """The uns of a measurement, as `tiledbsoma.io.to_anndata` has it."""
    found: dict[str, Any] = {}
    with soma_errors(place):
        for name in collection:
            element, where = collection[name], f"{place}[{name!r}]"
            if element.soma_type == _COLLECTION:
                found[name] = uns_of(element, where)
            elif _is_known(element):
                found[name] = _leaf(element, where)
        # tiledbsoma.io keeps scalars there.
        scalars = {
            name: value
            for name, value in collection.metadata.items()
            if not name.startswith(_RESERVED) and _is_scalar(value)
        }
    return found | scalars


def _is_matrix(element: Any) -> bool:
    return (
        element.soma_type in ARRAYS
        and element.ndim == _MATRIX_DIMENSIONS
        and _is_numeric(element.schema.field("soma_data").type)
    )


def _is_numeric(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_integer(dtype) or pa.types.is_floating(dtype))


def _is_known(element: Any) -> bool:
    if element.soma_type == _FRAME:
        return all(map(_has_a_place, element.schema.types))
    return element.soma_type in ARRAYS and _is_numeric(element.schema.field("soma_data").type)


def _has_a_place(dtype: pa.DataType) -> bool:
    """Whether anndata writes a column of what pandas makes of this type."""
    if pa.types.is_dictionary(dtype):
        dtype = dtype.value_type
    texts = pa.types.is_string(dtype) or pa.types.is_large_string(dtype)
    return bool(texts or pa.types.is_boolean(dtype) or _is_numeric(dtype))


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | bool | int | float | np.number | np.bool_)


def _strange(collection: Any, above: str) -> Iterator[str]:
    for name in collection:
        element = collection[name]
        if element.soma_type == _COLLECTION:
            yield from _strange(element, f"{above}{name}/")
        elif not _is_known(element):
            yield above + name
    for name, value in collection.metadata.items():
        if not name.startswith(_RESERVED) and not _is_scalar(value):
            yield above + name


def _dense(array: Any, ids: NDArray[np.int64], place: str, *, paired: bool) -> NDArray[Any]:
    if not len(ids):
        return np.empty((0, 0 if paired else array.shape[1]), _dtype(array))
    sizes = array.shape if paired else array.shape[:1]
    if ids[-1] >= min(sizes):
        msg = f"{place} is of {min(sizes):,} rows, but there is the join id {ids[-1]}"
        raise DamagedInput(msg)
    # Where nothing was written TileDB gives the least of all integers.
    written = array.non_empty_domain()
    needed = [(int(ids[0]), int(ids[-1]))] * (1 + paired)
    needed += [] if paired else [(0, array.shape[1] - 1)]
    if written is None or any(
        low < first or last < high
        for (first, last), (low, high) in zip(written, needed, strict=True)
    ):
        msg = f"{place} is dense, but was not written for all of it"
        raise DamagedInput(msg)
    # Slices include both ends.
    block = array.read(tuple(slice(low, high) for low, high in needed)).to_numpy()
    at = ids - ids[0]
    # By an index it is copied, and TileDB's own memory let go of.
    return np.asarray(block[at][:, at] if paired else block[at])


def _dtype(array: Any) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(array.schema.field("soma_data").type.to_pandas_dtype())
    return dtype


def _matrix(
    rows: NDArray[Any], columns: NDArray[Any], values: NDArray[Any], shape: tuple[int, int]
) -> Any:
    import scipy.sparse as sp

    return sp.csr_matrix((values, (rows, columns)), shape=shape)


def _entries(array: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    table = copy_table(array.read(result_order="row-major").tables().concat())
    names = ("soma_dim_0", "soma_dim_1", "soma_data")
    rows, columns, values = (table.column(name).to_numpy() for name in names)
    return rows, columns, values


def _width(array: Any, columns: NDArray[Any]) -> int:
    # Before 1.15 the shape was what there was room for.
    if array.tiledbsoma_has_upgraded_shape:
        return int(array.shape[1])
    return int(columns.max()) + 1 if len(columns) else 0


def _leaf(element: Any, place: str) -> Any:
    with soma_errors(place):
        if element.soma_type == _FRAME:
            return _frame(element, place)
        if element.soma_type == _SPARSE:
            return copy_table(element.read().tables().concat()).to_pandas()
        return np.array(element.read().to_numpy())


def _frame(element: Any, place: str) -> pd.DataFrame | NDArray[Any]:
    hint = element.metadata.get(_HINT)
    frame: pd.DataFrame = copy_table(element.read().concat()).to_pandas().drop(columns=JOIN_ID)
    if hint == _LINE:
        return np.asarray(list(frame[_VALUES]))
    if hint == _PLANE:
        columns = [list(frame[f"{_VALUES_OF}{at}"]) for at in range(frame.shape[1])]
        return np.asarray(columns).transpose()
    index = json.loads(element.metadata.get(INDEX_NAME, "null"))
    if index is not None and index not in frame.columns:
        msg = f"{place} has no column {index!r}, which is said to be its index"
        raise DamagedInput(msg)
    if index is None and "index" in frame.columns:
        return frame.set_index("index").rename_axis(None)
    return frame if index is None else frame.set_index(index)
