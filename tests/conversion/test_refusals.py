"""An output that is not free for a conversion is refused by name, and loses nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import pytest

import slaf
from slaf.errors import (
    ConflictError,
    ConversionInProgress,
    DamagedDataset,
    NotADataset,
    OutputExists,
    TargetError,
    UnfinishedRun,
    UnsupportedFormat,
)
from slaf.format.validation import with_checksum
from slaf.options import StoreOptions
from slaf.testing.crashing import Crash, CrashingStorage
from tests.builders import counts, write_h5ad
from tests.conversion.outputs import finished_parts, output_of, tree, unaccounted
from tests.conversion.stopped import Conversion

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

N_CELLS, N_GENES = 12, 6
IN_THE_MIDDLE = 16
AT_THE_END = -4  # published, but not yet cleaned

# Another value of every option that is part of the plan.
OTHERWISE = {
    "matrix": "layer:other",
    "join": "union",
    "compression": "small",
    "chunk_size": 4,
    "compact": True,
    "create_indices": True,
    "string_ids": True,
    "by_gene": True,
    "plain_types": True,
    "layers": "none",
    "raw": False,
    "without": ["obsm"],
    "uns_merge": "same",
}


@pytest.fixture
def conversion(tmp_path: Path) -> Conversion:
    """Four parts, from a file that has a second matrix."""
    matrix = counts(N_CELLS, N_GENES)
    source = write_h5ad(tmp_path / "in.h5ad", matrix, layers={"other": matrix})
    return Conversion(source, {"chunk_size": 3})


def stopped(conversion: Conversion, output: Path, at: int = IN_THE_MIDDLE) -> Path:
    """The output of this conversion, stopped at this effect."""
    if at < 0:
        recorder = CrashingStorage(output.with_name("recorded.slaf"))
        conversion.prepare(recorder.path)
        conversion.run(recorder)
        at += len(recorder.effects)
    conversion.prepare(output)
    with pytest.raises(Crash):
        conversion.run(CrashingStorage(output, at))
    return output


def test_every_option_has_another_value() -> None:
    """The options that make another run are all those that a plan has."""
    assert set(OTHERWISE) == {"matrix", *(field.name for field in fields(StoreOptions))}


@pytest.mark.parametrize("option", OTHERWISE)
def test_another_option(option: str, conversion: Conversion, tmp_path: Path) -> None:
    """An unfinished conversion is not resumed with another option, which is named."""
    expected = conversion.uninterrupted(tmp_path / "whole.slaf")
    output = stopped(conversion, tmp_path / "out.slaf")
    before = tree(output)
    other = conversion.options | {option: OTHERWISE[option]}
    now = re.escape(str(OTHERWISE[option]))
    with pytest.raises(UnfinishedRun, match=rf"(option|input) {option} was .* and is {now}"):
        slaf.convert(conversion.source, output, **other)
    assert tree(output) == before
    assert finished_parts(output)
    conversion.finish(output, expected)


@pytest.mark.parametrize("option", OTHERWISE)
def test_another_option_restarts(option: str, conversion: Conversion, tmp_path: Path) -> None:
    """With `restart` an unfinished conversion with other options is discarded."""
    other = Conversion(conversion.source, conversion.options | {option: OTHERWISE[option]})
    expected = other.uninterrupted(tmp_path / "whole.slaf")
    output = stopped(conversion, tmp_path / "out.slaf")
    Conversion(other.source, {**other.options, "restart": True}).finish(output, expected)


def change_a_value(source: Path) -> None:
    """Change one value, in a file whose size and time stay."""
    status = source.stat()
    with h5py.File(source, "r+") as file:
        file["X/data"][3] += 1
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert source.stat().st_size == status.st_size


def change_the_size(source: Path) -> None:
    """Append to a file, whose time stays."""
    status = source.stat()
    with source.open("ab") as file:
        file.write(bytes(512))
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))


def change_the_time(source: Path) -> None:
    """Touch a file by a nanosecond, so that nothing else differs."""
    status = source.stat()
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def exchange(source: Path) -> None:
    """Put another file of another shape in its place."""
    write_h5ad(source, counts(N_CELLS + 1, N_GENES))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (change_a_value, "input .* was changed since it began"),
        (change_the_size, "input .* was changed since it began"),
        (change_the_time, "input .* was copied or touched since it began"),
        (exchange, f"input n_cells was {N_CELLS} and is {N_CELLS + 1}"),
    ],
)
def test_another_input(
    change: Callable[[Path], None], named: str, conversion: Conversion, tmp_path: Path
) -> None:
    """An unfinished conversion is not resumed when its input was changed, which is named."""
    output = stopped(conversion, tmp_path / "out.slaf")
    before = tree(output)
    change(conversion.source)
    with pytest.raises(UnfinishedRun, match=named):
        conversion.run(output)
    assert tree(output) == before
    conversion_now = Conversion(conversion.source, {**conversion.options, "restart": True})
    conversion_now.finish(output, conversion.uninterrupted(tmp_path / "whole.slaf"))


def test_another_place(conversion: Conversion, tmp_path: Path) -> None:
    """An input that was moved is the same input."""
    output = stopped(conversion, tmp_path / "out.slaf")
    expected = conversion.uninterrupted(tmp_path / "whole.slaf")
    moved = conversion.source.rename(tmp_path / "moved.h5ad")
    Conversion(moved, conversion.options).finish(output, expected)


def test_another_anndata(tmp_path: Path) -> None:
    """An AnnData in memory is told from one that differs in a single value."""
    adata = anndata.AnnData(counts(N_CELLS, N_GENES))
    with pytest.raises(Crash):
        slaf.convert(adata, CrashingStorage(tmp_path / "out.slaf", IN_THE_MIDDLE), chunk_size=3)
    other = adata.copy()
    other.X.data[-1] += 1
    with pytest.raises(UnfinishedRun, match=r"input .* was changed since it began"):
        slaf.convert(other, tmp_path / "out.slaf", chunk_size=3)
    assert slaf.convert(adata, tmp_path / "out.slaf", chunk_size=3).shape == (N_CELLS, N_GENES)


@pytest.mark.parametrize(("version", "why"), [("99.0", "newer"), ("0.5", "another program")])
@pytest.mark.parametrize("at", [IN_THE_MIDDLE, AT_THE_END])
def test_another_format(
    version: str, why: str, at: int, conversion: Conversion, tmp_path: Path
) -> None:
    """What a release with another format left is neither resumed nor replaced."""
    expected = conversion.uninterrupted(tmp_path / "whole.slaf")
    output = stopped(conversion, tmp_path / "out.slaf", at)
    config = output / "config.json"
    text = config.read_text()
    config.write_bytes(with_checksum(json.loads(text) | {"format_version": version}))
    before = tree(output)
    for also in ({}, {"restart": True}, {"overwrite": True}):
        with pytest.raises(UnsupportedFormat, match=why):
            slaf.convert(conversion.source, output, **(conversion.options | also))
    assert tree(output) == before
    config.write_text(text)
    conversion.finish(output, expected)


@pytest.mark.parametrize(
    "damage", [{"checkpoint": {"done": {}, "plan": {"parts": []}}}, {"checkpoint": []}]
)
def test_damaged_checkpoint(damage: dict[str, Any], conversion: Conversion, tmp_path: Path) -> None:
    """A checkpoint that cannot be understood is refused, not begun anew."""
    output = stopped(conversion, tmp_path / "out.slaf")
    config = output / "config.json"
    config.write_bytes(with_checksum(json.loads(config.read_text()) | damage))
    before = tree(output)
    with pytest.raises(DamagedDataset, match="damaged"):
        conversion.run(output)
    assert tree(output) == before


def test_the_checkpoint_of_another_release(conversion: Conversion, tmp_path: Path) -> None:
    """One with an option that this release does not know is refused, and can be discarded."""
    output = stopped(conversion, tmp_path / "out.slaf")
    config = json.loads((output / "config.json").read_bytes())
    config["checkpoint"]["plan"]["options"]["newer"] = True
    (output / "config.json").write_bytes(with_checksum(config))
    before = tree(output)
    with pytest.raises(DamagedDataset, match=r"of another release.*discard it with --restart"):
        conversion.run(output)
    assert tree(output) == before
    again = Conversion(conversion.source, {**conversion.options, "restart": True})
    again.finish(output, conversion.uninterrupted(tmp_path / "whole.slaf"))


def as_the_last_release(output: Path) -> None:
    """Put the unfinished run into config.json as the last release had it there."""
    config = json.loads((output / "config.json").read_bytes())
    checkpoint = config["checkpoint"]
    del checkpoint["journal"], checkpoint["attempts"], config["digest"]
    done = [json.loads(receipt.read_bytes()) for receipt in output.glob(".parts/*/part-*.json")]
    checkpoint |= {"done": {str(part["part"]): part for part in done}, "by_gene": []}
    config["format_version"] = "1.0"
    (output / "config.json").write_bytes(with_checksum(config))
    shutil.rmtree(output / ".parts", ignore_errors=True)


LAST_RELEASE = r"the unfinished run is of another release; finish it.*discard it with --restart"


def test_an_unfinished_run_of_the_last_release(conversion: Conversion, tmp_path: Path) -> None:
    """One that has its parts in config.json is refused by name, and can be discarded."""
    output = stopped(conversion, tmp_path / "out.slaf")
    as_the_last_release(output)
    before = tree(output)
    with pytest.raises(DamagedDataset, match=LAST_RELEASE):
        conversion.run(output)
    with pytest.raises(DamagedDataset, match=LAST_RELEASE):
        slaf.status(output)
    with pytest.raises(ConversionInProgress, match="1 of 4 parts"):
        slaf.open(output)
    assert tree(output) == before
    again = Conversion(conversion.source, {**conversion.options, "restart": True})
    again.run(output)
    assert output_of(output) == conversion.uninterrupted(tmp_path / "whole.slaf")
    assert unaccounted(output) == set()


def test_a_dataset_of_the_last_release_that_is_being_added_to(
    conversion: Conversion, tmp_path: Path
) -> None:
    """It is open for reading while the run is not for finishing, and can be added to anew."""
    conversion.run(tmp_path / "old.slaf")
    more = write_h5ad(tmp_path / "more.h5ad", counts(N_CELLS, N_GENES, seed=1))
    appending = Conversion(more, {"chunk_size": 3}, tmp_path / "old.slaf", [conversion.source])
    output = stopped(appending, tmp_path / "out.slaf")
    as_the_last_release(output)
    assert slaf.verify(output, against=conversion.source).ok
    with pytest.raises(DamagedDataset, match=LAST_RELEASE):
        appending.run(output)
    slaf.append(more, output, chunk_size=3, restart=True)
    assert output_of(output) == appending.uninterrupted(tmp_path / "whole.slaf")
    assert unaccounted(output) == set()


def test_a_run_of_the_last_release_that_only_has_to_clean(
    conversion: Conversion, tmp_path: Path
) -> None:
    """What it has published is published, and the same call cleans."""
    output = stopped(conversion, tmp_path / "out.slaf", AT_THE_END)
    as_the_last_release(output)
    conversion.finish(output, conversion.uninterrupted(tmp_path / "whole.slaf"))


def test_finished(conversion: Conversion, tmp_path: Path) -> None:
    """A finished dataset is refused, also by the call that made it, and stays as it is."""
    output = tmp_path / "out.slaf"
    conversion.run(output)
    before = tree(output)
    for also in ({}, {"restart": True}):
        with pytest.raises(OutputExists, match=r"a finished dataset is there.*--overwrite"):
            slaf.convert(conversion.source, output, **(conversion.options | also))
    assert tree(output) == before


def test_finished_but_for_its_lock(conversion: Conversion, tmp_path: Path) -> None:
    """A lock that was left when the process ended on its last step is removed."""
    output = tmp_path / "out.slaf"
    conversion.run(output)
    before = tree(output)
    (output / ".lock").touch()
    with pytest.raises(OutputExists, match="a finished dataset is there"):
        conversion.run(output)
    assert tree(output) == before
    assert unaccounted(output) == set()


@pytest.mark.parametrize("at", [IN_THE_MIDDLE, AT_THE_END])
def test_restart_is_not_overwrite(at: int, conversion: Conversion, tmp_path: Path) -> None:
    """Discarding an unfinished conversion does not give away the dataset that it was to replace."""
    conversion.run(tmp_path / "old.slaf")
    source = write_h5ad(tmp_path / "new.h5ad", counts(N_CELLS, N_GENES, seed=1))
    replacing = Conversion(source, {"chunk_size": 3, "overwrite": True}, tmp_path / "old.slaf")
    output = stopped(replacing, tmp_path / "out.slaf", at)
    before = tree(output)
    with pytest.raises(OutputExists, match="a finished dataset is there"):
        slaf.convert(source, output, chunk_size=4, restart=True)
    assert tree(output) == before
    replacing.finish(output, replacing.uninterrupted(tmp_path / "whole.slaf"))


def test_published_and_not_yet_cleaned(conversion: Conversion, tmp_path: Path) -> None:
    """A dataset that is published counts as finished, though its cleaning was stopped."""
    expected = conversion.uninterrupted(tmp_path / "whole.slaf")
    output = stopped(conversion, tmp_path / "out.slaf", AT_THE_END)
    before = tree(output)
    with pytest.raises(OutputExists, match="a finished dataset is there"):
        slaf.convert(conversion.source, output, chunk_size=4)
    assert tree(output) == before
    again = Conversion(conversion.source, {**conversion.options, "restart": True})
    again.finish(output, expected)


def a_file(place: Path) -> None:
    """A file."""
    place.write_text("mine")


def a_directory(place: Path) -> None:
    """A directory with a file."""
    place.mkdir()
    (place / "notes.txt").write_text("mine")


def a_hidden_file(place: Path) -> None:
    """A directory with a file that does not show."""
    place.mkdir()
    (place / ".env").write_text("mine")


def a_dead_link(place: Path) -> None:
    """A link to nothing."""
    place.symlink_to(place.with_name("nowhere"))


@pytest.mark.parametrize("something", [a_file, a_directory, a_hidden_file, a_dead_link])
@pytest.mark.parametrize("also", [{}, {"overwrite": True}, {"restart": True}])
def test_something_else(
    something: Callable[[Path], None],
    also: dict[str, Any],
    conversion: Conversion,
    tmp_path: Path,
) -> None:
    """What is no dataset is refused whatever the options, and stays as it is."""
    output = tmp_path / "out.slaf"
    something(output)
    before = tree(output)
    with pytest.raises(OutputExists, match="something else is there"):
        slaf.convert(conversion.source, output, **(conversion.options | also))
    assert tree(output) == before
    with pytest.raises(NotADataset):
        slaf.open(output)


def test_refusals_are_conflicts() -> None:
    """Whoever catches ConflictError catches every refusal of an output."""
    assert issubclass(UnfinishedRun, ConflictError)
    assert issubclass(OutputExists, ConflictError | FileExistsError)


def test_an_empty_directory(conversion: Conversion, tmp_path: Path) -> None:
    """An empty directory is as good as none."""
    output = tmp_path / "out.slaf"
    output.mkdir()
    conversion.run(output)
    assert output_of(output) == conversion.uninterrupted(tmp_path / "whole.slaf")


def test_directories_above_are_made(conversion: Conversion, tmp_path: Path) -> None:
    """The directories above an output are made with it."""
    conversion.run(tmp_path / "some" / "where" / "out.slaf")
    expected = conversion.uninterrupted(tmp_path / "whole.slaf")
    assert output_of(tmp_path / "some" / "where" / "out.slaf") == expected


def test_relative_output(
    conversion: Conversion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The current directory, if it is empty, can be the output."""
    expected = conversion.uninterrupted(tmp_path / "whole.slaf")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    slaf.convert(conversion.source, ".", **conversion.options)
    assert output_of(tmp_path / "here") == expected


def test_a_copy_of_an_unfinished_output(conversion: Conversion, tmp_path: Path) -> None:
    """An unfinished output may be moved and is finished where it is then."""
    expected = conversion.uninterrupted(tmp_path / "whole.slaf")
    output = stopped(conversion, tmp_path / "out.slaf")
    shutil.move(output, tmp_path / "moved.slaf")
    conversion.finish(tmp_path / "moved.slaf", expected)


@pytest.mark.parametrize("name", ["out.h5ad", "out.CSV", "out.bw", "out.csv.gz", "out.zarr/"])
def test_a_name_of_something_else(name: str, conversion: Conversion, tmp_path: Path) -> None:
    """A dataset is not made under the name of a file of another format, by any verb."""
    output = f"{tmp_path}/{name}"
    made = slaf.convert(conversion.source, tmp_path / "in.slaf")
    makers: list[Callable[[], object]] = [
        lambda: slaf.convert(conversion.source, output),
        lambda: slaf.convert(conversion.source, output, dry_run=True),
        lambda: slaf.plan(conversion.source, output),
        lambda: slaf.copy(made, output),
    ]
    if not output.rstrip("/").endswith((".h5ad", ".zarr")):
        makers += [
            lambda: slaf.transform(conversion.source, output, min_genes=1),
            lambda: slaf.aggregate(conversion.source, output, by="cell_id"),
        ]
    for make in makers:
        with pytest.raises(TargetError, match=r"name it out.slaf or so, .* `slaf export`"):
            make()
    assert not list(tmp_path.glob("out.*"))


def test_a_dataset_that_can_be_added_to(conversion: Conversion, tmp_path: Path) -> None:
    """Who makes what is there already is told how it grows: `append`, or a plan with --append."""
    conversion.run(tmp_path / "out.slaf")
    with pytest.raises(OutputExists, match="or add to it with `slaf append`"):
        slaf.convert(conversion.source, tmp_path / "out.slaf")
    with pytest.raises(OutputExists, match="or add to it with --append"):
        slaf.plan(conversion.source, tmp_path / "out.slaf")
