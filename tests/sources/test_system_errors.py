"""Files that the system refuses, and files of other programs, each with what helps."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

import slaf
from slaf.errors import DamagedInput, StorageError, UnknownFormat
from slaf.sources.hdf5.file import errors_as_damaged_input
from tests.builders import counts, write_h5ad

if TYPE_CHECKING:
    from pathlib import Path

HOLD = "import h5py, sys; f = h5py.File(sys.argv[1], 'r+'); print('open', flush=True); input()"


def test_a_locked_file_is_a_storage_error(tmp_path: Path) -> None:
    """A file that another program has open for writing is refused with what helps."""
    path = write_h5ad(tmp_path / "in.h5ad", counts(3, 2))
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        try:
            with pytest.raises(StorageError, match=r"close it there.*HDF5_USE_FILE_LOCKING=FALSE"):
                slaf.convert(path, tmp_path / "out.slaf")
        finally:
            holder.communicate("\n", timeout=60)
    assert slaf.convert(path, tmp_path / "out.slaf").shape == (3, 2)


def test_too_many_open_files_are_a_storage_error(tmp_path: Path) -> None:
    """Where no descriptor is left, the limit is named, not damage."""
    path = write_h5ad(tmp_path / "in.h5ad", counts(3, 2))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    slaf.info(path)  # what is imported at first has been opened
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        with pytest.raises(StorageError, match="ulimit -n"):
            slaf.info(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EIO, "the disk or its network failed"),
        (errno.ESTALE, "run the same command again"),
        (errno.ENOSPC, "make room"),
    ],
)
def test_refusals_in_the_text_of_hdf5(number: int, remedy: str) -> None:
    """A read that the system refuses is a storage error; other failures are damage."""
    text = f"Can't read data (file read failed: errno = {number}, error message = '…', buf = 0x1)"
    with pytest.raises(StorageError, match=remedy) as caught, errors_as_damaged_input("a.h5ad"):
        raise OSError(text)
    assert caught.value.errno == number
    with pytest.raises(DamagedInput, match="copy it again"), errors_as_damaged_input("a.h5ad"):
        raise OSError("Can't read data (wrong B-tree signature)")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("cells.rds", "anndataR::write_h5ad"),
        ("cells.csv", "read_csv"),
        ("matrix.tar.gz", r"tar -xf .*matrix\.tar\.gz"),
        ("cells.h5seurat", "SeuratDisk::Convert"),
        ("cells.parquet", "read_parquet"),
    ],
)
def test_files_of_other_programs(tmp_path: Path, name: str, remedy: str) -> None:
    """A file of R, text or an archive is refused with what to run, not with the list of formats."""
    path = tmp_path / name
    path.write_bytes(b"anything")
    if ".tar" in name:
        with tarfile.open(path, "w:gz") as archive:
            archive.add(__file__)
    with pytest.raises(UnknownFormat, match=remedy) as caught:
        slaf.convert(path, tmp_path / "out.slaf")
    assert "10x_h5" not in str(caught.value)


def test_an_empty_file(tmp_path: Path) -> None:
    """An empty file is damage, which a copy mends."""
    (tmp_path / "in.h5ad").touch()
    with pytest.raises(DamagedInput, match="the file is empty; copy it again"):
        slaf.convert(tmp_path / "in.h5ad", tmp_path / "out.slaf")
