"""Law 12 under fire: processes at one plan are killed, and what is published is that of one."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

import slaf
from tests.builders import counts, write_h5ad
from tests.conversion.outputs import output_of, unaccounted
from tests.faults import interposer
from tests.faults.commands import Commands
from tests.faults.machines import Machines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(bool(interposer.why_not()), reason=interposer.why_not())


@dataclass(frozen=True)
class Case:
    """What is planned, and what must come of it."""

    inputs: list[Path]
    base: list[Path]
    expected: Any


def cases(folder: Path, chunk_size: int) -> Iterator[Case]:
    """Conversions and appends, with layers and raw, types that prove too narrow, and a CSC."""
    matrix = counts(10, 8)
    first = write_h5ad(folder / "a.h5ad", matrix, layers={"spliced": matrix})
    raw = {"X": counts(10, 12, seed=3)}
    second = write_h5ad(folder / "b.h5ad", counts(10, 9, seed=2) * 70_000, raw=raw)
    columns = write_h5ad(folder / "c.h5ad", counts(6, 7, seed=4).tocsc(), uns={"name": "c"})
    for number, (base, inputs) in enumerate(
        [([], [first, second]), ([first], [second, columns]), ([columns], [first])]
    ):
        output = folder / f"{number}.slaf"
        for verb, each in ((slaf.convert, base), (slaf.append if base else slaf.convert, inputs)):
            if each:
                verb(each, output, chunk_size=chunk_size, join="union")
        yield Case(inputs, base, output_of(output))


def campaign(folder: Path, kills: int, chunk_size: int, spared: float, seed: int) -> Machines:
    """Kill so many processes, and compare what is published with what one process makes."""
    inputs = folder / "inputs"
    inputs.mkdir()
    known, later = list[Case](), cases(inputs, chunk_size)
    planned = ("--chunk-size", str(chunk_size), "--join", "union")
    with Commands(folder) as commands:
        machines = Machines(commands, folder, random.Random(seed), spared=spared)
        for number in itertools.count():
            known += itertools.islice(later, 1)
            case, output = known[number % len(known)], folder / f"{number}.slaf"
            if case.base:
                slaf.convert(case.base, output, chunk_size=chunk_size, join="union")
            options = (*planned, "--append") if case.base else planned
            machines.finish(case.inputs, str(output), options)
            assert output_of(output) == case.expected
            assert not unaccounted(output)
            slaf.verify(output)
            if machines.kills >= kills:
                return machines
    raise AssertionError


@pytest.mark.timeout(900)
def test_machines_that_are_killed(tmp_path: Path) -> None:
    """Parts, plan and publication killed a few times: the dataset is that of one process."""
    assert campaign(tmp_path, kills=2, chunk_size=10, spared=0.7, seed=0).kills >= 2


@pytest.mark.slow
@pytest.mark.timeout(2 * 3600)
def test_machines_that_are_killed_hundreds_of_times(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same with 250 kills, of which none leaves more than one dataset or less."""
    machines = campaign(tmp_path, kills=250, chunk_size=4, spared=0.35, seed=1)
    with capsys.disabled():
        print(f"\n{machines.kills} kills: {dict(machines.ends)}")  # noqa: T201 - what it is for
