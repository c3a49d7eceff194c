"""Convert generated BAM files, and compare time and memory with QuantNado."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks.environment import newer_python, python_of
from benchmarks.inputs.input import FOLDER
from benchmarks.process import measure
from benchmarks.table import report, seconds, size

if TYPE_CHECKING:
    import argparse

__all__ = ["add_arguments", "run"]

_SCRIPT: Final = Path(__file__).parent / "scripts" / "coverage_quantnado.py"
_READ: Final = 100

# Contigs, and the reads of each file.
_WORKLOADS: Final[dict[str, tuple[tuple[tuple[str, int], ...], tuple[int, ...]]]] = {
    "2 x 1 M reads": (
        (("chr1", 248_956_422), ("chr2", 242_193_529), ("chrX", 156_040_895)),
        (1_000_000, 1_000_000),
    ),
    "human lengths, 100 k reads": (
        tuple((f"chr{at}", (250 - 8 * at) * 1_000_000) for at in range(1, 25)),
        (100_000,),
    ),
    "200 Mb, 100 reads": ((("chr1", 200_000_000),), (100,)),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    parser.add_argument("--workload", choices=list(_WORKLOADS), action="append")
    parser.add_argument(
        "--quantnado", action="store_true", help="measure it too, in an environment of its own"
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure each workload, print a table, and return 0."""
    folder = FOLDER / "coverage"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for workload in arguments.workload or _WORKLOADS:
        inputs = _inputs(folder, workload)
        slaf = Path(sys.executable).with_name("slaf")
        commands = {"slaf": [slaf, "convert", *inputs, folder / "out.slaf", "--overwrite", "-q"]}
        if arguments.quantnado:
            interpreter = newer_python() or sys.executable
            python = python_of("quantnado", "quantnado==0.4.9", interpreter=interpreter)
            commands["quantnado"] = [python, _SCRIPT, folder, *inputs]
        rows += [_row(workload, name, command) for name, command in commands.items()]
    report(rows, as_json=arguments.json)
    shutil.rmtree(folder / "out.slaf", ignore_errors=True)
    return 0


def _row(workload: str, program: str, command: list[Any]) -> dict[str, str | int | float]:
    usage = measure(command)
    return {
        "workload": workload,
        "program": program,
        "seconds": seconds(usage.seconds),
        "cpu_seconds": seconds(usage.cpu_seconds),
        "peak_MiB": size(usage.peak_bytes),
    }


def _inputs(folder: Path, workload: str) -> list[Path]:
    contigs, n_reads = _WORKLOADS[workload]
    name = "".join(c if c.isalnum() else "-" for c in workload)
    paths = [folder / f"{name}-{at}.bam" for at in range(len(n_reads))]
    for seed, (path, n) in enumerate(zip(paths, n_reads, strict=True)):
        if not path.exists():
            _write(path, contigs, n, seed)
    return paths


def _write(path: Path, contigs: tuple[tuple[str, int], ...], n_reads: int, seed: int) -> None:
    """Write sorted reads of 100 bases, a tenth of them with a deletion or an intron."""
    import pysam

    rng = np.random.default_rng(seed)
    header = pysam.AlignmentHeader.from_dict(
        {
            "HD": {"VN": "1.6", "SO": "coordinate"},
            "SQ": [{"SN": name, "LN": length} for name, length in contigs],
        }
    )
    lengths = np.array([length for _, length in contigs], float)
    cigars = [[(0, _READ)], [(0, 50), (2, 3), (0, 50)], [(0, 40), (3, 500), (0, 60)]]
    part = path.with_suffix(".new")
    with pysam.AlignmentFile(str(part), "wb", header=header) as file:
        for contig, n in enumerate(rng.multinomial(n_reads, lengths / lengths.sum()).tolist()):
            starts = np.sort(rng.integers(0, int(lengths[contig]) - 700, n)).tolist()
            kinds = rng.choice(len(cigars), n, p=[0.9, 0.05, 0.05]).tolist()
            flags = rng.choice([0, 16, 1024], n, p=[0.45, 0.45, 0.1]).tolist()
            for start, kind, flag in zip(starts, kinds, flags, strict=True):
                read = pysam.AlignedSegment(header)
                read.query_name, read.query_sequence = "read", "ACGT" * (_READ // 4)
                read.flag, read.mapping_quality = flag, 30
                read.reference_id, read.reference_start = contig, start
                read.cigartuples = cigars[kind]
                file.write(read)
    pysam.index(str(part), f"{path}.bai")
    part.replace(path)
