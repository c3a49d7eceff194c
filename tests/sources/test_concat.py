"""The laws of sources, for several inputs as one and for a dataset that more is added to."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import slaf
from slaf.dataset.source import DatasetSource, dataset_as_input
from slaf.errors import DamagedDataset, DamagedInput, GeneMismatch
from slaf.options import ReadOptions, StoreOptions
from slaf.runs.plan import plan_parts
from slaf.sources import open_source
from slaf.sources.concat.members import Input
from slaf.sources.concat.source import Concat
from slaf.sparse.ranges import RowRange
from slaf.testing.laws import SourceLaws, contents, left_open
from slaf.testing.strategies import Stored
from tests.builders import counts, names, write_h5ad, write_stored
from tests.formats.builders import Mtx, ids, write_soma, write_v2, write_v3

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from slaf.sources.base import Source

# Cells 0 and 3 are empty; genes are out of order, one entry is repeated, one is zero.
STORED = Stored(
    (6, 5),
    np.array([1, 1, 1, 2, 4, 4, 5, 5, 5]),
    np.array([4, 0, 4, 3, 2, 1, 0, 1, 2]),
    np.array([2, 3, 4, 5, 0, 7, 8, 9, 10], np.int32),
)
# The same with no entry repeated, for what cannot hold that.
SINGLE = Stored(STORED.shape, STORED.cells[1:], STORED.genes[1:], STORED.values[1:])
# So little that even these entries are spilled in several bands.
LITTLE = ReadOptions(memory=100)
# The same genes in another order, some of them and one more, and none of them.
ORDERS: list[list[int]] = [[4, 2, 0, 1, 3], [3, 0, 7, 1, 2], [10, 11, 12, 13, 14]]


def in_memory(genes: Sequence[int] = range(5)) -> anndata.AnnData:
    """An AnnData whose genes are called by these numbers."""
    matrix = sp.csr_matrix((SINGLE.values, (SINGLE.cells, SINGLE.genes)), SINGLE.shape)
    var = pd.DataFrame(index=pd.Index([f"gene-{gene}" for gene in genes], dtype=object))
    return anndata.AnnData(matrix, obs=names("cell", SINGLE.shape[0]), var=var)


def every_format(folder: Path) -> list[Any]:
    """The same cells in every format and layout, with the same genes in the same order."""
    return [
        write_stored(folder / "rows.h5ad", STORED, "csr"),
        write_stored(folder / "columns.h5ad", STORED, "csc"),
        write_stored(folder / "dense.h5ad", SINGLE, "dense"),
        write_v2(folder / "v2.h5", STORED),
        write_v3(folder / "v3.h5", STORED),
        Mtx(order="shuffled").write(folder / "mtx", STORED),
        write_soma(folder / "soma", SINGLE),
        in_memory(),
    ]


def other_genes(folder: Path) -> list[Any]:
    """Inputs of different formats, each with genes of its own in an order of its own."""
    shuffled, more, others = ORDERS
    rows = write_stored(folder / "rows.h5ad", STORED, "csr")
    columns = folder / "columns.h5ad"
    var = pd.DataFrame(index=pd.Index([f"gene-{gene}" for gene in shuffled], dtype=object))
    write_stored(columns, STORED, "csc", var=var)
    features = {"id": np.array([f"gene-{gene}".encode() for gene in more])}
    v3 = write_v3(folder / "v3.h5", STORED, features=features)
    return [rows, columns, v3, in_memory(others)]


def inputs_of(what: Sequence[Any], prefixes: Sequence[str] = ()) -> list[Input]:
    """Inputs that are read in little memory."""
    named = list(prefixes) or [""] * len(what)
    return [
        Input(str(one), partial(open_again, one), LITTLE, prefix)
        for one, prefix in zip(what, named, strict=True)
    ]


def open_again(what: Any, options: ReadOptions) -> Source:
    """Open an input as the options say."""
    return open_source(what, options=options)


class TestEveryFormat(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """All formats, of the same genes."""
        inputs = inputs_of(every_format(folder))
        return lambda: Concat(inputs)


class TestUnion(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """All genes of inputs that have other ones each."""
        inputs = inputs_of(other_genes(folder))
        return lambda: Concat(inputs, "union")


class TestIntersection(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """The genes that three inputs share."""
        inputs = inputs_of(other_genes(folder)[:3])
        return lambda: Concat(inputs, "intersection")


class TestNoGeneInCommon(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """Inputs that share no gene, so that nothing is left."""
        inputs = inputs_of(other_genes(folder))
        return lambda: Concat(inputs, "intersection")


class TestPrefixed(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """Cells that are called by their inputs."""
        inputs = inputs_of(every_format(folder)[:3], ["a_", "b_", "c_"])
        return lambda: Concat(inputs)


class TestSomeWithoutCells(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """Inputs without cells stand first, between others and last."""
        blank = Stored((0, 5), STORED.cells[:0], STORED.genes[:0], STORED.values[:0])
        full = write_stored(folder / "rows.h5ad", STORED)
        no = write_stored(folder / "none.h5ad", blank)
        inputs = inputs_of([no, full, no, write_stored(folder / "b.h5ad", STORED, "csc"), no])
        return lambda: Concat(inputs)


class TestDataset(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """A dataset of several inputs."""
        made = slaf.convert(other_genes(folder), folder / "made.slaf", join="union")
        return lambda: DatasetSource(slaf.open(made.location))


class TestPlainDataset(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """A dataset with plain types and ids as strings."""
        path = write_stored(folder / "in.h5ad", STORED)
        made = slaf.convert(path, folder / "made.slaf", plain_types=True, string_ids=True)
        return lambda: DatasetSource(slaf.open(made.location))


class TestBehindADataset(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """A dataset, and inputs that add genes to it."""
        first, *more = other_genes(folder)
        made = slaf.convert(first, folder / "made.slaf", chunk_size=2)
        inputs = inputs_of(more, ["", "b_", ""])
        return lambda: Concat(inputs, "union", dataset_as_input(made))

    def entries(self, source: Source) -> None:
        """Its size is that of the added inputs."""


def test_each_input_keeps_its_cells(tmp_path: Path) -> None:
    """The cells of an input are those that it has by itself, behind those of the ones before."""
    inputs = inputs_of(every_format(tmp_path))
    with Concat(inputs) as whole:
        assert whole.info.n_cells == 8 * 6
        for number, one in enumerate(inputs):
            with one.opened() as alone:
                expected = contents(alone.matrix(), RowRange(0, 6))
            found = contents(whole.matrix(), RowRange(6 * number, 6 * number + 6))
            for ours, theirs in zip(found, expected, strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_ids_and_prefixes(tmp_path: Path) -> None:
    """Ids that repeat are kept and counted; with a prefix they are told apart."""
    what = every_format(tmp_path)[:2]
    with Concat(inputs_of(what)) as plain:
        assert plain.cells().column(0).to_pylist() == ids("cell", 6) * 2
        (note,) = plain.notes()
        assert note.startswith("6 cell ids occur more than once")
    with Concat(inputs_of(what, ["a_", "b_"])) as told:
        expected = [f"{prefix}{name}" for prefix in ("a_", "b_") for name in ids("cell", 6)]
        assert told.cells().column(0).to_pylist() == expected
        assert told.notes() == ()


def test_no_more_files_are_open_than_read(tmp_path: Path) -> None:
    """Twenty inputs are one source, of which only a few are open at any time."""
    path = write_stored(tmp_path / "in.h5ad", STORED)
    opened: list[Source] = []
    closed: list[Source] = []

    def counting(options: ReadOptions) -> Source:
        source = open_source(path, options=options)
        leave = type(source).__exit__
        opened.append(source)

        class Watched(type(source)):  # type: ignore[misc]
            def __exit__(self, *exception: object) -> None:
                closed.append(self)
                leave(self, *exception)

        source.__class__ = Watched
        return source

    many = [Input(str(path), counting, LITTLE) for _ in range(20)]
    with Concat(many) as whole:
        assert len(opened) - len(closed) <= 3
        for _ in whole.matrix().batches(RowRange(0, whole.info.n_cells)):
            assert len(opened) - len(closed) <= 3
    assert len(opened) == len(closed)


def test_each_input_is_opened_once_to_be_compared(tmp_path: Path) -> None:
    """However many elements of varm and varp inputs have, each is opened once to compare them."""
    path = tmp_path / "in.h5ad"
    adata = in_memory()
    keys = [f"loadings-{number}" for number in range(5)]
    for number, key in enumerate(keys):
        adata.varm[key] = np.full((5, 2), number)
        adata.varp[key] = sp.csr_matrix(np.full((5, 5), number))
    adata.write_h5ad(path)
    adata.varm[keys[3]] += 1
    adata.varp[keys[1]] *= 2
    adata.write_h5ad(tmp_path / "other.h5ad")
    opened: list[Path] = []

    def counting(path: Path, options: ReadOptions) -> Source:
        opened.append(path)
        return open_source(path, options=options)

    paths = [path] * 9 + [tmp_path / "other.h5ad"]
    with Concat([Input(str(one), partial(counting, one), LITTLE) for one in paths]) as whole:
        assert opened == paths
        (_, note) = whole.notes()
    assert note.endswith(": varm (loadings-3), varp (loadings-1)")
    # And the first, whose genes are asked for.
    assert len(opened) <= 2 * len(paths) + 1


def test_small_inputs_are_opened_once_to_be_planned(tmp_path: Path) -> None:
    """The parts of inputs of one block each, and which of them are sorted, take no second look."""
    opened: list[Path] = []

    def counting(path: Path, options: ReadOptions) -> Source:
        opened.append(path)
        return open_source(path, options=options)

    layouts = ["csr", "csc", "csr", "csr"]
    paths = [
        write_stored(tmp_path / f"{at}.h5ad", STORED, layout) for at, layout in enumerate(layouts)
    ]
    with Concat([Input(str(one), partial(counting, one), LITTLE) for one in paths]) as whole:
        assert tuple(plan_parts(whole, StoreOptions())) == whole.inputs
        assert [whole.is_sorted(at) for at in range(4)] == [True, False, True, True]
        assert opened == paths


def test_uns_is_read_when_it_is_asked_for(tmp_path: Path) -> None:
    """The other slots of a dataset can be looked at without its uns, which may be large."""
    adata = in_memory()
    adata.uns["colour"] = "red"
    adata.obsm["X_pca"] = np.ones((6, 2))
    made = slaf.convert(adata, tmp_path / "made.slaf")
    (file,) = (tmp_path / "made.slaf").glob("uns-*.h5")
    file.unlink()
    slots = DatasetSource(made).slots()
    assert list(slots.obsm) == ["X_pca"]
    with pytest.raises(DamagedDataset, match="there is no such file"):
        list(slots.uns)


def test_an_input_that_changes_meanwhile(tmp_path: Path) -> None:
    """An input that is another one when it is opened again stops whoever reads."""
    paths = [write_stored(tmp_path / f"{number}.h5ad", STORED) for number in range(4)]
    with Concat(inputs_of(paths)) as whole:
        write_h5ad(paths[0], counts(6, 5))
        with pytest.raises(DamagedInput, match=r"0\.h5ad: it was changed while it was read"):
            list(whole.matrix().batches(RowRange(0, 6)))


def test_nothing_stays_open_if_one_does_not_fit(tmp_path: Path) -> None:
    """When genes differ, every input that was opened is closed again."""
    what = other_genes(tmp_path)
    with pytest.raises(GeneMismatch, match=r"v3\.h5: its genes are not those of .*rows\.h5ad"):
        Concat(inputs_of(what))
    assert left_open(tmp_path) == []


def test_shared_genes(tmp_path: Path) -> None:
    """How many genes all inputs have, and how many an intersection leaves out, is counted."""
    what = other_genes(tmp_path)[:3]
    with Concat(inputs_of(what), "union") as union:
        assert (union.info.n_genes, union.shared_genes()) == (6, 4)
        assert union.genes().column(0).to_pylist() == [
            *ids("gene", 5),
            "gene-7",
        ]
    with Concat(inputs_of(what), "intersection") as shared:
        assert (shared.info.n_genes, shared.shared_genes()) == (4, 4)
        said = " ".join(shared.info.not_converted)
        assert "genes that not all inputs have: up to 1 of 3 inputs" in said
