"""What this program is meant to reach, held against the figures of the last `peers`."""

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
        What of.
    bound
        At the most, or at the least.
    measured
        The figure; None if it was not measured.
    at_least
        Which of both the bound is.
    unit
        Of the bound and the figure.
    """

    name: str
    bound: float
    measured: float | None
    at_least: bool = False
    unit: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the figure is within its bound; None if there is none."""
        if self.measured is None:
            return None
        if self.at_least:
            return self.measured >= self.bound
        return self.measured <= self.bound

    def row(self) -> dict[str, str]:
        """In words."""
        sign = "≥" if self.at_least else "≤"
        measured = _NOT_MEASURED if self.measured is None else _shown(self.measured, self.unit)
        met = {True: "met", False: "NOT met", None: "–"}[self.met]
        bound = f"{sign} {_shown(self.bound, self.unit)}"
        return {"what": self.name, "target": bound, "measured": measured, "": met}


def add_arguments(_: argparse.ArgumentParser) -> None:
    """Declare no options."""


def run(arguments: argparse.Namespace) -> int:
    """Print every target; 1 if one is missed or not measured."""
    found = targets(Results.load(FOLDER / "peers.json"), Sizes())
    report([target.row() for target in found], as_json=arguments.json)
    return int(not all(target.met for target in found))


def targets(results: Results, sizes: Sizes) -> list[Target]:
    """All of them."""
    return list(_targets(_Figures(results, sizes), sizes))


def warm(processes: list[dict[str, dict[str, list[float]]]], read: str) -> float | None:
    """Milliseconds of a read, but for the first of each process; None if it was not done."""
    found = [one[read]["ms"][1:] for one in processes if "ms" in one.get(read, {})]
    return median(median(times) for times in found) if found else None


class _Figures:
    """Figures by size and format."""

    def __init__(self, results: Results, sizes: Sizes) -> None:
        self._results = results
        self._reads = results.reads.get(reading(sizes).name, {})

    def gzip(self, n_cells: int, program: str = OURS) -> Conversions | None:
        """Of an h5ad file by cells, packed by gzip."""
        return self._of(f"h5ad, gzip, {n_cells:,} cells", program)

    def format(self, kind: str, n_cells: int) -> Conversions | None:
        """Of another format."""
        return self._of(f"{kind}, {n_cells:,} cells", OURS)

    def read(self, name: str, program: str = OURS) -> float | None:
        """Milliseconds of a read."""
        return warm(self._reads.get(program, []), name)

    def checks(self, n_cells: int) -> float | None:
        """CPU seconds of digests and exact checks."""
        found = self._results.checks.get(f"h5ad, gzip, {n_cells:,} cells")
        return median(found) if found else None

    def _of(self, case: str, program: str) -> Conversions | None:
        found = self._results.conversions.get(case, {}).get(program)
        return found if found and found.runs else None


def _targets(of: _Figures, sizes: Sizes) -> Iterator[Target]:
    medium = sizes.medium
    title = f"h5ad gzip, {medium:,} cells"
    theirs = of.gzip(medium, "slafdb")
    for figure, words, bounds in (
        ("seconds", "wall", (1 / 5, 1 / 6)),
        ("cpu_seconds", "CPU", (1 / 3, 2 / 7)),
    ):
        for program, bound in zip((OURS, "slaf, fast"), bounds, strict=True):
            measured = _ratio(of.gzip(medium, program), theirs, figure)
            yield Target(f"{title}: {words} of {program} / slafdb's", bound, measured)
    for floor, program in (("floor, balanced", OURS), ("floor, fast", "slaf, fast")):
        measured = _ratio(of.gzip(medium, program), of.gzip(medium, floor), "cpu_seconds")
        yield Target(f"{title}: CPU of {program} / {floor}", 1.4, measured)
    soma = of.gzip(sizes.small, "TileDB-SOMA")
    measured = _ratio(of.gzip(sizes.small), soma, "seconds")
    yield Target(f"h5ad gzip, {sizes.small:,} cells: wall / TileDB-SOMA's", 1 / 15, measured)
    for kind, cells, bound in (
        ("10x H5", medium, 15.0),
        ("10x MTX", sizes.small, 6.0),
        ("SOMA", sizes.small, 5.0),
    ):
        speed = _speed(of.format(kind, cells), "cpu_seconds")
        name = f"{kind}, {cells:,} cells: nonzeros a CPU second"
        yield Target(name, bound, speed, at_least=True, unit=" M")
    peak, more = of.gzip(medium), of.gzip(sizes.large)
    most = peak.median("peak_bytes") / _MB if peak else None
    yield Target(f"{title}: peak memory", 600, most, unit=" MB")
    growth = _ratio(more, peak, "peak_bytes")
    yield Target(f"peak memory, {sizes.large:,} / {medium:,} cells", 1.10, growth)
    for program, bound in ((OURS, 2.45), ("slaf, small", 1.70)):
        stored = of.gzip(medium, program)
        a_nonzero = stored.median("stored_bytes") / stored.nonzeros if stored else None
        yield Target(f"{title}: bytes a nonzero, {program}", bound, a_nonzero)
    yield Target("64 random cells, warm", 15, of.read("64 random cells"), unit=" ms")
    scan, copy = of.read("one gene"), of.read("one gene", BY_GENE)
    yield Target("one gene, by the gene-major copy", 5, copy, unit=" ms")
    slower = copy / scan if copy and scan else None
    yield Target("one gene, by the gene-major copy / by a scan", 1, slower)
    spent = of.checks(medium)
    share = spent / peak.median("cpu_seconds") if spent and peak else None
    yield Target(f"{title}: digests and exact checks / CPU", 0.10, share)
    speeds = [_speed(one, "seconds") for one in (peak, more)]
    linear = speeds[1] / speeds[0] if speeds[0] and speeds[1] else None
    name = f"nonzeros a second, {sizes.large:,} / {medium:,} cells"
    yield Target(name, 0.90, linear, at_least=True)


def _ratio(ours: Conversions | None, theirs: Conversions | None, figure: str) -> float | None:
    return ours.median(figure) / theirs.median(figure) if ours and theirs else None


def _speed(of: Conversions | None, figure: str) -> float | None:
    return of.nonzeros / of.median(figure) / _MILLION if of else None


def _shown(value: float, unit: str) -> str:
    return f"{value:.3g}{unit}"
