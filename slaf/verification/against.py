"""Compare a dataset with the source that it was made of."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from slaf.arrays import RowRange
from slaf.columns import STRING, stored
from slaf.schema import CELL_COLUMNS, CELLS, EXPRESSION, GENE_COLUMNS, GENES
from slaf.tables.read import read_table, take_rows
from slaf.verification.entries import compare_entries
from slaf.verification.ordered import Ordered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slaf.arrays import Batch
    from slaf.columns import Column, ColumnSet
    from slaf.dataset import Dataset
    from slaf.progress import Progress
    from slaf.verification.report import Findings

__all__ = ["Original", "check_against", "compare_axis", "place_of"]


class Original(Protocol):
    """What a dataset is compared with: a source, or another dataset.

    Attributes
    ----------
    n_cells, n_genes
        The shape.
    """

    n_cells: int
    n_genes: int

    def cells(self) -> pa.Table:
        """As a source gives them."""

    def genes(self) -> pa.Table:
        """As a source gives them."""

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """As a source gives them."""


def check_against(dataset: Dataset, source: Original, findings: Findings, seen: Progress) -> None:
    """Compare every value, id and column; what differs is noted with its cell and gene.

    Parameters
    ----------
    dataset
        Whose offsets and blocks are known to be right.
    source
        Opened at the matrix to compare.
    findings
        Takes the differences.
    seen
        Told of each batch compared.
    """
    shape = (source.n_cells, source.n_genes)
    findings.compare("shape", "cells × genes", shape, dataset.shape)
    if shape != dataset.shape:
        return
    with findings.reading(CELLS):
        compare_axis(dataset, CELLS, source.cells(), CELL_COLUMNS, findings)
    with findings.reading(GENES):
        compare_axis(dataset, GENES, source.genes(), GENE_COLUMNS, findings)
    for block in dataset.published.blocks:
        for batch in source.batches(RowRange(block.start, block.stop)):
            with findings.reading(str(block)):
                _compare_batch(dataset, batch, findings)
            seen.advance(len(batch.rows), batch.nnz)


def compare_axis(
    dataset: Dataset,
    name: str,
    table: pa.Table,
    taken: tuple[str, ...],
    findings: Findings,
    *,
    described: ColumnSet | None = None,
) -> None:
    """Compare the columns of a table of a dataset with those of a source, of as many rows.

    Parameters
    ----------
    dataset
        Of which it is.
    name
        The table.
    table
        That of the source.
    taken
        The columns of the format itself.
    findings
        Takes the differences.
    described
        What its columns were; if None, what `columns` in config.json says.
    """
    expected, wanted = stored(table, taken)
    described = described or dataset.published.columns[name]
    findings.compare(name, "name of the index", wanted.index_name, described.index_name)
    names = [column.original for column in wanted.columns]
    findings.compare(name, "columns", names, [column.original for column in described.columns])
    have = {column.original: column for column in described.columns}
    found = read_table(dataset.table(name), [column.name for column in described.columns])
    for column in wanted.columns:
        if column.original not in have:
            continue
        title = "index" if column.original is None else f"column {column.original!r}"
        if not _same_type(column, have[column.original]):
            findings.note(name, f"type of {title}", column, have[column.original])
        _compare_column(
            name,
            title,
            expected.column(column.name),
            found.column(have[column.original].name),
            findings,
        )


def _same_type(one: Column, other: Column) -> bool:
    """Whether two descriptions are of one type, whichever pandas types hold its strings.

    A file says that a column is of strings, and pandas chooses: version 2 objects, version 3
    its own type. A dataset is not of other types for having been verified by another pandas.
    """
    if one.dtype != other.dtype or one.categories != other.categories:
        one, other = _of_strings(one), _of_strings(other)
    return one == other


def _of_strings(column: Column) -> Column:
    held = column.categories or column.dtype
    if held != "object" and not held.startswith(STRING):
        return column
    dtype, categories = (STRING, None) if column.categories is None else (column.dtype, STRING)
    return replace(column, dtype=dtype, categories=categories, missing=None)


def _compare_column(
    name: str, title: str, expected: pa.ChunkedArray, found: pa.ChunkedArray, findings: Findings
) -> None:
    if expected.type != found.type:
        findings.note(name, f"type of {title}", expected.type, found.type)
        return
    # Where no row has a category, Lance stores none: those are in `Column`, compared before.
    if pa.types.is_dictionary(expected.type) and expected.null_count < len(expected):
        ours, theirs = (_categories(values) for values in (expected, found))
        findings.compare(name, f"categories of {title}", ours, theirs)
        expected, found = (values.cast(values.type.value_type) for values in (expected, found))
    if expected.equals(found):
        return
    # Slow and exact, for what differs, or holds a NaN, which Arrow never finds equal.
    for row, (ours, theirs) in enumerate(zip(expected.to_pylist(), found.to_pylist(), strict=True)):
        if ours != theirs and not (ours != ours and theirs != theirs):  # noqa: PLR0124
            findings.note(name, f"{title} of row {row}", repr(ours), repr(theirs))


def _categories(values: pa.ChunkedArray) -> list[Any]:
    if not values.num_chunks:
        return []
    categories: list[Any] = values.unify_dictionaries().chunk(0).dictionary.to_pylist()
    return categories


def _compare_batch(dataset: Dataset, batch: Batch, findings: Findings) -> None:
    expression = Ordered.of(dataset, EXPRESSION)
    found = expression.entries(batch.rows)
    place = partial(place_of, dataset)
    if compare_entries("value", batch, found, place, findings):
        _compare_offsets(expression, batch, findings)


def _compare_offsets(expression: Ordered, batch: Batch, findings: Findings) -> None:
    counts = np.diff(expression.offsets[batch.rows.start : batch.rows.stop + 1])
    for at in np.flatnonzero(counts != batch.counts):
        cell = batch.rows.start + int(at)
        findings.note("offsets", f"rows of cell {cell}", batch.counts[at], counts[at])


def place_of(dataset: Dataset, cell: int, gene: int, *, genes: str = GENES) -> str:
    """A cell and a gene by their positions and ids.

    Parameters
    ----------
    dataset
        Of which they are.
    cell, gene
        Their positions, which may be beyond the last.
    genes
        The table that the gene is in.
    """
    ids = _id(dataset, CELLS, "cell_id", cell), _id(dataset, genes, "gene_id", gene)
    return f"cell {cell} ({ids[0]}), gene {gene} ({ids[1]})"


def _id(dataset: Dataset, name: str, column: str, position: int) -> str:
    table = dataset.table(name)
    if position >= table.count_rows():
        return "none"
    return repr(take_rows(table, np.array([position]), [column])[column][0].as_py())
