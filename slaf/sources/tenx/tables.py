"""Tables of cells and genes of Matrix Market inputs: tsv, csv, with or without a header line."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from slaf.annotations.columns import arrow_table
from slaf.errors import DamagedInput, MissingMatrix
from slaf.sources.tenx.text import read_columns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["possible_rows", "read_barcodes", "read_features"]

# v2 has two columns, v3 a third; multiome adds the position on the genome.
_FEATURE_COLUMNS = ("gene_id", "gene_name", "feature_type")
_MULTIOME_COLUMNS = (*_FEATURE_COLUMNS, "chromosome", "start", "end")
_BED_COLUMNS = ("chromosome", "start", "end")

# The names of columns by which a first line is known as a header; and of these the ids, the most
# telling first.
_CELL_IDS = (
    "bc_wells",
    "barcode",
    "barcodes",
    "cell_barcode",
    "cell_id",
    "cellid",
    "cell",
    "cells",
)
_GENE_IDS = (
    "gene_id",
    "gene_ids",
    "ensembl_id",
    "feature_id",
    "geneid",
    "gene",
    "genes",
    "feature",
)
_OTHERS = (
    "",
    "x",
    "v1",
    "id",
    "ids",
    "index",
    "name",
    "names",
    "symbol",
    "gene_name",
    "gene_symbol",
)
_HEADER_WORDS = frozenset({*_CELL_IDS, *_GENE_IDS, *_OTHERS, "features", "sample"})


def possible_rows(path: Path) -> set[int]:
    """How many cells or genes a table may list: all lines, or those below a header."""
    table = _read(path, comment="#" if ".bed" in path.name else "")
    return {table.num_rows, table.num_rows - _is_header(table)}


def read_barcodes(path: Path, n_rows: int) -> pa.Table:
    """The cells: their ids, then the other columns.

    Raises
    ------
    DamagedInput
        If there are not so many.
    """
    titles, columns = _titled(path, n_rows, ("cell_id",))
    return _with_ids(titles, columns, _id_column(titles, columns, _CELL_IDS), "cell_id")


def read_features(path: Path, n_rows: int, id_column: str | None = None) -> pa.Table:
    """The genes: their ids, then the other columns.

    Parameters
    ----------
    path
        The table.
    n_rows
        How many genes there are.
    id_column
        The name or the number, from 1, of the column of ids.

    Raises
    ------
    DamagedInput
        If there are not so many.
    MissingMatrix
        If there is no such column; the error lists the columns.
    """
    if ".bed" in path.name:
        return _read_bed(path, n_rows)
    titles, columns = _titled(path, n_rows, _FEATURE_COLUMNS)
    at = _id_column(titles, columns, _GENE_IDS)
    if id_column is not None:
        at = _chosen_column(path, titles, id_column)
    return _with_ids(titles, columns, at, "gene_id")


def _read_bed(path: Path, n_rows: int) -> pa.Table:
    """Peaks, by the ids that Cell Ranger ATAC gives them in its HDF5 file."""
    table = _read(path, comment="#")
    _check_rows(path, table.num_rows, n_rows)
    if table.num_columns < len(_BED_COLUMNS):
        msg = f"{path}: it has {table.num_columns} columns, not chromosome, start and end"
        raise DamagedInput(msg)
    chromosome, start, end = table.columns[:3]
    ids = pc.binary_join_element_wise(pc.binary_join_element_wise(chromosome, start, ":"), end, "-")
    extra = [f"column_{number}" for number in range(4, table.num_columns + 1)]
    return arrow_table(
        "gene_id", ids, dict(zip((*_BED_COLUMNS, *extra), table.columns, strict=True))
    )


def _titled(
    path: Path, n_rows: int, names: Sequence[str]
) -> tuple[list[str], list[pa.ChunkedArray]]:
    """The columns of a table, and their names: those of its header, or these."""
    table = _read(path)
    width = table.num_columns
    if table.num_rows == n_rows + 1 and _is_header(table):
        titles = [str(column[0].as_py()).strip() for column in table.columns]
        titles = [title or f"column_{at}" for at, title in enumerate(titles, 1)]
        _check_titles(path, titles)
        return titles, table.slice(1).columns
    _check_rows(path, table.num_rows, n_rows)
    if tuple(names) == _FEATURE_COLUMNS and width == len(_MULTIOME_COLUMNS):
        names = _MULTIOME_COLUMNS
    extra = (f"column_{number}" for number in range(len(names) + 1, width + 1))
    return [*names, *extra][:width], table.columns


def _read(path: Path, comment: str = "") -> pa.Table:
    is_csv = ".csv" in path.name.lower()
    return read_columns(path, "," if is_csv else "\t", quoted=is_csv, comment=comment)


def _is_header(table: pa.Table) -> bool:
    """Whether the first line names columns: by the words that tools and people use for these."""
    return bool(table.num_rows) and any(
        str(column[0].as_py()).strip().lower() in _HEADER_WORDS for column in table.columns
    )


def _check_rows(path: Path, n_rows: int, needed: int) -> None:
    if n_rows == needed + 1:
        msg = (
            f"{path}: it has {n_rows:,} lines, but the matrix needs {needed:,}; if the first line "
            f"names its columns, write it anew with the lines that `zcat -f "
            f"{shlex.quote(str(path))} | tail -n +2` prints"
        )
        raise DamagedInput(msg, remedy="else it belongs to another matrix")
    if n_rows != needed:
        msg = f"{path}: it has {n_rows:,} lines, but the matrix needs {needed:,}"
        raise DamagedInput(msg)


def _check_titles(path: Path, titles: Sequence[str]) -> None:
    repeated = sorted({title for title in titles if titles.count(title) > 1})
    if repeated:
        msg = f"{path}: its header names several columns {', '.join(map(repr, repeated))}"
        raise DamagedInput(msg, remedy="give each column a name of its own")


def _id_column(
    titles: Sequence[str], columns: Sequence[pa.ChunkedArray], known: tuple[str, ...]
) -> int:
    """The column of ids: by its name, or else the first that does not only count rows."""
    lowered = [title.lower() for title in titles]
    for name in known:
        if name in lowered:
            return lowered.index(name)
    counts = titles[0] == "column_1" and columns[0].to_pylist() == [
        str(number) for number in range(1, len(columns[0]) + 1)
    ]
    return 1 if counts and len(titles) > 1 else 0


def _chosen_column(path: Path, titles: Sequence[str], chosen: str) -> int:
    if chosen in titles:
        return titles.index(chosen)
    if chosen.isdecimal() and 1 <= int(chosen) <= len(titles):
        return int(chosen) - 1
    names = ", ".join(f"{title} ({number})" for number, title in enumerate(titles, 1))
    msg = f"{path}: it has no column {chosen!r}; choose with --gene-id-column: {names}"
    raise MissingMatrix(msg)


def _with_ids(
    titles: Sequence[str], columns: Sequence[pa.ChunkedArray], at: int, id_name: str
) -> pa.Table:
    rest = {
        title: column
        for n, (title, column) in enumerate(zip(titles, columns, strict=True))
        if n != at
    }
    return arrow_table(id_name, columns[at], rest)
