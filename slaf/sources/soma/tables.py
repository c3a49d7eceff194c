"""The tables obs and var of a SOMA experiment, in the order of their join ids."""

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

# Under this key tiledbsoma.io keeps the name of what was the index of obs or var.
INDEX_NAME = "soma_dataframe_original_index_name"

# What the id is called: by tiledbsoma, by the CELLxGENE census, by others.
_ID_COLUMNS = {
    "cell_id": ("obs_id", "cell_id", "barcode", "barcodes", "index", "_index"),
    "gene_id": ("var_id", "feature_id", "gene_id", "gene_ids", "index", "_index"),
}


def read_sorted(parent: Any, name: str, place: str) -> pa.Table:
    """The table of this name, read whole.

    Raises
    ------
    DamagedInput
        If it is not there, or a join id is missing or there twice.
    """
    if name not in parent:
        msg = f"{place}: there is no {name}"
        raise DamagedInput(msg)
    table = parent[name].read().concat()
    try:
        table.validate(full=True)
    except pa.ArrowInvalid as error:
        msg = f"{place}: {name} contradicts itself ({error})"
        raise DamagedInput(msg) from error
    table = copy_table(table)
    if table.column(JOIN_ID).null_count:
        msg = f"{place}: {name} has rows without a join id"
        raise DamagedInput(msg)
    steps = np.diff(table.column(JOIN_ID).to_numpy())
    if (steps <= 0).any():
        table = table.sort_by(JOIN_ID)
        steps = np.diff(table.column(JOIN_ID).to_numpy())
    if (steps == 0).any():
        twice = table.column(JOIN_ID)[int(np.argmin(steps))]
        msg = f"{place}: {name} has the join id {twice} twice"
        raise DamagedInput(msg)
    return table


def copy_table(table: pa.Table) -> pa.Table:
    """A copy in memory that is pyarrow's own.

    What TileDB read lies in memory of TileDB, which pyarrow gives back to it from whichever
    thread lets go of it last.
    """
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return pa.ipc.open_stream(sink.getvalue()).read_all()


def positions_of(joins: NDArray[Any], ids: NDArray[np.int64], place: str) -> NDArray[np.int64]:
    """Where join ids stand among those that there are, which are ascending.

    Raises
    ------
    DamagedInput
        If one is none of them.
    """
    found: NDArray[np.int64]
    if len(ids) and ids[-1] - ids[0] == len(ids) - 1:
        found = np.subtract(joins, ids[0], dtype=np.int64)
        # Seen as unsigned a negative position is a huge one: one pass finds both.
        if not len(found) or found.view(np.uint64).max() < len(ids):
            return found
        inside = (found >= 0) & (found < len(ids))
    else:
        found = np.searchsorted(ids, joins)
        inside = np.append(ids, -1)[found] == joins
    if not inside.all():
        msg = f"{place} with the join id {joins[~inside][0]}, which is none"
        raise DamagedInput(msg)
    return found


def with_id_column(
    frame: tiledbsoma.DataFrame, table: pa.Table, id_name: str, place: str
) -> pa.Table:
    """A table of SOMA with the id first.

    Parameters
    ----------
    frame, table
        obs or var, and what was read of it.
    id_name
        "cell_id" or "gene_id".
    place
        Where it is, for errors.

    Raises
    ------
    InputError
        If an id is missing, or is no text.
    """
    index_name = json.loads(frame.metadata.get(INDEX_NAME, "null"))
    known = (index_name, *_ID_COLUMNS[id_name])
    found = next((name for name in known if name in table.column_names), None) or _only_id(table)
    try:
        ids = table.column(found).cast(pa.string())
    except pa.ArrowInvalid as error:
        msg = f"{place}: {found}, which holds the ids of {frame.uri}, is not text ({error})"
        raise InputError(msg) from error
    if ids.null_count:
        msg = f"{place}: {found}, which holds the ids of {frame.uri}, has missing values"
        raise InputError(msg)
    columns = {name: table.column(name) for name in table.column_names if name != found}
    return arrow_table(id_name, ids, columns, index_name if found == index_name else None)


def _only_id(table: pa.Table) -> str:
    """The only column of text that tells all rows apart, or else the join ids."""
    texts = [
        field.name
        for field in table.schema
        if pa.types.is_large_string(field.type) or pa.types.is_string(field.type)
    ]
    told = [name for name in texts if pc.count_distinct(table.column(name)).as_py() == len(table)]
    return told[0] if len(told) == 1 else JOIN_ID
