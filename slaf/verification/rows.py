"""Check tables with a row for each nonzero: offsets, blocks and digests, by cell and by gene."""

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
    """A table with a row for each nonzero: `expression`, a table of layers or raw.

    The same holds of `expression_by_gene`, with genes in place of cells.

    Attributes
    ----------
    dataset, name
        The dataset and the name of the table.
    rows
        Reads the rows.
    columns
        The columns of values.
    blocks
        The blocks of cells that have digests, in order.
    """

    dataset: Dataset
    name: str
    rows: StoredRows
    columns: tuple[str, ...]
    blocks: Sequence[Block]

    @classmethod
    def of(cls, dataset: Dataset, name: str) -> Self:
        """Open a table and read its offsets.

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

    def label(self, block: Block) -> str:
        """Label a block, with the table unless that is `expression`."""
        return str(block) if self.name == EXPRESSION else f"{self.name}, {block}"

    def check_offsets(self, differences: DifferenceLog) -> None:
        """Note offsets that do not start with 0, or descend."""
        offsets, column, axis = self.offsets, START_INDEX[self.name], self.axis.singular
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
            if stop <= n:
                n_rows = int(self.offsets[stop] - self.offsets[block.start])
                pair = f"{block.rows}{unit}", f"{n_rows}{unit}"
                differences.compare("offsets", self.label(block), *pair)
        differences.compare("config", f"{self.axis.name} in blocks{self._of_table}", n, stop)

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
    """Some blocks, read in place of all.

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
        n_cells = sum(blocks[position].stop - blocks[position].start for position in positions)
        return cls(positions, n_cells, description)


def check_digests(
    dataset: Dataset, differences: DifferenceLog, progress: Progress, positions: Iterable[int]
) -> None:
    """Read blocks and compare the digest of each with that of the conversion.

    Parameters
    ----------
    dataset
        A dataset with correct offsets and blocks.
    differences
        Collects blocks that differ.
    progress
        Advances with each batch.
    positions
        The positions of the blocks to read.
    """

    def advance(cells: NDArray[Any], *_: object) -> None:
        progress.advance(0, len(cells))

    for block in (dataset.published.blocks[position] for position in positions):
        with differences.catching(str(block)):
            cells = RowRange(block.start, block.stop)
            (digest,) = RowTable.of(dataset, EXPRESSION).digests(cells, differences, advance)
            progress.advance(len(cells), 0)
            differences.compare("digest", str(block), block.digest, digest)


_COLUMNS = (*BY_GENE_ORDER.ids, "value")


def check_gene_order(dataset: Dataset, differences: DifferenceLog) -> None:
    """Check rows, offsets and blocks of `expression_by_gene`, without its values.

    Parameters
    ----------
    dataset
        A published dataset.
    differences
        Collects contradictions.
    """
    proof = dataset.published.by_gene
    with differences.catching(BY_GENE):
        exists = BY_GENE in dataset.published.tables
        has_offsets = "gene_start_index" in dataset.table(GENES).schema.names
        differences.compare("config", f"table {BY_GENE}", proof is not None, exists)
        differences.compare("config", "gene_start_index of genes", proof is not None, has_offsets)
        if proof is None or not (exists and has_offsets):
            return
        rows = RowTable.of(dataset, BY_GENE)
        table, expression = rows.table, dataset.expression
        differences.compare("config", f"rows of {BY_GENE}", dataset.nnz, table.count_rows())
        for name in _COLUMNS:
            types = expression.schema.field(name).type, table.schema.field(name).type
            differences.compare("config", f"type of {name} of {BY_GENE}", *types)
        rows.check_offsets(differences)
        rows.check_blocks(differences)


def check_gene_order_digests(
    dataset: Dataset, differences: DifferenceLog, progress: Progress
) -> None:
    """Read `expression_by_gene`, and compare digests of blocks and the hash of all its rows.

    Parameters
    ----------
    dataset
        A dataset with correct offsets and blocks.
    differences
        Collects blocks that differ.
    progress
        Advances by the rows read, and at the end by all cells.
    """
    proof = dataset.published.by_gene
    if proof is None or BY_GENE not in dataset.published.tables:
        return
    multiset_hash = MultisetHash()
    rows = RowTable.of(dataset, BY_GENE)

    def add(genes: NDArray[Any], cells: NDArray[Any], values: Float64WithRemainder) -> None:
        multiset_hash.add(cells, genes, values)

    for block in proof.blocks:
        where = rows.label(block)
        with differences.catching(where):
            (digest,) = rows.digests(RowRange(block.start, block.stop), differences, add)
            differences.compare("digest", where, block.digest, digest)
        progress.advance(0, block.rows)
    # If a block differs, so does the hash of all rows, which would be no news.
    if not differences.has("digest", "unreadable"):
        where = f"all rows of {BY_GENE}"
        differences.compare("digest", where, proof.fingerprint, multiset_hash.hexdigest())
    progress.advance(dataset.n_cells, 0)
