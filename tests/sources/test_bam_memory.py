"""Memory follows the reads of a file, not the lengths of its chromosomes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.sources.reads import M, Read, write_reads

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LONG = (("chr1", 200_000_000),)
HUMAN = tuple((f"chr{at}", (250 - 8 * at) * 1_000_000) for at in range(1, 25))

# In a process of its own. The pages of libraries, which others share, are counted in the peak only.
_CONVERT = """
import sys, threading, time
from pathlib import Path

from slaf_cli.process import keep_one_heap

keep_one_heap()
import slaf

def status(name):
    words = Path("/proc/self/status").read_text().split()
    return int(words[words.index(name) + 1])

most = 0

def watch():
    global most
    while True:
        most = max(most, status("RssAnon:"))
        time.sleep(0.005)

threading.Thread(target=watch, daemon=True).start()
slaf.convert(sys.argv[1], sys.argv[2])
print(most * 1024, 1024 * status("VmHWM:"))
"""


def peaks(folder: Path, contigs: Sequence[tuple[str, int]]) -> tuple[int, int]:
    """The most memory of a conversion of 100 reads, anonymous and in all, in bytes."""
    some = [Read(at % len(contigs), at * 500_000, ((M, 100),)) for at in range(100)]
    path = write_reads(folder / f"{len(contigs)}.bam", some, contigs)
    words = [sys.executable, "-c", _CONVERT, str(path), str(path.with_suffix(".slaf"))]
    printed = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    anonymous, whole = map(int, printed)
    return anonymous, whole


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc has the peak of a process")
def test_memory_follows_reads(tmp_path: Path) -> None:
    """Of 200 Mb less than 150 MB, libraries and all; 3,080,000 bins take little more."""
    anonymous, whole = peaks(tmp_path, LONG)
    assert anonymous < 150e6
    more_anonymous, more_whole = peaks(tmp_path, HUMAN)
    assert more_anonymous - anonymous < 40e6
    assert more_whole - whole < 40e6
