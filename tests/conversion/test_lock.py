"""One process at a time writes to an output, and a dead one is not waited for."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import slaf
from slaf.errors import ConversionInProgress, Locked, OutputExists
from slaf.storage.location import Location
from slaf.testing.crashing import Crash, CrashingStorage, Failure
from tests.builders import counts, write_h5ad
from tests.conversion.outputs import finished_parts, output_of
from tests.conversion.process import KILLED, ConvertingProcess
from tests.conversion.stopped import Conversion

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OPTIONS: dict[str, Any] = {"chunk_size": 3}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An input of four parts."""
    return write_h5ad(tmp_path / "in.h5ad", counts(12, 6))


def test_two_processes(source: Path, tmp_path: Path) -> None:
    """While a process writes, another is refused, changes nothing, and the first one finishes."""
    output = tmp_path / "out.slaf"
    first = ConvertingProcess(source, output, OPTIONS, hold_after=3)
    first.go()
    assert first.says() == "held"
    config, parts = (output / "config.json").read_bytes(), finished_parts(output)
    assert set(parts) == {0, 1}
    for options in (OPTIONS, {**OPTIONS, "restart": True}, {**OPTIONS, "overwrite": True}):
        with pytest.raises(Locked, match="another process is writing here"):
            slaf.convert(source, output, **options)
    second = ConvertingProcess(source, output, OPTIONS)
    second.go()
    assert second.says() == "Locked"
    assert second.wait() == 0
    assert (output / "config.json").read_bytes() == config
    assert finished_parts(output) == parts
    assert (output / ".lock").exists()
    with pytest.raises(ConversionInProgress):
        slaf.open(output)
    first.go()
    assert first.says() == "done"
    conversion = Conversion(source, OPTIONS)
    assert output_of(output) == conversion.uninterrupted(tmp_path / "whole.slaf")


def test_two_processes_replace(source: Path, tmp_path: Path) -> None:
    """While a dataset is replaced it can be read, and not be replaced by another process too."""
    output = tmp_path / "out.slaf"
    slaf.convert(source, output)
    old = output_of(output)
    first = ConvertingProcess(source, output, {**OPTIONS, "overwrite": True}, hold_after=2)
    first.go()
    assert first.says() == "held"
    with pytest.raises(Locked):
        slaf.convert(source, output, overwrite=True)
    assert output_of(output) == old
    slaf.verify(output, against=source)
    first.go()
    assert first.says() == "done"
    assert output_of(output) != old


def test_killed_process(source: Path, tmp_path: Path) -> None:
    """The lock of a process that was killed does not stop the next one."""
    output = tmp_path / "out.slaf"
    first = ConvertingProcess(source, output, OPTIONS, hold_after=3)
    first.go()
    assert first.says() == "held"
    first.kill()
    assert first.wait() == KILLED
    assert (output / ".lock").exists()
    assert set(finished_parts(output)) == {0, 1}
    conversion = Conversion(source, OPTIONS)
    conversion.finish(output, conversion.uninterrupted(tmp_path / "whole.slaf"))


def test_two_threads(source: Path, tmp_path: Path) -> None:
    """Threads of one process are as separate as processes."""
    with Location(tmp_path / "out.slaf").lock():
        with pytest.raises(Locked):
            slaf.convert(source, tmp_path / "out.slaf")
        refused = []
        thread = threading.Thread(target=lambda: refused.append(_refused(source, tmp_path)))
        thread.start()
        thread.join()
        assert refused == [True]


def _refused(source: Path, folder: Path) -> bool:
    try:
        slaf.convert(source, folder / "out.slaf")
    except Locked:
        return True
    return False


def test_nothing_is_left(tmp_path: Path) -> None:
    """A lock leaves nothing at a place where nothing was."""
    place = Location(tmp_path / "out.slaf")
    with place.lock():
        assert (place.path / ".lock").exists()
    assert not place.exists()


def test_an_empty_directory_stays(tmp_path: Path) -> None:
    """A directory that was empty before the lock is empty after it."""
    with Location(tmp_path).lock():
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_was_written_stays(tmp_path: Path) -> None:
    """What was written under the lock is there after it, without the lock."""
    place = Location(tmp_path / "out.slaf")
    with place.lock():
        place.put("a", b"1")
    assert place.list(".") == ["a"]


def test_a_put_that_was_stopped_is_nothing(tmp_path: Path) -> None:
    """Half a file that a killed process left under another name goes with the lock."""
    place = Location(tmp_path / "out.slaf")
    place.mkdir()
    (place.path / ".config.json.new").write_bytes(b"{")
    assert place.is_empty()
    with place.lock():
        pass
    assert not place.exists()


def test_a_lock_that_is_not_ours(source: Path, tmp_path: Path) -> None:
    """A file called .lock in a directory of something else is not touched."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".lock").touch()
    (tmp_path / "out" / "notes.txt").touch()
    with pytest.raises(OutputExists):
        slaf.convert(source, tmp_path / "out", overwrite=True)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {".lock", "notes.txt"}


def test_the_lock_is_released_when_the_run_fails(tmp_path: Path) -> None:
    """Whatever ends a run, even a failure to remove the lock's file, the lock is free."""
    for at in range(3):
        for failure in (Failure.CRASH, Failure.FULL):
            place = CrashingStorage(tmp_path / f"{at}-{failure}", at, failure=failure)
            with pytest.raises((Crash, OSError)), place.lock():
                pass
            with Location(place.path).lock():
                pass


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_directory_that_cannot_be_written(source: Path, tmp_path: Path) -> None:
    """A directory without the right to write is reported as such, not as locked."""
    tmp_path.chmod(0o500)
    with pytest.raises(slaf.StorageError, match="cannot"):
        slaf.convert(source, tmp_path / "out.slaf")
    tmp_path.chmod(0o700)


class Removed(Location):
    """A directory that another process removes just before its lock is taken, once."""

    removed = False

    @contextmanager
    def mutation(self, action: str, name: str) -> Iterator[None]:
        """Remove it, as whoever made it and found it empty does."""
        if action == "lock" and not self.removed:
            self.removed = True
            self.path.rmdir()
        with super().mutation(action, name):
            yield


def test_a_directory_that_goes_meanwhile(tmp_path: Path) -> None:
    """Of two processes one may remove the directory that the other is about to lock."""
    location = Removed(tmp_path / "out.slaf")
    with location.lock():
        assert location.is_locked()
    assert location.removed
    assert not location.path.exists()
