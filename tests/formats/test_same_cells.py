"""The same cells are the same dataset, whatever format they come in."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import slaf
from slaf.testing.strategies import Stored, matrices
from tests.builders import examples, write_stored
from tests.formats.builders import Mtx, ids, write_soma, write_v2, write_v3
from tests.formats.store_builders import write_h5mu, write_loom, write_zarr

if TYPE_CHECKING:
    from collections.abc import Callable

    from slaf.dataset.dataset import Dataset

ORDERS = ("by cell", "by gene", "shuffled")
WRITERS: dict[str, Callable[[Path, Stored], Path]] = {
    "h5ad CSR": lambda path, stored: write_stored(path, stored, "csr"),
    "h5ad CSC": lambda path, stored: write_stored(path, stored, "csc"),
    "h5ad dense": lambda path, stored: write_stored(path, stored, "dense"),
    "zarr v2": lambda path, stored: write_zarr(path, stored, version=2),
    "zarr v3 sharded": lambda path, stored: write_zarr(path, stored, chunks=(2,), shards=(4,)),
    "MuData": lambda path, stored: write_h5mu(path, rna=stored),
    "loom": write_loom,
    "10x H5 v2": write_v2,
    "10x H5 v3": write_v3,
    "SOMA sparse": write_soma,
    "SOMA dense": lambda path, stored: write_soma(path, stored, dense=True),
} | {
    f"MTX v{version} {order}": Mtx(version=version, order=order, field="real").write
    for version in (2, 3)
    for order in ORDERS
}
# Whole numbers and fractions, all of which float32 holds, and zeros, which no table holds.
VALUES = st.integers(0, 2**24).map(float) | st.sampled_from([0.5, 1.7, -3.0, 65_536.0])


def digests(dataset: Dataset) -> list[tuple[int, int, int, str]]:
    """The blocks of config.json."""
    return [
        (block.start, block.stop, block.rows, block.digest) for block in dataset.published.blocks
    ]


@examples(3)
@given(
    stored=matrices(np.dtype(np.float32), values=VALUES, repeated=False), chunk=st.integers(1, 5)
)
def test_every_format_gives_the_same_digests(stored: Stored, chunk: int) -> None:
    """Ids, shape, number type and digests are identical whatever the input was, and proven."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, write) in enumerate(WRITERS.items()):
            path = write(Path(folder) / f"{number}.in", stored)
            output = Path(folder) / f"{number}.slaf"
            dataset = slaf.convert(path, output, chunk_size=chunk, workers=number % 3)
            assert slaf.verify(dataset, path).ok
            assert dataset.obs_names.to_list() == ids("cell", stored.shape[0])
            assert dataset.var_names.to_list() == ids("gene", stored.shape[1])
            found[name] = (dataset.shape, dataset.published.value_type, digests(dataset))
    first = next(iter(found.values()))
    assert {name: value for name, value in found.items() if value != first} == {}


def test_more_cells_than_a_block(tmp_path: Path) -> None:
    """What does not depend on the format does not depend on where blocks end either."""
    n_cells, n_genes, n_entries = 9000, 3, 5000
    rng = np.random.default_rng(2)
    cells, genes = np.divmod(rng.permutation(n_cells * n_genes)[:n_entries], n_genes)
    values = rng.integers(1, 300, n_entries).astype(np.float32)
    stored = Stored((n_cells, n_genes), cells, genes, values)
    found = {}
    for number, (name, write) in enumerate(WRITERS.items()):
        path = write(tmp_path / f"{number}.in", stored)
        dataset = slaf.convert(path, tmp_path / f"{number}.slaf", workers=number % 3)
        assert slaf.verify(dataset, path).ok
        found[name] = digests(dataset)
    first = next(iter(found.values()))
    assert len(first) == 3
    assert {name: value for name, value in found.items() if value != first} == {}


@pytest.mark.parametrize("order", ORDERS)
def test_repeated_entries_are_summed_everywhere(order: str, tmp_path: Path) -> None:
    """Formats that may repeat an entry sum it alike, also where it is spilled in bands."""
    rng = np.random.default_rng(1)
    cells, genes = rng.integers(0, 9, (2, 300))
    stored = Stored((9, 9), cells, genes, rng.integers(0, 2**20, 300).astype(np.int32))
    found = []
    for number, (write, memory) in enumerate(
        [
            (WRITERS["h5ad CSR"], None),
            (WRITERS["h5ad CSC"], 2000),
            (write_v2, None),
            (write_v3, None),
            (Mtx(order=order).write, None),
            (Mtx(order=order).write, 2000),
        ]
    ):
        path = write(tmp_path / f"{number}.in", stored)
        dataset = slaf.convert(path, tmp_path / f"{number}.slaf", chunk_size=2, memory=memory)
        assert slaf.verify(dataset, path).ok
        found.append(digests(dataset))
    assert all(other == found[0] for other in found)
