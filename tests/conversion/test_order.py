"""Parts in any order, by any number of workers, cut in any way, make the same dataset."""

from __future__ import annotations

import tempfile
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import slaf
from slaf.options import ReadOptions, StoreOptions
from slaf.runs.annotations import encode_annotations
from slaf.runs.encode import encode_part
from slaf.runs.output_run import begin_or_resume
from slaf.runs.plan import make_plan
from slaf.runs.publish import publish, read_axes
from slaf.runtime.executors import run_parts
from slaf.runtime.progress import NullProgress
from slaf.sources import as_inputs
from slaf.sources.concat.source import Concat
from slaf.storage.location import Location
from tests.builders import counts, write_h5ad
from tests.conversion.outputs import output_of, unaccounted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.conversion.outputs import Output

N_PARTS, CELLS_A_PART = 6, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the input."""
    folder = tmp_path_factory.mktemp("order")
    write_h5ad(folder / "in.h5ad", counts(N_PARTS * CELLS_A_PART, 8))
    return folder


@pytest.fixture(scope="module")
def serial(folder: Path) -> Output:
    """The dataset that one thread makes, part after part."""
    slaf.convert(folder / "in.h5ad", folder / "serial.slaf", chunk_size=CELLS_A_PART)
    return output_of(folder / "serial.slaf")


def convert_in_order(source: Path, output: Path, order: Sequence[int], workers: int) -> None:
    """What `slaf.convert` does, but that the parts are asked for in this order."""
    location = Location(output)
    with Concat(as_inputs(source, None, ReadOptions()).inputs) as opened:
        plan = make_plan(opened, StoreOptions(chunk_size=CELLS_A_PART))
        axes = read_axes(opened)
        with location.lock():
            run = begin_or_resume(
                location, plan, overwrite=False, restart=False, allow_duplicate=False
            )
            encode = partial(
                encode_part,
                opened,
                plan,
                location=location,
                identifiers=axes.identifiers,
                progress=NullProgress(),
            )
            run_parts(order, encode, run.record, workers)
            annotations = encode_annotations(opened, axes.cells, axes.genes)
            publish(run, axes, f"slaf {version('slaf')}", annotations)


@settings(max_examples=12, deadline=None)
@given(order=st.permutations(range(N_PARTS)), workers=st.integers(0, 3))
def test_any_order(order: list[int], workers: int, folder: Path, serial: Output) -> None:
    """The order in which parts are written does not show in the dataset."""
    with tempfile.TemporaryDirectory(dir=folder) as directory:
        output = Path(directory) / "out.slaf"
        convert_in_order(folder / "in.h5ad", output, order, workers)
        assert output_of(output) == serial
        assert unaccounted(output) == set()


@pytest.mark.parametrize("workers", [1, 2, 3, 20])
def test_any_number_of_workers(workers: int, folder: Path, serial: Output) -> None:
    """The number of workers does not show in the dataset."""
    output = folder / f"{workers}-workers.slaf"
    slaf.convert(folder / "in.h5ad", output, chunk_size=CELLS_A_PART, workers=workers)
    assert output_of(output) == serial


@pytest.mark.parametrize("chunk_size", [1, 2, 7, 1000, None])
def test_any_size_of_parts(chunk_size: int | None, folder: Path, serial: Output) -> None:
    """How the cells are cut into parts shows in the blocks and fragments, and in no row."""
    output = folder / f"by-{chunk_size}.slaf"
    slaf.convert(folder / "in.h5ad", output, chunk_size=chunk_size)
    assert output_of(output).tables == serial.tables


def test_workers_meet_values_of_many_types(folder: Path) -> None:
    """Workers that find different values too wide agree on the type that holds them all."""
    matrix = counts(N_PARTS * CELLS_A_PART, 8).toarray().astype("float64")
    matrix[4, 1], matrix[8, 2], matrix[11, 3], matrix[17, 0] = -1, 3e9 + 1, 70_000, 0.5
    source = write_h5ad(folder / "wide.h5ad", matrix)
    slaf.convert(source, folder / "wide.slaf", chunk_size=CELLS_A_PART)
    slaf.convert(source, folder / "wide-3.slaf", chunk_size=CELLS_A_PART, workers=3)
    assert output_of(folder / "wide-3.slaf") == output_of(folder / "wide.slaf")
    assert slaf.open(folder / "wide-3.slaf").published.value_type == "float64"
