"""Compare the figures of the last `peers` with the targets of this program, or measure these."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.cases import Sizes, reading, real_cases
from benchmarks.comparison import compare
from benchmarks.costs import CHECKS, LOCK, SCAN, VERIFY
from benchmarks.inputs import FOLDER
from benchmarks.programs import BY_GENE, FIRST, FIRST_BY_GENE, OURS, PROGRAMS
from benchmarks.results import Results
from benchmarks.table import report

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from benchmarks.results import Conversions

__all__ = ["Target", "add_arguments", "run", "targets", "warm"]

_MB = 1e6
_MILLION = 1e6
_NOT_MEASURED = "not measured"
_CPU, _WALL, _PEAK = "cpu_seconds", "seconds", "peak_bytes"
_FAST = "slaf, fast"
_RUNS = 7
_PROGRAMS = frozenset(
    name
    for name in PROGRAMS
    if name.startswith((OURS, "floor")) and not name.endswith(("h5ad", "types"))
)


@dataclass(frozen=True, slots=True)
class Target:
    """A figure and its bound.

    Attributes
    ----------
    name
        Description of the figure.
    bound
        Upper or lower bound.
    measured
        The figure; None if not measured.
    at_least
        Whether the bound is a lower bound.
    unit
        Unit of bound and figure.
    """

    name: str
    bound: float
    measured: float | None
    at_least: bool = False
    unit: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the figure is within its bound; None if not measured."""
        if self.measured is None:
            return None
        if self.at_least:
            return self.measured >= self.bound
        return self.measured <= self.bound

    def row(self) -> dict[str, str]:
        """The target as a row of text."""
        sign = "≥" if self.at_least else "≤"
        measured = _NOT_MEASURED if self.measured is None else _format(self.measured, self.unit)
        met = {True: "met", False: "NOT met", None: "–"}[self.met]
        bound = f"{sign} {_format(self.bound, self.unit)}"
        return {"what": self.name, "target": bound, "measured": measured, "": met}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the option of this benchmark."""
    parser.add_argument(
        "--measure",
        action="store_true",
        help="measure the missing figures of the targets first: half an hour",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print every target; 1 if one is missed or not measured."""
    figures = FOLDER / "peers.json"
    if arguments.measure:
        results = compare(Sizes(), _RUNS, name=figures.stem, programs=_PROGRAMS, costs=True)
    elif figures.exists():
        results = Results.load(figures)
    else:
        sys.stderr.write("nothing is measured yet: use --measure, or `peers` first\n")
        return 1
    all_targets = targets(results, Sizes())
    report([target.row() for target in all_targets], as_json=arguments.json)
    return int(not all(target.met for target in all_targets))


def targets(results: Results, sizes: Sizes) -> list[Target]:
    """All targets with their figures."""
    return list(_targets(_Figures(results, sizes), sizes))


def warm(processes: list[dict[str, dict[str, list[float]]]], read: str) -> float | None:
    """Milliseconds of a read without the first of each process; None if not measured."""
    warm_times = [each[read]["ms"][1:] for each in processes if "ms" in each.get(read, {})]
    return median(median(times) for times in warm_times) if warm_times else None


class _Figures:
    """Figures by case and program."""

    def __init__(self, results: Results, sizes: Sizes) -> None:
        self._results = results
        self._reads = results.reads.get(reading(sizes).name, {})

    def of(self, case: str, program: str = OURS) -> Conversions | None:
        """Conversions of an input by a program; None if there are none."""
        conversions = self._results.conversions.get(case, {}).get(program)
        return conversions if conversions and conversions.runs else None

    def ratio(self, case: str, program: str, other: str, figure: str = _CPU) -> float | None:
        """A figure of a program relative to that of another: medians, the best runs for walls."""
        return _ratio(self.of(case, program), self.of(case, other), figure)

    def read(self, name: str, program: str = OURS) -> float | None:
        """Milliseconds of a read."""
        return warm(self._reads.get(program, []), name)

    def cost(self, case: str, name: str) -> float | None:
        """Median of a part measured alone."""
        figures = self._results.costs.get(case, {}).get(name)
        return median(figures) if figures else None

    def most(self, figure: str) -> float | None:
        """The largest median of a figure of our conversions of all inputs, except logarithms."""
        counts = [each for each in self._results.conversions if "normalised" not in each]
        found = [of for case in counts if (of := self.of(case))]
        return max((of.median(figure) for of in found), default=None)


def _targets(figures: _Figures, sizes: Sizes) -> Iterator[Target]:
    medium = f"h5ad, gzip, {sizes.medium:,} cells"
    yield from _against_slafdb(figures, medium)
    yield from _against_the_first(figures, sizes)
    for program, bound in ((OURS, 2.3), ("slaf, small", 1.62)):
        stored = figures.of(medium, program)
        size = stored.median("stored_bytes") / stored.nonzeros if stored else None
        yield Target(f"{medium}: bytes per nonzero, {program}", bound, size)
    yield from _parts(figures, medium)
    yield from _speeds(figures, sizes)
    yield from _memory(figures, sizes)
    yield Target("64 random cells, warm", 15, figures.read("64 random cells"), unit=" ms")
    scan, copy = figures.read("one gene"), figures.read("one gene", BY_GENE)
    yield Target("one gene, from expression_by_gene", 5, copy, unit=" ms")
    yield Target("one gene, expression_by_gene / scan", 1, _quotient(copy, scan))


def _against_slafdb(figures: _Figures, case: str) -> Iterator[Target]:
    bounds = {(_CPU, OURS): 3.3, (_WALL, OURS): 5, (_CPU, _FAST): 3.5, (_WALL, _FAST): 5.5}
    for (figure, program), bound in bounds.items():
        label = "CPU" if figure == _CPU else "wall (best)"
        measured = figures.ratio(case, program, "slafdb", figure)
        yield Target(f"{case}: {label} of {program} / slafdb", 1 / bound, measured)
    for floor, program in (("floor, balanced", OURS), ("floor, fast", _FAST)):
        measured = figures.ratio(case, program, floor)
        yield Target(f"{case}: CPU of {program} / {floor}", 1.4, measured)


def _against_the_first(figures: _Figures, sizes: Sizes) -> Iterator[Target]:
    small = f"{sizes.small:,} cells"
    for case, ours, first in (
        (f"h5ad, gzip, {small}", OURS, FIRST),
        (f"10x MTX, {small}", OURS, FIRST),
        (f"h5ad, CSC, {small}", OURS, FIRST),
        (f"h5ad, gzip, {small}", BY_GENE, FIRST_BY_GENE),
    ):
        measured = figures.ratio(case, ours, first)
        yield Target(f"{case}: CPU of {ours} / {first}", 0.6, measured)
    for name in (case.name for case in real_cases()):
        for ours, first in ((OURS, FIRST), (BY_GENE, FIRST_BY_GENE)):
            measured = figures.ratio(name, ours, first)
            yield Target(f"{name}: CPU of {ours} / {first}", 1, measured)


def _parts(figures: _Figures, case: str) -> Iterator[Target]:
    """Targets of parts of a conversion, of its proof and of its workers."""
    usual = figures.of(case)
    share = _quotient(figures.cost(case, CHECKS), usual.median(_CPU) if usual else None)
    yield Target(f"{case}: {CHECKS} / CPU", 0.10, share)
    proof = _quotient(figures.cost(case, VERIFY), figures.cost(case, SCAN))
    yield Target(f"{case}: CPU of {VERIFY} / {SCAN}", 1.5, proof)
    workers = figures.ratio(case, "slaf, workers 2", "slaf, workers 1")
    yield Target(f"{case}: CPU of two workers / one", 1.1, workers)
    yield Target(f"{case}: {LOCK}", 0.10, figures.cost(case, LOCK))


def _speeds(figures: _Figures, sizes: Sizes) -> Iterator[Target]:
    for kind, cells, bound in (
        ("10x H5", sizes.medium, 15.0),
        ("10x MTX", sizes.small, 6.0),
        ("SOMA", sizes.small, 5.0),
    ):
        case = f"{kind}, {cells:,} cells"
        speed = _speed(figures.of(case), _CPU)
        name = f"{case}: nonzeros per CPU second"
        yield Target(name, bound, speed, at_least=True, unit=" M")
    large, usual = (
        _speed(figures.of(f"h5ad, gzip, {cells:,} cells"), _WALL)
        for cells in (sizes.large, sizes.medium)
    )
    name = f"nonzeros per second, {sizes.large:,} / {sizes.medium:,} cells"
    yield Target(name, 0.90, _quotient(large, usual), at_least=True)


def _memory(figures: _Figures, sizes: Sizes) -> Iterator[Target]:
    peak = figures.most(_PEAK)
    peak = peak / _MB if peak else None
    yield Target("peak memory of any conversion of counts", 350, peak, unit=" MB")
    large, usual = (figures.of(f"h5ad, gzip, {n:,} cells") for n in (sizes.large, sizes.medium))
    name = f"peak memory, {sizes.large:,} / {sizes.medium:,} cells"
    yield Target(name, 1.10, _ratio(large, usual, _PEAK))


def _ratio(ours: Conversions | None, peer: Conversions | None, figure: str) -> float | None:
    if not (ours and peer):
        return None
    if figure == _WALL:
        return ours.least(figure) / peer.least(figure)
    return ours.median(figure) / peer.median(figure)


def _quotient(figure: float | None, other: float | None) -> float | None:
    return figure / other if figure and other else None


def _speed(runs: Conversions | None, figure: str) -> float | None:
    return runs.nonzeros / runs.median(figure) / _MILLION if runs else None


def _format(value: float, unit: str) -> str:
    return f"{value:.3g}{unit}"
