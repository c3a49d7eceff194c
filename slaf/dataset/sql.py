"""Sql: the methods of a view that read it as the tables of a query."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from slaf.dataset.base import BaseView, V
from slaf.dataset.query import QueryTable, run_query
from slaf.format.schema import CELLS, EXPRESSION, GENES, VALUE
from slaf.runtime.forks import check_not_forked

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from slaf.dataset.lazy_matrix import LazyMatrix

__all__ = ["Sql"]


class Sql(BaseView[V]):
    """Queries of a view; a base class of views."""

    def sql(self, query: str) -> pl.DataFrame:
        """The result of a query over the tables `cells`, `genes` and `expression`.

        `obs` and `var` are other names of `cells` and `genes`. Positions of cells and genes are
        those of the view. Numbers do not wrap: whole numbers have 64 bits or more, and a result
        that is too large is an error. NaN in obs and var is null; in `expression` it is a value.

        Parameters
        ----------
        query
            SQL in the dialect of DuckDB.

        Raises
        ------
        QueryError
            If it is not SQL, names an unknown table or column, or would change a table.
        """
        check_not_forked()
        return run_query(self.query_tables(), query)

    def query_tables(self) -> dict[str, QueryTable]:
        """The tables that `sql` reads, by name."""
        ids = [("cell_integer_id", pa.int64()), ("gene_integer_id", pa.int64())]
        matrix = self.X
        value = pa.from_numpy_dtype(matrix.dtype)
        schema = pa.schema([*ids, (VALUE, value)])
        return {
            EXPRESSION: QueryTable(
                schema, partial(_read_entries, matrix, schema), nan_is_missing=False
            ),
            CELLS: self.query_table(CELLS),
            GENES: self.query_table(GENES),
        }


def _read_entries(
    matrix: LazyMatrix, schema: pa.Schema, columns: list[str]
) -> pa.RecordBatchReader:
    """The nonzeros as rows of `expression`."""
    selected = pa.schema([schema.field(name) for name in columns])

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in matrix.batches():
            arrays = {"gene_integer_id": batch.genes, VALUE: batch.values}
            if "cell_integer_id" in columns:
                arrays["cell_integer_id"] = batch.cells()
            rows = [pa.array(arrays[field.name]).cast(field.type) for field in selected]
            yield pa.RecordBatch.from_arrays(rows, schema=selected)

    return pa.RecordBatchReader.from_batches(selected, batches())
