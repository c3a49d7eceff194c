"""Conversions and reads by this program alone: time, peak memory and bytes."""

from __future__ import annotations

import json
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
    """Measure all cases, and print the figures."""
    ours = frozenset(name for name, program in PROGRAMS.items() if not program.requirements)
    sizes = Sizes(*arguments.cells)
    results = comparison.compare(
        sizes, arguments.runs, name="ours", programs=ours, only=arguments.only
    )
    tables = {
        "conversions": conversion_rows(results, sizes),
        "reads": reading_rows(results, sizes),
    }
    if arguments.json:
        print(json.dumps(tables, indent=1))
        return 0
    for rows in filter(None, tables.values()):
        report(rows, as_json=False)
    return 0
