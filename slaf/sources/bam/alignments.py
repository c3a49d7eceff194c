"""Aligned blocks of the reads of a BAM, CRAM or SAM file, by pysam."""

from __future__ import annotations

import re
import struct
import zlib
from array import array
from bisect import bisect_left
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from slaf.errors import DamagedInput, SlafError
from slaf.runtime.cancellation import check_cancelled
from slaf.runtime.extras import require
from slaf.sources.bam.regions import Contig
from slaf.sources.tenx.text import open_text
from slaf.storage.system_errors import system_errno, system_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "DEFAULT_EXCLUDED",
    "FORWARD",
    "REVERSE",
    "UNSTRANDED",
    "AlignmentFile",
    "BlockCounts",
    "ContigBlocks",
    "ReadFilter",
    "file_kind",
]

# Unmapped, secondary, of failed quality, duplicate, supplementary.
DEFAULT_EXCLUDED: Final = 3844

UNSTRANDED, FORWARD, REVERSE = 0, 1, 2

_PAIRED, _UNMAPPED, _REVERSE, _SECOND = 0x1, 0x4, 0x10, 0x80
_LEFT_OUT: Final = -1

# Of CRAM only flags, positions, qualities of mapping and CIGARs are decoded, for which it needs
# no reference.
_CRAM_FIELDS: Final = [b"required_fields=62"]
_MAGIC_BYTES = 1 << 12
_BAM: Final = b"BAM\1"
_INDEXES: Final = (".csi", ".bai")
_SORT_ORDER: Final = re.compile(r"^@HD\t.*\bSO:(\w+)", re.MULTILINE)
# Reads between two looks at whether the run was stopped, less one.
_CHECKED = (1 << 16) - 1

# Starts and ends of blocks.
_Bounds: TypeAlias = "tuple[array[int], array[int]]"


@dataclass(frozen=True, slots=True)
class ReadFilter:
    """The reads that count.

    Attributes
    ----------
    min_mapq
        The least quality of mapping.
    exclude_flags, include_flags
        Flags that a read must not have, and must have.
    stranded
        The strand of a fragment: "F" that of its first read, "R" the opposite, "U" none.
    blacklist
        By contig, the starts and ends of regions; a read with an aligned base in one is left out.
        Ascending, apart.
    """

    min_mapq: int = 0
    exclude_flags: int = DEFAULT_EXCLUDED
    include_flags: int = 0
    stranded: str = "U"
    blacklist: Mapping[int, tuple[list[int], list[int]]] = field(default_factory=dict)

    def strand(self, flag: int) -> int:
        """The strand of a read with this flag; −1 if it does not count."""
        if flag & (self.exclude_flags | _UNMAPPED) or ~flag & self.include_flags:
            return _LEFT_OUT
        if self.stranded == "U":
            return UNSTRANDED
        is_second = bool(flag & _PAIRED and flag & _SECOND)
        is_reverse = bool(flag & _REVERSE) ^ is_second ^ (self.stranded == "R")
        return REVERSE if is_reverse else FORWARD


@dataclass(slots=True)
class BlockCounts:
    """The reads of a file.

    Attributes
    ----------
    mapped
        Alignments that are mapped, whatever their flags.
    used
        Those that count, of the chosen contigs.
    """

    mapped: int = 0
    used: int = 0


@dataclass(frozen=True, slots=True)
class ContigBlocks:
    """The blocks of all reads of a contig that count, by strand: starts and ends in any order."""

    contig: int
    strands: Mapping[int, tuple[NDArray[np.int32], NDArray[np.int32]]]


class AlignmentFile:
    """An open BAM, CRAM or SAM file.

    Parameters
    ----------
    path
        A local file.

    Attributes
    ----------
    path
        The same.
    contigs, sort_order
        As the header has them.
    has_index
        Whether there is an index that can be used.
    has_old_index
        Whether there is one that is older than the file, and not used.
    n_indexed
        The mapped alignments by the index; None where it does not say.

    Raises
    ------
    DamagedInput
        If it is none, or cut short.
    StorageError
        If the system refuses to read it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if file_kind(path) == "BAM":
            _check_header(path)
        with self._open() as file:
            order = _SORT_ORDER.search(str(file.header))
            lengths = zip(file.references, file.lengths, strict=True)
            self.contigs = tuple(Contig(name, length) for name, length in lengths)
            self.sort_order = "unknown" if order is None else order[1]
            # htslib uses an index of an earlier file too, and then misses reads.
            self.has_old_index = file.is_bam and _has_old_index(path)
            self.has_index = not file.is_sam and file.has_index() and not self.has_old_index
            # An index of CRAM has no numbers of reads.
            self.n_indexed = file.mapped if self.has_index and file.is_bam else None

    def blocks(
        self, reads: ReadFilter, chosen: Sequence[int], counts: BlockCounts
    ) -> Iterator[ContigBlocks]:
        """The blocks of the chosen contigs, a contig at a time if the file is in their order.

        Parameters
        ----------
        reads
            The reads that count.
        chosen
            The positions of the contigs, ascending.
        counts
            Is set to the numbers of reads.

        Raises
        ------
        DamagedInput
            If it cannot be read to its end.
        """
        with self._open() as file:
            scan = _Scan(reads, chosen, counts)
            if self.n_indexed is not None and len(chosen) < len(self.contigs):
                counts.mapped = self.n_indexed
                for contig in chosen:
                    scan.add(file.fetch(self.contigs[contig].name), count=False)
                    yield from scan.flush()
            elif self.sort_order == "coordinate":
                yield from self._grouped(file, scan)
            else:
                scan.add(file.fetch(until_eof=True))
                yield from scan.flush()

    def _grouped(self, file: Any, scan: _Scan) -> Iterator[ContigBlocks]:
        """The blocks of contigs that follow each other, each as soon as the next begins."""
        last = -1
        for contig, reads in groupby(file.fetch(until_eof=True), attrgetter("reference_id")):
            if 0 <= contig <= last:
                msg = (
                    f"{self.path}: its header says that reads are sorted by coordinate, but those "
                    f"of {self.contigs[contig].name} come after those of "
                    f"{self.contigs[last].name}"
                )
                raise DamagedInput(msg, remedy="sort it with samtools sort")
            last = max(last, contig)
            scan.add(reads)
            yield from scan.flush()

    @contextmanager
    def _open(self) -> Iterator[Any]:
        pysam = _import_pysam(self.path)
        kind = file_kind(self.path)
        if kind is None:
            msg = f"{self.path}: it is no BAM, CRAM or SAM file"
            raise DamagedInput(msg)
        options = _CRAM_FIELDS if kind == "CRAM" else None
        try:
            with pysam.AlignmentFile(str(self.path), format_options=options) as file:
                yield file
        except (OSError, ValueError, OverflowError, NotImplementedError) as error:
            if isinstance(error, SlafError):
                raise
            if system_errno(error) is not None:
                raise system_error(str(self.path), "read", error) from error
            msg = f"{self.path}: it cannot be read to its end: {error}"
            raise DamagedInput(msg) from error


class _Scan:
    """Collects the blocks of reads by contig and strand."""

    def __init__(self, reads: ReadFilter, chosen: Sequence[int], counts: BlockCounts) -> None:
        self._reads = reads
        self._chosen = frozenset(chosen)
        self._counts = counts
        self._strands: dict[int, int] = {}
        self._blocks: dict[int, dict[int, _Bounds]] = {}

    def add(self, alignments: Iterable[Any], *, count: bool = True) -> None:
        """Add alignments, in any order."""
        strands, least, blacklist = self._strands, self._reads.min_mapq, self._reads.blacklist
        contig, strand_bounds, mapped, used = -1, _no_bounds(), 0, 0
        for number, read in enumerate(alignments):
            if not number & _CHECKED:
                check_cancelled()
            flag = read.flag
            mapped += not flag & _UNMAPPED
            strand = strands.get(flag)
            if strand is None:
                strand = strands[flag] = self._reads.strand(flag)
            if strand < 0 or read.mapping_quality < least:
                continue
            if read.reference_id != contig:
                contig = read.reference_id
                strand_bounds = self._bounds_of(contig)
            blocks = read.get_blocks()
            if not strand_bounds or (contig in blacklist and _overlaps(blocks, blacklist[contig])):
                continue
            used += 1
            starts, ends = strand_bounds[strand]
            for start, end in blocks:
                starts.append(start)
                ends.append(end)
        self._counts.mapped += mapped if count else 0
        self._counts.used += used

    def flush(self) -> Iterator[ContigBlocks]:
        """The blocks collected so far, by contig; they are not kept."""
        collected, self._blocks = self._blocks, {}
        for contig in sorted(collected):
            strands = collected.pop(contig)
            yield ContigBlocks(
                contig,
                {
                    strand: (np.frombuffer(starts, np.int32), np.frombuffer(ends, np.int32))
                    for strand, (starts, ends) in strands.items()
                    if len(starts)
                },
            )

    def _bounds_of(self, contig: int) -> dict[int, _Bounds]:
        if contig not in self._chosen:
            return _no_bounds()
        return self._blocks.setdefault(
            contig, {strand: (array("i"), array("i")) for strand in (UNSTRANDED, FORWARD, REVERSE)}
        )


def _no_bounds() -> dict[int, _Bounds]:
    return {}


def _overlaps(blocks: Iterable[tuple[int, int]], regions: tuple[list[int], list[int]]) -> bool:
    """Whether a block has a base in one of some ascending regions."""
    starts, ends = regions
    for start, end in blocks:
        at = bisect_left(starts, end)
        if at and ends[at - 1] > start:
            return True
    return False


def file_kind(path: Path) -> str | None:
    """BAM, CRAM or SAM, by the first bytes of a file; None for another."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        magic = file.read(_MAGIC_BYTES)
    if magic.startswith(b"CRAM"):
        return "CRAM"
    if magic.startswith((b"@HD\tVN:", b"@SQ\tSN:", b"@SQ\tLN:")):
        return "SAM"
    if magic.startswith(b"\x1f\x8b"):
        with suppress(zlib.error):
            if zlib.decompressobj(wbits=31).decompress(magic, len(_BAM)) == _BAM:
                return "BAM"
    return None


def _has_old_index(path: Path) -> bool:
    """Whether an index of a BAM file was written before the file itself."""
    names = [Path(f"{path}{suffix}") for suffix in _INDEXES]
    names += [path.with_suffix(suffix) for suffix in _INDEXES]
    written = path.stat().st_mtime_ns
    return any(name.stat().st_mtime_ns < written for name in names if name.is_file())


def _check_header(path: Path) -> None:
    """Read the header of a BAM file; what pysam prints of a wrong one is an error.

    Raises
    ------
    DamagedInput
        If it cannot be read.
    """

    def number() -> int:
        (value,) = struct.unpack("<i", text.read(4))
        return int(value)

    def skip(size: int) -> None:
        if size < 0 or len(text.read(size)) < size:
            msg = f"{path}: its header is cut short"
            raise DamagedInput(msg)

    with open_text(path) as text:
        try:
            skip(len(_BAM))
            skip(number())
            for _ in range(number()):
                skip(number())
                skip(4)
        except struct.error as error:
            msg = f"{path}: its header is cut short"
            raise DamagedInput(msg) from error


def _import_pysam(path: Path) -> Any:
    require("pysam", f"{path}: reading a BAM, CRAM or SAM file")
    import pysam

    # htslib would print what is raised.
    pysam.set_verbosity(0)
    return pysam
