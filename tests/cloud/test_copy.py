"""A dataset is copied to a bucket, within it and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import slaf
from slaf.errors import DamagedDataset, NotADataset
from slaf.testing.crashing import Crash, CrashingStorage
from tests.cloud.outputs import unaccounted
from tests.conversion.outputs import output_of
from tests.faults.operations import copied

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud.servers import Cloud


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with everything."""
    path: Path = copied(tmp_path_factory.mktemp("copy")).options["dataset"]
    return path


def test_there_and_back(dataset: Path, cloud: Cloud, tmp_path: Path) -> None:
    """What comes back from a bucket equals what was copied there, and each copy proves itself."""
    there = slaf.copy(dataset, cloud.at("a.slaf"), storage_options=cloud.options)
    assert slaf.verify(there).ok
    assert not {name for name in unaccounted(there.location) if not name.startswith("uns")} - {
        record.file for record in there.published.annotations.files
    }
    within = slaf.copy(there, cloud.at("b.slaf"), storage_options=cloud.options)
    assert slaf.verify(within).ok
    slaf.copy(cloud.at("b.slaf"), tmp_path / "back.slaf", input_storage_options=cloud.options)
    assert output_of(tmp_path / "back.slaf") == output_of(dataset)
    assert slaf.verify(tmp_path / "back.slaf").ok


def test_a_copy_that_was_stopped(dataset: Path, one_cloud: Cloud) -> None:
    """Until all objects are there, there is no dataset; the same call finishes the copy."""
    for at in (1, 9, 25):
        place = one_cloud.at(f"{at}.slaf")
        with pytest.raises(Crash):
            slaf.copy(dataset, CrashingStorage(place, at, storage_options=one_cloud.options))
        with pytest.raises(NotADataset):
            slaf.open(place, storage_options=one_cloud.options)
        made = slaf.copy(dataset, place, storage_options=one_cloud.options)
        assert slaf.verify(made).ok


def test_an_object_that_was_changed(dataset: Path, one_cloud: Cloud, tmp_path: Path) -> None:
    """An object with another tag than was recorded is not copied."""
    made = slaf.convert(dataset, one_cloud.at("a.slaf"), storage_options=one_cloud.options)
    name = next(one.file for one in made.published.checksums.files if "/data/" in one.file)
    made.location.put(name, (made.location.read(name) or b"")[:-1] + b"x")
    with pytest.raises(DamagedDataset, match="is not what was written"):
        slaf.copy(made, tmp_path / "out.slaf")
