"""The parsers that are ours, given whatever comes: what they say, or an error with its place."""

from __future__ import annotations

import tempfile
import zlib
from pathlib import Path

import h5py
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from slaf.errors import InputError
from slaf.sources.hdf5.arrays import open_nd
from slaf.sources.hdf5.chunks import DEFLATE, SHUFFLE, decode_chunk
from slaf.sources.tenx.matrix_market import entries, read_header
from slaf.sources.tenx.text import read_columns

BANNER = b"%%MatrixMarket matrix coordinate integer general\n"
PIECES = st.sampled_from(
    [
        b"1",
        b"2",
        b"0",
        b"-1",
        b"3 3 3\n",
        b" ",
        b"\n",
        b"\t",
        b"%",
        b"\r",
        b"\0",
        b"x",
        b"1e3",
        b".",
    ]
)
TEXT = st.lists(st.one_of(PIECES, st.binary(max_size=4)), max_size=30).map(b"".join)
NUMBER = st.integers(-2, 12)


def _file(folder: str, content: bytes) -> Path:
    path = Path(folder) / "in"
    path.write_bytes(content)
    return path


@given(head=st.sampled_from([b"", BANNER, BANNER[:-9], BANNER + b"%\n"]), text=TEXT)
def test_any_header(head: bytes, text: bytes) -> None:
    """A header gives sizes that its file could hold, or an error that names the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = _file(folder, head + text)
        try:
            header = read_header(path)
        except InputError as error:
            assert str(path) in str(error)  # noqa: PT017 - it may be read as well
        else:
            assert min(header.n_rows, header.n_columns, header.nnz) >= 0
            assert header.offset <= len(head + text)


@given(rows=st.lists(st.tuples(NUMBER, NUMBER, NUMBER), max_size=8), junk=TEXT)
def test_any_entries(rows: list[tuple[int, int, int]], junk: bytes) -> None:
    """Entries are just those of the text, all within the matrix, or an error names the file."""
    text = b"".join(b"%d %d %d\n" % row for row in rows)
    with tempfile.TemporaryDirectory() as folder:
        path = _file(folder, BANNER + b"9 9 %d\n" % len(rows) + text + junk)
        try:
            found = list(entries(path, read_header(path), 3))
        except InputError as error:
            assert str(path) in str(error)  # noqa: PT017 - it may be read as well
        else:
            read = [
                (int(g) + 1, int(c) + 1, int(v))
                for piece in found
                for c, g, v in zip(piece.cells, piece.genes, piece.values, strict=True)
            ]
            assert read == rows
            assert all(1 <= row <= 9 and 1 <= column <= 9 for row, column, _ in rows)


@given(text=TEXT)
def test_any_table(text: bytes) -> None:
    """A table has the text's own fields, or an error names the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = _file(folder, text)
        try:
            table = read_columns(path)
        except InputError as error:
            assert str(path) in str(error)  # noqa: PT017 - it may be read as well
        else:
            held = [value for column in table.columns for value in column.to_pylist()]
            assert all(value.encode() in text for value in held)


@given(
    packed=st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(zlib.compress)),
    filters=st.sampled_from([(), (DEFLATE,), (SHUFFLE, DEFLATE), (SHUFFLE,), (DEFLATE, 3)]),
    skipped=st.integers(0, 7),
    count=st.integers(1, 12),
)
def test_any_chunk(packed: bytes, filters: tuple[int, ...], skipped: int, count: int) -> None:
    """A chunk gives just the bytes that it must have, or is refused."""
    try:
        found = decode_chunk(packed, filters, skipped, size=4 * count, itemsize=4, label="here")
    except InputError as error:
        assert "here" in str(error)  # noqa: PT017 - it may be unpacked as well
    else:
        assert len(found) == 4 * count


@given(
    shape=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    chunks=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    shuffle=st.booleans(),
    cut=st.tuples(*[st.integers(0, 7)] * 4),
)
def test_any_block_is_what_hdf5_reads(
    shape: tuple[int, int],
    chunks: tuple[int, int],
    shuffle: bool,  # noqa: FBT001 - hypothesis names it
    cut: tuple[int, int, int, int],
) -> None:
    """Whichever part of a packed matrix is asked for, it is the one that HDF5 itself reads."""
    chunks = (min(chunks[0], shape[0]), min(chunks[1], shape[1]))
    with h5py.File("x", "w", driver="core", backing_store=False) as file:
        values = np.arange(shape[0] * shape[1], dtype=">i4").reshape(shape)
        made = file.create_dataset(
            "x", data=values, chunks=chunks, compression="gzip", shuffle=shuffle
        )
        key = (slice(*sorted(cut[:2])), slice(*sorted(cut[2:])))
        np.testing.assert_array_equal(open_nd(made)[key], made[key])
