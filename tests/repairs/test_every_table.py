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
from tests.repairs.damaged import (
    Original,
    flip,
    make_original,
    make_original_of_reads,
    proven_files,
)

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS: dict[str, Any] = {"chunk_size": 4, "create_indices": True, "by_gene": True}


# No input has both coverage and what an AnnData may hold.
OF_READS = {"expression", "cells", "genes", "coverage"}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    """A dataset with something in every slot of an AnnData."""
    return make_original(tmp_path_factory.mktemp("original"))


@pytest.fixture(scope="module")
def of_reads(tmp_path_factory: pytest.TempPathFactory) -> Original:
    """A dataset with coverage."""
    return make_original_of_reads(tmp_path_factory.mktemp("reads"))


@pytest.mark.parametrize("tables", [set(TABLES) - {"coverage"}, OF_READS])
def test_a_dataset_with_every_slot_has_exactly_the_declared_tables(
    tables: set[str], original: Original, of_reads: Original
) -> None:
    """Its tables, records, offsets columns and indices are those of the specs."""
    dataset = slaf.open(of_reads.path if "coverage" in tables else original.path)
    assert dataset.published.tables == {name: TABLES[name].directory for name in tables}
    for name, spec in ((name, TABLES[name]) for name in tables):
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
    assert written == {spec.name for spec in partitioned_tables()} - {"coverage"}


@pytest.mark.parametrize("table", TABLES)
def test_damage_of_every_table_is_found_and_repaired(
    table: str, original: Original, of_reads: Original, tmp_path: Path
) -> None:
    """A changed byte in a data file of a table is named by verify, and repair restores it."""
    original = of_reads if table == "coverage" else original
    dataset = original.copy(tmp_path / "out.slaf")
    directory = f"{TABLES[table].directory}/data/"
    file = next(name for name in proven_files(dataset) if name.startswith(directory))
    flip(dataset / file, random.Random(7))
    with pytest.raises(VerificationFailed, match=table):
        slaf.verify(dataset)
    slaf.repair(dataset, original.inputs)
    original.check(dataset)
