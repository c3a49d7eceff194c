"""Matrix Market: matrices, their cells and their genes, as Cell Ranger and others write them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from slaf.annotations.columns import arrow_table
from slaf.errors import DamagedInput, InexactValue, MissingMatrix, UnknownFormat
from slaf.sources.base import Source, SourceFormat, SourceInfo, add_note
from slaf.sources.identity import file_identity
from slaf.sources.matrix import LabelledMatrix, MatrixSize
from slaf.sources.tenx.matrix_market import entries, read_header
from slaf.sources.tenx.mtx_files import files_of, is_matrix_name, members
from slaf.sources.tenx.spatial import spatial_folder
from slaf.sources.tenx.tables import possible_rows, read_barcodes, read_features
from slaf.sources.tenx.text import open_text, read_text
from slaf.sources.unsorted import UnsortedMatrix
from slaf.sparse.buckets import Coo
from slaf.storage.paths import input_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from slaf.options import ReadOptions
    from slaf.sources.matrix import Matrix
    from slaf.sources.tenx.matrix_market import MtxHeader
    from slaf.sources.tenx.mtx_files import MtxFiles

__all__ = ["FORMAT", "TenxMtxSource"]


_BANNER = b"%%matrixmarket"
_LAYER = "layer:"
_TENX_NAME = re.compile(r"(?P<prefix>.*)matrix\.mtx(\.gz)?")
_GENES = ("features.tsv.gz", "features.tsv", "genes.tsv.gz", "genes.tsv")
_BARCODES = ("barcodes.tsv.gz", "barcodes.tsv")

# Of alevin-fry with unspliced and ambiguous counts, the suffixes of each third of the genes.
# https://alevin-fry.readthedocs.io/en/latest/quant.html
_USA = {"spliced": "", "unspliced": "-U", "ambiguous": "-A"}
_USA_X = ("spliced", "ambiguous")


@dataclass(frozen=True, slots=True)
class _Part:
    """A matrix, or some thirds of its genes added up.

    Attributes
    ----------
    path, header
        The file.
    is_transposed
        Whether it is cells × genes.
    thirds
        The thirds of its genes to take; all genes if empty.
    """

    path: Path
    header: MtxHeader
    is_transposed: bool
    thirds: tuple[int, ...] = ()

    def shape(self) -> tuple[int, int]:
        """Cells and genes."""
        sizes = self.header.n_columns, self.header.n_rows
        n_cells, n_genes = sizes[::-1] if self.is_transposed else sizes
        return n_cells, n_genes // len(_USA) if self.thirds else n_genes

    def entries(self, size: int) -> Iterator[Coo]:
        """All entries, in pieces of at most so many."""
        n_genes = self.shape()[1]
        for piece in entries(self.path, self.header, size):
            cells, genes = piece.cells, piece.genes
            if self.is_transposed:
                cells, genes = genes, cells
            if not self.thirds:
                yield Coo(cells, genes, piece.values)
                continue
            kept = np.isin(genes // n_genes, self.thirds)
            yield Coo(cells[kept], genes[kept] % n_genes, piece.values[kept])


class TenxMtxSource(Source):
    """Matrices in Matrix Market form, with entries in any order, and tables of cells and genes.

    Parameters
    ----------
    path
        The folder; where it holds several matrices, one of these.
    options
        `barcodes` and `features` name the tables, `gene_id_column` a column, `transpose` the axis
        of cells; the memory for sorting the entries by cell.

    Raises
    ------
    DamagedInput
        If a file is missing or cut short, or they contradict each other.
    MissingMatrix
        If there is no such matrix or column.
    UnknownFormat
        If nothing says which files belong together, or which axis is that of cells.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        super().__init__()
        self._uri, self._options = str(path), options
        files = _with_named_tables(files_of(path), options)
        barcodes, features = _check_tables(path, files)
        header = read_header(files.matrix)
        is_transposed = _is_transposed(header, files, barcodes, features, options)
        sizes = header.n_columns, header.n_rows
        n_cells, n_genes = sizes[::-1] if is_transposed else sizes
        self._cells = read_barcodes(barcodes, n_cells)
        self._genes = _with_names(
            read_features(features, n_genes, options.gene_id_column), files.gene_names
        )
        self._parts = _parts(files, header, is_transposed=is_transposed)
        if files.rows_are_cells and (third := _third_of_usa(self._genes)):
            self._genes = self._genes.slice(0, third)
            self._parts = _usa_parts(self._parts["X"])
        self._sorted: list[UnsortedMatrix] = []
        self.info = SourceInfo.of(
            self.matrix(options.matrix),
            options.matrix,
            uri=self._uri,
            format="10x_mtx",
            identity=_identity(files, barcodes, features),
            matrices=tuple(self._parts),
            layers={
                name.removeprefix(_LAYER): name for name in self._parts if name != options.matrix
            },
            not_converted=(*files.not_converted, *spatial_folder(files.matrix.parent)),
        )

    def close(self) -> None:
        """Free the scratch; no file is open."""
        for matrix in self._sorted:
            matrix.close()

    def read_cells(self) -> pa.Table:
        """The barcodes."""
        return self._cells

    def read_genes(self) -> pa.Table:
        """The features: id, name, type, and the other columns of the file."""
        return self._genes

    def open_matrix(self, name: str) -> Matrix:
        """X or a layer."""
        part = self._part(name)
        size = MatrixSize("MTX", part.header.nnz, exact=not part.thirds)
        matrix = UnsortedMatrix(part.shape(), part.header.dtype, size, part.entries, self._options)
        self._sorted.append(matrix)
        return LabelledMatrix(matrix, partial(add_note, f"in {self._uri}", InexactValue))

    def _part(self, name: str) -> _Part:
        if name in self._parts:
            return self._parts[name]
        names = f"but {', '.join(self._parts)}" if len(self._parts) > 1 else "only X"
        msg = f"{self._uri}: a 10x folder has no matrix {name!r}, {names}"
        raise MissingMatrix(msg)


def _with_named_tables(files: MtxFiles, options: ReadOptions) -> MtxFiles:
    """The files with the tables that the options name."""
    barcodes, features = options.barcodes, options.features
    if barcodes is not None:
        files = replace(files, barcodes=input_path(barcodes, options.storage_options))
    if features is not None:
        files = replace(files, features=input_path(features, options.storage_options))
    if barcodes is None and features is None:
        return files
    return replace(files, rows_are_cells=None, gene_names=None)


def _check_tables(path: Path, files: MtxFiles) -> tuple[Path, Path]:
    """The tables of a matrix, which both must be there."""
    if files.barcodes is not None and files.features is not None:
        return files.barcodes, files.features
    matched = _TENX_NAME.fullmatch(files.matrix.name)
    missing, names = ("barcodes", _BARCODES) if files.features else ("genes or features", _GENES)
    option = "--barcodes" if files.features else "--features"
    if matched is None:
        msg = (
            f"{files.matrix}: its name does not say which barcodes and genes are its own; name "
            "them with --barcodes FILE and --features FILE"
        )
        raise UnknownFormat(msg)
    expected = " or ".join(f"{matched['prefix']}{name}" for name in names)
    folder = path if path.is_dir() else path.parent
    msg = f"{folder}: the {missing} of the matrix are missing: {expected}"
    raise DamagedInput(msg, remedy=f"bring the file, or name another with {option}")


def _is_transposed(
    header: MtxHeader, files: MtxFiles, barcodes: Path, features: Path, options: ReadOptions
) -> bool:
    """Whether the rows of a matrix are cells."""
    if options.transpose is not None:
        return options.transpose
    n_cells, n_genes = possible_rows(barcodes), possible_rows(features)
    fits = header.n_rows in n_genes and header.n_columns in n_cells
    fits_transposed = header.n_rows in n_cells and header.n_columns in n_genes
    if fits != fits_transposed:
        return fits_transposed
    if files.rows_are_cells is None and fits:
        msg = (
            f"{files.matrix}: nothing says whether its {header.n_rows:,} rows are cells or genes, "
            "for there are as many of both; say --transpose (rows are cells) or --no-transpose "
            "(rows are genes)"
        )
        raise UnknownFormat(msg)
    # If neither fits, the tables are refused with the sizes.
    return bool(files.rows_are_cells)


def _parts(files: MtxFiles, header: MtxHeader, *, is_transposed: bool) -> dict[str, _Part]:
    """X and the layers, by the names of matrices."""
    first = _Part(files.matrix, header, is_transposed)
    parts = {"X": first}
    for name, path in files.layers.items():
        part = _Part(path, read_header(path), is_transposed)
        if part.shape() != first.shape():
            msg = (
                f"{path.parent}: {files.matrix.name} is of {header.n_rows} × {header.n_columns}, "
                f"but {path.name} of {part.header.n_rows} × {part.header.n_columns}, with the same "
                "barcodes and features"
            )
            raise DamagedInput(msg, remedy="name the one that is meant as the input")
        parts[f"{_LAYER}{name}"] = part
    return parts


def _usa_parts(whole: _Part) -> dict[str, _Part]:
    """The counts of alevin-fry: X are the spliced and the ambiguous, as its readers have it."""
    names = list(_USA)
    parts = {"X": replace(whole, thirds=tuple(map(names.index, _USA_X)))}
    return parts | {
        f"{_LAYER}{name}": replace(whole, thirds=(at,)) for at, name in enumerate(names)
    }


def _third_of_usa(genes: pa.Table) -> int:
    """The number of genes, if each is listed three times; else 0."""
    ids = genes.column(0).to_pylist()
    n, rest = divmod(len(ids), len(_USA))
    expected = [f"{gene}{suffix}" for suffix in _USA.values() for gene in ids[:n]]
    return n if not rest and ids == expected else 0


def _with_names(genes: pa.Table, names: Path | None) -> pa.Table:
    """The genes with the list of their names, where that is a file of its own."""
    if names is None or "gene_name" in genes.column_names:
        return genes
    listed = read_text(names).decode().splitlines()
    if len(listed) != genes.num_rows:
        msg = f"{names}: it has {len(listed):,} lines, but there are {genes.num_rows:,} genes"
        raise DamagedInput(msg)
    return arrow_table("gene_id", genes.column(0), {"gene_name": pa.array(listed, pa.string())})


def _identity(files: MtxFiles, barcodes: Path, features: Path) -> Mapping[str, Any]:
    layers = {
        f"layer {name}": file_identity(path)
        for name, path in files.layers.items()
        if path != files.matrix
    }
    return {
        "matrix": file_identity(files.matrix),
        "genes": file_identity(features),
        "barcodes": file_identity(barcodes),
        **layers,
    }


def _recognises(path: Path) -> bool:
    if path.is_dir():
        return any(
            is_matrix_name(child) and not child.name.startswith(".") for child in path.iterdir()
        )
    if not path.is_file():
        return False
    with open_text(path) as text:
        return text.read(len(_BANNER)).lower() == _BANNER


FORMAT = SourceFormat(
    name="10x_mtx",
    description="Matrix Market (.mtx) of Cell Ranger, STARsolo, kb, alevin-fry or Parse",
    recognises=_recognises,
    open=TenxMtxSource,
    looks_for="a folder with matrix.mtx(.gz), barcodes.tsv(.gz) and features.tsv(.gz) or genes.tsv",
    choices=frozenset({"feature_type", "barcodes", "features", "gene_id_column", "transpose"}),
    suffixes=(".mtx", ".mtx.gz"),
    members=members,
)
