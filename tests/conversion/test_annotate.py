"""Annotating a dataset: alignment, refusals, appends, repairs and crashes."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import slaf
from slaf.errors import InputError, UnfinishedRun
from slaf.testing.crashing import Crash, CrashingStorage
from tests.builders import counts, write_h5ad
from tests.conversion.outputs import output_of, unaccounted
from tests.conversion.stopped import points

if TYPE_CHECKING:
    from pathlib import Path

    from slaf.dataset.dataset import Dataset

N, M = 12, 6
CELLS = [f"cell-{at}" for at in range(N)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An input with a layer, an element of obsm, and uns."""
    return write_h5ad(
        tmp_path_factory.mktemp("annotate") / "in.h5ad",
        counts(N, M),
        layers={"own": counts(N, M, seed=1)},
        obsm={"X_pca": np.ones((N, 2), np.float32)},
        uns={"by": "input"},
    )


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of it, in several parts."""
    path = tmp_path_factory.mktemp("whole") / "out.slaf"
    slaf.convert(source, path, chunk_size=4)
    return path


@pytest.fixture
def dataset(whole: Path, tmp_path: Path) -> Dataset:
    """A copy of it."""
    return slaf.open(shutil.copytree(whole, tmp_path / "out.slaf"))


def test_columns_are_aligned_by_ids(dataset: Dataset) -> None:
    """A table in any order is put to its cells; cells without a row have a missing value."""
    frame = pd.DataFrame({"n": [3, 1], "kind": pd.Categorical(["b", "a"])}, ["cell-3", "cell-1"])
    annotated = dataset.annotate(obs=frame)
    obs = annotated.obs
    assert str(obs["n"].dtype) == "Int64"
    assert obs["n"].dropna().to_dict() == {"cell-1": 1, "cell-3": 3}
    assert obs["kind"].dropna().to_dict() == {"cell-1": "a", "cell-3": "b"}
    assert set(obs["kind"].cat.categories) == {"a", "b"}
    assert list(obs.columns) == ["batch", "depth", "n", "kind"]
    pd.testing.assert_frame_equal(obs[["batch", "depth"]], dataset.obs.copy())


def test_elements_of_some_cells_and_genes(dataset: Dataset) -> None:
    """A result on some cells and genes leaves the others without values."""
    part = dataset.to_anndata()[[5, 2, 7], [4, 0]].copy()
    part.layers["scaled"] = part.X.toarray() * 0.5
    part.obsm["X_umap"] = np.arange(6, dtype=np.float32).reshape(3, 2)
    part.obsp["near"] = sp.csr_matrix(np.eye(3))
    part.varm["PCs"] = np.ones((2, 1))
    part.uns["pca"] = {"variance": np.ones(2)}
    made = dataset.annotate(from_anndata=part)
    expected = np.zeros((N, M))
    expected[np.ix_([5, 2, 7], [4, 0])] = part.layers["scaled"]
    assert np.array_equal(made.layers["scaled"].to_memory().toarray(), expected)
    umap = made.obsm["X_umap"]
    assert np.isnan(umap[0]).all()
    assert np.array_equal(umap[[5, 2, 7]], part.obsm["X_umap"])
    assert made.obsp["near"].nnz == 3
    assert np.isnan(made.varm["PCs"]).sum() == M - 2
    assert made.uns["pca"]["variance"].shape == (2,)
    assert np.array_equal(made.X.to_memory().toarray(), counts(N, M).toarray())
    assert not {"obs:batch", "layer:own", "obsm:X_pca"} & set(made.published.annotated_names)
    assert slaf.verify(made).ok


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"obs": pd.DataFrame({"a": [1]}, ["nobody"])}, "'nobody', which is no cell .* --on"),
        ({"obs": pd.DataFrame({"a": [1, 2]}, ["cell-1"] * 2)}, "'cell-1' several times"),
        ({"obs": {"batch": ["x"] * N}}, "obs:batch with other values; replace with --replace"),
        ({"obs": {"a": [1]}}, "obs:a cannot be a column of 12 rows"),
        ({"obs": {"a": [object()] * N}}, "holds Python objects"),
        ({"obsm": {"a": np.ones((N - 1, 2))}}, "'a' has 11 rows where 12 are needed"),
        ({"layers": {"a": np.ones((N, 2))}}, r"layer:a is of the shape \(12, 2\)"),
        ({"layers": {"own": np.ones((N, M))}}, "layer:own with other values"),
        ({"uns": {"a": object()}}, "which anndata cannot write"),
        ({"drop": "obs:bach"}, "no obs:bach to drop; the nearest is obs:batch"),
        ({"drop": "obs:batch", "obs": {"batch": [1] * N}}, "added and dropped"),
        ({"obs": "nothing.csv"}, "there is no such file"),
    ],
)
def test_refusals_change_nothing(dataset: Dataset, changes: dict[str, Any], message: str) -> None:
    """What cannot be aligned, stored or found is refused by name, and nothing is written."""
    before = output_of(dataset.location.path)
    with pytest.raises(InputError, match=message):
        dataset.annotate(uns={"other": 1} | changes.pop("uns", {}), **changes)
    assert output_of(dataset.location.path) == before
    assert unaccounted(dataset.location.path) == set()


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_repeated_ids_of_the_dataset(tmp_path: Path) -> None:
    """Where ids of the dataset repeat, rows are taken only in the order of all of them."""
    adata = anndata.AnnData(counts(4, 3), obs=pd.DataFrame(index=["a", "a", "b", "c"]))
    dataset = slaf.convert(adata, tmp_path / "out.slaf")
    with pytest.raises(InputError, match="cannot be aligned by id"):
        dataset.annotate(obs=pd.DataFrame({"n": [1, 2]}, ["b", "c"]))
    made = dataset.annotate(obs=pd.DataFrame({"n": range(4)}, ["a", "a", "b", "c"]))
    assert made.obs["n"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_tables_are_read_from_files(dataset: Dataset, tmp_path: Path, suffix: str) -> None:
    """A file gives its ids by the first column, or by the column that `on` names."""
    frame = pd.DataFrame({"barcode": CELLS[::-1], "age": range(N), "name": ["x"] * N})
    path = tmp_path / f"table{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, sep="," if suffix == ".csv" else "\t", index=False)
    made = dataset.annotate(obs=path)
    assert made.obs["age"].tolist() == list(range(N))[::-1]
    reordered = (
        frame[["name", "age", "barcode"]].rename(columns={"age": "years"}).drop(columns="name")
    )
    reordered.to_csv(tmp_path / "other.csv", index=False)
    made = made.annotate(obs=tmp_path / "other.csv", on="barcode")
    assert made.obs["years"].tolist() == made.obs["age"].tolist()
    with pytest.raises(InputError, match="no column 'id' with the ids; there are barcode"):
        made.annotate(obs=frame, on="id")


def test_only_changed_tables_are_written(dataset: Dataset) -> None:
    """A column of obs makes a new version of `cells` alone; the open dataset stays as it is."""
    made = dataset.annotate(obs={"n": range(N)})
    changed = {n for n, v in made.published.versions.items() if v != dataset.published.versions[n]}
    assert changed == {"cells"}
    assert "n" not in dataset.obs


def test_the_version_before_can_be_opened(dataset: Dataset, source: Path) -> None:
    """The version before an annotation stays until the next run, and says its number."""
    path = dataset.location.path
    dataset.annotate(obs={"n": range(N)}, layers={"norm": np.eye(N, M)})
    former = slaf.open(path, version=1)
    assert "n" not in former.obs
    assert slaf.diff(former, source).differences == ()
    assert unaccounted(path) == set()
    slaf.annotate(path, uns={"by": "hand"}, replace=True)
    assert [(v.version, v.operation, v.is_kept) for v in slaf.history(path)] == [
        (1, "convert", False),
        (2, "annotate", True),
        (3, "annotate", True),
    ]
    assert slaf.open(path, version=2).uns == {"by": "input"}
    with pytest.raises(slaf.SelectionError, match="no version 1 to open; there is 2, 3"):
        slaf.open(path, version=1)
    slaf.compact(path, compression="fast")
    assert [version.is_kept for version in slaf.history(path)] == [False, False, False, True]
    assert unaccounted(path) == set()


def test_verify_against_compares_the_rest(dataset: Dataset, source: Path) -> None:
    """What was annotated is not compared with the input; what was not, is."""
    made = dataset.annotate(
        obs={"batch": ["z"] * N}, uns={"by": "hand"}, layers={"own": np.eye(N, M)}, replace=True
    )
    report = slaf.verify(made, against=source)
    assert "but for what was annotated: layer:own, obs:batch, uns:by" in report.checks[-1]
    other = anndata.read_h5ad(source)
    other.obs["depth"] = 1.5
    with pytest.raises(slaf.VerificationFailed, match="depth"):
        slaf.verify(made, against=other)


def test_an_append_keeps_what_was_annotated(dataset: Dataset, source: Path, tmp_path: Path) -> None:
    """New cells have no values in what was annotated; what was dropped stays away."""
    made = dataset.annotate(
        obs={"n": range(N)},
        obsm={"X_umap": np.ones((N, 2))},
        varm={"PCs": np.ones((M, 2))},
        layers={"norm": counts(N, M, seed=4) * 0.5},
        uns={"hand": 1},
        drop=["uns:by", "layer:own"],
    )
    more = write_h5ad(tmp_path / "more.h5ad", counts(5, M + 1, seed=2), uns={"by": "other"})
    made = slaf.append(more, made.location, join="union", cell_id_prefix=True)
    assert slaf.verify(made).ok
    assert slaf.verify(made, against=[source, more]).ok
    assert made.obs["n"].isna().tolist() == [False] * N + [True] * 5
    assert np.isnan(made.obsm["X_umap"]).all(axis=1).tolist() == [False] * N + [True] * 5
    assert np.isnan(made.varm["PCs"]).all(axis=1).tolist() == [False] * M + [True]
    assert list(made.layers) == ["norm"]
    assert made.layers["norm"][N:].nnz == 0
    assert made.uns == {"hand": 1}
    assert made.uns_of(0) == {"by": "input"}
    assert made.to_anndata().shape == made.shape


def test_an_append_takes_nothing_of_the_same_name(
    dataset: Dataset, source: Path, tmp_path: Path
) -> None:
    """What an input has by the name of an annotation, kept or dropped, is not mixed with it."""
    made = dataset.annotate(
        obs={"depth": range(N)},
        var={"length": range(M, 2 * M)},
        obsm={"X_pca": np.ones((N, 2))},
        layers={"norm": counts(N, M, seed=4) * 0.5},
        drop=["obs:batch", "layer:own"],
        replace=True,
    )
    more = write_h5ad(
        tmp_path / "more.h5ad",
        counts(5, M, seed=2),
        obsm={"X_pca": np.full((5, 2), 9.0)},
        layers={"own": counts(5, M), "norm": counts(5, M)},
    )
    made = slaf.append(more, made.location, cell_id_prefix=True)
    assert made.obs["depth"].isna().tolist() == [False] * N + [True] * 5
    assert made.var["length"].tolist() == list(range(M, 2 * M))
    assert "batch" not in made.obs
    assert np.isnan(made.obsm["X_pca"][N:]).all()
    assert list(made.layers) == ["norm"]
    assert made.layers["norm"][N:].nnz == 0
    assert slaf.verify(made, against=[source, more]).ok


def test_a_view_is_refused(dataset: Dataset) -> None:
    """A view of a part of a dataset, or of inputs, is refused with what to do instead."""
    with pytest.raises(slaf.SelectionError, match="annotate the dataset itself"):
        dataset[:3].annotate(obs={"n": [1, 2, 3]})
    with (
        slaf.scan(dataset.to_anndata()) as inputs,
        pytest.raises(slaf.SelectionError, match="convert them"),
    ):
        slaf.annotate(inputs, uns={"n": 1})
    assert slaf.verify(dataset).ok


def test_other_verbs_see_it(dataset: Dataset, tmp_path: Path) -> None:
    """An export, a comparison, and a compacted dataset have what was annotated."""
    made = dataset.annotate(obs={"n": range(N)}, layers={"norm": counts(N, M, seed=4) * 0.5})
    slaf.export(made, tmp_path / "out.h5ad")
    exported = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert exported.obs["n"].tolist() == list(range(N))
    assert slaf.diff(made, tmp_path / "out.h5ad").differences == ()
    slaf.compact(made.location, compression="small")
    assert slaf.verify(made.location).ok
    assert slaf.diff(made.location, tmp_path / "out.h5ad").differences == ()


def broken(dataset: Dataset, *starts: str) -> None:
    """Change a byte in the files with these beginnings."""
    path = dataset.location.path
    for record in dataset.published.checksums.files:
        if record.file.startswith(starts):
            content = bytearray((path / record.file).read_bytes())
            content[len(content) // 2] ^= 0xFF
            (path / record.file).write_bytes(bytes(content))


def test_a_repair_keeps_what_is_sound(dataset: Dataset, source: Path) -> None:
    """Damage elsewhere is mended, and columns, elements and layers that were annotated stay."""
    made = dataset.annotate(
        obs={"n": range(N)}, uns={"hand": 1}, layers={"norm": np.eye(N, M)}, drop="var:length"
    )
    expected = made.to_anndata()
    broken(made, "expression.lance/data", "genes.lance/data", "cells.lance/_versions")
    assert slaf.repair(made.location, source).damaged
    assert slaf.verify(made.location).ok
    assert slaf.diff(made.location, expected).differences == ()
    assert slaf.open(made.location).obs["n"].tolist() == list(range(N))


@pytest.mark.parametrize(
    ("changes", "file", "names"),
    [
        ({"obs": {"n": range(N), "batch": ["x"] * N}}, "cells.lance/data", "obs:batch, obs:n"),
        ({"obsm": {"X_umap": np.ones((N, 2))}}, "cells.lance/data", "obsm:X_umap"),
        ({"uns": {"hand": 1}}, "uns-", "uns:hand"),
        ({"obsm": {"t": pd.DataFrame({"a": range(N)}, CELLS)}}, "elements-", "obsm:t"),
        ({"obsp": {"near": sp.csr_matrix(np.eye(N))}}, "cellsxcells.lance/data", "obsp:near"),
    ],
)
def test_a_repair_drops_what_is_lost(
    dataset: Dataset, source: Path, changes: dict[str, Any], file: str, names: str
) -> None:
    """What was annotated and is lost is named, and with `drop_annotated` the rest is mended."""
    made = dataset.annotate(**changes, replace=True)
    broken(made, file)
    with pytest.raises(slaf.DatasetError, match=f"{names} were annotated.*--drop-annotated"):
        slaf.repair(made.location, source)
    slaf.repair(made.location, source, drop_annotated=True)
    assert slaf.verify(made.location).ok
    assert slaf.verify(made.location, against=source).ok
    again = slaf.open(made.location)
    assert not {"n", "batch"} & set(again.obs) or "batch" not in names
    assert set(again.obsm) == {"X_pca"}
    assert again.to_anndata().shape == (N, M)
    assert again.annotate(**changes, replace=True).to_anndata().shape == (N, M)


def test_damaged_layers_are_dropped_by_name(dataset: Dataset, source: Path) -> None:
    """A damaged layer that was annotated is named with the command that drops it."""
    made = dataset.annotate(layers={"norm": np.eye(N, M)}, drop="layer:own")
    broken(made, "layers.lance/data")
    with pytest.raises(slaf.DatasetError, match="slaf annotate --drop layer:norm"):
        slaf.repair(made.location, source)
    assert slaf.verify(slaf.annotate(made.location, drop="layer:norm")).ok


@pytest.mark.parametrize("most", [2, pytest.param(None, marks=pytest.mark.slow)])
def test_crashes(dataset: Dataset, source: Path, tmp_path: Path, most: int | None) -> None:
    """Stopped at any effect readers see all of it or what was there; the same call ends well."""
    path = dataset.location.path
    changes: dict[str, Any] = {
        "obs": {"n": range(N)},
        "layers": {"norm": counts(N, M, seed=4) * 70_000},
        "uns": {"hand": 1},
        "drop": "obsm:X_pca",
    }
    whole = tmp_path / "whole.slaf"
    shutil.copytree(path, whole)
    before = output_of(path)
    recorder = CrashingStorage(whole)
    slaf.annotate(recorder, **changes)
    after = output_of(whole)
    assert slaf.verify(whole, against=source).ok
    for at in points(len(recorder.effects), most, "annotate"):
        again = tmp_path / f"{at}.slaf"
        shutil.copytree(path, again)
        with pytest.raises(Crash):
            slaf.annotate(CrashingStorage(again, at), **changes)
        assert output_of(again) in (before, after)
        if output_of(again) == before and at:
            try:
                slaf.append(source, again, allow_duplicate=True, dry_run=True)
            except UnfinishedRun as error:
                assert "an unfinished annotate is there" in str(error)  # noqa: PT017
        try:
            slaf.annotate(again, **changes)
        except InputError as error:
            # It was published before: only the removal of files was left.
            assert "no obsm:X_pca to drop" in str(error)  # noqa: PT017
            slaf.annotate(again, obs=changes["obs"])
        assert output_of(again) == after
        assert unaccounted(again) == set()
        assert slaf.verify(again).ok
        shutil.rmtree(again)


def test_a_stopped_annotation_makes_one_version(dataset: Dataset, tmp_path: Path) -> None:
    """Where the same call, or one that changes nothing, ends it, the version before stays."""
    slaf.annotate(dataset, uns={"hand": 1})
    whole = shutil.copytree(dataset.location.path, tmp_path / "whole.slaf")
    recorder = CrashingStorage(whole)
    slaf.annotate(recorder, obs={"n": range(N)})
    n_effects = len(recorder.effects)
    for at in (n_effects - 7, n_effects - 4):
        again = shutil.copytree(dataset.location.path, tmp_path / f"{at}.slaf")
        with pytest.raises(Crash):
            slaf.annotate(CrashingStorage(again, at), obs={"n": range(N)})
        published = slaf.history(again)[-2:]
        slaf.annotate(again, uns={"hand": 1})
        assert slaf.history(again)[-2:] == published
        assert [one.is_kept for one in published] == [True, True]
        assert unaccounted(again) == set()
        slaf.annotate(again, obs={"n": range(N)})
        assert len(slaf.history(again)) == 3
        assert slaf.open(again, version=2).uns["hand"] == 1


@pytest.mark.parametrize("verb", [slaf.annotate, slaf.remove])
def test_a_run_of_another_release_is_discarded(verb: Any, source: Path, tmp_path: Path) -> None:
    """A run that this release cannot take up is refused, or ends with `restart=True`."""
    output = tmp_path / "out.slaf"
    more = write_h5ad(tmp_path / "more.h5ad", counts(4, M))
    slaf.convert([source, more], output, join="union")
    with pytest.raises(Crash):
        slaf.remove(CrashingStorage(output, 3), "more.h5ad")
    config = json.loads((output / "config.json").read_bytes())
    del config["checkpoint"]["journal"], config["digest"]
    config["checkpoint"]["done"] = []
    (output / "config.json").write_text(json.dumps(config))
    changes: Any = (
        {"obs": {"n": range(N + 4)}} if verb is slaf.annotate else {"source": "more.h5ad"}
    )
    with pytest.raises(slaf.DatasetError, match="or discard it with --restart"):
        verb(output, **changes)
    assert verb(output, **changes, restart=True).n_obs in (N, N + 4)
    assert slaf.verify(output).ok
