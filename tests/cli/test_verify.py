"""`slaf verify`: what it prints, and how it ends."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import h5py
import pytest

from slaf.format.validation import with_checksum
from slaf_cli.report import ExitCode
from tests.cli.terminal import at_terminal, run, stop_after

if TYPE_CHECKING:
    from pathlib import Path

REPORT_KEYS = {"dataset", "checks", "differences", "counts", "ok"}


@pytest.fixture
def forged(dataset: Path, tmp_path: Path) -> Path:
    """A dataset with a digest in config.json that its rows do not have."""
    path = shutil.copytree(dataset, tmp_path / "forged.slaf")
    config = json.loads((path / "config.json").read_bytes())
    config["blocks"][0]["digest"] = "0" * 32
    (path / "config.json").write_bytes(with_checksum(config))
    return path


def test_a_whole_dataset_ends_with_0(dataset: Path, source: Path) -> None:
    """It says what was checked, which with --against is all of the input as well."""
    printed = run("verify", dataset).succeeded().out
    assert printed.startswith(f"{dataset}: no difference in ")
    assert str(source) not in printed
    assert str(source) in run("verify", dataset, "--against", source).succeeded().out


def test_json_is_the_report(dataset: Path) -> None:
    """--json prints the report, with the documented keys."""
    found = run("verify", dataset, "--json").succeeded().json
    assert found.keys() == REPORT_KEYS
    assert found["ok"] is True
    assert found["differences"] == []


def test_differences_end_with_5(forged: Path) -> None:
    """Each difference is a line on stdout, and the paragraph on stderr names the first."""
    ended = run("verify", forged)
    assert ended.out.startswith("digest, cells 0 to 60: expected 00000000")
    assert "1 difference" in ended.failed(ExitCode.VERIFICATION_FAILED)


def test_differences_as_json(forged: Path) -> None:
    """--json prints valid JSON of what differs as well, and ends with 5."""
    ended = run("verify", forged, "--json")
    ended.failed(ExitCode.VERIFICATION_FAILED)
    assert ended.json["ok"] is False
    assert ended.json["counts"] == {"digest": 1}
    assert ended.json["differences"][0].keys() == {"kind", "where", "expected", "found"}
    assert ended.json["error"]["what"] == "VerificationFailed"


def test_quick_reads_no_values(forged: Path) -> None:
    """--quick checks the tables only, and so does not see a digest that is wrong."""
    printed = run("verify", forged, "--quick").succeeded().out
    assert "digest" not in printed


def test_a_changed_input_is_told_value_by_value(
    dataset: Path, source: Path, tmp_path: Path
) -> None:
    """--against names the cell, the gene and both values; beyond ten of a kind, how many more."""
    changed = shutil.copy(source, tmp_path / "changed.h5ad")
    with h5py.File(changed, "r+") as file:
        file["X/data"][:15] += 100
    ended = run("verify", dataset, "--against", changed)
    ended.failed(ExitCode.VERIFICATION_FAILED)
    lines = ended.out.splitlines()
    assert lines[0].startswith("value, cell 0 ('cell-0'), gene ")
    assert "expected 10" in lines[0]
    assert len(lines) == 11
    assert lines[-1] == "value: and 5 more"


def test_what_is_no_dataset_ends_with_3(source: Path, tmp_path: Path) -> None:
    """An input, nothing, and an unfinished conversion cannot be verified."""
    output = tmp_path / "out.slaf"
    stop_after(20, source, output, chunk_size=10)
    for path in (source, tmp_path / "none", output):
        run("verify", path).failed(ExitCode.BAD_INPUT)


def test_a_bad_input_to_compare_with_ends_with_3(dataset: Path, tmp_path: Path) -> None:
    """An input that is not there is a bad input, not a difference."""
    run("verify", dataset, "--against", tmp_path / "none.h5ad").failed(ExitCode.BAD_INPUT)


def test_quiet_shows_no_bar(dataset: Path) -> None:
    """At a terminal there is a bar, and with --quiet there is none."""
    assert "%" in at_terminal("verify", dataset)[1]
    assert "%" not in at_terminal("verify", dataset, "--quiet")[1]
