"""A dataset that cron keeps up to date, as docs/how-to/cron.md describes it."""

from __future__ import annotations

import re
import signal
import subprocess
from contextlib import chdir
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

import slaf
from slaf.testing.strategies import Stored
from tests.cli.terminal import SLAF, TIME, run
from tests.formats.builders import write_v3

if TYPE_CHECKING:
    from pathlib import Path

N_FIRST, N_CELLS, N_GENES = 8, 4, 6
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


def test_the_months(tmp_path: Path) -> None:
    """New samples are appended, a killed run is finished, and what is wrong changes nothing."""
    lab = Lab(tmp_path)
    lab.add(N_FIRST)
    code, made, _ = lab.run("convert", "--cell-id-prefix", "--samples", "sheet.csv")
    assert (code, made["n_cells"]) == (0, N_FIRST * N_CELLS)

    lab.add(3)
    code, made, err = lab.append()
    assert (code, made["n_cells"], err) == (0, 11 * N_CELLS, "")
    assert lab.log[-1] == "end: exit code 0"
    assert "lab.slaf: 44 cells" in lab.log[-2]

    # Nothing new: 7, and nothing but a line in the log.
    code, told, err = lab.append()
    assert (code, told["error"]["what"], told["error"]["code"]) == (7, "AlreadyInDataset", 7)
    assert err == "slaf: lab.slaf: it has all of the 11 inputs: nothing is new\n"
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
    lab.add(1)
    lab.add(2, in_sheet=False)
    code, told, _ = lab.append()
    assert (code, told["error"]["code"]) == (3, 3)
    assert all(name in told["error"]["message"] for name in ("L013", "L014"))
    lab.enter("L013")
    lab.enter("L014")
    path = lab.folder / "runs" / "L013" / MATRIX
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    code, told, _ = lab.append()
    assert (code, told["error"]["what"]) == (3, "DamagedInput")
    assert "L013" in told["error"]["message"]
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        file["matrix/indices"][0] = 99
    assert lab.append()[0] == 3
    assert lab.dataset.n_cells == 11 * N_CELLS
    # Mended, when one more has come: what was kept is finished.
    path.write_bytes(whole)
    lab.add(1)
    code, made, err = lab.append()
    assert (code, made["n_cells"]) == (0, 15 * N_CELLS), err


def _test_a_killed_month(lab: Lab) -> None:
    """A killed run leaves the dataset readable; the next one finishes it, and what came since."""
    lab.add(2)
    lab.kill()
    assert lab.dataset.n_cells == 15 * N_CELLS
    lab.add(1)
    code, _, err = lab.run("append", "--new-only", "--chunk-size", "1")
    assert code == 0, err
    assert "the append that was stopped is finished; 1 more follow" in err
    assert lab.dataset.n_cells == 18 * N_CELLS
