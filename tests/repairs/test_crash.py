"""A repair that is stopped leaves the dataset as it was, and the same call finishes it."""

from __future__ import annotations

import json
import random
from itertools import count
from pathlib import Path

import pytest

import slaf
from slaf.storage.location import Location
from slaf.testing.crashing import Crash, CrashingStorage, Moment
from tests.conversion.outputs import receipts
from tests.conversion.stopped import points
from tests.repairs.damaged import Original, flip, make_original, proven_files

# Which files are damaged: in each case those whose names hold one of these.
CASES = {
    "two parts": ("expression.lance/data", "layers.lance/data"),
    "by gene": ("expression.lance/data", "by_gene.lance/data", "genes.lance"),
    "versions": ("expression.lance/_versions", "cells.lance/_versions"),
    "whole tables": ("cells.lance/data", "cellsxcells.lance/data", "elements-"),
    "everything": ("",),
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    """A dataset with everything."""
    return make_original(tmp_path_factory.mktemp("original"), chunk_size=6)


def damaged(original: Original, path: Path, case: str) -> Path:
    """A copy that is damaged, the same each time."""
    dataset, rng = original.copy(path), random.Random(1)
    for file in sorted(proven_files(dataset)):
        if any(part in file for part in CASES[case]):
            flip(dataset / file, rng)
    return dataset


# What one effect leaves is what the next one finds: in the normal run it is stopped before some.
POINTS = [("two parts", Moment.BEFORE, 12), ("by gene", Moment.BEFORE, 4)]
MORE_POINTS = [(case, moment, None) for case in CASES for moment in Moment]
# Those that are stopped again and again in the normal run.
AGAIN = ["two parts", "versions", "whole tables"]


@pytest.mark.parametrize(
    ("case", "moment", "most"),
    POINTS + [pytest.param(*point, marks=pytest.mark.slow) for point in MORE_POINTS],
)
def test_stopped_at_every_effect(  # noqa: PLR0917 - pytest fills them by name
    case: str,
    moment: Moment,
    most: int | None,
    original: Original,
    tmp_path: Path,
    subtests: pytest.Subtests,
) -> None:
    """Stopped before or after any effect on the disk, the same call repairs the dataset."""
    recorder = CrashingStorage(damaged(original, tmp_path / "recorded.slaf", case))
    slaf.repair(recorder, original.inputs)
    assert len(recorder.effects) > 10
    for at in points(len(recorder.effects), most, case):
        with subtests.test(at=at, effect=str(recorder.effects[at])):
            dataset = damaged(original, tmp_path / "out.slaf", case)
            with pytest.raises(Crash):
                slaf.repair(CrashingStorage(dataset, at, moment), original.inputs)
            slaf.repair(dataset, original.inputs)
            original.check(dataset)


@pytest.mark.parametrize(
    "case",
    [case if case in AGAIN else pytest.param(case, marks=pytest.mark.slow) for case in CASES],
)
def test_stopped_again_and_again(case: str, original: Original, tmp_path: Path) -> None:
    """Each further attempt may be stopped as well, at any effect of its own."""
    rng = random.Random(0)
    dataset = damaged(original, tmp_path / "out.slaf", case)
    for attempt in count():
        storage = CrashingStorage(
            dataset, rng.randrange(2, 12 + 3 * attempt), rng.choice(list(Moment))
        )
        try:
            slaf.repair(storage, original.inputs)
        except Crash:
            continue
        break
    slaf.repair(dataset, original.inputs)
    original.check(dataset)


def test_no_part_is_written_twice(original: Original, tmp_path: Path) -> None:
    """A part that was finished before the stop is not written again."""
    dataset = damaged(original, tmp_path / "out.slaf", "two parts")
    for at in count(6):
        storage = CrashingStorage(dataset, at)
        with pytest.raises(Crash):
            slaf.repair(storage, original.inputs)
        if slaf.status(dataset).parts_done:
            break
    checkpoint = json.loads((dataset / "config.json").read_bytes())["checkpoint"]
    finished = {
        Path(file["file"]).name
        for part in receipts(Location(dataset), checkpoint)
        for made in part["tables"].values()
        for file in made["files"]
    }
    assert finished
    slaf.repair(dataset, original.inputs)
    fragments = [
        part
        for name in ("expression", "layers")
        for part in slaf.open(dataset).table(name).get_fragments()
    ]
    assert finished <= {file.path for part in fragments for file in part.data_files()}
