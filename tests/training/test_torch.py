"""The loader in PyTorch: tensors, workers, ranks, and a training run that is killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from slaf.errors import SelectionError
from tests.builders import as_matrix, assert_same_matrix
from tests.training.conftest import N_CELLS

torch = pytest.importorskip("torch")
from torch.utils.data import DataLoader  # noqa: E402 - skipped without torch

from slaf.training.torch import as_tensors  # noqa: E402
from tests.forked import FORKED  # noqa: E402
from tests.training.autoencoder import train  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

    import slaf
    from slaf.training.batch import Batch

SMALL: dict[str, Any] = {"batch_size": 32, "block_size": 8, "window_blocks": 16}
SPAWN: dict[str, Any] = {"batch_size": None, "multiprocessing_context": "spawn"}

FORKSERVER: dict[str, Any] = {"batch_size": None, "multiprocessing_context": FORKED}


def cells_of(batches: Any) -> list[list[int]]:
    """The cells of each batch."""
    return [batch["cells"].tolist() for batch in batches]


def test_tensors(dataset: slaf.Dataset) -> None:
    """Batches are those of the loader, as tensors; sparse ones as a tensor or as arrays."""
    loader = dataset.loader(labels="cell_type", obs=["age", "donor"], obsm="X_pca", **SMALL)
    expected = list(islice(loader, 3))
    loader.set_epoch(0)
    for batch, tensors in zip(expected, DataLoader(loader.torch(), batch_size=None), strict=False):
        np.testing.assert_array_equal(tensors["X"].to_dense().numpy(), as_matrix(batch.X))
        np.testing.assert_array_equal(tensors["labels"]["cell_type"], batch.labels["cell_type"])
        np.testing.assert_array_equal(tensors["obsm"]["X_pca"], batch.obsm["X_pca"])
        np.testing.assert_array_equal(tensors["obs"]["age"], batch.obs["age"])
        np.testing.assert_array_equal(tensors["total"], batch.total)
        assert tensors["obs"]["donor"].tolist() == batch.obs["donor"].tolist()
    loader.set_epoch(0)
    arrays = next(iter(loader.torch(sparse="arrays")))["X"]
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(arrays[name], getattr(expected[0].X, name))


@pytest.mark.parametrize("to", ["dense", "padded", "tokens"])
def test_other_outputs(dataset: slaf.Dataset, to: str) -> None:
    """Each output of the loader has its tensors."""
    X = next(iter(dataset.loader(to=to, **SMALL).torch()))["X"]  # noqa: N806
    found = X["ids"] if to == "padded" else X
    assert found.shape[0] == 32
    assert found.dtype == (torch.float32 if to == "dense" else torch.int32)


def test_workers(dataset: slaf.Dataset) -> None:
    """Workers share the cells of an epoch, have as many batches, and go on with the next epoch."""
    loader = dataset.loader(seed=3, **SMALL)
    batches = loader.torch(2)
    workers = DataLoader(batches, num_workers=2, persistent_workers=True, **SPAWN)
    epochs = [cells_of(workers) for _ in range(2)]
    for epoch in epochs:
        assert len(epoch) == len(workers) == len(batches)
        assert sorted(cell for batch in epoch for cell in batch) == list(range(N_CELLS))
    assert epochs[0] != epochs[1]
    loader.set_epoch(0)
    assert cells_of(workers) == epochs[0]
    own = [list(loader.batches(loader.position, at, 2)) for at in range(2)]
    both = [cells for pair in zip(*map(cells_of, own), strict=True) for cells in pair]
    assert epochs[0] == both
    with pytest.raises(RuntimeError, match="StatefulDataLoader"):
        loader.state_dict()


def test_new_workers_do_not_repeat_an_epoch(dataset: slaf.Dataset) -> None:
    """Workers that are started anew for each epoch are told to set it."""
    loader = dataset.loader(**SMALL)
    workers = DataLoader(loader.torch(1), num_workers=1, **FORKSERVER)
    assert len(cells_of(workers)) == len(workers)
    with pytest.raises(RuntimeError, match=r"call loader.set_epoch\(1\)"):
        next(iter(workers))


def test_forked_workers(dataset: slaf.Dataset) -> None:
    """They are an error that says to spawn."""
    script = """
import sys, slaf
from torch.utils.data import DataLoader
loader = slaf.open(sys.argv[1]).loader(batch_size=32)
options = {"batch_size": None, "num_workers": 1, "multiprocessing_context": "fork"}
next(iter(DataLoader(loader.torch(1), **options)))
"""
    command = [sys.executable, "-W", "ignore", "-c", script, str(dataset.location)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 1
    assert 'start processes by spawn: multiprocessing_context="spawn"' in ran.stderr


def test_another_number_of_workers(dataset: slaf.Dataset) -> None:
    """The error says how to make the dataset; too many workers for the cells are refused."""
    loader = dataset.loader(**SMALL)
    with pytest.raises(ValueError, match=r"make it by loader.torch\(num_workers=0\)"):
        next(iter(DataLoader(loader.torch(2), batch_size=None)))
    with pytest.raises(ValueError, match="too few for 500 ranks and workers"):
        loader.torch(500)
    with pytest.raises(ValueError, match="take window_blocks="):
        dataset.loader(memory="100KB", **SMALL).torch(4)


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
def test_stateful_data_loader(dataset: slaf.Dataset) -> None:
    """Its state, with workers or without, continues with the batches that remained."""
    stateful = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader
    for workers, options in ((0, {"batch_size": None}), (1, {"num_workers": 1, **FORKSERVER})):
        whole = stateful(dataset.loader(**SMALL).torch(workers), **options)
        batches, expected = iter(whole), []
        for at, batch in enumerate(batches):
            expected.append(batch["cells"].tolist())
            if at == 4:
                state = whole.state_dict()
        resumed = stateful(dataset.loader(**SMALL).torch(workers), **options)
        resumed.load_state_dict(state)
        assert cells_of(resumed) == expected[5:]


def test_map_style(dataset: slaf.Dataset, caplog: pytest.LogCaptureFixture) -> None:
    """Cells by position, in batches of any sampler; a message says what that costs."""
    loader = dataset[np.arange(100, 200)].loader(shuffle=False, **SMALL)
    cells = loader.map_style()
    assert "give the loader a cache" in caplog.text
    assert len(cells) == 100
    options: dict[str, Any] = {"batch_size": 7, "shuffle": True, "collate_fn": as_tensors}
    pairs: Any = cells
    for batch in DataLoader(pairs, **options):
        expected = dataset[batch["cells"].numpy()].X.to_memory()
        np.testing.assert_array_equal(batch["X"].to_dense().numpy(), expected.toarray())
    single: Batch = cells[-1]
    assert single.cells.tolist() == [199]
    assert_same_matrix(single.X, dataset[199].X.to_memory())
    with pytest.raises(IndexError):
        cells[100]


def test_scvi(dataset: slaf.Dataset) -> None:
    """The dictionary of scvi-tools has codes in one column, and the total as size factor."""
    loader = dataset.loader(to="dense", **SMALL)
    batch = next(iter(loader.scvi(batch="guide", labels="cell_type")))
    assert {n: tuple(t.shape) for n, t in batch.items() if n != "X"} == dict.fromkeys(
        ("batch", "labels", "sample", "size_factor"), (32, 1)
    )
    np.testing.assert_array_equal(batch["X"].sum(dim=1), batch["size_factor"][:, 0])
    with pytest.raises(SelectionError, match="donor IS NOT NULL"):
        loader.scvi(batch="donor")
    loader = dataset["donor IS NOT NULL"].loader(to="dense", **SMALL)
    assert len(loader.scvi(batch="donor")) == len(loader)


def test_without_torch(dataset: slaf.Dataset) -> None:
    """Without PyTorch the error names the extra, and all but tensors works."""
    script = """
import sys, slaf
sys.modules["torch"] = None
loader = slaf.open(sys.argv[1]).loader(batch_size=32)
assert len(list(loader)) == len(loader)
try:
    loader.torch()
except ImportError as error:
    print(error)
"""
    command = [sys.executable, "-c", script, str(dataset.location)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "pip install 'slaf[torch]'" in ran.stdout


# --------------------------------------------------------------------------------- a real training


def test_training_that_is_killed_and_resumed(dataset: slaf.Dataset, tmp_path: Path) -> None:
    """An autoencoder on two ranks, killed in mid-epoch and resumed, has the batches of the order.

    Each of two epochs has every cell once, and the loss falls.
    """
    _train(dataset, tmp_path, kill_after=14)
    _train(dataset, tmp_path, kill_after=-1)
    logs = [(tmp_path / f"batches-{rank}.jsonl").read_text().splitlines() for rank in range(2)]
    records = [[json.loads(line) for line in log] for log in logs]
    for rank in range(2):
        loader = dataset.loader(rank=rank, world_size=2, **SMALL)
        expected = [batch.cells.tolist() for _ in range(2) for batch in loader]
        assert [record["cells"] for record in records[rank]] == expected
    losses = [record["loss"] for record in records[0]]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def _train(dataset: slaf.Dataset, folder: Path, kill_after: int) -> None:
    """Train on two ranks, each a process, until the end or until they kill themselves."""
    common = (str(dataset.location), folder, str(folder / f"store{kill_after}"))
    ranks = [FORKED.Process(target=train, args=(*common, rank, kill_after)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(240)
        assert rank.exitcode == (0 if kill_after < 0 else -signal.SIGKILL)
