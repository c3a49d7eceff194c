"""An export that the disk refuses ends by saying so, and leaves nothing."""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import slaf
from slaf.errors import StorageError
from slaf.targets.hdf5_file import SafeFile
from slaf_cli.report import ExitCode
from tests.builders import counts, write_h5ad

if TYPE_CHECKING:
    from pathlib import Path

# `slaf` where no file may grow beyond so many bytes.
LIMITED = """
import resource, sys
from slaf_cli.app import main
most = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
main()
"""


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("out.h5ad", 50),
        ("out.h5ad", 20_000),
        ("out.h5", 20_000),
        ("out.zarr", 50),
        ("out.soma", 50),
    ],
)
def test_a_file_that_cannot_grow(name: str, most: int, tmp_path: Path) -> None:
    """Whichever write it is that the system refuses, the command says so and exits with 6."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(800, 500))
    slaf.convert(source, tmp_path / "in.slaf")
    (tmp_path / "to").mkdir()
    output = str(tmp_path / "to" / name)
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, str(most), "export", str(tmp_path / "in.slaf"), output],
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == ExitCode.STORAGE, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("slaf: ")
    # TileDB does not always say why.
    assert "File too large" in ended.stderr or "IO Error" in ended.stderr
    assert "Traceback" not in ended.stderr
    # Threads of zarr may write for a moment longer: that is in a hidden folder.
    assert [path.name for path in (tmp_path / "to").iterdir() if path.name[0] != "."] == []


def test_the_rest_is_dropped(tmp_path: Path) -> None:
    """After a refusal HDF5 is told that all is well, and whoever writes what was refused."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    disk = SafeFile(tmp_path / "a")
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        assert disk.write(memoryview(bytes(8))) == 8
        disk.check()
        assert disk.write(memoryview(bytes(8))) == 8
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert disk.write(memoryview(b"later")) == 5
    disk.seek(0)
    assert disk.read(12) == bytes(12)
    for told in (disk.check, lambda: disk.__exit__(None, None, None)):
        with pytest.raises(StorageError, match="File too large"):
            told()
    assert (tmp_path / "a").stat().st_size == 10
