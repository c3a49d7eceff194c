"""Work in a forked process is refused at once; processes that are spawned work."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import slaf
from tests.builders import counts, write_h5ad

if TYPE_CHECKING:
    from pathlib import Path

_CODE = """
import multiprocessing, os, sys, warnings
import slaf
warnings.simplefilter("ignore")
SQL = "SELECT COUNT(*) AS n FROM expression"

def work(what):
    try:
        return str(LOOKS[what]())
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def start(path):
    global LOOKS
    ds = slaf.open(path)
    lazy = ds.lazy()
    LOOKS = {
        "open": lambda: slaf.open(path),
        "scan": lambda: slaf.scan(path),
        "sql": lambda: ds.sql(SQL)["n"][0],
        "filter": lambda: ds["batch = 'b1'"].n_obs,
        "X": lambda: ds.X[:2].nnz,
        "obs": lambda: len(ds.obs),
        "obsm": lambda: ds.to_anndata(),
        "lazy": lambda: ds.lazy(),
        "convert": lambda: slaf.convert(path, path + ".again"),
    }
    return ds

if __name__ == "__main__":
    method, path = sys.argv[1:]
    ds = start(path)
    print(ds.sql(SQL)["n"][0], ds.X[:2].nnz)
    context = multiprocessing.get_context(method)
    options = {} if method == "fork" else {"initializer": start, "initargs": (path,)}
    with context.Pool(2, **options) as pool:
        names = list(LOOKS) if method == "fork" else ["sql", "X", "obs"]
        for name, answer in zip(names, pool.map_async(work, names).get(60)):
            print(name, answer)
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset."""
    top = tmp_path_factory.mktemp("forks")
    slaf.convert(write_h5ad(top / "in.h5ad", counts(9, 5)), top / "out.slaf")
    (top / "work.py").write_text(_CODE)
    return top / "out.slaf"


def answers(method: str, dataset: Path) -> dict[str, str]:
    """What the workers that a process starts by this method answer."""
    ran = subprocess.run(
        [sys.executable, str(dataset.with_name("work.py")), method, str(dataset)],
        check=True,
        capture_output=True,
        text=True,
        timeout=200,
    )
    first, *lines = ran.stdout.splitlines()
    assert first.split()[0] != "0"
    return dict(line.split(" ", 1) for line in lines)


def test_a_forked_process(dataset: Path) -> None:
    """Whatever opens, reads or writes in a forked process raises at once, and says spawn."""
    found = answers("fork", dataset)
    assert len(found) == 9
    for name, answer in found.items():
        assert answer.startswith("ForkedProcess: "), (name, answer)
        assert "spawn" in answer


def test_a_spawned_process(dataset: Path) -> None:
    """A spawned process reads what the first one reads."""
    found = answers("spawn", dataset)
    ds = slaf.open(dataset)
    assert found == {"sql": str(ds.nnz), "X": str(ds.X[:2].nnz), "obs": "9"}
