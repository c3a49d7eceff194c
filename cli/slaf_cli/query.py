"""`slaf query`: run SQL over the tables of a dataset."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal, TypeAlias, get_args

import typer

from slaf.options import ConvertOptions
from slaf_cli import options
from slaf_cli.table import table

if TYPE_CHECKING:
    import polars as pl

__all__ = ["query"]

_ROWS_AT_ONCE = 1 << 16


ResultFormat: TypeAlias = Literal["table", "csv", "tsv", "json", "ndjson", "parquet"]


@options.command(
    ConvertOptions,
    "storage_options",
    prints_json=lambda arguments: _format_of(**arguments) == "json",
)
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
            metavar="FILE",
            help="Read the SQL from this file instead; - is stdin.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        ResultFormat | None,
        typer.Option(
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
    json: options.Json = False,
) -> None:
    """Print the result of SQL over a dataset.

    The result has to fit in memory.
    """
    if json and format not in {None, "json"}:
        msg = f"--json is --format json, and not {format}; give one of them"
        raise typer.BadParameter(msg, param_hint="--format")
    format = _format_of(json=json, format=format, output=output)
    if format == "parquet" and output is None and sys.stdout.isatty():
        msg = "parquet is not for a terminal; name a file with --output, or pipe it"
        raise typer.BadParameter(msg, param_hint="--format")
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
    if "-" in {sql, str(file)}:
        return sys.stdin.read()
    return str(sql) if file is None else file.read_text(encoding="utf-8")


def _format_of(
    *, json: bool, format: ResultFormat | None, output: Path | None, **_others: Any
) -> ResultFormat:
    if json:
        return "json"
    if format is not None:
        return format
    suffix = "" if output is None else output.suffix.lower().removeprefix(".")
    return next((known for known in get_args(ResultFormat) if known == suffix), "table")


def _write(chunks: Iterable[bytes], file: BinaryIO) -> None:
    """Write all chunks.

    A `BufferedWriter` misses, one time in four, a reader that leaves while it writes more than a
    pipe holds; the system always reports it.
    """
    file.flush()
    raw = getattr(file, "raw", file)
    for chunk in chunks:
        left = memoryview(chunk)
        while left:
            written = raw.write(left)
            if written is None:
                raise BlockingIOError(errno.EAGAIN, "the output takes no more now")
            left = left[written:]


def _encoded(result: pl.DataFrame, format: ResultFormat) -> Iterator[bytes]:
    """Encode rows; writing them is left to the caller, so that a closed pipe ends the command."""
    if format == "table":
        yield f"{table(result)}\n".encode()
    elif format == "json":
        yield f"{result.write_json()}\n".encode()
    elif format == "ndjson":
        for rows in result.iter_slices(_ROWS_AT_ONCE):
            yield rows.write_ndjson().encode()
    elif format == "parquet":
        yield _parquet(result)
    else:
        yield from _csv(result, "\t" if format == "tsv" else ",")


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
