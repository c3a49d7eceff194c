"""Folders of SCDL: ours read by bionemo-scdl row for row, and its own read by us."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import slaf
from benchmarks.inputs import Counts, Input, cached_input
from benchmarks.inputs.input import FOLDER
from benchmarks.programs import PROGRAMS, script

if TYPE_CHECKING:
    import argparse

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--cells", type=int, default=2_000)


def run(arguments: argparse.Namespace) -> int:
    """Write and read both ways; 0 if all rows are equal."""
    source = Input(Counts(arguments.cells))
    h5ad, folder = cached_input(source).path, FOLDER / "scdl"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    program = PROGRAMS["bionemo-scdl"]
    dataset = slaf.convert(h5ad, folder / "dataset.slaf")
    slaf.export(dataset, folder / "ours", format="scdl")
    subprocess.run(script(program.python, "scdl_rows", folder / "ours", h5ad), check=True)
    subprocess.run(program.convert(program.python, source, h5ad, folder / "theirs"), check=True)
    with slaf.scan(folder / "theirs") as view:
        differing = (view.X[:] != dataset.X[:]).nnz
    print(f"{differing:,} values of its own folder differ")
    return int(differing > 0)
