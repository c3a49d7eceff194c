"""Totals are exact, and do not depend on how cells are read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anndata
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings

import slaf
from slaf.errors import DamagedDataset, InputError
from slaf.sources.matrix import positive_counts
from slaf.sparse.ranges import RowRange
from slaf.sparse.reduce import Count, Slots, row_sums

if TYPE_CHECKING:
    from pathlib import Path


@given(st.lists(st.lists(st.integers(-(2**62), 2**62), max_size=4), max_size=6))
@settings(max_examples=40, deadline=None)
def test_whole_numbers_are_summed_exactly(rows: list[list[int]]) -> None:
    """The sum of a row is the one of Python's integers, also where 64 bits do not hold it."""
    counts = np.array([len(row) for row in rows], np.int64)
    values = np.array([value for row in rows for value in row], np.int64)
    for row, total in zip(rows, row_sums(counts, values).tolist(), strict=True):
        assert total == sum(row)


def test_floats_are_summed_from_left_to_right() -> None:
    """However rows are cut into batches, a row has the same bits."""
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 90, 50)
    values = rng.random(int(counts.sum())).astype(np.float32)
    whole = row_sums(counts, values)
    for rows in RowRange(0, 50).split(7):
        start, stop = (int(counts[:at].sum()) for at in (rows.start, rows.stop))
        part = row_sums(counts[rows.start : rows.stop], values[start:stop])
        assert part.tolist() == whole[rows.start : rows.stop].tolist()


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_totals_beyond_64_bits(dtype: Any) -> None:
    """A total that 64 bits do not hold is a larger number, and not one that wrapped around."""
    values = np.array([2**62, 2**62, 2**62, 1, 3], dtype)
    assert row_sums(np.array([3, 0, 2]), values).tolist() == [3 * 2**62, 0, 4]
    matrix = sp.csr_matrix((values, [0, 1, 2, 0, 1], [0, 3, 5]), (2, 3))
    normal = slaf.scan(anndata.AnnData(matrix)).normalize_total(12).X.to_memory().toarray()
    assert normal.tolist() == [[4, 4, 4], [3, 9, 0]]


def test_what_a_float_does_not_hold_is_refused() -> None:
    """A value that is too large once it is multiplied is refused; one that is infinite is not."""
    tiny = slaf.scan(anndata.AnnData(sp.csr_matrix(np.array([[1e-310, 0, 2e-310]]))))
    with pytest.raises(InputError, match="too large for float64 once it is multiplied"):
        tiny.normalize_total(1e4).X.to_memory()
    infinite = slaf.scan(anndata.AnnData(sp.csr_matrix(np.array([[np.inf, 1.0]]))))
    assert np.isnan(infinite.normalize_total(1e4).X.to_memory()[0, 0])


@given(st.lists(st.integers(0, 8), max_size=12), st.lists(st.integers(0, 5), max_size=8))
@settings(max_examples=20, deadline=None)
def test_counts_that_are_known(
    stored: dict[str, slaf.Dataset], cells: list[int], genes: list[int]
) -> None:
    """The number of values above zero is that of the rows, or unknown; in any selection."""
    for name, dataset in stored.items():
        with slaf.scan(dataset.location.path) as scanned:
            views = [view[rows] for view in (dataset, scanned) for rows in (slice(None), cells)]
            ascending = dataset[sorted(set(cells)), genes]
            for view in (*views, dataset[:, genes], ascending, scanned[cells, genes]):
                for layer in (None, *view.layers):
                    dense = view.lazy_matrix(layer).to_memory().toarray()
                    of_cells, of_genes = (
                        positive_counts(view.lazy_matrix(layer).matrix, axis) for axis in (1, 0)
                    )
                    # Only whole numbers without a sign are all positive.
                    is_whole = name == "counts" and layer is None
                    # Those of some genes are not those of rows, and none counts cells twice.
                    assert (of_cells is not None) is (is_whole and view.genes is None)
                    in_order = view.cells is None or bool((np.diff(view.cells) > 0).all())
                    is_known = is_whole and in_order and view.origin is dataset
                    assert (of_genes is not None) is is_known
                    for known, axis in ((of_cells, 1), (of_genes, 0)):
                        if known is not None:
                            assert known.tolist() == (dense > 0).sum(axis=axis).tolist()
            assert positive_counts(scanned.log1p().X.matrix, 1) is None


def test_counts_of_several_inputs(stored: dict[str, slaf.Dataset]) -> None:
    """Of several datasets they are known if they are of each, in all of its genes."""
    paths = [stored[name].location.path for name in ("counts", "counts", "signed")]
    for inputs, join, is_known in (
        (paths[:2], "strict", True),
        (paths[1:], "strict", False),
        ([paths[0], anndata.AnnData(sp.eye(2, 3, format="csr"))], "intersection", False),
    ):
        with slaf.scan(inputs, join=join) as view:
            known = positive_counts(view.X.matrix, 1)
            assert (known is not None) is is_known
            dense = view.X.to_memory().toarray()
            if known is not None:
                assert known.tolist() == (dense > 0).sum(axis=1).tolist()


def test_the_number_of_genes_of_cells_is_not_read(
    stored: dict[str, slaf.Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule for the genes of cells reads no row of counts."""
    dataset = stored["counts"]
    expected = (dataset.X.to_memory().toarray() > 0).sum(axis=1) >= 3
    reader = dataset.rows("expression").reader
    monkeypatch.setattr(type(reader), "read", lambda *_: pytest.fail("rows are read"))
    kept = dataset.filter_cells(min_genes=3, mad={"genes": 9})
    assert kept.obs_names.to_list() == dataset.obs_names[expected].to_list()


def test_a_rule_for_genes_reads_no_value(
    stored: dict[str, slaf.Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads the genes of rows, and none at all where the rows of each gene are known."""
    dataset = stored["counts"]
    by_gene = slaf.convert(dataset, tmp_path / "by_gene.slaf", by_gene=True)
    expected = (dataset.X.to_memory().toarray() > 0).sum(axis=0) >= 4
    reader = type(dataset.rows("expression").reader)
    read, columns = reader.read, []

    def recorded(self: Any, ranges: Any, names: Any) -> Any:
        columns.extend(names)
        return read(self, ranges, names)

    monkeypatch.setattr(reader, "read", recorded)
    for view, names in ((by_gene, []), (dataset, ["gene_integer_id"])):
        columns.clear()
        kept = view.filter_genes(min_cells=4)
        assert kept.var_names.to_list() == dataset.var_names[expected].to_list()
        assert columns == names


def test_rows_of_other_genes_or_cells_are_damage(stored: dict[str, slaf.Dataset]) -> None:
    """Genes are not counted of rows that the tables of cells and genes contradict."""
    rows = stored["counts"].rows("expression")
    with pytest.raises(DamagedDataset, match="its rows are not those of cells"):
        rows.n_of_each(1)
    more = replace(rows, offsets=np.append(rows.offsets, rows.offsets[-1] + 1))
    with pytest.raises(DamagedDataset):
        more.n_of_each(6)


@pytest.mark.parametrize("layer", [None, "other"])
@given(st.lists(st.integers(0, 8), max_size=12))
@settings(max_examples=10, deadline=None)
def test_counts_of_genes(
    stored: dict[str, slaf.Dataset], layer: str | None, cells: list[int]
) -> None:
    """Cells are counted and summed in any number of genes, more than there are entries too."""
    for dataset in stored.values():
        view = dataset[sorted(set(cells))]
        matrix = view.lazy_matrix(layer)
        dense = matrix.to_memory().toarray()
        assert matrix.sum("cells").tolist() == dense.sum(axis=0).tolist()
        assert matrix.count_nonzero("cells").tolist() == (dense != 0).sum(axis=0).tolist()
        counts = Count(Slots.of_axis(0, matrix.shape), positive=True)
        for batch in matrix.batches():
            counts.add(batch, batch.values)
        assert counts.result.tolist() == (dense > 0).sum(axis=0).tolist()


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, slaf.Dataset]:
    """Datasets of counts, of whole numbers with a sign, and of fractions, each with a layer."""
    rng = np.random.default_rng(3)
    found = {}
    for name in ("counts", "signed", "fractions"):
        dense: Any = rng.poisson(0.7, (9, 6)).astype(np.int64)
        dense[4] = 0
        if name == "signed":
            dense[2] -= 2
        if name == "fractions":
            dense = dense * 0.5
        adata = anndata.AnnData(sp.csr_matrix(dense))
        adata.layers["other"] = sp.csr_matrix(rng.poisson(0.7, (9, 6)))
        adata.layers["more"] = sp.csr_matrix(rng.poisson(0.7, (9, 6)))
        path = tmp_path_factory.mktemp("stored") / f"{name}.slaf"
        found[name] = slaf.convert(adata, path)
    return found
