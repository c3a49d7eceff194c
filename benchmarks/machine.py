"""Hardware and revision of the measurement, without names of machines."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

__all__ = ["machine", "measured"]

_CPUS = Path("/proc/cpuinfo")
_GIB = 1 << 30


def machine() -> dict[str, str | int]:
    """Processor, cores, memory, system and Python."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "memory": f"{memory / _GIB:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "python": ".".join(map(str, sys.version_info[:3])),
    }


def measured() -> dict[str, str]:
    """The revision, with a plus if files differ from it, and the day of its commit."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", folder, *arguments], capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "../slaf", "../cli", ".")
    revision = f"{git('rev-parse', '--short=12', 'HEAD')}{'+' if changed else ''}"
    return {
        "revision": revision or "unknown",
        "date": git("show", "--no-patch", "--format=%cs", "HEAD") or "an unknown day",
    }


def _processor() -> str:
    if _CPUS.exists():
        lines = (line.partition(":") for line in _CPUS.read_text().splitlines())
        names = [value.strip() for key, _, value in lines if key.strip() == "model name"]
        if names:
            return names[0]
    return platform.processor() or platform.machine()
