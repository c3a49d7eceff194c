"""10x MTX: a folder of a matrix, its barcodes and its genes or features, v2 and v3."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from slaf.annotations.columns import arrow_table
from slaf.errors import DamagedInput, InexactValue, MissingMatrix, UnknownFormat
from slaf.sources.base import MatrixSize, Slots, SourceFormat
from slaf.sources.identity import file_identity
from slaf.sources.tenx.matrix_market import entries, read_header
from slaf.sources.tenx.spatial import spatial_folder
from slaf.sources.tenx.text import open_text, read_text, read_tsv
from slaf.sources.unsorted import UnsortedMatrix

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.options import ReadOptions
    from slaf.sources.base import Matrix
    from slaf.sparse.batch import Batch
    from slaf.sparse.ranges import RowRange

__all__ = ["FORMAT", "TenxMtxSource"]


# What Cell Ranger calls them, with whatever a repository put before: GSM123_sample_matrix.mtx.gz
_MATRIX = re.compile(r"(?P<prefix>.*)matrix\.mtx(\.gz)?")
_BANNER = b"%%matrixmarket"
_GENES = ("features.tsv.gz", "features.tsv", "genes.tsv.gz", "genes.tsv")
_BARCODES = ("barcodes.tsv.gz", "barcodes.tsv")

# v2 has two columns, v3 a third.
_FEATURE_COLUMNS = ("gene_id", "gene_name", "feature_type")

# Multiome adds the place on the genome.
_MULTIOME_COLUMNS = (*_FEATURE_COLUMNS, "chromosome", "start", "end")


@dataclass(frozen=True, slots=True)
class _Folder:
    """The three files of a matrix."""

    matrix: Path
    genes: Path
    barcodes: Path


class TenxMtxSource:
    """A feature-barcode matrix in Matrix Market form; the order of its entries is not relied on.

    Parameters
    ----------
    path
        The folder; where it holds several matrices, one of these.
    options
        The budget for putting the entries in cell order.

    Raises
    ------
    DamagedInput
        If a file is missing or cut short, or the three contradict each other.
    MissingMatrix
        If another matrix than X is asked for.
    """

    format = "10x_mtx"
    matrix = "X"

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.uri = str(path)
        self._files = _files(path)
        if options.matrix != self.matrix:
            msg = f"{path}: a 10x folder has no matrix {options.matrix!r}, only X"
            raise MissingMatrix(msg)
        header = read_header(self._files.matrix)
        self.n_genes, self.n_cells = header.n_rows, header.n_columns
        self._cells = _table(self._files.barcodes, ("cell_id",), self.n_cells)
        self._genes = _table(self._files.genes, _FEATURE_COLUMNS, self.n_genes)
        self.dtype = header.dtype
        self._matrix = UnsortedMatrix(
            (self.n_cells, self.n_genes),
            self.dtype,
            MatrixSize("MTX", header.nnz),
            lambda size: entries(self._files.matrix, header, size),
            options,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Free the scratch; no file is kept open."""
        self._matrix.close()

    def identity(self) -> Mapping[str, Any]:
        """Size, time of change and a sampled digest of each of the three files."""
        return {
            "matrix": file_identity(self._files.matrix),
            "genes": file_identity(self._files.genes),
            "barcodes": file_identity(self._files.barcodes),
        }

    def matrices(self) -> tuple[str, ...]:
        """X only."""
        return (self.matrix,)

    def left_behind(self) -> tuple[str, ...]:
        """What Space Ranger puts beside the folder."""
        return spatial_folder(self._files.matrix.parent)

    def extent(self) -> MatrixSize:
        """What the file declares, and the scratch that sorting it takes."""
        return self._matrix.extent()

    def sample_values(self, matrix: str | None = None) -> NDArray[Any]:  # noqa: ARG002 - there is one
        """The first values of the file."""
        return self._matrix.sample_values()

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells: as if spread evenly."""
        return self._matrix.indptr_estimate(step)

    def cells(self) -> pa.Table:
        """The barcodes."""
        return self._cells

    def genes(self) -> pa.Table:
        """The features: id, name, type, and whatever else the file has."""
        return self._genes

    def layers(self) -> Mapping[str, Matrix]:
        """None."""
        return {}

    def raw(self) -> None:
        """None: what Cell Ranger calls raw is a matrix of more cells."""

    def slots(self) -> Slots:
        """None."""
        return Slots()

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        try:
            yield from self._matrix.batches(rows)
        except InexactValue as error:
            error.add_note(f"in {self.uri}")
            raise


def _files(path: Path) -> _Folder:
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
    return _Folder(
        matrix,
        _beside(folder, prefix, _GENES, "genes or features"),
        _beside(folder, prefix, _BARCODES, "barcodes"),
    )


def _only_matrix(folder: Path) -> tuple[Path, str]:
    found = _matrices(folder)
    if len(found) > 1:
        names = ", ".join(path.name for path, _ in found)
        msg = f"{folder}: it holds several matrices; name one of them as the input: {names}"
        raise UnknownFormat(msg)
    if not found:
        msg = f"{folder}: it holds no matrix.mtx or matrix.mtx.gz"
        raise DamagedInput(msg)
    return found[0]


def _matrices(folder: Path) -> list[tuple[Path, str]]:
    # Not the "._matrix.mtx.gz" that macOS leaves beside a file.
    shown = (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))
    matches = ((path, _MATRIX.fullmatch(path.name)) for path in shown)
    return [(path, matched["prefix"]) for path, matched in matches if matched]


def _beside(folder: Path, prefix: str, names: tuple[str, ...], what: str) -> Path:
    found = [path for path in (folder / f"{prefix}{name}" for name in names) if path.is_file()]
    if not found:
        wanted = " or ".join(f"{prefix}{name}" for name in names)
        msg = f"{folder}: the {what} of the matrix are missing: {wanted}"
        raise DamagedInput(msg)
    # A file is often left beside its packed copy; one that says something else is a riddle.
    if len({read_text(path) for path in found}) > 1:
        several = ", ".join(path.name for path in found)
        msg = f"{folder}: the {what} of the matrix may be any of {several}, which differ"
        raise DamagedInput(msg)
    return found[0]


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
    """The matrices of a folder of several samples, of which each has its own tables."""
    found = _matrices(path) if path.is_dir() else []
    names = set() if path.is_file() else {child.name for child in path.iterdir()}
    several = len(found) > 1 and all(
        any(f"{prefix}{name}" in names for name in tables)
        for _, prefix in found
        for tables in (_GENES, _BARCODES)
    )
    return [matrix for matrix, _ in found] if several else [path]


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
