"""Files of reads with known truth: written by pysam, counted base by base."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import numpy as np
import pysam

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hypothesis.strategies import SearchStrategy
    from numpy.typing import NDArray

__all__ = ["CONTIGS", "Read", "depth_of", "reads", "used", "write_reads"]

CONTIGS = (("chr1", 300), ("chr2", 51), ("chrM", 7), ("KI270", 40))

# The numbers of operations in CIGARs, and those that are aligned or skip reference.
M, INS, D, N, S, H, P, EQ, X = range(9)
_ALIGNED, _SKIPPED = {M, EQ, X}, {D, N}


@dataclass(frozen=True)
class Read:
    """An alignment: its contig, first base, CIGAR, flag and mapping quality."""

    contig: int
    start: int
    cigar: tuple[tuple[int, int], ...]
    flag: int = 0
    mapq: int = 30

    @property
    def span(self) -> int:
        """Bases of the reference from the first to the last."""
        return sum(n for op, n in self.cigar if op in _ALIGNED | _SKIPPED)

    @property
    def query_length(self) -> int:
        """Bases of the read that the file holds."""
        return sum(n for op, n in self.cigar if op in _ALIGNED | {INS, S})


@st.composite
def _read(draw: Any) -> Read:
    contig = draw(st.integers(0, len(CONTIGS) - 1))
    length = CONTIGS[contig][1]
    inner = draw(
        st.lists(
            st.tuples(st.sampled_from([M, INS, D, N, EQ, X, P]), st.integers(1, 12)), max_size=5
        )
    )
    cigar = [(M, draw(st.integers(1, 6))), *inner, (EQ, 1)]
    if draw(st.booleans()):
        cigar.insert(0, (S, 3))
    if draw(st.booleans()):
        cigar += [(S, 2), (H, 4)]
    read = Read(contig, 0, tuple(cigar))
    if read.span > length:
        read = Read(contig, 0, ((M, length),))
    last = length - read.span
    # Often at the ends of contigs, and often at one place.
    start = draw(st.sampled_from([0, last]) | st.integers(0, last) | st.just(min(last, 20)))
    flag = draw(st.sampled_from([0, 16, 99, 147, 83, 163, 256, 512, 1024, 2048, 4, 77]))
    return Read(contig, start, read.cigar, flag, draw(st.sampled_from([0, 10, 255])))


def reads(max_size: int = 25) -> SearchStrategy[list[Read]]:
    """Some alignments with everything that a CIGAR and a flag may say."""
    return st.lists(_read(), max_size=max_size)


def write_reads(
    path: Path,
    alignments: Sequence[Read],
    contigs: Sequence[tuple[str, int]] = CONTIGS,
    *,
    is_sorted: bool = True,
    index: bool = False,
) -> Path:
    """Write alignments as BAM, CRAM or SAM by the suffix of the path."""
    mode = {".bam": "wb", ".cram": "wc", ".sam": "w"}[path.suffix]
    order = "coordinate" if is_sorted else "unsorted"
    header = pysam.AlignmentHeader.from_dict(
        {
            "HD": {"VN": "1.6", "SO": order},
            "SQ": [{"SN": name, "LN": length} for name, length in contigs],
        }
    )
    written = list(alignments)
    if is_sorted:
        written.sort(key=lambda read: (read.contig, read.start))
    options: Any = [b"no_ref=1"] if path.suffix == ".cram" else None
    with pysam.AlignmentFile(str(path), mode, header=header, format_options=options) as file:
        for number, read in enumerate(written):
            aligned = pysam.AlignedSegment(header)
            aligned.query_name = f"read{number}"
            aligned.flag = read.flag
            aligned.reference_id = read.contig
            aligned.reference_start = read.start
            aligned.mapping_quality = read.mapq
            aligned.cigartuples = list(read.cigar)
            aligned.query_sequence = "A" * read.query_length
            file.write(aligned)
    if index:
        pysam.index(str(path))
    return path


def used(read: Read, *, min_mapq: int = 0, exclude: int = 3844, include: int = 0) -> bool:
    """Whether a read counts."""
    return (
        not read.flag & (exclude | 4) and read.flag & include == include and read.mapq >= min_mapq
    )


def depth_of(
    alignments: Sequence[Read], contigs: Sequence[tuple[str, int]] = CONTIGS
) -> list[NDArray[np.uint32]]:
    """The depth of each base of each contig, by adding one for each aligned base."""
    depth = [np.zeros(length, np.uint32) for _, length in contigs]
    for read in alignments:
        at = read.start
        for operation, n in read.cigar:
            if operation in _ALIGNED:
                depth[read.contig][at : at + n] += 1
            if operation in _ALIGNED | _SKIPPED:
                at += n
    return depth
