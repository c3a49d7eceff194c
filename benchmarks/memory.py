"""Test that the memory of a conversion does not grow when the input grows fourfold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmarks.cases import DENSE_GENES
from benchmarks.conversion import convert
from benchmarks.inputs import Counts, Input, Layout, cached_input
from benchmarks.table import report, size

if TYPE_CHECKING:
    import argparse

__all__ = ["TOLERANCE", "add_arguments", "run"]

# Tolerated difference of the peaks, in either direction.
TOLERANCE = 0.10
_FACTOR = 4
_LAYOUTS: tuple[Layout, ...] = ("csr", "csc", "dense")


@dataclass(frozen=True, slots=True)
class Growth:
    """Peak memory of the conversion of an input, and of one with four times the cells."""

    layout: str
    n_cells: int
    small: int
    large: int

    @property
    def ratio(self) -> float:
        """Peak of the larger input relative to the smaller."""
        return self.large / self.small

    def row(self) -> dict[str, str | int | float]:
        """Figures by name."""
        return {
            "layout": self.layout,
            "cells": f"{self.n_cells:,} / {self.n_cells * _FACTOR:,}",
            "small_MiB": size(self.small),
            "large_MiB": size(self.large),
            "ratio": round(self.ratio, 3),
        }


def growth(small: Counts) -> Growth:
    """Convert these counts, and four times as many cells."""
    large = replace(small, n_cells=small.n_cells * _FACTOR)
    few, many = (convert(cached_input(Input(counts)).path).peak_bytes for counts in (small, large))
    return Growth(small.layout, small.n_cells, few, many)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    parser.add_argument("--cells", type=int, default=20_000, help="cells of the smaller input")
    parser.add_argument("--layout", choices=_LAYOUTS, action="append", help="only this layout")


def run(arguments: argparse.Namespace) -> int:
    """Measure each layout; 1 if the memory of one grows."""
    layouts = [
        growth(Counts(arguments.cells, DENSE_GENES if layout == "dense" else 30_000, layout))
        for layout in arguments.layout or _LAYOUTS
    ]
    report([measured.row() for measured in layouts], as_json=arguments.json)
    return int(any(abs(measured.ratio - 1) > TOLERANCE for measured in layouts))
