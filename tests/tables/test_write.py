"""Writing a table: what its rows raise is raised as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from slaf.storage import Location
from slaf.tables.write import write_part

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
