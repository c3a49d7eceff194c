"""`executor=`: parts by threads, processes or Ray make what one process makes."""

from __future__ import annotations

import multiprocessing
import random
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anndata
import pytest

import slaf
from slaf.errors import DamagedInput, InputError
from slaf.options import ConvertOptions, PlanOptions
from tests.builders import counts, write_h5ad
from tests.conversion.outputs import finished_parts, output_of, published_parts, unaccounted
from tests.conversion.test_distributed import Meanwhile, write_input

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS: dict[str, Any] = {"chunk_size": 5, "join": "union", "cell_id_prefix": True}


def check(folder: Path, executor: Executor | str, seed: int) -> None:
    """Convert and append by an executor and without one, and compare."""
    rng = random.Random(seed)
    inputs = [write_input(folder, f"{seed}-{at}", rng) for at in range(3)]
    one, many = folder / f"{seed}-one.slaf", folder / f"{seed}-many.slaf"
    slaf.convert(inputs[:2], one, **OPTIONS)
    slaf.append(inputs[2], one, **OPTIONS)
    slaf.convert(inputs[:2], many, **OPTIONS, executor=executor)
    slaf.append(inputs[2], many, **OPTIONS, executor=executor)
    assert output_of(many) == output_of(one)
    assert not unaccounted(many)


@pytest.mark.parametrize("seed", [1, 4])
def test_threads_of_an_executor(seed: int, tmp_path: Path) -> None:
    """Any executor gives the dataset of one process: wider types, layers, unsorted inputs."""
    with ThreadPoolExecutor(3) as pool:
        check(tmp_path, pool, seed)


@pytest.mark.slow
def test_processes_of_an_executor(tmp_path: Path) -> None:
    """The same by processes, to which nothing live is passed."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        for seed in range(6):
            check(tmp_path, pool, seed)


def test_a_stopped_run_of_an_executor_is_resumed(tmp_path: Path) -> None:
    """The parts that others have done stay, when the same call is made without them."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(20, 6))
    output = tmp_path / "out.slaf"

    def interrupt() -> None:
        raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt):
        slaf.convert(source, output, chunk_size=4, executor=pool, progress=Meanwhile(interrupt))
    done = {file for files in finished_parts(output).values() for file in files}
    assert done
    slaf.convert(source, output, chunk_size=4)
    assert done <= set(published_parts(output))
    slaf.verify(output, source)


def test_an_input_that_is_damaged(tmp_path: Path) -> None:
    """An input that cannot be read is named; of several the parts of the others are kept."""
    inputs = [write_h5ad(tmp_path / f"{at}.h5ad", counts(300, 6, seed=at)) for at in range(2)]
    whole = inputs[1].read_bytes()
    import h5py

    with h5py.File(inputs[1], "r+") as file:
        file["X/indices"][5] = 99
    output = tmp_path / "out.slaf"
    options: dict[str, Any] = {"chunk_size": 100, "allow_duplicate": True}
    with ThreadPoolExecutor(2) as pool:
        with pytest.raises(DamagedInput, match=r"1\.h5ad.*parts are kept"):
            slaf.convert(inputs, output, **options, executor=pool)
        with pytest.raises(DamagedInput):
            slaf.convert(inputs[1], tmp_path / "none.slaf", executor=pool)
    assert not (tmp_path / "none.slaf").exists()
    inputs[1].write_bytes(whole)
    slaf.convert(inputs, output, **options)
    slaf.verify(output, inputs)


def test_what_an_executor_does_not_take(tmp_path: Path) -> None:
    """Inputs in memory, names of no executor, and options that would do nothing are refused."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(6, 6))
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(InputError, match="other processes cannot read it"),
    ):
        slaf.convert(anndata.read_h5ad(source), tmp_path / "out.slaf", executor=pool)
    for options, message in (
        ({"executor": "dask"}, "executor is 'dask', but it is ray"),
        ({"ray_address": "auto"}, "ray_address is for executor='ray'"),
        ({"executor": "ray", "storage_options": {"a": "b"}}, "storage options are not sent to Ray"),
    ):
        with pytest.raises(ValueError, match=message):
            ConvertOptions(**options)
    with pytest.raises(ValueError, match="executor is for slaf convert and append"):
        PlanOptions(executor="ray").for_verb()
