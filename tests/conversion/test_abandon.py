"""An input that proves bad leaves nothing behind, and a disk that proves full loses nothing."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import slaf
from slaf.errors import DamagedInput, InexactValue, InputError, StorageError
from slaf.testing.crashing import Crash, CrashingStorage, Failure, Moment
from tests.builders import counts, write_h5ad
from tests.conversion.outputs import finished_parts, output_of, published, unaccounted
from tests.conversion.process import ConvertingProcess
from tests.conversion.stopped import Conversion, points

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

N_CELLS, N_GENES, CELLS_A_PART = 12, 6, 3
OPTIONS: dict[str, Any] = {"chunk_size": CELLS_A_PART}


def gene_out_of_range(path: Path) -> Path:
    """The last entry is of a gene that the matrix does not have."""
    write_h5ad(path, counts(N_CELLS, N_GENES))
    with h5py.File(path, "r+") as file:
        file["X/indices"][-1] = N_GENES
    return path


def number_too_large(path: Path) -> Path:
    """The last value is beyond int64, and no double either, beside another that is negative."""
    matrix = np.zeros((N_CELLS, N_GENES), np.uint64)
    matrix[:, 0] = 1
    matrix[-1, -1] = 2**63 + 1
    return write_h5ad(path, matrix)


def rows_that_descend(path: Path) -> Path:
    """The offset behind the last cell but one is beyond the end."""
    write_h5ad(path, counts(N_CELLS, N_GENES))
    with h5py.File(path, "r+") as file:
        file["X/indptr"][-2] += 1000
    return path


BAD = [gene_out_of_range, number_too_large, rows_that_descend]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("bad", BAD)
def test_nothing_is_left(bad: Callable[[Path], Path], workers: int, tmp_path: Path) -> None:
    """An input that proves bad in its last cell leaves nothing at the output."""
    source = bad(tmp_path / "in.h5ad")
    storage = CrashingStorage(tmp_path / "out.slaf")
    with pytest.raises((DamagedInput, InexactValue)):
        slaf.convert(source, storage, workers=workers, **OPTIONS)
    assert not storage.exists()
    assert sum(effect.action == "write" for effect in storage.effects) >= N_CELLS // CELLS_A_PART


def test_an_empty_directory_stays(tmp_path: Path) -> None:
    """A directory that was there before, and empty, is so afterwards."""
    (tmp_path / "out.slaf").mkdir()
    with pytest.raises(InputError):
        slaf.convert(gene_out_of_range(tmp_path / "in.h5ad"), tmp_path / "out.slaf", **OPTIONS)
    assert list((tmp_path / "out.slaf").iterdir()) == []


@pytest.mark.parametrize("bad", BAD)
def test_the_older_dataset_stays(bad: Callable[[Path], Path], tmp_path: Path) -> None:
    """A dataset that was to be replaced is as it was, with no file of the attempt beside it."""
    good = write_h5ad(tmp_path / "good.h5ad", counts(20, 9, seed=1))
    slaf.convert(good, tmp_path / "out.slaf", create_indices=True, **OPTIONS)
    before = output_of(tmp_path / "out.slaf")
    with pytest.raises(InputError):
        slaf.convert(bad(tmp_path / "in.h5ad"), tmp_path / "out.slaf", overwrite=True, **OPTIONS)
    assert output_of(tmp_path / "out.slaf") == before
    assert unaccounted(tmp_path / "out.slaf") == set()
    slaf.verify(tmp_path / "out.slaf", against=good)


@pytest.mark.parametrize("most", [8, pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize("replacing", [False, True])
def test_stopped_while_it_is_abandoned(
    *, replacing: bool, most: int | None, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    """An attempt that is stopped while it cleans up is cleaned up after by the same call."""
    source = gene_out_of_range(tmp_path / "in.h5ad")
    slaf.convert(write_h5ad(tmp_path / "good.h5ad", counts(5, 4)), tmp_path / "old.slaf")
    found = tmp_path / "old.slaf" if replacing else None
    conversion = Conversion(source, {**OPTIONS, "overwrite": replacing}, found)
    recorder = CrashingStorage(conversion.prepare(tmp_path / "recorded.slaf"))
    with pytest.raises(DamagedInput):
        conversion.run(recorder)
    # The cleaning up is at the end: all of the last places, and some before.
    n_effects = len(recorder.effects)
    late = range(n_effects - 4, n_effects)
    for at in sorted({*points(n_effects, most, replacing), *late}):
        with subtests.test(at=at, effect=str(recorder.effects[at])):
            output = conversion.prepare(tmp_path / f"{at}.slaf")
            with pytest.raises(Crash):
                conversion.run(CrashingStorage(output, at))
            assert published(output) == conversion.before
            with pytest.raises(DamagedInput):
                conversion.run(output)
            assert published(output) == conversion.before
            # An empty directory may be the user's own, made before the call: it stays.
            assert unaccounted(output) == set() if replacing else not list(output.rglob("*"))


@pytest.mark.parametrize("most", [6, pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("replacing", "moment"), [(False, Moment.BEFORE), (True, Moment.AFTER)])
def test_a_full_disk(
    *,
    replacing: bool,
    moment: Moment,
    most: int | None,
    tmp_path: Path,
    subtests: pytest.Subtests,
) -> None:
    """When the disk is full the run ends with the reason, and is resumed once there is room."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(N_CELLS, N_GENES))
    slaf.convert(write_h5ad(tmp_path / "other.h5ad", counts(5, 4)), tmp_path / "old.slaf")
    found = tmp_path / "old.slaf" if replacing else None
    conversion = Conversion(source, {"chunk_size": 6, "overwrite": replacing}, found)
    expected = conversion.uninterrupted(tmp_path / "whole.slaf")
    recorder = CrashingStorage(conversion.prepare(tmp_path / "recorded.slaf"))
    conversion.run(recorder)
    for at in points(len(recorder.effects), most, moment):
        with subtests.test(at=at, effect=str(recorder.effects[at])):
            output = conversion.prepare(tmp_path / f"{at}.slaf")
            with pytest.raises(StorageError, match="no space left") as caught:
                conversion.run(CrashingStorage(output, at, moment, Failure.FULL))
            assert caught.value.errno == errno.ENOSPC
            conversion.check_stopped(output, expected)
            conversion.finish(output, expected)


def test_a_file_that_cannot_grow(tmp_path: Path) -> None:
    """When the system refuses to write a part, those before it are kept and the rest resumed."""
    few, many = counts(6, 20), np.random.default_rng(0).random((3, 4000))
    matrix = np.zeros((9, 4000))
    matrix[:6, :20] = few.toarray()
    matrix[6:] = many
    source = write_h5ad(tmp_path / "in.h5ad", matrix)
    conversion = Conversion(source, {"chunk_size": 3, "plain_types": True})
    expected = conversion.uninterrupted(tmp_path / "whole.slaf")
    output = tmp_path / "out.slaf"
    process = ConvertingProcess(source, output, conversion.options, largest_file=60_000)
    process.go()
    assert process.says() == "StorageError"
    assert process.wait() == 0
    assert set(finished_parts(output)) == {0, 1}
    conversion.check_stopped(output, expected)
    conversion.finish(output, expected)
