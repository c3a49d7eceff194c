"""Formats that are refused by name, with a remedy."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from slaf.errors import DamagedInput, UnknownFormat
from slaf.sources.hdf5.file import is_hdf5, recognise
from slaf.sources.hdf5.links import has_all
from slaf.sources.tenx.text import open_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet
    from pathlib import Path

__all__ = ["DERIVED", "FOREIGN", "UnsupportedInput"]

# https://www.gnu.org/software/tar/manual/html_node/Standard.html
_TAR_OFFSET, _TAR = 257, b"ustar"
_HEAD_BYTES = 512
_HDF5 = b"\x89HDF"
# Serialized objects of R, in ASCII and in binary, by saveRDS and by save.
_R = (b"X\n\x00\x00", b"A\n2\n", b"A\n3\n", b"RDX", b"RDA")
_TABLES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")


@dataclass(frozen=True, slots=True)
class UnsupportedInput:
    """A format that is not read.

    Attributes
    ----------
    name
        Its name for people.
    recognises
        Whether a path is of this format.
    remedy
        What to do instead; "{path}" stands for its path, "{stem}" for that without its suffix.
    is_plain
        True for one whose files may be notes next to an input.
    """

    name: str
    recognises: Callable[[Path], bool]
    remedy: str
    is_plain: bool = False

    def refusal(self, path: Path) -> UnknownFormat:
        """The error for a path of this format."""
        stem = re.sub(r"(\.tar)?(\.[A-Za-z0-9]+)$", "", str(path))
        # Not by str.format: a remedy may hold braces, and a path anything.
        remedy = self.remedy.replace("{path}", shlex.quote(str(path)))
        remedy = remedy.replace("{stem}", shlex.quote(stem))
        return UnknownFormat(f"{path}: this is {self.name}: {remedy}")


def _has_members(*layouts: AbstractSet[str]) -> Callable[[Path], bool]:
    """Recognise an HDF5 file by its members: all of one of the layouts."""
    return partial(recognise, matches=lambda file: any(has_all(file, layout) for layout in layouts))


def _head(path: Path) -> bytes:
    """The first bytes of a file, unpacked; none where they cannot be had."""
    if not path.is_file():
        return b""
    try:
        with open_text(path) as text:
            return text.read(_HEAD_BYTES)
    except DamagedInput:
        return b""


def _is_packed_hdf5(path: Path) -> bool:
    return not is_hdf5(path) and _head(path).startswith(_HDF5)


def _is_tar(path: Path) -> bool:
    if path.name.lower().endswith((".tar.bz2", ".tar.xz")):
        return _head(path).startswith((b"BZh", b"\xfd7zXZ"))
    return _head(path)[_TAR_OFFSET:].startswith(_TAR)


def _begins_with(*signatures: bytes, suffixes: tuple[str, ...] = ()) -> Callable[[Path], bool]:
    """Recognise a file by its content, or else by its name."""
    return lambda path: (
        path.is_file()
        and (path.name.lower().endswith(suffixes) or _head(path).startswith(signatures))
    )


def _is_packed(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _is_h5seurat(path: Path) -> bool:
    has_assays = _has_members({"assays", "meta.data"}, {"assays", "cell.names"})
    return path.name.lower().endswith(".h5seurat") or has_assays(path)


def _is_table(path: Path) -> bool:
    head = _head(path)
    return path.name.lower().endswith(_TABLES) and bool(head) and b"\0" not in head


def _is_bpcells(path: Path) -> bool:
    version = path / "version"
    return path.is_dir() and version.is_file() and b"-matrix-v" in version.read_bytes()[:100]


# Files that tools write with a matrix: left out of a folder, and refused alone.
DERIVED = (
    UnsupportedInput(
        "a molecule_info file of Cell Ranger",
        _has_members({"barcode_idx", "umi"}, {"barcode", "gene", "umi"}),
        "it holds molecules, not a matrix: convert the filtered_feature_bc_matrix.h5 of that run",
    ),
)

# What no format recognises, and what to do with it.
FOREIGN = (
    *DERIVED,
    UnsupportedInput(
        "an HDF5 file packed by gzip",
        _is_packed_hdf5,
        "unpack it with `gunzip -k {path}`, and convert {stem}",
    ),
    UnsupportedInput(
        "a tar archive",
        _is_tar,
        "unpack it with `mkdir -p {stem} && tar -xf {path} -C {stem}`, and convert that folder",
    ),
    UnsupportedInput(
        "a zip archive",
        _begins_with(b"PK\x03\x04"),
        "unpack it with `unzip {path} -d {stem}`, and convert that folder",
    ),
    UnsupportedInput(
        "a Seurat object on disk (h5Seurat)",
        _is_h5seurat,
        "write it as an h5ad in R (SeuratDisk::Convert(FILE, dest = 'h5ad')), and convert that",
    ),
    UnsupportedInput(
        "a file of R",
        _begins_with(*_R, suffixes=(".rds", ".rda", ".rdata")),
        "write its object as an h5ad in R (anndataR::write_h5ad(object, 'NAME.h5ad')), and convert "
        "that",
    ),
    UnsupportedInput(
        "a matrix of BPCells",
        _is_bpcells,
        "write it in R (BPCells::write_matrix_10x_hdf5 or write_matrix_anndata_hdf5), and convert "
        "that file",
    ),
    UnsupportedInput(
        "a table of Arrow or Parquet",
        _begins_with(b"PAR1", b"ARROW1", b"FEA1", suffixes=(".parquet", ".feather", ".arrow")),
        "make an AnnData of it (anndata.AnnData(pandas.read_parquet(FILE)) or read_feather, cells "
        "as rows), and give that to slaf.convert",
    ),
    UnsupportedInput(
        "a table of text",
        _is_table,
        "make an AnnData of it (anndata.io.read_csv or read_text, transposed with .T if its rows "
        "are genes), and give that to slaf.convert; of a matrix.mtx name the matrix itself, and "
        "this with --barcodes or --features",
        is_plain=True,
    ),
    UnsupportedInput(
        "a file packed by gzip",
        _is_packed,
        "unpack it with `gunzip -k {path}`, and convert {stem}",
        is_plain=True,
    ),
)
