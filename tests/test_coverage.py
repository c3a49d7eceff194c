"""The coverage of datasets: every base of every region, by sample and strand, and as bigWig."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyBigWig
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import slaf
from slaf.errors import (
    ConflictError,
    DuplicateInput,
    GeneMismatch,
    InputError,
    SelectionError,
    TargetError,
    VerificationFailed,
)
from slaf.sources.bam.alignments import AlignmentFile
from tests.cli.terminal import run
from tests.sources.reads import CONTIGS, M, Read, depth_of, used, write_reads

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

NAMES = [name for name, _ in CONTIGS]
FORWARD = {0, 99, 147}
SAMPLES = ("a", "b", "c", "d")


def some_reads(seed: int, n: int = 60) -> list[Read]:
    """Reads at random places, of both strands."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        contig = int(rng.choice(4, p=[0.7, 0.1, 0.1, 0.1]))
        length = CONTIGS[contig][1]
        width = int(rng.integers(1, min(length, 30) + 1))
        flag = int(rng.choice([0, 16, 99, 147, 1024]))
        found.append(Read(contig, int(rng.integers(0, length - width + 1)), ((M, width),), flag))
    return found


READS = {name: some_reads(seed) for seed, name in enumerate(SAMPLES)} | {"d": []}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Four files of reads, the last one without any."""
    folder = tmp_path_factory.mktemp("reads")
    return {name: write_reads(folder / f"{name}.bam", some) for name, some in READS.items()}


@pytest.fixture(scope="module")
def datasets(
    files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, slaf.Dataset]:
    """The same samples, converted at once, appended, compacted, of plain types, and as a copy."""
    folder, inputs = tmp_path_factory.mktemp("datasets"), list(files.values())
    options: dict[str, Any] = {"bin_size": 10, "stranded": "F"}
    made = {"whole": slaf.convert(inputs, folder / "whole.slaf", **options)}
    slaf.convert(inputs[:2], folder / "appended.slaf", **options)
    for each in inputs[2:]:
        made["appended"] = slaf.append(each, folder / "appended.slaf", **options)
    shutil.copytree(folder / "appended.slaf", folder / "compacted.slaf")
    slaf.compact(folder / "compacted.slaf", compression="small")
    made["compacted"] = slaf.open(folder / "compacted.slaf")
    made["plain"] = slaf.convert(inputs, folder / "plain.slaf", plain_types=True, **options)
    made["copy"] = slaf.convert(made["appended"][::-1], folder / "copy.slaf")[::-1].origin
    return made


def truth(name: str, strand: str | None = None) -> list[NDArray[np.uint32]]:
    """The depth of each base of a sample."""
    counted = [read for read in READS[name] if used(read)]
    if strand is not None:
        counted = [read for read in counted if (read.flag in FORWARD) == (strand == "+")]
    return depth_of(counted)


@given(data=st.data())
@settings(max_examples=30)
def test_every_region(datasets: dict[str, slaf.Dataset], data: st.DataObject) -> None:
    """However a dataset was made: any region, samples and strand have the counted depth."""
    dataset = datasets[data.draw(st.sampled_from(sorted(datasets)))]
    contig = data.draw(st.integers(0, len(CONTIGS) - 1))
    name, length = CONTIGS[contig]
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, length)] * 2)))
    samples = data.draw(st.none() | st.lists(st.sampled_from(SAMPLES), max_size=4))
    strand: Any = data.draw(st.sampled_from([None, "+", "-"]))
    region = data.draw(st.sampled_from([f"{name}:{start}-{stop}", name]))
    if region == name:
        start, stop = 0, length
    depth = dataset.coverage(region, samples, strand)
    assert depth.dtype == np.uint32
    chosen = dataset.obs_names if samples is None else samples
    expected = [truth(sample, strand)[contig][start:stop] for sample in chosen]
    np.testing.assert_array_equal(depth, np.array(expected).reshape(len(chosen), stop - start))
    runs = list((dataset if samples is None else dataset[samples]).coverage_runs(region, strand))
    bases = sum((last - first) * value for _, _, first, last, value in runs)
    assert bases == depth.sum()


def test_both_strands_make_the_total(datasets: dict[str, slaf.Dataset]) -> None:
    """Forward and reverse add up, and to the bins of the matrix."""
    dataset = datasets["whole"]
    total = dataset.coverage("chr1")
    strands = [dataset.coverage("chr1", strand=strand) for strand in ("+", "-")]
    np.testing.assert_array_equal(total, sum(strands))
    bins = total.reshape(len(SAMPLES), -1, 10).sum(2)
    np.testing.assert_array_equal(dataset[:, "contig = 'chr1'"].X[:].toarray(), bins)


def test_normalised(datasets: dict[str, slaf.Dataset]) -> None:
    """The bases of all reads are a million times their mean length, in counts per million."""
    dataset = datasets["appended"]
    reads_of = dataset.obs["total_reads"].to_numpy()
    assert reads_of.tolist() == [sum(map(used, READS[name])) for name in SAMPLES]
    depth = np.concatenate([dataset.coverage(name) for name in NAMES], axis=1)
    cpm = np.concatenate([dataset.coverage(name, normalize="cpm") for name in NAMES], axis=1)
    np.testing.assert_allclose(cpm[:3].sum(1), 1e6 * depth[:3].sum(1) / reads_of[:3])
    assert not cpm[3].any()
    np.testing.assert_allclose(dataset.coverage("chr2", normalize="rpkm"), cpm[:, 300:351] * 1000)


def test_what_is_not_there_is_refused(datasets: dict[str, slaf.Dataset], tmp_path: Path) -> None:
    """Other contigs, regions and samples; strands that were not counted; no coverage."""
    dataset = datasets["whole"]
    for region, message in (
        ("chr9:1-2", r"no contig 'chr9' .* there are chr1, chr2, chrM, KI270"),
        ("chr1:10-301", "no region of chr1, which has 300 bases"),
        ("chr1:20-10", "no region of chr1"),
        ("chr1:-5-10", "no contig"),
    ):
        with pytest.raises(SelectionError, match=message):
            dataset.coverage(region)
    np.testing.assert_array_equal(dataset.coverage("1:0-9"), dataset.coverage("chr1:0-9"))
    np.testing.assert_array_equal(dataset.coverage("MT"), dataset.coverage("chrM"))
    with pytest.raises(SelectionError, match="nobody"):
        dataset.coverage("chr1", ["a", "nobody"])
    wrong: Any = "forward"
    with pytest.raises(SelectionError, match="strand is 'forward'"):
        dataset.coverage("chr1", strand=wrong)
    with pytest.raises(SelectionError, match="normalize is 'forward'"):
        dataset.coverage("chr1", normalize=wrong)
    one = write_reads(tmp_path / "x.bam", READS["a"])
    with slaf.scan(one) as view:
        np.testing.assert_array_equal(view.coverage("chr1"), dataset.coverage("chr1", "a"))
        with pytest.raises(SelectionError, match="strands of 'x' were not counted apart"):
            view.coverage("chr1", strand="+")
    without = slaf.convert(one, tmp_path / "x.slaf", without="obs:total_reads")
    with pytest.raises(SelectionError, match="no column total_reads"):
        without.coverage("chr1", normalize="cpm")
    with pytest.raises(SelectionError, match="there is no coverage"):
        slaf.convert(_anndata(), tmp_path / "y.slaf").coverage("chr1")


def _anndata() -> Any:
    from anndata import AnnData

    return AnnData(np.eye(2, dtype=np.float32))


@pytest.mark.parametrize("change", ["depth", "place", "lost"])
def test_a_changed_read_is_found(
    change: str, datasets: dict[str, slaf.Dataset], files: dict[str, Path], tmp_path: Path
) -> None:
    """Counted again, a read that is elsewhere, added or missing is a difference with its place."""
    assert slaf.verify(datasets["whole"], list(files.values())).ok
    assert slaf.verify(datasets["appended"], list(files.values())).ok
    other = list(READS["b"])
    first = next(at for at, read in enumerate(other) if used(read) and read.contig == 0)
    read = other[first]
    changed = {
        "depth": [*other, read],
        "place": [
            *other[:first],
            Read(0, read.start ^ 1, ((M, 1),), read.flag),
            *other[first + 1 :],
        ],
        "lost": other[:first] + other[first + 1 :],
    }
    path = write_reads(tmp_path / "b.bam", changed[change])
    with pytest.raises(VerificationFailed) as failure:
        slaf.verify(datasets["whole"], [files["a"], path, files["c"], files["d"]])
    kinds = {difference.kind for difference in failure.value.report.differences}
    assert "coverage" in kinds
    assert not slaf.diff(datasets["whole"], datasets["plain"]).differences
    found = slaf.diff(datasets["whole"], datasets["whole"][["a", "c", "b", "d"]])
    assert "coverage" in {difference.kind for difference in found.differences}


def test_appended_reads_are_counted_alike(files: dict[str, Path], tmp_path: Path) -> None:
    """An append counts as the dataset was counted, but for what it is told."""
    options: dict[str, Any] = {"bin_size": 70, "exclude_flags": 16, "stranded": "R"}
    slaf.convert(files["a"], tmp_path / "out.slaf", **options)
    slaf.append(files["b"], tmp_path / "out.slaf")
    dataset = slaf.append(files["c"], tmp_path / "out.slaf", min_mapq=7, stranded="F")
    assert dataset.obs["read_filter"].tolist() == [
        "mapq >= 0, exclude 16, include 0, strand R",
        "mapq >= 0, exclude 16, include 0, strand R",
        "mapq >= 7, exclude 16, include 0, strand F",
    ]
    with pytest.raises(GeneMismatch):
        slaf.append(files["d"], tmp_path / "out.slaf", bin_size=10, stranded="F")


def test_swapped_files_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    """A sample that the dataset has is not added again, under whatever name."""
    slaf.convert([files["a"], files["b"]], tmp_path / "out.slaf", bin_size=50)
    shutil.copy(files["a"], tmp_path / "other.bam")
    with pytest.raises(DuplicateInput, match="the same input is there"):
        slaf.append(tmp_path / "other.bam", tmp_path / "out.slaf", bin_size=50)


@pytest.mark.parametrize("strand", [None, "-"])
@pytest.mark.parametrize("cpm", [True, False])
def test_bigwig(
    strand: Any,
    cpm: bool,  # noqa: FBT001 - a parameter
    datasets: dict[str, slaf.Dataset],
    tmp_path: Path,
) -> None:
    """What another program reads of each file is the coverage of the sample, on all contigs."""
    dataset = datasets["whole"]
    report = slaf.export(dataset, tmp_path / "out", format="bigwig", strand=strand, cpm=cpm)
    assert report.bytes > 0
    for at, sample in enumerate(SAMPLES):
        with pyBigWig.open(str(tmp_path / "out" / f"{sample}.bw")) as file:
            assert file.chroms() == dict(CONTIGS)
            for name, length in CONTIGS:
                values = np.nan_to_num(file.values(name, 0, length, numpy=True))
                normalize: Any = "cpm" if cpm else None
                expected = dataset.coverage(name, strand=strand, normalize=normalize)[at]
                np.testing.assert_array_equal(values, expected.astype(np.float32))
    table = (tmp_path / "out" / "samples.tsv").read_text().splitlines()
    assert [line.split("\t")[:2] for line in table[1:]] == [[s, f"{s}.bw"] for s in SAMPLES]


def test_bigwig_is_refused(datasets: dict[str, slaf.Dataset], tmp_path: Path) -> None:
    """Without coverage, and beyond its numbers; other formats say that coverage is left out."""
    bare = slaf.convert(_anndata(), tmp_path / "y.slaf")
    with pytest.raises(TargetError, match="only datasets of BAM or CRAM files have"):
        slaf.export(bare, tmp_path / "out", format="bigwig")
    with pytest.raises(TargetError, match="no strands"):
        slaf.export(bare, tmp_path / "out.h5ad", cpm=True)
    report = slaf.export(datasets["whole"], tmp_path / "out.h5ad")
    assert "coverage is left out" in report.left_out


def test_sql(datasets: dict[str, slaf.Dataset]) -> None:
    """Runs have the names of samples, contigs and strands."""
    dataset = datasets["plain"]
    found = dataset.sql(
        "SELECT sample, contig, strand, CAST(SUM(length * depth) AS BIGINT) AS bases FROM coverage "
        "GROUP BY ALL ORDER BY ALL"
    ).rows()
    expected = [
        (sample, name, strand, int(truth(sample, strand)[at].sum()))
        for sample in SAMPLES
        for at, name in enumerate(NAMES)
        for strand in ("+", "-")
    ]
    assert sorted(found) == sorted(row for row in expected if row[-1])


def test_region_command(datasets: dict[str, slaf.Dataset]) -> None:
    """It prints the runs of a region, as text or JSON."""
    dataset = datasets["whole"]
    path = str(dataset.location)
    runs = list(dataset[["b"]].coverage_runs("chr1:20-60"))
    text = run("region", path, "chr1:20-60", "--samples", "b").succeeded().out
    lines = ["sample\tcontig\tstart\tstop\tdepth", *("\t".join(map(str, one)) for one in runs)]
    assert text.splitlines() == lines
    printed = run("region", path, "chr1:20-60", "--samples", "b", "--json").json
    assert [tuple(one.values()) for one in printed["runs"]] == runs
    assert "no contig 'chr7'" in run("region", path, "chr7:20-60").failed(3)


@pytest.mark.parametrize("workers", [0, 2])
def test_each_file_is_read_once(
    workers: int, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bins, bases and numbers of reads come of one pass, as their proof; a preview needs none."""
    read: list[str] = []

    def blocks(self: AlignmentFile, *arguments: Any) -> Any:
        read.append(str(self.path))
        return original(self, *arguments)

    original = AlignmentFile.blocks
    monkeypatch.setattr(AlignmentFile, "blocks", blocks)
    inputs = list(files.values())
    slaf.convert(inputs, tmp_path / "out.slaf", dry_run=True)
    assert not read
    dataset = slaf.convert(inputs, tmp_path / "out.slaf", workers=workers)
    assert sorted(read) == sorted(map(str, inputs))
    read.clear()
    assert slaf.verify(dataset, inputs).ok
    assert sorted(read) == sorted(map(str, inputs))


def test_annotated(files: dict[str, Path], tmp_path: Path) -> None:
    """A dataset that is annotated keeps its coverage, and its proof."""
    dataset = slaf.convert([files["a"], files["b"]], tmp_path / "out.slaf")
    depth = dataset.coverage("chr1")
    annotated = dataset.annotate(obs=pd.DataFrame({"batch": ["x", "y"]}, index=["a", "b"]))
    assert annotated.obs["batch"].tolist() == ["x", "y"]
    np.testing.assert_array_equal(annotated.coverage("chr1"), depth)
    assert slaf.verify(annotated, [files["a"], files["b"]]).ok


def test_parts_on_several_machines(
    files: dict[str, Path], datasets: dict[str, slaf.Dataset], tmp_path: Path
) -> None:
    """Samples that are encoded one by one from a plan give the dataset of one process."""
    inputs, output = list(files.values()), tmp_path / "out.slaf"
    planned = slaf.plan(inputs, output, bin_size=10, stranded="F", chunk_size=1)
    assert isinstance(planned, slaf.PlanReport)
    for index in reversed(range(planned.parts)):
        slaf.part(output, index)
    made = slaf.publish(output)
    assert not slaf.diff(datasets["whole"], made).differences
    assert slaf.verify(made, inputs).ok


STRANDS = {"a": "F", "b": "R", "c": "U", "d": None}


def write_sheet(path: Path, strands: Mapping[str, str | None]) -> Path:
    """A sample sheet, with an empty line, that says of each sample how its strands are counted."""
    rows = "".join(f"{name}.bam,{strand or ''},x\n" for name, strand in strands.items())
    path.write_text(f"file,stranded,batch\n\n{rows}")
    return path


def strands_of(dataset: slaf.Dataset, sample: str) -> list[NDArray[Any]]:
    """The forward and the reverse depth of a sample, contigs end to end."""
    return [
        np.concatenate([dataset.coverage(name, sample, strand)[0] for name in NAMES])
        for strand in ("+", "-")
    ]


@pytest.mark.parametrize("how", ["convert", "parts", "append", "resume"])
def test_strands_by_the_sheet(
    how: str,
    files: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A sheet says it of each sample, and the option of those of which it says nothing."""
    sheet, output = write_sheet(tmp_path / "sheet.csv", STRANDS), tmp_path / "out.slaf"
    options: dict[str, Any] = {"samples": sheet, "bin_size": 10, "stranded": "R"}
    inputs = list(files.values())
    if how == "parts":
        slaf.plan(inputs, output, chunk_size=1, **options)
        for index in range(4):
            slaf.part(output, index)
        dataset = slaf.publish(output)
    elif how == "append":
        slaf.convert(inputs[:2], output, **options)
        # The sheet is remembered, and the option is not, for the samples differ.
        dataset = slaf.append(inputs[2:], output, stranded="R")
    else:
        if how == "resume":
            with monkeypatch.context() as patch:
                patch.setattr("slaf.conversion.execute.publish", _stop)
                with pytest.raises(KeyboardInterrupt):
                    slaf.convert(inputs, output, chunk_size=1, **options)
            options["chunk_size"] = 1
            with pytest.raises(ConflictError, match="stranded"):
                slaf.convert(inputs, output, **options | {"stranded": "F"})
        dataset = slaf.convert(inputs, output, **options)
    for sample, expected in (("a", "+-"), ("b", "-+")):
        for found, strand in zip(strands_of(dataset, sample), expected, strict=True):
            np.testing.assert_array_equal(found, np.concatenate(truth(sample, strand)))
    for sample in SAMPLES:
        total = np.concatenate([dataset.coverage(name, sample)[0] for name in NAMES])
        np.testing.assert_array_equal(total, np.concatenate(truth(sample)))
        if sample != "c":
            np.testing.assert_array_equal(sum(strands_of(dataset, sample)), total)
    with pytest.raises(SelectionError, match="strands of 'c' were not counted apart"):
        dataset.coverage("chr1", strand="+")
    assert [one.rpartition(" ")[2] for one in dataset.obs["read_filter"]] == list("FRUR")
    assert dataset.obs["stranded"].tolist()[:3] == list("FRU")
    assert dataset.obs["stranded"].isna().tolist() == [False, False, False, True]
    assert [one.choice["stranded"] for one in dataset.sources] == list("FRUR")
    assert slaf.verify(dataset, inputs).ok
    assert slaf.export(dataset[["a", "d"]], tmp_path / "bw", format="bigwig", strand="+").bytes
    with pytest.raises(SelectionError, match="strands of 'c'"):
        slaf.export(dataset, tmp_path / "no", format="bigwig", strand="+")
    # Nor does the library that writes it print anything.
    assert capfd.readouterr().err == ""


def _stop(*_: Any) -> None:
    raise KeyboardInterrupt


def test_strands_of_the_sheet_are_checked(files: dict[str, Path], tmp_path: Path) -> None:
    """Other values are refused with row and column; of inputs without reads they are a column."""
    sheet = write_sheet(tmp_path / "sheet.csv", {"a": "F", "b": "r", "c": "2", "d": ""})
    with pytest.raises(InputError, match=r"'stranded' has .* row 4 has 'r', row 5 has '2'; corr"):
        slaf.convert(list(files.values()), tmp_path / "out.slaf", samples=sheet)
    one = tmp_path / "a.h5ad"
    _anndata().write_h5ad(one)
    sheet.write_text("file,stranded\na.h5ad,both\n")
    other = slaf.convert(one, tmp_path / "a.slaf", samples=sheet)
    assert set(other.obs["stranded"]) == {"both"}


def test_appended_strands_are_asked_for(files: dict[str, Path], tmp_path: Path) -> None:
    """Where samples were counted differently, an append says how a further one is."""
    sheet = write_sheet(tmp_path / "sheet.csv", {"a": "F", "b": "R"})
    slaf.convert([files["a"], files["b"]], tmp_path / "out.slaf", samples=sheet)
    with pytest.raises(InputError, match=r"c.bam: nothing says .* F of .*a.bam, R of .*b.bam"):
        slaf.append(files["c"], tmp_path / "out.slaf", samples="none")
    dataset = slaf.append(files["c"], tmp_path / "out.slaf", samples="none", stranded="R")
    np.testing.assert_array_equal(dataset.coverage("chr1", "c", "+")[0], truth("c", "-")[0])
