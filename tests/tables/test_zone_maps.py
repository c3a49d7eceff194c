"""A zone map that is computed from row offsets is the one that Lance makes by reading the rows."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lance.file import LanceFileReader

import slaf
from slaf.storage.location import Location
from slaf.tables import indices, zone_maps
from slaf.tables.commit import append, commit
from slaf.tables.indices import index, index_new_fragments
from slaf.tables.read import open_table
from slaf.tables.write import write_part
from tests.builders import counts, write_h5ad

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

COLUMN = "cell_integer_id"


@pytest.fixture(autouse=True, scope="module")
def always() -> Any:
    """Also small tables are indexed from their offsets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indices, "_SCANNED_ROWS", 1)
        yield


def zones(location: Location, name: str) -> list[dict[str, Any]]:
    """The zones of each segment of the index, and the file without its name."""
    files = sorted(file for file in location.list(f"{name}/_indices") if file.endswith(".lance"))
    tables = [LanceFileReader(location.uri(file)).read_all().to_table() for file in files]
    found = [
        table.to_pydict() | {"schema": [*table.schema], "metadata": table.schema.metadata}
        for table in tables
    ]
    return sorted(found, key=lambda one: str(one["fragment_id"]))


def write(location: Location, name: str, ids: NDArray[Any], dtype: pa.DataType) -> list[Any]:
    """Fragments of a table without a commit."""
    schema = pa.schema([pa.field(COLUMN, dtype, nullable=False)])
    batch = pa.record_batch([pa.array(ids, dtype)], schema=schema)
    return write_part(location, name, schema, [batch])


@settings(max_examples=20)
@given(
    parts=st.lists(st.lists(st.integers(0, 9000), min_size=1, max_size=4), min_size=1, max_size=3),
    dtype=st.sampled_from([pa.uint32(), pa.int32()]),
)
def test_it_is_the_one_of_lance(
    parts: list[list[int]], dtype: pa.DataType, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever the lengths of cells, the fragments and the type; empty cells are in no zone."""
    location = Location(tmp_path_factory.mktemp("zones"))
    lengths = np.array([n for part in parts for n in part])
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    ids, ends = np.repeat(np.arange(len(lengths)), lengths), np.cumsum([0, *map(len, parts)])
    for name, known in (("own.lance", offsets), ("lance.lance", None)):
        fragments = [
            one
            for first, last in pairwise(ends)
            if offsets[first] < offsets[last]
            for one in write(location, name, ids[offsets[first] : offsets[last]], dtype)
        ]
        schema = pa.schema([pa.field(COLUMN, dtype, nullable=False)])
        commit(location, name, schema, fragments)
        index(location, name, COLUMN, "ZONEMAP", known)
    assert zones(location, "own.lance") == zones(location, "lance.lance")


def filtered(location: Location, name: str, version: int, where: str) -> NDArray[Any]:
    """The cells of the rows that Lance finds by the index."""
    table = open_table(location, name, version)
    assert "ScalarIndexQuery" in table.scanner(filter=where).explain_plan()
    return np.asarray(table.to_table(filter=where)[COLUMN])


def test_filters_use_it(tmp_path: Path) -> None:
    """Lance finds the rows of cells by it, in fragments that were appended too."""
    location, lengths = Location(tmp_path), np.array([9000, 0, 5, 20000, 1, 30000])
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    ids = np.repeat(np.arange(6), lengths)
    schema = pa.schema([pa.field(COLUMN, pa.uint32(), nullable=False)])
    first = write(location, "t.lance", ids[: offsets[4]], pa.uint32())
    base = commit(location, "t.lance", schema, first)
    base = index(location, "t.lance", COLUMN, "ZONEMAP", offsets[:5])
    more = write_part(
        location,
        "t.lance",
        schema,
        [pa.record_batch([pa.array(ids[offsets[4] :], pa.uint32())], schema=schema)],
        appending=True,
    )
    append(location, "t.lance", more, base, "run")
    version = index_new_fragments(location, "t.lance", {COLUMN: "ZONEMAP"}, offsets)
    for cell in range(6):
        found = filtered(location, "t.lance", version, f"{COLUMN} = {cell}")
        assert len(found) == lengths[cell]
    assert len(filtered(location, "t.lance", version, f"{COLUMN} >= 3")) == lengths[3:].sum()


def test_an_unknown_format_is_left_to_lance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If Lance writes other zones, or offsets are not those of the rows, Lance reads the rows."""
    location, ids = Location(tmp_path), np.repeat(np.arange(3), 5000)
    offsets = np.arange(4) * 5000
    assert zone_maps.is_known_format(pa.uint32())
    for name in ("own.lance", "other.lance", "wrong.lance"):
        schema = pa.schema([pa.field(COLUMN, pa.uint32(), nullable=False)])
        commit(location, name, schema, write(location, name, ids, pa.uint32()))
    monkeypatch.setattr(indices, "zone_map", lambda *_: pytest.fail("not by Lance"))
    index(location, "wrong.lance", COLUMN, "ZONEMAP", offsets[:-1])
    vars(zone_maps)["_sample"].cache_clear()
    monkeypatch.setattr(zone_maps, "_ROWS_PER_ZONE", 4096)
    assert not zone_maps.is_known_format(pa.uint32())
    index(location, "other.lance", COLUMN, "ZONEMAP", offsets)
    vars(zone_maps)["_sample"].cache_clear()
    assert zones(location, "other.lance") == zones(location, "wrong.lance")


def test_datasets_have_it(tmp_path: Path) -> None:
    """A conversion, an append and a compaction index every row, and verify accepts the files."""
    paths = [write_h5ad(tmp_path / f"{at}.h5ad", counts(60, 30, seed=at)) for at in range(2)]
    slaf.convert(paths[0], tmp_path / "a.slaf", chunk_size=20)
    slaf.append(paths[1], tmp_path / "a.slaf")
    for compact in (False, True):
        if compact:
            slaf.compact(tmp_path / "a.slaf", compression="fast")
        dataset = slaf.open(tmp_path / "a.slaf")
        slaf.verify(dataset)
        for cell in (0, 19, 20, 61, 119):
            where = f"{COLUMN} = {cell}"
            found = dataset.expression.to_table(filter=where).num_rows
            assert found == np.diff(dataset.offsets("expression"))[cell]
