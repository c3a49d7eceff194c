"""Check the rows that a dataset has in the order of genes: that they are those of `expression`."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from slaf.dataset.matrix import BY_GENE_ORDER
from slaf.format.digests import BlockDigest, MultisetHash
from slaf.format.schema import BY_GENE, EXPRESSION, GENES, START_INDEX
from slaf.sparse.casting import as_float64
from slaf.sparse.ranges import RowRange
from slaf.verification.report import SHOWN_OF_A_KIND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from slaf.dataset.dataset import Dataset
    from slaf.dataset.matrix import Axis, Chunk, StoredRows
    from slaf.format.records import Block
    from slaf.runtime.progress import Progress
    from slaf.sparse.casting import Float64WithRemainder
    from slaf.tables.read import LanceTable
    from slaf.verification.against import Entries
    from slaf.verification.report import DifferenceLog

__all__ = [
    "BlockSample",
    "RowTable",
    "check_digests",
    "check_gene_order",
    "check_gene_order_digests",
]


@dataclass(frozen=True)
class RowTable:
    """One of the tables that have a row for each nonzero.

    What is said here of cells holds of genes where the rows are in their order.

    Attributes
    ----------
    dataset
        Of which it is.
    name
        The table.
    rows
        Its rows.
    columns
        Its columns of values.
    blocks
        The cells in runs, in order, as the digests were taken of them.
    """

    dataset: Dataset
    name: str
    rows: StoredRows
    columns: tuple[str, ...]
    blocks: Sequence[Block]

    @classmethod
    def of(cls, dataset: Dataset, name: str) -> Self:
        """The table of this name; reads its offsets.

        Raises
        ------
        DamagedDataset
            If they cannot be read.
        """
        rows = dataset.rows(name)
        by_gene = dataset.published.by_gene if name == BY_GENE else None
        if by_gene is not None:
            return cls(dataset, name, rows, ("value",), by_gene.blocks)
        matrices = dataset.annotations.record.matrices().get(name, ())
        columns = tuple(matrix.name for matrix in matrices) or ("value",)
        return cls(dataset, name, rows, columns, dataset.published.blocks)

    @property
    def axis(self) -> Axis:
        """What its rows are ordered by."""
        return self.rows.axis

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where the rows of each cell begin, and after the last, where they end."""
        return self.rows.offsets

    @cached_property
    def table(self) -> LanceTable:
        """The table as Lance opens it."""
        dataset = self.dataset
        return dataset.expression if self.name == EXPRESSION else dataset.table(self.name)

    def place(self, block: Block) -> str:
        """A block, and the table where it is not `expression`."""
        return str(block) if self.name == EXPRESSION else f"{self.name}, {block}"

    def check_offsets(self, findings: DifferenceLog) -> None:
        """Note what of the offsets does not begin with 0, or descends."""
        offsets, column = self.offsets, START_INDEX[self.name]
        findings.compare(
            "offsets", f"{column} of the first {self.axis.singular}", 0, int(offsets[0])
        )
        for at in np.flatnonzero(np.diff(offsets) < 0)[:SHOWN_OF_A_KIND]:
            where = f"{column} after {self.axis.singular} {at}"
            findings.note("offsets", where, f"≥ {offsets[at]}", offsets[at + 1])

    def check_blocks(self, findings: DifferenceLog) -> None:
        """Note which blocks do not follow each other, or have other rows than the offsets say."""
        n, stop = len(self.offsets) - 1, 0
        # Where a block is told without its table, its rows are told as rows.
        unit = " rows" if self.name == EXPRESSION else ""
        for block in self.blocks:
            where = f"first {self.axis.singular} of the block at {block.start}{self._of_table}"
            findings.compare("config", where, stop, block.start)
            stop = block.stop
            if stop <= n:
                rows = int(self.offsets[stop] - self.offsets[block.start])
                told = f"{block.rows}{unit}", f"{rows}{unit}"
                findings.compare("offsets", self.place(block), *told)
        findings.compare("config", f"{self.axis.name} in blocks{self._of_table}", n, stop)

    def rows_of(self, start: int, stop: int) -> tuple[int, int] | None:
        """The rows of these cells, as a range; None if blocks do not begin and end with them."""
        starts, stops = self._bounds
        if start not in starts or stop not in stops:
            return None
        return int(self.offsets[start]), int(self.offsets[stop])

    def digests(
        self,
        run: RowRange,
        findings: DifferenceLog,
        seen: Callable[[NDArray[Any], NDArray[Any], Float64WithRemainder], None] | None = None,
    ) -> list[str]:
        """Of each column of values, the digest of what some cells have.

        Parameters
        ----------
        run
            Positions of cells.
        findings
            Takes the rows that are of another cell than the offsets say.
        seen
            Given the entries of each column as they are read: the positions of what the rows are
            ordered by, those of the others, and the values.
        """
        digests = [BlockDigest() for _ in self.columns]
        for chunk in self.rows.chunks(run, (*self.axis.ids, *self.columns)):
            self._check_owners(chunk, findings)
            for column, digest in enumerate(digests, len(self.axis.ids)):
                counts, owners, others, values = chunk.present(0, 1, column)
                widened = as_float64(values)
                digest.add_lengths(counts)
                digest.add_entries(others, widened)
                if seen is not None:
                    seen(owners, others, widened)
        return [digest.hexdigest() for digest in digests]

    def entries(self, run: RowRange, column: str = "value") -> Entries:
        """All entries that some cells have in one column of values."""
        pieces = [
            chunk.present(0, 1, 2)[1:] for chunk in self.rows.chunks(run, (*self.axis.ids, column))
        ]
        owners, others, values = map(np.concatenate, zip(*pieces, strict=True))
        return owners, others, values

    def _check_owners(self, chunk: Chunk, findings: DifferenceLog) -> None:
        """Note the rows that are of another cell than the offsets say."""
        owners = chunk.columns[0].to_numpy()
        expected = np.repeat(np.arange(chunk.cells.start, chunk.cells.stop), chunk.counts)
        first = int(self.offsets[chunk.cells.start])
        for row in np.flatnonzero(owners != expected)[:SHOWN_OF_A_KIND]:
            where = f"{self.axis.ids[0]} of row {first + row}{self._of_table}"
            findings.note("order", where, expected[row], owners[row])

    @cached_property
    def _bounds(self) -> tuple[frozenset[int], frozenset[int]]:
        """Where blocks begin, and where they end."""
        return (
            frozenset(block.start for block in self.blocks),
            frozenset(block.stop for block in self.blocks),
        )

    @property
    def _of_table(self) -> str:
        return "" if self.name == EXPRESSION else f" of {self.name}"


_LISTED = 20


@dataclass(frozen=True, slots=True)
class BlockSample:
    """Blocks that are read instead of all.

    Attributes
    ----------
    positions
        Which blocks, ascending.
    n_cells
        The cells in them.
    told
        In words, what the sample is.
    """

    positions: tuple[int, ...]
    n_cells: int
    told: str

    @classmethod
    def drawn(cls, blocks: Sequence[Block], size: int | None, seed: int) -> Self | None:
        """So many blocks, or all where there are no more; None for no sample.

        Raises
        ------
        ValueError
            If it is of less than one block.
        """
        if size is None:
            return None
        if size < 1:
            msg = f"a sample of {size} blocks shows nothing; ask for one at least"
            raise ValueError(msg)
        # Of the standard library: its draws stay what they are from one release to the next.
        rng = random.Random(seed)  # noqa: S311 - nobody gains by knowing it
        positions = tuple(sorted(rng.sample(range(len(blocks)), min(size, len(blocks)))))
        listed = [str(blocks[at]) for at in positions[:_LISTED]]
        listed += ["…"] if len(positions) > _LISTED else []
        told = (
            f"the digest of {len(positions):,} of {len(blocks):,} blocks, drawn with seed {seed} "
            f"({', '.join(listed)})"
        )
        return cls(positions, sum(blocks[at].stop - blocks[at].start for at in positions), told)


def check_digests(
    dataset: Dataset, findings: DifferenceLog, seen: Progress, chosen: Iterable[int]
) -> None:
    """Read blocks and compare the digest of each with the one taken while the source was read.

    Parameters
    ----------
    dataset
        Whose offsets and blocks are known to be right.
    findings
        Takes the blocks that differ.
    seen
        Told of each batch read.
    chosen
        The positions of the blocks to read.
    """

    def count(cells: NDArray[Any], *_: object) -> None:
        seen.advance(0, len(cells))

    for block in (dataset.published.blocks[at] for at in chosen):
        with findings.reading(str(block)):
            cells = RowRange(block.start, block.stop)
            (found,) = RowTable.of(dataset, EXPRESSION).digests(cells, findings, count)
            seen.advance(len(cells), 0)
            findings.compare("digest", str(block), block.digest, found)


_COLUMNS = (*BY_GENE_ORDER.ids, "value")


def check_gene_order(dataset: Dataset, findings: DifferenceLog) -> None:
    """Check rows, offsets and blocks of `expression_by_gene`, without its values.

    Parameters
    ----------
    dataset
        Any published dataset.
    findings
        Takes what contradicts.
    """
    proof = dataset.published.by_gene
    with findings.reading(BY_GENE):
        there = BY_GENE in dataset.published.tables
        indexed = "gene_start_index" in dataset.table(GENES).schema.names
        findings.compare("config", f"table {BY_GENE}", proof is not None, there)
        findings.compare("config", "gene_start_index of genes", proof is not None, indexed)
        if proof is None or not (there and indexed):
            return
        ordered = RowTable.of(dataset, BY_GENE)
        table = ordered.table
        findings.compare("config", f"rows of {BY_GENE}", dataset.nnz, table.count_rows())
        for name in _COLUMNS:
            ours, theirs = table.schema.field(name).type, dataset.expression.schema.field(name).type
            findings.compare("config", f"type of {name} of {BY_GENE}", theirs, ours)
        ordered.check_offsets(findings)
        ordered.check_blocks(findings)


def check_gene_order_digests(dataset: Dataset, findings: DifferenceLog, seen: Progress) -> None:
    """Read the table: each block has its digest, and all rows are those of `expression`.

    Parameters
    ----------
    dataset
        Whose offsets and blocks are known to be right.
    findings
        Takes what differs.
    seen
        Told of the rows read, and once of all cells.
    """
    proof = dataset.published.by_gene
    if proof is None or BY_GENE not in dataset.published.tables:
        return
    fingerprint = MultisetHash()
    ordered = RowTable.of(dataset, BY_GENE)

    def add(genes: NDArray[Any], cells: NDArray[Any], values: Float64WithRemainder) -> None:
        fingerprint.add(cells, genes, values)

    for block in proof.blocks:
        where = ordered.place(block)
        with findings.reading(where):
            (found,) = ordered.digests(RowRange(block.start, block.stop), findings, add)
            findings.compare("digest", where, block.digest, found)
        seen.advance(0, block.rows)
    # Where a block differs, so do all rows, which is no news.
    if not findings.of("digest", "unreadable"):
        findings.compare(
            "digest", f"all rows of {BY_GENE}", proof.fingerprint, fingerprint.hexdigest()
        )
    seen.advance(dataset.n_cells, 0)
