"""What a SOMA measurement holds beside its X layers, as the slots of an AnnData."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from slaf.errors import DamagedInput
from slaf.lazily import Lazily
from slaf.sources.base import Slots
from slaf.sources.soma_layer import reading_soma
from slaf.sources.soma_table import INDEX_NAME, JOIN_ID

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    import scipy.sparse as sp
    from numpy.typing import NDArray

__all__ = ["others_of", "slots_of"]

_ARRAYS: Final = frozenset({"SOMASparseNDArray", "SOMADenseNDArray"})
_COLLECTION: Final = "SOMACollection"
_FRAME: Final = "SOMADataFrame"
# How tiledbsoma.io says that a table of uns was an array of text:
# https://github.com/single-cell-data/TileDB-SOMA/blob/main/apis/python/src/tiledbsoma/io/_common.py
_HINT: Final = "soma_uns_outgest_hint"
_LINE, _PLANE = "array_1d", "array_2d"


def slots_of(
    measurement: Any, cell_ids: NDArray[np.int64], gene_ids: NDArray[np.int64], place: str
) -> Slots:
    """The slots of a measurement; each element is read when asked for.

    Parameters
    ----------
    measurement
        An open measurement.
    cell_ids, gene_ids
        The join ids, ascending.
    place
        Where it is, for errors.
    """

    def aligned(slot: str, ids: NDArray[np.int64]) -> Mapping[str, Any]:
        return Lazily(
            _arrays(measurement, slot),
            lambda name: _aligned(measurement[slot][name], ids, f"{place}, {slot} {name}"),
        )

    def paired(slot: str, ids: NDArray[np.int64]) -> Mapping[str, Any]:
        return Lazily(
            _arrays(measurement, slot),
            lambda name: _paired(measurement[slot][name], ids, f"{place}, {slot} {name}"),
        )

    return Slots(
        aligned("obsm", cell_ids),
        aligned("varm", gene_ids),
        paired("obsp", cell_ids),
        paired("varp", gene_ids),
        _uns(measurement["uns"], f"{place}, uns") if "uns" in measurement else {},
    )


def others_of(measurement: Any) -> tuple[str, ...]:
    """What stands in the slots and is not an array, by slot, in words."""
    found = []
    for slot in ("obsm", "varm", "obsp", "varp"):
        there = list(measurement[slot]) if slot in measurement else []
        taken = _arrays(measurement, slot)
        names = [name for name in there if name not in taken]
        if names:
            found.append(f"{slot} ({', '.join(names)})")
    return tuple(found)


def _arrays(measurement: Any, slot: str) -> list[str]:
    if slot not in measurement:
        return []
    held = measurement[slot]
    return [name for name in held if held[name].soma_type in _ARRAYS and held[name].ndim == 2]  # noqa: PLR2004


def _aligned(array: Any, ids: NDArray[np.int64], place: str) -> Any:
    with reading_soma(place):
        if not array.is_sparse:
            _check_size(array.shape[0], ids, place)
            return array.read().to_numpy()[ids]
        rows, columns, values = _entries(array)
        width = _width(array, columns)
        rows = _positions(rows, ids, place)
        # Embeddings are often written as sparse arrays; tiledbsoma.io too gives them back dense.
        return _matrix(rows, columns, values, (len(ids), width)).toarray()


def _paired(array: Any, ids: NDArray[np.int64], place: str) -> Any:
    with reading_soma(place):
        if not array.is_sparse:
            _check_size(min(array.shape), ids, place)
            return array.read().to_numpy()[ids][:, ids]
        rows, columns, values = _entries(array)
        rows, columns = (_positions(joins, ids, place) for joins in (rows, columns))
        return _matrix(rows, columns, values, (len(ids), len(ids)))


def _matrix(
    rows: NDArray[Any], columns: NDArray[Any], values: NDArray[Any], shape: tuple[int, int]
) -> sp.csr_matrix:
    import scipy.sparse as sp

    return sp.csr_matrix((values, (rows, columns)), shape=shape)


def _entries(array: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    table = array.read(result_order="row-major").tables().concat()
    rows, columns, values = (
        table.column(name).to_numpy() for name in ("soma_dim_0", "soma_dim_1", "soma_data")
    )
    return rows, columns, values


def _width(array: Any, columns: NDArray[Any]) -> int:
    # Before 1.15 the shape was what there was room for.
    if array.tiledbsoma_has_upgraded_shape:
        return int(array.shape[1])
    return int(columns.max()) + 1 if len(columns) else 0


def _positions(joins: NDArray[Any], ids: NDArray[np.int64], place: str) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.searchsorted(ids, joins)
    wrong = np.append(ids, -1)[found] != joins
    if wrong.any():
        msg = f"{place} has an entry of the join id {joins[wrong][0]}, which is none"
        raise DamagedInput(msg)
    return found


def _check_size(size: int, ids: NDArray[np.int64], place: str) -> None:
    if len(ids) and ids[-1] >= size:
        msg = f"{place} has {size:,} rows, but there is the join id {ids[-1]}"
        raise DamagedInput(msg)


def _uns(collection: Any, place: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with reading_soma(place):
        for name in collection:
            element = collection[name]
            where = f"{place}[{name!r}]"
            if element.soma_type == _COLLECTION:
                found[name] = _uns(element, where)
            elif element.soma_type == _FRAME:
                found[name] = _frame(element)
            elif element.soma_type == "SOMADenseNDArray":
                found[name] = element.read().to_numpy()
            elif element.soma_type in _ARRAYS and element.ndim == 2:  # noqa: PLR2004
                rows, columns, values = _entries(element)
                found[name] = _matrix(rows, columns, values, tuple(element.shape))
            else:
                msg = f"{where} is a {element.soma_type}, which uns has no room for; remove it"
                raise DamagedInput(msg)
        # tiledbsoma.io keeps scalars there.
        scalars = dict(collection.metadata.items())
    return found | {key: value for key, value in scalars.items() if not key.startswith("soma_")}


def _frame(element: Any) -> pd.DataFrame | NDArray[Any]:
    frame: pd.DataFrame = element.read().concat().to_pandas().drop(columns=JOIN_ID)
    hint = element.metadata.get(_HINT)
    if hint == _LINE:
        return np.asarray(frame[frame.columns[0]].tolist())
    if hint == _PLANE:
        columns = sorted(frame.columns, key=lambda name: int(name.rpartition("_")[2]))
        return np.asarray([frame[name].tolist() for name in columns]).transpose()
    name = json.loads(element.metadata.get(INDEX_NAME, "null"))
    index = name if name in frame.columns else "index"
    if index in frame.columns:
        frame = frame.set_index(index)
        frame.index.name = name
    return frame
