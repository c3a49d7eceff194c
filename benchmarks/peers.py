"""Conversions and reads by this and other programs; writes docs/benchmarks.md."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import comparison
from benchmarks.cases import Sizes
from benchmarks.inputs import FOLDER
from benchmarks.loading_page import SECTION
from benchmarks.page import PAGE, page
from benchmarks.programs import PROGRAMS
from benchmarks.table import report
from benchmarks.targets import targets

if TYPE_CHECKING:
    import argparse

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    comparison.add_arguments(parser, Sizes(), runs=7)
    parser.add_argument(
        "--page",
        type=Path,
        help="path of the page; docs/benchmarks.md if all is measured, else under build/bench",
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure all cases, write the page, and print the targets."""
    sizes = Sizes(*arguments.cells)
    results = comparison.compare(
        sizes,
        arguments.runs,
        name="peers",
        programs=frozenset(PROGRAMS),
        only=arguments.only,
        costs=True,
    )
    whole = sizes == Sizes() and not arguments.only
    path: Path = arguments.page or (PAGE if whole else FOLDER / PAGE.name)
    # Another benchmark measures the loaders.
    loading = SECTION.search(PAGE.read_text(encoding="utf-8"))
    text = page(results, sizes)
    if loading is not None:
        text = SECTION.sub(lambda _: loading[0], text)
    path.write_text(text, encoding="utf-8")
    report([target.row() for target in targets(results, sizes)], as_json=arguments.json)
    return 0
