"""Programs in turn: what is measured, checked, kept and told."""

from __future__ import annotations

import platform
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import slaf
from benchmarks.cases import Case, Reading, Sizes, cases, reading, real_cases
from benchmarks.costs import CHECKS, SCAN, VERIFY, costs_in_turn
from benchmarks.inputs import Counts, Input, cached_input
from benchmarks.page import conversion_rows, page, reading_rows
from benchmarks.programs import OURS, PROGRAMS, Program
from benchmarks.results import Conversions, Results, Run
from benchmarks.rounds import convert_in_turn, read_in_turn
from benchmarks.targets import targets

if TYPE_CHECKING:
    from benchmarks.inputs import Kind

ROOT = Path(__file__).parents[2]
Reads = dict[str, Any]
SIZES = Sizes(40, 60, 80)
FURTHER: tuple[Kind, ...] = ("10x H5", "10x MTX", "SOMA", "files")
SMALL = Counts(60, n_genes=50, depth=40.0)
PEER = "TileDB-SOMA"
ABOUT: dict[str, Any] = {
    "processor": "a processor",
    "cores": 2,
    "memory": "8 GiB",
    "system": "Linux x86_64",
    "python": "3.12.1",
    "revision": "0123456789ab",
    "date": "2026-03-01",
}


def installed(name: str) -> Program:
    """A program whose library this environment has too."""
    return replace(PROGRAMS[name], requirements=())


# Those that need no environment of their own.
HERE = {
    name: installed(name)
    for name, program in PROGRAMS.items()
    if not program.requirements or name == PEER
}


def of_another(_: Path, __: Input, path: Path, output: Path) -> list[str | Path]:
    """Converts other cells than it was given."""
    other = cached_input(Input(replace(SMALL, seed=4)), path.parents[1]).path
    return [Path(sys.executable).with_name("slaf"), "convert", "--quiet", other, output]


def fresh(folder: Path) -> Results:
    """Those of the file in a folder, mostly none."""
    return Results.begin(folder / "figures.json", ABOUT)


def case(kind: Kind, *programs: str) -> Case:
    """A small input of a format, and who converts it."""
    return Case(f"{kind}, 60 cells", Input(SMALL, kind), programs, checked=True)


@pytest.mark.parametrize(
    "kind",
    ["h5ad", *(pytest.param(kind, marks=pytest.mark.slow) for kind in FURTHER)],
)
def test_every_format_is_measured_and_checked(kind: Kind, tmp_path: Path) -> None:
    """Time, memory and bytes of each program are counted, and its output is what it was given."""
    programs = [name for name in (OURS, PEER) if kind in PROGRAMS[name].kinds]
    results = fresh(tmp_path)
    convert_in_turn(case(kind, *programs), 1, results, tmp_path, HERE)
    for found in results.conversions[f"{kind}, 60 cells"].values():
        assert found.failure is None
        assert found.losses == []
        (run,) = found.runs
        assert run.seconds > 0.1
        assert run.cpu_seconds > 0.1
        assert run.peak_bytes > 30e6
        assert run.stored_bytes > found.nonzeros > 100


def test_what_is_not_a_program_is_measured_too(tmp_path: Path) -> None:
    """The floor, the way to h5ad, checks, the proof and a bare scan can be measured."""
    programs = ("floor, balanced", "slaf, to h5ad", "slaf, workers 2")
    chosen = Case("case", Input(SMALL), programs, costs=(CHECKS, VERIFY, SCAN))
    results = fresh(tmp_path)
    convert_in_turn(chosen, 1, results, tmp_path, HERE)
    costs_in_turn(chosen, 1, results, tmp_path)
    assert all(found.runs and not found.failure for found in results.conversions["case"].values())
    for seconds in results.costs["case"].values():
        assert 0 < seconds[0] < 30


def test_real_files_are_repeated_and_measured(tmp_path: Path) -> None:
    """A file in the folder of real ones, of any format, is an input of five million nonzeros."""
    (tmp_path / "real").mkdir()
    once = Counts(2_000, n_genes=5_000)
    shutil.copytree(cached_input(Input(once, "10x MTX"), tmp_path).path, tmp_path / "real" / "few")
    (found,) = real_cases(tmp_path)
    assert found.name == "real: few"
    repeated = cached_input(found.input, tmp_path)
    times, rest = divmod(repeated.nonzeros, cached_input(Input(once), tmp_path).nonzeros)
    assert rest == 0
    assert repeated.nonzeros >= 5_000_000
    assert slaf.scan(repeated.path).shape == (times * 2_000, 5_000)


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    """What the file of figures holds is not measured again, unless it is of another machine."""
    results, one = fresh(tmp_path), Case("case", Input(SMALL), (OURS,))
    convert_in_turn(one, 1, results, tmp_path, HERE)
    again = fresh(tmp_path)
    assert again == results
    convert_in_turn(one, 2, again, tmp_path, HERE)
    before, after = (of.conversions["case"][OURS].runs for of in (results, again))
    assert len(after) == 2
    assert after[0] == before[0]
    other = Results.begin(tmp_path / "figures.json", {**ABOUT, "cores": 4})
    assert not other.conversions


def test_a_failure_and_a_loss_are_told(tmp_path: Path) -> None:
    """A program that fails is not run again, and one whose output differs is told of."""
    programs = {
        "fails": replace(HERE[OURS], convert=lambda python, *_: [python, "-c", "1 / 0"]),
        "differs": replace(HERE[OURS], convert=of_another),
    }
    results = fresh(tmp_path)
    convert_in_turn(case("h5ad", *programs), 2, results, tmp_path, programs)
    found = results.conversions["h5ad, 60 cells"]
    assert found["fails"].failure == "ZeroDivisionError: division by zero"
    assert not found["fails"].runs
    losses = found["differs"].losses or []
    assert losses[0] == "X differs"
    assert "ids of cells differ" in losses


def test_reads_are_the_same_by_all(tmp_path: Path) -> None:
    """Each read by each program finds what ours finds, and has a time."""
    wanted = Reading(reading(SIZES).name, Counts(60), (OURS, PEER))
    results = fresh(tmp_path)
    read_in_turn(wanted, 1, results, tmp_path, HERE)
    ours, theirs = (results.reads[wanted.name][name][0] for name in (OURS, PEER))
    assert set(ours) == set(theirs)
    assert len(ours) == 4
    for read, found in ours.items():
        assert len(found["ms"]) == 6
        for figure in ("nonzeros", "totals"):
            assert theirs[read][figure] == found[figure]
    assert sum(ours["64 random cells"]["nonzeros"]) > 0
    shown = page(results, SIZES)
    assert "different values" not in shown
    assert {row["program"] for row in reading_rows(results, SIZES)} == {OURS, PEER}


def made(tmp_path: Path) -> Results:
    """Figures as they could be: twice as long for the peer, half of the memory."""
    results = fresh(tmp_path)
    gibibyte = 1 << 30
    for one in cases(SIZES):
        of = results.conversions[one.name] = {
            name: Conversions(1000, [Run(2.0, 3.0, gibibyte, 2400)], losses=[])
            for name in one.programs
        }
        if "slafdb" in of:
            of["slafdb"] = Conversions(1000, [Run(4.0, 2.0, gibibyte // 2, 2400)])
        if "crispyx" in of:
            of["crispyx"] = Conversions(1000, failure="ValueError: `x` | y")
        if "bionemo-scdl" in of:
            of["bionemo-scdl"].losses = ["obs lost cell_type"]
    ours: Reads = {"64 random cells": {"ms": [90.0, 16.0, 14.0], "nonzeros": [1], "totals": [1.0]}}
    other: Reads = {"64 random cells": {"ms": [9.0, 1.0, 1.0], "nonzeros": [2], "totals": [1.0]}}
    broken: Reads = {"64 random cells": {"failed": "KeyError: 'x'"}}
    results.reads[reading(SIZES).name] = {
        OURS: [ours],
        "anndata to zarr": [other],
        "crispyx": [broken],
    }
    return results


def test_the_page_tells_who_wins_and_who_fails(tmp_path: Path) -> None:
    """The page says where a peer is ahead, fails, loses or reads other values, and as of when."""
    shown = page(made(tmp_path), SIZES)
    assert "revision `0123456789ab` of 2026-03-01.\n" in shown
    assert "| slafdb | 4.00 | 2.00 | 2.00 | 537 | 2.40 | 1 |" in shown
    assert "**slafdb is better than slaf** in CPU (0.67 ×), peak memory (0.50 ×)." in shown
    assert "crispyx fails: `ValueError: 'x' | y`" in shown
    assert r"bionemo-scdl: obs lost cell\_type." in shown
    assert "| anndata to zarr | 1.0 (9.0) **(different values)** |" in shown
    assert "**anndata to zarr is better than slaf** in 64 random cells." in shown
    assert "crispyx, 64 random cells: `KeyError: 'x'`" in shown
    others = {"<!-- loading -->", "<!-- end of loading -->"}
    assert set(re.findall("<!--.*?-->", shown)) == {"<!-- chart: wall, s -->", *others}


def test_the_page_names_no_machine(tmp_path: Path) -> None:
    """Neither the name of the machine nor a path of it is on the page."""
    results = fresh(tmp_path)
    wanted = case("h5ad", OURS)
    missing = str(ROOT / "missing")
    failing = replace(HERE[OURS], convert=lambda *_: [sys.executable, "-c", f"open({missing!r})"])
    convert_in_turn(wanted, 1, results, tmp_path, {OURS: failing})
    told = results.conversions[wanted.name][OURS].failure
    assert told
    assert str(ROOT) not in told
    assert platform.node() not in page(made(tmp_path), SIZES)


def test_targets_are_held_against_figures(tmp_path: Path) -> None:
    """Each target has its figure, whether it is met, and no figure where nothing was measured."""
    results = made(tmp_path)
    found = {target.name: target for target in targets(results, SIZES)}
    wall = found["h5ad, gzip, 60 cells: wall (best) of slaf / slafdb"]
    assert wall.measured == pytest.approx(0.5)
    assert wall.met is False
    assert wall.row()[""] == "NOT met"
    assert found["h5ad, gzip, 60 cells: bytes per nonzero, slaf"].met is False
    assert found["10x MTX, 40 cells: CPU of slaf / slaf, first edition"].measured == 1
    assert found["64 random cells, warm"].measured == 15
    assert found["64 random cells, warm"].met
    assert found["peak memory, 80 / 60 cells"].measured == 1
    assert found["10x H5, 60 cells: nonzeros per CPU second"].met is False
    assert found["one gene, from expression_by_gene"].met is None
    results.reads[reading(SIZES).name] |= {
        OURS: [{"one gene": {"ms": [9.0, 60.0]}}],
        "slaf, by gene": [{"one gene": {"ms": [9.0, 3.0]}}],
    }
    found = {target.name: target for target in targets(results, SIZES)}
    assert found["one gene, from expression_by_gene"].met
    assert found["one gene, expression_by_gene / scan"].measured == pytest.approx(0.05)
    nothing = targets(fresh(tmp_path / "other"), SIZES)
    assert len(nothing) == len(found)
    assert all(target.met is None for target in nothing)


def test_every_program_of_a_case_reads_its_format() -> None:
    """Each case names programs that there are, and its rows are in the order of the cases."""
    for one in cases(Sizes()):
        assert all(one.input.kind in PROGRAMS[name].kinds for name in one.programs)
        assert one.every <= set(one.programs)
        assert one.programs[0] == OURS
    assert len({one.name for one in cases(Sizes())}) == len(cases(Sizes()))


def test_rows_for_a_terminal(tmp_path: Path) -> None:
    """A program that failed has no row, every other has one."""
    rows = conversion_rows(made(tmp_path), SIZES)
    assert "crispyx" not in {row["program"] for row in rows}
    assert all(row["bytes_per_nonzero"] == 2.4 for row in rows)
