"""Conversions and reads by this program alone: time beside peak memory and bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import comparison
from benchmarks.cases import Sizes
from benchmarks.page import conversion_rows, reading_rows
from benchmarks.programs import PROGRAMS
from benchmarks.table import report

if TYPE_CHECKING:
    import argparse

__all__ = ["add_arguments", "run"]

# A few minutes in all.
_SIZES = Sizes(5_000, 20_000, 50_000)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    comparison.add_arguments(parser, _SIZES, runs=3)


def run(arguments: argparse.Namespace) -> int:
    """Measure all cases, and print what was measured."""
    ours = frozenset(name for name, program in PROGRAMS.items() if not program.requirements)
    sizes = Sizes(*arguments.cells)
    results = comparison.compared(
        sizes, arguments.runs, name="ours", programs=ours, only=arguments.only
    )
    tables = (conversion_rows(results, sizes), reading_rows(results, sizes))
    for rows in tables:
        if rows:
            report(rows, as_json=arguments.json)
    return 0
