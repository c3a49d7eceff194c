"""The real process is killed by SIGKILL, again and again, and the same call finishes its work."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import pytest

import slaf
from tests.builders import counts, write_h5ad
from tests.conversion.outputs import finished_parts, published, published_parts, unaccounted
from tests.conversion.process import KILLED, ConvertingProcess
from tests.conversion.stopped import Conversion

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conversion.outputs import PartFile

N_PARTS = 24
CELLS_A_PART = 2


@dataclass(frozen=True)
class Landing:
    """Where a kill hit: how many parts were done, in which files, and whether readers saw all."""

    parts: int
    files: frozenset[PartFile]
    published: bool


def conversions(folder: Path) -> list[Conversion]:
    """One after the other, two parts at a time, and in the place of an older dataset."""
    source = write_h5ad(folder / "in.h5ad", counts(N_PARTS * CELLS_A_PART, 20))
    older = write_h5ad(folder / "old.h5ad", counts(10, 20, seed=1))
    slaf.convert(older, folder / "old.slaf", chunk_size=3)
    options = {"chunk_size": CELLS_A_PART}
    replacing = options | {"overwrite": True, "create_indices": True}
    return [
        Conversion(source, options),
        Conversion(source, options | {"workers": 2}),
        Conversion(source, replacing, folder / "old.slaf"),
    ]


def appends(folder: Path) -> list[Conversion]:
    """To a dataset, one part after the other, and in two inputs at a time."""
    older = write_h5ad(folder / "old.h5ad", counts(10, 20, seed=1))
    slaf.convert(older, folder / "old.slaf", chunk_size=3, create_indices=True)
    cells = N_PARTS * CELLS_A_PART
    source = write_h5ad(folder / "in.h5ad", counts(cells, 20))
    halves = [write_h5ad(folder / f"{n}.h5ad", counts(cells // 2, 20, seed=n)) for n in (2, 3)]
    options = {"chunk_size": CELLS_A_PART}
    return [
        Conversion(source, options, folder / "old.slaf", [older]),
        Conversion(halves[0], options | {"workers": 2}, folder / "old.slaf", [older], halves[1:]),
    ]


def process_of(
    conversion: Conversion, output: Path, kill_before: int | None = None
) -> ConvertingProcess:
    """A process that makes the call."""
    return ConvertingProcess(
        [conversion.source, *conversion.more],
        output,
        conversion.options,
        appends=conversion.added_to is not None,
        kill_before=kill_before,
    )


def seconds(conversion: Conversion, output: Path) -> float:
    """How long a process takes for it that nobody kills."""
    process = process_of(conversion, conversion.prepare(output))
    begun = time.perf_counter()
    process.go()
    assert process.says() == "done"
    process.wait()
    return time.perf_counter() - begun


def killed_until_done(
    conversion: Conversion, output: Path, rng: random.Random, whole: float
) -> Iterator[Landing]:
    """Kill one process after the other, each a little further on, until one has nothing to do.

    Every third one is killed at a time that has nothing to do with what it is doing, the rest
    kill themselves at an effect on the disk. They get further and further, for publishing is
    done in one go, or not at all.
    """
    for attempt in count():
        effect = None if attempt % 3 == 2 else rng.randrange(1, 8 + attempt)
        process = process_of(conversion, output, kill_before=effect)
        process.go()
        if effect is None:
            time.sleep(rng.uniform(0, 0.3) * whole)
            process.kill()
        if process.wait() != KILLED:
            return
        parts, seen = finished_parts(output), published(output)
        files = frozenset(file for part in parts.values() for file in part)
        yield Landing(len(parts), files, seen not in (None, conversion.before))


def campaign(chosen: list[Conversion], folder: Path, kills: int, seed: int) -> list[Landing]:
    """Kill so many processes, and finish and check every dataset that they were at."""
    rng = random.Random(seed)
    expected = [c.uninterrupted(folder / f"whole-{i}.slaf") for i, c in enumerate(chosen)]
    whole = [seconds(c, folder / f"timed-{i}.slaf") for i, c in enumerate(chosen)]
    landings: list[Landing] = []
    for chain in count():
        which = chain % len(chosen)
        output = chosen[which].prepare(folder / f"{chain}.slaf")
        kept: frozenset[PartFile] = frozenset()
        for landing in killed_until_done(chosen[which], output, rng, whole[which]):
            landings.append(landing)
            if not landing.published:
                assert kept <= landing.files, "a part that was done was written again"
                kept = landing.files
            chosen[which].check_stopped(output, expected[which])
        chosen[which].finish(output, expected[which])
        shutil.rmtree(output)
        if len(landings) >= kills:
            return landings
    raise AssertionError


def check_spread(landings: list[Landing]) -> None:
    """Check that the kills hit all of the conversion, and mostly its middle."""
    amid = [landing.parts for landing in landings if 0 < landing.parts < N_PARTS]
    assert len(amid) > len(landings) / 2
    assert {4 * parts // N_PARTS for parts in amid} == {0, 1, 2, 3}
    assert len(set(amid)) >= N_PARTS / 2
    assert any(landing.parts == N_PARTS for landing in landings), "none hit the publication"


def test_killed_at_a_few_points(tmp_path: Path) -> None:
    """Killed at some points spread over it, a conversion comes out as if it never was."""
    landings = campaign(conversions(tmp_path)[:1], tmp_path, kills=8, seed=0)
    amid = {landing.parts for landing in landings if 0 < landing.parts < N_PARTS}
    assert len(amid) >= 4, "the kills hit too few parts"


@pytest.mark.slow
def test_killed_at_fifty_points(tmp_path: Path) -> None:
    """So it does at fifty points, all over it."""
    landings = campaign(conversions(tmp_path), tmp_path, kills=50, seed=0)
    assert len(landings) >= 50
    check_spread(landings)


def test_appends_killed_at_a_few_points(tmp_path: Path) -> None:
    """So does an append, and the dataset that it adds to is there to read all the while."""
    landings = campaign(appends(tmp_path)[1:], tmp_path, kills=6, seed=0)
    amid = {landing.parts for landing in landings if 0 < landing.parts < N_PARTS}
    assert len(amid) >= 3, "the kills hit too few parts"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(1, 4))
def test_appends_killed_at_hundreds_of_points(seed: int, tmp_path: Path) -> None:
    """So it does when it is killed at hundreds of points."""
    check_spread(campaign(appends(tmp_path), tmp_path, kills=150, seed=seed))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(1, 6))
def test_killed_at_many_points(seed: int, tmp_path: Path) -> None:
    """So it does when it is killed at hundreds of points."""
    check_spread(campaign(conversions(tmp_path), tmp_path, kills=200, seed=seed))


def test_killed_program(tmp_path: Path) -> None:
    """`slaf convert` is killed twice, and the same command then finishes the dataset."""
    n_parts = 40
    source = write_h5ad(tmp_path / "in.h5ad", counts(n_parts, 50))
    conversion = Conversion(source, {"chunk_size": 1})
    expected = conversion.uninterrupted(tmp_path / "whole.slaf")
    output = tmp_path / "out.slaf"
    command = [sys.executable, "-c", "from slaf_cli.app import main; main()", "convert"]
    command += [str(source), str(output), "--chunk-size", "1", "--quiet"]
    for parts in (6, 18):
        with subprocess.Popen(command) as program:
            while len(finished_parts(output)) < parts:
                assert program.poll() is None, "it ended before it could be killed"
            program.kill()
        assert program.returncode == KILLED
        assert parts <= len(finished_parts(output)) < n_parts
        conversion.check_stopped(output, expected)
    kept = finished_parts(output)
    subprocess.run(command, check=True)
    assert {file for files in kept.values() for file in files} <= set(published_parts(output))
    assert published(output) == expected
    assert unaccounted(output) == set()
    slaf.verify(output, against=source)
