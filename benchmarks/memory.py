"""Whether the memory of a conversion stays what it was when the input grows fourfold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmarks.cases import DENSE_GENES
from benchmarks.conversion import convert
from benchmarks.inputs import Counts, Input, Layout, kept
from benchmarks.table import report, size

if TYPE_CHECKING:
    import argparse

__all__ = ["TOLERANCE", "add_arguments", "run"]

# By so much the peak may differ, either way.
TOLERANCE = 0.10
_FACTOR = 4
_LAYOUTS: tuple[Layout, ...] = ("csr", "csc", "dense")


@dataclass(frozen=True, slots=True)
class Growth:
    """The most memory that a conversion held, of an input and of one of four times the cells."""

    layout: str
    n_cells: int
    small: int
    large: int

    @property
    def ratio(self) -> float:
        """How much more the larger one took: 1 if nothing."""
        return self.large / self.small

    def row(self) -> dict[str, str | int | float]:
        """The figures, by name."""
        return {
            "layout": self.layout,
            "cells": f"{self.n_cells:,} / {self.n_cells * _FACTOR:,}",
            "small_MiB": size(self.small),
            "large_MiB": size(self.large),
            "ratio": round(self.ratio, 3),
        }


def growth(small: Counts) -> Growth:
    """Convert these counts, and four times as many cells of them."""
    large = replace(small, n_cells=small.n_cells * _FACTOR)
    few, many = (convert(kept(Input(counts)).path).peak_bytes for counts in (small, large))
    return Growth(small.layout, small.n_cells, few, many)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    parser.add_argument("--cells", type=int, default=20_000, help="cells of the smaller input")
    parser.add_argument("--layout", choices=_LAYOUTS, action="append", help="only this one")


def run(arguments: argparse.Namespace) -> int:
    """Measure each layout; 1 if one of them grows."""
    found = [
        growth(Counts(arguments.cells, DENSE_GENES if layout == "dense" else 30_000, layout))
        for layout in arguments.layout or _LAYOUTS
    ]
    report([one.row() for one in found], as_json=arguments.json)
    return int(any(abs(one.ratio - 1) > TOLERANCE for one in found))
