"""An input and a dataset that the commands of these tests read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import scipy.sparse as sp

import slaf
from tests.builders import counts, write_h5ad

if TYPE_CHECKING:
    from pathlib import Path

N_CELLS, N_GENES = 60, 20


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An h5ad of counts with a layer of fractions; not to be changed."""
    matrix = counts(N_CELLS, N_GENES)
    halves = matrix.copy()
    halves.data = halves.data / 2
    path = tmp_path_factory.mktemp("input") / "in.h5ad"
    return write_h5ad(path, matrix, layers={"halves": sp.csr_matrix(halves)})


@pytest.fixture(scope="session")
def dataset(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of it; not to be changed."""
    path = tmp_path_factory.mktemp("dataset") / "made.slaf"
    slaf.convert(source, path)
    return path


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An h5ad whose conversion in many parts takes seconds."""
    path = tmp_path_factory.mktemp("large") / "large.h5ad"
    return write_h5ad(path, counts(4000, 50))
