"""Converting, appending, merging, stopping, resuming, exporting and reading in any order."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import slaf
from slaf.errors import (
    ConversionInProgress,
    DuplicateInput,
    NotADataset,
    OutputExists,
    SlafError,
    UnfinishedRun,
)
from slaf.testing.crashing import Crash, CrashingStorage, Moment
from tests.conversion.outputs import unaccounted
from tests.targets.checks import entries

if TYPE_CHECKING:
    from slaf.dataset.dataset import Dataset

POOL = [f"gene-{number}" for number in range(6)]
# An effect that may be the one at which a run is stopped; there may be fewer.
MOST_EFFECTS = 60

samples = st.fixed_dictionaries(
    {
        "genes": st.lists(st.sampled_from(POOL), min_size=1, max_size=5, unique=True),
        "n_cells": st.integers(1, 4),
        # Of 16, 32 and 64 bits, and a fraction: what comes later may ask for a wider type.
        "values": st.lists(
            st.sampled_from([1, 2, 300, 70_000, 5_000_000_000, 0.5]), min_size=1, max_size=6
        ),
        "seed": st.integers(0, 99),
    }
)
stops = st.none() | st.tuples(st.integers(0, MOST_EFFECTS), st.sampled_from(list(Moment)))


Cell = tuple[str, str | None]


@dataclass(frozen=True)
class Sample:
    """An input: its cells, with a column of obs, and its values."""

    path: Path
    cells: tuple[Cell, ...]
    genes: tuple[str, ...]
    values: dict[tuple[str, str], float]


@dataclass(frozen=True)
class Model:
    """What a dataset holds: cells and genes in order, and the values by their ids.

    Attributes
    ----------
    annotated
        Whether the column of obs was: then what is appended has no value in it.
    """

    cells: tuple[Cell, ...] = ()
    genes: tuple[str, ...] = ()
    values: tuple[tuple[tuple[str, str], float], ...] = ()
    annotated: bool = field(default=False, compare=False)

    def with_sample(self, sample: Sample) -> Model:
        """The same with one input more."""
        cells = tuple((cell, None if self.annotated else batch) for cell, batch in sample.cells)
        more = tuple(gene for gene in sample.genes if gene not in self.genes)
        values = {**dict(self.values), **sample.values}
        makes = self.cells + cells, self.genes + more, tuple(sorted(values.items()))
        return Model(*makes, self.annotated)

    def without(self, number: str) -> Model:
        """The same without the cells of an input; genes stay."""
        cells = tuple(each for each in self.cells if each[0].partition("-")[0] != number)
        kept = {cell for cell, _ in cells}
        values = tuple(one for one in self.values if one[0][0] in kept)
        return replace(self, cells=cells, values=values)


@dataclass(frozen=True)
class Call:
    """A command that may be given again."""

    operation: str
    inputs: tuple[Path, ...]
    options: tuple[tuple[str, Any], ...]
    makes: Model

    def run(self, output: Path, at: tuple[int, Moment] | None, **more: Any) -> None:
        """Give it, and stop it there."""
        place = CrashingStorage(output, *at) if at is not None else output
        if self.operation == "compact":
            slaf.compact(place)
            return
        if self.operation == "remove":
            slaf.remove(place, **dict(self.options))
            return
        if self.operation == "annotate":
            slaf.annotate(place, **dict(self.options), replace=True)
            return
        if self.operation == "copy":
            slaf.copy(dict(self.options)["dataset"], place, overwrite=True)
            return
        call = slaf.append if self.operation == "append" else slaf.convert
        call(list(self.inputs), place, **dict(self.options), **more)


def held(dataset: Dataset) -> Model:
    """What a dataset holds, as it is read."""
    cells = dataset.table("cells").to_table()
    ids, genes = (
        cells["cell_id"].to_pylist(),
        dataset.var_names.to_list(),
    )
    found = entries(dataset.X.to_memory())
    values = {(ids[cell], genes[gene]): float(value) for (cell, gene), value in found.items()}
    batches = cells["batch"].to_pylist()
    return Model(tuple(zip(ids, batches, strict=True)), tuple(genes), tuple(sorted(values.items())))


class Machine(RuleBasedStateMachine):
    """One output, and what it should hold."""

    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.output = self.folder / "out.slaf"
        self.n_samples = 0
        self.published: Model | None = None
        self.inputs: tuple[Path, ...] = ()
        self.stopped: Call | None = None
        self.older: list[tuple[Dataset, Model]] = []
        self.copy: tuple[Model | None, tuple[Path, ...]] = (None, ())

    def teardown(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder)

    # ---------------------------------------------------------------------------- what is done

    @rule(drawn=st.lists(samples, min_size=1, max_size=2), at=stops, chunk=st.integers(1, 5))
    def convert(self, drawn: list[Any], at: Any, chunk: int) -> None:
        """Convert other inputs, in the place of what is there."""
        written = [self._sample(**one) for one in drawn]
        makes = Model()
        for sample in written:
            makes = makes.with_sample(sample)
        options = (("chunk_size", chunk), ("join", "union"), ("overwrite", True))
        self._give(Call("convert", tuple(s.path for s in written), options, makes), at)

    @precondition(lambda self: self.published is not None)
    @rule(drawn=samples, at=stops, chunk=st.integers(1, 5), workers=st.sampled_from([0, 0, 2]))
    def append(self, drawn: Any, at: Any, chunk: int, workers: int) -> None:
        """Add another input."""
        assert self.published is not None
        sample = self._sample(**drawn)
        options = (("chunk_size", chunk), ("join", "union"), ("workers", workers))
        call = Call("append", (sample.path,), options, self.published.with_sample(sample))
        self._give(call, at)

    @precondition(lambda self: self.published is not None and self.stopped is None)
    @rule(at=stops)
    def compact(self, at: Any) -> None:
        """Merge what appends have left."""
        assert self.published is not None
        self._give(Call("compact", (), (), self.published), at)

    @precondition(lambda self: self.published is not None and self.stopped is None)
    @rule(at=stops, values=st.lists(st.sampled_from([0, 3, 70_000, 0.5]), min_size=1, max_size=5))
    def annotate(self, at: Any, values: list[float]) -> None:
        """Replace a column of cells, and add or replace a layer."""
        assert self.published is not None
        self.n_samples += 1
        cells = tuple((cell, f"z{self.n_samples}") for cell, _ in self.published.cells)
        layer = np.resize(values, (len(cells), len(self.published.genes)))
        options = (
            ("obs", {"batch": pd.Categorical([batch for _, batch in cells])}),
            ("layers", {"other": layer}),
        )
        makes = replace(self.published, cells=cells, annotated=True)
        self._give(Call("annotate", (), options, makes), at)

    @precondition(lambda self: len(self.inputs) > 1 and self.stopped is None)
    @rule(at=stops, which=st.integers(0, 9))
    def remove(self, at: Any, which: int) -> None:
        """Take one of the inputs out again."""
        assert self.published is not None
        path = self.inputs[which % len(self.inputs)]
        options = (("source", str(path)),)
        self._give(Call("remove", (path,), options, self.published.without(path.stem)), at)

    @precondition(lambda self: self.published is not None and self.stopped is None)
    @rule(at=stops)
    def copy_away(self, at: Any) -> None:
        """Copy it to another place, over an earlier copy, or one that was stopped."""
        place = self.folder / "copy.slaf"
        with suppress(Crash):
            slaf.copy(self.output, CrashingStorage(place, *at) if at else place, overwrite=True)
            at = None
        seen = self._seen(place)
        assert seen == self.published or (at is not None and seen == self.copy[0])
        if seen == self.published:
            self.copy = (seen, self.inputs)

    @precondition(lambda self: self.copy[0] is not None and self.stopped is None)
    @rule(at=stops)
    def copy_back(self, at: Any) -> None:
        """Copy what was copied away in the place of what is there."""
        makes, inputs = self.copy
        assert makes is not None
        options = (("dataset", self.folder / "copy.slaf"),)
        self._give(Call("copy", inputs, options, makes), at)

    @precondition(lambda self: self.stopped is not None)
    @rule(at=stops)
    def resume(self, at: Any) -> None:
        """Give the command that was stopped once more."""
        assert self.stopped is not None
        self._give(self.stopped, at)

    @precondition(lambda self: self.stopped is not None)
    @rule(drawn=samples)
    def discard(self, drawn: Any) -> None:
        """Begin something else in the place of what was stopped."""
        sample = self._sample(**drawn)
        options = (("overwrite", True), ("restart", True))
        makes = Model().with_sample(sample)
        self._give(Call("convert", (sample.path,), options, makes), None)

    # ----------------------------------------------------------------------------- what is seen

    @precondition(lambda self: self.published is not None)
    @rule()
    def verify(self) -> None:
        """Prove what is published, against its inputs too."""
        assert slaf.verify(self.output).ok
        assert slaf.verify(self.output, against=list(self.inputs)).ok
        assert slaf.open(self.output).to_anndata().shape == slaf.open(self.output).shape

    @precondition(lambda self: self.published is not None)
    @rule()
    def export(self) -> None:
        """Write it as h5ad, which holds the same, and leaves nothing beside it."""
        to = self.folder / "exported" / "out.h5ad"
        slaf.export(self.output, to, overwrite=True)
        assert [path.name for path in to.parent.iterdir()] == [to.name]
        adata = anndata.read_h5ad(to)
        ids, genes = list(adata.obs_names), list(adata.var_names)
        found = entries(sp.csr_array(adata.X))
        values = {(ids[cell], genes[gene]): float(v) for (cell, gene), v in found.items()}
        batches = (None if pd.isna(batch) else batch for batch in adata.obs["batch"])
        cells = tuple(zip(ids, batches, strict=True))
        assert Model(cells, tuple(genes), tuple(sorted(values.items()))) == self.published

    @precondition(lambda self: self.published is not None)
    @rule()
    def keep_open(self) -> None:
        """Open it, to be read later."""
        assert self.published is not None
        self.older.append((slaf.open(self.output), self.published))

    @precondition(lambda self: bool(self.older))
    @rule(which=st.integers(0, 99))
    def read_older(self, which: int) -> None:
        """Read what was opened earlier: it is what it was, or something was published since."""
        dataset, model = self.older[which % len(self.older)]
        try:
            found = held(dataset)
        except SlafError as error:
            told = str(error)
        else:
            assert found == model
            return
        # A compact publishes the same rows in other files.
        now, then = slaf.open(self.output).published, dataset.published
        assert (now.versions, now.tables) != (then.versions, then.tables)
        assert told.endswith("open it anew")

    @invariant()
    def what_is_there_is_what_should_be(self) -> None:
        """Readers see all of what was published last, or that there is nothing."""
        type(self).steps += 1
        assert self._seen() == self.published
        if self.published is not None and self.stopped is None:
            assert unaccounted(self.output) == set()

    # -------------------------------------------------------------------------------------- how

    def _give(self, call: Call, at: tuple[int, Moment] | None) -> None:
        """Give a command, be it to the end or not, and see what came of it."""
        another = self.stopped is not None and call is not self.stopped
        unfinished = self._unfinished()
        try:
            call.run(self.output, at)
        except Crash:
            self._see(call)
            # A call that was stopped before it began leaves the run of another to be finished.
            if not (another and unfinished is not None and self._unfinished() == unfinished):
                self.stopped = call
            return
        except UnfinishedRun:
            # What is finished but for its tidying is never in the way.
            assert another
            assert unfinished is not None
            return
        except (OutputExists, DuplicateInput):
            assert self._seen() == call.makes
        self._see(call)
        assert self.published == call.makes
        self.stopped = None

    def _see(self, call: Call) -> None:
        """What readers see after a command: what was there before, or what it makes."""
        seen = self._seen()
        if seen == call.makes and seen != self.published:
            if call.operation == "remove":
                self.inputs = tuple(one for one in self.inputs if one not in call.inputs)
            else:
                added_to = self.inputs if call.operation in {"append", "annotate"} else ()
                self.inputs = (*added_to, *call.inputs)
            self.published = call.makes
        assert seen == self.published

    def _seen(self, place: Path | None = None) -> Model | None:
        try:
            return held(slaf.open(place or self.output))
        except (ConversionInProgress, NotADataset):
            return None

    def _unfinished(self) -> dict[str, Any] | None:
        """The plan of the run that config.json records; None without one."""
        config = self.output / "config.json"
        checkpoint = json.loads(config.read_bytes()).get("checkpoint") if config.exists() else None
        return None if checkpoint is None else checkpoint["plan"]

    def _sample(self, genes: list[str], n_cells: int, values: list[float], seed: int) -> Sample:
        """Write an input; the ids of its cells are its own."""
        self.n_samples += 1
        rng = np.random.default_rng(seed)
        places = rng.permutation(n_cells * len(genes))[: len(values)]
        dense = np.zeros((n_cells, len(genes)))
        dense.flat[places] = values[: len(places)]
        ids = [f"{self.n_samples}-{cell}" for cell in range(n_cells)]
        batches = [f"b{cell % 2}" for cell in range(n_cells)]
        path = self.folder / f"{self.n_samples}.h5ad"
        obs = pd.DataFrame({"batch": pd.Categorical(batches)}, index=ids)
        var = pd.DataFrame(index=genes)
        anndata.AnnData(sp.csr_matrix(dense), obs=obs, var=var).write_h5ad(path)
        held = {
            (ids[cell], genes[gene]): float(dense[cell, gene])
            for cell, gene in zip(*np.nonzero(dense), strict=True)
        }
        return Sample(path, tuple(zip(ids, batches, strict=True)), tuple(genes), held)


def run(examples: int, steps: int) -> int:
    """So many runs of so many steps; how many there were."""
    Machine.steps = 0
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Machine, settings=chosen)
    return Machine.steps


def test_any_order_of_a_few() -> None:
    """Whatever is done, stopped and resumed in whatever order, all is as the model says."""
    assert run(examples=4, steps=15) >= 40


@pytest.mark.slow
@pytest.mark.timeout(2 * 3600)
def test_any_order_of_thousands(capsys: pytest.CaptureFixture[str]) -> None:
    """So it is in thousands of steps."""
    steps = run(examples=70, steps=40)
    with capsys.disabled():
        print(f"\n{steps:,} steps of the state machine")  # noqa: T201 - the campaign tells it
    assert steps >= 2000
