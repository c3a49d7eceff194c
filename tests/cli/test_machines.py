"""`slaf plan`, `slaf part` and `slaf publish`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import slaf
from slaf_cli.report import ExitCode
from tests.cli.terminal import run

if TYPE_CHECKING:
    from pathlib import Path


def test_three_commands_make_a_dataset(source: Path, tmp_path: Path) -> None:
    """Plan, parts and publication print what there is, what is missing, and what to run."""
    output = tmp_path / "out.slaf"
    printed = run("plan", source, output, "--chunk-size", "20").succeeded().out
    assert "sbatch --array=0-2 --cpus-per-task=1 --mem=" in printed
    assert f"--wrap='slaf part {output}'" in printed
    assert "is done, 20 cells" in run("part", output, "--index", "1").succeeded().out
    refused = run("publish", output).failed(ExitCode.CONFLICT)
    assert "2 of 3 parts are missing" in refused
    assert "--array=0,2," in refused
    status = run("status", output).succeeded().out
    assert "state     planned" in status
    assert "missing   0,2" in status
    assert f"resume    slaf part {output}" in status
    encoded = run("part", output, "--range", "0-7", "--json").succeeded().json["encoded"]
    assert [(one["index"], one["state"]) for one in encoded] == [
        *((0, "done"), (1, "was done"), (2, "done"))
    ]
    assert run("part", output).succeeded().out == f"{output}: all 3 parts are done\n"
    assert f"resume    slaf publish {output}" in run("status", output).succeeded().out
    assert run("publish", output, "--json").succeeded().json["n_cells"] == 60
    assert slaf.verify(output, source).ok
    assert "no plan" in run("part", output).failed(ExitCode.CONFLICT)


def test_an_array_gives_the_index(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task of a job array encodes its part, and counts from the first of its scheduler."""
    output = tmp_path / "out.slaf"
    plan = run("plan", source, output, "--chunk-size", "20", "--json").succeeded().json
    assert (plan["parts"], plan["missing"], plan["operation"]) == (3, "0-2", "convert")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert "part 2 of 3 is done" in run("part", output).succeeded().out
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID")
    monkeypatch.setenv("SGE_TASK_ID", "2")
    assert "part 1 of 3 is done" in run("part", output).succeeded().out


def test_a_plan_is_discarded(source: Path, tmp_path: Path) -> None:
    """A plan that is given up leaves nothing; the arguments are one output then."""
    output = tmp_path / "out.slaf"
    run("plan", source, output).succeeded()
    run("plan", output, "--discard").succeeded()
    assert not output.exists()
    run("plan", output, "--discard").failed(ExitCode.CONFLICT)
    for words in (("plan", output), ("plan", source, output, "--discard")):
        assert run(*words).code == ExitCode.USAGE


def test_a_dry_run_plans_nothing(source: Path, tmp_path: Path) -> None:
    """A dry run prints what a conversion takes, and writes nothing."""
    output = tmp_path / "out.slaf"
    assert "parts          3" in (
        run("plan", source, output, "--chunk-size", "20", "--dry-run").succeeded().out
    )
    assert not output.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("part", "--range", "3-"),
        ("part", "--range", "1", "--index", "1"),
        ("verify", "--part", "2/2"),
        ("verify", "--part", "1/2", "--quick"),
    ],
)
def test_usage(words: tuple[str, ...], dataset: Path) -> None:
    """Lists and shares that make no sense are usage errors."""
    assert run(words[0], dataset, *words[1:]).code == ExitCode.USAGE


def test_verify_on_many_machines(dataset: Path) -> None:
    """The shares of a verification are reported by their number."""
    for which in range(2):
        printed = run("verify", dataset, "--part", f"{which}/2").succeeded().out
        assert f"share {which} of 2" in printed
