"""slaf.head and slaf.schema: the first rows, and the columns, of the tables that SQL reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from slaf.dataset.scan import open_or_scan
from slaf.options import one_of

if TYPE_CHECKING:
    import os

    import anndata
    import polars as pl

    from slaf.dataset.dataset import View

__all__ = ["HeadTable", "head", "schema"]

HeadTable: TypeAlias = Literal["obs", "var", "expression"]

_Target: TypeAlias = "str | os.PathLike[str] | View | anndata.AnnData"


def head(
    dataset_or_input: _Target,
    n: int = 5,
    *,
    table: HeadTable = "obs",
    **options: Any,
) -> pl.DataFrame:
    """The first rows of a table of a dataset, or of an input as a conversion would make it.

    Parameters
    ----------
    dataset_or_input
        A dataset, a view, or what could be converted.
    n
        How many rows.
    table
        The cells ("obs"), the genes ("var"), or the nonzeros ("expression"), in their order.
    options
        By keyword, each field of `slaf.options.ScanOptions`: how an input is read.

    Raises
    ------
    DatasetError
        If there is a dataset that cannot be opened.
    InputError
        If it is an input that cannot be read.
    ValueError
        If there is no such table, or `n` is negative.

    Examples
    --------
    >>> import anndata, numpy, pandas
    >>> obs = pandas.DataFrame({"donor": ["D1", "D2"]}, index=["a", "b"])
    >>> head(anndata.AnnData(numpy.eye(2), obs=obs), 1)["donor"].to_list()
    ['D1']
    """
    name = one_of(HeadTable, "table", table)
    if n < 0:
        msg = f"n is {n}, but it is 0 or more"
        raise ValueError(msg)
    with open_or_scan(dataset_or_input, **options) as view:
        return view.sql(f"SELECT * FROM {name} LIMIT {n:d}")  # noqa: S608 - one of three names


def schema(dataset_or_input: _Target, **options: Any) -> pl.DataFrame:
    """The columns of the tables that SQL reads, with the types that SQL has for them.

    Parameters
    ----------
    dataset_or_input, options
        As for `slaf.head`.

    Returns
    -------
    polars.DataFrame
        Columns `table`, `column` and `type`; a row for each column of each table.

    Raises
    ------
    DatasetError
        If there is a dataset that cannot be opened.
    InputError
        If it is an input that cannot be read.

    Examples
    --------
    >>> import anndata, numpy
    >>> table = schema(anndata.AnnData(numpy.eye(2)))
    >>> table.filter(table["table"] == "expression")["column"].to_list()
    ['cell_integer_id', 'gene_integer_id', 'value']
    """
    import polars as pl

    with open_or_scan(dataset_or_input, **options) as view:
        described = {name: view.sql(f'DESCRIBE "{name}"') for name in view.query_tables()}
    return pl.concat(
        found.select(
            pl.lit(name).alias("table"),
            pl.col("column_name").alias("column"),
            pl.col("column_type").alias("type"),
        )
        for name, found in described.items()
    )
