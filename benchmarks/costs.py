"""Parts of this program alone, in turn: checks, proof, and the lock of the interpreter."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.environment import python_of
from benchmarks.inputs import FOLDER, cached_input
from benchmarks.process import measure
from benchmarks.programs import OURS, PROGRAMS, script
from benchmarks.rounds import log, result_of, stored_output

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.cases import Case
    from benchmarks.results import Results

__all__ = ["CHECKS", "COSTS", "LOCK", "SCAN", "VERIFY", "costs_in_turn"]

CHECKS = "digests and exact checks"
VERIFY = "slaf verify"
SCAN = "bare scan"
LOCK = "lock of the interpreter, all but the first thread"

_PYTHON = Path(sys.executable)
_SLAF = _PYTHON.with_name("slaf")
_SAMPLES_A_SECOND = 200


def costs_in_turn(case: Case, runs: int, results: Results, folder: Path = FOLDER) -> None:
    """Measure the parts that a case names, for its missing runs."""
    if not case.costs:
        return
    source = cached_input(case.input, folder).path
    dataset = stored_output(PROGRAMS[OURS], case.input, source, results, folder)
    done = results.costs.setdefault(case.name, {})
    for number in range(runs):
        for name in case.costs:
            figures = done.setdefault(name, [])
            if len(figures) > number:
                continue
            log(f"{case.name}: {name}, run {number + 1}")
            figures.append(COSTS[name](source, dataset))
            results.save()


def _check(source: Path, _: Path) -> float:
    """CPU seconds of the digests and exact checks of an input alone."""
    seconds: float = result_of(script(_PYTHON, "checks", source))
    return seconds


def _verify(_: Path, dataset: Path) -> float:
    """CPU seconds of `slaf verify`."""
    return measure([_SLAF, "verify", "--quiet", dataset]).cpu_seconds


def _scan(_: Path, dataset: Path) -> float:
    """CPU seconds of a process that reads every batch of the expression table, and no more."""
    return measure(script(_PYTHON, "scan", dataset)).cpu_seconds


def _lock(source: Path, _: Path) -> float:
    """The share of the time in which threads other than the first hold the interpreter's lock."""
    sampler = python_of("py-spy", "py-spy==0.4.3").with_name("py-spy")
    with TemporaryDirectory(dir=source.parent) as folder:
        stacks, output = Path(folder) / "stacks", Path(folder) / "out.slaf"
        how = ["--gil", "--threads", "--format", "raw", "--rate", str(_SAMPLES_A_SECOND)]
        record: list[str | Path] = [sampler, "record", *how, "--output", stacks, "--"]
        convert: list[str | Path] = [_SLAF, "convert", "--quiet", "--workers", "1", source, output]
        began = time.monotonic()
        subprocess.run([*record, *convert], capture_output=True, check=True)
        samples = (time.monotonic() - began) * _SAMPLES_A_SECOND
        # Of the samples only those in which a thread has the lock are recorded.
        lines = [line.rpartition(" ") for line in stacks.read_text().splitlines()]
    main = next(stack.split(":")[0] for stack, _, _ in lines if ": MainThread" in stack)
    with_lock = sum(int(count) for stack, _, count in lines if not stack.startswith(main))
    return with_lock / samples


COSTS: dict[str, Callable[[Path, Path], float]] = {
    CHECKS: _check,
    VERIFY: _verify,
    SCAN: _scan,
    LOCK: _lock,
}
