"""Lazy tables: what is made of their pieces is what is made of all of their rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaf.annotations import lazy_table
from slaf.annotations.columns import arrow_table, to_lance
from slaf.annotations.lazy_table import LazyTable, equal_tables
from slaf.format.digests import table_digest
from slaf.format.schema import GENE_COLUMNS
from slaf.storage.location import Location
from slaf.tables.read import open_table, read_table
from slaf.tables.write import write_table

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

KINDS = pa.array(["b", "a", "ü"])


def lazy(n: int, content: str = "some") -> LazyTable:
    """Rows of ids, of categories that are not all used, of numbers and of truth."""

    def make(positions: NDArray[np.int64]) -> pa.Table:
        kinds = pa.DictionaryArray.from_arrays(pa.array(positions % 2, pa.int32()), KINDS)
        columns = {"kind": kinds, "start": positions * 10, "even": positions % 2 == 0}
        ids = pa.array([f"gene-{at}" for at in positions.tolist()], pa.string())
        return arrow_table("gene_id", ids, {name: pa.array(one) for name, one in columns.items()})

    return LazyTable(n, content, make)


@given(n=st.integers(0, 30), size=st.integers(1, 12), data=st.data())
def test_pieces_are_all_rows(n: int, size: int, data: st.DataObject) -> None:
    """Rows, digest, stored form and columns do not depend on the size of pieces."""
    table = lazy(n)
    whole = table.make(np.arange(n))
    positions = np.array(
        data.draw(st.lists(st.integers(0, n - 1), max_size=9) if n else st.just([])), np.int64
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lazy_table, "PIECE_ROWS", size)
        assert table.whole().combine_chunks().equals(whole.combine_chunks())
        assert table.whole().schema.equals(whole.schema, check_metadata=True)
        assert table.schema.equals(whole.schema, check_metadata=True)
        stored, columns = to_lance(table, GENE_COLUMNS)
        expected, expected_columns = to_lance(whole, GENE_COLUMNS)
        assert columns == expected_columns
        assert stored.whole().combine_chunks().equals(expected.combine_chunks())
        assert table_digest(table) == table_digest(whole)
        assert table_digest(stored) == table_digest(expected)
        ids = table.column(0)
        assert len(ids) == n
        assert ids.to_array().equals(whole.column(0).combine_chunks())
        assert ids.take(positions).to_pylist() == [f"gene-{at}" for at in positions.tolist()]


def test_equal_tables() -> None:
    """Lazy tables are equal by their content, changed ones by the change, others by their rows."""
    one, changed = lazy(3), lazy(3).mapped(lambda rows, _: rows, "as it is")
    assert equal_tables(one, lazy(3))
    assert not equal_tables(one, lazy(4))
    assert not equal_tables(one, lazy(3, "other"))
    assert not equal_tables(one, changed)
    assert equal_tables(changed, lazy(3).mapped(lambda rows, _: rows, "as it is"))
    long = lazy(2 * lazy_table.PIECE_ROWS + 1)
    assert equal_tables(long, long.whole())
    assert equal_tables(long.whole(), long)
    assert equal_tables(lazy(0).whole(), lazy(0))
    assert not equal_tables(lazy(4), one.whole())
    other = long.whole().column("start").to_numpy().copy()
    other[-1] += 1
    field = long.schema.field("start")
    assert not equal_tables(long, long.whole().set_column(2, field, pa.array(other)))
    assert equal_tables(one.whole(), one.whole())
    assert one.column(0) == lazy(3).column(0)
    assert one.column(0) != one.column(1)
    assert pa.array(["gene-0"]) != lazy(1).column(0)


@pytest.mark.parametrize("n", [0, 1, lazy_table.PIECE_ROWS, 2 * lazy_table.PIECE_ROWS + 1])
def test_written(n: int, tmp_path: Path) -> None:
    """A table that is written in pieces reads as one, with the categories of one piece."""
    table, _ = to_lance(lazy(n), GENE_COLUMNS)
    version = write_table(Location(tmp_path), "genes.lance", table)
    written = open_table(Location(tmp_path), "genes.lance", version)
    # As many rows at once as the library reads by default, and as the command line does.
    for found in (read_table(written), written.to_table(batch_size=lazy_table.PIECE_ROWS)):
        assert table_digest(found) == table_digest(table)
        for chunk in found.column("kind").chunks:
            assert chunk.dictionary.to_pylist() in ([], ["b", "a", "ü"])
    assert table.nbytes >= 0
