"""The table in the order of genes, from parts on disk to what is published of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa

from slaf.errors import DamagedDataset
from slaf.format.digests import BlockDigest, MultisetHash
from slaf.format.records import GeneBlock, GeneOrderRecord
from slaf.format.schema import BY_GENE, EXPRESSION
from slaf.runs.checkpoint import GenePart
from slaf.runs.checksums import file_checksums
from slaf.runs.encode import SCRATCH
from slaf.runs.plan import PART_NONZEROS
from slaf.runs.row_offsets import row_offsets
from slaf.runtime.executors import run_parts
from slaf.sparse.casting import as_float64
from slaf.sparse.external_sort import Coo, ExternalSort
from slaf.sparse.ranges import RowRange
from slaf.tables.commit import commit
from slaf.tables.read import fragments_of, scan_files
from slaf.tables.write import write_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from slaf.format.config import DatasetConfig
    from slaf.format.records import Block
    from slaf.runs.checkpoint import Checkpoint
    from slaf.runs.output_run import OutputRun
    from slaf.runtime.progress import Progress
    from slaf.sources.base import ReadOptions
    from slaf.sparse.casting import Float64WithRemainder
    from slaf.storage.location import Location

__all__ = [
    "CellOrder",
    "GeneOrder",
    "commit_gene_order",
    "gene_offsets",
    "gene_order_record",
    "sort_by_gene",
    "write_row_counts",
]


# Genes that one digest covers: as many as have so many rows, and no more than that.
_BLOCK_NONZEROS = 8 << 20
_BLOCK_GENES = 4096


@dataclass(frozen=True, slots=True)
class CellOrder:
    """The rows of `expression`, be they published or not, with what is known of them.

    Attributes
    ----------
    location
        The dataset.
    files
        Those that hold the rows, in order.
    offsets
        Where the rows of each cell begin, and after the last, where they end.
    blocks
        The digests of all cells.
    n_genes
        The width of the matrix.
    value_type
        The type of the values.
    """

    location: Location
    files: tuple[str, ...]
    offsets: NDArray[np.int64]
    blocks: tuple[Block, ...]
    n_genes: int
    value_type: np.dtype[Any]

    @property
    def n_cells(self) -> int:
        """The height of the matrix."""
        return len(self.offsets) - 1

    @property
    def nnz(self) -> int:
        """All rows."""
        return int(self.offsets[-1])

    @classmethod
    def of(cls, location: Location, checkpoint: Checkpoint, before: DatasetConfig | None) -> Self:
        """The rows of a run, whose parts are all done.

        Parameters
        ----------
        before
            What readers see until now: the rows that stay as they are.
        """
        plan = checkpoint.plan
        folder = plan.folder(EXPRESSION)
        blocks = [block for result in checkpoint.results() for block in result.blocks]
        fragments = [one for result in checkpoint.results() for one in result.fragments]
        if before is not None and plan.adds_to(EXPRESSION):
            blocks = [*before.blocks, *blocks]
            there = fragments_of(location, folder, before.versions[EXPRESSION])
            fragments = [*there, *fragments]
        return cls(
            location,
            tuple(f"{folder}/{path}" for one in fragments for path in one.paths),
            row_offsets(location, checkpoint, EXPRESSION, before),
            tuple(blocks),
            plan.n_genes,
            np.dtype(plan.value_type),
        )

    def pieces(self, size: int) -> Iterator[tuple[RowRange, Coo, Float64WithRemainder]]:
        """All entries in pieces of at most this size.

        Yields
        ------
        cells, entries, widened
            The block that the piece is of; the piece; and its values, as `as_float64` gives them.

        Raises
        ------
        DamagedDataset
            If a block does not have its digest: behind the last piece of it.
        """
        rows = _Rows(scan_files(self.location, self.files, ["gene_integer_id", "value"]))
        for block in self.blocks:
            lengths = np.diff(self.offsets[block.start : block.stop + 1])
            cells = np.repeat(np.arange(block.start, block.stop, dtype=np.uint32), lengths)
            digest, at = BlockDigest(), 0
            digest.add_lengths(lengths)
            for genes, values in rows.take(len(cells), size):
                widened = as_float64(values)
                digest.add_entries(genes, widened)
                owners = cells[at : at + len(genes)]
                at += len(genes)
                yield RowRange(block.start, block.stop), Coo(owners, genes, values), widened
            if at < len(cells) or digest.hexdigest() != block.digest:
                msg = (
                    f"{self.location}: {block} are not what was written, so that they are not "
                    "sorted by gene either; `slaf verify` says what differs"
                )
                raise DamagedDataset(msg)


class _Rows:
    """The columns of batches, taken in pieces wherever those are cut."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._batches = iter(batches)
        self._rest: tuple[NDArray[Any], ...] = ()

    def take(self, n_rows: int, size: int) -> Iterator[tuple[NDArray[Any], ...]]:
        """The next rows, or as many as there are, in pieces of at most this size."""
        while n_rows:
            if not self._rest or not len(self._rest[0]):
                batch = next(self._batches, None)
                if batch is None:
                    return
                self._rest = tuple(column.to_numpy() for column in batch.columns)
            n = min(n_rows, size, len(self._rest[0]))
            yield tuple(column[:n] for column in self._rest)
            self._rest = tuple(column[n:] for column in self._rest)
            n_rows -= n


class GeneOrder:
    """The entries of all genes, one gene after the other: read once, sorted in bounded memory.

    The scratch that this takes is freed when the context is left.

    Parameters
    ----------
    rows
        The entries in the order of cells.
    reading
        How much memory sorting may take, and where the rest goes.
    progress
        Told of each block of cells that was read, and of rows that were handed on: together of
        all cells twice.
    """

    def __init__(self, rows: CellOrder, reading: ReadOptions, progress: Progress) -> None:
        self._rows = rows
        self._progress = progress
        self._counts = np.zeros(rows.n_genes, np.int64)
        self._fingerprint = MultisetHash()
        self._sorted = ExternalSort(
            (rows.n_genes, rows.n_cells),
            rows.value_type,
            rows.nnz,
            self._entries,
            memory=reading.memory,
            readers=reading.readers,
            scratch=reading.scratch,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._sorted.close()

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Where the rows of each gene begin, and after the last, where they end."""
        self._sorted.fill()
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self._counts)])

    @property
    def fingerprint(self) -> str:
        """That of all entries, once they have been read."""
        return self._fingerprint.hexdigest()

    def cut(self) -> list[tuple[RowRange, ...]]:
        """All genes in blocks, and these in parts: the fewest that reach the target."""
        parts: list[tuple[RowRange, ...]] = []
        begun: list[RowRange] = []
        for block in self._blocks():
            begun.append(block)
            genes = RowRange(begun[0].start, block.stop)
            if self._n_rows(genes) >= PART_NONZEROS or block.stop == self._rows.n_genes:
                parts.append(tuple(begun))
                begun = []
        return parts

    def write(self, blocks: tuple[RowRange, ...], directory: str, schema: pa.Schema) -> GenePart:
        """Write the rows of these genes; when this returns, all of it is on disk."""
        location = self._rows.location
        genes = RowRange(blocks[0].start, blocks[-1].stop)
        made: list[GeneBlock] = []
        fingerprint = MultisetHash()
        batches = self._record_batches(blocks, schema, made, fingerprint)
        fragments = write_part(location, directory, schema, batches)
        write_row_counts(location, genes, self._counts[genes.start : genes.stop])
        files = file_checksums(location, directory, fragments, genes=genes)
        return GenePart(genes, fragments, tuple(made), fingerprint.hexdigest(), files)

    def _entries(self, size: int) -> Iterator[Coo]:
        """As `ExternalSort` takes them: genes and cells exchanged."""
        block = RowRange(0, 0)
        for cells, piece, widened in self._rows.pieces(size):
            self._counts += np.bincount(piece.genes, minlength=len(self._counts))
            self._fingerprint.add(piece.cells, piece.genes, widened)
            if cells != block:
                self._progress.advance(len(block), 0)
                block = cells
            yield Coo(piece.genes, piece.cells, piece.values)
        self._progress.advance(self._rows.n_cells - block.start, 0)

    def _blocks(self) -> Iterator[RowRange]:
        start = 0
        while start < self._rows.n_genes:
            enough = int(self.offsets[start]) + _BLOCK_NONZEROS
            stop = int(np.searchsorted(self.offsets, enough))
            stop = min(max(stop, start + 1), start + _BLOCK_GENES, self._rows.n_genes)
            yield RowRange(start, stop)
            start = stop

    def _n_rows(self, genes: RowRange) -> int:
        return int(self.offsets[genes.stop] - self.offsets[genes.start])

    def _record_batches(
        self,
        blocks: Iterable[RowRange],
        schema: pa.Schema,
        made: list[GeneBlock],
        fingerprint: MultisetHash,
    ) -> Iterator[pa.RecordBatch]:
        gene_type, cell_type = (field.type.to_pandas_dtype() for field in list(schema)[:2])
        for block in blocks:
            digest = BlockDigest()
            for batch in self._sorted.batches(block):
                widened, genes = as_float64(batch.values), batch.cells()
                digest.add_lengths(batch.counts)
                digest.add_entries(batch.genes, widened)
                fingerprint.add(batch.genes, genes, widened)
                columns = [
                    pa.array(genes.astype(gene_type, copy=False)),
                    pa.array(batch.genes.astype(cell_type, copy=False)),
                    pa.array(batch.values),
                ]
                yield pa.record_batch(columns, schema=schema)
                self._progress.advance(self._share(batch.rows), batch.nnz)
            rows = self._n_rows(block)
            made.append(GeneBlock((block.start, block.stop), rows, digest.hexdigest()))

    def _share(self, genes: RowRange) -> int:
        """Of all cells as many as these genes have of all rows."""
        ends = [int(self.offsets[at]) for at in (genes.start, genes.stop)]
        before, after = (self._rows.n_cells * end // max(self._rows.nnz, 1) for end in ends)
        return after - before


def sort_by_gene(run: OutputRun, reading: ReadOptions, workers: int, progress: Progress) -> None:
    """Write the genes that remain of a run whose other parts are all done.

    Raises
    ------
    DamagedDataset
        If what is read is not what was written. The output is as it was before the run.
    StorageError
        If the disk refuses; the run can be resumed.
    """
    plan = run.checkpoint.plan
    if not plan.options.by_gene or run.checkpoint.published or _is_whole(run.checkpoint):
        return
    progress.begin(0, 0, 2 * plan.n_cells)
    try:
        rows = CellOrder.of(run.location, run.checkpoint, run.published)
        done = {part.genes.start for part in run.checkpoint.by_gene}
        with GeneOrder(rows, reading, progress) as genes:
            run_parts(
                (blocks for blocks in genes.cut() if blocks[0].start not in done),
                lambda blocks: genes.write(blocks, plan.folder(BY_GENE), plan.schema_by_gene),
                lambda part: _record(run, part, genes.fingerprint),
                workers,
            )
    except DamagedDataset:
        run.abandon()
        raise


def _is_whole(checkpoint: Checkpoint) -> bool:
    return sum(len(part.genes) for part in checkpoint.by_gene) == checkpoint.plan.n_genes


def _record(run: OutputRun, part: GenePart, fingerprint: str) -> None:
    """Note a part; the last one only if all together have the rows that were sorted."""
    then = run.checkpoint.with_genes(part)
    found = MultisetHash.total(one.fingerprint for one in then.by_gene)
    if _is_whole(then) and found != fingerprint:
        msg = (
            f"{run.location}: sorting by gene has lost or changed a row, which a fault of "
            "memory or disk may do; run the same again"
        )
        raise DamagedDataset(msg)
    run.record_genes(part)


_LENGTHS = np.dtype("<u4")


def write_row_counts(location: Location, genes: RowRange, counts: NDArray[np.int64]) -> None:
    """Note the numbers of rows of genes that are on disk, for `gene_offsets_of`."""
    location.put(_counts_name(genes), counts.astype(_LENGTHS).tobytes())


def commit_gene_order(location: Location, checkpoint: Checkpoint) -> dict[str, int]:
    """Commit the table, if the run has made it; its version by its name."""
    plan = checkpoint.plan
    if not plan.options.by_gene:
        return {}
    fragments = [fragment for part in checkpoint.by_gene for fragment in part.fragments]
    return {BY_GENE: commit(location, plan.folder(BY_GENE), plan.schema_by_gene, fragments)}


def gene_offsets(location: Location, checkpoint: Checkpoint) -> NDArray[np.int64] | None:
    """Where the rows of each gene begin, and after the last, where they end; None without any."""
    if not checkpoint.plan.options.by_gene:
        return None
    counts = [np.zeros(1, np.int64)]
    for part in checkpoint.by_gene:
        raw = location.read(_counts_name(part.genes))
        if raw is None:
            msg = f"{location}: {_counts_name(part.genes)} is missing; begin again with --restart"
            raise DamagedDataset(msg)
        counts.append(np.frombuffer(raw, _LENGTHS).astype(np.int64))
    return np.cumsum(np.concatenate(counts))


def gene_order_record(checkpoint: Checkpoint) -> GeneOrderRecord | None:
    """The record of the table, if the run has made it."""
    if not checkpoint.plan.options.by_gene:
        return None
    blocks = tuple(block for part in checkpoint.by_gene for block in part.blocks)
    total = MultisetHash.total(part.fingerprint for part in checkpoint.by_gene)
    return GeneOrderRecord(total, blocks)


def _counts_name(genes: RowRange) -> str:
    return f"{SCRATCH}/genes-{genes.start:06d}.counts"
