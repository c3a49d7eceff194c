"""Commands meet faults of every kind, again and again, and nothing is lost by any."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults import interposer
from tests.faults.campaign import Campaign
from tests.faults.commands import Commands
from tests.faults.disks import mounted
from tests.faults.kinds import KINDS
from tests.faults.operations import FEW, MANY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.faults.campaign import Tally
    from tests.faults.operations import Operation

pytestmark = pytest.mark.skipif(bool(interposer.why_not()), reason=interposer.why_not())


def tally_of(
    operations: Mapping[str, Callable[[Path], Operation]],
    amounts: Mapping[str, int],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> Tally:
    """Inject so many faults of each kind, and print what came of them."""
    with Commands(folder) as commands, mounted(folder / "disk") as disk:
        campaign = Campaign(commands, folder, disk, operations, seed=0)
        for name, amount in amounts.items():
            campaign.inject(name, amount)
            with capsys.disabled():
                print(".", end="", flush=True)  # noqa: T201 - the campaign takes its time
    with capsys.disabled():
        print(f"\n{campaign.tally}")  # noqa: T201 - what it is for
    return campaign.tally


@pytest.mark.timeout(900)
def test_a_few_faults_of_every_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After any fault what is published is whole, or the same command makes it so."""
    amounts = {name: 2 if kind.family == "kill" else 1 for name, kind in KINDS.items()}
    tally = tally_of(FEW, amounts, tmp_path, capsys)
    assert tally.findings == []
    for name in KINDS.keys() - tally.skipped.keys():
        assert sum(tally.verdicts[name].values()) >= amounts[name]


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_a_thousand_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So it is after hundreds of kills, and of refusals of the disk."""
    amounts = {name: kind.amount for name, kind in KINDS.items()}
    tally = tally_of(MANY, amounts, tmp_path, capsys)
    assert tally.findings == []
    assert tally.injected("kill") >= 500
    assert tally.injected("storage") >= 200
