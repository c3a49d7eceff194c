"""Copying a dataset: what is copied, what is checked, refusals and crashes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

import slaf
from slaf.errors import DamagedDataset, OutputExists, UnfinishedRun
from slaf.format.config import Manifest, save
from slaf.storage.location import Location
from slaf.testing.crashing import Crash, CrashingStorage, Moment
from tests.builders import counts, write_h5ad
from tests.cli.terminal import run
from tests.conversion.outputs import output_of, unaccounted
from tests.conversion.stopped import points
from tests.faults.operations import copied

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with everything, which was annotated: another version is kept."""
    folder = tmp_path_factory.mktemp("copy")
    path: Path = copied(folder).options["dataset"]
    slaf.annotate(path, uns={"by": "hand"})
    return path


def test_a_copy_is_the_dataset(dataset: Path, tmp_path: Path) -> None:
    """All tables and files of the published version are copied, with their checksums, no others."""
    made = slaf.copy(dataset, tmp_path / "out.slaf")
    assert output_of(tmp_path / "out.slaf") == output_of(dataset)
    assert made.published.checksums == slaf.open(dataset).published.checksums
    assert slaf.verify(made).ok
    assert not unaccounted(tmp_path / "out.slaf")
    assert [one.is_kept for one in slaf.history(made.location)] == [False, True]
    slaf.annotate(made, drop="uns:by")
    assert "by" in slaf.open(dataset).uns


def test_a_dataset_is_replaced(dataset: Path, tmp_path: Path) -> None:
    """A dataset at the output is replaced only with overwrite; its readers fail, and say so."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(5, 4))
    old = slaf.convert(source, tmp_path / "out.slaf")
    with pytest.raises(OutputExists, match="replace it with --overwrite"):
        slaf.copy(dataset, tmp_path / "out.slaf")
    made = slaf.copy(dataset, tmp_path / "out.slaf", overwrite=True)
    assert slaf.diff(dataset, made).differences == ()
    assert not unaccounted(tmp_path / "out.slaf")
    with pytest.raises(DamagedDataset, match="open it anew"):
        old.X.to_memory()
    before = made.published
    assert slaf.copy(dataset, tmp_path / "out.slaf", overwrite=True).published == before
    assert slaf.append(dataset, made.location, allow_duplicate=True).n_obs == 2 * made.n_obs


def test_a_damaged_copy_is_copied_again(dataset: Path, tmp_path: Path) -> None:
    """A copy that is there is kept only if it is whole."""
    made = slaf.copy(dataset, tmp_path / "out.slaf")
    name = next(one.file for one in made.published.checksums.files if "/data/" in one.file)
    (tmp_path / "out.slaf" / name).write_bytes(b"damaged")
    assert slaf.verify(slaf.copy(dataset, tmp_path / "out.slaf", overwrite=True)).ok


def test_a_damaged_file_of_elements_is_copied_again(dataset: Path, tmp_path: Path) -> None:
    """A file that what is replaced and the copy have is not taken for whole by its size."""
    made = slaf.copy(dataset, tmp_path / "out.slaf")
    path = tmp_path / "out.slaf" / made.published.annotations.files[0].file
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert slaf.verify(slaf.copy(dataset, tmp_path / "out.slaf", overwrite=True)).ok


def test_another_dataset_of_the_same_values_is_copied(tmp_path: Path) -> None:
    """Datasets of one second that differ in annotations alone are told apart."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(5, 4))
    made = slaf.convert(source, tmp_path / "in.slaf").published
    assert made.annotations.uns is None
    slaf.annotate(tmp_path / "in.slaf", uns={"n": 1})
    slaf.copy(tmp_path / "in.slaf", tmp_path / "out.slaf")
    location = Location(tmp_path / "in.slaf")
    first = slaf.open(location).published
    other = slaf.annotate(location, uns={"n": 2}, replace=True).published
    save(location, Manifest(structs.replace(other, last_updated=first.last_updated)))
    assert slaf.copy(location, tmp_path / "out.slaf", overwrite=True).uns["n"] == 2


def test_a_version_that_was_opened_is_copied(dataset: Path, tmp_path: Path) -> None:
    """The version that was given, not the newest; one whose files are gone is refused."""
    before = slaf.open(dataset, version=1)
    made = slaf.copy(before, tmp_path / "out.slaf")
    assert "by" not in made.uns
    assert "by" in slaf.open(dataset).uns
    assert slaf.verify(made).ok
    assert not unaccounted(tmp_path / "out.slaf")
    slaf.compact(made.location)
    with pytest.raises(DamagedDataset, match="open it anew"):
        slaf.copy(made, tmp_path / "other.slaf")


def test_what_was_stopped_replaces_nothing_else(dataset: Path, tmp_path: Path) -> None:
    """What a copy that was stopped leaves lets no other call replace a dataset, or a run."""
    output = tmp_path / "out.slaf"
    source = write_h5ad(tmp_path / "in.h5ad", counts(5, 4))
    slaf.convert(source, output)
    with pytest.raises(Crash):
        slaf.copy(dataset, CrashingStorage(output, 6), overwrite=True)
    assert (output / ".copy.new").exists()
    with pytest.raises(OutputExists, match="replace it with --overwrite"):
        slaf.copy(dataset, output)
    with pytest.raises(Crash):
        slaf.annotate(CrashingStorage(output, 3), obs={"n": range(5)})
    with pytest.raises(UnfinishedRun, match="an unfinished run is there"):
        slaf.copy(dataset, output, overwrite=True)
    assert slaf.annotate(output, obs={"n": range(5)}).shape == (5, 4)


@pytest.mark.parametrize("verb", ["convert", "append", "annotate"])
def test_nothing_is_left_of_a_stopped_copy(verb: str, dataset: Path, tmp_path: Path) -> None:
    """Another command on the output of a copy that was stopped leaves nothing of the copy."""
    output = tmp_path / "out.slaf"
    first, second = (write_h5ad(tmp_path / f"{at}.h5ad", counts(5, 4, seed=at)) for at in range(2))
    slaf.convert(first, output)
    with pytest.raises(Crash):
        slaf.copy(dataset, CrashingStorage(output, 4), overwrite=True)
    assert (output / ".copy.new").exists()
    if verb == "convert":
        slaf.convert(second, output, overwrite=True)
    elif verb == "append":
        slaf.append(second, output)
    else:
        slaf.annotate(output, obs={"n": range(5)})
    assert unaccounted(output) == set()
    assert not (output / ".copy.new").exists()


def test_what_is_damaged_is_not_copied(dataset: Path, tmp_path: Path) -> None:
    """A file that differs from its digest is refused by name, and there is no dataset."""
    slaf.copy(dataset, tmp_path / "in.slaf")
    path = (
        tmp_path / "in.slaf" / slaf.open(tmp_path / "in.slaf").published.annotations.files[0].file
    )
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedDataset, match=f"{path.name} is not what was written"):
        slaf.copy(tmp_path / "in.slaf", tmp_path / "out.slaf")
    assert not (tmp_path / "out.slaf" / "config.json").exists()
    assert slaf.verify(slaf.copy(dataset, tmp_path / "out.slaf")).ok


def test_something_else_stays(dataset: Path, tmp_path: Path) -> None:
    """An output with something else, with an unfinished run, or within the dataset, is refused."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputExists, match="something else is there"):
        slaf.copy(dataset, tmp_path, overwrite=True)
    with pytest.raises(OutputExists, match="in the dataset"):
        slaf.copy(dataset, dataset / "copy")
    source = write_h5ad(tmp_path / "in.h5ad", counts(5, 4))
    with pytest.raises(Crash):
        slaf.convert(source, CrashingStorage(tmp_path / "half.slaf", 6), chunk_size=1)
    with pytest.raises(UnfinishedRun, match="an unfinished run is there"):
        slaf.copy(dataset, tmp_path / "half.slaf", overwrite=True)


@pytest.mark.parametrize("replacing", [False, True])
@pytest.mark.parametrize("most", [2, pytest.param(None, marks=pytest.mark.slow)])
def test_crashes(tmp_path: Path, most: int | None, *, replacing: bool) -> None:
    """Stopped at any effect readers see all of it or what was there; the same call ends well."""
    conversion = copied(tmp_path, replacing=replacing)
    expected = conversion.uninterrupted(tmp_path / "whole.slaf")
    recorder = CrashingStorage(conversion.prepare(tmp_path / "recorded.slaf"))
    conversion.run(recorder)
    for at in points(len(recorder.effects), most, replacing):
        for moment in Moment if most is None else [Moment.BEFORE]:
            path = conversion.prepare(tmp_path / f"{at}-{moment.name}.slaf")
            with pytest.raises(Crash):
                conversion.run(CrashingStorage(path, at, moment))
            conversion.check_stopped(path, expected)
            conversion.finish(path, expected)


def test_files_that_are_there_stay(dataset: Path, tmp_path: Path) -> None:
    """A copy that is resumed writes the files that are missing; one of another begins anew."""
    recorder = CrashingStorage(tmp_path / "whole.slaf")
    slaf.copy(dataset, recorder)
    half = len(recorder.effects) // 2
    with pytest.raises(Crash):
        slaf.copy(dataset, CrashingStorage(tmp_path / "out.slaf", half))
    again = CrashingStorage(tmp_path / "out.slaf")
    slaf.copy(dataset, again)
    assert len(again.effects) < len(recorder.effects)
    with pytest.raises(Crash):
        slaf.copy(dataset, CrashingStorage(tmp_path / "other.slaf", half))
    slaf.convert(write_h5ad(tmp_path / "in.h5ad", counts(5, 4)), tmp_path / "in.slaf")
    slaf.copy(tmp_path / "in.slaf", tmp_path / "other.slaf")
    assert output_of(tmp_path / "other.slaf") == output_of(tmp_path / "in.slaf")
    assert not unaccounted(tmp_path / "other.slaf")


def test_the_command(dataset: Path, tmp_path: Path) -> None:
    """`slaf copy` copies, and prints the shape."""
    printed = json.loads(run("copy", dataset, tmp_path / "out.slaf", "--json").out)
    assert printed["n_cells"] == slaf.open(dataset).n_cells
    run("copy", dataset, tmp_path / "out.slaf").failed(4)
