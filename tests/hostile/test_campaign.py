"""The long campaign: every good input cut at many places, and with many bytes changed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from slaf_cli.report import ExitCode
from tests.hostile.corpus import CAMPAIGN
from tests.hostile.pool import Pool
from tests.hostile.test_inputs import MOST_SECONDS, assert_one_paragraph

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells what is used"),
]

# Of a thousand files with changed bytes so many may end a worker from within: HDF5 and TileDB
# follow addresses, and take memory for sizes, that nobody but they can see.
MOST_ENDED = 0.01


def test_campaign(tmp_path: Path) -> None:
    """Whatever is cut or changed, it is converted and proven or refused by one paragraph."""
    pool = Pool(2, tmp_path)
    futures = pool.submit(CAMPAIGN)
    ended = []
    for name, future in futures.items():
        attempt = future.result()
        if attempt.ended is not None:
            ended.append((name, attempt.ended))
            continue
        found = attempt.found
        assert "failed" not in found, (name, found)
        converting = found["commands"][0]
        for command in found["commands"]:
            assert command["raised"] is None, (name, command)
            assert min(command["seconds"], command["cpu"]) < MOST_SECONDS, (name, command)
        if converting["code"]:
            assert converting["code"] in {ExitCode.BAD_INPUT, ExitCode.STORAGE}, (name, converting)
            assert_one_paragraph(converting["err"], found["path"])
            assert found["left"] == [], name
        else:
            assert found["commands"][2]["code"] == ExitCode.DONE, (name, found["commands"][2])
    pool.close()
    print(f"{len(futures):,} inputs, of which {len(ended)} ended a worker: {ended}")  # noqa: T201
    assert len(ended) <= MOST_ENDED * len(futures)
