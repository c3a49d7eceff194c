"""Removing inputs from a dataset: names, refusals, resuming, repairs and what follows."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
import pytest

import slaf
from slaf.errors import DamagedDataset, SelectionError, UnfinishedRun
from slaf.format.schema import CELLS, EXPRESSION
from slaf.testing.crashing import Crash, CrashingStorage, Moment
from tests.builders import counts, write_h5ad
from tests.cli.terminal import run
from tests.conversion.outputs import output_of, unaccounted
from tests.conversion.stopped import points
from tests.faults.operations import removal

if TYPE_CHECKING:
    from pathlib import Path

    from slaf.dataset.dataset import Dataset

N, M = 6, 5


def sample(folder: Path, name: str, seed: int) -> Path:
    """An input in a folder of its own, with a column that names its sample."""
    (folder / name).mkdir()
    matrix = counts(N, M, seed=seed)
    adata = anndata.AnnData(matrix, pd.DataFrame(index=[f"{name}-{at}" for at in range(N)]))
    adata.var_names = [f"gene-{gene}" for gene in range(M)]
    adata.obs["sample"] = pd.Categorical([f"donor {name}"] * N)
    adata.write_h5ad(folder / name / "matrix.h5ad")
    return folder / name / "matrix.h5ad"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three inputs of one name, in folders of their own."""
    folder = tmp_path_factory.mktemp("remove")
    return [sample(folder, name, seed) for seed, name in enumerate("abc")]


@pytest.fixture(scope="module")
def whole(inputs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A dataset of the three."""
    path = tmp_path_factory.mktemp("whole") / "out.slaf"
    slaf.convert(inputs[:2], path, chunk_size=2)
    return slaf.append(inputs[2], path, chunk_size=2)


@pytest.fixture
def dataset(whole: Dataset, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(whole.location.path, tmp_path / "out.slaf")


@pytest.mark.parametrize("name", ["b/matrix.h5ad", "donor b", "path"])
def test_an_input_has_names(dataset: Path, inputs: list[Path], name: str) -> None:
    """An input is named by its column source_file, its sample, or its path."""
    made = slaf.remove(dataset, str(inputs[1]) if name == "path" else name)
    assert [source.uri for source in made.sources] == [str(inputs[0]), str(inputs[2])]
    assert [source.offset for source in made.sources] == [0, N]
    assert made.obs_names.tolist() == [f"{x}-{at}" for x in "ac" for at in range(N)]
    files = made.table(CELLS).to_table(["source_file"]).column(0).to_pylist()
    assert files == ["a/matrix.h5ad"] * N + ["c/matrix.h5ad"] * N
    assert slaf.verify(made, against=[inputs[0], inputs[2]]).ok
    assert not unaccounted(dataset)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("b/matrix.h5", "no input is called 'b/matrix.h5'; the nearest is b/matrix.h5ad"),
        ("donor x", "the nearest is donor"),
        ("matrix.h5ad", "'matrix.h5ad' stands for several inputs; name one by its path"),
        (["donor a", "donor b", "donor c"], "no input would stay"),
        ([], "no input is named"),
    ],
)
def test_refusals_change_nothing(dataset: Path, name: str | list[str], message: str) -> None:
    """Unknown and ambiguous names, and all inputs, are refused, with what there is."""
    before = output_of(dataset)
    with pytest.raises(SelectionError, match=message):
        slaf.remove(dataset, name)
    assert output_of(dataset) == before


def test_only_rows_behind_the_gap_are_written(dataset: Path, whole: Dataset) -> None:
    """The data files of the cells before the gap stay, and those behind it are new."""
    made = slaf.remove(dataset, "donor b")
    before, after = (
        [file.path for part in one.table(EXPRESSION).get_fragments() for file in part.data_files()]
        for one in (whole, made)
    )
    assert after[:2] == before[:2]
    assert not {*after[2:]} & {*before}
    last = slaf.remove(dataset, "donor c")
    assert slaf.verify(last).ok
    left = [f.path for p in last.table(EXPRESSION).get_fragments() for f in p.data_files()]
    assert left == before[:2]


def test_it_is_the_dataset_of_the_others(dataset: Path, inputs: list[Path], tmp_path: Path) -> None:
    """What stays equals a conversion of the other inputs, and is recorded in its history."""
    made = slaf.remove(dataset, "donor a")
    others = slaf.convert(inputs[1:], tmp_path / "others.slaf", chunk_size=2)
    assert made.published.blocks == others.published.blocks
    assert made.published.metadata.expression_count == others.published.metadata.expression_count
    statistics = [one.published.expression_stats for one in (made, others)]
    assert statistics[0] == pytest.approx(statistics[1])
    assert [one.operation for one in slaf.history(made.location)] == ["convert", "append", "remove"]
    again = slaf.append(inputs[0], made.location)
    assert again.shape == (3 * N, M)
    assert slaf.verify(again, against=[inputs[1], inputs[2], inputs[0]]).ok


def test_what_was_removed_is_none_to_remove(dataset: Path) -> None:
    """The same call again ends well, and changes nothing."""
    before = slaf.remove(dataset, "b/matrix.h5ad").published
    assert slaf.remove(dataset, "b/matrix.h5ad").published == before


def test_another_removal_does_not_finish_it(dataset: Path) -> None:
    """A removal that was stopped is finished by the same call, and not by one of another input."""
    with pytest.raises(Crash):
        slaf.remove(CrashingStorage(dataset, 6), "donor a")
    with pytest.raises(UnfinishedRun, match=r"inputs that stay was .*b/matrix\.h5ad"):
        slaf.remove(dataset, "donor b")
    assert slaf.remove(dataset, "donor a").obs_names[0] == "b-0"


@pytest.mark.parametrize("most", [2, pytest.param(None, marks=pytest.mark.slow)])
def test_crashes(tmp_path: Path, most: int | None) -> None:
    """Stopped at any effect readers see all of it or what was there; the same call ends well."""
    conversion = removal(tmp_path)
    expected = conversion.uninterrupted(tmp_path / "whole.slaf")
    recorder = CrashingStorage(conversion.prepare(tmp_path / "recorded.slaf"))
    conversion.run(recorder)
    for at in points(len(recorder.effects), most, "remove"):
        for moment in Moment if most is None else [Moment.BEFORE]:
            path = conversion.prepare(tmp_path / f"{at}-{moment.name}.slaf")
            with pytest.raises(Crash):
                conversion.run(CrashingStorage(path, at, moment))
            conversion.check_stopped(path, expected)
            conversion.finish(path, expected)


def test_rows_are_repaired(dataset: Path, inputs: list[Path]) -> None:
    """Damaged rows are made again from the inputs that stay; a table of cells is not."""
    made = slaf.remove(dataset, "donor a")
    files = [file.file for file in made.published.checksums.files]
    data = [name for name in files if name.startswith("expression.lance/data/")]
    (dataset / data[-1]).write_bytes(b"damaged")
    slaf.repair(dataset, inputs[1:])
    assert slaf.verify(dataset, against=inputs[1:]).ok
    cells = next(name for name in files if name.startswith("cells.lance/data/"))
    (dataset / cells).write_bytes(b"damaged")
    with pytest.raises(DamagedDataset, match="cells cannot be made again, for inputs were removed"):
        slaf.repair(dataset, inputs[1:])


def test_rows_that_are_damaged_are_not_written_again(dataset: Path) -> None:
    """Rows that differ from their digests are refused, and the dataset stays as it was."""
    config = json.loads((dataset / "config.json").read_bytes())
    config["blocks"][-1]["digest"] = "0" * 32
    del config["digest"]
    (dataset / "config.json").write_text(json.dumps(config))
    with pytest.raises(DamagedDataset, match="are not what was written"):
        slaf.remove(dataset, "donor a")
    assert "checkpoint" not in json.loads((dataset / "config.json").read_bytes())
    assert slaf.open(dataset).shape == (3 * N, M)


def test_genes_and_layers_stay(tmp_path: Path) -> None:
    """Genes and a layer that only the removed input has stay, without values."""
    first = write_h5ad(tmp_path / "first.h5ad", counts(4, 3))
    second = write_h5ad(
        tmp_path / "second.h5ad", counts(5, 5, seed=1), layers={"own": counts(5, 5)}
    )
    slaf.convert([second, first], tmp_path / "out.slaf", join="union", layers="all")
    made = slaf.remove(tmp_path / "out.slaf", "second.h5ad")
    assert made.shape == (4, 5)
    assert made.genes_present(0).tolist() == [True] * 3 + [False] * 2
    assert made.layers["own"].nnz == 0
    assert np.array_equal(made[:, :3].X.to_memory().toarray(), counts(4, 3).toarray())
    assert slaf.verify(made, against=first).ok
    assert made.to_anndata().shape == (4, 5)


def test_the_command(dataset: Path) -> None:
    """`slaf remove` removes inputs by name, and prints what is left as JSON."""
    printed = run("remove", dataset, "--source", "donor a", "--source", "donor c", "--json").json
    assert (printed["n_cells"], printed["version"], len(printed["removed"])) == (N, 3, 2)
    assert "no input is called" in run("remove", dataset, "--source", "nobody").failed(3)
