"""The digest of a table is what the format says, and of the content alone."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import lance
import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from slaf.format.digests import table_digest

if TYPE_CHECKING:
    from pathlib import Path


def table() -> pa.Table:
    """A column of each type that tables have, with missing values where those may be."""
    lists = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(8.0, dtype="f4")), 2)
    return pa.table(
        {
            "cell_id": ["a", None, "ü", ""],
            "short": pa.array([1, None, 3, 4], pa.int16()),
            "real": [1.0, float("nan"), None, -0.0],
            "flag": pa.array([True, None, False, True]),
            "kind": pa.array(["x", "y", None, "x"]).dictionary_encode(),
            "grade": pa.array([3, 1, None, 3]).dictionary_encode(),
            "none": pa.array([None] * 4, pa.string()).dictionary_encode(),
            "time": pa.array([1, 2, None, 4], pa.timestamp("ns")),
            "zoned": pa.array([1, 2, None, 4], pa.timestamp("us", "UTC")),
            "span": pa.array([1, 2, None, 4], pa.duration("us")),
            "X_pca": lists,
        }
    )


def hashed(data: bytes) -> bytes:
    """The hash of a stream."""
    return xxhash.xxh3_128(data).digest()


def by_the_book(name: str, valid: list[int], kind: str, streams: dict[str, bytes]) -> bytes:
    """The digest of a column, as the page of the format says."""
    found = {"name": name.encode(), "valid": bytes(valid), "type": kind.encode(), **streams}
    return b"".join(key.encode() + hashed(data) for key, data in found.items())


def test_by_the_book() -> None:
    """Another program takes the same digest by what the format says."""
    some = [1, 0, 1, 1]
    two = [1, 1, 0, 1]
    columns = [
        by_the_book(
            "cell_id",
            some,
            "string",
            {"lengths": np.array([1, 2, 0], "<i8").tobytes(), "text": "aü".encode()},
        ),
        by_the_book("short", some, "int16", {"values": np.array([1, 3, 4], "<i2").tobytes()}),
        by_the_book("flag", some, "bool", {"values": b"\1\0\1"}),
        by_the_book(
            "kind",
            two,
            "dictionary",
            {
                "categories.valid": b"\1\1",
                "categories.type": b"string",
                "categories.lengths": np.array([1, 1], "<i8").tobytes(),
                "categories.text": b"xy",
                "codes.valid": bytes(two),
                "codes.type": b"int32",
                "codes.values": np.array([0, 1, 0], "<i4").tobytes(),
            },
        ),
        by_the_book("none", [0, 0, 0, 0], "dictionary", {}),
        by_the_book("time", two, "timestamp[ns]", {"values": np.array([1, 2, 4], "<i8").tobytes()}),
        by_the_book(
            "X_pca",
            [1] * 4,
            "list of 2",
            {
                "items.valid": b"\1" * 8,
                "items.type": b"float",
                "items.values": np.arange(8, dtype="<f4").tobytes(),
            },
        ),
    ]
    names = ["cell_id", "short", "flag", "kind", "none", "time", "X_pca"]
    assert table_digest(table().select(names)) == hashed(b"".join(columns)).hex()


def test_lance_changes_nothing(tmp_path: Path) -> None:
    """What Lance gives back has the digest of what it was given."""
    lance.write_dataset(table(), tmp_path / "t.lance", data_storage_version="2.1")
    assert table_digest(lance.dataset(tmp_path / "t.lance").to_table()) == table_digest(table())


@given(cuts=st.lists(st.integers(0, 4), max_size=4))
def test_chunks_do_not_count(cuts: list[int]) -> None:
    """However the rows are cut into chunks, the digest is the same; so it is of a slice."""
    ends = [0, *sorted(cuts), 4]
    pieces = [table().slice(a, b - a) for a, b in pairwise(ends)]
    assert table_digest(pa.concat_tables(pieces)) == table_digest(table())
    middle = table().slice(1, 2)
    copied = pa.Table.from_batches([middle.combine_chunks().to_batches()[0]])
    assert table_digest(middle) == table_digest(copied)


CHANGES: list[tuple[str, Any]] = [
    ("cell_id", pa.array(["a", None, "ü", None])),
    ("cell_id", pa.array(["", None, "aü", ""])),
    ("short", pa.array([1, None, 3, 4], pa.int32())),
    ("real", pa.array([1.0, float("nan"), None, 0.0])),
    ("real", pa.array([1.0, None, None, -0.0])),
    ("kind", pa.DictionaryArray.from_arrays([1, 0, None, 1], ["y", "x"])),
    ("kind", pa.DictionaryArray.from_arrays([0, 1, None, 0], ["x", "y", "z"])),
    ("zoned", pa.array([1, 2, None, 4], pa.timestamp("us"))),
    ("X_pca", pa.FixedSizeListArray.from_arrays(pa.array(np.arange(8.0, dtype="f4")[::-1]), 2)),
]


@pytest.mark.parametrize(("name", "values"), CHANGES)
def test_what_counts(name: str, values: Any) -> None:
    """Another value, type, category, order of categories or place of a missing value shows."""
    whole = table()
    changed = whole.set_column(whole.column_names.index(name), name, pa.chunked_array([values]))
    assert table_digest(changed) != table_digest(whole)


def test_names_and_their_order_count() -> None:
    """So do the names of columns and their order."""
    whole = table()
    digests = {
        table_digest(whole),
        table_digest(whole.select(whole.column_names[::-1])),
        table_digest(whole.rename_columns([f"{name}_" for name in whole.column_names])),
    }
    assert len(digests) == 3
