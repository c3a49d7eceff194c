"""Law 12 in buckets: parts by several processes, some of them killed, make one dataset."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

import slaf
from slaf.errors import MissingParts
from slaf.format.validation import with_checksum
from slaf.storage.location import Location
from tests.builders import counts, write_h5ad
from tests.cloud.outputs import output_of, unaccounted
from tests.cloud.servers import upload
from tests.faults import interposer
from tests.faults.commands import Commands
from tests.faults.machines import Machines

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud.servers import Cloud

N_PARTS = 3
# Seconds by which clocks are off: S3 and Azure refuse requests of one that is 15 minutes off.
CLOCKS = 800


def spoil(location: Location, how: str) -> None:
    """Make the receipt of part 1 one that counts for nothing."""
    (name,) = (each for each in location.list(".parts") if each.endswith("part-000001.json"))
    raw = location.read(name) or b""
    if how == "missing":
        location.remove(name)
    elif how == "truncated":
        location.put(name, raw[:50])
    else:
        data: dict[str, Any] = json.loads(raw) | {"plan": "0" * 32}
        del data["digest"]
        location.put(name, with_checksum(data))


def test_parts_in_a_bucket(one_cloud: Cloud, tmp_path: Path) -> None:
    """A plan, its parts and its publication in a bucket, from inputs there; gaps are refused."""
    cloud = one_cloud
    source = write_h5ad(tmp_path / "in.h5ad", counts(3 * N_PARTS, 6))
    reach: dict[str, Any] = {"storage_options": cloud.options}
    url, one, many = upload(cloud, source), cloud.at("one.slaf"), cloud.at("many.slaf")
    slaf.convert(url, one, chunk_size=3, **reach)
    assert slaf.plan(url, many, chunk_size=3, **reach).missing == "0-2"
    location = Location(many, cloud.options)
    for index in (2, 0, 1, 2):
        slaf.part(many, index, **reach)
    for how in ("missing", "truncated", "of another plan"):
        spoil(location, how)
        with pytest.raises(MissingParts, match="--array=1,"):
            slaf.publish(many, **reach)
        assert slaf.status(many, **reach).missing == "1"
        assert slaf.part(many, **reach).index == 1
    slaf.publish(many, **reach)
    assert output_of(location) == output_of(Location(one, cloud.options))
    assert not unaccounted(location)
    assert slaf.verify(many, url, **reach).ok


needs_interposer = pytest.mark.skipif(bool(interposer.why_not()), reason=interposer.why_not())


def campaign(cloud: Cloud, folder: Path, *, kills: int, n_cells: int, spared: float) -> Machines:
    """Kill so many processes at plans in a bucket, and compare with what a disk has."""
    inputs = [
        write_h5ad(folder / f"{at}.h5ad", counts(n_cells, 6 + at, seed=at)) for at in range(2)
    ]
    options = ("--chunk-size", "3", "--join", "union")
    slaf.convert(inputs, folder / "one.slaf", chunk_size=3, join="union")
    expected = output_of(Location(folder / "one.slaf"))
    with Commands(folder) as commands:
        reach, rng = tuple(cloud.words()), random.Random(0)
        machines = Machines(commands, folder, rng, reach, 1.0, spared, CLOCKS)
        while machines.kills < kills:
            place = cloud.fresh()
            machines.finish(inputs, place.at("x"), options)
            location = Location(place.at("x"), cloud.options)
            assert output_of(location) == expected
            assert not unaccounted(location)
    return machines


@needs_interposer
@pytest.mark.timeout(900)
def test_a_machine_that_is_killed_at_a_bucket(one_cloud: Cloud, tmp_path: Path) -> None:
    """Processes whose clocks are apart, at a plan in a bucket: the dataset is that of a disk."""
    campaign(one_cloud, tmp_path, kills=1, n_cells=3, spared=0.8)


@needs_interposer
@pytest.mark.slow
@pytest.mark.timeout(2 * 3600)
def test_machines_that_are_killed_at_a_bucket(
    cloud: Cloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same with 80 kills, in a bucket of each cloud, clocks apart."""
    machines = campaign(cloud, tmp_path, kills=80, n_cells=9, spared=0.35)
    with capsys.disabled():
        print(f"\n{cloud.name}, {machines.kills} kills: {dict(machines.ends)}")  # noqa: T201 - what it is for
