"""Receipts: what counts as done, what does not, and what config.json is spared."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import slaf
from slaf.errors import ConversionInProgress, StorageError
from slaf.format.config import load
from slaf.format.validation import with_checksum
from slaf.runs.checkpoint import checkpoint_of
from slaf.runs.journal import Journal
from slaf.storage.location import Location
from slaf.testing.crashing import Crash, CrashingStorage, Moment
from tests.builders import counts, write_h5ad
from tests.conversion.outputs import finished_parts, output_of, published_parts, unaccounted
from tests.conversion.stopped import Conversion

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slaf.runs.checkpoint import Checkpoint

N_PARTS = 5
OPTIONS: dict[str, Any] = {"chunk_size": 3}


@pytest.fixture
def conversion(tmp_path: Path) -> Conversion:
    """A conversion in parts."""
    return Conversion(write_h5ad(tmp_path / "in.h5ad", counts(3 * N_PARTS, 6)), OPTIONS)


class Measured(Location):
    """A location that counts what is written into config.json."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.written: list[int] = []

    def put(self, name: str, data: bytes) -> None:
        """Count it."""
        if name == "config.json":
            self.written.append(len(data))
        super().put(name, data)


@pytest.mark.timeout(900)
def test_config_is_not_written_for_each_part(tmp_path: Path) -> None:
    """A run of 600 parts writes at most three times the size of config.json into it."""
    n_parts = 600
    source = write_h5ad(tmp_path / "in.h5ad", np.ones((n_parts, 4), np.int32))
    storage = Measured(tmp_path / "out.slaf")
    slaf.convert(source, storage, chunk_size=1)
    size = (tmp_path / "out.slaf" / "config.json").stat().st_size
    assert len(slaf.open(storage.path).expression.get_fragments()) == n_parts
    assert len(storage.written) == 3
    assert sum(storage.written) <= 3 * size


def stopped(conversion: Conversion, output: Path, n_parts: int = 3) -> list[Path]:
    """Stop a conversion once so many parts have a receipt; the receipts."""
    recorder = CrashingStorage(output.with_name("recorded.slaf"))
    conversion.run(recorder)
    last = f"part-{n_parts - 1:06d}.json"
    (at,) = (i for i, effect in enumerate(recorder.effects) if effect.name.endswith(last))
    with pytest.raises(Crash):
        conversion.run(CrashingStorage(output, at, Moment.AFTER))
    assert set(finished_parts(output)) == set(range(n_parts))
    return sorted(output.glob(".parts/*/part-*.json"))


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Change a receipt, and seal it as the program would."""

    def edit(receipt: Path) -> None:
        data = json.loads(receipt.read_bytes())
        change(data)
        del data["digest"]
        receipt.write_bytes(with_checksum(data))

    return edit


def expression(receipt: dict[str, Any]) -> dict[str, Any]:
    """The rows of a part in the table `expression`."""
    rows: dict[str, Any] = receipt["tables"]["expression"]
    return rows


def flip(receipt: Path) -> None:
    """Change a digit of a digest."""
    raw = receipt.read_bytes()
    at = raw.index(b'"digest": "') + 11
    receipt.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])


FORGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda receipt: receipt.write_bytes(b""), "Expecting value"),
    "torn": (lambda receipt: receipt.write_bytes(receipt.read_bytes()[:200]), ""),
    "not an object": (lambda receipt: receipt.write_bytes(b"[1]"), "damaged"),
    "another byte": (flip, "damaged"),
    "of another plan": (edited(lambda data: data.update(plan="0" * 32)), "of another plan"),
    "of another part": (edited(lambda data: data.update(part=2)), "of another part|not those of"),
    "of no part": (edited(lambda data: data.update(part=10**6)), ""),
    "of an earlier attempt": (edited(lambda data: data.update(attempt=7)), "repaired since"),
    "other cells": (
        edited(lambda data: expression(data)["blocks"]["value"][0].update(cells=[3, 5])),
        "not those of",
    ),
    "no files": (
        edited(lambda data: expression(data).update(files=[])),
        "not those of its fragments",
    ),
    "a file elsewhere": (
        edited(lambda data: expression(data)["files"][0].update(file="../in.h5ad")),
        "no file of a dataset",
    ),
    "a file that is not there": (
        edited(lambda data: expression(data)["files"][0].update(bytes=1)),
        "missing or not whole",
    ),
}


@pytest.mark.parametrize("forged", FORGED)
def test_a_receipt_that_counts_for_nothing(
    forged: str, conversion: Conversion, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A receipt that is torn, forged or of another plan is named, and its part done again."""
    expected = conversion.uninterrupted(tmp_path / "whole.slaf")
    output = tmp_path / "out.slaf"
    _, receipt, _ = stopped(conversion, output)
    kept = finished_parts(output)
    change, reason = FORGED[forged]
    change(receipt)
    assert slaf.status(output).parts_done == 2
    with caplog.at_level(logging.WARNING, "slaf"):
        conversion.run(output)
    (message,) = (text for text in caplog.messages if "part-000001.json is not used" in text)
    if reason:
        assert any(one in message for one in reason.split("|"))
    assert output_of(output) == expected
    assert unaccounted(output) == set()
    parts = published_parts(output)
    assert {*kept[0], *kept[2]} <= set(parts)
    assert not {*kept[1]} & set(parts)


@pytest.mark.parametrize("what", ["data", "counts"])
def test_a_file_that_is_gone(what: str, conversion: Conversion, tmp_path: Path) -> None:
    """A part one of whose files is missing, or cut short, is done again."""
    expected = conversion.uninterrupted(tmp_path / "whole.slaf")
    output = tmp_path / "out.slaf"
    stopped(conversion, output)
    (file,) = finished_parts(output)[1]
    if what == "data":
        (output / "expression.lance/data" / file.name).unlink()
    else:
        (counts_file,) = output.glob(".parts/*/expression-000001.counts")
        counts_file.write_bytes(counts_file.read_bytes()[:-1])
    assert slaf.status(output).parts_done == 2
    conversion.run(output)
    assert output_of(output) == expected
    assert unaccounted(output) == set()


def test_receipts_of_another_plan_are_not_looked_at(conversion: Conversion, tmp_path: Path) -> None:
    """What a discarded run has done counts for nothing in the next one of the same input."""
    output = tmp_path / "out.slaf"
    conversion.run(tmp_path / "old.slaf")
    replacing = Conversion(conversion.source, {**OPTIONS, "overwrite": True}, tmp_path / "old.slaf")
    expected = replacing.uninterrupted(tmp_path / "whole.slaf")
    first = stopped(replacing, replacing.prepare(output))
    with pytest.raises(Crash):
        slaf.convert(
            conversion.source,
            CrashingStorage(output, 3),
            overwrite=True,
            restart=True,
            chunk_size=3,
        )
    assert all(receipt.exists() for receipt in first)
    assert slaf.status(output).parts_done == 0
    replacing.finish(output, expected)


def checkpoint_at(location: Location) -> Checkpoint:
    """The checkpoint of the run that is unfinished there."""
    manifest = load(location)
    assert manifest is not None
    found = checkpoint_of(location, manifest)
    assert found is not None
    return found


def test_the_first_receipt_wins(conversion: Conversion, tmp_path: Path) -> None:
    """Of two attempts at a part that both end, the first to record it is the one that counts."""
    first, second = tmp_path / "out.slaf", tmp_path / "again.slaf"
    stopped(conversion, first)
    location = Location(first)
    (tmp_path / "recorded.slaf").rename(tmp_path / "kept.slaf")
    stopped(conversion, second)
    theirs = Journal.read(Location(second), checkpoint_at(Location(second))).parts["cells"][1]
    # The other attempt wrote a file of its own into the same table.
    for file in theirs.files:
        (first / file).write_bytes((second / file).read_bytes())
    journal = Journal.read(location, checkpoint_at(location))
    ours, before = journal.parts["cells"][1], {f: f.read_bytes() for f in first.glob(".parts/*/*")}
    journal.record(theirs)
    assert journal.parts["cells"][1] == ours != theirs
    assert {f: f.read_bytes() for f in first.glob(".parts/*/*")} == before
    conversion.run(first)
    assert unaccounted(first) == set()


def test_a_part_whose_file_is_not_whole_is_not_recorded(
    conversion: Conversion, tmp_path: Path
) -> None:
    """No receipt is written of a file that the disk does not have."""
    output = tmp_path / "out.slaf"
    receipt = stopped(conversion, output)[1]
    location = Location(output)
    journal = Journal.read(location, checkpoint_at(location))
    receipt.unlink()
    (file,) = journal.parts["cells"][1].files
    (output / file).write_bytes(b"")
    with pytest.raises(StorageError, match="is not on the disk as it was written"):
        journal.record(journal.parts["cells"][1])
    assert not receipt.exists()


def test_a_receipt_is_all_that_a_part_leaves(conversion: Conversion, tmp_path: Path) -> None:
    """Between the plan and the publication config.json is not touched, and nothing is removed."""
    output = tmp_path / "out.slaf"
    stopped(conversion, output)
    storage = CrashingStorage(output)
    conversion.run(storage)
    effects = [str(effect) for effect in storage.effects]
    published = effects.index("put config.json")
    assert not [effect for effect in effects[:published] if effect.startswith(("remove", "clean"))]
    assert sum(effect.endswith(".json") for effect in effects[:published]) == N_PARTS - 3


def test_progress_is_read_from_receipts(conversion: Conversion, tmp_path: Path) -> None:
    """Readers are told how far a first conversion is by its receipts."""
    stopped(conversion, tmp_path / "out.slaf", 4)
    with pytest.raises(ConversionInProgress, match="4 of 5 parts"):
        slaf.open(tmp_path / "out.slaf")
    found = slaf.status(tmp_path / "out.slaf")
    assert (found.parts_done, found.parts, found.cells_done) == (4, 5, 12)
    assert found.nonzeros_done == slaf.open(tmp_path / "recorded.slaf").offsets("expression")[12]
