"""The section of docs/benchmarks.md about training."""

from __future__ import annotations

import re
from statistics import median
from typing import TYPE_CHECKING, TypeAlias

from benchmarks.machine import machine, measured
from benchmarks.page import PAGE, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["SECTION", "loading_section", "write_section"]

# The section that one benchmark writes and the other keeps.
SECTION = re.compile(r"(?<=<!-- loading -->\n).*(?=\n<!-- end of loading -->)", re.DOTALL)

# The figures of each round of a program.
Figures: TypeAlias = "Mapping[str, Sequence[Mapping[str, float]]]"

_CACHE = "slaf, cache, "
_TABLES = "slaf, tables, "
_DENSE = "dense, 2,000 genes"
_GENES = "annbatch, dense, copy of 2,000 genes"
_NOT_MEASURED = "not measured"


def write_section(epochs: Figures, first: Figures) -> None:
    """Write the section of these figures into the page."""
    section = "\n" + loading_section(epochs, first) + "\n"
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(SECTION.sub(lambda _: section, text), encoding="utf-8")


def loading_section(epochs: Figures, first: Figures) -> str:
    """What was measured of epochs, and from an h5ad file to the first batch, as Markdown."""
    about = machine() | measured()
    revision = (
        f"Revision `{about['revision']}` of {about['date']}, {about['cores']} cores of "
        f"{about['processor']}, in alternating rounds."
    )
    loading = [
        [
            name,
            *(f"{each(_speeds(figures)):,.1f}" for each in (median, min, max)),
            f"{_peak(figures):,.0f}",
            str(len(figures)),
        ]
        for name, figures in epochs.items()
    ]
    making = [
        [name, f"{_seconds(figures):.1f}", f"{_peak(figures):,.0f}", str(len(figures))]
        for name, figures in first.items()
    ]
    return "\n\n".join(
        [
            revision,
            "<!-- chart: k cells/CPU s -->",
            table(["loader", "k cells/CPU s", "least", "most", "peak, MB", "rounds"], loading, 1),
            "From an h5ad file to the first batch of an epoch:",
            table(["program", "CPU, s", "peak, MB", "rounds"], making, 1),
            table(["", "target", "measured", ""], list(_targets(epochs, first))),
        ]
    )


def _targets(epochs: Figures, first: Figures) -> Iterator[list[str]]:
    for ours, theirs, least in (
        (f"{_CACHE}CSR", "annbatch, CSR", 3.0),
        (f"{_CACHE}CSR", "SCDL, CSR", 10.0),
        (f"{_CACHE}{_DENSE}", _GENES, 1.5),
        (f"{_TABLES}fast, CSR", "annbatch, CSR", 1.2),
    ):
        what = f"k cells/CPU s, {ours} / {theirs}"
        found = None
        if epochs.get(theirs):
            found = median(_speeds(epochs[ours])) / median(_speeds(epochs[theirs]))
        yield _target(what, "≥", least, found)
    peak = max(_peak(figures) for name, figures in epochs.items() if name.startswith(_TABLES))
    yield _target("peak of anonymous memory, tables, MB", "≤", 450, peak)
    if first.get("annbatch"):
        made, copied = first[f"{_TABLES}fast"], first["annbatch"]
        ratio = _seconds(made) / _seconds(copied)
        yield _target("h5ad to first batch, CPU of slaf, tables, fast / annbatch", "≤", 1.0, ratio)
        share = _peak(made) / _peak(copied)
        yield _target("the same, peak of anonymous memory", "≤", 0.125, share)


def _target(what: str, sign: str, bound: float, found: float | None) -> list[str]:
    if found is None:
        return [what, f"{sign} {bound:g}", _NOT_MEASURED, ""]
    met = found >= bound if sign == "≥" else found <= bound
    return [what, f"{sign} {bound:g}", f"{found:.3g}", "met" if met else "NOT met"]


def _speeds(figures: Sequence[Mapping[str, float]]) -> list[float]:
    return [each["cells"] / each["cpu_seconds"] / 1e3 for each in figures]


def _seconds(figures: Sequence[Mapping[str, float]]) -> float:
    return median(each["cpu_seconds"] for each in figures)


def _peak(figures: Sequence[Mapping[str, float]]) -> float:
    return max(each["peak_bytes"] for each in figures) / 1e6
