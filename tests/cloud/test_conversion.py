"""A dataset in a bucket is the one that a disk would hold, however often its making is stopped."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import slaf
from slaf.errors import ConversionInProgress, OutputExists
from slaf.storage.location import Location
from slaf.testing.crashing import Crash, CrashingStorage, Moment
from tests.builders import counts, write_h5ad
from tests.cli.terminal import run
from tests.cloud.outputs import finished_parts, output_of, published, unaccounted
from tests.conversion.process import KILLED, ConvertingProcess

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud.servers import Cloud

# The last two blocks of cells are one part, for there is nothing in the last.
N_BLOCKS = 8
OPTIONS: dict[str, Any] = {"chunk_size": 2}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An input of seven parts."""
    return write_h5ad(tmp_path_factory.mktemp("source") / "in.h5ad", counts(2 * N_BLOCKS, 6))


@pytest.fixture(scope="module")
def expected(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a disk holds of it."""
    path = tmp_path_factory.mktemp("expected") / "out.slaf"
    slaf.convert(source, path, **OPTIONS)
    return output_of(Location(path))


def test_it_is_the_same(
    source: Path, expected: dict[str, Any], cloud: Cloud, tmp_path: Path
) -> None:
    """It is equal to the local one, verifies, and holds nothing else."""
    place = cloud.at("out.slaf")
    dataset = slaf.convert(source, place, **OPTIONS, storage_options=cloud.options)
    assert output_of(dataset.location) == expected
    assert not unaccounted(dataset.location)
    slaf.verify(place, against=source, storage_options=cloud.options)
    opened = slaf.open(place, storage_options=cloud.options)
    again = slaf.convert(source, tmp_path / "local.slaf")
    assert np.array_equal(opened.X.to_memory().toarray(), again.X.to_memory().toarray())
    assert opened.sql("SELECT COUNT(*) FROM expression").item() == opened.nnz
    assert opened.obs_names.to_list() == opened.obs.index.tolist()
    with pytest.raises(OutputExists, match="a finished dataset is there"):
        slaf.convert(source, place, storage_options=cloud.options)


def test_it_is_replaced(
    source: Path, expected: dict[str, Any], cloud: Cloud, tmp_path: Path
) -> None:
    """With `overwrite` the older dataset is readable until the new one is whole."""
    other = write_h5ad(tmp_path / "old.h5ad", counts(10, 9, seed=1))
    place = cloud.at("out.slaf")
    slaf.convert(other, place, create_indices=True, storage_options=cloud.options)
    before = published(cloud, "out.slaf")
    assert before is not None
    stopped = CrashingStorage(place, at=9, storage_options=cloud.options)
    with pytest.raises(Crash):
        slaf.convert(source, stopped, **OPTIONS, overwrite=True)
    assert published(cloud, "out.slaf") == before
    slaf.convert(source, place, **OPTIONS, overwrite=True, storage_options=cloud.options)
    assert published(cloud, "out.slaf") == expected
    assert not unaccounted(Location(place, cloud.options))


def test_the_program(source: Path, cloud: Cloud, tmp_path: Path) -> None:
    """Every command takes a URL, and the options that reach it."""
    place = cloud.at("out.slaf")
    words = cloud.words()
    planned = run("convert", source, place, "--dry-run", *words)
    assert "disk" in planned.succeeded().out
    run("convert", source, place, *words).succeeded()
    commands: list[list[str | Path]] = [["info", place], ["status", place], ["verify", place]]
    commands.append(["verify", place, "--against", source])
    for command in commands:
        assert place in run(*command, *words).succeeded().out
    asked = run("query", place, "SELECT COUNT(*) AS n FROM cells", "--format", "csv", *words)
    assert asked.out.split() == ["n", "16"]
    assert run("convert", source, place, *words).code == 4
    assert run("append", source, place, *words).code == 7
    run("append", source, place, "--allow-duplicate", "--dry-run", *words).succeeded()
    added = run("append", source, place, "--allow-duplicate", "--json", *words)
    assert added.succeeded().json["n_cells"] == 32
    run("diff", place, place, *words).succeeded()
    exported = run("export", place, tmp_path / "out.h5ad", *words)
    exported.succeeded()
    wrong = run("info", place, "--storage-option", "secret-without-a-key")
    assert wrong.code == 2
    assert "secret-without-a-key" not in wrong.err


@dataclass(frozen=True)
class Stopping:
    """A conversion to a bucket that is stopped, and what must come of it."""

    source: Path
    cloud: Cloud
    expected: dict[str, Any]

    def at(self, number: int, moment: Moment) -> bool:
        """Stop it at an effect, finish it, and say whether there was such an effect."""
        name = f"{moment}-{number}"
        reach = self.cloud.options
        storage = CrashingStorage(self.cloud.at(name), number, moment, storage_options=reach)
        try:
            slaf.convert(self.source, storage, **OPTIONS)
        except Crash:
            pass
        else:
            return False
        place = Location(self.cloud.at(name), reach)
        seen = published(self.cloud, name)
        assert seen in (None, self.expected)
        kept = finished_parts(place)
        try:
            slaf.convert(self.source, place, **OPTIONS)
        except OutputExists:
            assert seen == self.expected
        self.check(place, kept)
        return True

    def check(self, place: Location, kept: set[str]) -> None:
        """Check that the dataset is whole, and still has the files of these parts."""
        assert output_of(place) == self.expected
        assert not unaccounted(place)
        fragments = slaf.open(place).expression.get_fragments()
        files = {file.path for part in fragments for file in part.data_files()}
        assert kept <= files, "a part that was done was written again"


def test_in_progress(source: Path, cloud: Cloud) -> None:
    """Until it is published there is no dataset, and it is said how far it is."""
    place = cloud.at("out.slaf")
    storage = CrashingStorage(place, at=9, storage_options=cloud.options)
    with pytest.raises(Crash):
        slaf.convert(source, storage, **OPTIONS)
    with pytest.raises(ConversionInProgress, match="conversion in progress, 2 of 7 parts"):
        slaf.open(place, storage_options=cloud.options)
    found = slaf.status(place, storage_options=cloud.options)
    assert (found.parts_done, found.parts, found.published) == (2, 7, False)


def test_stopped_anywhere(source: Path, expected: dict[str, Any], one_cloud: Cloud) -> None:
    """Stopped before or after some of its effects, it is finished by the same call."""
    rng, stopping = random.Random(one_cloud.name), Stopping(source, one_cloud, expected)
    for at in (0, 1, 2, *rng.sample(range(3, 45), 4)):
        stopping.at(at, rng.choice(list(Moment)))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_stopped_everywhere(source: Path, expected: dict[str, Any], cloud: Cloud) -> None:
    """So it is at every one of them."""
    stopping = Stopping(source, cloud, expected)
    for moment in Moment:
        for at in count():
            if not stopping.at(at, moment):
                assert at > 20
                break


def killed(stopping: Stopping, kills: int, seed: int) -> None:
    """Kill so many processes by SIGKILL, and finish and check what they were at."""
    rng, cloud = random.Random(seed), stopping.cloud
    options = OPTIONS | {"storage_options": cloud.options}
    done = 0
    for chain in count():
        name = f"killed-{chain}"
        place = Location(cloud.at(name), cloud.options)
        kept: set[str] = set()
        for attempt in count():
            effect = rng.randrange(2, 12 + attempt)
            process = ConvertingProcess(
                stopping.source, cloud.at(name), options, kill_before=effect
            )
            process.go()
            if process.wait() != KILLED:
                break
            done += 1
            parts, seen = finished_parts(place), published(cloud, name)
            assert seen in (None, stopping.expected)
            if seen is None:
                assert kept <= parts, "a part that was done was written again"
                kept = parts
        stopping.check(place, kept)
        if done >= kills:
            return


def test_killed(source: Path, expected: dict[str, Any], one_cloud: Cloud) -> None:
    """Killed several times, it comes out as if it never was."""
    killed(Stopping(source, one_cloud, expected), kills=4, seed=0)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_a_hundred_times(source: Path, expected: dict[str, Any], cloud: Cloud) -> None:
    """So it does when it is killed a hundred times."""
    killed(Stopping(source, cloud, expected), kills=100, seed=1)
