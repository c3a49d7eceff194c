"""Default memory budget and core count of machines and containers."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from slaf.runtime.resources import cpu_count, default_memory_budget

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MiB = 1 << 20
UNLIMITED = 0x7FFFFFFFFFFFF000  # how version 1 writes it


def write(folder: Path, files: Mapping[str, object]) -> None:
    """Write the files of a system."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")


def budget(folder: Path, files: Mapping[str, object]) -> int:
    """The default budget of a system with these files below `proc` and `groups`."""
    write(folder, files)
    return default_memory_budget(folder / "proc", folder / "groups")


def meminfo(free: int) -> dict[str, object]:
    """A machine with a number of MiB free."""
    return {"proc/meminfo": f"MemTotal: 99999999 kB\nMemAvailable:   {free << 10} kB"}


def version_2(group: str, limit: object, used: int, idle: int = 0) -> dict[str, object]:
    """A cgroup of version 2, in MiB."""
    return {
        f"groups/{group}/memory.max": limit,
        f"groups/{group}/memory.high": "max",
        f"groups/{group}/memory.current": used * MiB,
        f"groups/{group}/memory.stat": f"anon 5\ninactive_file {idle * MiB}",
    }


def version_1(group: str, limit: int, used: int, idle: int = 0) -> dict[str, object]:
    """A cgroup of version 1, in MiB."""
    return {
        f"groups/memory/{group}/memory.limit_in_bytes": limit,
        f"groups/memory/{group}/memory.usage_in_bytes": used * MiB,
        f"groups/memory/{group}/memory.stat": f"inactive_file 7\ntotal_inactive_file {idle * MiB}",
    }


@pytest.mark.parametrize(("free", "expected"), [(400, 100), (8192, 2048), (64_000, 2048)])
def test_a_machine_without_groups(free: int, expected: int, tmp_path: Path) -> None:
    """The budget is a quarter of the free memory, and at most 2 GiB."""
    assert budget(tmp_path, meminfo(free)) == expected * MiB


def test_a_system_without_information(tmp_path: Path) -> None:
    """The budget is 256 MiB where the free memory is not known."""
    assert budget(tmp_path, {}) == 256 * MiB


@pytest.mark.parametrize("path", ["/", "/job/task", "/seen/by/the/host"])
def test_a_container_of_version_2(path: str, tmp_path: Path) -> None:
    """The free memory of a container includes cached files that the system can drop."""
    files = meminfo(64_000) | {"proc/self/cgroup": f"0::{path}"}
    group = "job/task" if path == "/job/task" else ""
    assert budget(tmp_path, files | version_2(group, 1000 * MiB, 700, 100)) == 100 * MiB


def test_the_smallest_limit_of_nested_groups(tmp_path: Path) -> None:
    """A cgroup without a limit has that of its parent."""
    files = meminfo(64_000) | {"proc/self/cgroup": "0::/slice/job"}
    files |= version_2("slice", 800 * MiB, 400) | version_2("slice/job", "max", 100)
    assert budget(tmp_path, files) == 100 * MiB
    soft = {"groups/slice/job/memory.high": 180 * MiB}
    assert budget(tmp_path, soft) == 20 * MiB


@pytest.mark.parametrize("path", ["/job", "/seen/by/the/host"])
def test_a_container_of_version_1(path: str, tmp_path: Path) -> None:
    """The memory controller of version 1 has a hierarchy of its own."""
    groups = f"9:cpu:/\n4:memory:{path}\n0::/"
    files = meminfo(64_000) | {"proc/self/cgroup": groups} | version_1("", UNLIMITED, 5000)
    group = "job" if path == "/job" else ""
    assert budget(tmp_path, files | version_1(group, 1000 * MiB, 700, 100)) == 100 * MiB


def test_a_version_1_without_limits(tmp_path: Path) -> None:
    """A limit above all memory has no effect."""
    files = meminfo(400) | {"proc/self/cgroup": "4:memory:/job"}
    assert budget(tmp_path, files | version_1("job", UNLIMITED, 100)) == 100 * MiB


def test_a_container_that_is_full(tmp_path: Path) -> None:
    """The budget of a container above its limit is the smallest."""
    files = meminfo(400) | {"proc/self/cgroup": "0::/"}
    assert budget(tmp_path, files | version_2("", 10 * MiB, 11)) == 16 * MiB


CORES = {
    "none": ({}, None),
    "incomplete lines": ({"proc/self/cgroup": "\nx\n0::/", "groups/cpu.max": "5\n"}, None),
    "no period": ({"proc/self/cgroup": "0::/", "groups/cpu.max": "100000 0"}, None),
    "v2 without a limit": (
        {"proc/self/cgroup": "0::/job", "groups/job/cpu.max": "max 100000"},
        None,
    ),
    "v2": ({"proc/self/cgroup": "0::/job", "groups/job/cpu.max": "100000 100000"}, 1),
    "v2, parent": (
        {
            "proc/self/cgroup": "0::/slice/job",
            "groups/slice/cpu.max": "150000 100000",
            "groups/slice/job/cpu.max": "max 100000",
        },
        1,
    ),
    "v2, half a core": ({"proc/self/cgroup": "0::/", "groups/cpu.max": "50000 100000"}, 1),
    "v2, many": ({"proc/self/cgroup": "0::/", "groups/cpu.max": "99900000 100000"}, None),
    "v1": (
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/job",
            "groups/cpu/job/cpu.cfs_quota_us": "100000",
            "groups/cpu/job/cpu.cfs_period_us": "100000",
        },
        1,
    ),
    "v1 without a limit": (
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/job",
            "groups/cpu/job/cpu.cfs_quota_us": "-1",
            "groups/cpu/job/cpu.cfs_period_us": "100000",
        },
        None,
    ),
}


@pytest.mark.parametrize("case", CORES)
def test_cores(case: str, tmp_path: Path) -> None:
    """The cores of the affinity mask count, or fewer if the quota of the container is smaller."""
    files, expected = CORES[case]
    write(tmp_path, files)
    cores = cpu_count(tmp_path / "proc", tmp_path / "groups")
    assert cores == (expected or len(os.sched_getaffinity(0)))


def test_affinity_limits_the_cores() -> None:
    """A process that `taskset` binds to one core counts one."""
    code = "from slaf.runtime.resources import cpu_count; print(cpu_count())"
    command = ["taskset", "-c", "0", sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"1\n"
