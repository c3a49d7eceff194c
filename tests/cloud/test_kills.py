"""Commands are killed by SIGKILL at random moments, and nothing in the bucket is lost by any."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.cloud.kills import Kills, conversions, exports
from tests.cloud.proxy import proxied
from tests.faults import interposer
from tests.faults.commands import Commands

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
