"""Programs in turn on the same input, so that a slow minute is slow for all of them."""

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

from benchmarks.inputs import FOLDER, kept
from benchmarks.inputs.h5ad import tables
from benchmarks.process import CommandFailed, measure
from benchmarks.programs import OURS, PROGRAMS, script
from benchmarks.results import Conversions, Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.cases import Case, Reading
    from benchmarks.inputs import Input
    from benchmarks.programs import Program
    from benchmarks.results import Results

__all__ = ["BUDGET_SECONDS", "check_cost", "convert_in_turn", "read_in_turn"]

# A program that takes longer for all its runs of a case has fewer of them.
BUDGET_SECONDS = 20.0
# The last line of what our scripts print.
_RESULT = "RESULT"
# Of what a program that failed has printed, so much is told.
_TAIL = 300
# What a read is repeated for, the first time included.
_TIMES = 6
_TOP = Path(__file__).parents[1]
_RANDOM_CELLS, _SPAN = 64, 10_000


class _Failed(Exception):
    """One of our scripts did not end well."""


def convert_in_turn(
    case: Case,
    runs: int,
    results: Results,
    folder: Path = FOLDER,
    programs: Mapping[str, Program] = PROGRAMS,
) -> None:
    """Run all programs of a case, as often as is still to be done."""
    source = kept(case.input, folder)
    done = results.conversions.setdefault(case.name, {})
    for number in range(runs):
        for name in _rotated(case.programs, number):
            found = done.setdefault(name, Conversions(source.nonzeros))
            if _is_done(found, case, name, number):
                continue
            _say(f"{case.name}: {name}, run {number + 1}")
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                output = Path(scratch) / f"output{programs[name].suffix}"
                _convert_once(programs[name], case, source.path, output, found)
                store = _store_of(programs[name], case.input, results, folder)
                if name in case.read and not found.failure and not store.exists():
                    _keep(output, store)
            results.save()


def _rotated(programs: tuple[str, ...], number: int) -> Iterator[str]:
    first = number % len(programs)
    yield from programs[first:]
    yield from programs[:first]


def _is_done(found: Conversions, case: Case, name: str, number: int) -> bool:
    if found.failure or len(found.runs) > number:
        return True
    if not found.runs or name in case.every:
        return False
    return found.median("seconds") * (len(found.runs) + 1) > BUDGET_SECONDS


def _convert_once(
    program: Program, case: Case, source: Path, output: Path, found: Conversions
) -> None:
    command = program.convert(program.python, case.input, source, output)
    try:
        usage = measure(command)
    except CommandFailed as error:
        found.failure = _told(str(error))
        return
    stored = _size(output)
    found.runs.append(Run(usage.seconds, usage.cpu_seconds, usage.peak_bytes, stored))
    if case.checked and found.losses is None and not program.name.startswith("floor"):
        try:
            there = _result(script(program.python, program.script, "content", output))
        except _Failed as error:
            found.losses = [f"what it wrote it does not read: {error}"]
        else:
            found.losses = _losses(_expected(case.input, source), there)


def _expected(wanted: Input, source: Path) -> dict[str, Any]:
    note = source.with_name(f"{source.name}.content.json")
    if not note.exists():
        python = Path(sys.executable)
        note.write_text(json.dumps(_result(script(python, "expected", wanted.kind, source))))
    expected: dict[str, Any] = json.loads(note.read_text())
    return expected


def _losses(expected: dict[str, Any], there: dict[str, Any]) -> list[str]:
    """In what an output differs from its input, in words."""
    found = [] if there["matrix"] == expected["matrix"] else ["X is another matrix"]
    # Of sums of fractions the last digits depend on the order.
    if not found and not math.isclose(there["first"], expected["first"], rel_tol=1e-5):
        found.append("X is the same read as a whole, but not read cell by cell")
    for table, ids in (("cells", "obs"), ("genes", "var")):
        if there[table] is None:
            found.append(f"{table} have no ids, unless they are a column of {ids}")
        elif there[table] != expected[table]:
            found.append(f"{table} have other ids")
    for table in ("obs", "var"):
        columns, others = expected[table], there[table]
        lost = [name for name in columns if name not in others]
        changed = [
            name for name in columns if name in others and others[name][1] != columns[name][1]
        ]
        kinds = {
            f"{columns[name][0]} of {table} became {others[name][0]}"
            for name in columns
            if name in others and others[name][0] != columns[name][0]
        }
        found += [f"{table} lost {', '.join(lost)}"] if lost else []
        found += [f"values of {table} differ: {', '.join(changed)}"] if changed else []
        found += sorted(kinds)
    return found


def read_in_turn(
    case: Reading,
    runs: int,
    results: Results,
    folder: Path = FOLDER,
    programs: Mapping[str, Program] = PROGRAMS,
) -> None:
    """Read what each program makes of an input, each time in a process of its own."""
    source = kept(case.input, folder)
    chosen = folder / "reads.json"
    chosen.write_text(json.dumps(_choices(case.input)))
    done = results.reads.setdefault(case.name, {})
    for number in range(runs):
        for name in _rotated(case.programs, number):
            program, there = programs[name], done.setdefault(name, [])
            if len(there) > number or (there and _spent(there) > BUDGET_SECONDS and name != OURS):
                continue
            output = _stored(program, case.input, source.path, results, folder)
            _say(f"{case.name}: {name}, run {number + 1}")
            try:
                there.append(
                    _result(script(program.python, program.script, "reads", output, chosen))
                )
            except _Failed as error:
                there.append({"": {"failed": str(error)}})
            results.save()


def _spent(processes: list[dict[str, dict[str, Any]]]) -> float:
    """Seconds that all processes, and one more, take to read."""
    times = (found.get("ms", []) for one in processes for found in one.values())
    return sum(map(sum, times)) / 1e3 * (1 + 1 / len(processes))


def _stored(program: Program, wanted: Input, source: Path, results: Results, folder: Path) -> Path:
    """What a program makes of an input, made unless it is there."""
    store = _store_of(program, wanted, results, folder)
    if not store.exists():
        _say(f"storing {wanted.name} by {program.name}")
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            output = Path(scratch) / f"output{program.suffix}"
            measure(program.convert(program.python, wanted, source, output))
            _keep(output, store)
    return store


def _store_of(program: Program, wanted: Input, results: Results, folder: Path) -> Path:
    release = program.requirements[0] if program.requirements else results.about["revision"]
    name = f"{release}-{wanted.name}{program.suffix}"
    return folder / "stores" / program.name.replace(", ", "-").replace(" ", "-") / name


def _keep(output: Path, store: Path) -> None:
    """Put an output where it is read, in the place of those of other releases and inputs."""
    shutil.rmtree(store.parent, ignore_errors=True)
    store.parent.mkdir(parents=True)
    output.rename(store)


def _choices(wanted: Input) -> dict[str, list[Any]]:
    """What is read, the same for all: each read several times, never the same twice."""
    rng = np.random.default_rng(0)
    n_cells, n_genes = wanted.counts.n_cells, wanted.counts.n_genes
    span = min(_SPAN, n_cells // 2)
    starts = rng.integers(n_cells - span, size=_TIMES)
    labels = list(tables(wanted.counts)[0]["cell_type"].cat.categories[:_TIMES])
    few = min(_RANDOM_CELLS, n_cells)
    return {
        "64 random cells": [
            np.sort(rng.choice(n_cells, few, replace=False)).tolist() for _ in range(_TIMES)
        ],
        "10,000 neighbouring cells": [[int(start), int(start) + span] for start in starts],
        "one gene": rng.choice(n_genes, _TIMES, replace=False).tolist(),
        "filter to AnnData": labels,
    }


def check_cost(case: Case, runs: int, results: Results, folder: Path = FOLDER) -> None:
    """The CPU seconds of our digests and exact checks of an input, by themselves."""
    source, python = kept(case.input, folder).path, Path(sys.executable)
    done = results.checks.setdefault(case.name, [])
    while len(done) < runs:
        _say(f"{case.name}: checks, run {len(done) + 1}")
        done.append(_result(script(python, "checks", source)))
        results.save()


def _result(command: list[str | Path]) -> Any:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith(_RESULT)]
    if done.returncode or not lines:
        raise _Failed(_told(done.stderr))
    return json.loads(lines[-1].removeprefix(_RESULT))


def _told(text: str) -> str:
    """The last line of what a program printed: its error."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    # The page says nothing of where things are on the machine.
    return (lines[-1] if lines else "it printed nothing").replace(f"{_TOP}/", "")[:_TAIL]


def _size(output: Path) -> int:
    files = output.rglob("*") if output.is_dir() else [output]
    return sum(file.stat().st_size for file in files if file.is_file())


def _say(what: str) -> None:
    sys.stderr.write(f"{what}\n")
    sys.stderr.flush()
