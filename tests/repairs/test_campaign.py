"""Whichever byte of a dataset is changed, it is found, named and repaired."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

import slaf
from tests.repairs.damaged import Original, flip, make_original, proven_files

if TYPE_CHECKING:
    from pathlib import Path

# Bytes of each file: the first is the short form, of about as many flips as there are files.
FLIPS = [1, pytest.param(8, marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    """A dataset with everything."""
    return make_original(tmp_path_factory.mktemp("original"))


def files_of_everything(original: Original) -> list[str]:
    """Every file that has a checksum: of all tables, and the files of elements."""
    files = proven_files(original.path)
    tables = {file.split("/", 1)[0] for file in files if "/data/" in file}
    assert len(tables) == 9
    for kind in ("/_versions/", "/_transactions/"):
        assert {file.split("/", 1)[0] for file in files if kind in file} == tables
    assert {file.split("-")[0] for file in files if file.endswith(".h5")} == {"uns", "elements"}
    assert sum("/_indices/" in file for file in files) == 7
    return files


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("flips", FLIPS)
def test_every_flipped_byte(flips: int, original: Original, tmp_path: Path) -> None:
    """A flipped byte of any file is found, the file is named, and it is repaired from the input.

    In the short form every third file is repaired.
    """
    rng = random.Random(flips)
    seen = 0
    for file in files_of_everything(original) * flips:
        seen += 1
        dataset = original.copy(tmp_path / "out.slaf")
        flip(dataset / file, rng)
        with pytest.raises(slaf.VerificationFailed) as caught:
            slaf.verify(dataset)
        (found,) = caught.value.report.differences
        assert (found.kind, found.where.split(" ")[0]) == ("file", file)
        if flips == 1 and seen % 3:
            continue
        repaired = slaf.repair(dataset, original.inputs)
        assert [damaged.split(" ")[0] for damaged in repaired.damaged] == [file]
        original.check(dataset)
    assert seen >= flips * 40


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_every_missing_file(step: int, original: Original, tmp_path: Path) -> None:
    """A file that is gone is found, named and repaired, whichever it is."""
    for file in files_of_everything(original)[::step]:
        dataset = original.copy(tmp_path / "out.slaf")
        (dataset / file).unlink()
        with pytest.raises(slaf.VerificationFailed) as caught:
            slaf.verify(dataset, quick=True)
        (found,) = caught.value.report.differences
        assert found.where.split(" ")[0] == file
        slaf.repair(dataset, original.inputs)
        original.check(dataset)


@pytest.mark.parametrize("seed", range(4))
def test_much_damage_at_once(seed: int, original: Original, tmp_path: Path) -> None:
    """Any number of files may be damaged or gone, all of them too."""
    rng = random.Random(seed)
    dataset = original.copy(tmp_path / "out.slaf")
    files = proven_files(dataset)
    chosen = files if seed == 0 else rng.sample(files, rng.randrange(2, len(files)))
    for file in chosen:
        if rng.random() < 0.5:
            flip(dataset / file, rng)
        else:
            (dataset / file).unlink()
    repaired = slaf.repair(dataset, original.inputs)
    assert {damaged.split(" ")[0] for damaged in repaired.damaged} == set(chosen)
    original.check(dataset)


def test_the_whole_folder_of_a_table(original: Original, tmp_path: Path) -> None:
    """A table of which nothing is left at all is made again."""
    for table in ("expression", "cells", "layers", "cellsxcells", "expression_by_gene", "genes"):
        dataset = original.copy(tmp_path / "out.slaf")
        for file in sorted((dataset / f"{table}.lance").rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        (dataset / f"{table}.lance").rmdir()
        slaf.repair(dataset, original.inputs)
        original.check(dataset)
