"""Reading rows of a table: whichever way is the cheapest gives the same."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import TYPE_CHECKING

import lance
import numpy as np
import pyarrow as pa
import pytest

from slaf.errors import DamagedDataset
from slaf.storage.location import Location
from slaf.tables import rows as module
from slaf.tables.rows import DataFile, FileRows, TableRows

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

N_ROWS = 5_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table of several fragments whose rows are numbered."""
    path = tmp_path_factory.mktemp("rows")
    numbers = np.arange(N_ROWS)
    table = pa.table({"a": numbers, "b": -numbers})
    lance.write_dataset(table, path / "a.lance", max_rows_per_file=1_700)
    return path


def rows_of(folder: Path) -> TableRows:
    """The rows of the table in a folder."""
    return TableRows(Location.of(folder), "a.lance", lance.dataset(folder / "a.lance"))


def some_ranges(rng: np.random.Generator) -> NDArray[np.int64]:
    """Ranges, some long and some empty, some far apart and some next to each other."""
    cuts = np.unique(rng.integers(0, N_ROWS, rng.integers(2, 60)))
    share = rng.choice([0.1, 0.5, 0.9])
    ranges = [
        (a, a if rng.random() < share / 5 else b)
        for a, b in pairwise(cuts.tolist())
        if rng.random() < share
    ]
    return np.array(ranges, np.int64).reshape(-1, 2)


def positions(ranges: NDArray[np.int64]) -> list[int]:
    """The positions in ranges, one by one."""
    return [row for start, stop in ranges.tolist() for row in range(start, stop)]


def numbers(batches: list[pa.RecordBatch], column: str) -> list[int]:
    """A column of all batches."""
    return [row for batch in batches for row in batch.column(column).to_pylist()]


@pytest.mark.parametrize(("long", "gap"), [(1, 0), (50, 10), (300, 200), (1 << 14, 100), (20, 900)])
def test_ranges(long: int, gap: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of any ranges are read in order, as ranges or one by one."""
    monkeypatch.setattr(module, "_MANY_ROWS", long)
    monkeypatch.setattr(module, "_SMALL_GAP", gap)
    monkeypatch.setattr(module, "_WINDOW", 1_000)
    monkeypatch.setattr(module, "_BATCH_ROWS", 190)
    rng = np.random.default_rng(long)
    rows = rows_of(folder)
    for at in range(20):
        # Of a batch that has more ranges the rows are taken.
        monkeypatch.setattr(module, "_SLICES", (0, 3, 100)[at % 3])
        ranges = some_ranges(rng)
        batches = list(rows.read(ranges, ["b", "a"]))
        assert numbers(batches, "a") == positions(ranges)
        assert [-number for number in numbers(batches, "b")] == positions(ranges)
        assert all(batch.num_rows <= 190 + long for batch in batches)


def test_rows_that_are_not_those_of_files(folder: Path, tmp_path: Path) -> None:
    """The remaining rows of a table with deleted rows are numbered without gaps."""
    table = lance.write_dataset(
        lance.dataset(folder / "a.lance").to_table(), tmp_path / "a.lance", max_rows_per_file=1_700
    )
    table.delete("a % 3 = 1")
    rows, left = rows_of(tmp_path), [number for number in range(N_ROWS) if number % 3 != 1]
    assert rows.n_rows == len(left)
    for ranges in ([[0, len(left)]], [[3, 5], [700, 2_900]]):
        batches = list(rows.read(np.array(ranges), ["a"]))
        assert numbers(batches, "a") == [left[at] for at in positions(np.array(ranges))]


def test_several_threads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads read at once, with few files open."""
    monkeypatch.setattr(module, "_MANY_ROWS", 1)
    monkeypatch.setattr(module, "_MOST_OPEN", 2)
    rows = rows_of(folder)
    found: list[bool] = []

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(30):
            ranges = some_ranges(rng)
            found.append(numbers(list(rows.read(ranges, ["a"])), "a") == positions(ranges))

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 120


def test_files_without_a_version(folder: Path) -> None:
    """Data files are read in the given order, whatever table they belong to."""
    table = lance.dataset(folder / "a.lance")
    files = [
        DataFile(f"a.lance/data/{one.data_files()[0].path}", one.count_rows())
        for one in table.get_fragments()
    ]
    rows = FileRows(Location.of(folder), table.schema, files[::-1])
    last = N_ROWS - 2 * 1_700
    found = numbers(list(rows.read(np.array([[0, 3], [last - 1, last + 1]]), ["a"])), "a")
    assert found == [3_400, 3_401, 3_402, N_ROWS - 1, 1_700]


def test_a_file_that_is_not_what_the_table_says(folder: Path) -> None:
    """A missing or truncated file, or one with other rows or columns, is named, with the rows."""
    table = lance.dataset(folder / "a.lance")
    name = f"a.lance/data/{table.get_fragments()[0].data_files()[0].path}"
    location = Location.of(folder)
    other_schema = pa.schema([("a", pa.int32())])
    for rows in (
        FileRows(location, table.schema, [DataFile("a.lance/data/gone.lance", 9)]),
        FileRows(location, table.schema, [DataFile(name, 9_000)]),
        FileRows(location, other_schema, [DataFile(name, 1_700)]),
    ):
        with pytest.raises(DamagedDataset, match=r"a\.lance/data/.*\.lance: rows 0 to"):
            list(rows.read(np.array([[0, 9_000]]), ["a"]))
