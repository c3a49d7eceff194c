"""Check the rows that a dataset has in the order of genes: that they are those of `expression`."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from slaf.format.digests import BlockDigest, MultisetHash
from slaf.format.schema import BY_GENE, EXPRESSION, GENES, START_INDEX
from slaf.sparse.casting import as_float64
from slaf.sparse.ranges import RowRange
from slaf.tables.read import scan
from slaf.verification.report import SHOWN_OF_A_KIND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from slaf.dataset.dataset import Dataset
    from slaf.format.records import Block
    from slaf.runtime.progress import Progress
    from slaf.sparse.casting import Float64WithRemainder
    from slaf.tables.read import LanceTable
    from slaf.verification.against import Entries
    from slaf.verification.report import DifferenceLog

__all__ = [
    "BY_CELL_ORDER",
    "BY_GENE_ORDER",
    "Axis",
    "BlockSample",
    "RowTable",
    "check_digests",
    "check_gene_order",
    "check_gene_order_digests",
]

if TYPE_CHECKING:
    # Of one column of values, which rows have one, and the values that they have.
    Column = tuple[slice | NDArray[np.bool_], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Axis:
    """What rows are ordered by.

    Attributes
    ----------
    name
        "cells" or "genes".
    one
        One of them: "cell" or "gene".
    ids
        The columns of the positions: of what the rows are ordered by, and of the others.
    """

    name: str
    one: str
    ids: tuple[str, str]


BY_CELL_ORDER = Axis("cells", "cell", ("cell_integer_id", "gene_integer_id"))
BY_GENE_ORDER = Axis("genes", "gene", ("gene_integer_id", "cell_integer_id"))


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
    axis
        What its rows are ordered by.
    columns
        Its columns of values.
    offsets
        Where the rows of each cell begin, and after the last, where they end.
    blocks
        The cells in runs, in order, as the digests were taken of them.
    """

    dataset: Dataset
    name: str
    axis: Axis
    columns: tuple[str, ...]
    offsets: NDArray[np.int64]
    blocks: Sequence[Block]

    @classmethod
    def of(cls, dataset: Dataset, name: str) -> Self:
        """The table of this name; reads its offsets.

        Raises
        ------
        DamagedDataset
            If they cannot be read.
        """
        offsets = dataset.offsets(name)
        columns: tuple[str, ...] = ("value",)
        by_gene = dataset.published.by_gene if name == BY_GENE else None
        if by_gene is not None:
            return cls(dataset, name, BY_GENE_ORDER, columns, offsets, by_gene.blocks)
        if name != EXPRESSION:
            matrices = dataset.annotations.beside.matrices()[name]
            columns = tuple(matrix.name for matrix in matrices)
        return cls(dataset, name, BY_CELL_ORDER, columns, offsets, dataset.published.blocks)

    @cached_property
    def table(self) -> LanceTable:
        """The rows."""
        dataset = self.dataset
        return dataset.expression if self.name == EXPRESSION else dataset.table(self.name)

    def place(self, block: Block) -> str:
        """A block, and the table where it is not `expression`."""
        return str(block) if self.name == EXPRESSION else f"{self.name}, {block}"

    def check_offsets(self, findings: DifferenceLog) -> None:
        """Note what of the offsets does not begin with 0, or descends."""
        offsets, column = self.offsets, START_INDEX[self.name]
        findings.compare("offsets", f"{column} of the first {self.axis.one}", 0, int(offsets[0]))
        for at in np.flatnonzero(np.diff(offsets) < 0)[:SHOWN_OF_A_KIND]:
            where = f"{column} after {self.axis.one} {at}"
            findings.note("offsets", where, f"≥ {offsets[at]}", offsets[at + 1])

    def check_blocks(self, findings: DifferenceLog) -> None:
        """Note which blocks do not follow each other, or have other rows than the offsets say."""
        n, stop = len(self.offsets) - 1, 0
        # Where a block is told without its table, its rows are told as rows.
        unit = " rows" if self.name == EXPRESSION else ""
        for block in self.blocks:
            where = f"first {self.axis.one} of the block at {block.start}{self._of_table}"
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
        starts = self.offsets[run.start : run.stop + 1]
        counts = np.diff(starts)
        whose = np.repeat(np.arange(run.start, run.stop), counts)
        digests = [BlockDigest() for _ in self.columns]
        lengths = [counts.copy() for _ in self.columns]
        at = 0
        for owners, others, columns in self._pieces(run, self.columns):
            expected = whose[at : at + len(owners)]
            for row in np.flatnonzero(owners != expected)[:SHOWN_OF_A_KIND]:
                where = f"{self.axis.ids[0]} of row {int(starts[0]) + at + row}{self._of_table}"
                findings.note("order", where, expected[row], owners[row])
            for column, (valid, values) in enumerate(columns):
                widened = as_float64(values)
                digests[column].add_entries(others[valid], widened)
                if not isinstance(valid, slice):
                    without = expected[~valid] - run.start
                    lengths[column] -= np.bincount(without, minlength=len(run))
                if seen is not None:
                    seen(owners[valid], others[valid], widened)
            at += len(owners)
        for digest, counted in zip(digests, lengths, strict=True):
            digest.add_lengths(counted)
        return [digest.hexdigest() for digest in digests]

    def entries(self, run: RowRange, column: str = "value") -> Entries:
        """All entries that some cells have in one column of values."""
        pieces = [
            (owners[valid], others[valid], values)
            for owners, others, [(valid, values)] in self._pieces(run, [column])
        ]
        owners, others, values = (
            np.concatenate([piece[at] for piece in pieces]) if pieces else np.empty(0, np.uint32)
            for at in range(3)
        )
        return owners, others, values

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

    def _pieces(
        self, run: RowRange, columns: Sequence[str]
    ) -> Iterator[tuple[NDArray[Any], NDArray[Any], list[Column]]]:
        """The rows of some cells: both positions, and the columns of values."""
        rows = RowRange(int(self.offsets[run.start]), int(self.offsets[run.stop]))
        for batch in scan(self.table, rows, (*self.axis.ids, *columns)):
            owners, others, *values = batch.columns
            ids = (column.to_numpy(zero_copy_only=False) for column in (owners, others))
            yield *ids, [_column(found) for found in values]


def _column(values: Any) -> Column:
    if not values.null_count:
        return slice(None), values.to_numpy(zero_copy_only=False)
    valid = values.is_valid().to_numpy(zero_copy_only=False)
    return valid, values.drop_null().to_numpy(zero_copy_only=False)


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
