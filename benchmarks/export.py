"""An export by us and a change of layout by crispyx, in turn: what each takes, and the ratios."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.conversion import slaf
from benchmarks.environment import python_of
from benchmarks.inputs import FOLDER, Counts, written
from benchmarks.process import measure
from benchmarks.table import report, seconds, size

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from benchmarks.inputs import Layout
    from benchmarks.table import Row

__all__ = ["add_arguments", "run"]

_PEER = "crispyx"
_RELEASE = "crispyx==0.2.2"
_COMPRESSIONS = ("gzip", "zstd", "none")
# crispyx makes one layout of the other: what it reads is not what it writes.
_READS: Mapping[Layout, Layout] = {"csr": "csc", "csc": "csr"}
_THEIRS = """
import sys
import crispyx
crispyx.pp.convert_to_{layout}(sys.argv[1], output_path=sys.argv[2], verbose=False)
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One program that writes one layout.

    Attributes
    ----------
    program
        What it is called in the table.
    layout
        What it writes.
    command
        All but the output, which comes last.
    options
        What comes behind the output.
    """

    program: str
    layout: Layout
    command: list[str | Path]
    options: list[str | Path]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    parser.add_argument("--python", type=Path, help=f"of an environment that has {_PEER} already")
    parser.add_argument("--cells", type=int, default=8_000, help="cells: 8,000 have 20 M nonzeros")
    parser.add_argument("--runs", type=int, default=3, help="runs of each, in turn")


def run(arguments: argparse.Namespace) -> int:
    """Write both layouts of the same counts, in turn, so that a slow minute is slow for all."""
    python: Path = arguments.python or python_of(_PEER, _RELEASE)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        cases = _cases(python, arguments.cells, Path(folder))
        rounds = [
            {(case.program, case.layout): _figures(case, Path(folder)) for case in cases}
            for _ in range(arguments.runs)
        ]
    rows: list[Row] = [
        {"program": case.program, "layout": case.layout, **_summary(case, rounds)} for case in cases
    ]
    report(rows, as_json=arguments.json)
    return 0


def _cases(python: Path, n_cells: int, folder: Path) -> list[Case]:
    paths = {layout: written(Counts(n_cells, layout=layout)) for layout in _READS}
    dataset = folder / "counts.slaf"
    measure(slaf("convert", "--quiet", paths["csr"], dataset))
    cases: list[Case] = []
    for layout, read in _READS.items():
        theirs = _THEIRS.format(layout=layout)
        cases.append(Case(_PEER, layout, [python, "-c", theirs, paths[read]], []))
        for compression in _COMPRESSIONS:
            options: list[str | Path] = ["--layout", layout, "--compression", compression]
            command = slaf("export", "--quiet", dataset)
            cases.append(Case(f"slaf {compression}", layout, command, options))
    return cases


def _figures(case: Case, folder: Path) -> dict[str, float]:
    output = folder / "output.h5ad"
    usage = measure([*case.command, output, *case.options])
    stored = output.stat().st_size
    output.unlink()
    return {
        "seconds": seconds(usage.seconds),
        "cpu_seconds": seconds(usage.cpu_seconds),
        "peak_MiB": size(usage.peak_bytes),
        "file_MiB": size(stored),
    }


def _summary(
    case: Case, rounds: list[dict[tuple[str, Layout], dict[str, float]]]
) -> dict[str, float]:
    """The median of each figure, and of its ratio to theirs in the same round."""
    found: dict[str, float] = {}
    for figure in rounds[0][case.program, case.layout]:
        ours = [one[case.program, case.layout][figure] for one in rounds]
        theirs = [one[_PEER, case.layout][figure] for one in rounds]
        ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
        found[figure] = round(median(ours), 3)
        found[f"{figure} ratio"] = round(median(ratios), 3)
    return found
