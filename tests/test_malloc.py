"""Freed memory goes back to the system."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

# It runs in a process of its own, whose heap is fresh. Pieces that are too small for a mapping each
# are freed below one that is in use.
_FREE = """
from pathlib import Path

from slaf.runtime.malloc import trim_heap

def resident_pages():
    return int(Path("/proc/self/statm").read_text().split()[1])

pieces = [bytearray(b"x" * 65536) for _ in range(2000)]
last = pieces.pop()
del pieces
before = resident_pages()
trim_heap()
print(before, resident_pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has malloc_trim")
def test_freed_memory_is_returned() -> None:
    """Holes of 131 MB, below a piece that is in use, leave the process."""
    command = [sys.executable, "-c", _FREE]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    before, after = map(int, output.split())
    assert (before - after) * os.sysconf("SC_PAGE_SIZE") > 100e6
