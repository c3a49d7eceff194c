"""10x MTX folders from strangers."""

from __future__ import annotations

import gzip
import io
import pickle
import zlib
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from slaf.testing.strategies import Stored
from tests.formats.builders import Mtx
from tests.hostile.case import Case, converted, either, refused
from tests.hostile.edits import cut, flipped, packed_zeros

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.hostile.edits import Write

__all__ = ["CASES", "PACKED", "PLAIN", "STORED", "folder_of"]

STORED = Stored(
    (5, 4),
    np.array([0, 0, 2, 3, 3, 4]),
    np.array([1, 3, 0, 0, 2, 3]),
    np.array([1, 2, 3, 4, 5, 6]),
)
BANNER = b"%%MatrixMarket matrix coordinate integer general\n"
REAL = BANNER.replace(b"integer", b"real")
SIZES = b"4 5 6\n"
ENTRIES = b"2 1 1\n4 1 2\n1 3 3\n1 4 4\n3 4 5\n4 5 6\n"
GOOD = BANNER + SIZES + ENTRIES
BARCODES = b"a\nb\nc\nd\ne\n"
FEATURES = b"g1\tG1\tx\ng2\tG2\tx\ng3\tG3\tx\ng4\tG4\tx\n"
LARGEST = 2**63 - 1


def folder_of(
    matrix: bytes = GOOD, barcodes: bytes = BARCODES, features: bytes = FEATURES
) -> Write:
    """A folder of three files with this content."""

    def write(folder: Path) -> Path:
        path = folder / "in"
        path.mkdir()
        for name, content in (
            ("matrix.mtx", matrix),
            ("barcodes.tsv", barcodes),
            ("features.tsv", features),
        ):
            (path / name).write_bytes(content)
        return path

    return write


def _packed_file(name: str, content: Callable[[], bytes]) -> Write:
    """A good folder in which one file is packed, and holds this."""

    def write(folder: Path) -> Path:
        path = folder_of()(folder)
        (path / name).unlink()
        (path / f"{name}.gz").write_bytes(content())
        return path

    return write


@cache
def _bomb(begin: bytes, piece: bytes, pieces: int) -> bytes:
    """A stream of gzip that goes on for gigabytes, of members that are the same."""
    member = gzip.compress(piece, 9, mtime=0)
    return gzip.compress(begin, mtime=0) + member * pieces


def _packed(name: str, content: bytes) -> Write:
    return _packed_file(name, lambda: gzip.compress(content, mtime=0))


def _line(line: bytes, *, banner: bytes = BANNER) -> Write:
    """A matrix in which one entry is this line."""
    return folder_of(banner + SIZES + ENTRIES.replace(b"1 3 3\n", line))


def _sizes(sizes: bytes) -> Write:
    return folder_of(BANNER + sizes + b"\n" + ENTRIES)


def _plain(folder: Path) -> Path:
    return Mtx(packed=False).write(folder / "in", STORED)


def _packed_by_gzip(folder: Path) -> Path:
    return Mtx().write(folder / "in", STORED)


PLAIN: Write = _plain
PACKED: Write = _packed_by_gzip
NEWLINES, ONES = b"\n" * (1 << 24), b"1 1 1\n" * (1 << 22)

CASES: dict[str, Case] = {
    # -------------------------------------------------------------------------------- the header
    "negative sizes": refused(_sizes(b"-4 5 6"), "not three sizes"),
    "a size with a sign": refused(_sizes(b"+4 5 6"), "not three sizes"),
    "sizes with a point": refused(_sizes(b"4.0 5.0 6.0"), "not three sizes"),
    "sizes in hexadecimal": refused(_sizes(b"0x4 5 6"), "not three sizes"),
    "sizes beyond 64 bits": refused(_sizes(b"4 5 99999999999999999999999"), "64 bits"),
    "a size of five thousand digits": refused(_sizes(b"4 5 " + b"9" * 5000), "64 bits"),
    "a size of five thousand zeros": either(_sizes(b"4 5 " + b"0" * 5000 + b"6")),
    "other digits than ours": refused(_sizes("\u0664 \u0665 \u0666".encode()), "not three sizes"),
    "four sizes": refused(_sizes(b"4 5 6 7"), "not three sizes"),
    "sizes with a NUL": refused(_sizes(b"4 5\x00 6"), "not three sizes"),
    "a billion cells": refused(_sizes(b"4 1000000000 6"), "needs 1,000,000,000"),
    "2^40 cells": refused(_sizes(b"4 1099511627776 6"), "needs 1,099,511,627,776"),
    "2^40 genes": refused(_sizes(b"1099511627776 5 6"), "needs 1,099,511,627,776"),
    "a billion entries": refused(_sizes(b"4 5 1000000000"), "declares 1,000,000,000"),
    "2^62 entries": refused(_sizes(b"4 5 4611686018427387904"), "64 bits"),
    "a billion entries in a packed file": refused(
        _packed("matrix.mtx", BANNER + b"4 5 1000000000\n" + ENTRIES), "declares 1,000,000,000"
    ),
    "nothing in it, and entries": refused(
        folder_of(BANNER + b"0 0 6\n" + ENTRIES, b"", b""), "6 entries in a matrix of 0 × 0"
    ),
    "nothing in it": converted(
        folder_of(BANNER + b"0 0 0\n", b"", b""),
        Stored((0, 0), *(np.array([], int) for _ in range(3))),
    ),
    "a banner alone": refused(folder_of(BANNER), "ends before its sizes"),
    "a banner without an end": refused(folder_of(BANNER[:-1]), "ends before its sizes"),
    "half a banner": refused(folder_of(b"%%MatrixMarket"), "its first line is"),
    "comments without an end": refused(
        folder_of(BANNER + b"% comment\n" * 100_000), "ends before its sizes"
    ),
    "a comment of ten megabytes": converted(
        folder_of(BANNER + b"%" + b"x" * 10_000_000 + b"\n" + SIZES + ENTRIES), STORED
    ),
    "a first line of ten megabytes": refused(folder_of(b"x" * 10_000_000), "its first line is"),
    "sizes of a megabyte": refused(
        folder_of(BANNER + b"4 " * 500_000 + b"\n" + ENTRIES), "not three sizes"
    ),
    "NULs": refused(folder_of(bytes(100_000)), "its first line is"),
    "a symmetric matrix": refused(
        folder_of(GOOD.replace(b"general", b"symmetric")), "its first line is"
    ),
    "an array": refused(folder_of(GOOD.replace(b"coordinate", b"array")), "its first line is"),
    "a byte order mark": refused(folder_of(b"\xef\xbb\xbf" + GOOD), "its first line is"),
    "text of 16 bits": refused(folder_of(GOOD.decode().encode("utf-16")), "its first line is"),
    "a banner that promises a pattern": refused(
        folder_of(GOOD.replace(b"integer", b"pattern")), "is not an entry"
    ),
    "a banner that promises values": refused(
        folder_of(BANNER + SIZES + ENTRIES.replace(b" 3\n", b"\n")), "is not an entry"
    ),
    # -------------------------------------------------------------------------------- the entries
    "fewer entries": refused(_sizes(b"4 5 7"), "declares 7 entries, but has 6"),
    "more entries": refused(_sizes(b"4 5 5"), "declares 5 entries, but has 6"),
    "counting from zero": refused(_line(b"0 3 3\n"), "line 5: an entry is in row 0"),
    "a column of zero": refused(_line(b"1 0 3\n"), "line 5: an entry is in column 0"),
    "a row too many": refused(_line(b"5 3 3\n"), "line 5: an entry is in row 5"),
    "a column too many": refused(_line(b"1 6 3\n"), "line 5: an entry is in column 6"),
    "a row of 2^63": refused(_line(b"9223372036854775808 3 3\n"), "line 5"),
    "a row of 2^63 - 1": refused(_line(b"9223372036854775807 3 3\n"), "line 5: an entry is in row"),
    "a row of -2^63": refused(_line(b"-9223372036854775808 3 3\n"), "line 5: an entry is in row"),
    "an integer too large": refused(_line(b"1 3 9223372036854775808\n"), "line 5"),
    "an integer far too large": refused(_line(b"1 3 " + b"9" * 400 + b"\n"), "line 5"),
    "a value that is a word": refused(_line(b"1 3 three\n"), "line 5: '1 3 three' is not an entry"),
    "a value that is a formula": refused(_line(b"1 3 =1+1\n"), "line 5"),
    "a value in hexadecimal": refused(_line(b"1 3 0x3\n"), "line 5"),
    "a value with underscores": refused(_line(b"1 3 1_0\n"), "line 5"),
    "a value with a comma": refused(_line(b"1 3 1,5\n", banner=REAL), "line 5"),
    "a value that is empty": refused(_line(b"1 3 \n"), "line 5"),
    "a value that is not a number": converted(
        _line(b"1 3 nan\n", banner=REAL),
        Stored(STORED.shape, STORED.cells, STORED.genes, np.array([1, 2, np.nan, 4, 5, 6])),
    ),
    "a value beyond float64": refused(_line(b"1 3 1e999\n", banner=REAL), "no float64 holds"),
    "a fraction of a thousand digits": either(_line(b"1 3 0." + b"3" * 1000 + b"\n", banner=REAL)),
    "two entries in a line": refused(_line(b"1 3 3 1 4 4\n"), "line 5"),
    "half an entry": refused(_line(b"1 3\n"), "line 5"),
    "a NUL in a line": refused(_line(b"1 3\x00 3\n"), "line 5"),
    "a NUL after a line": refused(_line(b"1 3 3\x00\n"), "line 5"),
    "a quoted entry": refused(_line(b'"1" "3" "3"\n'), "line 5"),
    "bytes that are no text": refused(_line(b"1 3 \xff\n"), "line 5"),
    "digits of another script": refused(_line("1 3 ٣\n".encode()), "line 5"),
    "a form feed between numbers": either(_line(b"1\x0c3\x0b3\n")),
    "carriage returns alone": either(folder_of(GOOD.replace(b"\n", b"\r"))),
    "an entry of a megabyte": refused(_line(b"1 3 " + b"3" * (1 << 20) + b"\n"), "line"),
    "a line without an end": refused(folder_of(BANNER + SIZES + b"1" * (20 << 20)), "line|entry"),
    "spaces without an end": either(folder_of(GOOD + b" " * (20 << 20))),
    "no newline at the end": converted(folder_of(GOOD[:-1]), STORED),
    "an end in the middle of a number": either(folder_of(GOOD[:-2])),
    "rows and columns exchanged": refused(
        # Read as cells × genes, by the lengths of the tables.
        folder_of(BANNER + b"5 4 6\n" + ENTRIES),
        "an entry is in column 5, but they go from 1 to 4",
    ),
    "sums beyond 64 bits": refused(
        folder_of(BANNER + b"4 5 2\n" + b"1 1 9223372036854775807\n" * 2), "64 bits"
    ),
    "negative counts": converted(
        _line(b"1 3 -3\n"),
        Stored(STORED.shape, STORED.cells, STORED.genes, np.array([1, 2, -3, 4, 5, 6])),
    ),
    # --------------------------------------------------------------------------------- the tables
    "barcodes that are fewer": refused(folder_of(barcodes=b"a\nb\n"), "it has 2 lines"),
    "no barcodes": refused(folder_of(barcodes=b""), "it has 0 lines"),
    "barcodes of blanks": refused(folder_of(barcodes=b"\n\n\n\n\n"), "barcodes"),
    "barcodes of one name": converted(folder_of(barcodes=b"a\n" * 5), STORED),
    "barcodes that are no text": refused(folder_of(barcodes=b"a\nb\n\xff\nd\ne\n"), "line 3"),
    "a barcode of a megabyte": converted(
        folder_of(barcodes=b"x" * (1 << 20) + b"\nb\nc\nd\ne\n"), STORED
    ),
    "a barcode of twenty megabytes": either(
        folder_of(barcodes=b"x" * (20 << 20) + b"\nb\nc\nd\ne\n")
    ),
    "barcodes with quotes": converted(folder_of(barcodes=b'"a\nb"\n"c"\n\'d\ne\n'), STORED),
    "barcodes with NULs": either(folder_of(barcodes=b"a\x00\nb\nc\nd\ne\n")),
    "barcodes of text of 16 bits": refused(
        folder_of(barcodes="a\nb\nc\nd\ne\n".encode("utf-16")), "barcodes"
    ),
    "barcodes of columns": converted(folder_of(barcodes=b"a\t1\nb\t2\nc\t3\nd\t4\ne\t5\n"), STORED),
    "a thousand columns of features": converted(
        folder_of(features=(b"x\t" * 1000 + b"x\n") * 4), STORED
    ),
    "features of different widths": refused(
        folder_of(features=b"g1\tG1\ng2\ng3\tG3\ng4\tG4\n"), "Expected 2 columns, got 1"
    ),
    "features with a byte order mark": either(folder_of(features=b"\xef\xbb\xbf" + FEATURES)),
    "features without newline": converted(folder_of(features=FEATURES[:-1]), STORED),
    "features that are a pickle": refused(
        folder_of(features=pickle.dumps({"g1": "G1"})), "features.tsv"
    ),
    "barcodes that are an archive": refused(
        folder_of(barcodes=b"PK\x03\x04" + bytes(range(256))), "barcodes.tsv"
    ),
    # ---------------------------------------------------------------------------- what is packed
    "a matrix that unpacks to gigabytes of newlines": refused(
        _packed_file("matrix.mtx", lambda: _bomb(BANNER + SIZES, NEWLINES, 200)), "claims|unpack"
    ),
    "a matrix that unpacks to gigabytes of entries": refused(
        _packed_file("matrix.mtx", lambda: _bomb(BANNER + SIZES, ONES, 100)), "declares 6"
    ),
    "a matrix that declares gigabytes, and unpacks to them": refused(
        _packed_file("matrix.mtx", lambda: _bomb(BANNER + b"4 5 9999999999\n", ONES, 200)),
        "claims|declares",
    ),
    "a matrix that unpacks to one line": refused(
        _packed_file("matrix.mtx", lambda: _bomb(BANNER + SIZES, b"1" * (1 << 24), 100)),
        "line|claims",
    ),
    "barcodes that unpack to gigabytes": refused(
        _packed_file("barcodes.tsv", lambda: _bomb(BARCODES, NEWLINES, 100)), "claims"
    ),
    "barcodes that unpack to one name": refused(
        _packed_file("barcodes.tsv", lambda: _bomb(BARCODES, b"x" * (1 << 24), 100)), "claims"
    ),
    "features that unpack to gigabytes": refused(
        _packed_file("features.tsv", lambda: _bomb(FEATURES, FEATURES * (1 << 18), 50)), "claims"
    ),
    "a stream with something behind it": either(
        _packed_file("matrix.mtx", lambda: gzip.compress(GOOD, mtime=0) + b"something")
    ),
    "a stream with zeros behind it": either(
        _packed_file("matrix.mtx", lambda: gzip.compress(GOOD, mtime=0) + bytes(512))
    ),
    "two streams": converted(
        _packed_file(
            "matrix.mtx",
            lambda: gzip.compress(GOOD[:70], mtime=0) + gzip.compress(GOOD[70:], mtime=0),
        ),
        STORED,
    ),
    "a wrong checksum": refused(
        _packed_file("matrix.mtx", lambda: gzip.compress(GOOD, mtime=0)[:-8] + b"\1" * 8),
        "gzip stream",
    ),
    "a wrong length": refused(
        _packed_file("matrix.mtx", lambda: gzip.compress(GOOD, mtime=0)[:-1] + b"\1"),
        "gzip stream",
    ),
    "the magic of gzip alone": refused(
        _packed_file("matrix.mtx", lambda: b"\x1f\x8b"), "cut short"
    ),
    "another method than deflate": refused(
        _packed_file("matrix.mtx", lambda: b"\x1f\x8b\x07" + bytes(60)), "gzip stream"
    ),
    "a stream of zlib": refused(
        _packed_file("matrix.mtx", lambda: zlib.compress(GOOD)), "its first line is"
    ),
    "text that is called packed": converted(_packed_file("matrix.mtx", lambda: GOOD), STORED),
    "packed twice": refused(
        _packed("matrix.mtx", gzip.compress(GOOD, mtime=0)), "its first line is"
    ),
    "a header of gzip that does not end": refused(
        _packed_file("matrix.mtx", lambda: b"\x1f\x8b\x08\x08" + bytes(6) + b"x" * 100_000),
        "gzip stream",
    ),
    "a stream of nothing but zeros": refused(
        _packed_file("barcodes.tsv", lambda: _gzipped_zeros(1 << 30)), "claims"
    ),
    **{
        f"{name} cut at {share:.2f}": either(cut(PLAIN, share, name))
        for name in ("matrix.mtx", "features.tsv", "barcodes.tsv")
        for share in (0.2, 0.55, 0.85)
    },
    **{
        f"{name} cut at {share:.2f}": refused(cut(PACKED, share, name), "cut short|gzip")
        for name in ("matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz")
        for share in (0.12, 0.5, 0.97)
    },
    **{f"bytes changed, {seed}": either(flipped(PLAIN, 200 + seed)) for seed in range(12)},
    **{f"packed bytes changed, {seed}": either(flipped(PACKED, 300 + seed)) for seed in range(8)},
}


def _gzipped_zeros(size: int) -> bytes:
    """Zeros under gzip's header, whose checksum is wrong: nobody should come as far."""
    out = io.BytesIO()
    out.write(b"\x1f\x8b\x08" + bytes(6) + b"\xff")
    out.write(packed_zeros(size)[2:-4])
    out.write(bytes(4) + (size % 2**32).to_bytes(4, "little"))
    return out.getvalue()
