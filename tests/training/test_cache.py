"""The cache of a loader, and SCDL folders in and out."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import slaf
from slaf.errors import ConflictError, DamagedInput, InputError, SelectionError, TargetError
from slaf.sources import open_source
from slaf.testing.laws import SourceLaws
from tests.builders import assert_same_matrix, counts, write_h5ad
from tests.training.scdl import write_scdl

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slaf.sources.base import Source

SMALL: dict[str, Any] = {"batch_size": 32, "block_size": 8, "window_blocks": 16}


@pytest.mark.parametrize(
    ("genes", "layer"), [(None, None), ([3, 1, 1, 30], None), (None, "raw"), ([5], "spliced")]
)
def test_a_cache_changes_no_batch(
    dataset: slaf.Dataset, tmp_path: Path, genes: list[int] | None, layer: str | None
) -> None:
    """Batches, totals and order are those of the tables; other splits share the folder."""
    options: dict[str, Any] = {"layer": layer, "target_sum": 100.0, **SMALL}
    cells = np.arange(20, 600)
    plain = dataset[cells, genes].loader(**options)
    cached = dataset[cells, genes].loader(cache=tmp_path / "cache", **options)
    for one, other in zip(plain, cached, strict=True):
        np.testing.assert_array_equal(one.cells, other.cells)
        assert_same_matrix(one.X, other.X)
        np.testing.assert_array_equal(one.total, other.total)
    made = (tmp_path / "cache" / "data.npy").stat().st_mtime_ns
    dataset[cells, genes].loader(cache=tmp_path / "cache", split=("test", 0.5), **options)
    assert (tmp_path / "cache" / "data.npy").stat().st_mtime_ns == made
    with pytest.raises(ConflictError, match=r"of other content \(cells\); remove it"):
        dataset[cells[1:], genes].loader(cache=tmp_path / "cache", **options)


def test_a_compaction_leaves_the_cache_valid(tmp_path: Path) -> None:
    """The fingerprint is of content; another dataset at the same place is refused."""
    source = write_h5ad(tmp_path / "a.h5ad", counts(90, 9))
    slaf.convert(source, tmp_path / "a.slaf", chunk_size=20)
    cache = tmp_path / "cache"
    before = [b.cells.tolist() for b in slaf.open(tmp_path / "a.slaf").loader(cache=cache, **SMALL)]
    slaf.compact(tmp_path / "a.slaf")
    after = [b.cells.tolist() for b in slaf.open(tmp_path / "a.slaf").loader(cache=cache, **SMALL)]
    assert before == after
    other = write_h5ad(tmp_path / "b.h5ad", counts(90, 9, seed=1))
    replaced = slaf.convert(other, tmp_path / "a.slaf", overwrite=True)
    with pytest.raises(ConflictError, match=r"of other content \(dataset\)"):
        replaced.loader(cache=cache, **SMALL)
    (tmp_path / "else").mkdir()
    with pytest.raises(ConflictError, match="is no cache of a loader; name another folder"):
        replaced.loader(cache=tmp_path / "else", **SMALL)


def test_ranks_make_one_cache(dataset: slaf.Dataset, tmp_path: Path) -> None:
    """Of loaders that need it at once, one makes it, and nothing half-made is left."""

    def epoch(rank: int) -> int:
        loader = dataset.loader(cache=tmp_path / "cache", rank=rank, world_size=3, **SMALL)
        return sum(map(len, loader))

    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(epoch, range(3))) == dataset.n_cells
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


# --------------------------------------------------------------------------------------------- SCDL


class TestScdl(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """Cells 0 and 2 are empty; genes are out of order, one entry is repeated, one is zero."""
        values, genes = np.array([2, 3, 4, 5, 0], np.float32), np.array([4, 0, 4, 3, 2])
        matrix = sp.csr_matrix((values, genes, np.array([0, 0, 3, 3, 4, 5])), shape=(5, 5))
        path = write_scdl(folder / "in", matrix)
        return lambda: open_source(path)


@pytest.mark.parametrize("release", ["0.1.3", "0.0.5"])
def test_scdl_folders_are_converted(tmp_path: Path, release: str) -> None:
    """Folders of both releases become datasets; without obs, cells have numbers."""
    matrix = counts(50, 9)
    folder = write_scdl(tmp_path / "folder", matrix, release)
    dataset = slaf.convert(folder, tmp_path / "a.slaf")
    assert_same_matrix(dataset.X.to_memory(), matrix)
    assert dataset.var.index.tolist() == [f"g{at}" for at in range(9)]
    assert dataset.obs.index[-1] == ("c49" if release == "0.1.3" else "49")
    assert slaf.verify(dataset.location, against=folder).ok


def test_float_columns_of_scdl(tmp_path: Path) -> None:
    """Column ids that a release wrote as floating-point numbers are read; fractions are refused."""
    matrix = counts(50, 9)
    folder = write_scdl(tmp_path / "folder", matrix, "0.0.5")
    dtypes = {"data.npy": "float32", "col_ptr.npy": "float32", "row_ptr.npy": "uint64"}
    (folder / "dtypes.json").write_text(json.dumps(dtypes))
    matrix.indices.astype("f4").tofile(folder / "col_ptr.npy")
    assert_same_matrix(slaf.convert(folder, tmp_path / "a.slaf").X.to_memory(), matrix)
    (matrix.indices + 0.5).astype("f4").tofile(folder / "col_ptr.npy")
    with pytest.raises(DamagedInput, match="columns that are no whole numbers"):
        slaf.convert(folder, tmp_path / "b.slaf")


@pytest.mark.parametrize("name", ["data.npy", "row_ptr.npy", "col_ptr.npy", "header.sch"])
def test_scdl_cut_short(tmp_path: Path, name: str) -> None:
    """A file that is cut short is refused, whatever it is, and nothing is published."""
    folder = write_scdl(tmp_path / "folder", counts(50, 9))
    content = (folder / name).read_bytes()
    for size in (0, 3, len(content) // 2, len(content) - 4):
        (folder / name).write_bytes(content[:size])
        with pytest.raises(InputError):
            slaf.convert(folder, tmp_path / "a.slaf")
        assert not (tmp_path / "a.slaf").exists()


def test_scdl_of_different_genes(tmp_path: Path) -> None:
    """A folder of several lists of genes is refused: its columns mean different genes."""
    folder = write_scdl(tmp_path / "folder", counts(50, 9))
    other = pd.DataFrame({"feature_id": [f"other{at}" for at in range(9)]})
    other.to_parquet(folder / "var_features" / "dataframe_1.parquet")
    np.save(folder / "var_features" / "cumulative_sum_index.npy", np.array([-1, 20, 50]))
    with pytest.raises(InputError, match="2 different lists of genes"):
        slaf.convert(folder, tmp_path / "a.slaf")


def test_scdl_there_and_back(dataset: slaf.Dataset, tmp_path: Path) -> None:
    """An exported folder has the matrix, ids and columns; what it does not hold is named."""
    report = slaf.export(dataset[np.arange(100)], tmp_path / "out.scdl")
    assert report.format == "scdl"
    assert any(text.startswith("layers/spliced") for text in report.left_out)
    back = slaf.convert(tmp_path / "out.scdl", tmp_path / "back.slaf")
    np.testing.assert_array_equal(
        back.X.to_memory().toarray(), dataset[np.arange(100)].X.to_memory().toarray()
    )
    assert back.var.index.tolist() == dataset.var.index.tolist()
    obs = dataset.obs.iloc[:100]
    assert back.obs.index.tolist() == obs.index.tolist()
    for name in obs:
        assert back.obs[name].astype(object).tolist() == pytest.approx(
            obs[name].astype(object).where(obs[name].notna(), None).tolist()
        )


def test_scdl_holds_no_negative_numbers(tmp_path: Path) -> None:
    """They are refused, and nothing is left at the output; fractions are kept."""
    matrix = counts(20, 5).astype(np.int32)
    matrix.data[3] = -1
    negative = slaf.convert(anndata.AnnData(matrix), tmp_path / "a.slaf")
    with pytest.raises(TargetError, match="holds no negative numbers"):
        slaf.export(negative, tmp_path / "a.scdl")
    assert not (tmp_path / "a.scdl").exists()
    fractions = matrix.astype(np.float32)
    fractions.data *= np.float32(-0.3)
    dataset = slaf.convert(anndata.AnnData(fractions), tmp_path / "b.slaf")
    slaf.export(dataset, tmp_path / "b.scdl")
    assert_same_matrix(
        slaf.convert(tmp_path / "b.scdl", tmp_path / "c.slaf").X.to_memory(), fractions
    )


def test_rows_and_values(dataset: slaf.Dataset) -> None:
    """A row as genes and values, or dense; a value by cell and gene; negative positions count."""
    matrix = dataset.X.to_memory().toarray()
    for cell in (0, 3, -1):
        genes, values = dataset.row(cell)
        np.testing.assert_array_equal(genes, np.flatnonzero(matrix[cell]))
        np.testing.assert_array_equal(values, matrix[cell, genes])
        np.testing.assert_array_equal(dataset.row(cell, dense=True), matrix[cell])
        assert dataset.value(cell, "gene-7") == matrix[cell, 7]
        assert dataset.value(cell, -2) == matrix[cell, -2]
    assert (
        dataset.value("cell-0-4", 9, layer="spliced") == dataset[4, 9].X.to_memory().toarray()[0, 0]
    )
    with pytest.raises(SelectionError):
        dataset.row(dataset.n_cells)
