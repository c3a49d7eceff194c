"""Law 12: parts done anywhere, in any order, twice or not at all: one dataset, or a refusal."""

from __future__ import annotations

import json
import random
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import slaf
from slaf.errors import (
    DamagedDataset,
    DuplicateInput,
    InputError,
    Locked,
    MissingParts,
    NoPlan,
    OutputExists,
    SourceChanged,
    UnfinishedRun,
    UnsupportedFormat,
)
from slaf.format.epoch import locked
from slaf.format.validation import with_checksum
from slaf.runtime.job_arrays import parse_indices
from slaf.storage.location import Location
from slaf.testing.crashing import Crash, CrashingStorage
from tests.builders import counts, write_h5ad
from tests.conversion.outputs import output_of, unaccounted
from tests.conversion.slafdb_datasets import slafdb_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CELLS = 12
OPTIONS: dict[str, Any] = {"chunk_size": 5, "join": "union", "cell_id_prefix": True}


# ------------------------------------------------------------------------------------------ the law


def write_input(folder: Path, name: str, rng: random.Random) -> Path:
    """An input with its own genes, layers, raw, layout and kind of values."""
    n_genes = rng.randint(4, 7)
    matrix = counts(CELLS, n_genes, seed=rng.randrange(99))
    further: dict[str, Any] = {"uns": {"name": name}}
    if rng.random() < 0.5:
        further["layers"] = {"spliced": matrix * rng.choice([1, 70_000, 0.5])}
    if rng.random() < 0.5:
        first = rng.randint(0, 3)
        var = pd.DataFrame(index=[f"raw-{first + gene}" for gene in range(9)])
        further["raw"] = {"X": counts(CELLS, 9, seed=first) * rng.choice([1, -1]), "var": var}
    matrix = matrix * rng.choice([1, 1, 70_000, -1, 0.25])
    return write_h5ad(
        folder / f"{name}.h5ad", matrix.tocsc() if rng.random() < 0.3 else matrix, **further
    )


def do_parts(output: Path, rng: random.Random) -> None:
    """Do the parts of a plan in any order, some of them twice, and publish it."""
    while True:
        try:
            slaf.publish(output)
        except MissingParts as error:
            missing = list(error.missing)
            rng.shuffle(missing)
            twice = rng.choices(missing, k=2)
            for index in [*missing, *twice]:
                slaf.part(output, index)
        else:
            return


def check_law(folder: Path, seed: int) -> None:
    """Convert and append by parts, and in one process, and compare."""
    rng = random.Random(seed)
    inputs = [write_input(folder, f"{seed}-{at}", rng) for at in range(rng.randint(1, 3))]
    more = [write_input(folder, f"{seed}-more-{at}", rng) for at in range(rng.randint(1, 2))]
    sheet = folder / f"{seed}.csv"
    lines = [f"{path.name},{place}" for place, path in enumerate([*inputs, *more])]
    sheet.write_text("\n".join(["file,plate", *lines]))
    options: dict[str, Any] = OPTIONS | rng.choice(
        [{}, {"string_ids": True}, {"by_gene": True}, {"samples": sheet, "cell_id_prefix": True}]
    )
    one, many = folder / f"{seed}-one.slaf", folder / f"{seed}-many.slaf"
    slaf.convert(inputs, one, **options)
    slaf.plan(inputs, many, **options)
    do_parts(many, rng)
    assert output_of(many) == output_of(one)
    assert not unaccounted(many)
    adding: dict[str, Any] = {"join": "union", "cell_id_prefix": True, "chunk_size": 7}
    slaf.append(more, one, **adding)
    slaf.plan(more, many, append=True, **adding)
    assert slaf.open(many).n_cells == len(inputs) * CELLS
    do_parts(many, rng)
    assert output_of(many) == output_of(one)
    assert not unaccounted(many)
    slaf.verify(many, [*inputs, *more])


_LAW: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}


@settings(max_examples=2, **_LAW)
@given(seed=st.integers(0, 10_000))
def test_parts_in_any_order_make_what_one_process_makes(seed: int, tmp_path: Path) -> None:
    """Many inputs, layers, raw, unsorted ones, wider types: by parts the same dataset."""
    check_law(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=150, **_LAW)
@given(seed=st.integers(0, 1_000_000))
def test_parts_in_any_order_make_what_one_process_makes_at_length(
    seed: int, tmp_path: Path
) -> None:
    """The same for many more."""
    check_law(tmp_path, seed)


# ----------------------------------------------------------------------------------------- refusals


N_PARTS = 4


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An input of four parts."""
    return write_h5ad(tmp_path_factory.mktemp("source") / "in.h5ad", counts(3 * N_PARTS, 6))


@pytest.fixture(scope="module")
def done(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan whose parts are all done, and next to it the dataset of one process."""
    folder = tmp_path_factory.mktemp("done")
    slaf.convert(source, folder / "one.slaf", chunk_size=3)
    slaf.plan(source, folder / "many.slaf", chunk_size=3)
    for index in range(N_PARTS):
        assert slaf.part(folder / "many.slaf", index).state == "done"
    return folder


@pytest.fixture
def output(done: Path, tmp_path: Path) -> Path:
    """A copy of that plan."""
    return shutil.copytree(done / "many.slaf", tmp_path / "many.slaf")


def receipt_of(output: Path, index: int) -> Path:
    """The receipt of a part."""
    (receipt,) = output.glob(f".parts/*/part-{index:06d}.json")
    return receipt


def forge(receipt: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a receipt, and seal it as the program would."""
    data = json.loads(receipt.read_bytes())
    change(data)
    del data["digest"]
    receipt.write_bytes(with_checksum(data))


def remove_file(receipt: Path, _: dict[str, Any] | None = None) -> None:
    """Remove the data file that a receipt names."""
    (file,) = json.loads(receipt.read_bytes())["tables"]["expression"]["files"]
    (receipt.parents[2] / file["file"]).unlink()


SPOILT: dict[str, Callable[[Path], object]] = {
    "missing": lambda receipt: receipt.unlink(),
    "truncated": lambda receipt: receipt.write_bytes(receipt.read_bytes()[:99]),
    "of another plan": lambda receipt: forge(receipt, lambda data: data.update(plan="0" * 32)),
    "of other cells": lambda receipt: forge(receipt, lambda data: data.update(rows=[0, 2])),
    "of a file that is gone": remove_file,
    "without row counts": lambda receipt: (receipt.parent / "expression-000002.counts").unlink(),
}


@pytest.mark.parametrize("spoilt", SPOILT)
def test_a_part_without_a_valid_receipt_is_refused_by_name(
    spoilt: str, output: Path, done: Path
) -> None:
    """A receipt that is missing, torn, forged or of a missing file: publish names the part."""
    SPOILT[spoilt](receipt_of(output, 2))
    with pytest.raises(MissingParts, match=r"1 of 4 part is missing.*--array=2,") as refused:
        slaf.publish(output)
    assert refused.value.missing == (2,)
    status = slaf.status(output)
    assert (status.state, status.missing, status.parts_done) == ("planned", "2", 3)
    assert bool(status.refused) == (spoilt != "missing")
    assert slaf.part(output).index == 2
    slaf.publish(output)
    assert output_of(output) == output_of(done / "one.slaf")
    assert not unaccounted(output)


def test_row_counts_that_are_not_those_of_the_rows(output: Path, source: Path, done: Path) -> None:
    """Numbers of rows that were changed are refused, and the plan begins again."""
    counts_of_part = receipt_of(output, 1).parent / "expression-000001.counts"
    counts_of_part.write_bytes(bytes(counts_of_part.stat().st_size))
    with pytest.raises(
        DamagedDataset, match=r"000001\.counts is not what was written; begin again"
    ):
        slaf.publish(output)
    slaf.convert(source, output, chunk_size=3, restart=True)
    assert output_of(output) == output_of(done / "one.slaf")


def test_a_part_is_done_once(output: Path) -> None:
    """A part that is done is left as it is, whatever asks for it."""
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    assert slaf.part(output, 1).state == "was done"
    whole = slaf.part(output)
    assert (whole.index, whole.state, whole.parts) == (None, "was done", N_PARTS)
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before


def test_two_processes_at_one_part(output: Path, done: Path) -> None:
    """Of several that encode a part at once one is recorded, and the files of the others go."""
    receipt_of(output, 1).unlink()
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: slaf.part(output, 1), range(4)))
    assert {report.state for report in reports} <= {"done", "was done"}
    slaf.publish(output)
    assert output_of(output) == output_of(done / "one.slaf")
    assert not unaccounted(output)


class Meanwhile:
    """A progress that does something when the first cells are read."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._action: Callable[[], object] | None = action

    def begin(self, cells: int, nonzeros: int, total_cells: int) -> None:
        """Nothing."""

    def advance(self, cells: int, nonzeros: int) -> None:
        """Do it once."""
        del cells, nonzeros
        action, self._action = self._action, None
        if action is not None:
            action()


def test_a_straggler_of_a_published_plan_leaves_nothing(output: Path, done: Path) -> None:
    """A process that is still at a part when the plan is published ends well, and cleans up."""
    receipt_of(output, 0).unlink()

    def publish() -> None:
        slaf.part(output, 0)
        slaf.publish(output)

    assert slaf.part(output, 0, progress=Meanwhile(publish)).state == "not needed"
    assert output_of(output) == output_of(done / "one.slaf")
    assert not unaccounted(output)


def test_a_straggler_of_a_plan_that_was_given_up(output: Path, source: Path) -> None:
    """A process at a part of a plan that another replaced ends well, and the new plan is whole."""
    receipt_of(output, 0).unlink()

    def replace() -> None:
        # Lance begins its file in a thread of its own: one that is begun later is in the way.
        while not any(output.glob("expression.lance/data/.tmp*")):
            time.sleep(0.01)
        slaf.discard_plan(output)
        slaf.plan(source, output, chunk_size=4)

    assert slaf.part(output, 0, progress=Meanwhile(replace)).state == "not needed"
    for index in range(3):
        slaf.part(output, index)
    slaf.publish(output)
    assert not unaccounted(output)
    slaf.verify(output, source)


def test_convert_finishes_a_plan(output: Path, source: Path, done: Path) -> None:
    """The same conversion in one process takes the parts that are done, and publishes."""
    receipt_of(output, 3).unlink()
    kept = set(output.glob("expression.lance/data/*"))
    slaf.convert(source, output, chunk_size=3)
    assert output_of(output) == output_of(done / "one.slaf")
    assert len(kept & set(output.glob("expression.lance/data/*"))) == N_PARTS - 1


def test_plan_continues(output: Path, source: Path, done: Path) -> None:
    """The same plan again keeps the parts that are done; another is refused."""
    receipt_of(output, 3).unlink()
    with pytest.raises(UnfinishedRun, match="chunk_size was 3 and is 4"):
        slaf.plan(source, output, chunk_size=4)
    assert slaf.plan(source, output, chunk_size=3).missing == "3"
    for index in parse_indices("0-3"):
        slaf.part(output, index)
    slaf.publish(output)
    assert output_of(output) == output_of(done / "one.slaf")
    with pytest.raises(OutputExists):
        slaf.plan(source, output)


def test_a_plan_is_given_up(output: Path, source: Path, tmp_path: Path) -> None:
    """A plan that is discarded leaves nothing, or the dataset that was there."""
    slaf.discard_plan(output)
    assert not output.exists()
    dataset = slaf.convert(source, output)
    before = output_of(output)
    slaf.plan(write_h5ad(tmp_path / "more.h5ad", counts(5, 6, seed=2)), output, append=True)
    slaf.part(output, 0)
    slaf.discard_plan(output)
    assert output_of(output) == before
    assert not unaccounted(output)
    with pytest.raises(NoPlan):
        slaf.discard_plan(output)
    assert slaf.open(output).n_cells == dataset.n_cells


def test_no_plan(done: Path, tmp_path: Path) -> None:
    """Without a plan parts and publication are refused, also of a published dataset."""
    for output in (tmp_path / "nothing.slaf", done / "one.slaf"):
        for verb in (slaf.part, slaf.publish, slaf.discard_plan):
            with pytest.raises(NoPlan, match="no plan; make one with `slaf plan`"):
                verb(output)


OTHER_RUNS: dict[str, Callable[[Location, Path], object]] = {
    "annotate": lambda output, _: slaf.annotate(output, obs={"n": range(3 * N_PARTS)}),
    "remove": lambda output, source: slaf.remove(output, str(source)),
    "transform": lambda output, source: slaf.transform(source, output, sort_by="depth"),
}


@pytest.mark.parametrize("verb", OTHER_RUNS)
def test_a_run_of_another_command_is_no_plan(verb: str, source: Path, tmp_path: Path) -> None:
    """Parts and publication leave it alone, and its own call still ends it."""
    call, found, output = OTHER_RUNS[verb], tmp_path / "found.slaf", tmp_path / "out.slaf"
    if verb != "transform":
        more = [write_h5ad(tmp_path / "more.h5ad", counts(5, 6, seed=2))]
        slaf.convert([source, *more] if verb == "remove" else source, found)
        shutil.copytree(found, output)
        shutil.copytree(found, tmp_path / "whole.slaf")
    recorder = CrashingStorage(tmp_path / "whole.slaf")
    call(recorder, source)
    published = max(at for at, one in enumerate(recorder.effects[:-2]) if one.name == "config.json")
    with pytest.raises(Crash):
        call(CrashingStorage(output, published), source)
    for end in (slaf.part, slaf.publish):
        with pytest.raises(UnfinishedRun, match=f"an unfinished {verb} is there, and no plan"):
            end(output)
    call(Location(output), source)
    assert output_of(output) == output_of(tmp_path / "whole.slaf")


def test_no_such_part(output: Path) -> None:
    """An index that no part has is refused."""
    for index in (-1, N_PARTS):
        with pytest.raises(ValueError, match=f"there are 4 parts.*none has the index {index}"):
            slaf.part(output, index)


def test_an_input_that_was_changed(tmp_path: Path) -> None:
    """An input that is not what was planned is refused by parts, and by the publication."""
    source, output = tmp_path / "in.h5ad", tmp_path / "out.slaf"
    slaf.plan(write_h5ad(source, counts(6, 6)), output, chunk_size=3)
    slaf.part(output, 0)
    write_h5ad(source, counts(6, 6, seed=1))
    with pytest.raises(SourceChanged, match="it was changed since it was planned"):
        slaf.part(output, 1)
    forged = tmp_path / "whole.slaf"
    slaf.plan(source, forged, chunk_size=3)
    for index in range(2):
        slaf.part(forged, index)
    write_h5ad(source, counts(6, 6, seed=2))
    with pytest.raises(SourceChanged, match="the inputs are not those of the plan"):
        slaf.publish(forged)


def test_a_part_reads_its_own_input_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative inputs are found from another directory, and the inputs of other parts not read."""
    inputs = [write_h5ad(tmp_path / f"{at}.h5ad", counts(6, 6 + at, seed=at)) for at in range(2)]
    monkeypatch.chdir(tmp_path)
    names = [path.name for path in inputs]
    slaf.convert(names, "one.slaf", join="union")
    slaf.plan(names, "many.slaf", join="union")
    monkeypatch.chdir("/")
    away = inputs[0].rename(tmp_path / "away.h5ad")
    slaf.part(tmp_path / "many.slaf", 1)
    away.rename(inputs[0])
    slaf.part(tmp_path / "many.slaf", 0)
    slaf.publish(tmp_path / "many.slaf")
    assert output_of(tmp_path / "many.slaf") == output_of(tmp_path / "one.slaf")


def test_a_conversion_that_was_stopped_can_be_planned(source: Path, tmp_path: Path) -> None:
    """Parts take up a stopped conversion after `slaf plan`, and wait while one runs."""
    output = tmp_path / "out.slaf"

    def interrupt() -> None:
        with pytest.raises(Locked, match="a process converts there"):
            slaf.part(output, 0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        slaf.convert(source, output, chunk_size=3, progress=Meanwhile(interrupt))
    with pytest.raises(UnfinishedRun, match="run `slaf plan` again"):
        slaf.part(output, 0)
    slaf.plan(source, output, chunk_size=3)
    with locked(Location(output)):
        assert slaf.part(output, 0).state == "done"
        with pytest.raises(Locked):
            slaf.publish(output)


def test_inputs_that_no_other_process_reaches(source: Path, tmp_path: Path) -> None:
    """An AnnData or a view in memory is refused before anything is written."""
    for one in (anndata.read_h5ad(source), slaf.scan(source)):
        with pytest.raises(InputError, match="in memory: other processes cannot read it"):
            slaf.plan(one, tmp_path / "out.slaf")
    assert not (tmp_path / "out.slaf").exists()


def test_options_that_an_append_has_not(output: Path, source: Path) -> None:
    """An option that was chosen when the dataset was made is refused by an append."""
    with pytest.raises(ValueError, match="string_ids was chosen when the dataset was made"):
        slaf.plan(source, output, append=True, string_ids=True)


def test_the_same_input_twice(output: Path, source: Path) -> None:
    """An input that the dataset has is refused by the plan of an append."""
    slaf.publish(output)
    with pytest.raises(DuplicateInput):
        slaf.plan(source, output, append=True)


def test_a_plan_is_linear_and_says_what_it_takes(tmp_path: Path) -> None:
    """A plan of many parts is small, and its job array does several parts a task."""
    source = write_h5ad(tmp_path / "in.h5ad", np.ones((2001, 4), np.int32))
    report = slaf.plan(source, tmp_path / "out.slaf", chunk_size=1)
    assert (report.parts, report.missing) == (2001, "0-2000")
    assert "--array=0-666 " in report.command
    assert "--range $((SLURM_ARRAY_TASK_ID*3))-$((SLURM_ARRAY_TASK_ID*3+2))" in report.command
    assert 1 << 28 < report.part.memory < 1 << 30
    assert 0 < report.part.seconds < 60
    assert (tmp_path / "out.slaf/config.json").stat().st_size < 40 * 2001


def test_a_preview_of_a_plan(source: Path, tmp_path: Path) -> None:
    """A dry run reports what a conversion would, and writes nothing."""
    preview = slaf.plan(source, tmp_path / "out.slaf", chunk_size=3, dry_run=True)
    assert preview.parts == N_PARTS
    assert not (tmp_path / "out.slaf").exists()


def test_a_dataset_of_slafdb(source: Path, tmp_path: Path) -> None:
    """An append to a dataset of slafdb, which writes it again, is left to one process."""
    dataset = slafdb_files(counts(6, 6)).write(tmp_path / "old.slaf")
    with pytest.raises(UnsupportedFormat, match="make one append with `slaf append` first"):
        slaf.plan(source, dataset, append=True)


def test_requests_of_types_lie_apart(tmp_path: Path) -> None:
    """A part lists requests for wider types, and no receipts, of which there may be thousands."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(CELLS, 4) * 70_000)
    slaf.plan(source, tmp_path / "x.slaf", chunk_size=5)
    slaf.part(tmp_path / "x.slaf", 0)
    names = [name.split("/")[2:] for name in Location(tmp_path / "x.slaf").list(".parts")]
    assert [directory for directory, *rest in names if rest] == ["wider"]
    assert ["part-000000.json"] in names
