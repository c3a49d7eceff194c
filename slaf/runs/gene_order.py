"""`expression_by_gene`: sorted from the parts on disk, written in parts, recorded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa
from msgspec import structs

from slaf.dataset.matrix import StoredMatrix, StoredRows
from slaf.errors import DamagedDataset
from slaf.format.digests import BlockDigest, MultisetHash
from slaf.format.records import Block, GeneBlock, GeneOrderRecord
from slaf.format.schema import BY_GENE, CELL_ORDER, EXPRESSION, GENE_ORDER, VALUE
from slaf.runs.checksums import file_checksums
from slaf.runs.journal import PartResult, TableResult, write_row_counts
from slaf.runs.plan import PART_NONZEROS
from slaf.runs.row_offsets import row_offsets
from slaf.runtime.executors import run_parts
from slaf.sparse.buckets import Coo
from slaf.sparse.casting import as_float64
from slaf.sparse.external_sort import ExternalSort
from slaf.sparse.ranges import RowRange
from slaf.tables.read import fragments_of
from slaf.tables.rows import DataFile, FileRows
from slaf.tables.write import write_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from slaf.options import ReadOptions
    from slaf.runs.output_run import OutputRun
    from slaf.runs.plan import Plan
    from slaf.runtime.progress import Progress
    from slaf.storage.location import Location

__all__ = [
    "CellOrder",
    "GeneOrder",
    "gene_order_record",
    "sort_by_gene",
]


# A digest covers genes with about this many rows, but no more than this many genes.
_BLOCK_NONZEROS = 8 << 20
_BLOCK_GENES = 4096


@dataclass(frozen=True, slots=True)
class CellOrder:
    """The rows of `expression` in cell order, published or not, with their digests.

    Attributes
    ----------
    location
        The dataset.
    matrix
        The rows.
    blocks
        The digests of all cells.
    """

    location: Location
    matrix: StoredMatrix
    blocks: tuple[Block, ...]

    @classmethod
    def of_run(cls, run: OutputRun) -> Self:
        """The rows of a run whose other parts are all done, behind those that stay."""
        directory = run.plan.directory(EXPRESSION)
        fragments = run.fragments(EXPRESSION)
        if run.previous is not None and run.plan.adds_to(EXPRESSION):
            version = run.previous.versions[EXPRESSION]
            fragments[:0] = fragments_of(run.location, directory, version)
        files = [DataFile(f"{directory}/{one.paths[0]}", one.rows) for one in fragments]
        offsets = row_offsets(run, EXPRESSION)
        return cls.of_files(run.location, files, run.plan, offsets, run.blocks(EXPRESSION, VALUE))

    @classmethod
    def of_files(
        cls,
        location: Location,
        files: Sequence[DataFile],
        plan: Plan,
        offsets: NDArray[np.int64],
        blocks: tuple[Block, ...],
    ) -> Self:
        """The rows of data files that no version of the table need name.

        Parameters
        ----------
        location
            The dataset.
        files
            The files, in order.
        plan
            The plan by which they were written.
        offsets
            Where the rows of each cell begin, and after the last, where they end.
        blocks
            The digests of all cells.
        """
        reader = FileRows(location, plan.schema(EXPRESSION), files)
        rows = StoredRows(f"{location}: {EXPRESSION}", reader, CELL_ORDER, offsets)
        dtype, nnz = np.dtype(plan.value_type), int(offsets[-1])
        matrix = StoredMatrix(rows, VALUE, plan.n_genes, dtype, dtype, dtype, nnz)
        return cls(location, matrix, blocks)


class GeneOrder:
    """The entries of all genes, one gene after the other: read once, sorted in bounded memory.

    Leaving the context frees its scratch.

    Parameters
    ----------
    rows
        The entries in the order of cells.
    reading
        The memory budget of sorting, and its scratch directory.
    progress
        Is advanced with each block of cells that is read and with the rows that are written:
        together with all cells twice.
    """

    def __init__(self, rows: CellOrder, reading: ReadOptions, progress: Progress) -> None:
        self._rows = rows
        self._progress = progress
        self._n_cells, self._n_genes = rows.matrix.shape
        self._counts = np.zeros(self._n_genes, np.int64)
        self._fingerprint = MultisetHash()
        self._sorted = ExternalSort(
            (self._n_genes, self._n_cells),
            rows.matrix.value_type,
            rows.matrix.nnz,
            self._entries,
            memory=reading.memory_budget,
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
        """The hash of all entries, once they have been read."""
        return self._fingerprint.hexdigest()

    def cut(self) -> list[tuple[RowRange, ...]]:
        """All genes in blocks, and these in parts: the fewest that reach the target."""
        parts: list[tuple[RowRange, ...]] = []
        begun: list[RowRange] = []
        for block in self._blocks():
            begun.append(block)
            genes = RowRange(begun[0].start, block.stop)
            if self._n_rows(genes) >= PART_NONZEROS or block.stop == self._n_genes:
                parts.append(tuple(begun))
                begun = []
        return parts

    def write(self, blocks: tuple[RowRange, ...], plan: Plan) -> PartResult:
        """Write the rows of these genes; when this returns, all of it is on disk."""
        location = self._rows.location
        directory, schema = plan.directory(BY_GENE), plan.schema(BY_GENE)
        genes = RowRange(blocks[0].start, blocks[-1].stop)
        written: list[Block] = []
        fingerprint = MultisetHash()
        batches = self._record_batches(blocks, schema, written, fingerprint)
        fragments = write_part(location, directory, schema, batches)
        counts = self._counts[genes.start : genes.stop]
        write_row_counts(location, plan, BY_GENE, genes.start, counts)
        result = TableResult(
            fragments,
            {VALUE: tuple(written)},
            file_checksums(location, directory, fragments, GENE_ORDER, genes),
            fingerprint=fingerprint.hexdigest(),
        )
        return PartResult("genes", genes.start, genes, {BY_GENE: result})

    def _entries(self, size: int) -> Iterator[Coo]:
        """The entries for `ExternalSort`, with genes and cells exchanged."""
        for block in self._rows.blocks:
            digest = BlockDigest()
            cells = RowRange(block.start, block.stop)
            for batch in self._rows.matrix.batches(cells):
                widened, owners = as_float64(batch.values), batch.cells()
                digest.add_lengths(batch.counts)
                digest.add_entries(batch.genes, widened)
                self._counts += np.bincount(batch.genes, minlength=self._n_genes)
                self._fingerprint.add(owners, batch.genes, widened)
                for part in RowRange(0, batch.nnz).split(size):
                    piece = slice(part.start, part.stop)
                    yield Coo(batch.genes[piece], owners[piece], batch.values[piece])
            if digest.hexdigest() != block.digest:
                msg = (
                    f"{self._rows.location}: {block} are not what was written, so that they are "
                    "not sorted by gene either; `slaf verify` says what differs"
                )
                raise DamagedDataset(msg)
            self._progress.advance(len(cells), 0)

    def _blocks(self) -> Iterator[RowRange]:
        start = 0
        while start < self._n_genes:
            enough = int(self.offsets[start]) + _BLOCK_NONZEROS
            stop = int(np.searchsorted(self.offsets, enough))
            stop = min(max(stop, start + 1), start + _BLOCK_GENES, self._n_genes)
            yield RowRange(start, stop)
            start = stop

    def _n_rows(self, genes: RowRange) -> int:
        return int(self.offsets[genes.stop] - self.offsets[genes.start])

    def _record_batches(
        self,
        blocks: Iterable[RowRange],
        schema: pa.Schema,
        written: list[Block],
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
            written.append(Block((block.start, block.stop), rows, digest.hexdigest()))

    def _share(self, genes: RowRange) -> int:
        """The share of all cells that corresponds to the rows of these genes."""
        ends = [int(self.offsets[at]) for at in (genes.start, genes.stop)]
        before, after = (self._n_cells * end // max(self._rows.matrix.nnz, 1) for end in ends)
        return after - before


def sort_by_gene(
    run: OutputRun,
    reading: ReadOptions,
    workers: int,
    progress: Progress,
    rows: CellOrder | None = None,
) -> None:
    """Write the genes that remain of a run whose other parts are all done.

    Parameters
    ----------
    run
        The run.
    reading
        The memory budget of sorting, and its scratch directory.
    workers, progress
        As for `slaf.convert`.
    rows
        The rows in cell order; those of the parts behind those that stay, by default.

    Raises
    ------
    DamagedDataset
        If the rows of `expression` are not those that were written. The output is as it was
        before the run.
    StorageError
        If the disk refuses; the run can be resumed.
    """
    plan = run.plan
    if not plan.options.by_gene or _is_whole(run, run.parts(GENE_ORDER)):
        return
    progress.begin(0, 0, 2 * plan.n_cells)
    try:
        done = {part.index for part in run.parts(GENE_ORDER)}
        with GeneOrder(rows or CellOrder.of_run(run), reading, progress) as genes:
            run_parts(
                (blocks for blocks in genes.cut() if blocks[0].start not in done),
                lambda blocks: genes.write(blocks, plan),
                lambda part: _record(run, part, genes.fingerprint),
                workers,
            )
    except DamagedDataset:
        run.abandon()
        raise


def _is_whole(run: OutputRun, parts: Iterable[PartResult]) -> bool:
    return sum(len(part.rows) for part in parts) == run.plan.n_genes


def _record(run: OutputRun, part: PartResult, fingerprint: str) -> None:
    """Record a part; the last one only if all together have the rows that were sorted."""
    parts = [*run.parts(GENE_ORDER), part]
    total = MultisetHash.total(one.tables[BY_GENE].fingerprint for one in parts)
    if _is_whole(run, parts) and total != fingerprint:
        msg = (
            f"{run.location}: sorting by gene has lost or changed a row, which a fault of "
            "memory or disk may do; run the same again"
        )
        raise DamagedDataset(msg)
    run.record(part)


def gene_order_record(run: OutputRun) -> GeneOrderRecord | None:
    """The record of the table, if the run has written it."""
    if not run.plan.options.by_gene:
        return None
    blocks = (GeneBlock(*structs.astuple(block)) for block in run.blocks(BY_GENE, VALUE))
    total = MultisetHash.total(result.fingerprint for result in run.results(BY_GENE))
    return GeneOrderRecord(total, tuple(blocks))
