"""Compare X, obs and var of a dataset with a source."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from slaf.annotations.columns import to_lance, without_columns
from slaf.annotations.text import TEXT, is_text_type
from slaf.format.schema import CELL_COLUMNS, CELLS, EXPRESSION, GENE_COLUMNS, GENES, TABLES
from slaf.sparse.casting import as_float64
from slaf.sparse.ranges import RowRange
from slaf.tables.read import read_table, take_rows
from slaf.verification.coverage_against import CoverageComparison
from slaf.verification.rows import RowTable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from numpy.typing import NDArray

    from slaf.annotations.columns import Column, ColumnSet
    from slaf.dataset.dataset import Dataset
    from slaf.runtime.progress import Progress
    from slaf.sources.base import Source
    from slaf.sparse.batch import Batch
    from slaf.verification.report import DifferenceLog
    from slaf.verification.rows import Entries

__all__ = [
    "cell_gene_label",
    "check_against",
    "compare_axis",
    "compare_entries",
]


def check_against(
    dataset: Dataset,
    source: Source,
    differences: DifferenceLog,
    progress: Progress,
    *,
    ignored: Collection[str] = (),
) -> None:
    """Compare every value, id and column, and note differences with their cell and gene.

    Parameters
    ----------
    dataset
        A dataset with correct offsets and blocks.
    source
        The source, opened at the matrix to compare.
    differences
        Collects differences.
    progress
        Advances with each batch.
    ignored
        The names of columns, "obs:NAME" and "var:NAME", that are not compared.
    """
    shape = (source.info.n_cells, source.info.n_genes)
    differences.compare("shape", "cells × genes", shape, dataset.shape)
    if shape != dataset.shape:
        return
    coverage = CoverageComparison(dataset, source, differences)
    if not coverage.is_possible:
        _compare_cells(dataset, source.cells(), differences, ignored)
    with differences.catching(GENES):
        compare_axis(dataset, GENES, source.genes(), GENE_COLUMNS, differences, ignored=ignored)
    for block in dataset.published.blocks:
        rows = RowRange(block.start, block.stop)
        # Files of reads are read once for their values, their coverage and their numbers of reads.
        with source.kept_open(rows):
            for batch in source.matrix().batches(rows):
                with differences.catching(str(block)):
                    _compare_batch(dataset, batch, differences)
                progress.advance(len(batch.rows), batch.nnz)
            if coverage.is_possible:
                coverage.compare(rows, progress)
    if coverage.is_possible:
        _compare_cells(dataset, source.cells_with(coverage.measured), differences, ignored)


def _compare_cells(
    dataset: Dataset, cells: pa.Table, differences: DifferenceLog, ignored: Collection[str]
) -> None:
    with differences.catching(CELLS):
        compare_axis(dataset, CELLS, cells, CELL_COLUMNS, differences, ignored=ignored)


def compare_axis(
    dataset: Dataset,
    name: str,
    table: pa.Table,
    format_columns: tuple[str, ...],
    differences: DifferenceLog,
    *,
    columns: ColumnSet | None = None,
    ignored: Collection[str] = (),
) -> None:
    """Compare the columns of a table of a dataset with those of a source with as many rows.

    Parameters
    ----------
    dataset, name
        The dataset and the name of its table.
    table
        The table of the source.
    format_columns
        The columns of the format itself.
    differences
        Collects differences.
    columns
        The record of the table's columns; by default `columns` in config.json.
    ignored
        The names, "obs:NAME" and "var:NAME", that are not compared.
    """
    if columns is None:
        columns = _without(dataset.published.columns[name], TABLES[name].slot, ignored)
        table = without_columns(table, lambda column: f"{TABLES[name].slot}:{column}" in ignored)
    expected, expected_columns = to_lance(table, format_columns)
    differences.compare(name, "name of the index", expected_columns.index_name, columns.index_name)
    stored_columns = {column.original: column for column in columns.columns}
    originals = [column.original for column in expected_columns.columns]
    differences.compare(name, "columns", originals, list(stored_columns))
    stored = read_table(dataset.table(name), [column.name for column in columns.columns])
    for column in expected_columns.columns:
        stored_column = stored_columns.get(column.original)
        if stored_column is None:
            continue
        title = "index" if column.original is None else f"column {column.original!r}"
        if not _same_type(column, stored_column):
            differences.note(name, f"type of {title}", column, stored_column)
        pair = expected.column(column.name), stored.column(stored_column.name)
        _compare_column(name, title, *pair, differences)


def _without(columns: ColumnSet, slot: str, ignored: Collection[str]) -> ColumnSet:
    kept = (
        c for c in columns.columns if c.original is None or f"{slot}:{c.original}" not in ignored
    )
    return replace(columns, columns=tuple(kept))


def _same_type(first: Column, second: Column) -> bool:
    """Whether two columns have one type, whichever pandas types store their text.

    A dataset must not differ because another pandas verifies it.
    """
    if first.dtype != second.dtype or first.categories != second.categories:
        first, second = _with_plain_strings(first), _with_plain_strings(second)
    return first == second


def _with_plain_strings(column: Column) -> Column:
    element_type = column.categories or column.dtype
    if not is_text_type(element_type):
        return column
    dtype, categories = (TEXT, None) if column.categories is None else (column.dtype, TEXT)
    return replace(column, dtype=dtype, categories=categories, missing=None)


def _compare_column(
    name: str,
    title: str,
    expected: pa.ChunkedArray,
    stored: pa.ChunkedArray,
    differences: DifferenceLog,
) -> None:
    if expected.type != stored.type:
        differences.note(name, f"type of {title}", expected.type, stored.type)
        return
    # Lance stores no categories of a column without values: `_same_type` has compared them.
    if pa.types.is_dictionary(expected.type) and expected.null_count < len(expected):
        categories = _categories(expected), _categories(stored)
        differences.compare(name, f"categories of {title}", *categories)
        expected, stored = (values.cast(values.type.value_type) for values in (expected, stored))
    if expected.equals(stored):
        return
    # Slow and exact, for columns that differ, or hold NaN, which Arrow never calls equal.
    pairs = zip(expected.to_pylist(), stored.to_pylist(), strict=True)
    for row, (wanted, value) in enumerate(pairs):
        if _differ(wanted, value):
            differences.note(name, f"{title} of row {row}", repr(wanted), repr(value))


def _differ(expected: Any, stored: Any) -> bool:
    """Whether two values differ; NaN equals NaN."""
    return expected != stored and not (expected != expected and stored != stored)  # noqa: PLR0124


def _categories(values: pa.ChunkedArray) -> list[Any]:
    if not values.num_chunks:
        return []
    categories: list[Any] = values.unify_dictionaries().chunk(0).dictionary.to_pylist()
    return categories


def _compare_batch(dataset: Dataset, batch: Batch, differences: DifferenceLog) -> None:
    expression = RowTable.of(dataset, EXPRESSION)
    stored, label = expression.entries(batch.rows), partial(cell_gene_label, dataset)
    if not compare_entries("value", batch, stored, label, differences):
        return
    counts = np.diff(expression.offsets[batch.rows.start : batch.rows.stop + 1])
    for index in np.flatnonzero(counts != batch.counts):
        where = f"rows of cell {batch.rows.start + int(index)}"
        differences.note("offsets", where, batch.counts[index], counts[index])


def cell_gene_label(dataset: Dataset, cell: int, gene: int, *, genes: str = GENES) -> str:
    """Label a cell and a gene by their positions and ids.

    Parameters
    ----------
    dataset
        The dataset.
    cell, gene
        Their positions, which may exceed the number of rows.
    genes
        The table of the gene.
    """
    ids = _id(dataset, CELLS, "cell_id", cell), _id(dataset, genes, "gene_id", gene)
    return f"cell {cell} ({ids[0]}), gene {gene} ({ids[1]})"


def _id(dataset: Dataset, name: str, column: str, position: int) -> str:
    table = dataset.table(name)
    if position >= table.count_rows():
        return "none"
    return repr(take_rows(table, np.array([position]), [column])[column][0].as_py())


_ID_SHIFT = np.uint64(32)


def compare_entries(
    kind: str,
    batch: Batch,
    stored: Entries,
    label: Callable[[int, int], str],
    differences: DifferenceLog,
    *,
    prefix: str = "",
) -> bool:
    """Note each value that differs; returns whether none does.

    Parameters
    ----------
    kind
        The kind of the differences.
    batch
        The expected entries of some cells.
    stored
        The entries of these cells in the dataset.
    label
        Labels a cell and a gene by their positions.
    differences
        Collects differences.
    prefix
        Text before each label.
    """
    cells, genes, values = stored
    if (
        np.array_equal(batch.cells(), cells)
        and np.array_equal(batch.genes, genes)
        and _same_values(batch.values, values)
    ):
        return True
    n_before = differences.counts[kind]
    expected_values = _values_by_key(batch.cells(), batch.genes, batch.values)
    stored_values = _values_by_key(*stored)
    for key in sorted(expected_values.keys() | stored_values.keys()):
        expected, value = expected_values.get(key, 0), stored_values.get(key, 0)
        if _differ(expected, value):
            where = ""
            if differences.keeps(kind):
                where = prefix + label(key >> int(_ID_SHIFT), key & 0xFFFFFFFF)
            differences.note(kind, where, expected, value)
    # Otherwise the entries are unordered or repeated.
    if n_before == differences.counts[kind]:
        where = f"{prefix}cells {batch.rows.start} to {batch.rows.stop}"
        differences.note("order", where, "ascending", "the same entries in disorder")
    return False


def _values_by_key(
    cells: NDArray[Any], genes: NDArray[Any], values: NDArray[Any]
) -> dict[int, Any]:
    """Values by a key with the cell in its upper and the gene in its lower 32 bits."""
    keys = (cells.astype(np.uint64) << _ID_SHIFT) | genes.astype(np.uint64)
    return dict(zip(keys.tolist(), values.tolist(), strict=True))


def _same_values(expected: NDArray[Any], stored: NDArray[Any]) -> bool:
    """Whether two arrays hold the same numbers, whatever their types; NaN equals NaN."""
    first, second = as_float64(expected), as_float64(stored)
    if not np.array_equal(first.values, second.values, equal_nan=True):
        return False
    if first.rest is None or second.rest is None:
        return first.rest is second.rest
    return np.array_equal(first.rest, second.rest)
