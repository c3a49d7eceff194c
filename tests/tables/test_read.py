"""Reading rows of a table: whichever way is the cheapest gives the same."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import lance
import numpy as np
import pyarrow as pa
import pytest

from slaf.sparse.ranges import RowRange
from slaf.tables import read

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

N_ROWS = 5_000


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> lance.LanceDataset:
    """A table of several fragments whose rows are numbered."""
    path: Path = tmp_path_factory.mktemp("read") / "a.lance"
    rows = pa.table({"a": np.arange(N_ROWS), "b": -np.arange(N_ROWS)})
    return lance.write_dataset(rows, path, max_rows_per_file=1_700)


def some_ranges(rng: np.random.Generator) -> list[RowRange]:
    """Ranges, some long and some empty, some far apart and some next to each other."""
    cuts = np.unique(rng.integers(0, N_ROWS, rng.integers(2, 60)))
    ranges = [RowRange(int(a), int(b)) for a, b in pairwise(cuts)]
    share = rng.choice([0.1, 0.5, 0.9])
    return [
        RowRange(one.start, one.start if rng.random() < share / 5 else one.stop)
        for one in ranges
        if rng.random() < share
    ]


@pytest.mark.parametrize(("long", "window"), [(1, 100), (50, 1_000), (300, 700), (1 << 14, 100)])
def test_rows_of_ranges(
    long: int, window: int, table: lance.LanceDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of any ranges come in their order, be they scanned, or asked for one by one."""
    monkeypatch.setattr(read, "_LONG_RANGE", long)
    monkeypatch.setattr(read, "_WINDOW", window)
    monkeypatch.setattr(read, "_MOST_SHORT", 7)
    rng = np.random.default_rng(long)
    for _ in range(20):
        ranges = some_ranges(rng)
        expected = [row for one in ranges for row in range(one.start, one.stop)]
        batches = list(read.rows_of(table, ranges, ["b", "a"]))
        assert numbers(batches, 1).tolist() == expected
        assert (-numbers(batches, 0)).tolist() == expected


def numbers(batches: list[pa.RecordBatch], column: int) -> NDArray[np.int64]:
    """A column of all batches."""
    found = [np.empty(0, np.int64), *(batch.column(column).to_numpy() for batch in batches)]
    return np.concatenate(found)
