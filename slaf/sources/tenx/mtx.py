"""10x MTX: a folder of a matrix, its barcodes and its genes or features, v2 and v3."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from slaf.annotations.columns import arrow_table
from slaf.errors import DamagedInput, InexactValue, UnknownFormat
from slaf.sources.base import (
    LabelledMatrix,
    MatrixSize,
    Source,
    SourceFormat,
    SourceInfo,
    add_note,
    check_only_x,
)
from slaf.sources.identity import file_identity
from slaf.sources.tenx.matrix_market import entries, read_header
from slaf.sources.tenx.spatial import spatial_folder
from slaf.sources.tenx.text import open_text, read_text, read_tsv
from slaf.sources.unsorted import UnsortedMatrix

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pyarrow as pa

    from slaf.options import ReadOptions
    from slaf.sources.base import Matrix

__all__ = ["FORMAT", "TenxMtxSource"]


# The names of Cell Ranger, behind any prefix: GSM123_sample_matrix.mtx.gz
_MATRIX = re.compile(r"(?P<prefix>.*)matrix\.mtx(\.gz)?")
_BANNER = b"%%matrixmarket"
_GENES = ("features.tsv.gz", "features.tsv", "genes.tsv.gz", "genes.tsv")
_BARCODES = ("barcodes.tsv.gz", "barcodes.tsv")

# v2 has two columns, v3 a third.
_FEATURE_COLUMNS = ("gene_id", "gene_name", "feature_type")

# Multiome adds the position on the genome.
_MULTIOME_COLUMNS = (*_FEATURE_COLUMNS, "chromosome", "start", "end")


@dataclass(frozen=True, slots=True)
class _Files:
    """The three files of a matrix."""

    matrix: Path
    genes: Path
    barcodes: Path


class TenxMtxSource(Source):
    """A feature-barcode matrix in Matrix Market form, with entries in any order.

    Parameters
    ----------
    path
        The folder; where it holds several matrices, one of these.
    options
        The memory for sorting the entries by cell.

    Raises
    ------
    DamagedInput
        If a file is missing or cut short, or the three contradict each other.
    MissingMatrix
        If another matrix than X is chosen.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        super().__init__()
        files = _files(path)
        check_only_x(options.matrix, f"{path}: a 10x folder")
        header = read_header(files.matrix)
        n_genes, n_cells = header.n_rows, header.n_columns
        self._cells = _table(files.barcodes, ("cell_id",), n_cells)
        self._genes = _table(files.genes, _FEATURE_COLUMNS, n_genes)
        self._unsorted = UnsortedMatrix(
            (n_cells, n_genes),
            header.dtype,
            MatrixSize("MTX", header.nnz),
            partial(entries, files.matrix, header),
            options,
        )
        self.info = SourceInfo.of(
            self._unsorted,
            uri=str(path),
            format="10x_mtx",
            identity={
                "matrix": file_identity(files.matrix),
                "genes": file_identity(files.genes),
                "barcodes": file_identity(files.barcodes),
            },
            not_converted=spatial_folder(files.matrix.parent),
        )

    def close(self) -> None:
        """Free the scratch; no file is open."""
        self._unsorted.close()

    def read_cells(self) -> pa.Table:
        """The barcodes."""
        return self._cells

    def read_genes(self) -> pa.Table:
        """The features: id, name, type, and the other columns of the file."""
        return self._genes

    def open_matrix(self, name: str) -> Matrix:
        """X, the only matrix."""
        check_only_x(name, f"{self.info.uri}: a 10x folder")
        errors = partial(add_note, f"in {self.info.uri}", InexactValue)
        return LabelledMatrix(self._unsorted, errors)


def _files(path: Path) -> _Files:
    if path.is_file():
        matched = _MATRIX.fullmatch(path.name)
        if matched is None:
            msg = (
                f"{path}: its name does not say which barcodes and genes are its own; call the "
                "three PREFIXmatrix.mtx, PREFIXbarcodes.tsv and PREFIXfeatures.tsv"
            )
            raise UnknownFormat(msg)
        matrix, prefix, folder = path, matched["prefix"], path.parent
    else:
        matrix, prefix = _only_matrix(path)
        folder = path
    return _Files(
        matrix,
        _table_file(folder, prefix, _GENES, "genes or features"),
        _table_file(folder, prefix, _BARCODES, "barcodes"),
    )


def _only_matrix(folder: Path) -> tuple[Path, str]:
    matrices = _matrices(folder)
    if len(matrices) > 1:
        names = ", ".join(path.name for path, _ in matrices)
        msg = f"{folder}: it holds several matrices; name one of them as the input: {names}"
        raise UnknownFormat(msg)
    if not matrices:
        msg = f"{folder}: it holds no matrix.mtx or matrix.mtx.gz"
        raise DamagedInput(msg)
    return matrices[0]


def _matrices(folder: Path) -> list[tuple[Path, str]]:
    # Without the "._matrix.mtx.gz" of macOS.
    visible = (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))
    matches = ((path, _MATRIX.fullmatch(path.name)) for path in visible)
    return [(path, matched["prefix"]) for path, matched in matches if matched]


def _table_file(folder: Path, prefix: str, names: tuple[str, ...], what: str) -> Path:
    files = [path for path in (folder / f"{prefix}{name}" for name in names) if path.is_file()]
    if not files:
        expected = " or ".join(f"{prefix}{name}" for name in names)
        msg = f"{folder}: the {what} of the matrix are missing: {expected}"
        raise DamagedInput(msg)
    # A folder may hold a file and its packed copy; they must not differ.
    if len({read_text(path) for path in files}) > 1:
        several = ", ".join(path.name for path in files)
        msg = f"{folder}: the {what} of the matrix may be any of {several}, which differ"
        raise DamagedInput(msg)
    return files[0]


def _table(path: Path, names: Sequence[str], n_rows: int) -> pa.Table:
    columns = read_tsv(path)
    width = columns.num_columns
    if columns.num_rows != n_rows:
        msg = f"{path}: it has {columns.num_rows:,} lines, but the matrix needs {n_rows:,}"
        raise DamagedInput(msg)
    if names is _FEATURE_COLUMNS and width == len(_MULTIOME_COLUMNS):
        names = _MULTIOME_COLUMNS
    titles = [*names, *(f"column_{number}" for number in range(len(names) + 1, width + 1))][:width]
    rest = dict(zip(titles[1:], columns.columns[1:], strict=True))
    return arrow_table(titles[0], columns.column(0), rest)


def _recognises(path: Path) -> bool:
    if path.is_dir():
        return bool(_matrices(path))
    if not path.is_file():
        return False
    with open_text(path) as text:
        return text.read(len(_BANNER)).lower() == _BANNER


def _members(path: Path) -> list[Path]:
    """The matrices of a folder of several samples, each with its own tables."""
    matrices = _matrices(path) if path.is_dir() else []
    names = set() if path.is_file() else {child.name for child in path.iterdir()}
    several = len(matrices) > 1 and all(
        any(f"{prefix}{name}" in names for name in tables)
        for _, prefix in matrices
        for tables in (_GENES, _BARCODES)
    )
    return [matrix for matrix, _ in matrices] if several else [path]


FORMAT = SourceFormat(
    name="10x_mtx",
    description="10x MTX folder of Cell Ranger (v2 and v3)",
    recognises=_recognises,
    open=TenxMtxSource,
    looks_for="a folder with matrix.mtx(.gz), barcodes.tsv(.gz) and features.tsv(.gz) or genes.tsv",
    choices=frozenset({"feature_type"}),
    members=_members,
    suffixes=(".mtx", ".mtx.gz"),
)
