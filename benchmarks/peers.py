"""A conversion by slafdb and by us, in turn: what each takes, and the ratios."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.conversion import cost, slaf
from benchmarks.inputs import Counts, written
from benchmarks.slafdb_reads import python_of_slafdb
from benchmarks.table import report

if TYPE_CHECKING:
    import argparse

    from benchmarks.table import Row

__all__ = ["add_arguments", "run"]

_THEIRS = "slafdb"
_COMPRESSIONS = ("fast", "balanced", "small")

Figures = dict[str, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    parser.add_argument("--python", type=Path, help="of an environment that has slafdb already")
    parser.add_argument("--input", type=Path, help="an h5ad; made by default")
    parser.add_argument("--cells", type=int, default=50_000, help="cells of the input it makes")
    parser.add_argument("--runs", type=int, default=3, help="runs of each, in turn")


def run(arguments: argparse.Namespace) -> int:
    """Convert one file with each, in turn, so that a slow minute is slow for all of them."""
    python: Path = arguments.python or python_of_slafdb()
    path = arguments.input or written(Counts(arguments.cells))
    commands: dict[str, list[str | Path]] = {_THEIRS: [python.with_name("slaf"), "convert"]}
    for compression in _COMPRESSIONS:
        commands[compression] = slaf("convert", "--quiet", "--compression", compression)
    rounds: list[dict[str, Figures]] = [
        {name: cost(command, path).figures() for name, command in commands.items()}
        for _ in range(arguments.runs)
    ]
    rows: list[Row] = [{"program": name, **_summary(name, rounds)} for name in commands]
    report(rows, as_json=arguments.json)
    return 0


def _summary(name: str, rounds: list[dict[str, Figures]]) -> Figures:
    """The median of each figure, and of its ratios to theirs in the same round."""
    found: Figures = {}
    for figure in rounds[0][name]:
        found[figure] = round(median(one[name][figure] for one in rounds), 3)
        ratios = [one[name][figure] / one[_THEIRS][figure] for one in rounds]
        found[f"{figure} ratio"] = round(median(ratios), 3)
    return found
