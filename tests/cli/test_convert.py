"""`slaf convert`: streams, options, conflicts, --dry-run."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import numpy as np
import pytest
import scipy.sparse as sp

import slaf
from slaf.storage.location import Location
from slaf_cli.report import ExitCode
from tests.builders import counts, names, write_h5ad
from tests.cli.terminal import SLAF, TIME, at_terminal, run, stop_after

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.terminal import Ended

DATASET_KEYS = {
    *("kind", "location", "n_cells", "n_genes", "nonzeros", "density", "value_type", "dtype"),
    *("bytes", "tables", "obs", "var", "statistics", "annotations", "sources"),
    *("created_at", "last_updated", "writer"),
}
PREVIEW_KEYS = {
    *("operation", "sources", "output", "n_cells", "n_genes", "shared_genes", "size"),
    *("value_type", "rewrites", "parts", "parts_done", "estimate", "free", "annotations"),
    *("not_converted", "counts_in", "left_out", "notes"),
}
FRACTIONS = (
    "layer:halves holds fractions, but X whole numbers: if you want counts, use --matrix X\n"
)
# So many that the least that they take is more than is free on most disks; files have holes.
ENDLESS = 10**12


def test_a_dataset_is_made(source: Path, tmp_path: Path) -> None:
    """The command makes the dataset that `slaf.convert` makes, and says what is in it."""
    output = tmp_path / "out.slaf"
    ended = run("convert", source, output).succeeded()
    made = slaf.open(output)
    assert (made.to_anndata().X != anndata.read_h5ad(source).X).nnz == 0
    assert ended.out.startswith(f"{output}: 60 cells × 20 genes, {made.nnz:,} nonzeros (uint16), ")


def test_results_go_to_stdout_and_notes_to_stderr(source: Path, tmp_path: Path) -> None:
    """A real process prints one line of result, and on stderr only what a user should know."""
    ended = subprocess.run(
        [SLAF, "convert", source, tmp_path / "out.slaf", "--matrix", "layer:halves"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(ended.stdout.splitlines()) == 1
    assert re.fullmatch(rf"{TIME} {re.escape(FRACTIONS)}", ended.stderr)


def test_json_describes_the_dataset(source: Path, tmp_path: Path) -> None:
    """--json prints what `slaf info --json` prints of it, and what it took."""
    output = tmp_path / "out.slaf"
    found = run("convert", source, output, "--json").succeeded().json
    assert found.keys() == DATASET_KEYS | {"seconds", "peak_memory"}
    assert {key: found[key] for key in DATASET_KEYS} == run("info", output, "--json").json


def test_quiet_keeps_warnings(source: Path, tmp_path: Path) -> None:
    """--quiet leaves out notes such as that a run is resumed, but not a warning."""
    output = tmp_path / "out.slaf"
    stop_after(30, source, output, chunk_size=10, matrix="layer:halves")
    words = ("--chunk-size", "10", "--matrix", "layer:halves", "--quiet")
    ended = run("convert", source, output, *words).succeeded()
    assert ended.err.endswith(FRACTIONS)


def test_verbose_logs_every_change_on_disk(source: Path, tmp_path: Path) -> None:
    """--verbose names the files as they are written."""
    ended = run("convert", source, tmp_path / "out.slaf", "--verbose").succeeded()
    assert "put" in ended.err
    assert "config.json" in ended.err


def test_a_matrix_is_chosen(source: Path, tmp_path: Path) -> None:
    """--matrix takes a layer; a note on stderr says that X has the whole numbers."""
    output = tmp_path / "out.slaf"
    ended = run("convert", source, output, "--matrix", "layer:halves").succeeded()
    assert slaf.open(output).sources[0].matrix == "layer:halves"
    assert "if you want counts, use --matrix X" in ended.err


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ([], {}),
        (["--compression", "small"], {"compression": "small"}),
        (["--chunk-size", "7"], {"chunk_size": 7}),
        (["--indices"], {"create_indices": True}),
        (["--matrix", "layer:halves"], {"matrix": "layer:halves"}),
        (["--workers", "2", "--chunk-size", "7"], {"chunk_size": 7}),
    ],
    ids=str,
)
def test_options_are_those_of_the_library(
    words: list[str], options: dict[str, Any], source: Path, tmp_path: Path
) -> None:
    """Each option does what the argument of `slaf.convert` does."""
    run("convert", source, tmp_path / "cli.slaf", *words).succeeded()
    slaf.convert(source, tmp_path / "library.slaf", **options)
    for name in ("expression", "cells", "genes"):
        first, second = (
            slaf.open(tmp_path / f"{by}.slaf").table(name) for by in ("cli", "library")
        )
        assert first.schema.equals(second.schema, check_metadata=True)
        assert first.to_table() == second.to_table()
        assert len(first.get_fragments()) == len(second.get_fragments())
        indexed = [
            {column for index in table.describe_indices() for column in index.field_names}
            for table in (first, second)
        ]
        assert indexed[0] == indexed[1]


def test_what_is_sorted_goes_to_the_scratch_directory(tmp_path: Path) -> None:
    """An input in the order of genes is sorted in the directory that --scratch names."""
    source = write_h5ad(tmp_path / "csc.h5ad", sp.csc_matrix(counts(30, 10)))
    scratch, output = tmp_path / "scratch", tmp_path / "out.slaf"
    words = ("convert", source, output, "--scratch", scratch, "--memory", "1M")
    assert "--scratch" in run(*words).failed(ExitCode.STORAGE)
    scratch.mkdir()
    run(*words).succeeded()
    assert not list(scratch.iterdir())
    slaf.verify(output, against=source)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "there is no such file"),  # noqa: ARG005
        (lambda path: path.write_bytes(b"cell,gene\n"), "no known format"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "not a readable HDF5 file"),
        (lambda path: write_h5ad(path, np.full((3, 2), 2**64 - 1, np.uint64)), "holds every value"),
    ],
    ids=["missing", "text", "cut short", "inexact"],
)
def test_a_bad_input_ends_with_3(make: Any, reason: str, tmp_path: Path) -> None:
    """An input that cannot be converted exactly is refused by name, and leaves nothing."""
    source, output = tmp_path / "in.h5ad", tmp_path / "out.slaf"
    make(source)
    paragraph = run("convert", source, output).failed(ExitCode.BAD_INPUT)
    assert str(source) in paragraph
    assert reason in paragraph
    assert not output.exists()


def test_an_unknown_matrix_or_format_ends_with_3(source: Path, tmp_path: Path) -> None:
    """A matrix or a format that is not there is refused with those that are."""
    words = ("convert", source, tmp_path / "out.slaf")
    assert "X, layer:halves" in run(*words, "--matrix", "raw").failed(ExitCode.BAD_INPUT)
    assert "known are h5ad" in run(*words, "--format", "csv").failed(ExitCode.BAD_INPUT)


@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["convert", "dry run"])
class TestConflicts:
    """An output that is not free ends with 4, in earnest and in a dry run."""

    def test_a_finished_dataset(self, dry: list[str], source: Path, dataset: Path) -> None:
        """A dataset is not replaced without --overwrite."""
        before = slaf.open(dataset).published
        ended = run("convert", source, dataset, *dry)
        assert "--overwrite" in ended.failed(ExitCode.CONFLICT)
        assert slaf.open(dataset).published == before

    def test_something_else(self, dry: list[str], source: Path, tmp_path: Path) -> None:
        """A directory that is no dataset is left alone."""
        (tmp_path / "notes.txt").touch()
        run("convert", source, tmp_path, "--overwrite", *dry).failed(ExitCode.CONFLICT)
        assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]

    def test_another_run(self, dry: list[str], source: Path, tmp_path: Path) -> None:
        """An unfinished conversion with other options is named with what differs."""
        output = tmp_path / "out.slaf"
        stop_after(20, source, output, chunk_size=10)
        ended = run("convert", source, output, "--chunk-size", "12", *dry)
        paragraph = ended.failed(ExitCode.CONFLICT)
        assert "option chunk_size was 10 and is 12" in paragraph
        assert "--restart" in paragraph

    def test_another_process(self, dry: list[str], source: Path, tmp_path: Path) -> None:
        """An output that another process writes to is left alone."""
        output = tmp_path / "out.slaf"
        with Location(output).lock():
            paragraph = run("convert", source, output, *dry).failed(ExitCode.CONFLICT)
        assert "another process is writing" in paragraph


def test_overwrite_replaces_a_dataset(source: Path, tmp_path: Path) -> None:
    """--overwrite replaces the old dataset by the new one."""
    output = tmp_path / "out.slaf"
    run("convert", source, output).succeeded()
    run("convert", source, output, "--overwrite", "--matrix", "layer:halves").succeeded()
    assert slaf.open(output).sources[0].matrix == "layer:halves"


def test_restart_discards_an_unfinished_run(source: Path, tmp_path: Path) -> None:
    """--restart begins anew where another conversion was not finished."""
    output = tmp_path / "out.slaf"
    stop_after(20, source, output, chunk_size=10)
    run("convert", source, output, "--chunk-size", "12", "--restart").succeeded()
    slaf.verify(output, against=source)


def test_the_same_command_resumes(source: Path, tmp_path: Path) -> None:
    """A conversion that was stopped is finished by the same command, which says so."""
    output = tmp_path / "out.slaf"
    stop_after(20, source, output, chunk_size=10)
    ended = run("convert", source, output, "--chunk-size", "10").succeeded()
    assert "resuming: 2 of 6 parts are done" in ended.err
    slaf.verify(output, against=source)


def test_a_storage_error_says_how_to_resume(source: Path, tmp_path: Path) -> None:
    """When the disk refuses, the exit code is 6 and the paragraph says what is left to do."""
    (tmp_path / "file").touch()
    paragraph = run("convert", source, tmp_path / "file" / "out.slaf").failed(ExitCode.STORAGE)
    assert "nothing was written" in paragraph


def test_a_bar_is_shown_at_a_terminal(large: Path, tmp_path: Path) -> None:
    """At a terminal a bar shows how far, how fast and how much memory, and is gone at the end."""
    code, printed = at_terminal("convert", large, tmp_path / "out.slaf", "--chunk-size", "100")
    assert code == 0
    for part in ("0%|", "left", "nonzeros", "M/s", "MB"):
        assert part in printed
    assert printed.rstrip().splitlines()[-1].startswith(f"{tmp_path / 'out.slaf'}: 4,000 cells")


def test_quiet_shows_no_bar(source: Path, tmp_path: Path) -> None:
    """With --quiet there is no bar at a terminal either."""
    code, printed = at_terminal("convert", source, tmp_path / "out.slaf", "--quiet")
    assert code == 0
    assert "%" not in printed


def test_layers_and_raw_are_chosen(tmp_path: Path) -> None:
    """--layers and --no-raw say what goes along; a layer that is not there is refused by name."""
    matrix = counts(12, 6)
    layers = {"one": matrix, "two": matrix * 2}
    raw = {"X": counts(12, 9), "var": names("raw", 9)}
    path = write_h5ad(tmp_path / "in.h5ad", matrix, layers=layers, raw=raw)
    for at, (words, expected, with_raw) in enumerate(
        [
            ((), ("one", "two"), True),
            (("--layers", "two", "--no-raw"), ("two",), False),
            (("--layers", "none"), (), True),
        ]
    ):
        output = tmp_path / f"{at}.slaf"
        run("convert", path, output, *words).succeeded()
        made = slaf.open(output)
        assert tuple(made.layers) == expected
        assert (made.raw is not None) == with_raw
    unknown = ("convert", path, tmp_path / "out.slaf", "--layers", "one,three")
    paragraph = run(*unknown).failed(ExitCode.BAD_INPUT)
    assert "there is no layer 'three'; choose with --layers: one, two" in paragraph


class TestDryRun:
    """--dry-run says what would be done, and does nothing."""

    def test_it_leaves_nothing(self, source: Path, tmp_path: Path) -> None:
        """The plan is printed and the disk is as it was."""
        output = tmp_path / "made" / "out.slaf"
        printed = run("convert", source, output, "--dry-run").succeeded().out
        assert not list(tmp_path.iterdir())
        nonzeros = anndata.read_h5ad(source).X.nnz
        for line in (
            "matrix         X (CSR, float32)",
            "shape          60 cells × 20 genes",
            f"nonzeros       {nonzeros:,}",
            "values         uint16, or wider if a value asks for it",
            "parts          1",
            "annotations    layers (halves)",
            "not converted  nothing",
        ):
            assert line in printed.splitlines()

    def test_json(self, source: Path, tmp_path: Path) -> None:
        """--json has all of it, with the documented keys."""
        words = ("--dry-run", "--json", "--matrix", "layer:halves", "--chunk-size", "10")
        found = run("convert", source, tmp_path / "out.slaf", *words).succeeded().json
        assert found.keys() == PREVIEW_KEYS
        assert found["parts"] == 6
        assert found["counts_in"] == ["X"]
        assert found["annotations"] == ["layers (X)"]
        assert found["not_converted"] == []
        assert found["estimate"]["bytes"] > 0

    def test_an_unfinished_run_is_found(self, source: Path, tmp_path: Path) -> None:
        """Where the same conversion was stopped, the plan says how many parts are done."""
        output = tmp_path / "out.slaf"
        stop_after(20, source, output, chunk_size=10)
        before = (output / "config.json").read_bytes()
        printed = run("convert", source, output, "--chunk-size", "10", "--dry-run").succeeded().out
        assert "parts          6, of which 2 are done" in printed
        assert (output / "config.json").read_bytes() == before

    def test_a_bad_input_ends_with_3(self, tmp_path: Path) -> None:
        """What could not be converted is refused."""
        words = ("convert", tmp_path / "none.h5ad", tmp_path / "out.slaf", "--dry-run")
        run(*words).failed(ExitCode.BAD_INPUT)


@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["convert", "dry run"])
@pytest.mark.parametrize("layout", ["csr", "csc"])
def test_a_disk_that_is_too_small_ends_with_6(layout: str, dry: list[str], tmp_path: Path) -> None:
    """What cannot fit is refused before the first byte, with what is free and what it takes."""
    source = endless(tmp_path / "in.h5ad", layout)
    output = tmp_path / "out.slaf"
    paragraph = run("convert", source, output, *dry).failed(ExitCode.STORAGE)
    assert "bytes are free there, but the dataset takes about" in paragraph
    assert ("sorting takes" in paragraph) == (layout == "csc")
    assert not output.exists()


def endless(path: Path, layout: str) -> Path:
    """An h5ad of more entries than this disk has room for, none of which was ever written."""
    write_h5ad(path, sp.csr_matrix(np.zeros((1, 1), np.float32)))
    unwritten = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    unwritten.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    unwritten.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5py.File(path, "r+") as file:
        group = file["X"]
        group.attrs["encoding-type"] = f"{layout}_matrix"
        for name in ("data", "indices", "indptr"):
            del group[name]
        group["indptr"] = np.array([0, ENDLESS])
        space = h5py.h5s.create_simple((ENDLESS,))
        for name, dtype in (("data", h5py.h5t.IEEE_F32LE), ("indices", h5py.h5t.STD_I32LE)):
            h5py.h5d.create(group.id, name.encode(), dtype, space, unwritten)
    return path


def test_a_conflict_is_not_told_as_an_interruption(source: Path, dataset: Path) -> None:
    """A refusal says what to do about it, and nothing of resuming."""
    ended: Ended = run("convert", source, dataset)
    assert "run the same command again" not in ended.failed(ExitCode.CONFLICT)
