"""Laws 9 and 10 of reductions: what AnnData gives in memory, identical for any cut into batches."""

from __future__ import annotations

import statistics
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import anndata
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings

import slaf
from slaf.sparse.batch import Batch
from slaf.sparse.ranges import RowRange
from slaf.sparse.reduce import Slots, Sum, accumulate
from slaf.testing.strategies import NUMERIC_TYPES, matrices
from tests.builders import counts, write_h5ad

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

NAMES = ("sum", "mean", "variance", "min", "max", "count_nonzero")
AXES = ("cells", "genes", 0, 1, None)
WHOLE: Any = st.sampled_from([dtype for dtype in NUMERIC_TYPES if dtype.kind != "f"])
FLOATS: Any = st.sampled_from([np.dtype("f4"), np.dtype("f8")])


def exact(values: list[Any], name: str, ddof: int) -> Any:
    """A statistic of whole numbers, by Python's own arithmetic."""
    numbers, n = [int(value) for value in values], len(values)
    if name in {"min", "max"}:
        return min(numbers) if name == "min" else max(numbers)
    if name == "sum":
        return sum(numbers)
    if name == "count_nonzero":
        return sum(number != 0 for number in numbers)
    if name == "mean":
        return float(Fraction(sum(numbers), n)) if n else np.nan
    if n <= ddof:
        return np.nan
    squares = statistics.pvariance([Fraction(number) for number in numbers]) * n
    return float(squares / (n - ddof))


@settings(max_examples=40)
@given(data=st.data(), ddof=st.integers(0, 2))
def test_of_whole_numbers(data: st.DataObject, ddof: int) -> None:
    """Of whole numbers of any size every statistic is exact, or rounded once."""
    stored = data.draw(matrices(data.draw(WHOLE), repeated=False))
    dense = stored.dense()
    view = slaf.scan(anndata.AnnData(sp.csr_matrix(dense)))
    axis = data.draw(st.sampled_from(AXES))
    number = {"cells": 0, "genes": 1}.get(str(axis), axis)
    lines = [dense.ravel()] if number is None else (dense.T if number == 0 else dense)
    for name in NAMES:
        options = {"ddof": ddof} if name == "variance" else {}
        if name in {"min", "max"} and any(not len(line) for line in lines):
            with pytest.raises(ValueError, match="there are no values"):
                getattr(view, name)(axis)
            continue
        found = np.atleast_1d(getattr(view, name)(axis, **options))
        expected = [exact(list(line), name, ddof) for line in lines]
        np.testing.assert_array_equal(found, np.array(expected, found.dtype), name)
        if found.dtype == object:
            assert found.tolist() == expected


@settings(max_examples=30)
@given(data=st.data())
def test_of_floats(data: st.DataObject) -> None:
    """Of floats every statistic is that of the dense matrix in float64, NaN and infinities too."""
    stored = data.draw(matrices(data.draw(FLOATS), repeated=False, values=st.floats(width=32)))
    dense = stored.dense().astype(np.float64)
    view = slaf.scan(anndata.AnnData(sp.csr_matrix(stored.dense())))
    for axis in ("cells", "genes"):
        if 0 in dense.shape:
            continue
        number = 0 if axis == "cells" else 1
        with np.errstate(all="ignore"):
            expected = {
                "sum": dense.sum(number),
                "mean": dense.mean(number),
                "variance": dense.var(number),
                "min": dense.min(number),
                "max": dense.max(number),
                "count_nonzero": np.count_nonzero(dense, axis=number),
            }
        for name in NAMES:
            found = getattr(view, name)(axis)
            # What cancels is as exact as the largest of the values.
            largest = np.nan_to_num(np.abs(dense), posinf=0).max(number)
            largest = largest**2 if name == "variance" else largest
            with np.errstate(all="ignore"):
                close = np.abs(found - expected[name]) <= 1e-12 * largest
            same = (found == expected[name]) | (np.isnan(found) & np.isnan(expected[name]))
            assert (close | same).all(), name


def batches_of(matrix: sp.csr_matrix, cuts: list[int]) -> Iterator[Batch]:
    """A matrix in batches that end at some cells."""
    ends = sorted({*cuts, matrix.shape[0]})
    for start, stop in zip([0, *ends], ends, strict=False):
        part = matrix[start:stop]
        lengths = np.diff(part.indptr).astype(np.int64)
        yield Batch(RowRange(start, stop), lengths, part.indices.astype(np.uint32), part.data)


@pytest.mark.parametrize("kind", ["counts", "fractions", "mixed", "large"])
@settings(max_examples=8)
@given(cuts=st.lists(st.integers(1, 39), max_size=8))
def test_of_any_batches(kind: str, cuts: list[int]) -> None:
    """Sums are bit for bit the same however the cells are cut into batches."""
    matrix = counts(40, 12).astype(np.float64)
    if kind == "fractions":
        matrix.data *= np.pi
    elif kind == "mixed":
        # The first cells are whole beyond what float64 adds exactly, the last is not.
        matrix.data[:-1] *= 2.0**52 - 1
        matrix.data[-1] = 0.1
    elif kind == "large":
        matrix.data *= 2.0**59 - 2**7

    def sums(cuts: list[int]) -> list[NDArray[Any]]:
        found, is_whole = accumulate(
            lambda: batches_of(matrix, cuts),
            lambda is_whole: {
                axis: Sum(Slots.of_axis(axis, matrix.shape), is_whole=is_whole)
                for axis in (0, 1, None)
            },
        )
        assert is_whole == (kind in {"counts", "large"})
        return [one.result for one in found.values()]

    for one, other in zip(sums(cuts), sums([]), strict=True):
        assert one.dtype == other.dtype
        assert one.tolist() == other.tolist()


def appended(inputs: list[Path], output: Path, **options: Any) -> slaf.Dataset:
    """A dataset of an input, and another appended to it."""
    slaf.convert(inputs[0], output, **options)
    return slaf.append(inputs[1], output)


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, slaf.View]]:
    """The same counts in several datasets and inputs, and in another order of appends."""
    top = tmp_path_factory.mktemp("forms")
    matrix = counts(60, 15)
    one = write_h5ad(top / "one.h5ad", matrix)
    whole, halves = anndata.read_h5ad(one), []
    for at, rows in enumerate((slice(0, 20), slice(20, 60))):
        halves.append(top / f"{at}.h5ad")
        whole[rows].write_h5ad(halves[-1])
    scan = slaf.scan(one)
    forms = {
        "scan": scan,
        "dataset": slaf.convert(one, top / "a.slaf"),
        "small parts": slaf.convert(
            one, top / "b.slaf", chunk_size=7, workers=3, compression="small", by_gene=True
        ),
        "appended": appended(halves, top / "c.slaf", compression="fast"),
        "appended first": appended(halves[::-1], top / "d.slaf"),
        "reversed": scan[::-1],
    }
    yield forms
    scan.close()


@pytest.mark.parametrize("name", NAMES)
def test_of_counts_in_any_form(name: str, forms: dict[str, slaf.View]) -> None:
    """Statistics of counts are bit for bit the same for any partition, workers and appends."""
    expected = getattr(forms["scan"], name)("cells")
    for view in forms.values():
        found = getattr(view, name)("cells")
        assert found.dtype == expected.dtype
        assert found.tobytes() == expected.tobytes()
        assert sorted(getattr(view, name)("genes")) == sorted(getattr(forms["scan"], name)("genes"))
        assert getattr(view, name)() == getattr(forms["scan"], name)()


def test_of_a_layer_and_raw(tmp_path: Path) -> None:
    """A layer, raw and a selection are summed like X; raw has genes of its own."""
    matrix, raw = counts(20, 6), counts(20, 9, seed=2)
    adata = anndata.AnnData(matrix, layers={"halves": matrix / 2})
    adata.raw = anndata.AnnData(raw)
    dataset = slaf.convert(adata, tmp_path / "out.slaf")
    for view in (dataset, slaf.scan(adata)):
        part = view[3:9, [4, 0]]
        np.testing.assert_array_equal(part.sum("genes"), matrix[3:9][:, [4, 0]].sum(1).A1)
        np.testing.assert_array_equal(view.sum(0, layer="halves"), matrix.sum(0).A1 / 2)
        np.testing.assert_array_equal(part.sum("cells", layer="raw"), raw[3:9].sum(0).A1)
        assert view.layers["halves"].max() == matrix.max() / 2
        assert view.X.sum(0).dtype == np.float64


def test_an_axis_that_is_none(forms: dict[str, slaf.View]) -> None:
    """Another axis is refused with those that there are."""
    with pytest.raises(slaf.SelectionError, match='no axis 2; "cells"'):
        forms["dataset"].sum(2)  # type: ignore[arg-type]


def test_genes_that_an_input_has_not_measured(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Zeros of genes that an input has not measured count with a warning, or on request not."""
    paths = []
    for at, genes in enumerate((["a", "b"], ["b", "c"])):
        obs = pd.DataFrame(index=[f"{at}-{cell}" for cell in range(at + 2)])
        values = np.arange(1, 1 + 2 * len(obs)).reshape(-1, 2)
        paths.append(tmp_path / f"{at}.h5ad")
        layers = {"two": sp.csr_matrix(2 * values)} if at else {}
        var = pd.DataFrame(index=genes)
        anndata.AnnData(sp.csr_matrix(values), obs, var, layers=layers).write_h5ad(paths[-1])
    # Cells × genes: 1 2 -, 3 4 -, - 1 2, - 3 4, - 5 6
    dataset = slaf.convert(paths, tmp_path / "out.slaf", join="union", layers="all")
    for view in (dataset, slaf.scan(paths, join="union")):
        assert view.mean("cells").tolist() == [0.8, 3, 2.4]
        assert "2 of 3 numbers include zeros of genes that not all inputs" in caplog.text
        caplog.clear()
        assert view.mean("cells", measured_only=True).tolist() == [2, 3, 4]
        assert view.mean("genes", measured_only=True).tolist() == [1.5, 3.5, 1.5, 3.5, 5.5]
        assert view.mean(measured_only=True) == 31 / 10
        assert view[1:3, ["c", "a"]].variance("cells", measured_only=True).tolist() == [0, 0]
        assert view[:2].variance("cells", ddof=1, measured_only=True)[:2].tolist() == [2, 2]
        assert np.isnan(view[:2].mean("cells", measured_only=True)[2])
        assert not caplog.text
        assert view.mean("cells", layer="two", measured_only=True)[1:].tolist() == [6, 8]
        # Also of cells and genes in another order, whose values were changed.
        changed = view[[4, 0, 3, 1], ["c", "a"]].normalize_total(1)
        assert changed.mean("cells", measured_only=True).tolist() == [1, 1]
        assert changed[1:].mean("genes", measured_only=True).tolist() == [1, 1, 1]
        layer = view[::-1].downsample_counts(100, layer="two", as_layer="new")
        assert layer.mean("cells", layer="new", measured_only=True)[1:].tolist() == [6, 8]
