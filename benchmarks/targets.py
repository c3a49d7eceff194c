"""Compare the figures of the last `peers` with the targets of this program."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.cases import Sizes, reading
from benchmarks.inputs import FOLDER
from benchmarks.programs import BY_GENE, OURS
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


def add_arguments(_: argparse.ArgumentParser) -> None:
    """Declare no options."""


def run(arguments: argparse.Namespace) -> int:
    """Print every target; 1 if one is missed or not measured."""
    all_targets = targets(Results.load(FOLDER / "peers.json"), Sizes())
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
    """Figures by size and format."""

    def __init__(self, results: Results, sizes: Sizes) -> None:
        self._results = results
        self._reads = results.reads.get(reading(sizes).name, {})

    def gzip(self, n_cells: int, program: str = OURS) -> Conversions | None:
        """Conversions of a CSR h5ad file compressed by gzip."""
        return self._of(f"h5ad, gzip, {n_cells:,} cells", program)

    def format(self, kind: str, n_cells: int) -> Conversions | None:
        """Conversions of another format."""
        return self._of(f"{kind}, {n_cells:,} cells", OURS)

    def read(self, name: str, program: str = OURS) -> float | None:
        """Milliseconds of a read."""
        return warm(self._reads.get(program, []), name)

    def checks(self, n_cells: int) -> float | None:
        """CPU seconds of digests and exact checks."""
        seconds = self._results.checks.get(f"h5ad, gzip, {n_cells:,} cells")
        return median(seconds) if seconds else None

    def _of(self, case: str, program: str) -> Conversions | None:
        conversions = self._results.conversions.get(case, {}).get(program)
        return conversions if conversions and conversions.runs else None


def _targets(figures: _Figures, sizes: Sizes) -> Iterator[Target]:
    medium = sizes.medium
    title = f"h5ad gzip, {medium:,} cells"
    slafdb = figures.gzip(medium, "slafdb")
    for figure, label, bounds in (
        ("seconds", "wall", (1 / 5, 1 / 6)),
        ("cpu_seconds", "CPU", (1 / 3, 2 / 7)),
    ):
        for program, bound in zip((OURS, "slaf, fast"), bounds, strict=True):
            measured = _ratio(figures.gzip(medium, program), slafdb, figure)
            yield Target(f"{title}: {label} of {program} / slafdb", bound, measured)
    for floor, program in (("floor, balanced", OURS), ("floor, fast", "slaf, fast")):
        measured = _ratio(figures.gzip(medium, program), figures.gzip(medium, floor), "cpu_seconds")
        yield Target(f"{title}: CPU of {program} / {floor}", 1.4, measured)
    soma = figures.gzip(sizes.small, "TileDB-SOMA")
    measured = _ratio(figures.gzip(sizes.small), soma, "seconds")
    yield Target(f"h5ad gzip, {sizes.small:,} cells: wall / TileDB-SOMA", 1 / 15, measured)
    for kind, cells, bound in (
        ("10x H5", medium, 15.0),
        ("10x MTX", sizes.small, 6.0),
        ("SOMA", sizes.small, 5.0),
    ):
        speed = _speed(figures.format(kind, cells), "cpu_seconds")
        name = f"{kind}, {cells:,} cells: nonzeros per CPU second"
        yield Target(name, bound, speed, at_least=True, unit=" M")
    usual, large = figures.gzip(medium), figures.gzip(sizes.large)
    peak = usual.median("peak_bytes") / _MB if usual else None
    yield Target(f"{title}: peak memory", 600, peak, unit=" MB")
    growth = _ratio(large, usual, "peak_bytes")
    yield Target(f"peak memory, {sizes.large:,} / {medium:,} cells", 1.10, growth)
    for program, bound in ((OURS, 2.45), ("slaf, small", 1.70)):
        stored = figures.gzip(medium, program)
        size = stored.median("stored_bytes") / stored.nonzeros if stored else None
        yield Target(f"{title}: bytes per nonzero, {program}", bound, size)
    yield Target("64 random cells, warm", 15, figures.read("64 random cells"), unit=" ms")
    scan, copy = figures.read("one gene"), figures.read("one gene", BY_GENE)
    yield Target("one gene, from expression_by_gene", 5, copy, unit=" ms")
    slower = copy / scan if copy and scan else None
    yield Target("one gene, expression_by_gene / scan", 1, slower)
    spent = figures.checks(medium)
    share = spent / usual.median("cpu_seconds") if spent and usual else None
    yield Target(f"{title}: digests and exact checks / CPU", 0.10, share)
    speeds = [_speed(each, "seconds") for each in (usual, large)]
    linear = speeds[1] / speeds[0] if speeds[0] and speeds[1] else None
    name = f"nonzeros per second, {sizes.large:,} / {medium:,} cells"
    yield Target(name, 0.90, linear, at_least=True)


def _ratio(ours: Conversions | None, peer: Conversions | None, figure: str) -> float | None:
    return ours.median(figure) / peer.median(figure) if ours and peer else None


def _speed(runs: Conversions | None, figure: str) -> float | None:
    return runs.nonzeros / runs.median(figure) / _MILLION if runs else None


def _format(value: float, unit: str) -> str:
    return f"{value:.3g}{unit}"
