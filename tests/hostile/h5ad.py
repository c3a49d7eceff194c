"""AnnData files from strangers."""

from __future__ import annotations

import pickle
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from slaf.testing.strategies import Stored
from tests.builders import names, write_elements, write_stored
from tests.hostile.case import Case, converted, either, refused
from tests.hostile.edits import (
    attribute,
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

__all__ = ["CASES", "CSC", "CSR", "DENSE", "PACKED", "STORED"]

STORED = Stored(
    (5, 4),
    np.array([0, 0, 2, 3, 3, 4]),
    np.array([1, 3, 0, 0, 2, 3]),
    np.array([1, 2, 3, 4, 5, 6], np.float32),
)
BILLION = 10**9


class _Boom:
    """What would tell of itself if it were unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("unpickled",))


BOOM = pickle.dumps(_Boom())
STRINGS = h5py.string_dtype()


def _write(folder: Path, layout: str = "csr", **filters: Any) -> Path:
    obs = names("cell", 5)
    obs["n"] = np.arange(5)
    obs["kind"] = np.array(["a", "b", "a", "b", "a"], object)
    obs["category"] = obs["kind"].astype("category")
    return write_stored(folder / "in.h5ad", STORED, layout, obs=obs, **filters)


CSR: Write = _write
CSC: Write = partial(_write, layout="csc")
DENSE: Write = partial(_write, layout="dense")
PACKED: Write = partial(_write, compression="gzip", shuffle=True)


def _csr(*edits: Edit) -> Write:
    return edited(CSR, *edits)


def _cells(count: int, **how: Any) -> Edit:
    """Make the file one of so many cells without entries, none of which was ever written."""

    def edit(file: h5py.File) -> None:
        attributes = dict(file["obs"].attrs) | {"column-order": np.array([], "f8")}
        del file["obs"], file["X/indptr"], file["X/indices"], file["X/data"]
        file.create_group("obs").attrs.update(attributes)
        file["obs"].create_dataset("_index", (count,), STRINGS, **how)
        file["obs/_index"].attrs.update(
            {"encoding-type": "string-array", "encoding-version": "0.2.0"}
        )
        file["X"].create_dataset("indptr", (count + 1,), "i8", **how)
        file["X"].create_dataset("indices", (0,), "i4")
        file["X"].create_dataset("data", (0,), "f4")
        file["X"].attrs["shape"] = (count, 4)

    return edit


def _unwritten(name: str, shape: tuple[int, ...], dtype: Any, **how: Any) -> Edit:
    """Claim a size of which no byte is there."""

    def edit(file: h5py.File) -> None:
        kept = dict(file[name].attrs) if name in file else {}
        if name in file:
            del file[name]
        file.create_dataset(name, shape, dtype, **how)
        file[name].attrs.update(kept)

    return edit


def _renamed(cells: list[Any]) -> Edit:
    return replaced("obs/_index", np.array(cells, STRINGS))


def _content(content: bytes) -> Write:
    def write(folder: Path) -> Path:
        path = folder / "in.h5ad"
        path.write_bytes(content)
        return path

    return write


def _dense_chunk(file: h5py.File) -> None:
    """A matrix of 40,000 × 20,000 in one chunk."""
    write_elements(file, obs=names("c", 40_000), var=names("g", 20_000))
    kept = dict(file["X"].attrs)
    del file["X"]
    made = file.create_dataset(
        "X", (40_000, 20_000), "f4", chunks=(40_000, 20_000), compression="gzip"
    )
    made.attrs.update(kept)
    made.id.write_direct_chunk((0, 0), packed_zeros(40_000 * 20_000 * 4))


def _repeated_cell(file: h5py.File) -> None:
    """One cell of a billion entries, all of gene 0, in a megabyte."""
    length = 1 << 30
    huge_chunk("X/data", length, "f4", 1 << 24)(file)
    huge_chunk("X/indices", length, "i4", 1 << 24)(file)
    file["X/indptr"][:] = [0, length, length, length, length, length]


def _packed_names(file: h5py.File) -> None:
    """A hundred million cells that are all called nothing, in a megabyte."""
    count = (100 << 20) - 1
    _cells(4)(file)
    del file["obs/_index"]
    file["obs"].create_dataset("_index", (4,), "S8")
    huge_chunk("obs/_index", count, "S8", 1 << 22)(file)
    huge_chunk("X/indptr", count + 1, "i8", 1 << 22)(file)
    file["X"].attrs["shape"] = (count, 4)


def _wide_column(file: h5py.File) -> None:
    """A column of strings of a hundred megabytes each."""
    del file["obs/kind"]
    made = file["obs"].create_dataset(
        "kind", (5,), f"S{100 << 20}", chunks=(1,), compression="gzip"
    )
    made.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
    for row in range(5):
        made.id.write_direct_chunk((row,), packed_zeros(100 << 20))


def _self_reference(file: h5py.File) -> None:
    """A column whose categories are the column."""
    file["obs/n"].attrs["categories"] = file["obs/n"].ref


def _many_columns(file: h5py.File) -> None:
    file["obs"].attrs["column-order"] = np.array(
        [f"column-{number}" for number in range(1000)], "S12"
    )


ZEROS = zlib.compress(bytes(12))
REFERENCE = h5py.ref_dtype

CASES: dict[str, Case] = {
    # ------------------------------------------------------------------------------ what it claims
    "a billion cells that nobody wrote": refused(
        _csr(_cells(BILLION, chunks=(1 << 20,))), "claims"
    ),
    "a trillion cells that nobody wrote": refused(_csr(_cells(2**40, chunks=(1 << 20,))), "claims"),
    "a billion cells in one piece": refused(_csr(_cells(BILLION)), "claims"),
    "a billion entries that nobody wrote": refused(
        _csr(
            _unwritten("X/data", (BILLION,), "f4", chunks=(1 << 20,)),
            _unwritten("X/indices", (BILLION,), "i4", chunks=(1 << 20,)),
            replaced("X/indptr", np.array([0] + [BILLION] * 5)),
        ),
        "claims",
    ),
    "a trillion entries that nobody wrote": refused(
        _csr(
            _unwritten("X/data", (2**40,), "f4", chunks=(1 << 20,)),
            _unwritten("X/indices", (2**40,), "i4", chunks=(1 << 20,)),
            replaced("X/indptr", np.array([0] + [2**40] * 5)),
        ),
        "claims",
    ),
    "a billion entries of columns that nobody wrote": refused(
        edited(
            CSC,
            _unwritten("X/data", (BILLION,), "f4", chunks=(1 << 20,)),
            _unwritten("X/indices", (BILLION,), "i4", chunks=(1 << 20,)),
            replaced("X/indptr", np.array([0] + [BILLION] * 4)),
        ),
        "claims",
    ),
    "a dense matrix of a terabyte that nobody wrote": refused(
        edited(DENSE, _unwritten("X", (5, 2**36), "f4", chunks=(5, 1 << 20))),
        "var has 4 rows|claims",
    ),
    "a dense matrix of 2^40 cells that nobody wrote": refused(
        edited(DENSE, _unwritten("X", (2**40, 4), "f4", chunks=(1 << 20, 4))),
        "obs has 5 rows|claims",
    ),
    "a billion genes that nobody wrote": refused(
        edited(
            DENSE,
            _unwritten("X", (5, BILLION), "f4", chunks=(5, 1 << 20)),
            _unwritten("var/_index", (BILLION,), STRINGS, chunks=(1 << 20,)),
        ),
        "claims",
    ),
    "a shape of 2^63 cells": refused(
        _csr(attribute("X", "shape", np.array([2**63, 4], np.uint64))), "indptr has 6 offsets"
    ),
    "a column of a billion rows": refused(
        _csr(_unwritten("obs/n", (BILLION,), "i8", chunks=(1 << 20,))), "obs"
    ),
    "categories of a billion": refused(
        _csr(_unwritten("obs/category/categories", (BILLION,), STRINGS, chunks=(1 << 20,))),
        "claims",
    ),
    "a column of two dimensions, a billion wide": refused(
        _csr(_unwritten("obs/n", (5, BILLION), "i8", chunks=(5, 1 << 20))), "obs"
    ),
    # ------------------------------------------------------------------------- what it unpacks to
    "a chunk that unpacks past its size": refused(
        _csr(chunk("X/data", zlib.compress(bytes(13)))), "does not inflate to 12 bytes"
    ),
    "a chunk that unpacks to a gigabyte": refused(
        _csr(chunk("X/data", packed_zeros(1 << 30))), "larger than it can be"
    ),
    "a chunk that unpacks short of its size": refused(
        _csr(chunk("X/data", zlib.compress(bytes(11)))), "does not inflate to 12 bytes"
    ),
    "a chunk without a stream": refused(_csr(chunk("X/indices", b"\0")), "inflate"),
    "a chunk with half a stream": refused(
        _csr(chunk("X/data", ZEROS[:-5])), "does not inflate|cannot be inflated"
    ),
    "a chunk with a wrong checksum": refused(
        _csr(chunk("X/data", ZEROS[:-1] + b"\7")), "does not inflate|cannot be inflated"
    ),
    "a chunk with something behind its stream": either(_csr(chunk("X/data", ZEROS + b"more"))),
    "a chunk that says it is not packed": refused(_csr(chunk("X/data", b"short", mask=1)), "X"),
    "offsets in a chunk past its size": refused(
        _csr(chunk("X/indptr", zlib.compress(bytes(10_000)))), "does not inflate to 24 bytes"
    ),
    "values of four gigabytes in one chunk": refused(
        _csr(
            huge_chunk("X/data", 10**9, "f4", 10**9),
            huge_chunk("X/indices", 10**9, "i4", 10**9),
            replaced("X/indptr", np.array([0] + [10**9] * 5)),
        ),
        "claims",
    ),
    "six values in a chunk of four gigabytes": refused(
        _csr(huge_chunk("X/data", 6, "f4", 10**9)), "claims"
    ),
    "a dense matrix in one chunk of three gigabytes": refused(
        edited(DENSE, _dense_chunk), "claims"
    ),
    "a billion entries of one cell and gene": refused(_csr(_repeated_cell), "claims"),
    "a hundred million nameless cells": refused(_csr(_packed_names), "claims"),
    "strings of a hundred megabytes": refused(_csr(_wide_column), "claims"),
    # ----------------------------------------------------------------------------------- attributes
    "an encoding that is no text": refused(
        _csr(attribute("X", "encoding-type", np.bytes_(b"\xff\xfe"))), "text|encoding"
    ),
    "an encoding that is a number": refused(_csr(attribute("X", "encoding-type", 7)), "encoding"),
    "an encoding that is a list": refused(
        _csr(attribute("X", "encoding-type", ["csr_matrix", "csc_matrix"])), "encoding"
    ),
    "an empty encoding": refused(
        _csr(attribute("X", "encoding-type", h5py.Empty("S1"))), "encoding"
    ),
    "an encoding of a megabyte": refused(
        _csr(attribute("X", "encoding-type", "x" * 60_000)), "encoding"
    ),
    "a shape that is no number": refused(
        _csr(attribute("X", "shape", np.array([np.nan, 4.0]))), "shape"
    ),
    "a shape of references": refused(
        _csr(lambda file: attribute("X", "shape", np.array([file["X"].ref] * 2, REFERENCE))(file)),
        "shape",
    ),
    "an empty shape": refused(_csr(attribute("X", "shape", h5py.Empty("i8"))), "shape"),
    "a shape of truths": refused(_csr(attribute("X", "shape", np.array([True, True]))), "shape"),
    "the name of an index that is no text": refused(
        _csr(attribute("obs", "_index", np.bytes_(b"\xff"))), "text|index"
    ),
    "an index that is another matrix": refused(
        _csr(attribute("obs", "_index", "../X/data")), "index|\\.\\."
    ),
    "an index at the top": refused(_csr(attribute("obs", "_index", "/X/data")), "obs"),
    "an order of columns that is a number": refused(
        _csr(attribute("obs", "column-order", 3)), "obs"
    ),
    "an order of a thousand columns that are not there": refused(_csr(_many_columns), "obs"),
    "an order of columns that repeats one": refused(
        _csr(attribute("obs", "column-order", np.array(["n", "n"], STRINGS))), "called 'n'|obs"
    ),
    "an order of columns that leaves the table": refused(
        _csr(attribute("obs", "column-order", np.array(["../X/data"], STRINGS))), "obs"
    ),
    "a version that is no text": refused(
        _csr(attribute("obs", "encoding-version", np.bytes_(b"\xff"))), "obs"
    ),
    # --------------------------------------------------------------------------------------- tables
    "a table that is a dictionary": refused(_csr(attribute("obs", "encoding-type", "dict")), "obs"),
    "a table that is a matrix": refused(
        _csr(lambda file: link("obs", file["X"])(file)), "obs|index"
    ),
    "a table that is a number": refused(_csr(replaced("obs", 3)), "obs|list"),
    "a table that is a list": refused(_csr(replaced("obs", np.arange(5))), "obs"),
    "a table of records with lists in them": refused(
        _csr(replaced("obs", np.zeros(5, [("index", "S4"), ("list", "f4", (3,))]))), "obs"
    ),
    "a column of references": refused(
        _csr(lambda file: replaced("obs/n", np.array([file["X"].ref] * 5, REFERENCE))(file)),
        "obs",
    ),
    "a column of references to regions": refused(
        _csr(
            lambda file: replaced(
                "obs/n", np.array([file["X/data"].regionref[:2]] * 5, h5py.regionref_dtype)
            )(file)
        ),
        "obs",
    ),
    "a column of lists": refused(
        _csr(
            _unwritten("obs/n", (5,), h5py.vlen_dtype(np.int32)),
        ),
        "obs",
    ),
    "a column of complex numbers": refused(_csr(replaced("obs/n", np.ones(5, complex))), "complex"),
    "a column of long doubles": refused(
        _csr(replaced("obs/n", np.ones(5, np.longdouble))), "obs|'n'"
    ),
    "a column of opaque bytes": refused(_csr(replaced("obs/n", np.zeros(5, "V7"))), "obs"),
    "a column of records": refused(
        _csr(replaced("obs/n", np.zeros(5, [("a", "i4"), ("b", "f4")]))), "obs|'n'"
    ),
    "a column that is its own categories": either(_csr(_self_reference)),
    "a categorical without codes": refused(_csr(without("obs/category/codes")), "obs"),
    "a categorical with fractions for codes": refused(
        _csr(replaced("obs/category/codes", np.array([0.5, 1, 0, 1, 0]))), "obs"
    ),
    "a categorical with too many codes": refused(
        _csr(replaced("obs/category/codes", np.zeros(6, "i1"))), "obs"
    ),
    "codes of 2^62": refused(
        _csr(replaced("obs/category/codes", np.array([0, 1, 0, 1, 2**62]))), "obs"
    ),
    "categories that repeat": refused(
        _csr(replaced("obs/category/categories", np.array(["a", "a"], STRINGS))), "obs"
    ),
    "categories that are a group": refused(
        _csr(
            without("obs/category/categories"), lambda f: f.create_group("obs/category/categories")
        ),
        "obs",
    ),
    "a table within itself": refused(
        _csr(lambda file: link("obs/n", file["obs"])(file)), "leads back|obs"
    ),
    "groups a hundred deep": refused(
        _csr(without("obs/n"), lambda file: file.create_group("obs/n" + "/x" * 100)), "too deep"
    ),
    "a soft link through another link": converted(
        _csr(
            lambda file: file.move("X", "other"),
            link("between", h5py.SoftLink("/other")),
            link("X", h5py.SoftLink("/between")),
        ),
        STORED,
    ),
    "twenty soft links in a row": refused(
        _csr(
            lambda file: file.move("X", "link0"),
            *(link(f"link{n + 1}", h5py.SoftLink(f"/link{n}")) for n in range(20)),
            link("X", h5py.SoftLink("/link20")),
        ),
        "circle",
    ),
    "a member whose name is no text": either(
        _csr(lambda file: file.create_group("layers"), lambda f: f["layers"].create_group(b"\xff"))
    ),
    "a column whose name is no text": either(
        _csr(lambda file: file["obs"].create_dataset(b"\xff\xfe", data=np.arange(5)))
    ),
    "a link of the top to itself": either(_csr(link("layers", h5py.SoftLink("/layers")))),
    "layers that are another file": converted(
        _csr(link("layers", h5py.ExternalLink("/etc/passwd", "/"))), STORED
    ),
    "something that is not needed in another file": refused(
        _csr(link("uns", h5py.ExternalLink("nowhere.h5", "/"))), "link to another file"
    ),
    # ---------------------------------------------------------------------------------------- names
    "cells of one name": converted(_csr(_renamed(["a"] * 5)), STORED),
    "cells without a name": converted(_csr(_renamed([""] * 5)), STORED),
    "a name of a megabyte": converted(_csr(_renamed(["x" * (1 << 20), *"abcd"])), STORED),
    "names that are no text": refused(
        _csr(replaced("obs/_index", np.array([b"\xff", b"a", b"b", b"c", b"d"], STRINGS))), "obs"
    ),
    "names with lines, tabs, bells and directions": converted(
        _csr(_renamed(["a\nb", "\t", "\a\x1b[31m", "\u202e", "\u0000x".replace("\0", "")])), STORED
    ),
    "a name that looks missing": converted(_csr(_renamed(["nan", "NA", "None", "", "-1"])), STORED),
    "a column of a long name": converted(
        _csr(
            lambda file: file.move("obs/n", "obs/" + "n" * 10_000),
            attribute("obs", "column-order", np.array(["n" * 10_000, "kind", "category"], STRINGS)),
        ),
        STORED,
    ),
    "columns that differ in what is unsafe": converted(
        _csr(
            lambda file: file.move("obs/n", "obs/a.b"),
            lambda file: file.move("obs/kind", "obs/a`b"),
            attribute("obs", "column-order", np.array(["a.b", "a`b", "category"], STRINGS)),
        ),
        STORED,
    ),
    # -------------------------------------------------------------------------------------- pickles
    "a pickle": refused(_content(BOOM), "no known format"),
    "a column of pickles": converted(
        _csr(
            replaced("obs/kind", np.array([BOOM.decode("latin-1").replace("\0", "")] * 5, STRINGS))
        ),
        STORED,
    ),
    "a pickle in uns": refused(
        _csr(lambda file: file.create_dataset("uns/x", data=np.void(BOOM))), "cannot write"
    ),
    "a pickle for an encoding": refused(
        _csr(attribute("X", "encoding-type", np.void(BOOM))), "encoding|text"
    ),
    "a column of pickled objects": refused(
        _csr(replaced("obs/n", np.array([np.void(BOOM)] * 5))), "obs"
    ),
    # --------------------------------------------------------------------------------------- values
    "values of every awkward kind": converted(
        _csr(replaced("X/data", np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324, 1.7e308]))),
        Stored(
            STORED.shape,
            STORED.cells,
            STORED.genes,
            np.array([np.nan, np.inf, -np.inf, 0.0, 5e-324, 1.7e308]),
        ),
    ),
    "an integer that no type holds": refused(
        _csr(replaced("X/data", np.array([1, 2, 3, 4, 2**64 - 1, 1], np.uint64))),
        "18446744073709551615",
    ),
    "values of half a byte more": refused(
        _csr(replaced("X/data", np.ones(6, np.longdouble))), "which no table holds"
    ),
    "sums beyond 64 bits": refused(
        _csr(
            replaced("X/data", np.array([2**62] * 6)),
            replaced("X/indices", np.zeros(6, int)),
            replaced("X/indptr", np.array([0, 6, 6, 6, 6, 6])),
        ),
        "add up to more than 64 bits",
    ),
    "offsets of text": refused(
        _csr(replaced("X/indptr", np.array(list("022356"), STRINGS))), "type object"
    ),
    "offsets of infinity": refused(
        _csr(replaced("X/indptr", np.array([0, 2, np.inf, 3, 5, 6]))), "whole number"
    ),
    "offsets of truths": refused(
        _csr(replaced("X/indptr", np.array([False, True, True, True, True, True]))), "indptr"
    ),
    "genes past 32 bits": refused(
        _csr(replaced("X/indices", np.array([2**32 + 1, 3, 0, 0, 2, 3]))), "gene 4294967297"
    ),
    "genes of truths": refused(
        _csr(replaced("X/indices", np.array([True, False, True, True, False, True]))), "positions"
    ),
    # ------------------------------------------------------------------------------- what is cut
    **{
        f"{what} cut at {share:.4f}": refused(cut(good, share), "known format|readable|in\\.h5ad")
        for what, good in (("packed rows", PACKED), ("columns", CSC), ("dense", DENSE))
        for share in (0.0005, 0.02, 0.11, 0.23, 0.42, 0.55, 0.77, 0.9995)
    },
    **{f"bytes changed, {seed}": either(flipped(PACKED, seed)) for seed in range(12)},
    **{f"an entry changed, {at}": either(_csr(entry("X/indices", at, 7))) for at in (0, 5)},
}
