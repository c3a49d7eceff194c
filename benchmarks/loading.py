"""Epochs of the loader, from the tables and from a cache, in alternating rounds."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slaf
from benchmarks.inputs import Counts, Input, cached_input
from benchmarks.inputs.input import FOLDER

if TYPE_CHECKING:
    import argparse

__all__ = ["add_arguments", "run"]

_SCRIPTS = Path(__file__).with_name("scripts")
_DENSE = {"to": "dense", "target_sum": 1e4, "log1p": True}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--cells", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--annbatch",
        metavar="PYTHON",
        help="a python that has annbatch[zarrs]",
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure, print a table of k cells a CPU second, and return 0."""
    h5ad = cached_input(Input(Counts(arguments.cells))).path
    commands = _commands(h5ad, FOLDER / "loading", arguments.annbatch)
    results: dict[str, list[list[float]]] = {name: [] for name in commands}
    for _ in range(arguments.rounds):
        for name, command in commands.items():
            ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            results[name].append(json.loads(ran.stdout.splitlines()[-1]))
    rows: dict[str, Any] = {
        name: {
            "k cells/CPU s": [round(cells / seconds / 1000, 1) for cells, seconds, _ in measured],
            "peak MB": round(max(peak for *_, peak in measured) / (1 << 20)) or None,
        }
        for name, measured in results.items()
    }
    if arguments.json:
        print(json.dumps(rows))
        return 0
    for name, row in rows.items():
        speeds = row["k cells/CPU s"]
        print(
            f"{name:32} {statistics.median(speeds):7.1f} k cells/CPU s "
            f"({min(speeds):.1f} to {max(speeds):.1f}), anonymous memory {row['peak MB']} MB"
        )
    return 0


def _commands(h5ad: Path, folder: Path, annbatch: str | None) -> dict[str, list[str]]:
    """The command of each measured program; datasets are converted on first use."""
    folder.mkdir(parents=True, exist_ok=True)
    commands: dict[str, list[str]] = {}
    for compression in ("fast", "balanced"):
        dataset = folder / f"{h5ad.stem}-{compression}.slaf"
        if not (dataset / "config.json").exists():
            slaf.convert(h5ad, dataset, compression=compression)
        commands[f"tables, {compression}, CSR"] = _ours(dataset, {})
        commands[f"tables, {compression}, dense 2,000"] = _ours(dataset, _DENSE, 2000)
    cache = folder / f"{h5ad.stem}-cache"
    commands["cache, CSR"] = _ours(dataset, {"cache": str(cache)})
    dense = _DENSE | {"cache": f"{cache}-2000"}
    commands["cache, dense 2,000"] = _ours(dataset, dense, 2000)
    if annbatch is not None:
        copy = folder / f"{h5ad.stem}-annbatch.zarr"
        commands["annbatch 256 × 32, CSR"] = [
            annbatch,
            str(_SCRIPTS / "load_annbatch.py"),
            str(h5ad),
            str(copy),
        ]
    return commands


def _ours(dataset: Path, options: dict[str, Any], n_genes: int = 0) -> list[str]:
    script = str(_SCRIPTS / "load_slaf.py")
    return [sys.executable, script, str(dataset), json.dumps(options), str(n_genes)]
