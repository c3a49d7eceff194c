"""What was freed goes back to the system."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

# In a process of its own, whose heap is as it is. Pieces that are too small to be mapped one by
# one are freed below one that is not.
_FREE = """
from pathlib import Path

from slaf.runtime.malloc import trim_heap

def held():
    return int(Path("/proc/self/statm").read_text().split()[1])

pieces = [bytearray(b"x" * 65536) for _ in range(2000)]
last = pieces.pop()
del pieces
before = held()
trim_heap()
print(before, held())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others keep nothing, or their own")
def test_what_was_freed_is_given_back() -> None:
    """Holes of 131 MB, below a piece that is in use, are no longer the process's."""
    words = [sys.executable, "-c", _FREE]
    found = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    before, after = map(int, found.split())
    assert (before - after) * os.sysconf("SC_PAGE_SIZE") > 100e6
