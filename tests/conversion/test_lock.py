"""One process at a time writes to an output, and the lock of a dead one does not count."""

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
    """A second process that writes is refused and changes nothing; the first one finishes."""
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
    """A dataset that is being replaced can be read, but no other process can replace it."""
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
    """The lock of a thread excludes the other threads of its process."""
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
    """A lock leaves no directory where none was before."""
    location = Location(tmp_path / "out.slaf")
    with location.lock():
        assert (location.path / ".lock").exists()
    assert not location.exists()


def test_an_empty_directory_stays(tmp_path: Path) -> None:
    """A directory that was empty before the lock is empty after it."""
    with Location(tmp_path).lock():
        pass
    assert list(tmp_path.iterdir()) == []


def test_written_files_stay(tmp_path: Path) -> None:
    """Files that were written under the lock stay after it, without the lock."""
    location = Location(tmp_path / "out.slaf")
    with location.lock():
        location.put("a", b"1")
    assert location.list(".") == ["a"]


def test_an_unfinished_put_does_not_count(tmp_path: Path) -> None:
    """A temporary file of a killed process is removed with the lock."""
    location = Location(tmp_path / "out.slaf")
    location.mkdir()
    (location.path / ".config.json.new").write_bytes(b"{")
    assert location.is_empty()
    with location.lock():
        pass
    assert not location.exists()


def test_a_lock_file_of_another_program(source: Path, tmp_path: Path) -> None:
    """A file called .lock in a directory of something else is not touched."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".lock").touch()
    (tmp_path / "out" / "notes.txt").touch()
    with pytest.raises(OutputExists):
        slaf.convert(source, tmp_path / "out", overwrite=True)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {".lock", "notes.txt"}


def test_the_lock_is_released_when_the_run_fails(tmp_path: Path) -> None:
    """The lock is free after any end of a run, even a failure to remove its file."""
    for at in range(3):
        for failure in (Failure.CRASH, Failure.FULL):
            location = CrashingStorage(tmp_path / f"{at}-{failure}", at, failure=failure)
            with pytest.raises((Crash, OSError)), location.lock():
                pass
            with Location(location.path).lock():
                pass


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_directory_that_cannot_be_written(source: Path, tmp_path: Path) -> None:
    """A directory without write permission is reported as such, not as locked."""
    tmp_path.chmod(0o500)
    with pytest.raises(slaf.StorageError, match="cannot"):
        slaf.convert(source, tmp_path / "out.slaf")
    tmp_path.chmod(0o700)


class Removed(Location):
    """A directory that another process removes once, just before it is locked."""

    removed = False

    @contextmanager
    def mutation(self, action: str, name: str) -> Iterator[None]:
        """Remove the directory, as the process that made it does if it is empty."""
        if action == "lock" and not self.removed:
            self.removed = True
            self.path.rmdir()
        with super().mutation(action, name):
            yield


def test_a_directory_that_is_removed_meanwhile(tmp_path: Path) -> None:
    """A directory that another process removes before it is locked is made again."""
    location = Removed(tmp_path / "out.slaf")
    with location.lock():
        assert location.is_locked()
    assert location.removed
    assert not location.path.exists()
