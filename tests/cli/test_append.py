"""`slaf append`, and the other commands with several inputs."""

from __future__ import annotations

import shlex
import shutil
from typing import TYPE_CHECKING, Any

import pytest

import slaf
from slaf.storage.location import Location
from slaf_cli.report import ExitCode
from tests.builders import counts, write_h5ad
from tests.cli.terminal import run, start, stop_after
from tests.conversion.outputs import output_of, tree
from tests.formats.builders import write_v3
from tests.formats.test_laws import STORED

if TYPE_CHECKING:
    from pathlib import Path

N_GENES = 20
PREVIEW_KEYS = {
    *("operation", "sources", "output", "n_cells", "n_genes", "shared_genes", "size"),
    *("value_type", "rewrites", "parts", "parts_done", "estimate", "free", "not_converted"),
    *("annotations", "counts_in", "left_out", "notes"),
}


@pytest.fixture
def made(source: Path, tmp_path: Path) -> Path:
    """A dataset of one input, to be added to."""
    # Nothing is added yet to what has layers.
    slaf.convert(source, tmp_path / "made.slaf", layers="none")
    return tmp_path / "made.slaf"


@pytest.fixture
def more(tmp_path: Path) -> list[Path]:
    """Two further inputs of its genes."""
    return [write_h5ad(tmp_path / f"more {at}.h5ad", counts(30, N_GENES, seed=at)) for at in (1, 2)]


def test_it_adds_cells(made: Path, more: list[Path], source: Path) -> None:
    """What is added is summed up in one line, and the dataset then proves itself."""
    ended = run("append", *more, made).succeeded()
    assert f"{made}: 120 cells × 20 genes" in ended.out
    against = [word for path in (source, *more) for word in ("--against", path)]
    assert "no difference" in run("verify", made, *against).succeeded().out


def test_json(made: Path, more: list[Path]) -> None:
    """As JSON it is what `info` says, with time and memory."""
    found = run("append", more[0], made, "--json", "--quiet").succeeded().json
    assert found["n_cells"] == 90
    assert found["kind"] == "dataset"
    assert [one["uri"] for one in found["sources"]][1:] == [str(more[0])]
    assert found["seconds"] > 0


def test_several_inputs(source: Path, more: list[Path], tmp_path: Path) -> None:
    """`convert` takes several inputs before the output, and prefixes tell their cells apart."""
    output = tmp_path / "out.slaf"
    run("convert", source, *more, output, "--cell-id-prefix").succeeded()
    dataset = slaf.open(output)
    assert dataset.n_cells == 120
    assert list(dataset.obs.index[[0, 60, 90]]) == ["in_cell-0", "more 1_cell-0", "more 2_cell-0"]


def test_union_of_genes(made: Path, tmp_path: Path) -> None:
    """Other genes are refused with a remedy, and accepted with `--join union`."""
    path = write_h5ad(tmp_path / "wide.h5ad", counts(5, N_GENES + 3))
    before = tree(made)
    paragraph = run("append", path, made).failed(ExitCode.BAD_INPUT)
    assert "3 of 23 are only there ('gene-20', 'gene-21', 'gene-22')" in paragraph
    assert "--join" in paragraph
    assert tree(made) == before
    run("append", path, made, "--join", "union").succeeded()
    assert slaf.open(made).genes_present("in.h5ad").tolist() == [True] * 20 + [False] * 3


def test_genes_are_not_taken_away(made: Path, more: list[Path]) -> None:
    """An intersection is no choice of `append`."""
    assert run("append", more[0], made, "--join", "intersection").code == ExitCode.USAGE


def test_a_source_that_is_in_it(source: Path, more: list[Path], made: Path) -> None:
    """An input that is in is refused with 7, with a new one with 4; --allow-duplicate takes it."""
    refused = run("append", source, made, "--json")
    assert "--allow-duplicate" in refused.failed(ExitCode.ALREADY_IN_DATASET)
    assert refused.json["error"]["what"] == "AlreadyInDataset"
    assert "--allow-duplicate" in run("append", source, more[0], made).failed(ExitCode.CONFLICT)
    run("append", source, made, "--allow-duplicate").succeeded()
    assert slaf.open(made).n_cells == 120


def test_there_is_nothing_to_add_to(more: list[Path], tmp_path: Path) -> None:
    """Without a dataset it ends with 3, and makes none."""
    path = tmp_path / "none.slaf"
    assert "not a SLAF dataset" in run("append", more[0], path).failed(ExitCode.BAD_INPUT)
    assert not path.exists()


def test_another_process_is_there(made: Path, more: list[Path]) -> None:
    """While another process writes there it ends with 4."""
    with Location(made).lock():
        assert "another process" in run("append", more[0], made).failed(ExitCode.CONFLICT)
        ended = run("append", more[0], made, "--dry-run")
        assert "another process" in ended.failed(ExitCode.CONFLICT)


def test_append_dry_run(made: Path, more: list[Path]) -> None:
    """A dry run prints what would be added, and writes nothing."""
    before = tree(made)
    printed = run("append", *more, made, "--dry-run", "--chunk-size", "10").succeeded().out
    for line in (
        f"inputs         {more[0]} (h5ad): 30 cells × 20 genes",
        "shape          120 cells × 20 genes",
        "genes in all   20",
        f"output         {made}",
        "parts          6",
    ):
        assert line in printed.splitlines()
    found = run("append", *more, made, "--dry-run", "--json").succeeded().json
    assert found.keys() == PREVIEW_KEYS
    assert (found["operation"], found["n_cells"]) == ("append", 120)
    assert tree(made) == before


def test_convert_dry_run(source: Path, more: list[Path], tmp_path: Path) -> None:
    """A dry run prints each of several inputs, and the genes that they share."""
    output = tmp_path / "out.slaf"
    wide = write_h5ad(tmp_path / "wide.h5ad", counts(5, N_GENES + 3))
    words: list[str | Path] = [source, *more, wide, output, "--dry-run", "--join", "union"]
    printed = run("convert", *words).succeeded().out
    for part in (
        f"{wide} (h5ad): 5 cells × 23 genes",
        "125 cells × 23 genes",
        "genes in all   20",
        "cell ids occur more than once",
    ):
        assert part in printed
    found = run("convert", *words, "--json").succeeded().json
    assert (found["shared_genes"], found["n_genes"], found["n_cells"]) == (20, 23, 125)
    assert "genes are not those" in run("convert", *words[:-2]).failed(ExitCode.BAD_INPUT)
    assert not output.exists()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"join": "union"},
        {"matrix": "layer:halves", "cell_id_prefix": True},
        {"allow_duplicate": True},
    ],
    ids=str,
)
def test_status_says_what_finishes_it(
    options: dict[str, Any], source: Path, more: list[Path], tmp_path: Path
) -> None:
    """The command that `status` prints of a stopped append is the one that finishes it."""
    halves = options.get("matrix") == "layer:halves"
    first = write_h5ad(tmp_path / "first.h5ad", counts(9, N_GENES, seed=5))
    output = tmp_path / "with a space.slaf"
    slaf.convert(first, output)
    added = [source] if halves else [source, *more]
    if options.get("allow_duplicate"):
        added.append(first)
    whole = shutil.copytree(output, tmp_path / "whole.slaf")
    slaf.append(added, whole, chunk_size=10, **options)
    before = output_of(output)
    stop_after(40, added, output, appends=True, chunk_size=10, **options)
    assert output_of(output) == before
    printed = run("status", output).succeeded().out
    assert "the dataset that it adds to can be read meanwhile" in printed
    stopped = slaf.status(output)
    assert 0 < stopped.parts_done < stopped.parts
    assert f"parts     {stopped.parts_done} of {stopped.parts}" in printed
    command = run("status", output, "--json").succeeded().json["resume"]
    name, *words = shlex.split(command)
    assert (name, words[0]) == ("slaf", "append")
    assert f"resuming: {stopped.parts_done} of" in run(*words).succeeded().err
    assert output_of(output) == output_of(whole)
    assert run("status", output, "--json").succeeded().json["state"] == "finished"


def test_status_of_several_inputs(source: Path, more: list[Path], tmp_path: Path) -> None:
    """So it is of a stopped conversion of a folder, whose prefixes stay the same."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    shutil.copy(source, folder / "a.h5ad")
    shutil.copy(more[0], folder / "sub" / "a.h5ad")
    options: dict[str, Any] = {"chunk_size": 10, "cell_id_prefix": True, "join": "intersection"}
    # The cells of both have the same ids.
    options["allow_duplicate"] = True
    slaf.convert(folder, tmp_path / "whole.slaf", **options)
    output = tmp_path / "out.slaf"
    stop_after(40, [folder], output, **options)
    words = shlex.split(run("status", output, "--json").succeeded().json["resume"])
    assert "resuming: 4 of 9" in run(*words[1:]).succeeded().err
    assert output_of(output) == output_of(tmp_path / "whole.slaf")


def test_a_killed_append(made: Path, source: Path, tmp_path: Path) -> None:
    """An append that is killed leaves the dataset as it was, and the same command finishes it."""
    more = write_h5ad(tmp_path / "more.h5ad", counts(120, N_GENES, seed=3))
    before = output_of(made)
    words: list[str | Path] = ["append", more, made, "--chunk-size", "2", "--quiet"]
    process = start(*words)
    while slaf.status(made).parts_done < 10:
        assert process.poll() is None, "it ended before it could be killed"
    process.kill()
    process.communicate()
    assert output_of(made) == before
    slaf.verify(made, against=source)
    run(*words).succeeded()
    slaf.verify(made, against=[source, more])


def test_verify_against_several(source: Path, more: list[Path], tmp_path: Path) -> None:
    """All inputs are named in their order; another order, or too few, are refused."""
    output = tmp_path / "out.slaf"
    run("convert", source, *more, output).succeeded()

    def verified(*paths: Path) -> Any:
        return run("verify", output, *(word for path in paths for word in ("--against", path)))

    assert "no difference" in verified(source, *more).succeeded().out
    assert verified(*more, source).code == ExitCode.VERIFICATION_FAILED
    paragraph = verified(source, more[0]).failed(ExitCode.BAD_INPUT)
    assert "was made of 3 inputs, and 2 are given" in paragraph
    other = write_h5ad(more[1], counts(30, N_GENES, seed=7))
    assert "value" in verified(source, more[0], other).out


def test_a_folder_of_inputs_that_came_in_another_order(
    source: Path, more: list[Path], tmp_path: Path
) -> None:
    """A folder is compared whatever the order of its names, also where it was moved to."""
    folder, output = tmp_path / "folder", tmp_path / "out.slaf"
    folder.mkdir()
    copies = [folder / f"{name}.h5ad" for name in "cab"]
    for path, copy in zip([source, *more], copies, strict=True):
        shutil.copy(path, copy)
    run("convert", copies[0], output).succeeded()
    run("append", *copies[1:], output).succeeded()
    assert "no difference" in run("verify", output, "--against", folder).succeeded().out
    moved = folder.rename(tmp_path / "moved")
    assert "no difference" in run("verify", output, "--against", moved).succeeded().out
    moved.rename(folder)
    write_h5ad(copies[1], counts(20, N_GENES, seed=7))
    assert run("verify", output, "--against", folder).code == ExitCode.VERIFICATION_FAILED


def test_formats_are_mixed(tmp_path: Path) -> None:
    """Inputs of several formats are added by one command; `--format` asks for one."""
    first = write_h5ad(tmp_path / "a.h5ad", counts(4, 5))
    second = write_v3(tmp_path / "b.h5", STORED)
    third = write_h5ad(tmp_path / "c.h5ad", counts(4, 5, seed=2))
    output = tmp_path / "out.slaf"
    run("convert", first, output).succeeded()
    assert run("append", second, third, output, "--format", "10x_h5").code == ExitCode.BAD_INPUT
    run("append", second, third, output).succeeded()
    run(
        "verify", output, *("--against", first, "--against", second, "--against", third)
    ).succeeded()
