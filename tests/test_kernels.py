"""The compiled kernels and those of numpy: one meaning, and one result of a conversion."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given

import slaf
from hatch_build import LIBRARY, SOURCES, compile_library
from slaf import kernels
from slaf.errors import SlafError
from slaf.kernels.compiled import CompiledKernels
from slaf.kernels.reference import Kernels, Tiles, Windows
from slaf.sources.tenx import matrix_market
from slaf.testing.strategies import numbers
from tests.builders import counts, write_h5ad

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHECKOUT = Path(__file__).parents[1]
REFERENCE = Kernels()

# Longer than the blocks that are judged together.
_LENGTHS = st.integers(0, 20) | st.integers(4_000, 9_000)
_CASTS = [
    (source, target)
    for source in ("f4", "f8", "i4", "i8", "u4", "u8")
    for target in ("u2", "u4")
    if source != target
]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> CompiledKernels:
    """The kernels of the checkout, compiled now."""
    library = tmp_path_factory.mktemp("kernels") / "kernels.so"
    if not compile_library(CHECKOUT / SOURCES, library):
        pytest.skip("there is no C compiler")
    return CompiledKernels(kernels.load_library(library))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that each example writes anew."""
    return tmp_path_factory.mktemp("text") / "matrix.mtx"


def drawn(data: st.DataObject, dtype: np.dtype[Any], limit: int) -> NDArray[Any]:
    """Numbers below a limit, and often one or two of any kind among them."""
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    values = rng.integers(0, limit, data.draw(_LENGTHS)).astype(dtype)
    if len(values):
        for value in data.draw(st.lists(numbers(dtype), max_size=2)):
            values[data.draw(st.integers(0, len(values) - 1))] = value
    return values


@pytest.mark.parametrize(("source", "target"), _CASTS)
@given(data=st.data())
def test_casts(compiled: CompiledKernels, source: str, target: str, data: st.DataObject) -> None:
    """A compiled cast is exact for the same values as that of numpy, and gives the same."""
    values = drawn(data, np.dtype(source), 2**16)
    expected, found = (np.zeros(len(values), target) for _ in range(2))
    exact = REFERENCE.cast(values, expected)
    assert compiled.cast(values, found) is exact
    if exact:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("source", "target"), _CASTS)
def test_casts_of_single_numbers(compiled: CompiledKernels, source: str, target: str) -> None:
    """Powers of two and their neighbours, fractions, and numbers that are none, one by one."""
    dtype = np.dtype(source)
    wide = [s * 2.0**bits + by for bits in range(65) for by in (-1, 0, 0.5, 1) for s in (1, -1)]
    wide += [np.inf, -np.inf, np.nan, -0.0, 5e-324, -5e-324]
    with np.errstate(all="ignore"):
        values = np.array(wide).astype(dtype)
    for value in values.reshape(-1, 1):
        expected, found = np.zeros(1, target), np.zeros(1, target)
        exact = REFERENCE.cast(value, expected)
        assert compiled.cast(value, found) is exact, value
        assert not exact or found == expected


@pytest.mark.parametrize("dtype", ["i4", "u4", "i8", "u8", "i2", ">i4"])
@given(data=st.data())
def test_positions(compiled: CompiledKernels, dtype: str, data: st.DataObject) -> None:
    """Positions in pieces are checked, and their descents counted, as those of numpy."""
    values = np.dtype(dtype)
    pieces = [drawn(data, values, 50), np.sort(drawn(data, values, 2_000))]
    pieces = [piece.astype(values.newbyteorder("=")) for piece in pieces]
    size = data.draw(st.sampled_from([0, 40, 2_000, 2**31, 2**32 - 1]))
    expected, found = (np.zeros(sum(map(len, pieces)), np.uint32) for _ in range(2))
    at = 0
    for piece in pieces:
        descents = REFERENCE.positions(piece, expected, at, size)
        assert compiled.positions(piece, found, at, size) == descents
        if descents < 0:
            return
        at += len(piece)
    np.testing.assert_array_equal(found, expected)


@given(st.integers(0, 2**32 - 100), st.lists(st.integers(0, 70), max_size=20))
def test_repeats(compiled: CompiledKernels, first: int, lengths: list[int]) -> None:
    """Each id is written as often as its count says."""
    each = np.array(lengths, np.int64)
    expected, found = (np.zeros(sum(lengths), np.uint32) for _ in range(2))
    REFERENCE.repeat(first, each, expected)
    compiled.repeat(first, each, found)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("gene", ["u2", "u4"])
@given(data=st.data())
def test_records(compiled: CompiledKernels, gene: str, data: st.DataObject) -> None:
    """Entries are distributed over buckets, counted and placed by cell as numpy does it."""
    value = data.draw(st.sampled_from(["?", "u1", "u2", "f2", "i4", "f4", "u8", "f8", ">f4", "c8"]))
    record = np.dtype([("cell", "<u2"), ("gene", gene), ("value", value)])
    width, n_buckets = data.draw(st.integers(1, 2**16)), data.draw(st.integers(1, 300))
    n, rng = data.draw(st.integers(0, 500)), np.random.default_rng(data.draw(st.integers(0, 99)))
    cells = rng.integers(0, width * n_buckets, n, np.uint32)
    genes = rng.integers(0, 2 ** (8 * record["gene"].itemsize), n, np.uint32)
    values = rng.integers(0, 200, n).astype(value)
    expected, found = (np.zeros(n, record) for _ in range(2))
    starts, bounds = (np.zeros(n_buckets + 1, np.int64) for _ in range(2))
    REFERENCE.distribute(cells, genes, values, width=width, out=expected, bounds=starts)
    compiled.distribute(cells, genes, values, width=width, out=found, bounds=bounds)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(bounds, starts)
    counts = np.zeros((2, width), np.int64)
    ends = np.zeros((2, width), np.int64)
    columns = [(np.zeros(n, gene), np.zeros(n, value)) for _ in range(2)]
    for each, into, at, placed in zip((compiled, REFERENCE), counts, ends, columns, strict=True):
        for half in np.array_split(found, 2):
            each.count_cells(half, into)
        at[1:] = np.cumsum(into)[:-1]
        for half in np.array_split(found, 2):
            each.place(half, at, *placed)
    np.testing.assert_array_equal(*counts)
    np.testing.assert_array_equal(*ends)
    for mine, theirs in zip(*columns, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_records_outside(compiled: CompiledKernels) -> None:
    """A cell in no bucket, and a record without a place, are refused, and nothing is written."""
    record = np.dtype([("cell", "<u2"), ("gene", "<u2"), ("value", "<u2")])
    numbers, records = np.array([0, 9], np.uint32), np.zeros(2, record)
    records["cell"] = [0, 3]
    for each in (compiled, REFERENCE):
        bounds, out = np.zeros(3, np.int64), np.zeros(2, record)
        with pytest.raises(IndexError, match="cell 9 is in none of 2 buckets of 4"):
            each.distribute(numbers, numbers, numbers.astype("u2"), width=4, out=out, bounds=bounds)
        for ends in ([0, 1], [0, 1, 1, 2]):
            columns = np.full((2, 2), 7, np.uint16)
            with pytest.raises((IndexError, ValueError)):
                each.place(records, np.array(ends, np.int64), *columns)
        with pytest.raises(ValueError, match="broadcast"):
            each.count_cells(records, np.zeros(2, np.int64))


def test_no_kernel_writes_beyond_its_array(compiled: CompiledKernels) -> None:
    """An array of another length, or counts below zero, are refused as numpy refuses them."""
    for each in (compiled, REFERENCE):
        with pytest.raises(ValueError, match="broadcast"):
            each.cast(np.zeros(3, "f4"), np.zeros(2, "u2"))
        with pytest.raises(ValueError, match="broadcast"):
            each.positions(np.zeros(3, "i4"), np.zeros(4, np.uint32), 2, 9)
        with pytest.raises(ValueError, match="negative"):
            each.repeat(0, np.array([-1, 2]), np.zeros(1, np.uint32))


def test_every_plain_line_is_compiled(compiled: CompiledKernels) -> None:
    """Lines of whole numbers need no other parser, the largest ones neither."""
    found = compiled.entries(b"1 2 3\n9 9 999999999\n", (9, 9), np.dtype(np.float64))
    assert found is not None
    columns = [np.asarray(column).tolist() for column in found]
    assert columns == [[0, 8], [1, 8], [3.0, 999_999_999.0]]


@given(st.data())
def test_sums(compiled: CompiledKernels, data: st.DataObject) -> None:
    """Sums are exact, also those of the largest numbers."""
    values = np.append(drawn(data, np.dtype(np.uint16), 2**16), np.full(3, 65_535, np.uint16))
    whole = [int(value) for value in values]
    expected = sum(whole), sum(value**2 for value in whole), min(whole), max(whole)
    assert compiled.sums(values) == REFERENCE.sums(values) == expected


@given(st.data())
def test_nonzeros_of_dense_cells(compiled: CompiledKernels, data: st.DataObject) -> None:
    """Nonzeros of chunks in any order of memory, in any type, are those of the whole matrix."""
    dtype = np.dtype(data.draw(st.sampled_from(["f4", "f8", ">f4", "f2", "u1", "i2", "<i8", "?"])))
    n_cells, n_genes = (data.draw(st.integers(0, 90) | st.just(150)) for _ in range(2))
    side = st.integers(1, 50) | st.sampled_from([64, 130])
    chunk = data.draw(st.tuples(side, side))
    start = data.draw(st.integers(0, 60))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    whole = rng.integers(0, 3, (start + n_cells, n_genes)).astype(dtype)
    if whole.size and dtype.kind == "f":
        whole.flat[rng.integers(whole.size, size=3)] = [np.nan, -0.0, 5e-8]
    tiles = tiles_of(whole, start, chunk, by_gene=data.draw(st.booleans()))
    expected = sp.csr_matrix(whole[start:].astype(dtype.newbyteorder("=")) != 0)
    for each in (compiled, REFERENCE):
        cells = each.dense_cells(tiles)
        np.testing.assert_array_equal(cells.counts, np.diff(expected.indptr))
        first, stop = sorted(data.draw(st.integers(0, n_cells)) for _ in range(2))
        span = slice(expected.indptr[first], expected.indptr[stop])
        genes = expected.indices[span]
        found = np.zeros(len(genes), np.uint32), np.zeros(len(genes), dtype)
        cells.write(first, stop, *found)
        np.testing.assert_array_equal(found[0], genes)
        rows = np.repeat(np.arange(n_cells), np.diff(expected.indptr))[span]
        np.testing.assert_array_equal(found[1], whole[start:][rows, genes])
        # Into an array with other elements in between, which stay.
        spread = np.zeros(2 * len(genes), dtype)
        cells.write(first, stop, found[0], spread[::2])
        np.testing.assert_array_equal(spread[::2], found[1])
        assert not spread[1::2].any()


def tiles_of(whole: NDArray[Any], start: int, chunk: tuple[int, int], *, by_gene: bool) -> Tiles:
    """The cells from `start` on as chunks that are stored whole, beyond the matrix with ones."""
    (rows, columns), shape = chunk, whole.shape
    padded = np.ones([-(-n // by) * by for n, by in zip(shape, chunk, strict=True)], whole.dtype)
    padded[: shape[0], : shape[1]] = whole
    origins = [
        (cell, gene)
        for cell in range(start - start % rows, shape[0], rows)
        for gene in range(0, shape[1], columns)
    ]
    order = (0, 2, 1) if by_gene else (0, 1, 2)
    stack = np.empty((len(origins), *(chunk[::-1] if by_gene else chunk)), whole.dtype)
    stack = stack.transpose(order)
    for at, (cell, gene) in enumerate(origins):
        stack[at] = padded[cell : cell + rows, gene : gene + columns]
    cells, genes = np.array(origins, np.int64).reshape(-1, 2).T
    return Tiles(stack, cells - start, genes, (shape[0] - start, shape[1]))


@given(st.sampled_from([1, 2, 3, 4, 8]), st.integers(0, 5_000), st.integers(0, 99))
def test_unshuffled(compiled: CompiledKernels, size: int, count: int, seed: int) -> None:
    """Elements come out of their shuffled bytes as they were."""
    elements = np.random.default_rng(seed).integers(0, 9, (count, size)).astype(np.uint8)
    shuffled = np.ascontiguousarray(elements.T).tobytes()
    for each in (compiled, REFERENCE):
        np.testing.assert_array_equal(each.unshuffle(shuffled, size), elements.ravel())


@given(st.data())
def test_inflated_chunks(compiled: CompiledKernels, text: Path, data: st.DataObject) -> None:
    """Chunks of any bytes are inflated as zlib does it, up to the first that is not whole."""
    size = data.draw(st.sampled_from([0, 1, 40, 1_000, 16_384, 70_000]))
    packed = [packed_chunk(data, size) for _ in range(data.draw(st.integers(1, 4)))]
    text.write_bytes(b"before" + b"".join(packed))
    sizes = np.array([len(each) for each in packed], np.uint64)
    starts = np.cumsum(sizes) - sizes + np.uint64(6)
    expected = [inflated(each, size) for each in packed]
    room = int(sizes.max()) + data.draw(st.integers(0, 2_000))
    windows = Windows(data.draw(st.integers(1, len(packed))), room)
    with text.open("rb") as file:
        # Several calls, whose chunks are also in what the calls before have read.
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.permutations(range(len(packed))))[: data.draw(st.integers(1, 4))]
            out = np.full((len(at) + 1, size), 7, np.uint8)
            where = file.fileno(), starts[at], sizes[at]
            done = compiled.inflate(*where, out[:-1], windows)
            assert REFERENCE.inflate(*where, out, windows) == 0
            wanted = [expected[each] for each in at]
            assert done == next((k for k, raw in enumerate(wanted) if raw is None), len(at))
            for raw, found in zip(wanted[:done], out, strict=False):
                assert found.tobytes() == raw
            assert (out[-1] == 7).all()


@pytest.mark.parametrize("size", [2**64 - 1, 2**63, 12])
def test_no_chunk_beyond_a_file(compiled: CompiledKernels, text: Path, size: int) -> None:
    """A chunk that ends behind its file, or begins nowhere, is not inflated."""
    text.write_bytes(b"x" * 9)
    starts, out = np.array([0, size], np.uint64), np.zeros((2, 8), np.uint8)
    windows = Windows(2, 12)
    with text.open("rb") as file:
        for sizes in ([12, 1], [9, 1], [13, 1]):
            where = file.fileno(), starts, np.array(sizes, np.uint64)
            assert compiled.inflate(*where, out, windows) == 0
        where = file.fileno(), starts[1:], np.array([9], np.uint64)
        assert compiled.inflate(*where, out[1:], windows) == 0
        assert compiled.inflate(*where, out[1:], Windows(0, 9)) == 0


def packed_chunk(data: st.DataObject, size: int) -> bytes:
    """Counts or noise, packed by any strategy; now and then with another size or bytes changed."""
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    density = data.draw(st.sampled_from([0.0, 0.01, 0.2, 1.0]))
    counts = rng.poisson(density, size).astype(data.draw(st.sampled_from(["u1", "f4", "i2"])))
    content = counts.tobytes()[:size]
    if data.draw(st.booleans()):
        content = rng.integers(0, data.draw(st.sampled_from([4, 256])), size, np.uint8).tobytes()
    level, strategy = data.draw(st.integers(0, 9)), data.draw(st.integers(0, 4))
    packer = zlib.compressobj(level, zlib.DEFLATED, data.draw(st.integers(9, 15)), 9, strategy)
    packed = bytearray(packer.compress(content[: size // 2]))
    packed += packer.flush(zlib.Z_FULL_FLUSH) if data.draw(st.booleans()) else b""
    packed += packer.compress(content[size // 2 :]) + packer.flush()
    kind = data.draw(st.sampled_from(["whole", "whole", "whole", "changed", "cut", "longer"]))
    for _ in range(data.draw(st.integers(1, 3)) if kind == "changed" else 0):
        packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(packed))) if kind == "cut" else len(packed)
    return bytes(packed[:cut]) + (b"\0" if kind == "longer" else b"")


def inflated(packed: bytes, size: int) -> bytes | None:
    """The bytes of a stream of so many; None if it is none, or something is behind it."""
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(packed, size + 1)
    except zlib.error:
        return None
    return raw if len(raw) == size and inflater.eof and not inflater.unused_data else None


_NUMBERS_OF_TEXT = st.integers(0, 12).map(str) | st.sampled_from(
    [
        "",
        "007",
        "+1",
        "-1",
        "1.0",
        "2.5",
        "1e1",
        "999999999",
        "4294967297",
        "0x1",
        "nan",
        "a",
        "9" * 20,
    ]
)
_LINES = st.tuples(_NUMBERS_OF_TEXT, _NUMBERS_OF_TEXT, _NUMBERS_OF_TEXT).map(" ".join)
_ODD_LINES = st.sampled_from(
    ["", "% comment", "1\t1\t1", " 1 1 1", "1 1 1 ", "1 1", "1 1 1 1", "1 1 1\r"]
)
_GOOD_LINES = st.tuples(*[st.integers(1, 9).map(str)] * 3).map(" ".join)


def parsed(used: Kernels, path: Path) -> Any:
    """The entries of an MTX file with these kernels; or the error."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matrix_market, "kernels", lambda: used)
        try:
            pieces = list(matrix_market.entries(path, matrix_market.read_header(path), 4))
        except SlafError as error:
            return str(error)
    return [(piece.cells.tolist(), piece.genes.tolist(), piece.values.tolist()) for piece in pieces]


@given(
    st.sampled_from(["integer", "unsigned-integer", "real", "pattern"]),
    st.lists(_GOOD_LINES, max_size=9) | st.lists(_GOOD_LINES | _LINES | _ODD_LINES, max_size=9),
)
def test_lines_of_text(compiled: CompiledKernels, text: Path, field: str, lines: list[str]) -> None:
    """Any lines of an MTX file have the same entries, or the same error, with both kernels."""
    if field == "pattern":
        lines = [line.rpartition(" ")[0] for line in lines]
    head = f"%%MatrixMarket matrix coordinate {field} general\n9 9 {len(lines)}\n"
    text.write_text(head + "\n".join(lines), newline="")
    assert parsed(compiled, text) == parsed(REFERENCE, text)


@pytest.mark.parametrize("content", [None, b"", b"not a library", b"\x7fELF" + bytes(60)])
def test_a_library_that_does_not_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    """Without a library, or with one of another machine, the kernels are those of numpy."""
    monkeypatch.setattr(kernels, "FILE", tmp_path / "kernels.so")
    if content is not None:
        kernels.FILE.write_bytes(content)
    assert type(kernels.kernels.__wrapped__()) is Kernels
    assert not kernels.are_compiled()


def test_a_library_of_another_version(tmp_path: Path) -> None:
    """A library that was compiled from other source than that of the package is not used."""
    library = tmp_path / "kernels.so"
    (tmp_path / "kernels.c").write_text("int slaf_version(void) { return 0; }")
    if not compile_library(tmp_path, library):
        pytest.skip("there is no C compiler")
    with pytest.raises(OSError, match="another version"):
        kernels.load_library(library)


def test_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a compiler that works none is left of an earlier library, and nothing is raised."""
    library = tmp_path / "kernels.so"
    for compiler in ("false", "no-such-compiler"):
        library.write_bytes(b"of before")
        monkeypatch.setenv("CC", compiler)
        assert not compile_library(CHECKOUT / SOURCES, library)
        assert list(tmp_path.iterdir()) == []


def test_conversions_without_compiled_kernels(tmp_path: Path) -> None:
    """A package without the library says once that it is slower, and writes the same blocks."""
    matrix = counts(300, 40)
    path = write_h5ad(tmp_path / "counts.h5ad", matrix)
    slaf.convert(path, tmp_path / "here.slaf")
    script = (
        "import sys; from pathlib import Path; from slaf import kernels;"
        "kernels.FILE = Path('no-such-file');"
        "from slaf_cli.app import program; program()"
    )
    words = ["convert", str(path), str(tmp_path / "there.slaf")]
    ran = subprocess.run(
        [sys.executable, "-c", script, *words], check=True, capture_output=True, text=True
    )
    assert ran.stderr.count("installed without a C compiler") == 1
    configs = (tmp_path / name / "config.json" for name in ("here.slaf", "there.slaf"))
    here, there = (json.loads(config.read_text()) for config in configs)
    assert here["blocks"] == there["blocks"]
    assert here["metadata"] == there["metadata"]


def test_the_library_is_in_its_place() -> None:
    """What the hook of the build compiles is what the package loads."""
    assert CHECKOUT / LIBRARY == kernels.FILE


@pytest.mark.parametrize(
    ("of", "to"), [("u2", "i4"), ("u4", "i4"), ("u2", "f4"), ("f4", "f4"), ("u2", "i8")]
)
@given(data=st.data())
def test_gathered_rows(compiled: CompiledKernels, of: str, to: str, data: st.DataObject) -> None:
    """Rows of several arrays, in any order, several times and empty ones too."""
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    lengths = data.draw(st.lists(st.integers(0, 40), min_size=1, max_size=4))
    # Views with a first element anywhere, as of columns that were read together.
    arrays = [rng.integers(0, 60_000, 3 + n).astype(of)[3:] for n in lengths]
    n_rows = data.draw(st.integers(0, 12))
    array = rng.integers(0, len(arrays), n_rows)
    bounds = [np.sort(rng.integers(0, lengths[at] + 1, 2)) for at in array]
    starts, stops = np.array(bounds, np.int64).reshape(-1, 2).T
    rows = rng.integers(0, n_rows, data.draw(st.integers(0, 9))) if n_rows else np.empty(0, int)
    outs = [np.full(int((stops - starts)[rows].sum()), 7, to) for _ in range(2)]
    for each, out in zip((compiled, REFERENCE), outs, strict=True):
        each.gather(arrays, array, starts, stops)(rows, out)
    np.testing.assert_array_equal(outs[0], outs[1])
    expected = [arrays[array[row]][starts[row] : stops[row]] for row in rows]
    np.testing.assert_array_equal(outs[0], np.concatenate([np.empty(0, of), *expected]))


@given(st.integers(0, 6), st.integers(1, 40), st.integers(0, 99))
def test_whole_rows(compiled: CompiledKernels, n_rows: int, n_genes: int, seed: int) -> None:
    """Entries are written in any order, the last of a place counts, and all else is zero."""
    rng = np.random.default_rng(seed)
    indptr = np.concatenate([[0], np.cumsum(rng.integers(0, 9, n_rows))]).astype(np.int64)
    genes = rng.integers(0, n_genes, indptr[-1]).astype(np.int32)
    for dtype in ("f4", "u2", "f8"):
        values = rng.integers(0, 99, len(genes)).astype(dtype)
        outs = [np.full((n_rows, n_genes), 7, np.float32) for _ in range(2)]
        for each, out in zip((compiled, REFERENCE), outs, strict=True):
            each.dense(indptr, genes, values, out)
        np.testing.assert_array_equal(outs[0], outs[1])


@pytest.mark.parametrize("gene", [3, 2**31 - 1])
def test_an_entry_outside_a_row(compiled: CompiledKernels, gene: int) -> None:
    """No memory outside the rows is written."""
    for each in (compiled, REFERENCE):
        with pytest.raises(IndexError, match="out of bounds"):
            each.dense(
                np.array([0, 1]), np.array([gene], "i4"), np.ones(1, "f4"), np.empty((1, 3), "f4")
            )


def test_rows_beyond_an_array(compiled: CompiledKernels) -> None:
    """No memory outside the arrays is read."""
    arrays, stops = [np.arange(4, dtype="u2")], np.array([9])
    write = compiled.gather(arrays, np.array([0]), np.array([2]), stops)
    with pytest.raises(ValueError, match="shape"):
        write(np.array([0]), np.empty(7, "i4"))


def rows_of(data: st.DataObject, dtype: np.dtype[Any]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """The lengths of some rows, empty ones too, and an entry for each of their elements."""
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    values = drawn(data, dtype, 60_000)
    cuts = np.sort(rng.integers(0, len(values) + 1, data.draw(st.integers(0, 9))))
    return np.diff(np.concatenate([[0], cuts, [len(values)]])).astype(np.int64), values


@pytest.mark.parametrize("dtype", ["u2", "u4", "i4", "i8", "u8", "f2", "f4", "f8"])
@given(data=st.data())
def test_sums_of_rows(compiled: CompiledKernels, dtype: str, data: st.DataObject) -> None:
    """Sums of whole numbers are equal, and those of floats have the same bits."""
    counts, values = rows_of(data, np.dtype(dtype))
    if values.dtype.itemsize == 8 and values.dtype.kind in "iu":
        values %= 2**30
    with np.errstate(invalid="ignore", over="ignore"):
        found, expected = (each.row_sums(counts, values) for each in (compiled, REFERENCE))
    np.testing.assert_array_equal(found, expected, strict=True)


@pytest.mark.parametrize(
    ("of", "to"),
    [("u2", "f4"), ("u4", "f4"), ("i4", "f4"), ("f4", "f4"), ("f8", "f8"), ("i8", "f4")],
)
@given(data=st.data())
def test_scaled_rows(compiled: CompiledKernels, of: str, to: str, data: st.DataObject) -> None:
    """Entries times the factor of their row have the same bits, and infinite ones are noticed."""
    counts, values = rows_of(data, np.dtype(of))
    some = st.floats(0, 1e30) | st.sampled_from([np.inf, np.nan, 5e-324, 1e300])
    factors = np.array(data.draw(st.lists(some, min_size=len(counts), max_size=len(counts))))
    outs = [np.full(len(values), 7, to) for _ in range(2)]
    found, expected = (
        each.scale(counts, values, factors, out)
        for each, out in zip((compiled, REFERENCE), outs, strict=True)
    )
    assert found is expected is bool(np.isinf(outs[1]).any())
    np.testing.assert_array_equal(outs[0], outs[1], strict=True)


@pytest.mark.parametrize("column", ["u2", "u4", "i4", "i8"])
@pytest.mark.parametrize("dtype", ["?", "u2", "f4", "i8"])
@given(data=st.data())
def test_selected_columns(
    compiled: CompiledKernels, column: str, dtype: str, data: st.DataObject
) -> None:
    """The entries in some columns are those whose column has a place; others leave no trace."""
    counts, values = rows_of(data, np.dtype(dtype))
    rng = np.random.default_rng(len(values))
    places = np.where(rng.random(50) < 0.5, np.arange(50, dtype=np.int32), np.int32(-1))
    columns = rng.integers(0, 50, len(values)).astype(column)
    found, expected = (
        each.select(counts, columns, values, places) for each in (compiled, REFERENCE)
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_rows_that_do_not_fit(compiled: CompiledKernels) -> None:
    """No memory outside the arrays is read or written, whatever lengths and columns say."""
    values, columns = np.ones(4, "f4"), np.arange(4, dtype="u4")
    for lengths in (np.array([2, 9]), np.array([-3, 7])):
        with pytest.raises((IndexError, ValueError)):
            compiled.row_sums(lengths, values)
        with pytest.raises(ValueError, match=r"broadcast|negative"):
            compiled.scale(lengths, values, np.ones(2), np.empty(4, "f4"))
    for places in (np.zeros(3, np.int32), np.empty(0, np.int32)):
        with pytest.raises(IndexError):
            compiled.select(np.array([4]), columns, values, places)
