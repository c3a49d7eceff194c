"""Normalise, filter and sort a file in alternating runs with crispyx; sums and a bare scan."""

from __future__ import annotations

import shutil
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.inputs.counts import Counts
from benchmarks.inputs.input import FOLDER, Input, cached_input
from benchmarks.process import measure
from benchmarks.table import report, seconds, size

if TYPE_CHECKING:
    import argparse

    from benchmarks.inputs.counts import Layout
    from benchmarks.process import Usage

__all__ = ["add_arguments", "run"]

_SCRIPTS: Final = Path(__file__).parent / "scripts"
_CASES: Final[dict[str, tuple[str, Layout]]] = {
    "normalize, csr": ("normalize", "csr"),
    "normalize, csc": ("normalize", "csc"),
    "filter, csr": ("filter", "csr"),
    "sort, csr": ("sort", "csr"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    parser.add_argument("--crispyx", metavar="PYTHON", help="a python that has crispyx 0.2.2")
    parser.add_argument("--case", choices=[*_CASES, "sum"], action="append")
    parser.add_argument("--cells", type=int, default=8_000, help="of 2,600 nonzeros each")
    parser.add_argument("--runs", type=int, default=5)


def run(arguments: argparse.Namespace) -> int:
    """Measure each case, print a table of medians, and return 0."""
    folder = FOLDER / "transforms"
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, str | int | float]] = []
    for case in arguments.case or [*_CASES, "sum"]:
        commands = _commands(folder, case, arguments)
        usages: dict[str, list[Usage]] = {program: [] for program in commands}
        for _ in range(arguments.runs):
            for program, command in commands.items():
                usages[program].append(measure(command))
                for output in folder.glob("out*"):
                    shutil.rmtree(output) if output.is_dir() else output.unlink()
        rows += [_row(case, program, found) for program, found in usages.items()]
    report(rows, as_json=arguments.json)
    return 0


def _commands(folder: Path, case: str, arguments: argparse.Namespace) -> dict[str, list[Any]]:
    """The command of each program, by its name."""
    ours = [sys.executable, _SCRIPTS / "transforms_slaf.py"]
    if case == "sum":
        dataset = folder / f"{arguments.cells}.slaf"
        if not dataset.exists():
            source = cached_input(Input(Counts(arguments.cells))).path
            measure([Path(sys.executable).with_name("slaf"), "convert", source, dataset, "-q"])
        return {"a bare scan": [*ours, "scan", dataset], "slaf": [*ours, "sum", dataset]}
    step, layout = _CASES[case]
    source = cached_input(Input(Counts(arguments.cells, layout=layout))).path
    commands = {
        "slaf, to a dataset": [*ours, step, source, folder / "out.slaf"],
        "slaf, to h5ad": [*ours, step, source, folder / "out.h5ad"],
    }
    if arguments.crispyx is not None:
        script = _SCRIPTS / "transforms_crispyx.py"
        commands["crispyx"] = [arguments.crispyx, script, step, source, folder / "out-c.h5ad"]
    return commands


def _row(case: str, program: str, usages: list[Usage]) -> dict[str, str | int | float]:
    return {
        "case": case,
        "program": program,
        "cpu_seconds": seconds(statistics.median(one.cpu_seconds for one in usages)),
        "least": seconds(min(one.cpu_seconds for one in usages)),
        "seconds": seconds(statistics.median(one.seconds for one in usages)),
        "peak_MiB": size(max(one.peak_bytes for one in usages)),
    }
