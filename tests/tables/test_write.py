"""Writing a table: what goes wrong is raised as what it is."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

import lance
import numpy as np
import pyarrow as pa
import pytest

import slaf
from slaf.errors import StorageError
from slaf.storage.location import Location
from slaf.tables.write import write_part, write_table
from tests.builders import counts, write_h5ad

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

SCHEMA = pa.schema([("a", pa.int32())])


@pytest.mark.parametrize(
    "error", [KeyError("a"), MemoryError(), KeyboardInterrupt(), SystemExit(3)]
)
def test_what_the_rows_raise(error: BaseException, tmp_path: Path) -> None:
    """An exception of the rows, also Ctrl-C, is raised itself, not as an error of Lance."""

    def rows() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch([pa.array([1], pa.int32())], schema=SCHEMA)
        raise error

    with pytest.raises(type(error)) as raised:
        write_part(Location(tmp_path), "a.lance", SCHEMA, rows())
    assert raised.value is error


def test_what_the_system_refuses(tmp_path: Path) -> None:
    """An error of the system is raised with its reason, without the source line of Lance."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(StorageError) as refused:
            write_table(Location(tmp_path), "a.lance", pa.table({"a": [1]}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    message = str(refused.value)
    assert message.startswith(f"{tmp_path}: a.lance cannot be written: ")
    assert message.endswith("File too large (os error 27)")


class Losing(Location):
    """A location whose disk silently truncates new data files."""

    def sync(self, names: Iterable[str]) -> None:
        """The last bytes go; what is left is safe."""
        kept = list(names)
        for name in kept:
            if "/data/" in name:
                os.truncate(self.path / name, (self.path / name).stat().st_size // 2)
        super().sync(kept)


def test_a_file_that_is_cut_short(tmp_path: Path) -> None:
    """Data files that the disk truncated are refused, and a later run finishes."""
    rows = pa.record_batch([pa.array([1], pa.int32())], schema=SCHEMA)
    with pytest.raises(StorageError, match=r"a\.lance/data/.* has .* bytes: the disk refused"):
        write_part(Losing(tmp_path / "t"), "a.lance", SCHEMA, [rows])
    source = write_h5ad(tmp_path / "in.h5ad", counts(9, 5))
    with pytest.raises(StorageError, match="the disk refused the others"):
        slaf.convert(source, Losing(tmp_path / "out.slaf"), chunk_size=3)
    assert slaf.status(tmp_path / "out.slaf").parts_done == 0
    slaf.convert(source, tmp_path / "out.slaf", chunk_size=3)
    slaf.verify(tmp_path / "out.slaf", against=source)


def test_categories_of_a_long_table(tmp_path: Path) -> None:
    """They are in every page once, however many pages there are, and the rows are the same."""
    n = 1_200_000
    codes = np.random.default_rng(1).integers(0, 30, n)
    for width in (np.int8, np.int32):
        names = pa.array([f"contig {at}" for at in range(30)])
        column = pa.DictionaryArray.from_arrays(codes.astype(width), names)
        table = pa.table({"contig": column, "number": np.arange(n)})
        write_table(Location(tmp_path), f"{width.__name__}.lance", table)
        read = lance.dataset(str(tmp_path / f"{width.__name__}.lance")).to_table()
        assert all(chunk.dictionary.equals(names) for chunk in read.column("contig").chunks)
        assert read.equals(table)
