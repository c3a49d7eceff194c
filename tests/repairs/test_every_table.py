"""Each table that the format declares is planned, published, verified and repaired."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

import slaf
from slaf.errors import VerificationFailed
from slaf.format.schema import TABLES, partitioned_tables
from slaf.storage.location import Location
from slaf.tables.read import index_names
from slaf.testing.crashing import Crash, CrashingStorage
from tests.conversion.outputs import receipts
from tests.repairs.damaged import Original, flip, make_original, proven_files

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS: dict[str, Any] = {"chunk_size": 4, "create_indices": True, "by_gene": True}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    """A dataset with something in every slot."""
    return make_original(tmp_path_factory.mktemp("original"))


def test_a_dataset_with_every_slot_has_exactly_the_declared_tables(original: Original) -> None:
    """Its tables, records, offsets columns and indices are those of the specs."""
    dataset = slaf.open(original.path)
    assert dataset.published.tables == {spec.name: spec.directory for spec in TABLES.values()}
    for name, spec in TABLES.items():
        table = dataset.table(name)
        assert dataset.published.has_record(name)
        assert set(spec.ids) <= set(table.schema.names)
        assert index_names(table) == set(spec.indexed_columns(create_indices=True))
        columns = dataset.table(spec.axis.name).schema.names
        assert not spec.is_partitioned or spec.start_index in columns


def test_the_parts_of_a_run_are_of_every_partitioned_table(
    original: Original, tmp_path: Path
) -> None:
    """The receipts of a run that is about to be published name each table written in parts."""
    recorder = CrashingStorage(tmp_path / "recorded.slaf")
    slaf.convert(original.inputs, recorder, **OPTIONS)
    *_, at, _ = (i for i, effect in enumerate(recorder.effects) if effect.name == "config.json")
    output = tmp_path / "out.slaf"
    with pytest.raises(Crash):
        slaf.convert(original.inputs, CrashingStorage(output, at), **OPTIONS)
    checkpoint = json.loads((output / "config.json").read_bytes())["checkpoint"]
    written = {name for part in receipts(Location(output), checkpoint) for name in part["tables"]}
    assert written == {spec.name for spec in partitioned_tables()}


@pytest.mark.parametrize("table", TABLES)
def test_damage_of_every_table_is_found_and_repaired(
    table: str, original: Original, tmp_path: Path
) -> None:
    """A changed byte in a data file of a table is named by verify, and repair restores it."""
    dataset = original.copy(tmp_path / "out.slaf")
    directory = f"{TABLES[table].directory}/data/"
    file = next(name for name in proven_files(dataset) if name.startswith(directory))
    flip(dataset / file, random.Random(7))
    with pytest.raises(VerificationFailed, match=table):
        slaf.verify(dataset)
    slaf.repair(dataset, original.inputs)
    original.check(dataset)
