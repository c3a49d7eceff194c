"""Exports in a process that SIGKILL ends at many moments."""

from __future__ import annotations

import os
import random
import signal
import time
from typing import TYPE_CHECKING, Any

import anndata
import pytest

import slaf
from slaf.runtime.progress import NullProgress
from tests.builders import counts, write_h5ad
from tests.forked import FORKED
from tests.targets.checks import assert_same

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

N_CELLS = 1500
OUTPUTS: dict[str, dict[str, Any]] = {
    "out.h5ad": {"layout": "csc", "memory": 1 << 22},
    "out.zarr": {},
    "out.h5": {},
    "out": {"format": "10x_mtx"},
    "out.soma": {},
}


class _Dies(NullProgress):
    """Kills the process after a number of batches."""

    def __init__(self, batches: int) -> None:
        self._left = batches

    def begin(self, cells: int, nonzeros: int, total_cells: int) -> None:
        super().begin(cells, nonzeros, total_cells)
        self._count()

    def advance(self, cells: int, nonzeros: int) -> None:
        super().advance(cells, nonzeros)
        self._count()

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _export(
    connection: Connection[Any, Any], dataset: Path, output: Path, batches: int | None
) -> None:
    """Export a dataset when the other process says so."""
    export = slaf.export
    opened = slaf.open(dataset)
    connection.send("ready")
    connection.recv()
    progress = None if batches is None else _Dies(batches)
    export(opened, output, overwrite=True, progress=progress, **OUTPUTS[output.name])


def killed(dataset: Path, output: Path, *, batches: int | None = None, after: float = 0) -> bool:
    """Whether an export in another process was killed before its end."""
    connection, theirs = FORKED.Pipe()
    process = FORKED.Process(target=_export, args=(theirs, dataset, output, batches), daemon=True)
    process.start()
    theirs.close()
    assert connection.poll(60), "the process says nothing"
    assert connection.recv() == "ready"
    connection.send("go")
    if batches is None:
        time.sleep(after)
        process.kill()
    process.join(60)
    assert process.exitcode in {0, -signal.SIGKILL}
    return process.exitcode != 0


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of more than one batch."""
    folder = tmp_path_factory.mktemp("dataset")
    slaf.convert(write_h5ad(folder / "in.h5ad", counts(N_CELLS, 4000)), folder / "in.slaf")
    return folder / "in.slaf"


@pytest.mark.parametrize("name", OUTPUTS)
def test_killed_while_it_writes(name: str, dataset: Path, tmp_path: Path) -> None:
    """A killed export leaves no output; the next export is whole and removes the rest."""
    output = tmp_path / name
    n_killed = 0
    for batches in (0, 2):
        n_killed += killed(dataset, output, batches=batches)
        assert not output.exists()
        assert all(path.name.startswith(".") for path in tmp_path.iterdir())
    assert n_killed == 2
    slaf.export(dataset, output, **OUTPUTS[name])
    assert [path.name for path in tmp_path.iterdir()] == [name]
    if name == "out.h5ad":
        assert_same(anndata.read_h5ad(output), slaf.open(dataset).to_anndata())


def campaign(dataset: Path, folder: Path, kills: int, seed: int) -> int:
    """Kill exports at random times; the number that had not ended before."""
    rng = random.Random(seed)
    output = folder / "out.h5ad"
    expected = slaf.open(dataset).to_anndata()
    began = time.perf_counter()
    slaf.export(dataset, output, **OUTPUTS[output.name])
    whole = time.perf_counter() - began
    n_killed = 0
    for _ in range(kills):
        n_killed += killed(dataset, output, after=rng.uniform(0, 0.9) * whole)
        # The old or the new output: both are equal, and whole.
        assert_same(anndata.read_h5ad(output), expected)
    slaf.export(dataset, output, overwrite=True, **OUTPUTS[output.name])
    assert [path.name for path in folder.iterdir()] == [output.name]
    return n_killed


def test_killed_at_any_time(dataset: Path, tmp_path: Path) -> None:
    """An output that is replaced stays whole whenever the process is killed."""
    assert campaign(dataset, tmp_path, kills=4, seed=0) > 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(1, 4))
def test_killed_at_many_times(seed: int, dataset: Path, tmp_path: Path) -> None:
    """An output that is replaced stays whole at a hundred random times."""
    assert campaign(dataset, tmp_path, kills=100, seed=seed) > 30
