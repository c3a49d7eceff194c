"""Transforms and quality control in alternating runs with crispyx; sums and a bare scan."""

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
# Quality control, normalisation and log1p: crispyx reads the file, and we a dataset made of it.
_FROM_DATASET: Final[dict[str, Layout]] = {"qc, csr": "csr", "qc, csc": "csc"}
_ALL: Final = (*_CASES, *_FROM_DATASET, "sum")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    parser.add_argument("--crispyx", metavar="PYTHON", help="a python that has crispyx 0.2.2")
    parser.add_argument("--case", choices=_ALL, action="append")
    parser.add_argument("--cells", type=int, default=8_000)
    parser.add_argument("--depth", type=float, default=6_000.0, help="molecules of a median cell")
    parser.add_argument("--runs", type=int, default=5)


def run(arguments: argparse.Namespace) -> int:
    """Measure each case, print a table of medians, and return 0."""
    folder = FOLDER / "transforms"
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, str | int | float]] = []
    for case in arguments.case or _ALL:
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
    step, layout = _CASES.get(case) or ("qc", _FROM_DATASET.get(case, "csr"))
    counts = Counts(arguments.cells, depth=arguments.depth, layout=layout)
    source = cached_input(Input(counts)).path
    if case == "sum":
        dataset = _dataset_of(source, folder)
        return {"a bare scan": [*ours, "scan", dataset], "slaf": [*ours, "sum", dataset]}
    if case in _FROM_DATASET:
        dataset = _dataset_of(source, folder)
        commands = {"slaf, to h5ad": [*ours, step, dataset, folder / "out.h5ad"]}
    else:
        commands = {
            "slaf, to a dataset": [*ours, step, source, folder / "out.slaf"],
            "slaf, to h5ad": [*ours, step, source, folder / "out.h5ad"],
        }
    if arguments.crispyx is not None:
        script = _SCRIPTS / "transforms_crispyx.py"
        commands["crispyx"] = [arguments.crispyx, script, step, source, folder / "out-c.h5ad"]
    return commands


def _dataset_of(source: Path, folder: Path) -> Path:
    dataset = folder / f"{source.stem}.slaf"
    if not dataset.exists():
        measure([Path(sys.executable).with_name("slaf"), "convert", source, dataset, "-q"])
    return dataset


def _row(case: str, program: str, usages: list[Usage]) -> dict[str, str | int | float]:
    return {
        "case": case,
        "program": program,
        "cpu_seconds": seconds(statistics.median(one.cpu_seconds for one in usages)),
        "least": seconds(min(one.cpu_seconds for one in usages)),
        "seconds": seconds(statistics.median(one.seconds for one in usages)),
        "peak_MiB": size(max(one.peak_bytes for one in usages)),
    }
