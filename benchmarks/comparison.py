"""All that is measured of conversions and reads, as much of it as is not measured yet."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.cases import cases, reading
from benchmarks.inputs import FOLDER
from benchmarks.machine import machine, revision
from benchmarks.programs import PROGRAMS
from benchmarks.results import Results
from benchmarks.rounds import check_cost, convert_in_turn, read_in_turn

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from benchmarks.cases import Sizes

__all__ = ["add_arguments", "compared"]


def add_arguments(parser: argparse.ArgumentParser, sizes: Sizes, runs: int) -> None:
    """Declare the options that both benchmarks of conversions have."""
    parser.add_argument(
        "--cells",
        type=int,
        nargs=3,
        default=(sizes.small, sizes.medium, sizes.large),
        metavar=("SMALL", "MEDIUM", "LARGE"),
        help="cells of the inputs",
    )
    parser.add_argument("--runs", type=int, default=runs, help="runs of each program, in turn")
    parser.add_argument("--only", default="", metavar="PART", help="cases with this in their names")


def compared(
    sizes: Sizes,
    runs: int,
    *,
    name: str,
    programs: frozenset[str],
    only: str = "",
    folder: Path = FOLDER,
) -> Results:
    """Measure what is still to be measured; all figures.

    Parameters
    ----------
    sizes
        Of the inputs.
    runs
        Of each program on each input.
    name
        Of the file of figures.
    programs
        Which ones.
    only
        Part of the names of the cases that are wanted.
    folder
        Where inputs, environments, outputs and figures are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results = Results.begin(folder / f"{name}.json", {**machine(), "revision": revision()})
    for case in cases(sizes):
        if only in case.name:
            chosen = tuple(one for one in case.programs if one in programs)
            _tell_versions(chosen, results)
            convert_in_turn(replace(case, programs=chosen), runs, results, folder)
            if case.digested:
                check_cost(case, runs, results, folder)
    reads = reading(sizes)
    if only in reads.name:
        chosen = tuple(one for one in reads.programs if one in programs)
        _tell_versions(chosen, results)
        read_in_turn(replace(reads, programs=chosen), runs, results, folder)
    return results


def _tell_versions(programs: tuple[str, ...], results: Results) -> None:
    for name in programs:
        if name not in results.versions and PROGRAMS[name].packages:
            results.versions[name] = PROGRAMS[name].versions()
