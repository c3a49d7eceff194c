"""A path names the same dataset for as long as it is open."""

from __future__ import annotations

import errno
import fcntl
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import slaf
from slaf.errors import StorageError
from slaf.storage.location import Location
from tests.builders import counts, write_h5ad

MATRIX = counts(9, 5)


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with an input."""
    monkeypatch.chdir(tmp_path)
    write_h5ad(tmp_path / "in.h5ad", MATRIX)
    return tmp_path


def test_a_relative_path_and_another_directory(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open dataset is read, verified and unpickled after a change of the working directory."""
    dataset = slaf.convert("in.h5ad", "out.slaf")
    assert str(dataset.location) == "out.slaf"
    copy = pickle.dumps(dataset)
    (workdir / "elsewhere").mkdir()
    monkeypatch.chdir(workdir / "elsewhere")
    for same in (dataset, pickle.loads(copy)):  # noqa: S301 - pickled above
        np.testing.assert_array_equal(same.X.to_memory().toarray(), MATRIX.toarray())
        assert slaf.verify(same).ok


@pytest.mark.parametrize("name", ["S1-12:30.slaf", "./a:b", "s3:slaf", "a b%20#?*.slaf"])
def test_names_that_look_like_something_else(name: str, workdir: Path) -> None:
    """A name with the characters of URLs, drives or patterns is a plain name."""
    slaf.convert("in.h5ad", name)
    assert slaf.verify(name, against="in.h5ad").ok
    assert (workdir / name / "config.json").exists()
    assert {path.name for path in workdir.iterdir()} == {"in.h5ad", Path(name).name}


def test_home(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` is the home of the user, in inputs and outputs."""
    home = workdir / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    (workdir / "in.h5ad").rename(home / "in.h5ad")
    slaf.convert("~/in.h5ad", "~/out.slaf")
    assert slaf.verify(home / "out.slaf", against="~/in.h5ad").ok
    slaf.export("~/out.slaf", "~/again.h5ad")
    assert {path.name for path in home.iterdir()} == {"in.h5ad", "out.slaf", "again.h5ad"}
    assert {path.name for path in workdir.iterdir()} == {"home"}


def test_an_empty_path(workdir: Path) -> None:
    """An empty path, as an unset variable of a shell is, is refused."""
    with pytest.raises(StorageError, match="a path is empty"):
        slaf.convert("in.h5ad", "")
    with pytest.raises(StorageError, match="a path is empty"):
        slaf.open("")
    for inputs in ("", ["in.h5ad", ""]):
        with pytest.raises(StorageError, match="a path is empty"):
            slaf.convert(inputs, "out.slaf")
    assert {path.name for path in workdir.iterdir()} == {"in.h5ad"}


def test_a_file_that_is_written_once(tmp_path: Path) -> None:
    """Of two that write a file of one name, the first has written it; nothing else is left."""
    location = Location(tmp_path)
    assert location.put_new("a/b.json", b"first")
    assert not location.put_new("a/b.json", b"second")
    assert location.read("a/b.json") == b"first"
    assert location.list(".") == ["a/b.json"]


def test_many_write_a_file_at_once(tmp_path: Path) -> None:
    """However many write it at one moment, one has."""
    with ThreadPoolExecutor(8) as pool:
        wrote = list(pool.map(lambda n: Location(tmp_path).put_new("a", b"%d" % n), range(40)))
    assert sum(wrote) == 1
    assert Location(tmp_path).read("a") == b"%d" % wrote.index(True)
    assert Location(tmp_path).list(".") == ["a"]


@pytest.mark.parametrize("links", [True, False])
def test_without_links(*, links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are written once, and copied, on file systems that have no hard links too."""
    location = Location(tmp_path)
    if not links:

        def link(*_: object) -> None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", link)
    assert location.put_new("a", b"first")
    assert not location.put_new("a", b"second")
    location.put("b", b"another")
    for _ in range(2):
        location.copy("a", "b")
        assert location.read("b") == b"first"
    assert ((tmp_path / "a").stat().st_ino == (tmp_path / "b").stat().st_ino) == links
    assert location.list(".") == ["a", "b"]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_without_locks(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks is refused by whoever needs one, and named; others go on."""

    def flock(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    location = Location(tmp_path)
    (tmp_path / ".lock").touch()
    monkeypatch.setattr(fcntl, "flock", flock)
    refusal = pytest.raises(StorageError, match=r"has no locks, .* mount it with -o flock")
    with refusal, location.lock():
        pass
    assert not location.is_locked()


def test_the_type_of_a_file_system(tmp_path: Path) -> None:
    """The type of the file system is what the system says, and that of a new directory too."""
    location = Location(tmp_path / "not" / "yet")
    assert location.file_system() == Location(tmp_path).file_system()
    assert location.file_system() or not Path("/proc/self/mountinfo").exists()
