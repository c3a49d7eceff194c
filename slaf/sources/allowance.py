"""How much memory sorting may take where nobody says: a share of what is free."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["default_memory"]

_SHARE = 4
_MOST = 2 << 30
# Where the system does not tell what is free.
_UNTOLD = 256 << 20


class _Names(NamedTuple):
    """What the files of a group are called."""

    limits: tuple[str, ...]
    taken: str
    # Of what is taken, the files that were read long ago, which the system drops when it must.
    idle: str


# https://docs.kernel.org/admin-guide/cgroup-v1/memory.html and …/admin-guide/cgroup-v2.html
_V1 = _Names(("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")
_V2 = _Names(("memory.max", "memory.high"), "memory.current", "inactive_file")


def default_memory(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """A quarter of what the machine, or the container, has free; at most 2 GiB.

    Parameters
    ----------
    proc, cgroups
        Where Linux tells of the process and of its groups, which are what limits a container:
        of version 1, of version 2, or of both at once.
    """
    free = [*_of_machine(proc), *_of_groups(proc, cgroups)]
    return min(max(min(free), 0) // _SHARE, _MOST) if free else _UNTOLD


def _of_machine(proc: Path) -> Iterator[int]:
    for line in _lines(proc / "meminfo"):
        name, _, size = line.partition(":")
        if name == "MemAvailable":
            yield int(size.split()[0]) << 10


def _of_groups(proc: Path, cgroups: Path) -> Iterator[int]:
    """What is free in each group that holds this process: any of them may be the narrowest."""
    for line in _lines(proc / "self" / "cgroup"):
        number, controllers, path = line.split(":", 2)
        if number == "0":
            yield from _of_path(cgroups, path, _V2)
        elif "memory" in controllers.split(","):
            yield from _of_path(cgroups / "memory", path, _V1)


def _of_path(root: Path, path: str, names: _Names) -> Iterator[int]:
    # A container may see its own group as the root, and yet be told the path that the host sees.
    group = root / path.strip("/")
    for place in (group, *group.parents):
        yield from _of_group(place, names)
        if place == root:
            return


def _of_group(place: Path, names: _Names) -> Iterator[int]:
    stat = dict(line.split() for line in _lines(place / "memory.stat"))
    taken = sum(map(int, _lines(place / names.taken))) - int(stat.get(names.idle, 0))
    for limit in names.limits:
        for size in _lines(place / limit):
            if size.isdigit():  # not "max"
                yield int(size) - taken


def _lines(path: Path) -> list[str]:
    """The lines of a file, none if there is no such file."""
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
