"""Small inputs with known content, for every test that needs one."""

from __future__ import annotations

import warnings
from importlib.metadata import requires, version
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import settings
from packaging.requirements import Requirement
from packaging.version import Version

if TYPE_CHECKING:
    from pathlib import Path

    from slaf.testing.strategies import Stored

__all__ = [
    "as_matrix",
    "assert_same_matrix",
    "counts",
    "examples",
    "names",
    "totals",
    "write_elements",
    "write_h5ad",
    "write_stored",
]


def examples(number: int) -> settings:
    """So many examples of a law, each of whole conversions; more in a search for new ones."""
    profile = settings.get_profile(settings.get_current_profile_name())
    return settings(max_examples=max(number * profile.max_examples // 40, 1))


def counts(n_cells: int, n_genes: int, *, seed: int = 0, most: int = 9) -> sp.csr_matrix:
    """Whole numbers from 1 to `most`, in a fifth of the places."""
    rng = np.random.default_rng(seed)
    dense = rng.integers(1, most + 1, (n_cells, n_genes)) * (rng.random((n_cells, n_genes)) < 0.2)
    return sp.csr_matrix(dense.astype(np.float32))


def write_h5ad(path: Path, matrix: Any, **parts: Any) -> Path:
    """An h5ad with this X, a few columns of obs and var, and whatever `parts` AnnData takes."""
    n_cells, n_genes = matrix.shape
    obs = pd.DataFrame(
        {"batch": pd.Categorical([f"b{cell % 3}" for cell in range(n_cells)]), "depth": 0.5},
        index=[f"cell-{cell}" for cell in range(n_cells)],
    )
    var = pd.DataFrame(
        {"length": np.arange(n_genes)}, index=[f"gene-{gene}" for gene in range(n_genes)]
    )
    anndata.AnnData(matrix, obs=obs, var=var, **parts).write_h5ad(path)
    return path


def soma_takes_pandas() -> bool:
    """Whether tiledbsoma, where it is, is of a release for the pandas that is here."""
    # Some releases before pandas 3 require any.
    requirements = [*map(Requirement, requires("tiledbsoma") or []), Requirement("pandas<3")]
    of_soma = requirements if Version(version("tiledbsoma")) < Version("2.4") else requirements[:-1]
    return all(each.name != "pandas" or pd.__version__ in each.specifier for each in of_soma)


NEEDS_SOMA = pytest.mark.skipif(
    not soma_takes_pandas(), reason="this release of tiledbsoma is not for this pandas"
)


def totals(stored: Stored) -> dict[tuple[int, int], Any]:
    """What a matrix holds where it is not zero, summed by Python: integers without limit."""
    whole = stored.values.dtype.kind != "f"
    found: dict[tuple[int, int], Any] = {}
    for cell, gene, value in zip(stored.cells, stored.genes, stored.values.tolist(), strict=True):
        place = (int(cell), int(gene))
        found[place] = found.get(place, 0) + (int(value) if whole else value)
    return {place: total for place, total in found.items() if total != 0}


def names(kind: str, count: int) -> pd.DataFrame:
    """An obs or a var that has ids and no columns."""
    # Of the type that pandas infers, and anndata reads: of pandas 2 object, of pandas 3 str.
    return pd.DataFrame(index=pd.Index(["", *(f"{kind}-{number}" for number in range(count))])[1:])


def write_stored(
    path: Path,
    stored: Stored,
    layout: str = "csr",
    *,
    obs: pd.DataFrame | None = None,
    var: pd.DataFrame | None = None,
    offsets: str = "i8",
    **filters: Any,
) -> Path:
    """An h5ad that holds entries just as they are stored, in a layout and with HDF5's filters.

    Parameters
    ----------
    layout
        "csr", "csc" or "dense".
    offsets
        The type of indptr.
    filters
        What h5py takes to create the arrays of X: `compression`, `shuffle`, `chunks`.
    """
    with h5py.File(path, "w") as file:
        if layout == "dense":
            file.create_dataset("X", data=stored.dense(), **filters)
            file["X"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        else:
            group = file.create_group("X")
            group.attrs.update({"encoding-type": f"{layout}_matrix", "encoding-version": "0.1.0"})
            group.attrs["shape"] = stored.shape
            indptr, indices, data = stored.rows() if layout == "csr" else stored.columns()
            group.create_dataset("indptr", data=indptr.astype(offsets), **filters)
            group.create_dataset("indices", data=indices.astype("i4"), **filters)
            group.create_dataset("data", data=data, **filters)
        n_cells, n_genes = stored.shape
        obs = names("cell", n_cells) if obs is None else obs
        write_elements(file, obs=obs, var=names("gene", n_genes) if var is None else var)
    return path


def write_elements(file: h5py.File, **elements: Any) -> None:
    """Write elements as anndata does, with what marks the file as one of its own."""
    file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, element in elements.items():
            anndata.io.write_elem(file, name, element)


def as_matrix(matrix: Any) -> np.ndarray[Any, Any]:
    """A matrix of any layout as a dense array."""
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix)


def assert_same_matrix(found: Any, expected: Any) -> None:
    """Compare the types and every value of two matrices of any layout, NaN included."""
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    sparse = sp.issparse(found) and sp.issparse(expected)
    if sparse and str(found.dtype) != "float16":  # which scipy cannot sum
        one, other = _rows(found), _rows(expected)
        np.testing.assert_array_equal(one.indptr, other.indptr)
        np.testing.assert_array_equal(one.indices, other.indices)
        np.testing.assert_array_equal(one.data, other.data)
    else:
        np.testing.assert_array_equal(as_matrix(found), as_matrix(expected))


def _rows(matrix: Any) -> sp.csr_array:
    """A copy by rows, in order, without repeated entries and zeros."""
    rows = sp.csr_array(matrix, copy=True)
    rows.sum_duplicates()
    rows.eliminate_zeros()
    return rows
