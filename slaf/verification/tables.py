"""Check tables against config.json: rows, columns, types, ids, offsets, digests, string ids."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from slaf.format.digests import table_digest
from slaf.format.schema import (
    CELLS,
    COUNTS,
    EXPRESSION,
    GENES,
    common_type,
    narrowest_count,
    read_dtype,
)
from slaf.sparse.ranges import RowRange
from slaf.tables.read import data_files, read_table
from slaf.verification.report import SHOWN_OF_A_KIND

if TYPE_CHECKING:
    from slaf.dataset.dataset import Dataset
    from slaf.verification.report import DifferenceLog

__all__ = ["check_readable", "check_string_ids", "check_tables"]


def check_tables(dataset: Dataset, differences: DifferenceLog) -> None:
    """Check files, row counts, ids, offsets, blocks and columns, without reading values.

    Parameters
    ----------
    dataset
        A published dataset.
    differences
        Collects contradictions.
    """
    published = dataset.published
    for name, n_rows in ((CELLS, published.n_cells), (GENES, published.n_genes)):
        differences.compare("config", f"rows of {name}", n_rows, dataset.table(name).count_rows())
    value_type = pa.from_numpy_dtype(np.dtype(published.value_type))
    stored_type = dataset.expression.schema.field("value").type
    differences.compare("config", "type of value", value_type, stored_type)
    _check_dtype(dataset, differences)
    n_cells = sum(source.n_cells for source in published.sources)
    differences.compare("config", "cells of the sources", published.n_cells, n_cells)
    _check_columns(dataset, differences)
    for name in published.tables:
        _check_files(dataset, name, differences)
    with differences.catching(GENES):
        _check_integer_ids(dataset, GENES, differences)
    with differences.catching(CELLS):
        _check_integer_ids(dataset, CELLS, differences)


def check_readable(dataset: Dataset, differences: DifferenceLog) -> None:
    """Read every column of the tables that are not written in parts, and compare their digests.

    Datasets from before these digests can only be compared with a source.
    """
    digests = dataset.published.checksums.tables
    for name in dict.fromkeys((CELLS, GENES, *digests)):
        with differences.catching(name):
            rows = read_table(dataset.table(name))
            if name in digests:
                differences.compare("digest", name, digests[name], table_digest(rows))


def check_string_ids(dataset: Dataset, differences: DifferenceLog) -> None:
    """Compare string ids in `expression`, if there are any, with those of `cells` and `genes`.

    Parameters
    ----------
    dataset
        A dataset with correct offsets and blocks.
    differences
        Collects rows that differ.
    """
    if "cell_id" not in dataset.expression.schema.names:
        return
    for name in (CELLS, GENES):
        column = f"{name.removesuffix('s')}_id"
        with differences.catching(f"{column} of expression"):
            ids = read_table(dataset.table(name), [column]).column(0)
            _check_id_column(dataset, column, ids, differences)


def _check_id_column(
    dataset: Dataset, column: str, ids: pa.ChunkedArray, differences: DifferenceLog
) -> None:
    all_ids, rows = ids.combine_chunks(), dataset.rows(EXPRESSION)
    columns = [column, column.replace("_id", "_integer_id")]
    for chunk in rows.chunks(RowRange(0, dataset.n_cells), columns):
        stored, positions = chunk.columns
        # Positions beyond the last row are reported by the digest of their block.
        exists = pc.less(positions, pa.scalar(len(all_ids), positions.type))
        expected = all_ids.take(pc.if_else(exists, positions, None))
        differs = pc.fill_null(pc.not_equal(stored, expected), fill_value=True)
        first = int(rows.offsets[chunk.cells.start])
        for index in np.flatnonzero(differs.to_numpy(zero_copy_only=False)).tolist():
            where = f"{column} of row {first + index}"
            differences.note("names", where, expected[index].as_py(), stored[index].as_py())


def _check_files(dataset: Dataset, name: str, differences: DifferenceLog) -> None:
    directory = dataset.published.tables[name]
    for file, n_bytes in data_files(dataset.table(name)):
        path = f"{directory}/{file}"
        size = dataset.location.size_of(path)
        if size is None:
            differences.note("unreadable", path, "a file", "nothing")
        elif n_bytes is not None:
            differences.compare("unreadable", path, f"{n_bytes} bytes", f"{size} bytes")


def _check_dtype(dataset: Dataset, differences: DifferenceLog) -> None:
    published = dataset.published
    value_type = published.value_type
    types = {
        read_dtype(source.dtype, value_type, dtype_overflowed=False)
        for source in (*published.sources, *published.removed)
    }
    # Which sums overflowed their type, and the greatest magnitude, are not recorded.
    beyond = (published.expression_stats.get("max_value") or 0) > np.iinfo(COUNTS[0]).max
    wide = {value_type, narrowest_count(value_type, beyond_uint16=beyond)}
    if published.removed:
        # Types stay as they were: the greatest value may be removed.
        wide.add(narrowest_count(value_type, beyond_uint16=True))
    possible = {
        common_type([*kept, *dtype_overflowed], value_type, greatest)
        for n in range(len(types) + 1)
        for kept in combinations(sorted(types), n)
        for dtype_overflowed in ([], *([dtype] for dtype in sorted(wide)))
        for greatest in (0.0, np.inf)
    }
    if published.dtype not in possible:
        differences.note("config", "dtype", " or ".join(sorted(possible)), published.dtype)


def _check_columns(dataset: Dataset, differences: DifferenceLog) -> None:
    for name, recorded in dataset.published.columns.items():
        stored = set(dataset.table(name).schema.names)
        for column in recorded.columns:
            if column.name not in stored:
                differences.note("config", f"columns of {name}", column.name, "no such column")


def _check_integer_ids(dataset: Dataset, name: str, differences: DifferenceLog) -> None:
    column = f"{name.removesuffix('s')}_integer_id"
    ids = read_table(dataset.table(name), [column]).column(0).to_numpy()
    expected = np.arange(len(ids))
    for row in np.flatnonzero(ids != expected)[:SHOWN_OF_A_KIND]:
        differences.note(name, f"{column} of row {row}", expected[row], ids[row])
