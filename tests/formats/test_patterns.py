"""Inputs that are named by a pattern are those that match it, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import slaf
from slaf.errors import NoSuchInput
from tests.builders import counts, write_h5ad
from tests.cli.terminal import run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Three samples in two folders, and what is none."""
    for at, name in enumerate(["one/a.h5ad", "one/b.h5ad", "two/c.h5ad", "one/.hidden.h5ad"]):
        path = tmp_path / "runs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_h5ad(path, counts(3, 4, seed=at))
    (tmp_path / "runs" / "one" / "notes.txt").write_text("none")
    return tmp_path / "runs"


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("one/*.h5ad", ["a", "b"]),
        ("*/*.h5ad", ["a", "b", "c"]),
        ("*/[bc].h5ad", ["b", "c"]),
        ("t?o", ["c"]),
        ("*/a.h5ad", ["a"]),
        ("one/.h*", [".hidden"]),
    ],
)
def test_a_pattern_stands_for_what_matches(
    pattern: str, names: list[str], samples: Path, tmp_path: Path
) -> None:
    """In names of files and of folders; what is hidden only if it is asked for."""
    # Their cells have the same ids.
    ds = slaf.convert(str(samples / pattern), tmp_path / "out.slaf", allow_duplicate=True)
    found = [source.uri.rpartition("/")[2].removesuffix(".h5ad") for source in ds.sources]
    assert found == names
    slaf.verify(ds, against=str(samples / pattern))


def test_what_exists_is_meant(samples: Path, tmp_path: Path) -> None:
    """A file whose name reads like a pattern is that file."""
    (samples / "one" / "a.h5ad").rename(samples / "one" / "[b].h5ad")
    ds = slaf.convert(str(samples / "one" / "[b].h5ad"), tmp_path / "out.slaf")
    assert [source.uri for source in ds.sources] == [str(samples / "one" / "[b].h5ad")]


def test_nothing_matches(samples: Path, tmp_path: Path) -> None:
    """A pattern that nothing matches is refused, and nothing is written."""
    with pytest.raises(NoSuchInput, match="nothing matches this pattern"):
        slaf.convert(str(samples / "*" / "*.h5"), tmp_path / "out.slaf")
    ended = run("convert", f"{samples}/three/*", tmp_path / "out.slaf")
    assert ended.code == 3
    assert "nothing matches this pattern" in ended.err
    assert not (tmp_path / "out.slaf").exists()
