"""`slaf repair`: what it prints, and how it ends."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

import slaf
from slaf.testing.crashing import Crash, CrashingStorage
from slaf_cli.report import ExitCode
from tests.builders import counts, write_h5ad
from tests.cli.terminal import run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def damaged(dataset: Path, tmp_path: Path) -> Path:
    """A dataset without its cells."""
    path = shutil.copytree(dataset, tmp_path / "damaged.slaf")
    (file,) = (path / "cells.lance/data").iterdir()
    file.unlink()
    return path


def test_repaired_files_are_listed(damaged: Path, source: Path) -> None:
    """Each damaged file is a line, and the last one says how many there were."""
    lines = run("repair", damaged, "--from", source).succeeded().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("repaired cells.lance/data/")
    assert lines[0].endswith(" (cells)")
    assert lines[1].startswith(f"{damaged}: 1 of ")
    assert slaf.verify(damaged, against=source).ok


def test_nothing_is_damaged(dataset: Path) -> None:
    """Without damage it says so, and ends with 0."""
    printed = run("repair", dataset).succeeded().out
    assert printed.startswith(f"{dataset}: nothing is damaged (")


def test_json(damaged: Path, source: Path) -> None:
    """--json prints repaired files, with the documented keys."""
    found = run("repair", damaged, "--from", source, "--json").succeeded().json
    assert found.keys() == {"dataset", "files", "damaged", "parts", "tables"}
    assert found["tables"] == ["cells"]


def test_refusals_end_with_3(damaged: Path, source: Path, tmp_path: Path) -> None:
    """Without the input, with another, and without a dataset, nothing is repaired."""
    assert "--from" in run("repair", damaged).failed(ExitCode.BAD_INPUT)
    other = write_h5ad(tmp_path / "other.h5ad", counts(3, 4))
    ended = run("repair", damaged, "--from", other)
    assert "so nothing is repaired" in ended.failed(ExitCode.BAD_INPUT)
    run("repair", source).failed(ExitCode.BAD_INPUT)
    run("repair", tmp_path / "none").failed(ExitCode.BAD_INPUT)
    assert not (tmp_path / "none").exists()


def test_a_sample(dataset: Path) -> None:
    """`slaf verify --sample` says which blocks it read, and goes with nothing that reads all."""
    printed = run("verify", dataset, "--sample", "1", "--seed", "3").succeeded().out
    assert "drawn with seed 3 (cells " in printed
    assert run("verify", dataset, "--sample", "1", "--quick").code == ExitCode.USAGE
    assert run("verify", dataset, "--sample", "0").code == ExitCode.USAGE


def test_a_damaged_file_ends_with_5(damaged: Path) -> None:
    """`slaf verify` names it, and ends as any verification that fails."""
    ended = run("verify", damaged)
    assert ended.out.startswith("file, cells.lance/data/")
    ended.failed(ExitCode.VERIFICATION_FAILED)


def test_status_of_a_repair(dataset: Path, source: Path, tmp_path: Path) -> None:
    """The status of a stopped repair names the dataset and the command that finishes it."""
    path = shutil.copytree(dataset, tmp_path / "stopped.slaf")
    for file in (path / "expression.lance/data").iterdir():
        file.unlink()
    with pytest.raises(Crash):
        slaf.repair(CrashingStorage(path, 5), source)
    printed = run("status", path).succeeded().out
    assert "stopped; the dataset that it repairs can be read meanwhile" in printed
    assert f"slaf repair {path} --from {source}" in printed
    run("repair", path, "--from", source).succeeded()
    assert slaf.verify(path, against=source).ok
