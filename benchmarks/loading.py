"""Epochs of the loader, from the tables and from a cache, in alternating rounds."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slaf
from benchmarks.environment import newer_python, python_of
from benchmarks.inputs import Counts, Input, cached_input
from benchmarks.inputs.input import FOLDER
from benchmarks.programs import PROGRAMS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

__all__ = ["add_arguments", "run"]

_SCRIPTS = Path(__file__).with_name("scripts")
_DENSE = {"to": "dense", "target_sum": 1e4, "log1p": True}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--cells", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--peers",
        action="store_true",
        help="measure other loaders too, each in an environment of its own",
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure, print a table of k cells a CPU second, and return 0."""
    h5ad = cached_input(Input(Counts(arguments.cells))).path
    commands = _commands(h5ad, FOLDER / "loading", peers=arguments.peers)
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


def _commands(h5ad: Path, folder: Path, *, peers: bool) -> dict[str, list[str]]:
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
    if peers:
        commands |= {
            name: [
                str(python),
                "-E",
                "-s",
                str(_SCRIPTS / "load_peers.py"),
                program,
                str(h5ad),
                store,
            ]
            for name, program, python in _peers()
            for store in [str(folder / f"{h5ad.stem}-{program}")]
        }
    return commands


def _peers() -> Iterator[tuple[str, str, Path]]:
    """The other loaders: name, function of the script, and interpreter."""
    newer = newer_python()
    if newer is None:
        print("annbatch needs Python 3.12, and there is none: it is left out", file=sys.stderr)
    else:
        python = python_of("annbatch", "annbatch[zarrs]==0.3.1", interpreter=newer)
        yield "annbatch 256 × 32, CSR", "annbatch", python
    yield "SCDL, PyTorch's DataLoader", "scdl", PROGRAMS["bionemo-scdl"].python
    python = python_of("scdataset", "scdataset==0.3.0", "anndata==0.12.19")
    yield "scDataset 64 × 64, h5ad", "scdataset", python
    yield "anndata, backed h5ad", "backed", python


def _ours(dataset: Path, options: dict[str, Any], n_genes: int = 0) -> list[str]:
    script = str(_SCRIPTS / "load_slaf.py")
    return [sys.executable, script, str(dataset), json.dumps(options), str(n_genes)]
