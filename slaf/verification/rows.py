"""Check tables with a row for each nonzero: offsets, blocks and digests, by cell and by gene."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeAlias

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
    from slaf.verification.report import DifferenceLog

__all__ = [
    "BlockSample",
    "Entries",
    "RowTable",
    "check_copies",
    "check_digests",
    "check_row_tables",
    "row_tables",
]

# Ids of cells, ids of genes, and values.
Entries: TypeAlias = "tuple[NDArray[Any], NDArray[Any], NDArray[Any]]"


@dataclass(frozen=True)
class RowTable:
    """A table with a row for each nonzero: `expression`, a table of layers or raw.

    The same holds of `expression_by_gene`, with genes in place of cells.

    Attributes
    ----------
    dataset, name
        The dataset and the name of the table.
    rows
        Reads the rows.
    columns
        The columns of values, each with its blocks.
    blocks
        The blocks of cells that have digests, in order.
    """

    dataset: Dataset
    name: str
    rows: StoredRows
    columns: Mapping[str, Sequence[Block]]
    blocks: Sequence[Block]

    @classmethod
    def of(cls, dataset: Dataset, name: str) -> Self:
        """Open a table and read its offsets.

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
        """The order of the rows."""
        return self.rows.axis

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Position of the first row of each cell, and the number of rows."""
        return self.rows.offsets

    @cached_property
    def table(self) -> LanceTable:
        """The table as Lance opens it."""
        dataset = self.dataset
        return dataset.expression if self.name == EXPRESSION else dataset.table(self.name)

    def label(self, block: Block, matrix: str = "") -> str:
        """Label a block, with the table and the matrix unless that is `expression`."""
        if self.name == EXPRESSION:
            return str(block)
        return ", ".join(filter(None, (self.name, matrix, str(block))))

    def check_offsets(self, differences: DifferenceLog) -> None:
        """Note offsets that do not start with 0, or descend."""
        offsets, column, axis = self.offsets, TABLES[self.name].start_index, self.axis.singular
        differences.compare("offsets", f"{column} of the first {axis}", 0, int(offsets[0]))
        for index in np.flatnonzero(np.diff(offsets) < 0)[:SHOWN_OF_A_KIND]:
            where = f"{column} after {axis} {index}"
            differences.note("offsets", where, f"≥ {offsets[index]}", offsets[index + 1])

    def check_blocks(self, differences: DifferenceLog) -> None:
        """Note blocks that are not contiguous, or have other rows than the offsets say."""
        n, stop = len(self.offsets) - 1, 0
        unit = " rows" if self.name == EXPRESSION else ""
        for block in self.blocks:
            where = f"first {self.axis.singular} of the block at {block.start}{self._of_table}"
            differences.compare("config", where, stop, block.start)
            stop = block.stop
            # A row that lacks a value is in none of the blocks of that column.
            if stop <= n and not TABLES[self.name].nullable:
                n_rows = int(self.offsets[stop] - self.offsets[block.start])
                pair = f"{block.rows}{unit}", f"{n_rows}{unit}"
                differences.compare("offsets", self.label(block), *pair)
        differences.compare("config", f"{self.axis.name} in blocks{self._of_table}", n, stop)
        if TABLES[self.name].copies:
            return
        ranges = [block.span for block in self.dataset.published.blocks]
        for column, recorded in self.columns.items():
            where = f"blocks of {self.name}, {column}"
            differences.compare("config", where, ranges, [block.span for block in recorded])

    def rows_of(self, start: int, stop: int) -> tuple[int, int] | None:
        """The range of rows of a range of cells; None if it does not consist of blocks."""
        starts, stops = self._bounds
        if start not in starts or stop not in stops:
            return None
        return int(self.offsets[start]), int(self.offsets[stop])

    def digests(
        self,
        cells: RowRange,
        differences: DifferenceLog,
        on_entries: Callable[[NDArray[Any], NDArray[Any], Float64WithRemainder], None]
        | None = None,
    ) -> list[str]:
        """Compute the digest of some cells for each column of values.

        Parameters
        ----------
        cells
            Positions of the cells.
        differences
            Collects rows of other cells than the offsets say.
        on_entries
            Called with the entries of each column as they are read: positions on the axis of the
            order, positions on the other axis, and values.
        """
        digests = [BlockDigest() for _ in self.columns]
        for chunk in self.rows.chunks(cells, (*self.axis.ids, *self.columns)):
            self._check_owners(chunk, differences)
            for column, digest in enumerate(digests, len(self.axis.ids)):
                counts, owners, others, values = chunk.present(0, 1, column)
                float_values = as_float64(values)
                digest.add_lengths(counts)
                digest.add_entries(others, float_values)
                if on_entries is not None:
                    on_entries(owners, others, float_values)
        return [digest.hexdigest() for digest in digests]

    def entries(self, cells: RowRange, column: str = "value") -> Entries:
        """Read all entries of some cells in one column of values."""
        chunks = self.rows.chunks(cells, (*self.axis.ids, column))
        arrays = zip(*(chunk.present(0, 1, 2)[1:] for chunk in chunks), strict=True)
        owners, others, values = map(np.concatenate, arrays)
        return owners, others, values

    def _check_owners(self, chunk: Chunk, differences: DifferenceLog) -> None:
        """Note rows of other cells than the offsets say."""
        owners = chunk.columns[0].to_numpy()
        expected = np.repeat(np.arange(chunk.cells.start, chunk.cells.stop), chunk.counts)
        first = int(self.offsets[chunk.cells.start])
        for row in np.flatnonzero(owners != expected)[:SHOWN_OF_A_KIND]:
            where = f"{self.axis.ids[0]} of row {first + row}{self._of_table}"
            differences.note("order", where, expected[row], owners[row])

    @cached_property
    def _bounds(self) -> tuple[frozenset[int], frozenset[int]]:
        """Starts and stops of the blocks."""
        return (
            frozenset(block.start for block in self.blocks),
            frozenset(block.stop for block in self.blocks),
        )

    @property
    def _of_table(self) -> str:
        return "" if self.name == EXPRESSION else f" of {self.name}"


# Blocks that the description of a sample lists at most.
_MAX_LISTED = 20


@dataclass(frozen=True, slots=True)
class BlockSample:
    """Some blocks, read in place of all: drawn at random, or a share of all.

    Attributes
    ----------
    positions
        The positions of the blocks, ascending.
    n_cells
        The number of cells in them.
    description
        The check of the sample, as text.
    """

    positions: tuple[int, ...]
    n_cells: int
    description: str

    @classmethod
    def draw(cls, blocks: Sequence[Block], size: int | None, seed: int) -> Self | None:
        """Draw blocks, at most all; None for no sample.

        Raises
        ------
        ValueError
            If the sample would have less than one block.
        """
        if size is None:
            return None
        if size < 1:
            msg = f"a sample of {size} blocks shows nothing; ask for one at least"
            raise ValueError(msg)
        # The standard library draws the same in every release.
        rng = random.Random(seed)  # noqa: S311 - not a secret
        positions = tuple(sorted(rng.sample(range(len(blocks)), min(size, len(blocks)))))
        listed = [str(blocks[position]) for position in positions[:_MAX_LISTED]]
        listed += ["…"] if len(positions) > _MAX_LISTED else []
        description = (
            f"the digest of {len(positions):,} of {len(blocks):,} blocks, drawn with seed {seed} "
            f"({', '.join(listed)})"
        )
        return cls._of(blocks, positions, description)

    @classmethod
    def share(cls, blocks: Sequence[Block], share: tuple[int, int]) -> Self:
        """One of several shares, of neighbouring blocks, which are all blocks together.

        Parameters
        ----------
        share
            The share, counted from 0, and the number of shares.

        Raises
        ------
        ValueError
            If there is no such share.
        """
        which, number = share
        if not 0 <= which < number:
            msg = f"there is no share {which} of {number}: they count from 0, like 0/{number}"
            raise ValueError(msg)
        start, stop = (len(blocks) * at // number for at in (which, which + 1))
        description = (
            f"the digest of {stop - start:,} of {len(blocks):,} blocks, share {which} of {number} "
            "of blocks and files"
        )
        return cls._of(blocks, tuple(range(start, stop)), description)

    @classmethod
    def _of(cls, blocks: Sequence[Block], positions: tuple[int, ...], description: str) -> Self:
        n_cells = sum(blocks[position].stop - blocks[position].start for position in positions)
        return cls(positions, n_cells, description)


def row_tables(dataset: Dataset, names: Container[str] = TABLES) -> Iterator[RowTable]:
    """The tables of matrices of a dataset, of those named."""
    for spec in partitioned_tables(dataset.published.tables):
        if spec.name in names and not spec.copies:
            yield RowTable.of(dataset, spec.name)


def check_row_tables(dataset: Dataset, differences: DifferenceLog) -> None:
    """Check that tables are those of the records, with their rows, offsets and blocks.

    Parameters
    ----------
    dataset
        A published dataset.
    differences
        Collects contradictions.
    """
    published = dataset.published
    for name, spec in TABLES.items():
        with differences.catching(name):
            recorded = published.has_record(name)
            differences.compare("config", f"table {name}", recorded, name in published.tables)
            if spec.is_partitioned:
                columns = dataset.table(spec.axis.name).schema.names
                where = f"{spec.start_index} of {spec.axis.name}"
                differences.compare("config", where, recorded, spec.start_index in columns)
    if differences.has("config", "unreadable"):
        return
    for spec in partitioned_tables(published.tables):
        with differences.catching(spec.name):
            rows = RowTable.of(dataset, spec.name)
            n_rows = rows.table.count_rows()
            differences.compare("config", f"rows of {spec.name}", int(rows.offsets[-1]), n_rows)
            if spec.copies:
                _check_types(rows, spec.copies, differences)
            rows.check_offsets(differences)
            rows.check_blocks(differences)
    with differences.catching(RAW_GENES):
        if RAW_GENES in published.tables:
            n_rows = dataset.table(RAW_GENES).count_rows()
            expected = published.record(RAW_GENES).n_genes
            differences.compare("config", f"rows of {RAW_GENES}", expected, n_rows)


def _check_types(rows: RowTable, copied: str, differences: DifferenceLog) -> None:
    """Check that a copy has the types of its original."""
    original = rows.dataset.table(copied).schema
    for name in (*rows.axis.ids, *rows.columns):
        types = original.field(name).type, rows.table.schema.field(name).type
        differences.compare("config", f"type of {name} of {rows.name}", *types)


def check_digests(
    dataset: Dataset,
    differences: DifferenceLog,
    progress: Progress,
    positions: Sequence[int],
    names: Container[str] = TABLES,
) -> None:
    """Read blocks and compare the digest of each with that of the conversion.

    Parameters
    ----------
    dataset
        A dataset with correct offsets and blocks.
    differences
        Collects blocks that differ.
    progress
        Advances with each block.
    positions
        The positions of the blocks to read.
    names
        The tables of matrices to read, of those that the dataset has.
    """
    matrices = dataset.published.annotations.matrices()
    for rows in row_tables(dataset, names):
        originals = {matrix.name: matrix.original for matrix in matrices.get(rows.name, ())}
        for position in positions:
            block = rows.blocks[position]
            with differences.catching(rows.label(block)):
                digests = rows.digests(RowRange(block.start, block.stop), differences)
                for (column, recorded), digest in zip(rows.columns.items(), digests, strict=True):
                    where = rows.label(block, originals.get(column, ""))
                    differences.compare("digest", where, recorded[position].digest, digest)
            nonzeros = sum(recorded[position].rows for recorded in rows.columns.values())
            progress.advance(block.stop - block.start, nonzeros)


def check_copies(dataset: Dataset, differences: DifferenceLog, progress: Progress) -> None:
    """Read the copies in another order, and compare digests of blocks and the hash of all rows.

    Parameters
    ----------
    dataset
        A dataset with correct offsets and blocks.
    differences
        Collects blocks that differ.
    progress
        Advances by the rows read, and at the end by all cells.
    """
    for spec in partitioned_tables(dataset.published.tables):
        if spec.copies:
            _check_copy(RowTable.of(dataset, spec.name), differences, progress)


def _check_copy(rows: RowTable, differences: DifferenceLog, progress: Progress) -> None:
    multiset_hash = MultisetHash()

    def add(genes: NDArray[Any], cells: NDArray[Any], values: Float64WithRemainder) -> None:
        multiset_hash.add(cells, genes, values)

    for block in rows.blocks:
        where = rows.label(block)
        with differences.catching(where):
            (digest,) = rows.digests(RowRange(block.start, block.stop), differences, add)
            differences.compare("digest", where, block.digest, digest)
        progress.advance(0, block.rows)
    # If a block differs, so does the hash of all rows, which would be no news.
    if not differences.has("digest", "unreadable"):
        expected = rows.dataset.published.record(rows.name).fingerprint
        where = f"all rows of {rows.name}"
        differences.compare("digest", where, expected, multiset_hash.hexdigest())
    progress.advance(rows.dataset.n_cells, 0)
