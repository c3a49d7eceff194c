"""Rows of a result as text: all of it, or what fits the terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    import polars as pl

__all__ = ["print_frame", "table"]

# The width that a column keeps where the table is too wide, and what a row adds to its columns.
_LEAST_WIDTH = 12
_AROUND_COLUMN, _AROUND_ROW = 3, 1
_CUT = "…"


def print_frame(frame: pl.DataFrame, *, json: bool) -> None:
    """Print a result as a table, or as JSON."""
    if json:
        typer.echo(frame.write_json())
        return
    typer.echo(table(frame))


def table(frame: pl.DataFrame) -> str:
    """A table of text; on a terminal as wide as that, with a note on what is cut.

    Long texts are cut first, and then columns are left out from the right.
    """
    import polars as pl

    if not sys.stdout.isatty():
        return _text(frame)
    width = shutil.get_terminal_size().columns
    if _width(_text(frame)) <= width:
        return _text(frame)
    share = max((width - _AROUND_ROW) // max(frame.width, 1) - _AROUND_COLUMN, _LEAST_WIDTH)
    long = pl.col(pl.String).str.len_chars() > share
    cut = frame.with_columns(
        pl.when(long)
        .then(pl.col(pl.String).str.head(share - 1) + _CUT)
        .otherwise(pl.col(pl.String))
    )
    kept = cut.width
    while kept > 1 and _width(_text(cut[:, :kept])) > width:
        kept -= 1
    names = frame.columns[kept:]
    note = f"{kept} of {frame.width} columns; not shown: {', '.join(names)}" if names else ""
    return "\n".join([_text(cut[:, :kept]), *textwrap.wrap(note, width)])


def _width(text: str) -> int:
    return len(text.partition("\n")[0])


def _text(frame: pl.DataFrame) -> str:
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
        return str(frame)
