"""`slaf query`: run SQL over the tables of a dataset."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from slaf.options import ConvertOptions
from slaf_cli import options
from slaf_cli.report import edge

if TYPE_CHECKING:
    import polars as pl

__all__ = ["query"]

_ROWS_AT_ONCE = 1 << 16


class ResultFormat(StrEnum):
    """Formats for the rows of a result."""

    TABLE = "table"
    CSV = "csv"
    TSV = "tsv"
    JSON = "json"
    NDJSON = "ndjson"
    PARQUET = "parquet"


@options.takes(ConvertOptions, "storage_options")
def query(
    dataset: options.Dataset,
    chosen: options.Chosen,
    sql: Annotated[
        str | None,
        typer.Argument(
            metavar="SQL",
            help="A SELECT over the tables cells (or obs), genes (or var) and expression; - reads "
            "it from stdin.",
            show_default=False,
        ),
    ] = None,
    *,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Read the SQL from this file instead.", show_default=False
        ),
    ] = None,
    format: Annotated[
        ResultFormat | None,
        typer.Option(
            metavar="table|csv|tsv|json|ndjson|parquet",
            help="Format of the rows; by default that of the suffix of --output, or a table.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write to this file, replacing it once the result is whole, instead of stdout.",
        ),
    ] = None,
    verbose: options.Verbose = False,
) -> None:
    """Print the result of SQL over a dataset.

    The result has to fit in memory.
    """
    format = format or _format_of(output)
    if format is ResultFormat.PARQUET and output is None and sys.stdout.isatty():
        msg = "parquet is not for a terminal; name a file with --output, or pipe it"
        raise typer.BadParameter(msg, param_hint="--format")
    with edge(quiet=False, verbose=verbose):
        import slaf

        text = _text_of(sql, file)
        chunks = _encoded(slaf.open(dataset, **chosen).sql(text), format)
        if output is None:
            _write(chunks, sys.stdout.buffer)
            return
        part = output.with_name(f".{output.name}.new")
        try:
            with part.open("wb") as new:
                _write(chunks, new)
            part.replace(output)
        finally:
            part.unlink(missing_ok=True)


def _text_of(sql: str | None, file: Path | None) -> str:
    if (sql is None) == (file is None):
        msg = "give the SQL, or a file of it with --file, or - to read it from stdin"
        raise typer.BadParameter(msg, param_hint="SQL")
    if file is not None:
        return file.read_text(encoding="utf-8")
    return sys.stdin.read() if sql == "-" else str(sql)


def _format_of(output: Path | None) -> ResultFormat:
    suffix = "" if output is None else output.suffix.lower().removeprefix(".")
    return ResultFormat(suffix) if suffix in list(ResultFormat) else ResultFormat.TABLE


def _write(chunks: Iterable[bytes], file: BinaryIO) -> None:
    file.writelines(chunks)
    file.flush()


def _encoded(result: pl.DataFrame, format: ResultFormat) -> Iterator[bytes]:
    """Encode rows; writing them is left to the caller, so that a closed pipe ends the command."""
    if format is ResultFormat.TABLE:
        yield f"{_table(result)}\n".encode()
    elif format is ResultFormat.JSON:
        yield f"{result.write_json()}\n".encode()
    elif format is ResultFormat.NDJSON:
        for rows in result.iter_slices(_ROWS_AT_ONCE):
            yield rows.write_ndjson().encode()
    elif format is ResultFormat.PARQUET:
        yield _parquet(result)
    else:
        yield from _csv(result, "\t" if format is ResultFormat.TSV else ",")


def _parquet(result: pl.DataFrame) -> bytes:
    import polars as pl

    # Few readers know integers of 128 bits.
    wide = pl.col(pl.Int128).cast(pl.Decimal(38, 0))
    buffer = BytesIO()
    result.with_columns(wide).write_parquet(buffer)
    return buffer.getvalue()


def _csv(result: pl.DataFrame, separator: str) -> Iterator[bytes]:
    from slaf.errors import QueryError

    nested = [name for name, dtype in result.schema.items() if dtype.is_nested()]
    if nested:
        names = ", ".join(nested)
        msg = f"CSV and TSV cannot hold the lists in {names}; use --format json or parquet"
        raise QueryError(msg)
    yield result.clear().write_csv(separator=separator).encode()
    for rows in result.iter_slices(_ROWS_AT_ONCE):
        yield rows.write_csv(include_header=False, separator=separator).encode()


def _table(result: pl.DataFrame) -> str:
    import polars as pl

    with pl.Config(
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_width_chars=-1,
        fmt_str_lengths=1 << 16,
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
        tbl_formatting="ASCII_MARKDOWN",
        float_precision=None,
    ):
        return str(result)
