"""Epochs of the loader, from the tables and from a cache, in alternating rounds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import slaf
from benchmarks.environment import newer_python, python_of
from benchmarks.inputs import Counts, Input, cached_input
from benchmarks.inputs.input import FOLDER
from benchmarks.loading_page import write_section
from benchmarks.programs import PROGRAMS
from benchmarks.table import report

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from benchmarks.table import Row

__all__ = ["EPOCH", "FIRST", "add_arguments", "run"]

EPOCH, FIRST = "epochs", "from h5ad to the first batch"

_SCRIPTS = Path(__file__).with_name("scripts")
_CELLS = 50_000
_N_GENES = 2_000
_DENSE = {"to": "dense", "target_sum": 1e4, "log1p": True}
_OUTPUTS: tuple[tuple[str, dict[str, object], int], ...] = (
    ("CSR", {}, 0),
    ("dense, 2,000 genes", _DENSE, _N_GENES),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--cells", type=int, default=_CELLS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--peers",
        action="store_true",
        help="measure other loaders too, each in an environment of its own, and write their "
        "section of docs/benchmarks.md if all is measured",
    )
    parser.add_argument("--only", metavar="TEXT", help="only programs with this in their names")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print k cells a CPU second of epochs and what the first batch takes; 0."""
    h5ad = cached_input(Input(Counts(arguments.cells))).path
    folder = FOLDER / "loading"
    folder.mkdir(parents=True, exist_ok=True)
    measured: dict[str, dict[str, list[dict[str, float]]]] = {EPOCH: {}, FIRST: {}}
    commands = dict(_ours(h5ad, folder))
    if arguments.peers:
        commands |= _theirs(h5ad, folder)
    for _ in range(arguments.rounds):
        for (kind, name), command in commands.items():
            if not arguments.only or arguments.only in name:
                figures = measured[kind].setdefault(name, [])
                figures.append(_figures(command))
    if arguments.peers and arguments.cells == _CELLS and not arguments.only:
        write_section(measured[EPOCH], measured[FIRST])
    report(list(_rows(measured)), as_json=arguments.json)
    return 0


def _figures(command: list[str]) -> dict[str, float]:
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return figures


def _rows(measured: Mapping[str, Mapping[str, list[dict[str, float]]]]) -> Iterator[Row]:
    for kind, programs in measured.items():
        for name, figures in programs.items():
            speeds = [
                each["cells"] / each["cpu_seconds"] / 1e3 for each in figures if kind == EPOCH
            ]
            yield {
                "measured": kind,
                "program": name,
                "k cells/CPU s": f"{median(speeds):.1f}" if speeds else "",
                "least": f"{min(speeds):.1f}" if speeds else "",
                "most": f"{max(speeds):.1f}" if speeds else "",
                "CPU s": round(median(each["cpu_seconds"] for each in figures), 2),
                "anonymous MB": round(max(each["peak_bytes"] for each in figures) / 1e6),
            }


def _ours(h5ad: Path, folder: Path) -> Iterator[tuple[tuple[str, str], list[str]]]:
    """What is measured, its name, and its command; datasets are converted on first use."""
    stem = str(folder / h5ad.stem)
    for compression in ("fast", "balanced"):
        dataset = Path(f"{stem}-{compression}.slaf")
        if not (dataset / "config.json").exists():
            slaf.convert(h5ad, dataset, compression=compression)
        for to, options, n_genes in _OUTPUTS:
            command = _slaf("epochs", str(dataset), json.dumps(options), str(n_genes))
            yield (EPOCH, f"slaf, tables, {compression}, {to}"), command
    for to, options, n_genes in _OUTPUTS:
        cached = options | {"cache": f"{stem}-cache-{n_genes}"}
        command = _slaf("epochs", str(dataset), json.dumps(cached), str(n_genes))
        yield (EPOCH, f"slaf, cache, {to}"), command
    for compression in ("fast", "balanced"):
        how = json.dumps({"compression": compression})
        command = _slaf("first", str(h5ad), f"{stem}-new.slaf", how)
        yield (FIRST, f"slaf, tables, {compression}"), command


def _slaf(*arguments: str) -> list[str]:
    return [sys.executable, str(_SCRIPTS / "load_slaf.py"), *arguments]


def _theirs(h5ad: Path, folder: Path) -> Iterator[tuple[tuple[str, str], list[str]]]:
    """The same of other programs, whose copies are made on first use."""
    script = str(_SCRIPTS / "load_peers.py")
    for name, program, store, python in _peers():
        copy = str(folder / f"{h5ad.stem}-{store}")
        command = [str(python), "-E", "-s", "-W", "ignore", script]
        yield (EPOCH, name), [*command, "epochs", program, str(h5ad), copy]
        if program == "annbatch":
            yield (FIRST, "annbatch"), [*command, "first", program, str(h5ad), f"{copy}-new"]


def _peers() -> Iterator[tuple[str, str, str, Path]]:
    """The other loaders: name, function of the script, its copy, and interpreter."""
    newer = newer_python()
    if newer is None:
        print("annbatch needs Python 3.12, and there is none: it is left out", file=sys.stderr)
    else:
        python = python_of("annbatch", "annbatch[zarrs]==0.3.1", interpreter=newer)
        yield "annbatch, CSR", "annbatch", "annbatch", python
        yield "annbatch, dense, 2,000 of all genes", "annbatch_dense", "annbatch", python
        yield "annbatch, dense, copy of 2,000 genes", "annbatch_genes", "annbatch-genes", python
    yield "SCDL, CSR", "scdl", "scdl", PROGRAMS["bionemo-scdl"].python
    # slafdb's loader imports psutil, which it does not require.
    slafdb = (*PROGRAMS["slafdb"].requirements, "psutil==7.2.2")
    python = python_of("loaders", *slafdb, "scdataset==0.3.0", "anndata==0.12.19")
    yield "scDataset, CSR of h5ad", "scdataset", "none", python
    yield "slafdb, tables of entries", "slafdb", "slafdb.slaf", python
    yield "anndata, CSR of h5ad", "backed", "none", python
