"""Round trip and exactness: what a dataset gives back is what the source held, or it is refused."""

from __future__ import annotations

import math
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import slaf
from slaf.errors import InexactValue
from slaf.format.schema import VALUE_TYPES
from slaf.testing.strategies import Stored, frames, matrices
from tests.builders import examples, names, totals, write_stored

if TYPE_CHECKING:
    from slaf.dataset.dataset import Dataset

LAYOUTS = ("csr", "csc", "dense")


def holds(dtype: np.dtype[Any], value: float) -> bool:
    """Whether a type holds a number exactly, by Python's arithmetic without limits."""
    if not math.isfinite(value):
        return dtype.kind == "f"
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            stored = float(dtype.type(value))
        return math.isfinite(stored) and Fraction(stored) == Fraction(value)
    limits = np.iinfo(dtype)
    return value == int(value) and limits.min <= int(value) <= limits.max


def smallest(values: list[float]) -> np.dtype[Any] | None:
    """The first type that holds all of them; None if there is none."""
    fitting = (dtype for dtype in VALUE_TYPES if all(holds(dtype, value) for value in values))
    return next(fitting, None)


def assert_holds(dataset: Dataset, expected: dict[tuple[int, int], Any]) -> None:
    """Compare every stored value with Python's own sums."""
    table = dataset.expression.to_table().to_pydict()
    places = zip(table["cell_integer_id"], table["gene_integer_id"], strict=True)
    found = dict(zip(places, table["value"], strict=True))
    assert list(found) == sorted(expected)
    for place, value in expected.items():
        assert found[place] == value or (found[place] != found[place] and value != value)  # noqa: PLR0124


@examples(12)
@given(stored=matrices(), layout=st.sampled_from(LAYOUTS), chunk=st.integers(1, 5))
def test_every_value_is_stored_exactly_in_the_smallest_type(
    stored: Stored, layout: str, chunk: int
) -> None:
    """Whatever is in a file is in the table, or the run is refused and leaves nothing."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_stored(Path(folder) / "in.h5ad", stored, layout)
        expected = totals(stored if layout != "dense" else as_entries(stored.dense()))
        output = Path(folder) / "out.slaf"
        wanted = smallest(list(expected.values()))
        if wanted is None:
            with pytest.raises(InexactValue):
                slaf.convert(path, output, chunk_size=chunk, memory=2000)
            assert not output.exists()
            return
        dataset = slaf.convert(path, output, chunk_size=chunk, memory=2000)
        assert dataset.shape == stored.shape
        assert_holds(dataset, expected)
        assert np.dtype(dataset.published.value_type) == wanted
        assert slaf.verify(dataset, path).ok


@examples(12)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore:.* names are not unique")
def test_tables_come_back_with_their_types(data: st.DataObject) -> None:
    """Obs and var are equal to the frames that were given, in every type and name."""
    n_cells, n_genes = data.draw(st.integers(0, 4)), data.draw(st.integers(0, 4))
    obs, var = data.draw(frames(n_cells)), data.draw(frames(n_genes))
    adata = anndata.AnnData(np.zeros((n_cells, n_genes), np.float32), obs=obs, var=var)
    with tempfile.TemporaryDirectory() as folder:
        dataset = slaf.convert(adata, Path(folder) / "out.slaf")
        for found, expected in ((dataset.obs, adata.obs), (dataset.var, adata.var)):
            pd.testing.assert_frame_equal(found, expected)
            assert found.index.name == expected.index.name
        assert slaf.verify(dataset, adata).ok


@examples(6)
@given(stored=matrices(np.dtype(np.float32)), chunks=st.lists(st.integers(1, 9), min_size=2))
def test_cutting_changes_no_row(stored: Stored, chunks: list[int]) -> None:
    """Parts of any size, by any number of workers, hold the same rows in the same order."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_stored(Path(folder) / "in.h5ad", stored)
        tables = []
        for number, chunk in enumerate(chunks):
            output = Path(folder) / f"{number}.slaf"
            dataset = slaf.convert(path, output, chunk_size=chunk, workers=number % 3)
            tables.append(dataset.expression.to_table())
        for table in tables[1:]:
            assert table.to_pydict() == tables[0].to_pydict() or stored_has_nan(stored)


@pytest.mark.parametrize("position", [10_000, -1])
@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("f4", 0.5, "float32"),
        ("f4", 65_536, "uint32"),
        ("f4", -1, "int32"),
        ("f4", 2.0**24 + 2, "uint32"),
        ("f4", 2.0**40, "int64"),
        ("f8", 0.1, "float64"),
        ("i8", 2**53 + 1, "int64"),
        ("i8", -(2**63), "int64"),
        ("i8", 2**63 - 1, "int64"),
        ("u8", 2**63, "float32"),
        ("f4", np.nan, "float32"),
        ("f4", np.inf, "float32"),
        ("f2", 0.5, "float32"),
        (">f4", 1.5, "float32"),
        (">i4", 70_000, "uint32"),
    ],
)
def test_a_late_value_widens_the_type(
    tmp_path: Path, dtype: str, value: float, expected: str, position: int
) -> None:
    """One value far behind the first of a matrix decides, and all of them are exact."""
    matrix = many(np.dtype(dtype))
    matrix.values[position] = value
    path = write_stored(tmp_path / "in.h5ad", matrix)
    dataset = slaf.convert(path, tmp_path / "out.slaf", chunk_size=7)
    assert dataset.published.value_type == expected
    assert_holds(dataset, totals(matrix))
    assert slaf.verify(dataset, path).ok


@pytest.mark.parametrize("position", [10_000, -1])
def test_a_value_that_no_type_holds_is_named(tmp_path: Path, position: int) -> None:
    """The error names the file, the matrix, the cell, the gene and the value; nothing is left."""
    matrix = many(np.dtype(np.uint64))
    matrix.values[position] = 2**64 - 1
    path = write_stored(tmp_path / "in.h5ad", matrix)
    with pytest.raises(InexactValue) as caught:
        slaf.convert(path, tmp_path / "out.slaf", chunk_size=7)
    cell, gene = matrix.cells[position], matrix.genes[position]
    for part in (str(path), "X", str(2**64 - 1), f"cell {cell} ('cell-{cell}')", f"'gene-{gene}'"):
        assert part in str(caught.value)
    assert not (tmp_path / "out.slaf").exists()


def test_more_genes_than_sixteen_bits_count(tmp_path: Path) -> None:
    """70,000 genes have ids of 32 bits, and the last ones are told apart."""
    genes = np.array([0, 4_463, 4_464, 65_535, 65_536, 69_999])
    stored = Stored((1, 70_000), np.zeros(6, int), genes, np.arange(1, 7, dtype=np.float32))
    dataset = slaf.convert(write_stored(tmp_path / "in.h5ad", stored), tmp_path / "out.slaf")
    assert str(dataset.expression.schema.field("gene_integer_id").type) == "uint32"
    assert_holds(dataset, totals(stored))


def test_ids_that_repeat_are_kept(tmp_path: Path) -> None:
    """Cells and genes of one id are kept, in their places."""
    stored = Stored((3, 2), np.array([0, 1, 2]), np.array([0, 1, 0]), np.array([1, 2, 3], "f4"))
    obs, var = names("cell", 3), names("gene", 2)
    obs.index = pd.Index(["a", "a", "b"], dtype=object)
    var.index = pd.Index(["g", "g"], dtype=object)
    path = write_stored(tmp_path / "in.h5ad", stored, obs=obs, var=var)
    dataset = slaf.convert(path, tmp_path / "out.slaf")
    assert list(dataset.obs.index) == ["a", "a", "b"]
    assert list(dataset.var.index) == ["g", "g"]
    assert slaf.verify(dataset, path).ok


def many(dtype: np.dtype[Any]) -> Stored:
    """A matrix of some ten thousand ones, in 60 cells."""
    cells, genes = np.divmod(np.arange(60 * 200), 200)
    return Stored((60, 200), cells, genes, np.ones(len(cells), dtype))


def as_entries(dense: np.ndarray[Any, Any]) -> Stored:
    """The entries of a dense matrix."""
    cells, genes = np.nonzero(dense)
    return Stored((dense.shape[0], dense.shape[1]), cells, genes, dense[cells, genes])


def stored_has_nan(stored: Stored) -> bool:
    """Whether comparing by equality says nothing of some values."""
    return bool(np.isnan(stored.values).any())
