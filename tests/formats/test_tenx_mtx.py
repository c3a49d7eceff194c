"""10x MTX folders, as programs write them, repositories keep them and accidents leave them."""

from __future__ import annotations

import gzip
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

import slaf
from slaf.errors import UnfinishedRun
from slaf.testing.strategies import Stored, matrices
from tests.builders import examples
from tests.cli.terminal import run, stop_after
from tests.formats.builders import Mtx, ids, write_v3
from tests.formats.checks import converted, refused

# Cells 0 and 3 are empty, a place is repeated, a zero is stored.
STORED = Stored(
    (6, 5),
    np.array([1, 1, 1, 2, 4, 4, 5, 5, 5]),
    np.array([4, 0, 4, 3, 2, 1, 0, 1, 2]),
    np.array([2, 3, 4, 5, 0, 7, 8, 70_000, 10]),
)
N_CELLS, N_GENES, N_ENTRIES = 6, 5, 9
# The banner, a comment and the sizes come before them.
FIRST_LINE = 4
PLAIN = Mtx(packed=False)


def with_values(values: Any) -> Stored:
    """The same places with other values."""
    return replace(STORED, values=np.array(values))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", ["by cell", "by gene", "shuffled"])
def test_every_layout(version: int, packed: bool, order: str, tmp_path: Path) -> None:  # noqa: FBT001 - pytest names them
    """Both versions, packed or not, in any order, hold what was written."""
    folder = Mtx(version=version, packed=packed, order=order).write(tmp_path / "in", STORED)
    dataset = converted(folder, STORED, chunk_size=2)
    assert dataset.obs_names.to_list() == ids("cell", N_CELLS)
    assert dataset.var_names.to_list() == ids("gene", N_GENES)
    assert dataset.var["gene_name"].to_list() == ["NAME0", "NAME1", "NAME2", "NAME3", "NAME4"]
    assert list(dataset.var) == ["gene_name", *(["feature_type"] if version == 3 else [])]


@pytest.mark.parametrize(
    ("field", "values", "dtype"),
    [
        ("integer", STORED.values, "int64"),
        ("real", STORED.values, "float64"),
        ("pattern", np.ones(N_ENTRIES, np.int64), "uint8"),
        ("unsigned-integer", STORED.values, "uint64"),
    ],
)
def test_every_field(field: str, values: Any, dtype: str, tmp_path: Path) -> None:
    """Integers, reals and patterns are read as what the header calls them."""
    stored = with_values(values)
    dataset = converted(Mtx(field=field).write(tmp_path / "in", stored), stored)
    assert dataset.sources[0].dtype == dtype


def test_real_numbers(tmp_path: Path) -> None:
    """Fractions, exponents, negative numbers, NaN and infinity are read as float64."""
    stored = with_values([0.1, -1.5, 1e-300, 2.0**60, np.nan, np.inf, 1e22, 3.0, 0.0])
    converted(Mtx(field="real").write(tmp_path / "in", stored), stored)


@examples(15)
@given(stored=matrices(np.dtype(np.float64), repeated=False), packed=st.booleans())
def test_any_real_number(stored: Stored, packed: bool) -> None:  # noqa: FBT001 - hypothesis names them
    """Whatever float64 holds is read from its decimals to the last bit."""
    way = Mtx(field="real", packed=packed)
    with tempfile.TemporaryDirectory() as folder:
        converted(way.write(Path(folder) / "in", stored), stored, chunk_size=2, memory=1000)


def test_the_longest_integers(tmp_path: Path) -> None:
    """Integers of 64 bits are read to their last digit."""
    stored = with_values([1, 2, 3, 2**63 - 1, -(2**63), 6, 7, 8, 2**53 + 1])
    converted(Mtx().write(tmp_path / "in", stored), stored)


@pytest.mark.parametrize(
    "way",
    [
        Mtx(newline="\r\n"),
        Mtx(separator="\t"),
        Mtx(separator="   "),
        Mtx(comments=()),
        Mtx(comments=("%", "% made by hand", "%metadata_json: {}", "")),
        Mtx(lines=("", "", "  ", "\t")),
        Mtx(lines=("% the end",)),
        Mtx(comments=("", "  ")),
        Mtx(newline=" \n"),
    ],
    ids=lambda way: repr(way).split("packed")[-1],
)
@pytest.mark.parametrize("packed", [False, True])
def test_every_spelling(way: Mtx, packed: bool, tmp_path: Path) -> None:  # noqa: FBT001 - pytest names them
    """Line ends, tabs, padding, comments and blank lines change nothing."""
    names = replace(way, newline=way.newline.lstrip(" "), packed=packed)
    folder = names.write(tmp_path / "in", STORED)
    replace(way, packed=packed).write(tmp_path / "spelt", STORED)
    names.matrix(tmp_path / "spelt").rename(names.matrix(folder))
    dataset = converted(folder, STORED, memory=1000)
    assert dataset.obs_names.to_list() == ids("cell", N_CELLS)


def test_no_final_newline(tmp_path: Path) -> None:
    """The last line may lack its end, in each of the three files."""
    folder = PLAIN.write(tmp_path / "in", STORED)
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes().rstrip(b"\n"))
    converted(folder, STORED)


@pytest.mark.parametrize("dtype", ["u4", "u8", "i4", "i8", "f4", "f8"])
def test_what_scipy_writes(dtype: str, tmp_path: Path) -> None:
    """A matrix that SciPy wrote, of any type, is read."""
    folder = PLAIN.write(tmp_path / "in", STORED)
    matrix: Any = sp.coo_matrix(
        (STORED.values, (STORED.genes, STORED.cells)), shape=(N_GENES, N_CELLS)
    )
    with PLAIN.matrix(folder).open("wb") as file:
        scipy.io.mmwrite(file, matrix.astype(dtype), symmetry="general")
    converted(folder, STORED)


def test_prefixed_names(tmp_path: Path) -> None:
    """The names may have a prefix, as repositories give them."""
    folder = Mtx(prefix="GSM123_sample_").write(tmp_path / "in", STORED)
    converted(folder, STORED)
    converted(folder / "GSM123_sample_matrix.mtx.gz", STORED)


def test_several_samples_in_a_folder(tmp_path: Path) -> None:
    """Several matrices in a folder are several inputs, and one of them may be named."""
    other = with_values(STORED.values + 1)
    folder = Mtx(prefix="GSM1_").write(tmp_path / "in", STORED)
    Mtx(prefix="GSM2_", version=2, packed=False).write(folder, other)
    both = slaf.convert(folder, tmp_path / "both.slaf", allow_duplicate=True)
    names = [source.uri.rsplit("/", 1)[-1] for source in both.sources]
    assert names == ["GSM1_matrix.mtx.gz", "GSM2_matrix.mtx"]
    slaf.verify(both, against=folder)
    converted(folder / "GSM1_matrix.mtx.gz", STORED)
    converted(folder / "GSM2_matrix.mtx", other)


def test_what_macos_leaves(tmp_path: Path) -> None:
    """The files of attributes that macOS puts beside others are no matrices."""
    folder = Mtx().write(tmp_path / "in", STORED)
    (folder / "._matrix.mtx.gz").write_bytes(b"\0\5\26\7")
    converted(folder, STORED)


def test_a_file_beside_its_packed_copy(tmp_path: Path) -> None:
    """Features that are there twice are read if both say the same, and else a riddle."""
    folder = Mtx().write(tmp_path / "in", STORED)
    copy = folder / "features.tsv"
    copy.write_bytes(gzip.decompress((folder / "features.tsv.gz").read_bytes()))
    converted(folder, STORED)
    copy.write_bytes(copy.read_bytes().replace(b"gene-1", b"gene-x"))
    said = refused(folder)
    assert f"{folder}: features.tsv.gz and features.tsv differ" in said


@pytest.mark.parametrize(("name", "what"), [("features", "genes"), ("barcodes", "barcodes")])
def test_a_missing_file(name: str, what: str, tmp_path: Path) -> None:
    """Of a file that is missing every name that it could have is said."""
    folder = Mtx(prefix="s1_").write(tmp_path / "in", STORED)
    (folder / f"s1_{name}.tsv.gz").unlink()
    said = refused(folder)
    assert f"{folder}: the {what}" in said
    assert f"are missing: s1_{name}.tsv.gz or s1_{name}.tsv" in said


def test_a_matrix_of_another_name(tmp_path: Path) -> None:
    """A matrix of any name is read where its folder leaves one reading, or its tables are named."""
    folder = PLAIN.write(tmp_path / "in", STORED)
    renamed = PLAIN.matrix(folder).rename(folder / "sizes.mtx")
    converted(folder, STORED)
    converted(renamed, STORED)
    for table in ("features", "barcodes"):
        (folder / f"{table}.tsv").rename(folder / f"{table[:4]}.list")
    assert f"{renamed}: its name does not say which barcodes" in refused(renamed)
    converted(renamed, STORED, barcodes=folder / "barc.list", features=str(folder / "feat.list"))


@pytest.mark.parametrize("declared", [0, N_ENTRIES - 1, N_ENTRIES + 1])
@pytest.mark.parametrize("packed", [False, True])
def test_a_wrong_count(declared: int, packed: bool, tmp_path: Path) -> None:  # noqa: FBT001 - pytest names them
    """Entries that are not as many as declared are refused with both numbers."""
    way = Mtx(declared=declared, packed=packed)
    folder = way.write(tmp_path / "in", STORED)
    said = refused(folder)
    assert f"{way.matrix(folder)}: it declares {declared} entries, but has {N_ENTRIES}" in said


@pytest.mark.parametrize("name", ["matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz"])
@pytest.mark.parametrize("left", [0.9, 0.3])
def test_a_truncated_file(name: str, left: float, tmp_path: Path) -> None:
    """A packed file that was not copied whole is named as such."""
    file = Mtx().write(tmp_path / "in", STORED) / name
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * left)])
    assert f"{file}: it is cut short, its gzip stream has no end" in refused(file.parent)


@pytest.mark.parametrize("bit", range(0, 8000, 401))
def test_a_damaged_file(bit: int, tmp_path: Path) -> None:
    """A packed matrix with one bit changed is refused, wherever that is in its stream."""
    rng = np.random.default_rng(3)
    cells, genes = rng.integers(0, N_CELLS, 3000), rng.integers(0, N_GENES, 3000)
    stored = Stored((N_CELLS, N_GENES), cells, genes, rng.integers(1, 9, 3000))
    file = Mtx().matrix(Mtx().write(tmp_path / "in", stored))
    content = bytearray(file.read_bytes())
    # Behind the header of gzip, whose bits mean little.
    content[10 + bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)
    assert str(file) in refused(file.parent)


def test_a_matrix_that_ends_in_a_line(tmp_path: Path) -> None:
    """Text that ends in the middle of an entry is refused with the line."""
    folder = replace(PLAIN, order="by gene").write(tmp_path / "in", STORED)
    file = PLAIN.matrix(folder)
    file.write_bytes(file.read_bytes()[:-4])
    last = FIRST_LINE + N_ENTRIES - 1
    assert f"{file}, line {last}: '5' is not an entry (row column value)" in refused(folder)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("0 3 1", f"an entry is in row 0, but they go from 1 to {N_GENES}"),
        ("6 3 1", f"an entry is in row 6, but they go from 1 to {N_GENES}"),
        ("3 7 1", f"an entry is in column 7, but they go from 1 to {N_CELLS}"),
        ("3 -1 1", f"an entry is in column -1, but they go from 1 to {N_CELLS}"),
        ("3 x 1", "'3 x 1' is not an entry (row column value) of the matrix"),
        ("3 2 1.5", "'3 2 1.5' is not an entry"),
        ("3 2 0x10", "'3 2 0x10' is not an entry"),
        ("3 2", "'3 2' is not an entry"),
        ("3 2 1 1", "'3 2 1 1' is not an entry"),
        ("3 2 9223372036854775808", "'3 2 9223372036854775808' is not an entry"),
        ("3 1e0 1", "'3 1e0 1' is not an entry"),
    ],
)
@pytest.mark.parametrize("comments", [(), ("", "% one", "% two")])
def test_a_line_that_is_no_entry(
    line: str, what: str, comments: tuple[str, ...], tmp_path: Path
) -> None:
    """A line that cannot be an entry is refused with its number and its text."""
    way = Mtx(packed=False, lines=("% between", line, "1 1 1"), declared=11, comments=comments)
    folder = way.write(tmp_path / "in", STORED)
    number = 2 + len(comments) + N_ENTRIES + 2
    assert f"{way.matrix(folder)}, line {number}: {what}" in refused(folder)


def test_counting_from_zero(tmp_path: Path) -> None:
    """A matrix that counts from 0 is refused, with the first entry that shows it."""
    folder = replace(PLAIN, base=0).write(tmp_path / "in", STORED)
    said = refused(folder)
    # The first entry of the first cell that has some.
    assert f"{PLAIN.matrix(folder)}, line {FIRST_LINE}: an entry is in row 0, but they go" in said


@pytest.mark.parametrize(
    "number",
    [
        *("9007199254740993", "-9007199254740993", "9007199254740993.0", "+9007199254740993.000"),
        *("1e400", "-2e308", "1e-400", "-0.00001e-330"),
    ],
)
def test_a_number_that_would_be_rounded(number: str, tmp_path: Path) -> None:
    """A whole number that float64 does not hold, or one beyond its range, is refused."""
    way = Mtx(packed=False, field="real", lines=(f"2 1 {number}",), declared=N_ENTRIES + 1)
    folder = way.write(tmp_path / "in", STORED)
    line = FIRST_LINE + N_ENTRIES
    said = refused(folder)
    assert f"{way.matrix(folder)}, line {line}: no float64 holds {number} exactly" in said


@pytest.mark.parametrize(
    "number",
    ["9007199254740992.0", "9007199254740993.5", "1.2345678901234567e+20", "0", "-0.0e3", "inf"],
)
def test_a_number_that_stands_for_a_float64(number: str, tmp_path: Path) -> None:
    """What writers print of float64, and what is a zero or infinite on purpose, is taken."""
    way = Mtx(packed=False, field="real", lines=(f"2 1 {number}",), declared=N_ENTRIES + 1)
    dataset = slaf.convert(way.write(tmp_path / "in", STORED), tmp_path / "out.slaf")
    assert dataset.X.to_memory()[0, 1] == float(number)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "its first line is '', not '%%MatrixMarket matrix coordinate"),
        (b"5 6 9\n1 1 1\n", "its first line is '5 6 9', not"),
        (b"%%MatrixMarket matrix array real general\n5 6\n", "array real general', not"),
        (b"%%MatrixMarket matrix coordinate integer symmetric\n5 5 0\n", "symmetric', not"),
        (b"%%MatrixMarket matrix coordinate complex general\n5 6 0\n", "complex general', not"),
        (b"%%MatrixMarket matrix coordinate integer general\n", "it ends before its sizes"),
        (
            b"%%MatrixMarket matrix coordinate integer general\n%\n5 6\n",
            ", line 3: '5 6' is not three sizes: rows, columns, entries",
        ),
        (
            b"%%MatrixMarket matrix coordinate integer general\n5 t 9\n",
            ", line 2: '5 t 9' is not three sizes",
        ),
        (
            b"%%MatrixMarket matrix coordinate integer general\n5 0 9\n",
            ", line 2: 9 entries in a matrix of 5 × 0",
        ),
    ],
)
def test_a_wrong_header(content: bytes, what: str, tmp_path: Path) -> None:
    """A header that is not one of a sparse general matrix is refused with what it says."""
    file = PLAIN.matrix(PLAIN.write(tmp_path / "in", STORED))
    file.write_bytes(content)
    said = refused(file.parent)
    assert str(file) in said
    assert what in said


@pytest.mark.parametrize(("name", "needed"), [("features", N_GENES), ("barcodes", N_CELLS)])
def test_tables_of_another_length(name: str, needed: int, tmp_path: Path) -> None:
    """Barcodes or features that are not as many as the matrix has are refused with both numbers."""
    file = PLAIN.write(tmp_path / "in", STORED) / f"{name}.tsv"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    said = refused(file.parent)
    assert f"{file}: it has {needed - 1} lines, but the matrix needs {needed}" in said


@pytest.mark.parametrize(
    ("width", "names"),
    [
        (1, []),
        (2, ["gene_name"]),
        (3, ["gene_name", "feature_type"]),
        (4, ["gene_name", "feature_type", "column_4"]),
        (6, ["gene_name", "feature_type", "chromosome", "start", "end"]),
    ],
)
def test_columns_of_features(width: int, names: list[str], tmp_path: Path) -> None:
    """Every column of the features is kept, under its name if it has one."""
    folder = PLAIN.write(tmp_path / "in", STORED)
    rows = [[f"gene-{row}", *(f"{row}.{column}" for column in range(1, width))] for row in range(5)]
    (folder / "features.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    var = converted(folder, STORED).var
    assert list(var) == names
    assert [[name, *values] for name, *values in var.itertuples()] == rows


def test_features_of_different_widths(tmp_path: Path) -> None:
    """Features whose lines have different numbers of columns are refused with the row."""
    file = PLAIN.write(tmp_path / "in", STORED) / "features.tsv"
    file.write_text(file.read_text().replace("gene-2\tNAME2\t", "gene-2\t"))
    said = refused(file.parent)
    assert f"{file}: it is not a table separated by tabs" in said
    assert "Row #3: Expected 3 columns, got 2: gene-2" in said


def test_ids_are_kept_as_they_are(tmp_path: Path) -> None:
    """Ids that repeat, look like numbers or missing values, or hold quotes, stay as they are."""
    folder = PLAIN.write(tmp_path / "in", STORED)
    names = ["0012", "0012", "NA", '"quoted', "é細"]
    (folder / "features.tsv").write_text("".join(f"{name}\tn\tt\n" for name in names))
    (folder / "barcodes.tsv").write_text("AAC-1\nAAC-1\nnan\nnull\n1e5\n-\n")
    dataset = converted(folder, STORED)
    assert dataset.var_names.to_list() == names
    assert dataset.obs_names.to_list() == [
        "AAC-1",
        "AAC-1",
        "nan",
        "null",
        "1e5",
        "-",
    ]


@pytest.mark.parametrize("name", ["features", "barcodes"])
def test_text_in_another_encoding(name: str, tmp_path: Path) -> None:
    """Text that is not UTF-8 is refused with its line, not guessed."""
    file = PLAIN.write(tmp_path / "in", STORED) / f"{name}.tsv"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:2], b"\xe9" + lines[2], *lines[3:]]))
    assert f"{file}, line 3: it is not text in UTF-8" in refused(file.parent)


def test_one_type_of_features(tmp_path: Path) -> None:
    """The features of one type are taken with --feature-type, and verified with no more said."""
    folder = Mtx().write(tmp_path / "in", STORED)
    types = ["Gene Expression", "Antibody Capture", "Gene Expression", "CRISPR", "Gene Expression"]
    rows = [f"gene-{row}\tNAME{row}\t{kind}\n" for row, kind in enumerate(types)]
    (folder / "features.tsv.gz").write_bytes(gzip.compress("".join(rows).encode()))
    kept = np.isin(STORED.genes, [0, 2, 4])
    expected = Stored(
        (N_CELLS, 3), STORED.cells[kept], STORED.genes[kept] // 2, STORED.values[kept]
    )
    dataset = converted(folder, expected, feature_type="Gene Expression")
    assert dataset.var_names.to_list() == [
        "gene-0",
        "gene-2",
        "gene-4",
    ]
    assert dataset.sources[0].choice == {"feature_type": "Gene Expression"}
    said = refused(folder, "--feature-type", "Peaks")
    assert f"{folder}: there are no features of type 'Peaks'; it has 'Antibody Capture'" in said


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--feature-type", "Peaks"), "it has no types at all"),
        (("--genome", "hg19"), "has no genome to choose"),
        (("--measurement", "RNA"), "has no measurement to choose"),
        (("--matrix", "raw"), "a 10x folder has no matrix 'raw', only X"),
    ],
)
def test_what_cannot_be_chosen(options: tuple[str, ...], what: str, tmp_path: Path) -> None:
    """What a folder of version 2 has not is refused, and said."""
    folder = Mtx(version=2).write(tmp_path / "in", STORED)
    said = refused(folder, *options)
    assert str(folder) in said
    assert what in said


@pytest.mark.parametrize(
    ("name", "what"),
    [("matrix.mtx", "matrix"), ("features.tsv", "genes"), ("barcodes.tsv", "barcodes")],
)
def test_another_input(name: str, what: str, tmp_path: Path) -> None:
    """A conversion that was stopped is not resumed when one of the three files has changed."""
    folder = PLAIN.write(tmp_path / "in", STORED)
    stop_after(4, folder, tmp_path / "out.slaf", chunk_size=2)
    file = folder / name
    file.write_bytes(file.read_bytes() + b"\n")
    with pytest.raises(UnfinishedRun, match=f"input {what} of .*/in was changed"):
        slaf.convert(folder, tmp_path / "out.slaf", chunk_size=2)


def test_the_plan(tmp_path: Path) -> None:
    """A dry run tells the count that is declared, and the scratch that sorting takes."""
    folder = Mtx().write(tmp_path / "in", STORED)
    found = run("convert", folder, tmp_path / "out.slaf", "--dry-run").succeeded().out
    assert f"{folder} (10x_mtx)" in found
    assert "X (MTX, int64)" in found
    assert f"nonzeros       {N_ENTRIES}\n" in found
    assert "108 bytes of scratch" in found


def test_images_of_a_slide_are_named(tmp_path: Path) -> None:
    """What Space Ranger puts beside a matrix is named as left behind, of a folder and of a file."""
    stored = Stored((2, 2), np.array([0, 1]), np.array([1, 0]), np.array([1, 2], np.int32))
    outs = tmp_path / "outs"
    folder = Mtx().write(outs / "filtered_feature_bc_matrix", stored)
    file = write_v3(outs / "filtered_feature_bc_matrix.h5", stored)
    for place in (folder, file):
        without = slaf.info(place)
        (outs / "spatial").mkdir()
        found = slaf.info(place)
        (outs / "spatial").rmdir()
        assert isinstance(without, slaf.InputInfo)
        assert isinstance(found, slaf.InputInfo)
        assert found.not_converted == (*without.not_converted, "spatial (images, positions)")
