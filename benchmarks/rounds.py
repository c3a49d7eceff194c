"""Run programs in turn on the same input, so that a slow minute affects all of them."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.inputs import FOLDER, Input, cached_input
from benchmarks.inputs.h5ad import tables
from benchmarks.process import CommandFailed, measure
from benchmarks.programs import OURS, PROGRAMS, script
from benchmarks.results import Conversions, Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.cases import Case, Reading
    from benchmarks.inputs import Counts
    from benchmarks.programs import Program
    from benchmarks.results import Results

__all__ = [
    "BUDGET_SECONDS",
    "convert_in_turn",
    "log",
    "read_in_turn",
    "result_of",
    "stored_output",
]

# A program whose runs of a case would take longer has fewer runs.
BUDGET_SECONDS = 20.0
# Prefix of the last line that our scripts print.
_RESULT = "RESULT"
# Characters of a failed program's error to report.
_TAIL = 300
# Repetitions of a read, including the first.
_TIMES = 6
_TOP = Path(__file__).parents[1]
_RANDOM_CELLS, _SPAN = 64, 10_000


class _Failed(Exception):
    """One of our scripts failed."""


def convert_in_turn(
    case: Case,
    runs: int,
    results: Results,
    folder: Path = FOLDER,
    programs: Mapping[str, Program] = PROGRAMS,
) -> None:
    """Run all programs of a case for its missing runs."""
    source = cached_input(case.input, folder)
    done = results.conversions.setdefault(case.name, {})
    for number in range(runs):
        for name in _rotated(case.programs, number):
            conversions = done.setdefault(name, Conversions(source.nonzeros))
            if _is_done(conversions, case, name, number):
                continue
            log(f"{case.name}: {name}, run {number + 1}")
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                output = Path(scratch) / f"output{programs[name].suffix}"
                _convert_once(programs[name], case, source.path, output, conversions)
                store = _store_of(programs[name], case.input, results, folder)
                if name in case.read and not conversions.failure and not store.exists():
                    _keep(output, store)
            results.save()


def _rotated(programs: tuple[str, ...], number: int) -> Iterator[str]:
    first = number % len(programs)
    yield from programs[first:]
    yield from programs[:first]


def _is_done(conversions: Conversions, case: Case, name: str, number: int) -> bool:
    if conversions.failure or len(conversions.runs) > number:
        return True
    if not conversions.runs or name in case.every:
        return False
    return conversions.median("seconds") * (len(conversions.runs) + 1) > BUDGET_SECONDS


def _convert_once(
    program: Program, case: Case, source: Path, output: Path, conversions: Conversions
) -> None:
    command = program.convert(program.python, case.input, source, output)
    try:
        usage = measure(command)
    except CommandFailed as error:
        conversions.failure = _last_line(str(error))
        return
    stored = _size(output)
    conversions.runs.append(Run(usage.seconds, usage.cpu_seconds, usage.peak_bytes, stored))
    if case.checked and conversions.losses is None and program.script:
        try:
            content = result_of(script(program.python, program.script, "content", output))
        except _Failed as error:
            conversions.losses = [f"its reader fails on its own output: {error}"]
        else:
            conversions.losses = _losses(_expected(case.input, source), content)


def _expected(source: Input, path: Path) -> dict[str, Any]:
    cache = path.with_name(f"{path.name}.content.json")
    if not cache.exists():
        python = Path(sys.executable)
        cache.write_text(json.dumps(result_of(script(python, "expected", source.kind, path))))
    expected: dict[str, Any] = json.loads(cache.read_text())
    return expected


def _losses(expected: dict[str, Any], content: dict[str, Any]) -> list[str]:
    """Differences of an output from its input, in words."""
    losses = [] if content["matrix"] == expected["matrix"] else ["X differs"]
    # The last digits of a sum of fractions depend on the order.
    if not losses and not math.isclose(content["first"], expected["first"], rel_tol=1e-5):
        losses.append("X is correct read whole, but wrong read cell by cell")
    for table, ids in (("cells", "obs"), ("genes", "var")):
        if content[table] is None:
            losses.append(f"{table} have no ids, except as a column of {ids}")
        elif content[table] != expected[table]:
            losses.append(f"ids of {table} differ")
    for table in ("obs", "var"):
        columns, others = expected[table], content[table]
        lost = [name for name in columns if name not in others]
        changed = [
            name for name in columns if name in others and others[name][1] != columns[name][1]
        ]
        kinds = {
            f"{columns[name][0]} of {table} became {others[name][0]}"
            for name in columns
            if name in others and others[name][0] != columns[name][0]
        }
        losses += [f"{table} lost {', '.join(lost)}"] if lost else []
        losses += [f"values of {table} differ: {', '.join(changed)}"] if changed else []
        losses += sorted(kinds)
    return losses


def read_in_turn(
    case: Reading,
    runs: int,
    results: Results,
    folder: Path = FOLDER,
    programs: Mapping[str, Program] = PROGRAMS,
) -> None:
    """Read each program's output of an input, each time in a process of its own."""
    source = Input(case.counts)
    path = cached_input(source, folder).path
    chosen = folder / "reads.json"
    chosen.write_text(json.dumps(_choices(case.counts)))
    done = results.reads.setdefault(case.name, {})
    for number in range(runs):
        for name in _rotated(case.programs, number):
            program, processes = programs[name], done.setdefault(name, [])
            too_slow = processes and name != OURS and _spent(processes) > BUDGET_SECONDS
            if len(processes) > number or too_slow:
                continue
            output = stored_output(program, source, path, results, folder)
            log(f"{case.name}: {name}, run {number + 1}")
            try:
                processes.append(
                    result_of(script(program.python, program.script, "reads", output, chosen))
                )
            except _Failed as error:
                processes.append({"": {"failed": str(error)}})
            results.save()


def _spent(processes: list[dict[str, dict[str, Any]]]) -> float:
    """Seconds that the reads of all processes and of one more take."""
    times = (read.get("ms", []) for process in processes for read in process.values())
    return sum(map(sum, times)) / 1e3 * (1 + 1 / len(processes))


def stored_output(
    program: Program, source: Input, path: Path, results: Results, folder: Path
) -> Path:
    """A program's output of an input, made on first use."""
    store = _store_of(program, source, results, folder)
    if not store.exists():
        log(f"storing {source.name} by {program.name}")
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            output = Path(scratch) / f"output{program.suffix}"
            measure(program.convert(program.python, source, path, output))
            _keep(output, store)
    return store


def _store_of(program: Program, source: Input, results: Results, folder: Path) -> Path:
    release = program.requirements[0] if program.requirements else results.about["revision"]
    name = f"{release}-{source.name}{program.suffix}"
    return folder / "stores" / program.name.replace(", ", "-").replace(" ", "-") / name


def _keep(output: Path, store: Path) -> None:
    """Move an output to the store, replacing those of other releases and inputs."""
    shutil.rmtree(store.parent, ignore_errors=True)
    store.parent.mkdir(parents=True)
    output.rename(store)


def _choices(counts: Counts) -> dict[str, list[Any]]:
    """Arguments of the reads, the same for all programs; no read has the same one twice."""
    rng = np.random.default_rng(0)
    n_cells, n_genes = counts.n_cells, counts.n_genes
    span = min(_SPAN, n_cells // 2)
    starts = rng.integers(n_cells - span, size=_TIMES)
    labels = list(tables(counts)[0]["cell_type"].cat.categories[:_TIMES])
    few = min(_RANDOM_CELLS, n_cells)
    return {
        "64 random cells": [
            np.sort(rng.choice(n_cells, few, replace=False)).tolist() for _ in range(_TIMES)
        ],
        "10,000 neighbouring cells": [[int(start), int(start) + span] for start in starts],
        "one gene": rng.choice(n_genes, _TIMES, replace=False).tolist(),
        "filter to AnnData": labels,
    }


def result_of(command: list[str | Path]) -> Any:
    """What one of our scripts prints as its result."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith(_RESULT)]
    if done.returncode or not lines:
        raise _Failed(_last_line(done.stderr))
    return json.loads(lines[-1].removeprefix(_RESULT))


def _last_line(text: str) -> str:
    """The last line of a program's output: its error."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    # The page contains no paths of the machine.
    return (lines[-1] if lines else "no output").replace(f"{_TOP}/", "")[:_TAIL]


def _size(output: Path) -> int:
    files = output.rglob("*") if output.is_dir() else [output]
    return sum(file.stat().st_size for file in files if file.is_file())


def log(message: str) -> None:
    """Tell what is measured now."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()
