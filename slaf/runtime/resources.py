"""Memory and cores that this process may use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cpu_count", "default_memory_budget"]

_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
_SHARE = 4
_MIN_BUDGET, _MAX_BUDGET = 16 << 20, 2 << 30

# The budget where the system does not report its free memory.
_UNKNOWN_BUDGET = 256 << 20


class _CgroupFiles(NamedTuple):
    """Names of the files of a cgroup.

    Attributes
    ----------
    limits
        Files with a limit of its memory.
    used
        The file with its memory in use.
    idle
        The key in memory.stat of cached files that were not read recently, which the system drops
        when it needs their memory.
    quota
        Files with the CPU time that it may use in a period, and the period, in microseconds.
    """

    limits: tuple[str, ...]
    used: str
    idle: str
    quota: tuple[str, ...]


# https://docs.kernel.org/admin-guide/cgroup-v1/memory.html, …/scheduler/sched-bwc.html and
# …/admin-guide/cgroup-v2.html
_V1 = _CgroupFiles(
    limits=("memory.limit_in_bytes",),
    used="memory.usage_in_bytes",
    idle="total_inactive_file",
    quota=("cpu.cfs_quota_us", "cpu.cfs_period_us"),
)
_V2 = _CgroupFiles(
    limits=("memory.max", "memory.high"),
    used="memory.current",
    idle="inactive_file",
    quota=("cpu.max",),
)


def default_memory_budget(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """The memory for sorting: a quarter of the free memory, from 16 MiB to 2 GiB.

    The free memory is that of the machine or of the container, whichever has less. Files that were
    read recently count as used memory.

    Parameters
    ----------
    proc, cgroups
        The folders in which Linux describes processes and cgroups. A container is limited by
        cgroups of version 1, of version 2, or of both.
    """
    free = [*_free_of_machine(proc), *_free_of_cgroups(proc, cgroups)]
    return min(max(min(free) // _SHARE, _MIN_BUDGET), _MAX_BUDGET) if free else _UNKNOWN_BUDGET


def cpu_count(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """The cores that this process, or its container, may use, at least one.

    Parameters
    ----------
    proc, cgroups
        As in `default_memory_budget`.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = [len(affinity(0)) if affinity else os.cpu_count() or 1]
    for cgroup, files in _cgroups(proc, cgroups, "cpu"):
        words = " ".join(line for name in files.quota for line in _lines(cgroup / name)).split()
        # No quota is "max" or -1, or the files are missing.
        if len(words) == 2 and all(map(str.isdigit, words)) and int(words[1]):  # noqa: PLR2004
            cores.append(int(words[0]) // int(words[1]))
    return max(min(cores), 1)


def _free_of_machine(proc: Path) -> Iterator[int]:
    for line in _lines(proc / "meminfo"):
        name, _, size = line.partition(":")
        if name == "MemAvailable":
            yield int(size.split()[0]) << 10


def _free_of_cgroups(proc: Path, cgroups: Path) -> Iterator[int]:
    """The memory below each limit."""
    for cgroup, files in _cgroups(proc, cgroups, "memory"):
        stat = dict(line.split() for line in _lines(cgroup / "memory.stat"))
        used = sum(map(int, _lines(cgroup / files.used))) - int(stat.get(files.idle, 0))
        for limit in files.limits:
            for size in _lines(cgroup / limit):
                if size.isdigit():  # not "max"
                    yield int(size) - used


def _cgroups(proc: Path, cgroups: Path, controller: str) -> Iterator[tuple[Path, _CgroupFiles]]:
    """Each cgroup of this process, and its parents: the smallest limit of all counts."""
    for line in _lines(proc / "self" / "cgroup"):
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if number == "0":
            root, files = cgroups, _V2
        elif controller in controllers.split(","):
            root, files = cgroups / controller, _V1
        else:
            continue
        # A container may see its own cgroup as the root, but the path is that of the host.
        cgroup = root / path.strip("/")
        for folder in (cgroup, *cgroup.parents):
            yield folder, files
            if folder == root:
                break


def _lines(path: Path) -> list[str]:
    """The lines of a file; none if it cannot be read."""
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
