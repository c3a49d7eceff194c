"""An export that meets a disk error reports it, and leaves nothing."""

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
from tests.sources.reads import M, Read, write_reads

if TYPE_CHECKING:
    from pathlib import Path

# `slaf` with a limit for the size of files.
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
def test_a_file_at_the_size_limit(name: str, most: int, tmp_path: Path) -> None:
    """Whichever write fails, the command reports it and exits with 6."""
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
    # TileDB does not always give the reason.
    assert "File too large" in ended.stderr or "IO Error" in ended.stderr
    assert "Traceback" not in ended.stderr
    # Threads of zarr may write for a moment longer: that is in a hidden folder.
    assert [path.name for path in (tmp_path / "to").iterdir() if path.name[0] != "."] == []


@pytest.mark.parametrize("percent", [10, 90])
def test_a_bigwig_at_the_size_limit(percent: int, tmp_path: Path) -> None:
    """Whether pybigtools panics or leaves a part of the file, the command exits with 6."""
    reads = [Read(0, 9 * at, ((M, 5 + at % 7),)) for at in range(3000)]
    source = write_reads(tmp_path / "in.bam", reads, [("chr1", 30_000)])
    slaf.convert(source, tmp_path / "in.slaf")
    slaf.export(tmp_path / "in.slaf", tmp_path / "whole", format="bigwig")
    most = (tmp_path / "whole" / "in.bw").stat().st_size * percent // 100
    words = ["export", str(tmp_path / "in.slaf"), str(tmp_path / "out"), "--format", "bigwig"]
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, str(most), *words],
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == ExitCode.STORAGE, ended.stderr
    last = ended.stderr.splitlines()[-1]
    assert "in.bw: it is not whole on the disk; make room, and export again" in last
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "out").exists()


def test_data_after_an_error_is_dropped(tmp_path: Path) -> None:
    """After a write error HDF5 sees no further error, and `check` raises the first one."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    disk = SafeFile(tmp_path / "a")
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        assert disk.write(memoryview(bytes(8))) == 8
        disk.check()
        assert disk.write(memoryview(bytes(8))) == 8
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert disk.write(memoryview(b"later")) == 5
    disk.seek(0)
    content = bytearray(b"x" * 12)
    assert disk.readinto(memoryview(content)) == 12
    assert content == bytes(12)
    for check in (disk.check, lambda: disk.__exit__(None, None, None)):
        with pytest.raises(StorageError, match="File too large"):
            check()
    assert (tmp_path / "a").stat().st_size == 10
