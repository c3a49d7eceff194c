"""obsm, varm, obsp, varp and uns of a SOMA measurement, as those of an AnnData."""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from slaf.errors import DamagedInput
from slaf.sources.slots import in_words
from slaf.sources.soma.layer import ARRAYS, is_written, soma_errors
from slaf.sources.soma.tables import INDEX_NAME, JOIN_ID, copy_table, positions_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from numpy.typing import NDArray

__all__ = [
    "SLOTS",
    "not_converted",
    "raw_not_converted",
    "read_element",
    "read_uns",
    "slot_names",
]

SLOTS: Final = ("obsm", "varm", "obsp", "varp")
_PAIRED: Final = ("obsp", "varp")
_MEASUREMENT_MEMBERS: Final = frozenset({"var", "X", "uns", *SLOTS})
_MATRIX_DIMENSIONS: Final = 2
_COLLECTION: Final = "SOMACollection"
_FRAME: Final = "SOMADataFrame"
_SPARSE: Final = "SOMASparseNDArray"

# The prefix of the metadata of SOMA itself.
_RESERVED: Final = "soma_"

# The mark of tiledbsoma.io for a table of uns that was an array of text:
# https://github.com/single-cell-data/TileDB-SOMA/blob/main/apis/python/src/tiledbsoma/io/_common.py
_HINT: Final = "soma_uns_outgest_hint"
_LINE, _PLANE = "array_1d", "array_2d"
_VALUES, _VALUES_OF = "values", "values_"

# A sparse array of obsm or varm becomes dense; a larger one only if enough of it is filled.
_MOST_ELEMENTS: Final = 1 << 26
_SPARSEST: Final = 64


def slot_names(measurement: Any, slot: str) -> list[str]:
    """The names of the numeric matrices in obsm, varm, obsp or varp."""
    if slot not in measurement:
        return []
    return [name for name, element in measurement[slot].items() if _is_matrix(element)]


def not_converted(measurement: Any) -> tuple[str, ...]:
    """The content of a measurement that a conversion leaves out, in words."""
    left = [
        f"{name} of the measurement" for name in measurement if name not in _MEASUREMENT_MEMBERS
    ]
    for slot in (slot for slot in SLOTS if slot in measurement):
        converted = slot_names(measurement, slot)
        left += in_words(slot, [name for name in measurement[slot] if name not in converted])
    unknown = _unknown_elements(measurement["uns"], "") if "uns" in measurement else ()
    return (*left, *in_words("uns", list(unknown)))


def raw_not_converted(raw: Any) -> tuple[str, ...]:
    """The content of the measurement raw that a conversion leaves out: all but X, var and varm."""
    slots = (in_words(slot, list(raw[slot])) for slot in ("obsm", *_PAIRED) if slot in raw)
    return (*not_converted(raw), *chain.from_iterable(slots))


def read_element(
    measurement: Any, slot: str, name: str, ids: NDArray[np.int64], label: str
) -> NDArray[Any] | Any:
    """A matrix of obsm, varm, obsp or varp.

    Parameters
    ----------
    measurement
        An open measurement.
    slot, name
        The element.
    ids
        The join ids of cells or genes, ascending.
    label
        The measurement, for errors.

    Returns
    -------
    NDArray or csr_matrix
        Rows (in obsp and varp columns too) in the order of the join ids, as from
        `tiledbsoma.io.to_anndata`: obsp and varp sparse, obsm and varm dense.

    Raises
    ------
    DamagedInput
        If it cannot be read, or has entries of unknown cells or genes.
    """
    import scipy.sparse as sp

    label = f"{label}, {slot} {name}"
    with soma_errors(label):
        array = measurement[slot][name]
        paired = slot in _PAIRED
        if not array.is_sparse:
            return _dense(array, ids, label, paired=paired)
        rows, columns, values = _entries(array)
        entry = f"{label} has an entry"
        rows = positions_of(rows, ids, entry)
        if paired:
            columns = positions_of(columns, ids, entry)
            return sp.csr_matrix((values, (rows, columns)), shape=(len(ids),) * 2)
        width = _width(array, columns)
        if len(ids) * width > max(_MOST_ELEMENTS, _SPARSEST * len(values)):
            msg = (
                f"{label} has {len(values):,} of {len(ids):,} × {width:,} elements: too few for a "
                "dense array"
            )
            raise DamagedInput(msg)
        return sp.csr_matrix((values, (rows, columns)), shape=(len(ids), width)).toarray()


def read_uns(collection: Any, label: str) -> dict[str, Any]:
    """The uns of a measurement, as from `tiledbsoma.io.to_anndata`."""
    uns: dict[str, Any] = {}
    with soma_errors(label):
        for name in collection:
            element, key = collection[name], f"{label}[{name!r}]"
            if element.soma_type == _COLLECTION:
                uns[name] = read_uns(element, key)
            elif _is_known(element):
                uns[name] = _read_leaf(element, key)
        # tiledbsoma.io writes scalars as metadata.
        scalars = {
            name: value
            for name, value in collection.metadata.items()
            if not name.startswith(_RESERVED) and _is_scalar(value)
        }
    return uns | scalars


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
        return all(map(_is_writable, element.schema.types))
    return element.soma_type in ARRAYS and _is_numeric(element.schema.field("soma_data").type)


def _is_writable(dtype: pa.DataType) -> bool:
    """Whether anndata writes a column of this type, read by pandas."""
    if pa.types.is_dictionary(dtype):
        dtype = dtype.value_type
    texts = pa.types.is_string(dtype) or pa.types.is_large_string(dtype)
    return bool(texts or pa.types.is_boolean(dtype) or _is_numeric(dtype))


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | bool | int | float | np.number | np.bool_)


def _unknown_elements(collection: Any, prefix: str) -> Iterator[str]:
    """The paths of elements of uns that an AnnData cannot hold."""
    for name in collection:
        element = collection[name]
        if element.soma_type == _COLLECTION:
            yield from _unknown_elements(element, f"{prefix}{name}/")
        elif not _is_known(element):
            yield prefix + name
    for name, value in collection.metadata.items():
        if not name.startswith(_RESERVED) and not _is_scalar(value):
            yield prefix + name


def _dense(array: Any, ids: NDArray[np.int64], label: str, *, paired: bool) -> NDArray[Any]:
    if not len(ids):
        dtype = array.schema.field("soma_data").type.to_pandas_dtype()
        return np.empty((0, 0 if paired else array.shape[1]), dtype)
    sizes = array.shape if paired else array.shape[:1]
    if ids[-1] >= min(sizes):
        msg = f"{label} is of {min(sizes):,} rows, but there is the join id {ids[-1]}"
        raise DamagedInput(msg)
    needed = [(int(ids[0]), int(ids[-1]))] * (1 + paired)
    needed += [] if paired else [(0, array.shape[1] - 1)]
    if not is_written(array, needed):
        msg = f"{label} is dense, but was not written for all of it"
        raise DamagedInput(msg)
    # Slices of TileDB include both ends.
    block = array.read(tuple(slice(low, high) for low, high in needed)).to_numpy()
    at = ids - ids[0]
    # Indexing makes a copy, and frees the memory of TileDB.
    return np.asarray(block[at][:, at] if paired else block[at])


def _entries(array: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    table = copy_table(array.read(result_order="row-major").tables().concat())
    names = ("soma_dim_0", "soma_dim_1", "soma_data")
    rows, columns, values = (table.column(name).to_numpy() for name in names)
    return rows, columns, values


def _width(array: Any, columns: NDArray[Any]) -> int:
    # Before 1.15 the shape was the capacity.
    if array.tiledbsoma_has_upgraded_shape:
        return int(array.shape[1])
    return int(columns.max()) + 1 if len(columns) else 0


def _read_leaf(element: Any, label: str) -> Any:
    with soma_errors(label):
        if element.soma_type == _FRAME:
            return _read_frame(element, label)
        if element.soma_type == _SPARSE:
            return copy_table(element.read().tables().concat()).to_pandas()
        return np.array(element.read().to_numpy())


def _read_frame(element: Any, label: str) -> pd.DataFrame | NDArray[Any]:
    hint = element.metadata.get(_HINT)
    frame: pd.DataFrame = copy_table(element.read().concat()).to_pandas().drop(columns=JOIN_ID)
    if hint == _LINE:
        return np.asarray(list(frame[_VALUES]))
    if hint == _PLANE:
        columns = [list(frame[f"{_VALUES_OF}{at}"]) for at in range(frame.shape[1])]
        return np.asarray(columns).transpose()
    index = json.loads(element.metadata.get(INDEX_NAME, "null"))
    if index is not None and index not in frame.columns:
        msg = f"{label} has no column {index!r}, its index by its metadata"
        raise DamagedInput(msg)
    if index is None and "index" in frame.columns:
        return frame.set_index("index").rename_axis(None)
    return frame if index is None else frame.set_index(index)
