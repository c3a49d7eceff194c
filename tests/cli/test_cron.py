"""A dataset that cron keeps up to date, as docs/how-to/cron.md describes it."""

from __future__ import annotations

import re
import signal
import subprocess
from contextlib import chdir
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import slaf
from slaf.testing.strategies import Stored
from tests.cli.terminal import SLAF, TIME, run
from tests.formats.builders import write_v3

N_CELLS, N_GENES = 4, 6
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "cron.md"
MATRIX = "outs/filtered_feature_bc_matrix.h5"


class Lab:
    """A folder of samples, their sheet, and the command of each month."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.n_samples = 0
        (folder / "sheet.csv").write_text("library,donor,age\n")
        (folder / "runs").mkdir()

    @property
    def dataset(self) -> slaf.Dataset:
        """The dataset."""
        return slaf.open(self.folder / "lab.slaf")

    @property
    def log(self) -> list[str]:
        """The lines of the log without their times, which all have."""
        lines = (self.folder / "lab.log").read_text().splitlines()
        assert all(re.match(TIME, line) for line in lines)
        return [line.partition(" ")[2] for line in lines]

    def add(self, n: int, *, in_sheet: bool = True) -> None:
        """Add samples, each with a folder and a row."""
        for _ in range(n):
            self.n_samples += 1
            name = f"L{self.n_samples:03d}"
            path = self.folder / "runs" / name / MATRIX
            path.parent.mkdir(parents=True)
            values = np.arange(N_CELLS, dtype=np.int32) + self.n_samples
            stored = Stored((N_CELLS, N_GENES), np.arange(N_CELLS), np.arange(N_CELLS), values)
            barcodes = np.array([f"{'ACGT'[at] * 8}{self.n_samples}".encode() for at in range(4)])
            write_v3(path, stored, barcodes={"barcodes": barcodes})
            if in_sheet:
                self.enter(name)

    def enter(self, name: str) -> None:
        """Add a row to the sheet."""
        with (self.folder / "sheet.csv").open("a") as sheet:
            sheet.write(f"{name},D{int(name[1:]) % 7},{int(name[1:])}\n")

    def command(self, verb: str, *words: str) -> list[str]:
        """The words of a command."""
        return [verb, "runs", "lab.slaf", "--log-file", "lab.log", "--json", *words]

    def run(self, verb: str, *words: str) -> tuple[int, Any, str]:
        """Run a command: its exit code, the JSON on stdout, and stderr."""
        with chdir(self.folder):
            ended = run(*self.command(verb, *words))
        return ended.code, ended.json, ended.err

    def append(self) -> tuple[int, Any, str]:
        """The command of each month."""
        return self.run("append", "--new-only", "--quiet")

    def mailed(self) -> str:
        """What cron mails of the line on the page."""
        line = next(line for line in PAGE.read_text().splitlines() if line.startswith("0 3 1 * * "))
        command = line.removeprefix("0 3 1 * * ").replace("/data/lab", str(self.folder))
        command = command.replace(" monthly ", " runs ").replace("slaf append", f"{SLAF} append")
        ended = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)  # noqa: S602 - ours
        return ended.stdout + ended.stderr

    def kill(self) -> None:
        """Run the command of each month, and kill it as soon as it has begun to write."""
        config = self.folder / "lab.slaf" / "config.json"
        before = config.read_bytes()
        process = subprocess.Popen(
            [SLAF, *self.command("append", "--new-only", "--chunk-size", "1")],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while config.read_bytes() == before:
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("n_first", [6, pytest.param(40, marks=pytest.mark.slow)])
def test_the_months(n_first: int, tmp_path: Path) -> None:
    """New samples are appended, a killed run is finished, and what is wrong changes nothing."""
    lab = Lab(tmp_path)
    lab.add(n_first)
    code, made, _ = lab.run("convert", "--cell-id-prefix", "--samples", "sheet.csv")
    assert (code, made["n_cells"]) == (0, n_first * N_CELLS)

    lab.add(3)
    code, made, err = lab.append()
    assert (code, made["n_cells"], err) == (0, (n_first + 3) * N_CELLS, "")
    assert lab.log[-1] == "end: exit code 0"
    assert f"lab.slaf: {(n_first + 3) * N_CELLS} cells" in lab.log[-2]

    # Nothing new: 7, and nothing but a line in the log; cron mails nothing.
    assert lab.mailed() == ""
    code, told, err = lab.append()
    assert (code, told["error"]["what"], told["error"]["code"]) == (7, "AlreadyInDataset", 7)
    assert err == f"slaf: lab.slaf: it has all of the {n_first + 3} inputs: nothing is new\n"
    assert lab.log[-2:] == [err.strip(), "end: exit code 7"]

    _test_a_broken_month(lab)
    _test_a_killed_month(lab)

    obs = lab.dataset.to_anndata().obs
    names = [f"L{number:03d}" for number in range(1, lab.n_samples + 1)]
    assert list(obs["sample"]) == [name for name in names for _ in range(N_CELLS)]
    assert list(obs["library"]) == list(obs["sample"])
    assert list(obs["age"]) == [int(name[1:]) for name in obs["sample"]]
    prefixes = [cell.partition("_")[0] for cell in obs.index]
    assert prefixes == list(obs["sample"])
    slaf.verify(lab.dataset, against=lab.folder / "runs")


def _test_a_broken_month(lab: Lab) -> None:
    """A damaged sample, and one without a row, hold up their month and are named."""
    before = lab.n_samples
    broken, without = f"L{before + 2:03d}", f"L{before + 3:03d}"
    lab.add(1)
    lab.add(2, in_sheet=False)
    code, told, _ = lab.append()
    assert (code, told["error"]["code"]) == (3, 3)
    assert all(name in told["error"]["message"] for name in (broken, without))
    lab.enter(broken)
    lab.enter(without)
    path = lab.folder / "runs" / broken / MATRIX
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    code, told, _ = lab.append()
    assert (code, told["error"]["what"]) == (3, "DamagedInput")
    # By name, once.
    assert told["error"]["message"].count(broken) == 1
    assert broken in lab.mailed()
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        file["matrix/indices"][0] = 99
    assert lab.append()[0] == 3
    assert lab.dataset.n_cells == before * N_CELLS
    # Mended, when one more has come: what was kept is finished.
    path.write_bytes(whole)
    lab.add(1)
    code, made, err = lab.append()
    assert (code, made["n_cells"]) == (0, (before + 4) * N_CELLS), err


def _test_a_killed_month(lab: Lab) -> None:
    """A killed run leaves the dataset readable; the next one finishes it, and what came since."""
    before = lab.n_samples
    lab.add(2)
    lab.kill()
    assert lab.dataset.n_cells == before * N_CELLS
    lab.add(1)
    code, _, err = lab.run("append", "--new-only", "--chunk-size", "1")
    assert code == 0, err
    assert "the append that was stopped is finished; 1 more follow" in err
    assert lab.dataset.n_cells == (before + 3) * N_CELLS
