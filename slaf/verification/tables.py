"""Check the string ids that a dataset may also store in `expression`."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from slaf.format.digests import table_digest
from slaf.format.schema import CELLS, EXPRESSION, GENES, common_type, read_dtype
from slaf.sparse.ranges import RowRange
from slaf.tables.read import data_files, read_table
from slaf.verification.report import SHOWN_OF_A_KIND

if TYPE_CHECKING:
    from slaf.dataset.dataset import Dataset
    from slaf.verification.report import DifferenceLog

__all__ = ["check_readable", "check_string_ids", "check_tables"]


def check_string_ids(dataset: Dataset, findings: DifferenceLog) -> None:
    """Compare them with the ids of `cells` and `genes`; there are none in most datasets.

    Parameters
    ----------
    dataset
        Whose offsets and blocks are known to be right.
    findings
        Takes the rows that differ.
    """
    if "cell_id" not in dataset.expression.schema.names:
        return
    for name in (CELLS, GENES):
        column = f"{name.removesuffix('s')}_id"
        with findings.reading(f"{column} of expression"):
            _check(dataset, column, read_table(dataset.table(name), [column]).column(0), findings)


def _check(dataset: Dataset, column: str, ids: pa.ChunkedArray, findings: DifferenceLog) -> None:
    whole, rows = ids.combine_chunks(), dataset.rows(EXPRESSION)
    names = [column, column.replace("_id", "_integer_id")]
    for chunk in rows.chunks(RowRange(0, dataset.n_cells), names):
        found, positions = chunk.columns
        # A position that is not there was found, and named, by the digest of its block.
        within = pc.less(positions, pa.scalar(len(whole), positions.type))
        expected = whole.take(pc.if_else(within, positions, None))
        wrong = pc.fill_null(pc.not_equal(found, expected), fill_value=True)
        first = int(rows.offsets[chunk.cells.start])
        for at in np.flatnonzero(wrong.to_numpy(zero_copy_only=False)):
            where = f"{column} of row {first + at}"
            findings.note("names", where, expected[int(at)].as_py(), found[int(at)].as_py())


def check_tables(dataset: Dataset, findings: DifferenceLog) -> None:
    """Check files, row counts, ids, offsets, blocks and columns, without reading the values.

    Parameters
    ----------
    dataset
        Any published dataset.
    findings
        Takes what contradicts.
    """
    published = dataset.published
    for name, expected in ((CELLS, published.n_cells), (GENES, published.n_genes)):
        findings.compare("config", f"rows of {name}", expected, dataset.table(name).count_rows())
    value_type = dataset.expression.schema.field("value").type
    findings.compare(
        "config", "type of value", pa.from_numpy_dtype(np.dtype(published.value_type)), value_type
    )
    _check_dtype(dataset, findings)
    covered = sum(source.n_cells for source in published.sources)
    findings.compare("config", "cells of the sources", published.n_cells, covered)
    _check_columns(dataset, findings)
    for name in published.tables:
        _check_files(dataset, name, findings)
    with findings.reading(GENES):
        _check_integer_ids(dataset, GENES, findings)
    with findings.reading(CELLS):
        _check_integer_ids(dataset, CELLS, findings)


def check_readable(dataset: Dataset, findings: DifferenceLog) -> None:
    """Read every column of the tables that are written whole, and compare the digest of each.

    In datasets of before there were such digests only a source knows the values.
    """
    digests = dataset.published.proof.tables
    for name in dict.fromkeys((CELLS, GENES, *digests)):
        with findings.reading(name):
            rows = read_table(dataset.table(name))
            if name in digests:
                findings.compare("digest", name, digests[name], table_digest(rows))


def _check_files(dataset: Dataset, name: str, findings: DifferenceLog) -> None:
    directory = dataset.published.tables[name]
    for file, expected in data_files(dataset.table(name)):
        path = f"{directory}/{file}"
        found = dataset.location.size_of(path)
        if found is None:
            findings.note("unreadable", path, "a file", "nothing")
        elif expected is not None:
            findings.compare("unreadable", path, f"{expected} bytes", f"{found} bytes")


def _check_dtype(dataset: Dataset, findings: DifferenceLog) -> None:
    published = dataset.published
    value_type = published.value_type
    types = {read_dtype(one.dtype, value_type, dtype_overflowed=False) for one in published.sources}
    # Whose sums outgrew their type, and how great values are, nothing says any more.
    known = {
        common_type([*kept, *dtype_overflowed], value_type, greatest)
        for n in range(len(types) + 1)
        for kept in combinations(sorted(types), n)
        for dtype_overflowed in ([], [value_type])
        for greatest in (0.0, np.inf)
    }
    if published.dtype not in known:
        findings.note("config", "dtype", " or ".join(sorted(known)), published.dtype)


def _check_columns(dataset: Dataset, findings: DifferenceLog) -> None:
    for name, described in dataset.published.columns.items():
        there = set(dataset.table(name).schema.names)
        for column in described.columns:
            if column.name not in there:
                findings.note("config", f"columns of {name}", column.name, "no such column")


def _check_integer_ids(dataset: Dataset, name: str, findings: DifferenceLog) -> None:
    column = f"{name.removesuffix('s')}_integer_id"
    ids = read_table(dataset.table(name), [column]).column(0).to_numpy()
    expected = np.arange(len(ids))
    wrong = np.flatnonzero(ids != expected)
    for row in wrong[:SHOWN_OF_A_KIND]:
        findings.note(name, f"{column} of row {row}", expected[row], ids[row])
