"""A BAM, CRAM or SAM file as one cell: the depth in bins or regions, and its runs."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from slaf.annotations.columns import arrow_table
from slaf.errors import DamagedInput, InputError
from slaf.options import READS_CHOICES
from slaf.sources.bam.alignments import (
    DEFAULT_EXCLUDED,
    AlignmentFile,
    BlockCounts,
    ReadFilter,
    file_kind,
)
from slaf.sources.bam.regions import bin_table, read_bed, region_table, select_contigs
from slaf.sources.bam.spool import Spool
from slaf.sources.base import Source, SourceFormat, SourceInfo, check_only_x
from slaf.sources.contents import Coverage
from slaf.sources.identity import file_identity
from slaf.sources.matrix import MatrixSize
from slaf.sparse.batch import Batch
from slaf.sparse.runs import Runs, merge_sums, sum_in_bins, sum_in_intervals, sweep
from slaf.storage.paths import as_remote, input_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from slaf.annotations.lazy_table import AnyTable
    from slaf.options import ReadOptions
    from slaf.sources.bam.alignments import ContigBlocks
    from slaf.sources.bam.regions import Contig, Intervals
    from slaf.sources.matrix import Matrix
    from slaf.sparse.ranges import RowRange

__all__ = ["FORMAT", "BamSource"]

_BIN_SIZE: Final = 1000
_SUFFIXES: Final = (".bam", ".cram", ".sam")

# A compressed read takes about as many bytes, where no index has their number.
_READ_BYTES: Final = 40

_COLUMNS: Final = {
    "contig": "uint32",
    "strand": "uint16",
    "start": "uint32",
    "length": "uint32",
    "depth": "uint32",
}


@dataclass(frozen=True, slots=True)
class _Sweep:
    """All that the reads of a file give.

    Attributes
    ----------
    counts
        Its reads.
    bases
        The sum of the depth of all bases.
    runs
        The columns of its runs, in the order of contigs, strands and starts.
    genes, sums
        The bins or regions with a sum, ascending; and the sums.
    """

    counts: BlockCounts
    bases: int
    runs: Mapping[str, NDArray[Any]]
    genes: NDArray[np.uint32]
    sums: NDArray[np.int64]


class BamSource(Source):
    """The reads of one file.

    The file is read once, when values are used first: what it gives is kept until the source is
    closed, on disk where it is large.

    Parameters
    ----------
    path
        A local file.
    options
        Bins or regions, contigs, and the reads that count.

    Raises
    ------
    DamagedInput
        If it is cut short.
    InputError
        If it lies in a bucket, or a table of regions does not fit.
    MissingMatrix
        If no contig is chosen.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        super().__init__()
        check_only_x(options.matrix, f"{path}: a file of reads")
        if as_remote(path) is not None:
            msg = f"{path}: reads are not read from buckets; name a directory with --stage"
            raise InputError(msg)
        self._path = path
        self._scratch = options.scratch
        self._file = AlignmentFile(path)
        contigs = self._file.contigs
        self._chosen = select_contigs(contigs, options.chroms, str(path))
        self._contigs = tuple(contigs[at] for at in self._chosen)
        self._bin_size = options.bin_size or _BIN_SIZE
        self._bins = bin_table(self._contigs, self._bin_size, str(path))
        self._intervals = self._read_intervals(options)
        self._filter = _read_filter(options, contigs, self._chosen)
        self._spools: list[Spool] = []
        self._sweeping = threading.Lock()
        self._swept: _Sweep | None = None
        self._n_reads = self._file.n_indexed
        if self._n_reads is None:
            self._n_reads = path.stat().st_size // _READ_BYTES
        tables = [one for one in (options.regions, options.blacklist) if one is not None]
        identity = dict(file_identity(path))
        if tables:
            identity["tables"] = [
                dict(_content(input_path(one, options.storage_options))) for one in tables
            ]
        self.info = SourceInfo.of(
            self.matrix("X"),
            uri=str(path),
            format="bam",
            identity=identity,
            details=self._details(),
        )

    def read_cells(self) -> pa.Table:
        """One cell, by the name of the file; its reads are not counted yet."""
        zero = {name: pa.array([value]) for name, value in _measures(0, 0, 0.0).items()}
        columns = {**zero, "read_filter": pa.array([self._described_filter()])}
        return arrow_table("cell_id", pa.array([_sample(self._path)]), columns)

    def read_genes(self) -> pa.Table:
        """The bins or regions."""
        if self._intervals is None:
            return self._bins.whole()
        return region_table(self._contigs, self._intervals, str(self._path))

    def lazy_genes(self) -> AnyTable:
        """The bins, which follow from the contigs; or the regions."""
        return self._bins if self._intervals is None else self.genes()

    def open_matrix(self, name: str) -> Matrix:
        """X: the sum of the depth in each bin or region."""
        check_only_x(name, f"{self._path}: a file of reads")
        return _SweptMatrix(
            (1, self._n_genes()),
            np.dtype(np.int64),
            min(2 * (self._n_reads or 0), self._n_genes()),
            lambda: (self._sweep().genes, self._sweep().sums),
        )

    def open_coverage(self) -> Coverage:
        """The runs of equal depth."""
        return Coverage(
            self._contigs,
            {name: self._run_column(name) for name in list(_COLUMNS)[1:]},
        )

    def measure(self, rows: RowRange) -> Mapping[RowRange, Mapping[str, list[Any]]]:
        """The reads that count, those that are mapped, and the mean depth of the contigs."""
        if not len(rows):
            return {}
        swept = self._sweep()
        length = sum(contig.length for contig in self._contigs)
        depth = swept.bases / length if length else 0.0
        measures = _measures(swept.counts.used, swept.counts.mapped, depth)
        return {rows: {name: [value] for name, value in measures.items()}}

    def close(self) -> None:
        """Forget the values."""
        with self._sweeping:
            self._swept = None
            for spool in self._spools:
                spool.close()
            self._spools.clear()

    def _run_column(self, name: str) -> Matrix:
        def read() -> tuple[NDArray[Any], NDArray[Any]]:
            runs = self._sweep().runs
            return runs["contig"], runs[name]

        dtype = np.dtype(_COLUMNS[name])
        shape = (1, len(self._contigs))
        return _SweptMatrix(shape, dtype, 2 * (self._n_reads or 0), read)

    def _n_genes(self) -> int:
        if self._intervals is not None:
            return len(self._intervals.starts)
        return self._bins.num_rows

    def _read_intervals(self, options: ReadOptions) -> Intervals | None:
        if options.regions is None:
            return None
        if options.bin_size is not None:
            msg = f"{self._path}: --bin-size and --regions exclude each other; leave one out"
            raise InputError(msg)
        return read_bed(
            input_path(options.regions, options.storage_options), self._file.contigs, self._chosen
        )

    def _sweep(self) -> _Sweep:
        with self._sweeping:
            if self._swept is None:
                self._swept = self._read()
            return self._swept

    def _read(self) -> _Sweep:
        counts, bases = BlockCounts(), 0
        columns = {name: self._spool(dtype) for name, dtype in _COLUMNS.items()}
        genes, sums = self._spool("uint32"), self._spool("int64")
        of_regions: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        positions = {contig: position for position, contig in enumerate(self._chosen)}
        first_bins = np.cumsum([0, *(-(-c.length // self._bin_size) for c in self._contigs)])
        for blocks in self._file.blocks(self._filter, self._chosen, counts):
            at = positions[blocks.contig]
            by_strand = self._runs_of(blocks, self._contigs[at])
            for strand, runs in by_strand.items():
                columns["contig"].add(np.full(len(runs.start), at))
                columns["strand"].add(np.full(len(runs.start), strand))
                for name in Runs._fields:
                    columns[name].add(getattr(runs, name))
                bases += int((runs.length * runs.depth.astype(np.int64)).sum())
            if self._intervals is None:
                pieces = [sum_in_bins(runs, self._bin_size) for runs in by_strand.values()]
                bins, of_bins = merge_sums(pieces)
                genes.add(bins + first_bins[at])
                sums.add(of_bins)
            else:
                where, starts, ends = self._intervals.of(at)
                of_regions += [
                    (where, sum_in_intervals(runs, starts, ends)) for runs in by_strand.values()
                ]
        if self._intervals is not None:
            which, totals = merge_sums(of_regions)
            genes.add(which[totals != 0])
            sums.add(totals[totals != 0])
        arrays = {name: column.array() for name, column in columns.items()}
        return _Sweep(counts, bases, arrays, genes.array(), sums.array())

    def _runs_of(self, blocks: ContigBlocks, contig: Contig) -> dict[int, Runs]:
        """The runs of a contig by strand, in the order of strands."""
        for starts, ends in blocks.strands.values():
            if len(ends) and ends.max() > contig.length:
                beyond = int(np.argmax(ends))
                msg = (
                    f"{self._path}: bases {starts[beyond]} to {ends[beyond]} of a read are aligned "
                    f"to {contig.name}, which has {contig.length:,}"
                )
                raise DamagedInput(msg, remedy="remove the read, or align it again")
        return {strand: sweep(*bounds) for strand, bounds in sorted(blocks.strands.items())}

    def _spool(self, dtype: str) -> Spool:
        spool = Spool(dtype, self._scratch)
        self._spools.append(spool)
        return spool

    def _described_filter(self) -> str:
        reads = self._filter
        parts = [
            f"mapq >= {reads.min_mapq}",
            f"exclude {reads.exclude_flags}",
            f"include {reads.include_flags}",
            f"strand {reads.stranded}",
        ]
        return ", ".join([*parts, *(["blacklist"] if reads.blacklist else [])])

    def _details(self) -> tuple[str, ...]:
        file = self._file
        bases = sum(contig.length for contig in self._contigs)
        index = "yes" if file.has_index else "no"
        if file.has_old_index:
            index = "older than the file, and not used"
        reads = "unknown, without an index" if file.n_indexed is None else f"{file.n_indexed:,}"
        return (
            f"{len(self._contigs):,} of {len(file.contigs):,} contigs, {bases:,} bases",
            f"mapped reads: {reads}",
            f"sort order: {file.sort_order}",
            f"index: {index}",
        )


class _SweptMatrix:
    """A matrix of one cell, whose entries are read together.

    Parameters
    ----------
    shape, dtype
        The shape and type of the matrix.
    estimate
        The likely number of entries.
    read
        Reads the columns and the values of the cell.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        estimate: int,
        read: Callable[[], tuple[NDArray[Any], NDArray[Any]]],
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self.size = MatrixSize("aligned reads", estimate, exact=False)
        self._read = read

    def sample_values(self) -> NDArray[Any]:
        """A zero: without reading all nothing is known."""
        return np.zeros(1, self.dtype)

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:  # noqa: ARG002 - one cell
        """Nothing before the cell, and the likely number of entries."""
        return np.array([0, self.size.entries], np.int64)

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """The cell, if it is among these."""
        if len(rows):
            columns, values = self._read()
            yield Batch(rows, np.array([len(columns)], np.int64), columns, values)


def _measures(used: int, mapped: int, depth: float) -> dict[str, int | float]:
    """The columns of obs that are known once the reads are read."""
    return {"total_reads": used, "mapped_reads": mapped, "mean_depth": depth}


def _read_filter(
    options: ReadOptions, contigs: tuple[Contig, ...], chosen: list[int]
) -> ReadFilter:
    blacklist = {}
    if options.blacklist is not None:
        intervals = read_bed(
            input_path(options.blacklist, options.storage_options), contigs, chosen
        )
        for position, contig in enumerate(chosen):
            _, starts, ends = intervals.of(position)
            if len(starts):
                union = sweep(starts.astype(np.int32), ends.astype(np.int32))
                stops = union.start + union.length
                blacklist[contig] = (union.start.tolist(), stops.tolist())
    return ReadFilter(
        options.min_mapq or 0,
        DEFAULT_EXCLUDED if options.exclude_flags is None else options.exclude_flags,
        options.include_flags or 0,
        options.stranded or "U",
        blacklist,
    )


def _content(path: Path) -> Mapping[str, Any]:
    """The fingerprint of a table, wherever it lies."""
    return {key: value for key, value in file_identity(path).items() if key != "mtime_ns"}


def _sample(path: Path) -> str:
    name = path.name
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


FORMAT = SourceFormat(
    name="bam",
    description="BAM, CRAM or SAM file of aligned reads",
    package="pysam",
    recognises=lambda path: file_kind(path) is not None,
    open=BamSource,
    looks_for="the magic of BAM or CRAM, or the header of SAM",
    choices=frozenset(READS_CHOICES),
    suffixes=(".bam", ".cram"),
)
