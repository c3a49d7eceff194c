"""Readers see all of a dataset or nothing of it, whenever they look."""

from __future__ import annotations

import errno
import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import lance
import pytest

import slaf
from slaf.errors import ConversionInProgress, DamagedDataset, NotADataset, StorageError
from slaf.format.validation import with_checksum
from slaf.storage.location import Location
from slaf.testing.crashing import CrashingStorage
from tests.builders import counts, write_h5ad
from tests.conversion.outputs import output_of, published

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OPTIONS: dict[str, Any] = {"chunk_size": 4, "create_indices": True}


class WatchedStorage(Location):
    """A location at which somebody looks before and after every effect."""

    def __init__(self, path: Path, look: Callable[[], None]) -> None:
        super().__init__(path)
        self._look = look

    @contextmanager
    def mutation(self, action: str, name: str) -> Iterator[None]:
        """Look, change, look."""
        self._look()
        with super().mutation(action, name):
            yield
        self._look()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An input of three parts."""
    return write_h5ad(tmp_path / "in.h5ad", counts(12, 6))


def test_a_new_dataset_appears_at_once(source: Path, tmp_path: Path) -> None:
    """While it is made it is said how far it is, and from one moment on it is all there."""
    output = tmp_path / "out.slaf"
    slaf.convert(source, tmp_path / "whole.slaf", **OPTIONS)
    expected = output_of(tmp_path / "whole.slaf")
    seen: list[str] = []

    def look() -> None:
        try:
            assert output_of(output) == expected
        except (ConversionInProgress, NotADataset) as error:
            seen.append(str(error).split("; ")[0].split(": ")[1])
        else:
            seen.append("whole")

    slaf.convert(source, WatchedStorage(output, look), **OPTIONS)
    changes = [now for before, now in zip(["", *seen], seen, strict=False) if now != before]
    missing = "not a SLAF dataset (it does not exist)"
    empty = "not a SLAF dataset (it has no config.json)"
    parts = [f"conversion in progress, {done} of 3 parts" for done in range(4)]
    assert changes == [missing, empty, *parts, "whole"]


def test_a_dataset_is_replaced_at_once(source: Path, tmp_path: Path) -> None:
    """While a dataset is replaced the older one is there, and proves itself, until it is not."""
    output = tmp_path / "out.slaf"
    slaf.convert(write_h5ad(tmp_path / "old.h5ad", counts(9, 5, seed=1)), output, **OPTIONS)
    older = output_of(output)
    slaf.convert(source, tmp_path / "whole.slaf", **OPTIONS)
    newer = output_of(tmp_path / "whole.slaf")
    seen: list[str] = []

    def look() -> None:
        slaf.verify(output)
        now = output_of(output)
        seen.append("older" if now == older else "newer" if now == newer else "neither")

    slaf.convert(source, WatchedStorage(output, look), overwrite=True, **OPTIONS)
    assert seen == sorted(seen, reverse=True)
    assert set(seen) == {"older", "newer"}


def test_a_reader_of_what_was_replaced(source: Path, tmp_path: Path) -> None:
    """Who opened a dataset before it was replaced reads that one, or is told; never a mixture."""
    output = tmp_path / "out.slaf"
    slaf.convert(write_h5ad(tmp_path / "old.h5ad", counts(12, 6, seed=1)), output)
    before = slaf.open(output)
    genes = before.genes
    slaf.convert(source, output, overwrite=True)
    assert before.genes == genes
    with pytest.raises(DamagedDataset):
        before[[0, 5]].X.to_memory()


def test_one_version_of_each_table(source: Path, tmp_path: Path) -> None:
    """Of each table there is one version, which config.json names and any Lance reader opens."""
    output = tmp_path / "out.slaf"
    for _ in range(2):
        slaf.convert(source, output, overwrite=True, **OPTIONS)
    config = json.loads((output / "config.json").read_bytes())
    for name, directory in config["tables"].items():
        table = lance.dataset(str(output / directory))
        assert [version["version"] for version in table.versions()] == [config["versions"][name]]
    assert "checkpoint" not in config


def test_times(source: Path, tmp_path: Path) -> None:
    """A dataset that is replaced keeps the time it was made at, beside that of the change."""
    output = tmp_path / "out.slaf"
    slaf.convert(source, output)
    config = json.loads((output / "config.json").read_bytes())
    long_ago = "2020-01-01T00:00:00+00:00"
    (output / "config.json").write_bytes(
        with_checksum(config | {"created_at": long_ago, "last_updated": long_ago})
    )
    replaced = slaf.convert(source, output, overwrite=True).published
    assert replaced.created_at == long_ago
    assert replaced.last_updated >= config["last_updated"]


class DurableStorage(CrashingStorage):
    """A location that checks, before config.json speaks of files, that they are on disk."""

    def __init__(self, path: Path, synced: dict[int, int]) -> None:
        super().__init__(path)
        self._synced = synced
        self.checked = 0

    @contextmanager
    def mutation(self, action: str, name: str) -> Iterator[None]:
        """Check all files and directories before config.json is put."""
        if (action, name) == ("put", "config.json"):
            for place in [self.path, *self.path.rglob("*")]:
                self._check(place)
        with super().mutation(action, name):
            yield

    def _check(self, place: Path) -> None:
        # What is removed may be removed at leisure; and the lock is gone with its process.
        actions = {effect.action for effect in self.effects}
        unspoken_of = place == self.path and "write" not in actions
        removing = place.is_dir() and actions & {"remove", "clean"}
        if place.name == ".lock" or unspoken_of or removing:
            return
        status = place.stat()
        assert self._synced.get(status.st_ino, 0) >= status.st_mtime_ns, f"{place} is not synced"
        self.checked += 1


def test_durable_before_recorded(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever config.json speaks of is on disk, and so is every directory it is in."""
    synced: dict[int, int] = {}
    fsync = os.fsync

    def noted_fsync(descriptor: int) -> None:
        fsync(descriptor)
        status = os.fstat(descriptor)
        synced[status.st_ino] = status.st_mtime_ns

    monkeypatch.setattr(os, "fsync", noted_fsync)
    storage = DurableStorage(tmp_path / "some" / "where" / "out.slaf", synced)
    slaf.convert(source, storage, **OPTIONS)
    assert storage.checked > 50
    for made in (tmp_path, tmp_path / "some", tmp_path / "some" / "where"):
        assert made.stat().st_ino in synced
    assert published(storage.path) is not None


def test_a_put_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that could not be written whole is the one it was before."""
    place = Location(tmp_path)
    place.put("config.json", b"older")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left"):
            place.put("config.json", b"newer")
    assert place.read("config.json") == b"older"
    place.put("config.json", b"newer")
    assert place.list(".") == ["config.json"]
    assert place.read("config.json") == b"newer"
