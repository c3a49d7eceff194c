"""Several files as one dataset: the right values at the right ids, whatever genes each lists."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given

import slaf
from slaf.errors import GeneMismatch, SelectionError
from slaf.testing.strategies import Stored, matrices
from tests.builders import examples, names, totals, write_stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypothesis.strategies import DrawFn, SearchStrategy

    from slaf.dataset.dataset import Dataset
    from slaf.options import Join

POOL = [f"gene-{number}" for number in range(6)]


@dataclass(frozen=True)
class Sample:
    """A file: its entries, and what its genes are called."""

    stored: Stored
    genes: tuple[str, ...]

    def write(self, path: Path) -> Path:
        """Write it as h5ad."""
        var = pd.DataFrame(index=pd.Index(self.genes, dtype=object))
        return write_stored(path, self.stored, var=var)

    def values(self) -> dict[tuple[int, str], float]:
        """What it holds, by cell and gene id."""
        return {(cell, self.genes[gene]): v for (cell, gene), v in totals(self.stored).items()}


@st.composite
def samples(draw: DrawFn, genes: SearchStrategy[list[str]]) -> Sample:
    """A file with these genes."""
    chosen = tuple(draw(genes))
    dtype = draw(st.sampled_from([np.dtype(name) for name in ("int32", "float32", "uint16")]))
    drawn = draw(matrices(dtype, max_cells=4, max_genes=0))
    shape = (drawn.shape[0], len(chosen))
    n_places = shape[0] * shape[1]
    places = draw(st.lists(st.integers(0, max(n_places - 1, 0)), max_size=min(n_places, 10)))
    values = draw(st.lists(st.integers(0, 300), min_size=len(places), max_size=len(places)))
    cells, positions = np.divmod(np.array(places, np.int64), max(len(chosen), 1))
    return Sample(Stored(shape, cells, positions, np.array(values, dtype)), chosen)


DISTINCT = st.lists(st.sampled_from(POOL), max_size=6, unique=True)
ANY = DISTINCT | st.lists(st.sampled_from(POOL[:3]), max_size=5)


def several(genes: SearchStrategy[list[str]]) -> SearchStrategy[list[Sample]]:
    """Files with genes of their own, or with those of the first in another order."""

    def alike(first: list[str]) -> SearchStrategy[list[Sample]]:
        mine = st.just(first) | st.permutations(first) | genes
        return st.lists(samples(mine), min_size=1, max_size=4)

    return genes.flatmap(alike)


def wanted(files: Sequence[Sample], join: str) -> list[str] | None:
    """The ids of the genes, in order; None if the files do not fit together."""
    lists = [one.genes for one in files]
    if join == "intersection":
        shared = set(lists[0]).intersection(*lists)
        if all(one == lists[0] for one in lists):
            return list(lists[0])
        repeated = any(Counter(one)[name] > 1 for one in lists for name in shared)
        return None if repeated else [name for name in lists[0] if name in shared]
    whole = list(lists[0])
    known = [lists[0]]
    for mine in lists[1:]:
        if mine in known:
            continue
        if join == "strict" and set(mine) != set(whole):
            return None
        both = set(mine) & set(whole)
        if any(Counter(ids)[name] > 1 for ids in (mine, whole) for name in both):
            return None
        whole += [name for name in mine if name not in both]
        known.append(mine)
    return whole


def stored_values(dataset: Dataset) -> Counter[tuple[int, int, str, float]]:
    """Every value of a dataset by its input, the cell there, and the gene's id."""
    gene_ids = dataset.var_names.to_list()
    offsets = np.array([record.offset for record in dataset.sources])
    found: Counter[tuple[int, int, str, float]] = Counter()
    ends = [*offsets[1:].tolist(), dataset.n_cells]
    matrix = dataset.X.to_memory().tocoo()
    for cell, gene, value in zip(
        matrix.row.tolist(), matrix.col.tolist(), matrix.data.tolist(), strict=True
    ):
        source = next(at for at, end in enumerate(ends) if cell < end)
        found[source, cell - int(offsets[source]), gene_ids[gene], value] += 1
    return found


def true_values(files: Sequence[Sample], kept: set[str]) -> Counter[tuple[int, int, str, float]]:
    """Every value of the files by the same."""
    return Counter(
        (number, cell, one.genes[gene], float(value))
        for number, one in enumerate(files)
        for (cell, gene), value in totals(one.stored).items()
        if one.genes[gene] in kept
    )


@examples(24)
@given(files=several(ANY), join=st.sampled_from(["strict", "union", "intersection"]))
def test_values_are_at_their_ids(files: list[Sample], join: Join) -> None:
    """Every value is at its input's cell and its gene's id, or the genes are refused."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [one.write(folder / f"{at}.h5ad") for at, one in enumerate(files)]
        expected = wanted(files, join)
        if expected is None:
            with pytest.raises(GeneMismatch):
                slaf.convert(paths, folder / "out.slaf", join=join, allow_duplicate=True)
            assert not (folder / "out.slaf").exists()
            return
        dataset = slaf.convert(paths, folder / "out.slaf", join=join, allow_duplicate=True)
        assert dataset.var_names.to_list() == expected
        assert stored_values(dataset) == true_values(files, set(expected))
        assert [record.uri for record in dataset.sources] == list(map(str, paths))
        assert [record.n_cells for record in dataset.sources] == [
            one.stored.shape[0] for one in files
        ]
        assert dataset.table("cells").to_table().column("source_file").to_pylist() == [
            path.name
            for path, one in zip(paths, files, strict=True)
            for _ in range(one.stored.shape[0])
        ]
        for at, one in enumerate(files):
            mask = dataset.genes_present(at)
            found = [gene for gene, there in zip(expected, mask, strict=True) if there]
            assert Counter(found) == Counter(gene for gene in one.genes if gene in expected)
            np.testing.assert_array_equal(dataset.genes_present(paths[at].name), mask)
            np.testing.assert_array_equal(dataset.genes_present(str(paths[at])), mask)
        assert slaf.verify(dataset, paths).ok


@examples(10)
@given(files=several(DISTINCT), chunk=st.integers(1, 5))
def test_one_by_one_is_all_at_once(files: list[Sample], chunk: int) -> None:
    """Files that are appended one by one give the tables of one conversion of all."""
    options: Any = {"join": "union", "chunk_size": chunk, "allow_duplicate": True}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [one.write(folder / f"{at}.h5ad") for at, one in enumerate(files)]
        whole = slaf.convert(paths, folder / "whole.slaf", **options)
        grown = slaf.convert(paths[0], folder / "grown.slaf", **options)
        for path in paths[1:]:
            grown = slaf.append(path, folder / "grown.slaf", **options)
        for table in ("cells", "genes", "expression"):
            assert grown.table(table).to_table().equals(whole.table(table).to_table()), table
        assert grown.published.blocks == whole.published.blocks
        assert grown.sources == whole.sources
        assert grown.published.columns == whole.published.columns
        assert (grown.published.dtype, grown.published.value_type) == (
            whole.published.dtype,
            whole.published.value_type,
        )
        assert grown.nnz == whole.nnz
        assert slaf.verify(grown, paths).ok


def sample(genes: Sequence[str], values: Sequence[int] = (1, 2)) -> Sample:
    """Two cells, with a value each, in the first and the last gene."""
    places = np.array([0, len(genes) - 1])
    stored = Stored((2, len(genes)), np.array([0, 1]), places, np.array(values, np.int32))
    return Sample(stored, tuple(genes))


def test_what_was_not_measured_is_told(tmp_path: Path) -> None:
    """Under union the genes of each input are known by its number, its name and its address."""
    (tmp_path / "b").mkdir()
    paths = [
        sample("abc").write(tmp_path / "in.h5ad"),
        sample("dca").write(tmp_path / "b" / "in.h5ad"),
    ]
    dataset = slaf.convert(paths, tmp_path / "out.slaf", join="union")
    assert dataset.var_names.to_list() == list("abcd")
    assert dataset.genes_present(0).tolist() == [True, True, True, False]
    assert dataset.genes_present(1).tolist() == [True, False, True, True]
    second = dataset.table("cells").to_table().column("source_file").to_pylist()[-1]
    assert second == "b/in.h5ad"
    for name in (second, str(paths[1])):
        assert dataset.genes_present(name).tolist() == [True, False, True, True]
    assert dataset.genes_present(0).dtype == np.bool_


@pytest.mark.parametrize("source", [2, -1, "c.h5ad", ""])
def test_an_input_that_is_not_there(source: Any, tmp_path: Path) -> None:
    """Of an input that the dataset has not the genes are not known; those it has are named."""
    paths = [sample("abc").write(tmp_path / f"{name}.h5ad") for name in "ab"]
    dataset = slaf.convert(paths, tmp_path / "out.slaf", allow_duplicate=True)
    with pytest.raises(SelectionError, match=r"no input is called .*a\.h5ad, b\.h5ad"):
        dataset.genes_present(source)


def test_a_name_of_several_inputs(tmp_path: Path) -> None:
    """A name that inputs of different genes share says nothing; their numbers do."""
    path = tmp_path / "in.h5ad"
    dataset = slaf.convert(sample("abc").write(path), tmp_path / "out.slaf")
    dataset = slaf.append(sample("abd").write(path), tmp_path / "out.slaf", join="union")
    with pytest.raises(SelectionError, match="several inputs of different genes"):
        dataset.genes_present("in.h5ad")
    assert dataset.genes_present(0).tolist() == [True, True, True, False]
    assert dataset.genes_present(1).tolist() == [True, True, False, True]


def test_all_genes_of_one_input(tmp_path: Path) -> None:
    """Of a single input all genes are measured, also with none at all."""
    path = write_stored(
        tmp_path / "in.h5ad",
        Stored((2, 0), np.zeros(0, int), np.zeros(0, int), np.zeros(0, np.float32)),
        obs=names("cell", 2),
    )
    assert slaf.convert(path, tmp_path / "none.slaf").genes_present(0).shape == (0,)
    path = sample("abc").write(tmp_path / "some.h5ad")
    assert slaf.convert(path, tmp_path / "some.slaf").genes_present("some.h5ad").all()


def test_repeated_ids_of_one_list(tmp_path: Path) -> None:
    """Ids that a file repeats say which gene is meant where another lists the very same."""
    paths = [sample("aab", (1, 2)).write(tmp_path / "a.h5ad")]
    paths.append(sample("aab", (3, 4)).write(tmp_path / "b.h5ad"))
    dataset = slaf.convert(paths, tmp_path / "out.slaf")
    assert dataset.X.to_memory().toarray().tolist() == [[1, 0, 0], [0, 0, 2], [3, 0, 0], [0, 0, 4]]
    other = sample("aba", (3, 4)).write(tmp_path / "c.h5ad")
    for join in ("strict", "union"):
        with pytest.raises(GeneMismatch, match=r"1 gene ids occur several times \('a'\)"):
            slaf.append(other, tmp_path / "out.slaf", join=join)
