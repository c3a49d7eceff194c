"""obs and var of a SOMA experiment, by join id."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from slaf.annotations.columns import arrow_table
from slaf.errors import DamagedInput, InputError

if TYPE_CHECKING:
    import tiledbsoma
    from numpy.typing import NDArray

__all__ = ["INDEX_NAME", "JOIN_ID", "copy_table", "positions_of", "read_sorted", "with_id_column"]

JOIN_ID = "soma_joinid"

# The metadata key of tiledbsoma.io for the name of the index of obs or var.
INDEX_NAME = "soma_dataframe_original_index_name"

# The names of the id column: of tiledbsoma, of the CELLxGENE census, of others.
_ID_COLUMNS = {
    "cell_id": ("obs_id", "cell_id", "barcode", "barcodes", "index", "_index"),
    "gene_id": ("var_id", "feature_id", "gene_id", "gene_ids", "index", "_index"),
}


def read_sorted(parent: Any, name: str, label: str) -> pa.Table:
    """A whole table, sorted by join id.

    Raises
    ------
    DamagedInput
        If there is none, or a join id is missing or repeated.
    """
    if name not in parent:
        msg = f"{label}: there is no {name}"
        raise DamagedInput(msg)
    table = parent[name].read().concat()
    try:
        table.validate(full=True)
    except pa.ArrowInvalid as error:
        msg = f"{label}: {name} contradicts itself ({error})"
        raise DamagedInput(msg) from error
    table = copy_table(table)
    if table.column(JOIN_ID).null_count:
        msg = f"{label}: {name} has rows without a join id"
        raise DamagedInput(msg)
    steps = np.diff(table.column(JOIN_ID).to_numpy())
    if (steps <= 0).any():
        table = table.sort_by(JOIN_ID)
        steps = np.diff(table.column(JOIN_ID).to_numpy())
    if (steps == 0).any():
        repeated = table.column(JOIN_ID)[int(np.argmin(steps))]
        msg = f"{label}: {name} has the join id {repeated} twice"
        raise DamagedInput(msg)
    return table


def copy_table(table: pa.Table) -> pa.Table:
    """A copy in the memory of pyarrow.

    The original is in the memory of TileDB, which pyarrow would free in any thread.
    """
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return pa.ipc.open_stream(sink.getvalue()).read_all()


def positions_of(joins: NDArray[Any], ids: NDArray[np.int64], label: str) -> NDArray[np.int64]:
    """The positions of join ids among the known ones, which ascend.

    Raises
    ------
    DamagedInput
        If one is unknown.
    """
    positions: NDArray[np.int64]
    if len(ids) and ids[-1] - ids[0] == len(ids) - 1:
        positions = np.subtract(joins, ids[0], dtype=np.int64)
        # As unsigned a negative position is a huge one: one pass finds both.
        if not len(positions) or positions.view(np.uint64).max() < len(ids):
            return positions
        known = (positions >= 0) & (positions < len(ids))
    else:
        positions = np.searchsorted(ids, joins)
        known = np.append(ids, -1)[positions] == joins
    if not known.all():
        msg = f"{label} with the join id {joins[~known][0]}, which is none"
        raise DamagedInput(msg)
    return positions


def with_id_column(
    frame: tiledbsoma.DataFrame, table: pa.Table, id_name: str, label: str
) -> pa.Table:
    """A table of SOMA with the id first.

    Parameters
    ----------
    frame, table
        obs or var, and its rows.
    id_name
        "cell_id" or "gene_id".
    label
        Its location, for errors.

    Raises
    ------
    InputError
        If an id is missing, or not text.
    """
    index_name = json.loads(frame.metadata.get(INDEX_NAME, "null"))
    known = (index_name, *_ID_COLUMNS[id_name])
    column = next((name for name in known if name in table.column_names), None) or _only_id(table)
    try:
        ids = table.column(column).cast(pa.string())
    except pa.ArrowInvalid as error:
        msg = f"{label}: {column}, which holds the ids of {frame.uri}, is not text ({error})"
        raise InputError(msg) from error
    if ids.null_count:
        msg = f"{label}: {column}, which holds the ids of {frame.uri}, has missing values"
        raise InputError(msg)
    columns = {name: table.column(name) for name in table.column_names if name != column}
    return arrow_table(id_name, ids, columns, index_name if column == index_name else None)


def _only_id(table: pa.Table) -> str:
    """The only column of text without repeated values, or else the join ids."""
    texts = [
        field.name
        for field in table.schema
        if pa.types.is_large_string(field.type) or pa.types.is_string(field.type)
    ]
    unique = [name for name in texts if pc.count_distinct(table.column(name)).as_py() == len(table)]
    return unique[0] if len(unique) == 1 else JOIN_ID
