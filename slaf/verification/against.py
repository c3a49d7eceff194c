"""Compare a dataset with the source that it was made of."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from slaf.annotations.columns import STRING, to_lance
from slaf.format.schema import CELL_COLUMNS, CELLS, EXPRESSION, GENE_COLUMNS, GENES
from slaf.sparse.casting import as_float64
from slaf.sparse.ranges import RowRange
from slaf.tables.read import read_table, take_rows
from slaf.verification.rows import RowTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from slaf.annotations.columns import Column, ColumnSet
    from slaf.dataset.dataset import Dataset
    from slaf.runtime.progress import Progress
    from slaf.sources.base import Source
    from slaf.sparse.batch import Batch
    from slaf.verification.report import DifferenceLog

__all__ = [
    "Entries",
    "cell_gene_label",
    "check_against",
    "compare_axis",
    "compare_entries",
]


def check_against(
    dataset: Dataset, source: Source, findings: DifferenceLog, seen: Progress
) -> None:
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
    shape = (source.info.n_cells, source.info.n_genes)
    findings.compare("shape", "cells × genes", shape, dataset.shape)
    if shape != dataset.shape:
        return
    with findings.reading(CELLS):
        compare_axis(dataset, CELLS, source.cells(), CELL_COLUMNS, findings)
    with findings.reading(GENES):
        compare_axis(dataset, GENES, source.genes(), GENE_COLUMNS, findings)
    for block in dataset.published.blocks:
        for batch in source.matrix().batches(RowRange(block.start, block.stop)):
            with findings.reading(str(block)):
                _compare_batch(dataset, batch, findings)
            seen.advance(len(batch.rows), batch.nnz)


def compare_axis(
    dataset: Dataset,
    name: str,
    table: pa.Table,
    taken: tuple[str, ...],
    findings: DifferenceLog,
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
    expected, wanted = to_lance(table, taken)
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
    name: str,
    title: str,
    expected: pa.ChunkedArray,
    found: pa.ChunkedArray,
    findings: DifferenceLog,
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


def _compare_batch(dataset: Dataset, batch: Batch, findings: DifferenceLog) -> None:
    expression = RowTable.of(dataset, EXPRESSION)
    found = expression.entries(batch.rows)
    place = partial(cell_gene_label, dataset)
    if compare_entries("value", batch, found, place, findings):
        _compare_offsets(expression, batch, findings)


def _compare_offsets(expression: RowTable, batch: Batch, findings: DifferenceLog) -> None:
    counts = np.diff(expression.offsets[batch.rows.start : batch.rows.stop + 1])
    for at in np.flatnonzero(counts != batch.counts):
        cell = batch.rows.start + int(at)
        findings.note("offsets", f"rows of cell {cell}", batch.counts[at], counts[at])


def cell_gene_label(dataset: Dataset, cell: int, gene: int, *, genes: str = GENES) -> str:
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


# Cell ids, gene ids and values.
Entries = tuple["NDArray[Any]", "NDArray[Any]", "NDArray[Any]"]
_ID_SHIFT = np.uint64(32)


def compare_entries(
    kind: str,
    batch: Batch,
    found: Entries,
    place: Callable[[int, int], str],
    findings: DifferenceLog,
    *,
    matrix: str = "",
) -> bool:
    """Note each value in which they differ; whether there is none.

    Parameters
    ----------
    kind
        Of the differences.
    batch
        What is expected of some cells.
    found
        What there is of them.
    place
        Says which cell and gene are at these positions.
    findings
        Takes the differences.
    matrix
        What to put before each place.
    """
    cells, genes, values = found
    if (
        np.array_equal(batch.cells(), cells)
        and np.array_equal(batch.genes, genes)
        and _same_values(batch.values, values)
    ):
        return True
    before = findings.counts[kind]
    ours, theirs = _by_place(batch.cells(), batch.genes, batch.values), _by_place(*found)
    for key in sorted(ours.keys() | theirs.keys()):
        one, other = ours.get(key, 0), theirs.get(key, 0)
        if one != other and not (one != one and other != other):  # noqa: PLR0124 - NaN
            where = ""
            if findings.keeps(kind):
                where = matrix + place(key >> int(_ID_SHIFT), key & 0xFFFFFFFF)
            findings.note(kind, where, one, other)
    # The same entries, then, in disorder, or one of them several times.
    if before == findings.counts[kind]:
        cells_of = f"{matrix}cells {batch.rows.start} to {batch.rows.stop}"
        findings.note("order", cells_of, "ascending", "the same entries in disorder")
    return False


def _by_place(cells: NDArray[Any], genes: NDArray[Any], values: NDArray[Any]) -> dict[int, Any]:
    keys = (cells.astype(np.uint64) << _ID_SHIFT) | genes.astype(np.uint64)
    return dict(zip(keys.tolist(), values.tolist(), strict=True))


def _same_values(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two arrays hold the same numbers, whatever their types; every NaN is the same."""
    ours, theirs = as_float64(one), as_float64(other)
    if not np.array_equal(ours.values, theirs.values, equal_nan=True):
        return False
    if ours.rest is None or theirs.rest is None:
        return ours.rest is theirs.rest
    return np.array_equal(ours.rest, theirs.rest)
