"""Measure the conversions and reads that have no figures yet."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.cases import cases, reading
from benchmarks.costs import costs_in_turn
from benchmarks.inputs import FOLDER
from benchmarks.machine import machine, measured
from benchmarks.programs import PROGRAMS
from benchmarks.results import Results
from benchmarks.rounds import convert_in_turn, read_in_turn

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from benchmarks.cases import Sizes

__all__ = ["add_arguments", "compare"]


def add_arguments(parser: argparse.ArgumentParser, sizes: Sizes, runs: int) -> None:
    """Declare the options of both benchmarks of conversions."""
    parser.add_argument(
        "--cells",
        type=int,
        nargs=3,
        default=(sizes.small, sizes.medium, sizes.large),
        metavar=("SMALL", "MEDIUM", "LARGE"),
        help="numbers of cells of the inputs",
    )
    parser.add_argument("--runs", type=int, default=runs, help="runs of each program, taking turns")
    parser.add_argument(
        "--only", default="", metavar="PART", help="only cases whose names contain this"
    )


def compare(
    sizes: Sizes,
    runs: int,
    *,
    name: str,
    programs: frozenset[str],
    only: str = "",
    costs: bool = False,
    folder: Path = FOLDER,
) -> Results:
    """Measure the missing figures; all figures.

    Parameters
    ----------
    sizes
        Numbers of cells of the inputs.
    runs
        Runs of each program on each input.
    name
        Name of the file of figures.
    programs
        Names of the programs.
    only
        Part of the names of the cases to measure.
    costs
        Whether parts of this program are measured alone as well.
    folder
        Folder of inputs, environments, outputs and figures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results = Results.begin(folder / f"{name}.json", {**machine(), **measured()})
    for case in cases(sizes, folder):
        if only in case.name:
            chosen = tuple(program for program in case.programs if program in programs)
            _record_versions(chosen, results)
            convert_in_turn(replace(case, programs=chosen), runs, results, folder)
            if costs:
                costs_in_turn(case, runs, results, folder)
    reads = reading(sizes)
    if only in reads.name:
        chosen = tuple(program for program in reads.programs if program in programs)
        _record_versions(chosen, results)
        read_in_turn(replace(reads, programs=chosen), runs, results, folder)
    return results


def _record_versions(programs: tuple[str, ...], results: Results) -> None:
    for name in programs:
        if name not in results.versions and PROGRAMS[name].packages:
            results.versions[name] = PROGRAMS[name].versions()
