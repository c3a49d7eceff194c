"""Commands are killed at random moments, or race, and nothing in the bucket is lost by any."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

import slaf
from slaf_cli.report import ExitCode
from tests.builders import counts, write_h5ad
from tests.cloud.kills import Kills, conversions, exports
from tests.cloud.outputs import unaccounted
from tests.cloud.proxy import proxied
from tests.faults import interposer
from tests.faults.commands import Commands
from tests.faults.orders import Befallen

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.cloud.kills import Operation
    from tests.cloud.servers import Cloud

pytestmark = pytest.mark.skipif(bool(interposer.why_not()), reason=interposer.why_not())


def campaign(
    operations: Mapping[str, Operation], cloud: Cloud, folder: Path, *, kills: int, seed: int
) -> Kills:
    """Kill so many commands, and finish and check all that they were at."""
    folder.mkdir()
    with Commands(folder) as commands, proxied(cloud.endpoint) as proxy:
        found = Kills(commands, folder, proxy, cloud, random.Random(seed))
        found.run(operations, kills)
    return found


def test_killed_a_few_times(s3: Cloud, tmp_path: Path) -> None:
    """After each kill there is what was before, or all; the same command makes it whole."""
    chosen = {"append": conversions(tmp_path, 4)["append"]}
    found = campaign(chosen, s3, tmp_path / "commands", kills=3, seed=0)
    assert sum(found.landed.values()) >= 3


@pytest.mark.slow
@pytest.mark.timeout(2 * 3600)
def test_killed_more_than_a_hundred_times(
    cloud: Cloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So it is after many kills of every command, all over what they do."""
    for name in ("converted", "exported"):
        (tmp_path / name).mkdir()
    chosen = conversions(tmp_path / "converted", 16) | exports(tmp_path / "exported")
    found = campaign(chosen, cloud, tmp_path / "commands", kills=120, seed=1)
    with capsys.disabled():
        print(f"\n{found}")  # noqa: T201 - what it is for
    assert len({parts for parts in found.parts if parts}) >= 6, "they hit too few parts"
    for way in ("at a time", "before a request", "amid a request"):
        assert sum(n for (_, how, _), n in found.landed.items() if how == way) >= 20


def race(cloud: Cloud, folder: Path, *, rounds: int, seed: int) -> Counter[tuple[int, ...]]:
    """Append two inputs, or one twice, by two commands at a time; how they ended."""
    rng = random.Random(seed)
    operation = conversions(folder, 4)["append"]
    other = write_h5ad(folder / "other.h5ad", counts(5, 20, seed=9))
    codes: Counter[tuple[int, ...]] = Counter()
    (folder / "commands").mkdir()
    with Commands(folder / "commands") as commands:
        for number in range(rounds):
            place = cloud.fresh()
            operation.prepare(place)
            first = operation.words(place)
            second = first if number % 2 else (first[0], str(other), *first[2:])
            both = [(*words, *place.words(), "--quiet") for words in (first, second)]
            running = [commands.start(both[0], folder / "commands", Befallen())]
            time.sleep(rng.uniform(0, 0.5))
            running.append(commands.start(both[1], folder / "commands", Befallen()))
            ended = [command.wait() for command in running]
            codes[tuple(sorted(one.code for one in ended))] += 1
            assert {one.code for one in ended} <= {0, ExitCode.CONFLICT}, ended
            for words, one in zip(both, ended, strict=True):
                if one.code and first != second:
                    again = commands.run(words, folder / "commands", Befallen())
                    assert again.code == 0, again.err
            if first == second:
                operation.check(place, set())
            else:
                check_all(place, [folder / "old.h5ad", folder / "in.h5ad", other])
    return codes


def check_all(cloud: Cloud, inputs: list[Path]) -> None:
    """Check that a dataset holds each input once, in whatever order, and nothing else."""
    dataset = slaf.open(cloud.at("x"), storage_options=cloud.options)
    order = [source.uri for source in dataset.sources]
    assert sorted(order) == sorted(map(str, inputs))
    assert slaf.verify(dataset, against=order).ok
    assert not unaccounted(dataset.location)


def test_two_at_once(s3: Cloud, tmp_path: Path) -> None:
    """Of two commands one is refused, or comes after the other; each input is there once."""
    assert sum(race(s3, tmp_path, rounds=2, seed=0).values()) == 2


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_at_once_many_times(
    cloud: Cloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So it is however the two meet."""
    codes = race(cloud, tmp_path, rounds=30, seed=1)
    with capsys.disabled():
        print(f"\n{cloud.name}: {dict(codes)}")  # noqa: T201 - what it is for
    assert codes[0, ExitCode.CONFLICT] > 0
