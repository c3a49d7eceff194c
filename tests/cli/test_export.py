"""`slaf export` and `slaf diff`: what they print, and how they end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata
import h5py
import pytest

import slaf
from slaf_cli.report import ExitCode
from tests.cli.terminal import at_terminal, run

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_written(dataset: Path, tmp_path: Path) -> None:
    """One line describes the output; nothing is printed on stderr."""
    ended = run("export", dataset, tmp_path / "out.h5ad").succeeded()
    assert ended.out.startswith(f"{tmp_path / 'out.h5ad'}: 60 cells × 20 genes (h5ad), ")
    assert ended.err == ""
    assert anndata.read_h5ad(tmp_path / "out.h5ad").shape == (60, 20)


def test_every_option(dataset: Path, tmp_path: Path) -> None:
    """What the library can, the command line reaches."""
    output = tmp_path / "out"
    words = ["--format", "h5ad", "--layout", "csc", "--compression", "none", "--memory", "1K"]
    words += ["--cells", "batch = 'b1'", "--genes", "length < 7", "--scratch", str(tmp_path)]
    run("export", dataset, output, *words, "--strict").succeeded()
    found = anndata.read_h5ad(output)
    assert found.X.format == "csc"
    assert found.shape == (20, 7)
    with h5py.File(output) as file:
        assert file["X/data"].compression is None
    run("export", dataset, output, *words).failed(ExitCode.CONFLICT)
    run("export", dataset, output, *words, "--overwrite").succeeded()


def test_json_tells_what_was_left_out(dataset: Path, tmp_path: Path) -> None:
    """--json prints the result, with the documented keys; the warning is on stderr."""
    ended = run("export", dataset, tmp_path / "out.h5", "--json").succeeded()
    assert ended.json.keys() == {
        *("output", "format", "n_cells", "n_genes", "bytes", "left_out"),
        *("seconds", "peak_memory"),
    }
    assert ended.json["left_out"] == [
        "layers/halves is left out",
        "obs (batch, depth) is left out",
        "var (length) is left out",
    ]
    assert (
        "does not hold all of the dataset: layers/halves is left out; obs (batch, depth)"
        in ended.err
    )


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["out.h5", "--strict"], ExitCode.BAD_INPUT),
        (["out"], ExitCode.BAD_INPUT),
        (["out.h5ad", "--cells", "nonsense"], ExitCode.BAD_INPUT),
        (["out.h5ad", "--layout", "coo"], ExitCode.USAGE),
    ],
)
def test_exit_codes(words: list[str], code: ExitCode, dataset: Path, tmp_path: Path) -> None:
    """An export that is impossible ends with its exit code, and writes nothing."""
    ended = run("export", dataset, tmp_path / words[0], *words[1:])
    assert ended.code == code, ended.err
    assert list(tmp_path.iterdir()) == []


def test_a_bar_at_a_terminal(dataset: Path, tmp_path: Path) -> None:
    """At a terminal there is a bar, and with --quiet there is none."""
    assert "%" in at_terminal("export", dataset, tmp_path / "1.h5ad", "--layout", "csc")[1]
    assert "%" not in at_terminal("export", dataset, tmp_path / "2.h5ad", "--quiet")[1]


def test_diff_of_equals_ends_with_0(dataset: Path, source: Path) -> None:
    """Either way round, the line names both."""
    for pair in ((dataset, source), (source, dataset), (dataset, dataset)):
        printed = run("diff", *pair).succeeded().out
        assert printed.startswith(f"{pair[0]} and {pair[1]}: no difference in ")


def test_diff_of_others_ends_with_5(dataset: Path, source: Path, tmp_path: Path) -> None:
    """Differences are lines with both values and both names, ten of a kind; or JSON."""
    ended = run("diff", dataset, source, "--matrix", "layer:halves")
    assert ended.code == ExitCode.VERIFICATION_FAILED
    lines = ended.out.splitlines()
    assert lines[0].startswith("value, cell 0 ('cell-0'), gene ")
    assert f" in {dataset}, " in lines[0]
    assert lines[0].endswith(f" in {source}")
    assert [line.partition(",")[0] for line in lines[10:]] == [
        *("layers", "layers", lines[-1]),
    ]
    assert lines[-1].startswith("value: and ")
    ended = run("diff", dataset, source, "--matrix", "layer:halves", "--json")
    assert ended.code == ExitCode.VERIFICATION_FAILED
    assert ended.json["ok"] is False
    assert ended.json.keys() == {"first", "second", "checks", "differences", "counts", "ok"}
    run("diff", source, tmp_path / "none").failed(ExitCode.BAD_INPUT)


def test_there_and_back(dataset: Path, source: Path, tmp_path: Path) -> None:
    """What is exported and converted again is what it was."""
    run("export", dataset, tmp_path / "out.h5ad").succeeded()
    run("convert", tmp_path / "out.h5ad", tmp_path / "again.slaf").succeeded()
    run("diff", dataset, tmp_path / "again.slaf").succeeded()
    assert slaf.verify(tmp_path / "again.slaf", source).ok
