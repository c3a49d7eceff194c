"""Commands are killed at random moments, or race, and nothing in the bucket is lost by any."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
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
    from collections.abc import Iterator, Mapping

    from tests.cloud.kills import Operation
    from tests.cloud.servers import Cloud

pytestmark = pytest.mark.skipif(bool(interposer.why_not()), reason=interposer.why_not())


@dataclass(frozen=True)
class Workplace:
    """Where commands are run, and what they are run on: operations of a few parts."""

    commands: Commands
    folder: Path
    operations: Mapping[str, Operation]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """One for all tests: it takes seconds to make."""
    folder = tmp_path_factory.mktemp("commands")
    small = conversions(tmp_path_factory.mktemp("inputs"), 4)
    with Commands(folder) as commands:
        yield Workplace(commands, folder, small)


def campaign(
    operations: Mapping[str, Operation], cloud: Cloud, at: Workplace, *, kills: int, seed: int
) -> Kills:
    """Kill so many commands, and finish and check all that they were at."""
    with proxied(cloud.endpoint) as proxy:
        found = Kills(at.commands, at.folder, proxy, cloud, random.Random(seed))
        found.run(operations, kills)
    return found


def test_killed_a_few_times(s3: Cloud, workplace: Workplace) -> None:
    """After each kill there is what was before, or all; the same command makes it whole."""
    for name in ("append", "copy --overwrite"):
        chosen = {name: workplace.operations[name]}
        found = campaign(chosen, s3, workplace, kills=2, seed=0)
        assert sum(found.landed.values()) >= 2


@pytest.mark.slow
@pytest.mark.timeout(2 * 3600)
def test_killed_more_than_a_hundred_times(
    cloud: Cloud, workplace: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So it is after many kills of every command, all over what they do."""
    for name in ("converted", "exported"):
        (tmp_path / name).mkdir()
    chosen = conversions(tmp_path / "converted", 16) | exports(tmp_path / "exported")
    found = campaign(chosen, cloud, workplace, kills=120, seed=1)
    with capsys.disabled():
        print(f"\n{found}")  # noqa: T201 - what it is for
    assert len({parts for parts in found.parts if parts}) >= 6, "they hit too few parts"
    for way in ("at a time", "before a request", "amid a request"):
        assert sum(n for (_, how, _), n in found.landed.items() if how == way) >= 20


def race(
    cloud: Cloud, at: Workplace, folder: Path, *, rounds: int, seed: int
) -> Counter[tuple[int, ...]]:
    """Append two inputs, or one twice, by two commands at a time; how they ended."""
    rng = random.Random(seed)
    operation = at.operations["append"]
    other = write_h5ad(folder / "other.h5ad", counts(5, 20, seed=9))
    codes: Counter[tuple[int, ...]] = Counter()
    for number in range(rounds):
        place = cloud.fresh()
        operation.prepare(place)
        first = operation.words(place)
        second = first if number % 2 else (first[0], str(other), *first[2:])
        both = [(*words, *place.words(), "--quiet") for words in (first, second)]
        running = [at.commands.start(both[0], at.folder, Befallen())]
        time.sleep(rng.uniform(0, 0.5))
        running.append(at.commands.start(both[1], at.folder, Befallen()))
        ended = [command.wait() for command in running]
        codes[tuple(sorted(one.code for one in ended))] += 1
        # Where the first is done by then, the input is in the dataset already.
        late = {ExitCode.ALREADY_IN_DATASET} if first == second else set()
        assert {one.code for one in ended} <= {0, ExitCode.CONFLICT} | late, ended
        if first == second:
            operation.check(place, set())
            continue
        for words, one in zip(both, ended, strict=True):
            if one.code:
                again = at.commands.run(words, at.folder, Befallen())
                assert again.code == 0, again.err
        added = Path(first[1])
        check_all(place, [added.with_name("old.h5ad"), added, other])
    return codes


def check_all(cloud: Cloud, inputs: list[Path]) -> None:
    """Check that a dataset holds each input once, in whatever order, and nothing else."""
    dataset = slaf.open(cloud.at("x"), storage_options=cloud.options)
    order = [source.uri for source in dataset.sources]
    assert sorted(order) == sorted(map(str, inputs))
    assert slaf.verify(dataset, against=order).ok
    assert not unaccounted(dataset.location)


def test_two_at_once(s3: Cloud, workplace: Workplace, tmp_path: Path) -> None:
    """Of two commands one is refused, or comes after the other; each input is there once."""
    assert sum(race(s3, workplace, tmp_path, rounds=2, seed=0).values()) == 2


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_at_once_many_times(
    cloud: Cloud, workplace: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So it is however the two meet."""
    codes = race(cloud, workplace, tmp_path, rounds=30, seed=1)
    with capsys.disabled():
        print(f"\n{cloud.name}: {dict(codes)}")  # noqa: T201 - what it is for
    assert codes[0, ExitCode.CONFLICT] > 0
