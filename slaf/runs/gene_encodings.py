"""Choose the encoding of the gene ids of each table: the one that takes fewest bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from msgspec import structs

from slaf.errors import InputError
from slaf.format.schema import TABLES, gene_encodings
from slaf.runs.matrix_tables import source_matrices
from slaf.sparse.ranges import RowRange
from slaf.tables.write import encoded_size

if TYPE_CHECKING:
    from collections.abc import Container

    from numpy.typing import NDArray

    from slaf.runs.matrix_tables import MatrixTable
    from slaf.runs.output_run import OutputRun
    from slaf.runs.plan import Plan
    from slaf.sources.base import Source

__all__ = ["choose_gene_encodings"]

# The rows of a sample. Of a table with fewer than the least the encoding hardly matters.
_SAMPLE_ROWS = 2_000_000
_FEWEST_ROWS = 1 << 16

# The inputs that a sample is taken of: thousands of small ones are not opened again for it.
_MOST_INPUTS = 32


def choose_gene_encodings(run: OutputRun, source: Source, kept: Container[str] = ()) -> None:
    """Choose the encodings of the tables that a run makes, before its first part.

    Parameters
    ----------
    run
        The run. Once rows of it are on disk, its encodings stay.
    source
        The cells of the run.
    kept
        The tables whose encodings stay.
    """
    plan = run.plan
    if run.parts() or not plan.parts:
        return
    tables = tuple(
        table if table.table in kept else _encoded(table, plan, source)
        for table in plan.matrix_tables
    )
    if tables != plan.matrix_tables:
        run.begin(replace(plan, matrix_tables=tables))


def _encoded(table: MatrixTable, plan: Plan, source: Source) -> MatrixTable:
    """The table with the encoding that takes fewest bytes of its first rows."""
    encodings = gene_encodings(table.n_genes, plan.options)
    if len(encodings) > 1 and not TABLES[table.table].value_types[0]:
        genes = _first_genes(source, table.table, plan)
        if len(genes) >= _FEWEST_ROWS:
            candidates = [structs.replace(table, gene_encoding=each) for each in encodings]
            return min(candidates, key=lambda each: _bytes(each, plan, genes))
    return table


def _bytes(table: MatrixTable, plan: Plan, genes: NDArray[np.uint32]) -> int:
    """The bytes of gene ids in a table."""
    field = table.schema(plan.options).field(TABLES[table.table].ids[1])
    array = pa.array(genes.astype(field.type.to_pandas_dtype(), copy=False))
    return encoded_size(pa.record_batch([array], schema=pa.schema([field])))


def _first_genes(source: Source, table: str, plan: Plan) -> NDArray[np.uint32]:
    """The genes of the first rows; of several layers those of the first."""
    matrix = next(iter(source_matrices(source, table)[0].values()))
    if matrix.size.exact and matrix.size.entries < _FEWEST_ROWS:
        return np.empty(0, np.uint32)
    # A file of reads is read as a whole: the first is, and kept for the first part.
    stop = _sampled(plan, matrix.shape[0]) if source.coverage() is None else plan.parts[0].stop
    genes, n_rows = [np.empty(0, np.uint32)], 0
    batches = matrix.batches(RowRange(plan.parts[0].start, stop))
    try:
        for batch in batches:
            genes.append(batch.genes)
            n_rows += batch.nnz
            if n_rows >= _SAMPLE_ROWS:
                break
    except InputError:
        # The part that has these cells reports it, once the others are done.
        return genes[0]
    return np.concatenate(genes)[:_SAMPLE_ROWS]


def _sampled(plan: Plan, n_cells: int) -> int:
    """The cell before which a sample ends."""
    later = plan.sources[plan.source_index(plan.parts[0].start) + _MOST_INPUTS :]
    return later[0].offset if later else n_cells
