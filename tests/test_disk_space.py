"""A disk that is surely too small is refused before the first byte, and no other one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

import slaf
from slaf.errors import StorageError
from slaf.options import ReadOptions
from slaf.runs.estimate import Estimate, check_disk_space
from slaf.targets import FORMATS
from slaf.targets.export_size import export_bytes
from tests.faults.disks import mounted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.disks import Disk

N_CELLS, N_GENES = 600, 400


def matrices() -> Iterator[tuple[str, sp.csr_matrix]]:
    """Values that compress well, badly, and in some of the cells only."""
    rng = np.random.default_rng(0)
    values = rng.random((N_CELLS, N_GENES), np.float32)
    counts = sp.csr_matrix(values * (values < 0.3))
    yield "fractions", counts
    ones = counts.copy()
    ones.data[:] = 1
    yield "ones", ones
    yield "alike", sp.csr_matrix(np.tile(np.float32(np.arange(N_GENES) % 3), (N_CELLS, 1)))
    yield "empty", sp.csr_matrix(np.zeros((N_CELLS, N_GENES), np.float32))
    yield "first cells", sp.csr_matrix(counts.toarray() * (np.arange(N_CELLS) < 50)[:, None])


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, slaf.Dataset]:
    """Datasets of these matrices."""
    folder = tmp_path_factory.mktemp("space")
    return {
        name: slaf.convert(anndata.AnnData(matrix), folder / f"{name}.slaf", chunk_size=100)
        for name, matrix in matrices()
    }


@pytest.mark.parametrize("name", [name for name, _ in matrices()])
@pytest.mark.parametrize("packed", [True, False])
def test_an_export_takes_more_than_the_estimate(
    name: str,
    packed: bool,  # noqa: FBT001 - of parametrize
    datasets: dict[str, slaf.Dataset],
    tmp_path: Path,
) -> None:
    """What an export surely takes, by the estimate, it takes."""
    formats = {each.name: each for each in FORMATS}
    chosen = ("h5ad", "10x_mtx") if packed else ("h5ad", "scdl")
    for which in chosen:
        options = {"compression": "none"} if which == "h5ad" and not packed else {}
        least, likely = export_bytes(datasets[name], formats[which], is_packed=packed)
        report = slaf.export(datasets[name], tmp_path / which, format=which, **options)  # type: ignore[arg-type]
        assert least <= report.bytes, which
        assert likely >= least
        if name == "fractions" and which != "10x_mtx":
            assert likely > report.bytes / 4


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A small disk."""
    with mounted(tmp_path / "disk") as found:
        if found is None:
            pytest.skip("this user may mount no disk")
        yield found


def test_an_export_to_a_full_disk(datasets: dict[str, slaf.Dataset], disk: Disk) -> None:
    """An export that cannot fit is refused with both numbers, and writes nothing."""
    with disk.leaving(20_000):
        before = sorted(disk.path.rglob("*"))
        for name, options in (("out.h5ad", {}), ("out.scdl", {}), ("out", {"format": "10x_mtx"})):
            with pytest.raises(StorageError, match=r"free there, but the values take about .*name"):
                slaf.export(datasets["fractions"], disk.path / "to" / name, **options)  # type: ignore[arg-type]
        assert sorted(disk.path.rglob("*")) == before


def test_a_rewrite_on_a_full_disk(disk: Disk) -> None:
    """So is a compaction; with room it goes on."""
    name = disk.path / "out.slaf"
    halves = []
    for at, values in enumerate(np.random.default_rng(1).random((3, N_CELLS, N_GENES))):
        names = [f"{at}-{cell}" for cell in range(N_CELLS)]
        part = anndata.AnnData(sp.csr_matrix(values * (values < 0.3), dtype=np.float32))
        part.obs_names = names
        part.write_h5ad(disk.path / f"{at}.h5ad")
        halves.append(disk.path / f"{at}.h5ad")
    slaf.convert(halves[0], name)
    for half in halves[1:]:
        slaf.append(half, name)
    with disk.leaving(20_000):
        before = sorted(disk.path.rglob("*"))
        told = r"16,384 bytes are free there, but what is written again takes about"
        with pytest.raises(StorageError, match=told):
            slaf.compact(name)
        assert sorted(disk.path.rglob("*")) == before
    assert slaf.compact(name).cells == 3 * N_CELLS


def test_what_an_unfinished_run_has_written_counts(tmp_path: Path) -> None:
    """A run that was stopped needs no space for what it has written, nor one that appends."""
    made = slaf.convert(anndata.AnnData(np.eye(3, dtype=np.float32)), tmp_path / "out.slaf")
    free = made.location.free()
    assert free is not None
    needed = Estimate(free * 2, free + (1 << 30), 0, 0, 0, 0.0)
    with pytest.raises(StorageError, match="the dataset takes about"):
        check_disk_space(made.location, ReadOptions(), needed, base=made.published)
    with (made.location.path / "unfinished").open("wb") as file:
        # A file of so many bytes, none of which is on the disk.
        file.truncate(2 << 30)
    check_disk_space(made.location, ReadOptions(), needed, base=made.published)
