"""An installation without extras converts, and names the extra of a missing package."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

import h5py
import hdf5plugin
import pytest

import slaf
from slaf.errors import MissingPackage
from slaf.runtime.extras import require
from tests.builders import counts, write_h5ad

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EXTRAS = {
    "boto3": "s3",
    "hdf5plugin": "plugins",
    "obstore": "cloud",
    "pybigtools": "bam",
    "pysam": "bam",
    "tiledbsoma": "soma",
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An h5ad."""
    return write_h5ad(tmp_path / "in.h5ad", counts(5, 4))


@pytest.fixture
def plain(source: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The h5ad, where no package of an extra can be imported."""
    for package in (*EXTRAS, "dask", "scanpy", "torch"):
        monkeypatch.setitem(sys.modules, package, None)
    return source


def test_no_extra_is_needed_for_local_files(plain: Path, tmp_path: Path) -> None:
    """A file is converted, read, queried, verified and exported."""
    dataset = slaf.convert(plain, tmp_path / "out.slaf")
    assert dataset.sql("SELECT COUNT(*) FROM cells").item() == 5
    slaf.export(dataset, tmp_path / "back.h5ad")
    assert slaf.verify(dataset, tmp_path / "back.h5ad").ok


def packed(path: Path) -> Path:
    """The h5ad with its values packed by zstd."""
    with h5py.File(path, "r+") as file:
        values = file["X/data"][:]
        del file["X/data"]
        file["X"].create_dataset("data", data=values, chunks=True, **hdf5plugin.Zstd())
    return path


def reads(path: Path) -> Path:
    """A file that begins as SAM does."""
    made = path.with_name("reads.sam")
    made.write_text("@HD\tVN:1.6\n")
    return made


def experiment(path: Path) -> Path:
    """A folder that looks like a TileDB-SOMA experiment."""
    made = path.with_name("experiment")
    (made / "__group").mkdir(parents=True)
    return made


@pytest.mark.parametrize(
    ("package", "use"),
    [
        ("hdf5plugin", lambda path: slaf.convert(packed(path), path.with_name("out.slaf"))),
        ("tiledbsoma", lambda path: slaf.info(experiment(path))),
        ("pysam", lambda path: slaf.info(reads(path))),
        ("obstore", lambda path: slaf.convert(path, "s3://bucket/out.slaf")),
        ("obstore", lambda _: slaf.info("https://example.org/in.h5ad")),
    ],
    ids=["filter", "experiment", "reads", "bucket", "web"],
)
def test_a_missing_package_is_named_with_its_extra(
    source: Path, package: str, use: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has the purpose, the package, and the line that installs it."""
    monkeypatch.setitem(sys.modules, package, None)
    line = rf"needs {package}, .*: pip install 'slaf\[{EXTRAS[package]}\]'"
    with pytest.raises(MissingPackage, match=line):
        use(source)


@pytest.mark.parametrize("name", ["out.soma", "out.h5ad"])
def test_an_export_names_the_extra(
    source: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export in a format or compression of an extra is refused, and leaves nothing."""
    dataset = slaf.convert(source, tmp_path / "out.slaf")
    for package in ("tiledbsoma", "hdf5plugin"):
        monkeypatch.setitem(sys.modules, package, None)
    compression: Literal["zstd"] | None = "zstd" if name == "out.h5ad" else None
    with pytest.raises(MissingPackage, match="pip install"):
        slaf.export(dataset, tmp_path / name, compression=compression)
    assert not list(tmp_path.glob(f"*{name}*"))


def test_a_package_that_is_damaged_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of an import inside the package is not hidden."""
    (tmp_path / "torch.py").write_text("import no_such_library")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        require("torch", "training")
