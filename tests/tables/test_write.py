"""Writing a table: what goes wrong is raised as what it is."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from slaf.errors import StorageError
from slaf.storage import Location
from slaf.tables.write import write_part, write_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA = pa.schema([("a", pa.int32())])


@pytest.mark.parametrize(
    "error", [KeyError("a"), MemoryError(), KeyboardInterrupt(), SystemExit(3)]
)
def test_what_the_rows_raise(error: BaseException, tmp_path: Path) -> None:
    """Whatever the rows raise, be it a Ctrl-C, is raised itself, and not as an error of Lance."""

    def rows() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch([pa.array([1], pa.int32())], schema=SCHEMA)
        raise error

    with pytest.raises(type(error)) as raised:
        write_part(Location(tmp_path), "a.lance", SCHEMA, rows())
    assert raised.value is error


def test_what_the_system_refuses(tmp_path: Path) -> None:
    """A refusal of the system is told with its reason, and without Lance's own source."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(StorageError) as refused:
            write_table(Location(tmp_path), "a.lance", pa.table({"a": [1]}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    told = str(refused.value)
    assert told.startswith(f"{tmp_path}: a.lance cannot be written: ")
    assert told.endswith("File too large (os error 27)")
