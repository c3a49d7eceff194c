"""Files of reads: every base, every bin and every strand, against a count base by base."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pysam
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st

import slaf
from slaf.annotations.lazy_table import PIECE_ROWS
from slaf.errors import (
    AlreadyInDataset,
    DuplicateInput,
    GeneMismatch,
    InputError,
    MissingMatrix,
)
from slaf.options import ReadOptions
from slaf.sources import open_source
from slaf.sources.bam import regions
from slaf.sparse.ranges import RowRange
from slaf.testing.laws import SourceLaws
from tests.sources.reads import CONTIGS, M, N, Read, depth_of, reads, used, write_reads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from slaf.sources.base import Source

SOME = [
    Read(0, 10, ((M, 20),)),
    Read(0, 25, ((M, 10), (N, 100), (M, 10)), 16),
    Read(0, 280, ((M, 20),), 99),
    Read(1, 0, ((M, 51),), 147),
    Read(3, 5, ((M, 5),), 1024),
]


class TestBam(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """A sorted file with an index."""
        path = write_reads(folder / "in.bam", SOME, index=True)
        return lambda: open_source(path, options=ReadOptions(bin_size=9, stranded="F"))


class TestCramOfRegions(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """Regions of a file without a reference."""
        path = write_reads(folder / "in.cram", SOME)
        bed = folder / "peaks.bed"
        bed.write_text("chr2\t0\t51\nchr1\t20\t40\tname\nchr1\t0\t30\n")
        return lambda: open_source(path, options=ReadOptions(regions=bed))


def bases(source: Source, strand: int | None = None) -> list[NDArray[np.uint32]]:
    """The depth of each base of each contig of a source of one cell, from its runs."""
    coverage = source.coverage()
    assert coverage is not None
    columns: dict[str, Any] = {}
    for name, matrix in coverage.columns.items():
        (batch,) = matrix.batches(RowRange(0, 1))
        columns[name], columns["contig"] = batch.values, batch.genes
    depth = [np.zeros(length, np.uint32) for _, length in coverage.contigs]
    for contig, strand_of, start, length, value in zip(
        *(columns[name] for name in ("contig", "strand", "start", "length", "depth")), strict=True
    ):
        if strand in {None, int(strand_of)}:
            depth[contig][start : start + length] += value
    check_runs(columns)
    return depth


def check_runs(columns: dict[str, Any]) -> None:
    """Runs ascend, do not overlap, are as long as can be, and have a depth."""
    assert (columns["depth"] > 0).all()
    assert (columns["length"] > 0).all()
    rows = list(zip(columns["contig"], columns["strand"], columns["start"], strict=True))
    assert rows == sorted(rows)
    ends = columns["start"].astype(int) + columns["length"]
    for at in range(1, len(rows)):
        if rows[at][:2] == rows[at - 1][:2]:
            same = columns["depth"][at] == columns["depth"][at - 1]
            assert rows[at][2] > ends[at - 1] - (not same)


def in_bins(depth: Sequence[NDArray[np.uint32]], size: int) -> NDArray[np.int64]:
    """The sums of depth in bins, contig after contig."""
    sums = [
        int(one[start : start + size].sum()) for one in depth for start in range(0, len(one), size)
    ]
    return np.array(sums)


def row(source: Source) -> NDArray[np.int64]:
    """The only cell as a dense row."""
    dense: NDArray[np.int64] = source.read(None).toarray()[0]
    return dense


def assert_depth(actual: list[NDArray[Any]], expected: list[NDArray[Any]]) -> None:
    """Every base is equal."""
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@given(
    alignments=reads(),
    suffix=st.sampled_from([".bam", ".bam", ".cram", ".sam"]),
    is_sorted=st.booleans(),
    bin_size=st.sampled_from([1, 7, 50, 1000]),
    reading=st.sampled_from(
        [
            {},
            {"min_mapq": 10},
            {"exclude": 0, "min_mapq": 20},
            {"exclude": 16},
            {"include": 1},
            {"exclude": 3840, "include": 2},
        ]
    ),
)
@settings(max_examples=25)
def test_every_base_and_every_bin(
    *, alignments: list[Read], suffix: str, is_sorted: bool, bin_size: int, reading: dict[str, int]
) -> None:
    """Whatever reads there are, in whatever file and order: bases, bins and numbers of reads."""
    counted = [read for read in alignments if used(read, **reading)]
    names = {"exclude": "exclude_flags", "include": "include_flags"}
    chosen: dict[str, Any] = {names.get(name, name): value for name, value in reading.items()}
    options = ReadOptions(bin_size=bin_size, **chosen)
    with tempfile.TemporaryDirectory() as folder:
        path = write_reads(Path(folder, "s" + suffix), alignments, is_sorted=is_sorted)
        with open_source(path, options=options) as source:
            expected = depth_of(counted)
            assert_depth(bases(source), expected)
            np.testing.assert_array_equal(row(source), in_bins(expected, bin_size))
            (cell,) = source.measured_cells().to_pylist()
            assert cell["total_reads"] == len(counted)
            assert cell["mapped_reads"] == sum(not read.flag & 4 for read in alignments)
            total = sum(int(one.sum()) for one in expected)
            assert cell["mean_depth"] == total / sum(length for _, length in CONTIGS)
            assert source.genes().num_rows == len(row(source))


@given(alignments=reads(), stranded=st.sampled_from("RF"))
@settings(max_examples=12)
def test_forward_and_reverse_are_all(alignments: list[Read], stranded: str) -> None:
    """Each strand has the fragments of it, by first and second reads, and both make the total."""
    # Alone and forward; first and forward; second and reverse.
    of_first = {0, 99, 147}
    counted = [read for read in alignments if used(read)]
    forward = [read for read in counted if (read.flag in of_first) == (stranded == "F")]
    reverse = [read for read in counted if (read.flag in of_first) != (stranded == "F")]
    with tempfile.TemporaryDirectory() as folder:
        path = write_reads(Path(folder, "s.bam"), alignments)
        with open_source(path, options=ReadOptions(stranded=stranded)) as source:
            assert_depth(bases(source, 1), depth_of(forward))
            assert_depth(bases(source, 2), depth_of(reverse))
            assert_depth(bases(source), depth_of(counted))
            np.testing.assert_array_equal(row(source), in_bins(depth_of(counted), 1000))


@given(alignments=reads(), data=st.data())
@settings(max_examples=12)
def test_regions_and_blacklist(alignments: list[Read], data: st.DataObject) -> None:
    """Regions may overlap, in any order; a read with a base in the blacklist does not count."""
    spans = st.integers(0, 3).flatmap(
        lambda contig: st.tuples(
            st.just(contig),
            st.integers(0, CONTIGS[contig][1] - 1),
            st.integers(1, CONTIGS[contig][1]),
        ).filter(lambda span: span[1] < span[2])
    )
    chosen = data.draw(st.lists(spans, min_size=1, max_size=6, unique=True))
    blacklist = data.draw(st.lists(spans, min_size=1, max_size=3))
    black = [np.zeros(length, np.bool_) for _, length in CONTIGS]
    for contig, start, end in blacklist:
        black[contig][start:end] = True
    counted = [
        read
        for read in alignments
        if used(read)
        and not any((d * b).any() for d, b in zip(depth_of([read]), black, strict=True))
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = write_reads(Path(folder, "s.bam"), alignments, index=True)
        files = [Path(folder, name) for name in ("regions.bed", "black.bed")]
        for file, some in zip(files, (chosen, blacklist), strict=True):
            # Names with and without "chr" are the same.
            lines = (f"{CONTIGS[c][0].removeprefix('chr')}\t{a}\t{b}\n" for c, a, b in some)
            file.write_text("# a comment\n" + "".join(lines))
        options = ReadOptions(regions=files[0], blacklist=files[1])
        with open_source(path, options=options) as source:
            expected = depth_of(counted)
            assert_depth(bases(source), expected)
            sums = [int(expected[contig][start:end].sum()) for contig, start, end in chosen]
            assert row(source).tolist() == sums
            ids = [f"{CONTIGS[contig][0]}:{start}-{end}" for contig, start, end in chosen]
            assert source.genes().column(0).to_pylist() == ids


def test_an_index_of_an_earlier_file_is_not_used(tmp_path: Path) -> None:
    """An index that is older than its file would miss reads: the file is read whole."""
    contigs = (("chr1", 1_000_000), ("chr2", 1_000_000))
    path, index = tmp_path / "s.bam", tmp_path / "s.bam.bai"
    for n in (50, 5_000):
        some = [Read(at % 2, at * 150, ((0, 10),), 0, 60) for at in range(n)]
        write_reads(path, some, contigs, index=n == 50)
    os.utime(index, (1e9, 1e9))
    with slaf.scan(path, chroms="chr1", bin_size=1_000) as view:
        assert view.sum() == 10 * 2_500
    found = slaf.info(path)
    assert isinstance(found, slaf.InputInfo)
    assert "index: older than the file, and not used" in found.details


def test_more_bins_than_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bins whose ids are more text than a column holds are refused, with what to choose."""
    path = write_reads(tmp_path / "s.bam", SOME)
    monkeypatch.setattr(regions, "_MAX_TEXT", 1_000)
    with pytest.raises(InputError, match=r"398 bins are more .* --bin-size"):
        slaf.convert(path, tmp_path / "out.slaf", bin_size=1)
    assert slaf.convert(path, tmp_path / "out.slaf", bin_size=10).n_genes == 41


@pytest.mark.parametrize("more", [{}, {"by_gene": True, "string_ids": True, "plain_types": True}])
def test_bins_of_several_pieces(more: dict[str, bool], tmp_path: Path) -> None:
    """More bins than are made at a time: each has its name, and the sum of its bases."""
    contigs = (("chr1", 2 * PIECE_ROWS + 5), ("none", 1), ("chr2", PIECE_ROWS))
    ends = [Read(at, contigs[at][1] - 5, ((M, 5),)) for at in (0, 2)]
    across = Read(0, PIECE_ROWS - 2, ((M, 4),))
    path = write_reads(tmp_path / "s.bam", [across, *ends], contigs)
    options: dict[str, Any] = {"bin_size": 3, "without": "var:end", **more}
    dataset = slaf.convert(path, tmp_path / "out.slaf", **options)
    expected = in_bins(depth_of([across, *ends], contigs), 3)
    np.testing.assert_array_equal(dataset.X.to_memory().toarray()[0], expected)
    starts = [(name, at, min(at + 3, n)) for name, n in contigs for at in range(0, n, 3)]
    assert dataset.var_names.tolist() == [f"{name}:{a}-{b}" for name, a, b in starts]
    assert dataset.var["contig"].tolist() == [name for name, *_ in starts]
    assert list(dataset.var.columns) == ["contig", "start"]
    assert slaf.verify(dataset, path).ok
    with slaf.scan(path, bin_size=3) as view:
        assert view.var_names.tolist() == dataset.var_names.tolist()
    again = slaf.append(
        write_reads(tmp_path / "t.bam", ends, contigs), dataset.location, bin_size=3
    )
    assert again.n_genes == len(starts)


@pytest.mark.parametrize("index", [True, False])
def test_contigs_are_chosen(index: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a parameter
    """With an index or without: the same bins, bases and numbers of reads."""
    path = write_reads(tmp_path / "s.bam", SOME, index=index)
    for chroms, names in (("chr[2M]", ["chr2", "chrM"]), ("main", ["chr1", "chr2", "chrM"])):
        with open_source(path, options=ReadOptions(chroms=chroms, bin_size=10)) as source:
            coverage = source.coverage()
            assert coverage is not None
            assert [name for name, _ in coverage.contigs] == names
            at = [name for name, _ in CONTIGS].index(names[0])
            assert_depth(bases(source), depth_of(SOME[:4])[at : at + len(names)])
            (cell,) = source.measured_cells().to_pylist()
            assert cell["mapped_reads"] == len(SOME)
            assert cell["total_reads"] == (1 if "chr1" not in names else 4)
    with pytest.raises(MissingMatrix, match=r"no contig is one of --chroms chrX; .*chr1, chr2"):
        open_source(path, options=ReadOptions(chroms="chrX"))


def test_a_depth_beyond_16_bits(tmp_path: Path) -> None:
    """70,000 reads at one base are 70,000."""
    path = write_reads(tmp_path / "s.bam", [Read(2, 3, ((M, 1),))] * 70_000)
    dataset = slaf.convert(path, tmp_path / "out.slaf", bin_size=2)
    assert dataset.X[:].toarray()[0].max() == 70_000
    assert dataset.table("coverage").to_table().column("depth").to_pylist() == [70_000]


def test_damage_is_refused(tmp_path: Path) -> None:
    """A file that is cut short, is no file of reads, or has reads beyond a contig."""
    path = write_reads(tmp_path / "s.bam", SOME * 300)
    content = path.read_bytes()
    for size in (len(content) - 28, len(content) // 2, 40):
        cut = tmp_path / f"cut{size}.bam"
        cut.write_bytes(content[:size])
        with pytest.raises(InputError, match=f"cut{size}.bam"):
            slaf.convert(cut, tmp_path / "out.slaf", format="bam")
        assert not (tmp_path / "out.slaf").exists()
    text = tmp_path / "text.bam"
    text.write_text("no reads")
    with pytest.raises(InputError, match="no BAM, CRAM or SAM file"):
        slaf.convert(text, tmp_path / "out.slaf", format="bam")
    beyond = write_reads(tmp_path / "beyond.bam", [Read(2, 5, ((M, 3),))])
    with pytest.raises(InputError, match=r"bases 5 to 8 of a read are aligned to chrM"):
        slaf.convert(beyond, tmp_path / "out.slaf")
    wrong = write_reads(tmp_path / "wrong.bam", SOME, is_sorted=False)
    with pysam.AlignmentFile(str(wrong)) as file:
        header = file.header.to_dict() | {"HD": {"VN": "1.6", "SO": "coordinate"}}
        found = list(file.fetch(until_eof=True))
    with pysam.AlignmentFile(str(wrong), "wb", header=header) as file:
        for read in reversed(found):
            file.write(read)
    with pytest.raises(InputError, match="samtools sort"):
        slaf.convert(wrong, tmp_path / "out.slaf")


@pytest.mark.parametrize("kind", ["packed", "unpacked", "cram"])
def test_changed_bytes(kind: str, tmp_path: Path) -> None:
    """A file with any bytes changed is read, or refused by name; nothing else happens."""
    rng = random.Random(kind)
    path = write_reads(tmp_path / f"s.{'cram' if kind == 'cram' else 'bam'}", SOME * 3, index=True)
    whole = path.read_bytes()
    content = gzip.decompress(whole) if kind == "unpacked" else whole
    for _ in range(60):
        changed = bytearray(content)
        for _ in range(rng.choice([1, 2, 5])):
            changed[rng.randrange(len(changed))] = rng.choice([0, 255, rng.randrange(256)])
        if kind == "unpacked":
            with pysam.BGZFile(str(path), "wb", None) as file:
                file.write(bytes(changed))
        else:
            path.write_bytes(changed)
        try:
            with open_source(path, format="bam") as source:
                assert source.measured_cells().num_rows == 1
        except InputError as error:
            assert str(path) in str(error)  # noqa: PT017 - either is right


def test_samples_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """Other contigs, other orders of them, samples of one name, and inputs without reads."""
    first = write_reads(tmp_path / "a.bam", SOME)
    orders = {
        "b.bam": (
            (CONTIGS[1], CONTIGS[0], *CONTIGS[2:]),
            "contig 1 is chr2 of 51 bases, and there",
        ),
        "c.bam": (CONTIGS[:3], "contig 4 is none, and there KI270 of 40 bases"),
    }
    for name, (contigs, message) in orders.items():
        other = write_reads(tmp_path / name, [], contigs)
        with pytest.raises(GeneMismatch, match=message):
            slaf.convert([first, other], tmp_path / "out.slaf")
    (tmp_path / "x").mkdir()
    twin = write_reads(tmp_path / "x" / "a.bam", SOME[:2])
    with pytest.raises(DuplicateInput, match="its sample is called 'a', as is that of"):
        slaf.convert([first, twin], tmp_path / "out.slaf")
    named = slaf.convert([first, twin], tmp_path / "named.slaf", cell_id_prefix=True)
    assert len(set(named.obs_names)) == 2
    with pytest.raises(InputError, match="has no coverage"):
        slaf.convert([first, AnnData(np.eye(2))], tmp_path / "out.slaf")


def test_reads_that_a_dataset_has(tmp_path: Path) -> None:
    """A file whose reads are there already is refused as that; another of its name as another."""
    first = write_reads(tmp_path / "a.bam", SOME)
    (tmp_path / "x").mkdir()
    twin = write_reads(tmp_path / "x" / "a.bam", SOME[:2])
    output = tmp_path / "out.slaf"
    slaf.convert(first, output)
    with pytest.raises(AlreadyInDataset, match="the same input is there already"):
        slaf.append(first, output)
    for inputs in (twin, first):
        with pytest.raises(DuplicateInput, match="its sample is called 'a', as is that of"):
            slaf.append(inputs, output, allow_duplicate=inputs is first)
    assert slaf.open(output).obs_names.to_list() == ["a"]


def test_a_folder_of_reads(tmp_path: Path) -> None:
    """Each file is a cell by its name; indices are no inputs; what is said of them is known."""
    for name, alignments in (("one", SOME), ("two", SOME[:2])):
        write_reads(tmp_path / f"{name}.bam", alignments, index=True)
    found = slaf.info(tmp_path)
    assert isinstance(found, slaf.FolderInfo)
    assert [one.format for one in found.inputs] == ["bam", "bam"]
    assert found.inputs[0].details == (
        "4 of 4 contigs, 398 bases",
        "mapped reads: 5",
        "sort order: coordinate",
        "index: yes",
    )
    preview = slaf.convert(tmp_path, tmp_path / "out.slaf", dry_run=True, bin_size=100)
    assert preview.n_cells == 2
    dataset = slaf.convert(tmp_path, tmp_path / "out.slaf", bin_size=100)
    assert dataset.obs.total_reads.to_dict() == {"one": 4, "two": 2}
    assert dataset.obs.mapped_reads.tolist() == [5, 2]
    assert dataset.var.index[:3].tolist() == ["chr1:0-100", "chr1:100-200", "chr1:200-300"]
    assert dataset.var["end"].tolist()[3:] == [51, 7, 40]
    assert dataset.obs.read_filter.iloc[0] == "mapq >= 0, exclude 3844, include 0, strand U"
    with slaf.scan(tmp_path, bin_size=100) as view:
        assert view.obs.equals(dataset.obs)
        np.testing.assert_array_equal(view.X[:].toarray(), dataset.X[:].toarray())
    # What is known once the reads were counted is known of changed values too.
    logs = slaf.transform(tmp_path, tmp_path / "logs.slaf", bin_size=100, log1p=True)
    assert isinstance(logs, slaf.Dataset)
    assert logs.obs.equals(dataset.obs)
    copy = slaf.convert(dataset["two"], tmp_path / "copy.slaf")
    assert copy.obs.total_reads.tolist() == [2]
    assert copy.table("coverage").count_rows() > 0


@pytest.mark.corpus
@pytest.mark.parametrize(
    "name", ["bamnado/test.bam", "epiout/test1.bam", "epiout/test2.bam", "epiout/test3.bam"]
)
def test_corpus(name: str, corpus: Path, tmp_path: Path) -> None:
    """Real files have the depth that pysam's blocks add up to, base by base."""
    path = tmp_path / "s.bam"
    shutil.copy(corpus / "bam" / name, path)
    with open_source(path) as source, pysam.AlignmentFile(str(path)) as file:
        coverage = source.coverage()
        assert coverage is not None
        difference: dict[int, dict[int, int]] = {}
        total = 0
        for read in file.fetch(until_eof=True):
            if not read.flag & 3844:
                changes = difference.setdefault(read.reference_id, {})
                for start, end in read.get_blocks():
                    total += end - start
                    changes[start] = changes.get(start, 0) + 1
                    changes[end] = changes.get(end, 0) - 1
        columns: dict[str, Any] = {}
        for column, matrix in coverage.columns.items():
            (batch,) = matrix.batches(RowRange(0, 1))
            columns[column], columns["contig"] = batch.values, batch.genes
        for contig, changes in difference.items():
            at = np.array(sorted(place for place, change in changes.items() if change), int)
            depth = np.cumsum([changes[place] for place in at.tolist()])
            of = columns["contig"] == contig
            covered = depth[:-1] > 0
            np.testing.assert_array_equal(columns["start"][of], at[:-1][covered])
            np.testing.assert_array_equal(columns["length"][of], np.diff(at)[covered])
            np.testing.assert_array_equal(columns["depth"][of], depth[:-1][covered])
        assert row(source).sum() == total


def test_a_sample_is_removed(tmp_path: Path) -> None:
    """The runs of the other samples stay, at their new positions, and their proof."""
    paths = [
        write_reads(tmp_path / f"{name}.bam", [Read(0, 3 * at, ((M, 5 + at),))] * (at + 1))
        for at, name in enumerate("abc")
    ]
    whole = slaf.convert(paths, tmp_path / "out.slaf", bin_size=10)
    expected = whole.coverage("chr1:0-30")[[0, 2]]
    made = slaf.remove(whole, "b.bam")
    assert np.array_equal(made.coverage("chr1:0-30"), expected)
    assert slaf.verify(made, against=[paths[0], paths[2]]).ok
    assert slaf.append(paths[1], made.location, bin_size=10).n_obs == 3
