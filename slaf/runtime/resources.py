"""What this process may take of the machine where nobody says: memory and cores."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cpu_count", "default_memory_budget"]

_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
_SHARE = 4
_LEAST, _MOST = 16 << 20, 2 << 30

# Where the system does not tell what is free.
_UNTOLD = 256 << 20


class _Names(NamedTuple):
    """What the files of a group are called."""

    limits: tuple[str, ...]
    taken: str
    # Of what is taken, the files that were read long ago, which the system drops when it must.
    idle: str
    # What tells how many microseconds of all cores may be taken, and in how many.
    cores: tuple[str, ...]


# https://docs.kernel.org/admin-guide/cgroup-v1/memory.html, …/scheduler/sched-bwc.html and
# …/admin-guide/cgroup-v2.html
_V1 = _Names(
    limits=("memory.limit_in_bytes",),
    taken="memory.usage_in_bytes",
    idle="total_inactive_file",
    cores=("cpu.cfs_quota_us", "cpu.cfs_period_us"),
)
_V2 = _Names(
    limits=("memory.max", "memory.high"),
    taken="memory.current",
    idle="inactive_file",
    cores=("cpu.max",),
)


def default_memory_budget(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """What sorting takes: a quarter of what the machine, or container, has free; 16 MiB to 2 GiB.

    What the system keeps of files counts as taken, so that there may be nothing free by its count.

    Parameters
    ----------
    proc, cgroups
        Where Linux tells of the process and of its groups, which are what limits a container:
        of version 1, of version 2, or of both at once.
    """
    free = [*_of_machine(proc), *_of_groups(proc, cgroups)]
    return min(max(min(free) // _SHARE, _LEAST), _MOST) if free else _UNTOLD


def cpu_count(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """The cores that this process, or its container, may use, at least one.

    Parameters
    ----------
    proc, cgroups
        As for `default_memory`.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = [len(affinity(0)) if affinity else os.cpu_count() or 1]
    for group, names in _groups(proc, cgroups, "cpu"):
        words = " ".join(line for name in names.cores for line in _lines(group / name)).split()
        # Not "max", nor -1, nor what is no quota at all.
        if len(words) == 2 and all(map(str.isdigit, words)) and int(words[1]):  # noqa: PLR2004
            cores.append(int(words[0]) // int(words[1]))
    return max(min(cores), 1)


def _of_machine(proc: Path) -> Iterator[int]:
    for line in _lines(proc / "meminfo"):
        name, _, size = line.partition(":")
        if name == "MemAvailable":
            yield int(size.split()[0]) << 10


def _of_groups(proc: Path, cgroups: Path) -> Iterator[int]:
    """What is free in each group."""
    for group, names in _groups(proc, cgroups, "memory"):
        stat = dict(line.split() for line in _lines(group / "memory.stat"))
        taken = sum(map(int, _lines(group / names.taken))) - int(stat.get(names.idle, 0))
        for limit in names.limits:
            for size in _lines(group / limit):
                if size.isdigit():  # not "max"
                    yield int(size) - taken


def _groups(proc: Path, cgroups: Path, controller: str) -> Iterator[tuple[Path, _Names]]:
    """Each group that holds this process, any of which may be the narrowest."""
    for line in _lines(proc / "self" / "cgroup"):
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if number == "0":
            root, names = cgroups, _V2
        elif controller in controllers.split(","):
            root, names = cgroups / controller, _V1
        else:
            continue
        # A container may see its own group as the root, and yet be told the path that the host
        # sees.
        group = root / path.strip("/")
        for place in (group, *group.parents):
            yield place, names
            if place == root:
                break


def _lines(path: Path) -> list[str]:
    """The lines of a file, none if there is no such file."""
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
