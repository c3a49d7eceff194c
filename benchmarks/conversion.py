"""What a conversion costs, as a whole process: time, memory, bytes."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.inputs import FOLDER, Counts, Layout, written
from benchmarks.process import measure
from benchmarks.table import report, seconds, size

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from benchmarks.process import Usage
    from benchmarks.table import Row

__all__ = ["DENSE_GENES", "Cost", "add_arguments", "convert", "cost", "run", "slaf"]

# A dense matrix of all genes would be a benchmark of gzip.
DENSE_GENES = 2_000

_CASES: tuple[tuple[Layout, str], ...] = (
    ("csr", "fast"),
    ("csr", "balanced"),
    ("csr", "small"),
    ("csc", "balanced"),
    ("dense", "balanced"),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a conversion took, and what it made.

    Attributes
    ----------
    usage
        Of the process.
    nonzeros
        In the dataset.
    stored
        Bytes of its table of nonzeros.
    """

    usage: Usage
    nonzeros: int
    stored: int

    def figures(self) -> dict[str, float]:
        """By name."""
        return {
            "seconds": seconds(self.usage.seconds),
            "cpu_seconds": seconds(self.usage.cpu_seconds),
            "peak_MiB": size(self.usage.peak_bytes),
            "bytes_per_nonzero": round(self.stored / max(self.nonzeros, 1), 3),
        }


def slaf(*arguments: str | Path) -> list[str | Path]:
    """A command of the installed program."""
    return [Path(sys.executable).with_name("slaf"), *arguments]


def convert(path: Path, *options: str) -> Cost:
    """Convert a file, by the command line, into a dataset that is removed again."""
    return cost([*slaf("convert"), "--quiet", *options], path)


def cost(command: Sequence[str | Path], path: Path) -> Cost:
    """What a command costs that takes an input and an output behind its other arguments."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        output = Path(folder) / "output.slaf"
        usage = measure([*command, path, output])
        metadata = json.loads((output / "config.json").read_bytes())["metadata"]
        table = (output / "expression.lance").rglob("*")
        stored = sum(file.stat().st_size for file in table if file.is_file())
        return Cost(usage, metadata["expression_count"], stored)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    parser.add_argument("--cells", type=int, default=20_000, help="cells of the input")


def run(arguments: argparse.Namespace) -> int:
    """Convert each layout with each compression."""
    rows: list[Row] = []
    for layout, compression in _CASES:
        genes = DENSE_GENES if layout == "dense" else 30_000
        path = written(Counts(arguments.cells, genes, layout))
        case = {"layout": layout, "compression": compression, "cells": arguments.cells}
        rows.append({**case, **convert(path, "--compression", compression).figures()})
    report(rows, as_json=arguments.json)
    return 0
