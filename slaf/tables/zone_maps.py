"""ZONEMAP indices of sorted columns, computed from row offsets instead of from the rows."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import lance
import numpy as np
import pyarrow as pa
from lance.file import LanceFileReader, LanceFileWriter

from slaf.tables.errors import LANCE_ERRORS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lance.dataset import Index
    from numpy.typing import NDArray

    from slaf.storage.location import Location

__all__ = ["is_known_format", "zone_map"]

logger = logging.getLogger("slaf")

_ROWS_PER_ZONE: Final = 8192
_FILE: Final = "zonemap.lance"
_VERSION: Final = "2.1"

# The bitmap of zones with nulls, without any, is a global buffer of its own.
_NULL_BITMAP: Final = bytes(4)
_METADATA: Final = {"rows_per_zone": str(_ROWS_PER_ZONE), "null_bitmap": "1"}


def zone_map(  # noqa: PLR0917
    location: Location,
    name: str,
    dataset: lance.LanceDataset,
    column: str,
    index_name: str,
    fragments: Sequence[int],
    offsets: NDArray[np.int64],
) -> Index:
    """Write the segment of a ZONEMAP index; no version of the table names it yet.

    Parameters
    ----------
    location, name
        The table.
    dataset
        Its newest version.
    column
        A column of the positions 0, 1, 2, … that ascends.
    index_name
        The name of the index.
    fragments
        The ids of the fragments that the segment covers.
    offsets
        The first row of each position, and the number of all rows.
    """
    template, _ = _sample(dataset.schema.field(column).type)
    table = _zones(dataset, column, fragments, offsets)
    uuid = str(uuid4())
    file = f"{name}/_indices/{uuid}/{_FILE}"
    _write(location.uri(file), table, location.storage_options)
    size = location.size_of(file) or 0
    schema: Any = dataset.lance_schema
    segment: Index = replace(
        template,
        uuid=uuid,
        name=index_name,
        fields=[schema.field_case_insensitive(column).id()],
        dataset_version=dataset.version,
        fragment_ids=set(fragments),
        created_at=datetime.now(UTC),
        files=[replace(template.files[0], size_bytes=size)],
    )
    return segment


def is_known_format(dtype: pa.DataType) -> bool:
    """Whether the installed Lance writes the format of this module, for a column of this type.

    Lance indexes a small table; its file is compared with the one that this module makes.
    """
    try:
        return _sample(dtype)[1]
    except (*LANCE_ERRORS, AttributeError, TypeError) as error:
        logger.debug("the format of zone maps is unknown (%r)", error)
        return False


@cache
def _sample(dtype: pa.DataType) -> tuple[Any, bool]:
    """The index that Lance makes of a small table, and whether this module makes the same."""
    counts = np.array([0, _ROWS_PER_ZONE + 5, 1, 0, 4, 0])
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    ids = np.repeat(np.arange(len(counts)), counts)
    with tempfile.TemporaryDirectory(prefix="slaf-") as folder:
        path = Path(folder, "sample.lance")
        table = pa.table({"id": pa.array(ids, dtype)})
        dataset = lance.write_dataset(table, str(path), data_storage_version=_VERSION)
        index: Any = dataset.create_index_uncommitted("id", "ZONEMAP", "id_idx", fragment_ids=[0])
        own = path / "own.lance"
        _write(str(own), _zones(dataset, "id", [0], offsets), None)
        (file,) = index.files
        theirs = path / "_indices" / index.uuid / _FILE
        return index, file.path == _FILE and _content(theirs) == _content(own)


def _content(file: Path) -> tuple[Any, ...]:
    reader = LanceFileReader(str(file))
    metadata: Any = reader.metadata()
    buffers = [reader.read_global_buffer(at) for at in range(len(metadata.global_buffers))]
    schema = metadata.schema
    fields = [(field.name, field.type, field.nullable, field.metadata) for field in schema]
    version = (metadata.major_version, metadata.minor_version)
    # The first buffer is the schema, whose metadata have no order.
    rows = reader.read_all().to_table().to_pydict()
    return version, fields, schema.metadata, buffers[1:], rows


def _zones(
    dataset: lance.LanceDataset, column: str, fragments: Sequence[int], offsets: NDArray[np.int64]
) -> pa.Table:
    """The zones of some fragments, in their order."""
    starts, lengths, first_rows, ids = [], [], [], []
    begin, wanted = 0, set(fragments)
    for fragment in dataset.get_fragments():
        n_rows = fragment.count_rows()
        if fragment.fragment_id in wanted:
            zone = np.arange(0, n_rows, _ROWS_PER_ZONE, dtype=np.int64)
            starts.append(zone)
            lengths.append(np.minimum(n_rows - zone, _ROWS_PER_ZONE))
            first_rows.append(begin + zone)
            ids.append(np.full(len(zone), fragment.fragment_id))
        begin += n_rows
    first, length = np.concatenate(first_rows), np.concatenate(lengths)
    value_type, u32, u64 = dataset.schema.field(column).type, pa.uint32(), pa.uint64()
    none = np.zeros(len(first), np.uint32)
    columns: dict[str, tuple[pa.DataType, NDArray[Any]]] = {
        "min": (value_type, _positions(first, offsets)),
        "max": (value_type, _positions(first + length - 1, offsets)),
        "null_count": (u32, none),
        "nan_count": (u32, none),
        "fragment_id": (u64, np.concatenate(ids)),
        "zone_start": (u64, np.concatenate(starts)),
        "zone_length": (u64, length),
    }
    schema = pa.schema(
        [pa.field(key, kind, nullable=key in {"min", "max"}) for key, (kind, _) in columns.items()],
        _METADATA,
    )
    arrays = [pa.array(values).cast(kind) for kind, values in columns.values()]
    return pa.table(arrays, schema=schema)


def _positions(rows: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """The position that has each row; one without rows has the offset of the next."""
    return np.searchsorted(offsets, rows, side="right") - 1


def _write(uri: str, table: pa.Table, storage_options: dict[str, str] | None) -> None:
    with LanceFileWriter(
        uri, table.schema, version=_VERSION, storage_options=storage_options
    ) as writer:
        for batch in table.to_batches():
            writer.write_batch(batch)
        writer.add_global_buffer(_NULL_BITMAP)
