"""Check the rows that a dataset has in the order of genes: that they are those of `expression`."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from slaf.format.digests import BlockDigest, MultisetHash
from slaf.format.schema import EXPRESSION, RAW_GENES, TABLES, partitioned_tables
from slaf.sparse.casting import as_float64
from slaf.sparse.ranges import RowRange
from slaf.verification.report import SHOWN_OF_A_KIND

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from slaf.dataset.dataset import Dataset
    from slaf.dataset.matrix import Chunk, StoredRows
    from slaf.format.records import Block
    from slaf.format.schema import Axis
    from slaf.runtime.progress import Progress
    from slaf.sparse.casting import Float64WithRemainder
    from slaf.tables.read import LanceTable
    from slaf.verification.against import Entries
    from slaf.verification.report import DifferenceLog

__all__ = [
    "BlockSample",
    "RowTable",
    "check_copies",
    "check_digests",
    "check_row_tables",
    "row_tables",
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
        Its value columns, each with its blocks.
    blocks
        The ranges of cells that have a digest, in order.
    """

    dataset: Dataset
    name: str
    rows: StoredRows
    columns: Mapping[str, Sequence[Block]]
    blocks: Sequence[Block]

    @classmethod
    def of(cls, dataset: Dataset, name: str) -> Self:
        """The table of this name; reads its offsets.

        Raises
        ------
        DamagedDataset
            If they cannot be read.
        """
        blocks = dataset.published.blocks_of(name)
        nullable = TABLES[name].nullable
        ranges = dataset.published.blocks if nullable else next(iter(blocks.values()))
        return cls(dataset, name, dataset.rows(name), blocks, ranges)

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

    def place(self, block: Block, matrix: str = "") -> str:
        """A block, after the table and the matrix where it is not `expression`."""
        if self.name == EXPRESSION:
            return str(block)
        return ", ".join(filter(None, (self.name, matrix, str(block))))

    def check_offsets(self, findings: DifferenceLog) -> None:
        """Note what of the offsets does not begin with 0, or descends."""
        offsets, column = self.offsets, TABLES[self.name].start_index
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
            # A row that lacks a value is in none of the blocks of that column.
            if stop <= n and not TABLES[self.name].nullable:
                rows = int(self.offsets[stop] - self.offsets[block.start])
                told = f"{block.rows}{unit}", f"{rows}{unit}"
                findings.compare("offsets", self.place(block), *told)
        findings.compare("config", f"{self.axis.name} in blocks{self._of_table}", n, stop)
        if TABLES[self.name].copies:
            return
        ranges = [block.span for block in self.dataset.published.blocks]
        for column, recorded in self.columns.items():
            where = f"blocks of {self.name}, {column}"
            findings.compare("config", where, ranges, [block.span for block in recorded])

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


def row_tables(dataset: Dataset, names: Container[str] = TABLES) -> Iterator[RowTable]:
    """The tables of matrices of a dataset, of those named."""
    for spec in partitioned_tables(dataset.published.tables):
        if spec.name in names and not spec.copies:
            yield RowTable.of(dataset, spec.name)


def check_row_tables(dataset: Dataset, findings: DifferenceLog) -> None:
    """Check that tables are those of the records, with their rows, offsets and blocks.

    Parameters
    ----------
    dataset
        Any published dataset; its values are not read.
    findings
        Receives the contradictions.
    """
    published = dataset.published
    for name, spec in TABLES.items():
        with findings.reading(name):
            recorded = published.has_record(name)
            findings.compare("config", f"table {name}", recorded, name in published.tables)
            if spec.is_partitioned:
                columns = dataset.table(spec.axis.name).schema.names
                where = f"{spec.start_index} of {spec.axis.name}"
                findings.compare("config", where, recorded, spec.start_index in columns)
    if findings.of("config", "unreadable"):
        return
    for spec in partitioned_tables(published.tables):
        with findings.reading(spec.name):
            rows = RowTable.of(dataset, spec.name)
            n_rows = rows.table.count_rows()
            findings.compare("config", f"rows of {spec.name}", int(rows.offsets[-1]), n_rows)
            if spec.copies:
                _check_types(rows, spec.copies, findings)
            rows.check_offsets(findings)
            rows.check_blocks(findings)
    with findings.reading(RAW_GENES):
        if RAW_GENES in published.tables:
            n_rows = dataset.table(RAW_GENES).count_rows()
            expected = published.record(RAW_GENES).n_genes
            findings.compare("config", f"rows of {RAW_GENES}", expected, n_rows)


def _check_types(rows: RowTable, copied: str, findings: DifferenceLog) -> None:
    """Check that a copy has the types of its original."""
    original = rows.dataset.table(copied).schema
    for name in (*rows.axis.ids, *rows.columns):
        types = original.field(name).type, rows.table.schema.field(name).type
        findings.compare("config", f"type of {name} of {rows.name}", *types)


def check_digests(
    dataset: Dataset,
    findings: DifferenceLog,
    seen: Progress,
    chosen: Sequence[int],
    names: Container[str] = TABLES,
) -> None:
    """Read blocks and compare the digest of each with the one taken while the source was read.

    Parameters
    ----------
    dataset
        Whose offsets and blocks are known to be right.
    findings
        Receives the blocks that differ.
    seen
        Is advanced with each block.
    chosen
        The positions of the blocks to read.
    names
        The tables of matrices to read, of those that the dataset has.
    """
    matrices = dataset.published.annotations.matrices()
    for rows in row_tables(dataset, names):
        originals = {matrix.name: matrix.original for matrix in matrices.get(rows.name, ())}
        for at in chosen:
            block = rows.blocks[at]
            with findings.reading(rows.place(block)):
                digests = rows.digests(RowRange(block.start, block.stop), findings)
                for (column, recorded), digest in zip(rows.columns.items(), digests, strict=True):
                    where = rows.place(block, originals.get(column, ""))
                    findings.compare("digest", where, recorded[at].digest, digest)
            nonzeros = sum(recorded[at].rows for recorded in rows.columns.values())
            seen.advance(block.stop - block.start, nonzeros)


def check_copies(dataset: Dataset, findings: DifferenceLog, seen: Progress) -> None:
    """Read the copies in another order: the digest of each block, and that of all rows.

    Parameters
    ----------
    dataset
        Whose offsets and blocks are known to be right.
    findings
        Receives the blocks that differ.
    seen
        Is advanced with the rows of each block, and once with all cells.
    """
    for spec in partitioned_tables(dataset.published.tables):
        if spec.copies:
            _check_copy(RowTable.of(dataset, spec.name), findings, seen)


def _check_copy(rows: RowTable, findings: DifferenceLog, seen: Progress) -> None:
    fingerprint = MultisetHash()

    def add(genes: NDArray[Any], cells: NDArray[Any], values: Float64WithRemainder) -> None:
        fingerprint.add(cells, genes, values)

    for block in rows.blocks:
        where = rows.place(block)
        with findings.reading(where):
            (digest,) = rows.digests(RowRange(block.start, block.stop), findings, add)
            findings.compare("digest", where, block.digest, digest)
        seen.advance(0, block.rows)
    # A block that differs explains why all rows do.
    if not findings.of("digest", "unreadable"):
        expected = rows.dataset.published.record(rows.name).fingerprint
        where = f"all rows of {rows.name}"
        findings.compare("digest", where, expected, fingerprint.hexdigest())
    seen.advance(rows.dataset.n_cells, 0)
