"""The depth of unpaired reads, against mosdepth: skipped where it does not run."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pysam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import slaf
from tests.sources.reads import INS, D, H, M, N, Read, S, reads, write_reads

if TYPE_CHECKING:
    from slaf.options import Strand

# Contig, start, end and depth of runs of equal depth that is not zero.
Runs: TypeAlias = "list[tuple[str, int, int, int]]"

# The flags that only paired reads have, and that of reverse ones.
_OF_PAIRS, _REVERSE = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x80, 0x10


@cache
def _obstacle() -> str:
    """Why mosdepth does not run; empty if it does."""
    if shutil.which("mosdepth") is None:
        return "mosdepth is not installed"
    # It needs libhts.so, for which its Debian package does not ask.
    done = subprocess.run(["mosdepth", "--version"], capture_output=True, text=True, check=False)
    return f"mosdepth does not run: {done.stdout}{done.stderr}" if done.returncode else ""


pytestmark = pytest.mark.skipif(bool(_obstacle()), reason=_obstacle())


def by_mosdepth(path: Path, exclude: int, include: int, mapq: int) -> Runs:
    """The runs that mosdepth writes."""
    prefix = path.with_suffix(f".{exclude}-{include}-{mapq}")
    choice = ["-F", str(exclude), "-i", str(include), "-Q", str(mapq)]
    subprocess.run(["mosdepth", *choice, str(prefix), str(path)], check=True, capture_output=True)
    with gzip.open(f"{prefix}.per-base.bed.gz", "rt") as file:
        rows = [line.split() for line in file]
    return [(name, int(a), int(b), int(depth)) for name, a, b, depth in rows if depth != "0"]


def in_bins(runs: Runs, size: int) -> dict[str, int]:
    """The sums of depth in bins that have any, by contig and first base."""
    sums: Counter[str] = Counter()
    for name, start, end, depth in runs:
        for first in range(start - start % size, end, size):
            sums[f"{name}:{first}"] += depth * (min(end, first + size) - max(start, first))
    return dict(sums)


def assert_same(path: Path, *, exclude: int = 3844, mapq: int = 0, bin_size: int = 7) -> None:
    """Each base and each bin has the depth of mosdepth, in all and on each strand."""
    expected: dict[Strand | None, Runs] = {
        None: by_mosdepth(path, exclude, 0, mapq),
        "+": by_mosdepth(path, exclude | _REVERSE, 0, mapq),
        "-": by_mosdepth(path, exclude, _REVERSE, mapq),
    }
    options = {"exclude_flags": exclude, "min_mapq": mapq, "bin_size": bin_size}
    with slaf.scan(path, stranded="F", **options) as view:
        with pysam.AlignmentFile(str(path)) as file:
            contigs = file.references
        for strand, runs in expected.items():
            found = [run[1:] for name in contigs for run in view.coverage_runs(name, strand)]
            assert found == runs
        row = view.X[:].tocoo()
        bins = [name.rpartition("-")[0] for name in view.var_names[row.col]]
        assert dict(zip(bins, row.data.tolist(), strict=True)) == in_bins(expected[None], bin_size)


@given(
    alignments=reads(),
    exclude=st.sampled_from([3844, 1796, 4, 16 | 4]),
    mapq=st.sampled_from([0, 10, 20]),
    bin_size=st.sampled_from([1, 7, 50]),
)
@settings(max_examples=8)
def test_generated_reads(alignments: list[Read], exclude: int, mapq: int, bin_size: int) -> None:
    """Whatever CIGARs and flags reads have that are alone."""
    alone = [
        Read(one.contig, one.start, one.cigar, one.flag & ~_OF_PAIRS, one.mapq)
        for one in alignments
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = write_reads(Path(folder, "s.bam"), alone, index=True)
        assert_same(path, exclude=exclude, mapq=mapq, bin_size=bin_size)


def test_ends_gaps_and_depth(tmp_path: Path) -> None:
    """Both ends of contigs, gaps, clips, every flag left out, and a depth beyond 65,536."""
    cigar = ((H, 2), (S, 3), (M, 5), (D, 2), (M, 4), (N, 90), (INS, 3), (M, 6), (S, 1))
    flags = [0, 16, 256, 512, 1024, 2048, 2064]
    some = [Read(0, start, cigar, flag) for start in (0, 60, 193) for flag in flags]
    deep = [Read(2, 3, ((M, 4),), 16 * (at % 3 == 0)) for at in range(70_000)]
    assert_same(write_reads(tmp_path / "s.bam", some + deep, index=True))
    assert_same(write_reads(tmp_path / "none.bam", [], index=True))


@pytest.mark.corpus
@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["bamnado/test.bam", "epiout/test1.bam", "epiout/test2.bam", "epiout/test3.bam"]
)
def test_corpus(name: str, corpus: Path, tmp_path: Path) -> None:
    """Real reads, of which none is paired any more."""
    path = tmp_path / "s.bam"
    with (
        pysam.AlignmentFile(str(corpus / "bam" / name)) as file,
        pysam.AlignmentFile(str(path), "wb", template=file) as copy,
    ):
        for read in file.fetch(until_eof=True):
            read.flag &= ~_OF_PAIRS
            copy.write(read)
    pysam.index(str(path))
    assert_same(path, bin_size=1000)
