"""An output that is an input, or lies in one."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pytest

import slaf
from slaf.errors import OutputExists
from tests.builders import counts, write_h5ad

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an input, and a dataset of it."""
    folder = tmp_path_factory.mktemp("made")
    write_h5ad(folder / "in.h5ad", counts(4, 3))
    slaf.convert(folder / "in.h5ad", folder / "in.slaf")
    return folder


RUNS: dict[str, Callable[[Any, str], object]] = {
    "convert": lambda what, place: slaf.convert(what, place, overwrite=True),
    "transform": lambda what, place: slaf.transform(what, place, log1p=True, overwrite=True),
    "aggregate": lambda what, place: slaf.aggregate(what, place, by="batch", overwrite=True),
    "append": lambda what, place: slaf.append(what, place, allow_duplicate=True),
    "export": lambda what, place: slaf.export(what, place, overwrite=True),
    "copy": lambda what, place: slaf.copy(what, place, overwrite=True),
}
# Of each run what it takes, and where it would write.
CASES = [
    *(("path", run, "in.slaf") for run in ("convert", "transform", "aggregate", "append", "copy")),
    *(("path", run, "in.h5ad") for run in ("aggregate", "transform")),
    *(("view", run, "in.slaf") for run in ("convert", "aggregate", "append")),
    *(("scan", run, "in.h5ad") for run in ("export", "aggregate")),
    *(("several", run, "in.h5ad") for run in ("export", "aggregate")),
    *(("several", run, "in.slaf") for run in ("convert", "aggregate")),
    *(("path", run, "in.slaf/new") for run in ("convert", "transform", "copy")),
    *(("view", run, "in.slaf/new.h5ad") for run in ("export", "aggregate")),
]


def taken(kind: str, folder: Path, place: str) -> Any:
    """What a run takes: a path, a view of a dataset, a scan, or views end to end."""
    if kind == "path":
        return folder / place.partition("/")[0]
    scan, view = slaf.scan(folder / "in.h5ad")[:2], slaf.open(folder / "in.slaf").log1p()[1:]
    return {"view": view, "scan": scan, "several": slaf.concat([scan, view])}[kind]


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_an_input_is_never_the_output(
    case: tuple[str, str, str], made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever reads it, and by whatever path, it is refused and stays as it is."""
    kind, run, place = case
    folder = tmp_path / "made"
    shutil.copytree(made, folder)
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    what = taken(kind, folder, place)
    for output in (place, f"../made/./{place}", f"../link/{place}"):
        monkeypatch.chdir(folder)
        with pytest.raises(OutputExists, match=r"output and an input|in the dataset"):
            RUNS[run](what, output)
    assert (folder / "in.h5ad").read_bytes() == (made / "in.h5ad").read_bytes()
    assert slaf.verify(folder / "in.slaf", folder / "in.h5ad").ok
    assert {path.name for path in folder.iterdir()} == {"in.h5ad", "in.slaf"}


def test_what_is_in_memory_lies_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An AnnData in memory forbids no name of an output."""
    monkeypatch.chdir(tmp_path)
    adata = anndata.AnnData(np.eye(3, 2))
    for name in ("AnnData", "<AnnData>"):
        assert slaf.convert(adata, name).shape == (3, 2)
    with slaf.scan(adata) as view:
        assert slaf.export(view, "<AnnData>.h5ad").n_cells == 3
