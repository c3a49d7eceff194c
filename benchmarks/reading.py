"""How long reads of a published dataset take: random cells, a range, a gene, all of it."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

import slaf
from benchmarks.inputs import FOLDER, Counts, written
from benchmarks.table import report

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from benchmarks.table import Row

__all__ = ["add_arguments", "run"]

_TIMES = 5
_RANDOM_CELLS, _RANGE = 64, 1_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    parser.add_argument("--cells", type=int, default=20_000, help="cells of the dataset it makes")
    parser.add_argument("--dataset", type=Path, help="a dataset to read instead")


def run(arguments: argparse.Namespace) -> int:
    """Read each way, first from a dataset just opened, then again."""
    if arguments.dataset:
        report(_rows(arguments.dataset), as_json=arguments.json)
        return 0
    path = written(Counts(arguments.cells))
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        slaf.convert(path, Path(folder) / "dataset.slaf")
        report(_rows(Path(folder) / "dataset.slaf"), as_json=arguments.json)
    return 0


def _rows(path: Path) -> list[Row]:
    slaf.open(path).read(cells=[0])  # what is imported is imported now
    return [_timed(name, read, path) for name, read in _READS.items()]


def _timed(name: str, read: Callable[[slaf.Dataset, np.random.Generator], int], path: Path) -> Row:
    rng = np.random.default_rng(0)
    dataset = slaf.open(path)
    took: list[float] = []
    nonzeros = 0
    for _ in range(_TIMES + 1):
        began = time.perf_counter()
        nonzeros = read(dataset, rng)
        took.append(time.perf_counter() - began)
    return {
        "read": name,
        "nonzeros": nonzeros,
        "first_ms": round(took[0] * 1e3, 1),
        "then_ms": round(median(took[1:]) * 1e3, 1),
    }


def _random_cells(dataset: slaf.Dataset, rng: np.random.Generator) -> int:
    cells = rng.choice(dataset.n_cells, _RANDOM_CELLS, replace=False)
    return int(dataset.read(cells=cells).nnz)


def _range(dataset: slaf.Dataset, rng: np.random.Generator) -> int:
    start = int(rng.integers(max(dataset.n_cells - _RANGE, 1)))
    return int(dataset.read(cells=slice(start, start + _RANGE)).nnz)


def _gene(dataset: slaf.Dataset, rng: np.random.Generator) -> int:
    return int(dataset.read(genes=[int(rng.integers(dataset.n_genes))]).nnz)


def _genes_of_random_cells(dataset: slaf.Dataset, rng: np.random.Generator) -> int:
    cells = rng.choice(dataset.n_cells, _RANDOM_CELLS, replace=False)
    genes = rng.choice(dataset.n_genes, _RANGE, replace=False)
    return int(dataset.read(cells=cells, genes=genes).nnz)


def _totals(dataset: slaf.Dataset, _: np.random.Generator) -> int:
    found = dataset.sql("SELECT COUNT(*) AS n, SUM(value) AS total FROM expression")
    return int(found["n"][0])


_READS: dict[str, Callable[[slaf.Dataset, np.random.Generator], int]] = {
    "64 random cells": _random_cells,
    "64 random cells, 1,000 genes": _genes_of_random_cells,
    "1,000 neighbouring cells": _range,
    "one gene of all cells": _gene,
    "SELECT SUM over all": _totals,
}
