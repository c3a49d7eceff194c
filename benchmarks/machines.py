"""Total CPU of 1, 2 and 4 processes at one plan, and what planning many parts or inputs takes."""

from __future__ import annotations

import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import h5py

from benchmarks.inputs import Counts, Input, cached_input
from benchmarks.process import measure
from benchmarks.table import report, seconds, size

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from benchmarks.process import Usage

__all__ = ["TOLERANCE", "add_arguments", "run"]

# Tolerated excess of the CPU of several processes over that of one.
TOLERANCE = 0.10
_PROCESSES = (1, 2, 4)
_MANY_PARTS = 10_000
_MOST_SECONDS, _MOST_BYTES = 10, 500 << 20
_SLAF = Path(sys.executable).with_name("slaf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    parser.add_argument("--cells", type=int, default=100_000, help="cells of the input")
    parser.add_argument(
        "--parts", type=int, default=_MANY_PARTS, help="parts of the large plan, of five cells"
    )
    parser.add_argument("--files", type=int, default=1_000, help="inputs of five cells each")


def run(arguments: argparse.Namespace) -> int:
    """Measure all; 1 if more processes take more CPU, or a plan of many parts too much."""
    source = cached_input(Input(Counts(arguments.cells))).path
    small = cached_input(Input(Counts(arguments.parts * 5))).path
    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        totals = {n: _encode(source, Path(folder) / f"{n}.slaf", n, n) for n in _PROCESSES}
        # What each process repeats, without what processes at once cost each other.
        most = _PROCESSES[-1]
        in_turn = _encode(source, Path(folder) / "in-turn.slaf", most, 1)
        planning = measure(
            [_SLAF, "plan", small, Path(folder) / "many.slaf", "--chunk-size", "5", "--quiet"]
        )
        files = _write_files(Path(folder) / "files", arguments.files)
        planning_files = measure([_SLAF, "plan", files, Path(folder) / "files.slaf", "--quiet"])
    rows = [_row(f"parts by {n}", usages) for n, usages in totals.items()]
    rows.append(_row(f"by {most}, in turn", in_turn))
    rows += [_row("plan of many parts", [planning]), _row("of many files", [planning_files])]
    report(rows, as_json=arguments.json)
    total = {n: sum(usage.cpu_seconds for usage in usages) for n, usages in totals.items()}
    too_much = max(total.values()) > total[1] * (1 + TOLERANCE)
    too_large = planning.seconds > _MOST_SECONDS or planning.peak_bytes > _MOST_BYTES
    return int(too_much or too_large)


def _encode(source: Path, output: Path, n_processes: int, at_once: int) -> list[Usage]:
    """Encode all parts of a plan, an equal share by each process, so many of them at once."""
    import slaf

    n_parts = slaf.plan(source, output).parts
    bounds = [n_parts * at // n_processes for at in range(n_processes + 1)]
    shares = [f"{a}-{b - 1}" for a, b in pairwise(bounds) if b > a]
    with ThreadPoolExecutor(at_once) as pool:
        usages = list(pool.map(lambda share: _part(output, share), shares))
    measure([_SLAF, "publish", output, "--quiet"])
    return usages


def _part(output: Path, share: str) -> Usage:
    return measure([_SLAF, "part", output, "--range", share, "--quiet"])


def _write_files(folder: Path, number: int) -> Path:
    """A folder of so many files, copies of one but for the ids of their cells."""
    folder.mkdir()
    first = cached_input(Input(Counts(5, n_genes=200, depth=100))).path
    for at in range(number):
        path = Path(shutil.copy(first, folder / f"{at:05}.h5ad"))
        with h5py.File(path, "r+") as file:
            ids = file["obs"][file["obs"].attrs["_index"]]
            ids[:] = [f"{at}-{cell}" for cell in range(len(ids))]
    return folder


def _row(name: str, usages: Sequence[Usage]) -> dict[str, str | int | float]:
    return {
        "what": name,
        "cpu_seconds": seconds(sum(usage.cpu_seconds for usage in usages)),
        "seconds": seconds(max(usage.seconds for usage in usages)),
        "peak_MiB": size(max(usage.peak_bytes for usage in usages)),
    }
