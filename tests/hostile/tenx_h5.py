"""10x H5 files from strangers."""

from __future__ import annotations

import zlib
from functools import partial
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from slaf.testing.strategies import Stored
from tests.formats.builders import write_v2, write_v3
from tests.hostile.case import Case, converted, either, refused
from tests.hostile.edits import (
    chunk,
    cut,
    edited,
    entry,
    flipped,
    huge_chunk,
    link,
    packed_zeros,
    replaced,
    without,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.hostile.edits import Edit, Write

__all__ = ["CASES", "PACKED", "STORED", "V2", "V3"]

STORED = Stored(
    (5, 4),
    np.array([0, 0, 2, 3, 3, 4]),
    np.array([1, 3, 0, 0, 2, 3]),
    np.array([1, 2, 3, 4, 5, 6], np.int32),
)
BILLION = 10**9


def _write(folder: Path, **filters: Any) -> Path:
    return write_v3(folder / "in.h5", STORED, **filters)


def _write_v2(folder: Path, **filters: Any) -> Path:
    return write_v2(folder / "in.h5", STORED, **filters)


V3: Write = _write
V2: Write = _write_v2
PACKED: Write = partial(_write, compression="gzip", chunks=(3,))


def _v3(*edits: Edit) -> Write:
    return edited(V3, *edits)


def _v2(*edits: Edit) -> Write:
    return edited(V2, *edits)


def _matrix(name: str, values: Any) -> Write:
    return _v3(replaced(f"matrix/{name}", values))


def _claimed(n_cells: int) -> Edit:
    """So many barcodes, none of which was written."""

    def edit(file: h5py.File) -> None:
        group = file["matrix"]
        for name in ("barcodes", "indptr", "data", "indices"):
            del group[name]
        group.create_dataset("barcodes", (n_cells,), "S18", chunks=(1 << 16,))
        group.create_dataset("indptr", (n_cells + 1,), "i8", chunks=(1 << 16,))
        group.create_dataset("data", (0,), "i4")
        group.create_dataset("indices", (0,), "i8")
        replaced("matrix/shape", np.array([4, n_cells]))(file)

    return edit


def _aliased(file: h5py.File) -> None:
    """Everything is the same array."""
    for name in ("data", "indices"):
        del file["matrix"][name]
        file["matrix"][name] = file["matrix/indptr"]


BARCODES = np.array([b"a", b"b", b"c", b"d", b"e"])

CASES: dict[str, Case] = {
    "more cells than barcodes": refused(_matrix("shape", [4, 6]), "offsets"),
    "fewer genes than features": refused(_matrix("shape", [3, 5]), "features/id has 4 entries"),
    "a shape of three": refused(_matrix("shape", [4, 5, 1]), "has the shape"),
    "a shape of one": refused(_matrix("shape", 4), "has the shape"),
    "a shape of fractions": refused(_matrix("shape", [4.5, 5.5]), "shape"),
    "a shape of nothing": refused(_matrix("shape", [np.nan, np.nan]), "shape"),
    "a shape of text": refused(_matrix("shape", np.array([b"4", b"5"])), "shape"),
    "a negative shape": refused(_matrix("shape", [-4, -5]), "shape"),
    "a shape beyond 63 bits": refused(
        _matrix("shape", np.array([4, 2**64 - 1], np.uint64)), "offsets"
    ),
    "a shape that is a group": refused(
        _v3(without("matrix/shape"), lambda file: file.create_group("matrix/shape")), "group"
    ),
    "offsets that decrease": refused(_matrix("indptr", [0, 3, 2, 3, 5, 6]), "from 3 to 2"),
    "offsets past the end": refused(_matrix("indptr", [0, 2, 9, 9, 9, 6]), "from 2 to 9"),
    "negative offsets": refused(_matrix("indptr", [0, -2, 2, 3, 5, 6]), "from 0 to -2"),
    "offsets that are no numbers": refused(
        _matrix("indptr", [0, np.nan, 2, 3, 5, 6]), "not a whole number: nan"
    ),
    "offsets that wrap": refused(
        _matrix("indptr", np.array([0, 2**63 + 2, 2, 3, 5, 6], np.uint64)), "whole number"
    ),
    "offsets in two dimensions": refused(_matrix("indptr", np.zeros((6, 1), int)), "indptr"),
    "one offset": refused(_matrix("indptr", [0]), "offsets"),
    "no offsets": refused(_matrix("indptr", np.array([], int)), "offsets"),
    "a gene that is not there": refused(_v3(entry("matrix/indices", 2, 4)), "gene 4"),
    "a negative gene": refused(_v3(entry("matrix/indices", 5, -1)), "gene -1"),
    "genes that are fractions": refused(_matrix("indices", np.zeros(6)), "positions are of type"),
    "fewer genes than values": refused(_matrix("indices", [1, 3, 0]), "3 indices but 6 values"),
    "values of text": refused(_matrix("data", np.array([b"1"] * 6)), "type"),
    "values of complex numbers": refused(_matrix("data", np.ones(6, complex)), "complex"),
    "values that are references": refused(
        _v3(
            lambda file: replaced(
                "matrix/data", np.array([file["matrix"].ref] * 6, h5py.ref_dtype)
            )(file)
        ),
        "type object",
    ),
    "values of no space": refused(_matrix("data", h5py.Empty("i4")), "matrix"),
    "one array for everything": refused(_v3(_aliased), "matrix"),
    "too few barcodes": refused(_matrix("barcodes", BARCODES[:4]), "barcodes has 4 entries"),
    "barcodes in two dimensions": refused(
        _matrix("barcodes", np.full((5, 1), b"a")), "barcodes has 5 × 1 entries"
    ),
    "barcodes that are numbers": refused(_matrix("barcodes", np.arange(5)), "barcodes|text"),
    "barcodes that are no text": refused(
        _matrix("barcodes", np.array([b"\xff", *BARCODES[1:]])), "barcodes is not text in UTF-8"
    ),
    "barcodes without a space": refused(_matrix("barcodes", h5py.Empty("S1")), "barcodes"),
    "barcodes of one name": converted(_matrix("barcodes", np.array([b"a"] * 5)), STORED),
    "barcodes without a name": converted(_matrix("barcodes", np.array([b""] * 5, "S1")), STORED),
    "a barcode of a megabyte": converted(
        _matrix("barcodes", np.array([b"x" * (1 << 20), *BARCODES[1:]])), STORED
    ),
    "no ids of features": converted(_v3(without("matrix/features/id")), STORED),
    "no names of features": refused(_v3(without("matrix/features/name")), "name is missing"),
    "no features": refused(_v3(without("matrix/features")), "features"),
    "features that are a list": refused(_matrix("features", np.arange(4)), "features"),
    "features that are no text": refused(
        _matrix("features/name", np.array([b"\xe9", b"b", b"c", b"d"])), "name is not text"
    ),
    "fewer names than ids": refused(_matrix("features/name", np.array([b"a", b"b", b"c"])), "name"),
    "features beside of complex numbers": refused(
        _v3(lambda file: file["matrix/features"].create_dataset("odd", data=np.ones(4, complex))),
        "odd",
    ),
    "features beside of lists": refused(
        _v3(
            lambda file: file["matrix/features"].create_dataset(
                "odd", (4,), h5py.vlen_dtype(np.int32)
            )
        ),
        "odd",
    ),
    "features beside of two dimensions": converted(
        _v3(lambda file: file["matrix/features"].create_dataset("odd", data=np.ones((4, 2)))),
        STORED,
    ),
    "a name of a feature that is no text": either(
        _v3(lambda file: file["matrix/features"].create_dataset(b"\xff", data=np.arange(4)))
    ),
    "a genome whose name is no text": either(_v2(lambda file: file.move("hg19", b"\xff"))),
    "a link to another file": refused(
        _v3(link("matrix/data", h5py.ExternalLink("/etc/passwd", "/"))), "another file"
    ),
    "features in another file": refused(
        _v3(link("matrix/features", h5py.ExternalLink("/etc/passwd", "/"))), "another file"
    ),
    "barcodes in another file": refused(
        _v3(link("matrix/barcodes", h5py.ExternalLink("/etc/passwd", "/"))), "another file"
    ),
    "the matrix in another file": refused(
        _v3(link("matrix", h5py.ExternalLink("/etc/passwd", "/"))), "no known format"
    ),
    "barcodes that are the bytes of a file": refused(
        _v3(
            without("matrix/barcodes"),
            lambda file: file["matrix"].create_dataset(
                "barcodes", (5,), "S10", external=[("/etc/passwd", 0, 50)]
            ),
        ),
        "other files",
    ),
    "links in a circle": refused(
        _v3(
            link("matrix/data", h5py.SoftLink("/matrix/other")),
            link("matrix/other", h5py.SoftLink("/matrix/data")),
        ),
        "circle",
    ),
    "features that hold the file": either(
        _v3(lambda file: link("matrix/features/up", file["/"])(file))
    ),
    "a billion cells that nobody wrote": refused(_v3(_claimed(BILLION)), "claims"),
    "2^40 cells that nobody wrote": refused(_v3(_claimed(2**40)), "claims"),
    "a billion values in one chunk": refused(
        _v3(
            huge_chunk("matrix/data", BILLION, "i4", BILLION),
            huge_chunk("matrix/indices", BILLION, "i4", BILLION),
            replaced("matrix/indptr", np.array([0, *[BILLION] * 5])),
        ),
        "claims",
    ),
    "barcodes of a hundred megabytes": refused(
        _v3(huge_chunk("matrix/barcodes", 5, f"S{100 << 20}", 1)), "claims"
    ),
    "a feature that is a hundred megabytes": refused(
        _v3(
            without("matrix/features/genome"),
            lambda file: file.create_dataset("matrix/features/genome", (4,), "S1"),
            huge_chunk("matrix/features/genome", 4, f"S{100 << 20}", 1),
        ),
        "claims",
    ),
    "a chunk that unpacks past its size": refused(
        _v3(chunk("matrix/data", zlib.compress(bytes(13)))), "does not inflate to 12 bytes"
    ),
    "a chunk that unpacks short of its size": refused(
        _v3(chunk("matrix/data", zlib.compress(bytes(11)))), "does not inflate to 12 bytes"
    ),
    "a chunk that unpacks to a gigabyte": refused(
        _v3(chunk("matrix/indices", packed_zeros(1 << 30))), "larger than it can be"
    ),
    "a chunk that says it is not packed": refused(
        _v3(chunk("matrix/data", b"short", mask=1)), "holds 5 bytes where 12"
    ),
    "a chunk that is not packed and says so": converted(
        _v3(chunk("matrix/data", np.array([1, 2, 3], "<i4").tobytes(), mask=1)), STORED
    ),
    "barcodes in a chunk short of its size": refused(
        _v3(chunk("matrix/barcodes", zlib.compress(b"short"))), "does not inflate to 18 bytes"
    ),
    "barcodes in a chunk that is not packed": refused(
        _v3(chunk("matrix/barcodes", b"short", mask=1)), "holds 5 bytes where 18"
    ),
    "the genes of version 2 are too few": refused(
        _v2(replaced("hg19/genes", np.array([b"a"]))), "genes has 1 entries"
    ),
    "no names of genes": refused(_v2(without("hg19/gene_names")), "gene_names is missing"),
    "names of genes that are fewer": refused(
        _v2(replaced("hg19/gene_names", np.array([b"a"]))), "gene_names"
    ),
    **{
        f"version {version}, cut at {share:.4f}": refused(
            cut(good, share), "known format|readable|in\\.h5"
        )
        for version, good in ((2, V2), (3, PACKED))
        for share in (0.001, 0.05, 0.17, 0.31, 0.5, 0.66, 0.83, 0.999)
    },
    **{f"bytes changed, {seed}": either(flipped(PACKED, 100 + seed)) for seed in range(12)},
}
