"""The options of inputs: how they are found and read, and the names of their cells."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

from slaf.options.choices import Strandedness
from slaf.options.declare import Options, one_of, option
from slaf.runtime.resources import default_memory_budget

if TYPE_CHECKING:
    from slaf.storage.location import Location

__all__ = [
    "INPUT_CHOICES",
    "READS_CHOICES",
    "InputOptions",
    "ReadOptions",
    "SampleOptions",
    "parse_bytes",
]

# The options of files of reads, and all that only some formats know.
READS_CHOICES: Final = (
    *("bin_size", "regions", "chroms", "min_mapq", "exclude_flags", "include_flags"),
    *("stranded", "blacklist"),
)
INPUT_CHOICES: Final = (
    *("genome", "feature_type", "measurement", "modality"),
    *("barcodes", "features", "gene_id_column", "transpose"),
    *READS_CHOICES,
)

_UNITS: Final = ("", "K", "M", "G", "T")


def parse_bytes(size: int | str) -> int:
    """The bytes of a size, like 500000000, "500MB" or "2G"; units are powers of 1024.

    Raises
    ------
    ValueError
        If it is no size.

    Examples
    --------
    >>> parse_bytes("1.5KB"), parse_bytes("2G")
    (1536, 2147483648)
    """
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", str(size).strip(), re.IGNORECASE)
    if matched is None:
        msg = f'memory is {size!r}, but it is a number of bytes, like 500000000, "500MB" or "2GB"'
        raise ValueError(msg)
    return int(float(matched[1]) * 1024 ** _UNITS.index(matched[2].upper()))


def _strandedness(value: Any) -> str:
    """The strands of a library.

    Raises
    ------
    ValueError
        If it is none.
    """
    return str(one_of(Strandedness, "stranded", value))


@dataclass(frozen=True, kw_only=True)
class ReadOptions(Options):
    """How an input is read: the record that formats get."""

    matrix: str = option("X", metavar="X|raw|layer:NAME")
    """Matrix of the input: X, raw or layer:NAME. Its nonzeros decide time and bytes."""

    genome: str | None = None
    """Genome of a 10x H5 file of several: its matrix, or its features of the matrix of all. Its
    nonzeros decide time and bytes.
    """

    feature_type: str | None = None
    """Features of a 10x matrix, like 'Gene Expression'; all by default. Fewer take fewer bytes."""

    measurement: str | None = None
    """Measurement of a TileDB-SOMA experiment; RNA, or the only one, by default. Its nonzeros
    decide time and bytes.
    """

    modality: str | None = None
    """Modality of a MuData; rna, or the only one, by default. Its nonzeros decide time and
    bytes.
    """

    barcodes: str | os.PathLike[str] | None = option(None, metavar="FILE", parse=os.fspath)
    """Table of the cells of an MTX file (tsv, csv or txt, also gzipped; with or without a header),
    where its name does not tell. Changes no time or memory.
    """

    features: str | os.PathLike[str] | None = option(None, metavar="FILE", parse=os.fspath)
    """Table of the genes of an MTX file, like `barcodes`. Changes no time or memory."""

    gene_id_column: str | None = None
    """Column of the genes of an MTX file that holds their ids: its name in the header, or its
    number from 1. Changes no time or memory.
    """

    transpose: bool | None = None
    """Whether the rows of an MTX file are cells; by default its tables and the names of its files
    tell. Changes no time or memory.
    """

    bin_size: int | None = option(None, metavar="BASES", minimum=1)
    """Bases of a bin, which is a gene of a file of reads; 1,000 by default. Fewer take more time
    and bytes.
    """

    regions: str | os.PathLike[str] | None = option(None, metavar="BED", parse=os.fspath)
    """BED file of the regions that are the genes of a file of reads, in place of bins. Fewer take
    fewer bytes.
    """

    chroms: str | None = option(None, metavar="REGEX|main|all")
    """Contigs of a file of reads: those whose whole name the expression matches, the main ones
    (chromosomes and the mitochondrial genome), or all, by default. Fewer take less time and bytes.
    """

    min_mapq: int | None = option(None, minimum=0)
    """Least mapping quality of a read that counts; 0 by default. Changes no time."""

    exclude_flags: int | None = option(None, minimum=0)
    """Sum of the SAM flags that a read must not have to count; by default 3844: unmapped,
    secondary, of failed quality, duplicate, supplementary. Unmapped reads never count. Changes no
    time.
    """

    include_flags: int | None = option(None, minimum=0)
    """Sum of the SAM flags which a read that counts has all; 0 by default. Changes no time."""

    stranded: str | None = option(None, metavar="R|F|U", parse=_strandedness)
    """Count forward and reverse fragments apart in the table of coverage: F where the first read
    of a fragment has its strand, R where it has the other one (dUTP); U, the default, counts them
    together. Apart they take more bytes. A column `stranded` of `samples` says it for each sample.
    """

    blacklist: str | os.PathLike[str] | None = option(None, metavar="BED", parse=os.fspath)
    """BED file of regions: a read with an aligned base in one of them does not count. Changes no
    time.
    """

    workers: int = option(0, minimum=0)
    """Parts that are encoded at once, each by a thread of its own; with 0 the calling thread
    encodes one after the other. More take more memory and less time.
    """

    memory: int | str | None = option(None, parse=parse_bytes)
    """Bytes of memory, like "2G", that sorting may take where the input is not in the order of
    cells; by default a quarter of what the machine or the container has free, at most 2 GiB. It
    takes no more than it needs; with much less it takes more time.
    """

    scratch: str | os.PathLike[str] | None = None
    """Directory for what sorting cannot keep in `memory`; next to the dataset by default. A fast
    disk takes less time.
    """

    storage_options: Mapping[str, str] | None = option(None, flag="--storage-option", shown=False)
    """How to reach buckets, by the names that Lance and obstore have for it. What is not given is
    taken from the environment, where secrets are better left. Time-outs and retries change the
    time.
    """

    stage: str | os.PathLike[str] | None = None
    """Directory into which an input from a bucket or the web is downloaded first, and where it is
    kept: takes its bytes on disk. By default only what is needed is fetched.
    """

    def near(self, location: Location) -> Self:
        """The options for a dataset at this location: what spills lies next to it by default.

        There the disk is as large as the work asks for, which the system's own directory for
        temporary files often is not.
        """
        from slaf.storage.urls import local_path

        scratch = None if self.scratch is None else local_path(self.scratch)
        if scratch is None and not location.is_remote:
            parent = location.path.absolute().parent
            scratch = parent if parent.is_dir() else None
        return replace(self, memory=self.memory_budget, scratch=scratch)

    @property
    def memory_budget(self) -> int:
        """Bytes that sorting may take."""
        return default_memory_budget() if self.memory is None else parse_bytes(self.memory)

    @property
    def readers(self) -> int:
        """Threads that read cells at once, and share the memory."""
        return max(self.workers, 1)

    def choice(self) -> dict[str, str | bool | int]:
        """What was chosen of the input, besides its matrix."""
        chosen = {name: getattr(self, name) for name in INPUT_CHOICES}
        return {name: value for name, value in chosen.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class InputOptions(Options):
    """How inputs are found."""

    format: str | None = None
    """Format of the inputs (h5ad, zarr, mudata, loom, 10x_h5, 10x_mtx, tiledb, scdl, bam or
    slaf) where
    their content leaves a doubt. Changes no time, memory or bytes.
    """


@dataclass(frozen=True, kw_only=True)
class SampleOptions(Options):
    """The names of the cells and samples of several inputs."""

    cell_id_prefix: bool = False
    """Put the part of its path that tells an input from the others before each cell id, like S01_,
    which makes ids that occur in several unique. A few bytes a cell.
    """

    samples: str | os.PathLike[str] | None = option(None, metavar="FILE", parse=os.fspath)
    """Sample sheet (csv or tsv with a header), a row for each sample: its columns become columns of
    obs. One of them has the file name, the path or the sample of each input; `stranded` has R, F or
    U of each file of reads. A few bytes a cell.
    """
