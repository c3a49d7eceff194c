"""Damage in an h5ad is told with the file and the matrix, wherever it is noticed."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

import slaf
from slaf.errors import DamagedInput
from tests.builders import counts, write_h5ad

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["data", "indices", "indptr"])
@pytest.mark.parametrize("chunk", [0, 3])
def test_a_damaged_chunk(name: str, chunk: int, tmp_path: Path) -> None:
    """A chunk that cannot be unpacked is refused, the first one too, which is read to plan."""
    path = write_h5ad(tmp_path / "in.h5ad", counts(20, 10))
    with h5py.File(path, "r+") as file:
        values = file["X"][name][()]
        del file["X"][name]
        packed = file["X"].create_dataset(name, data=values, compression="gzip", chunks=(3,))
        packed.id.write_direct_chunk((chunk,), b"no stream of deflate")
    with pytest.raises(DamagedInput, match="cannot be inflated") as refusal:
        slaf.convert(path, tmp_path / "out.slaf")
    assert str(path) in str(refusal.value)
    assert not (tmp_path / "out.slaf").exists()


@pytest.mark.parametrize("what", ["short of its size", "not packed, and short"])
@pytest.mark.parametrize("place", ["X", "layers/counts", "obs/n", "var/_index"])
def test_a_chunk_that_does_not_fill_its_place(place: str, what: str, tmp_path: Path) -> None:
    """A chunk that holds too little is refused: HDF5 would give what lay in memory behind it."""
    path = tmp_path / "in.h5ad"
    obs = pd.DataFrame({"n": np.arange(20)}, index=[f"cell-{number}" for number in range(20)])
    dense = np.ones((20, 10), np.float32)
    anndata.AnnData(dense, obs=obs, layers={"counts": dense}).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        kept, values = dict(file[place].attrs), file[place][()]
        del file[place]
        packed = file.create_dataset(place, data=values, compression="gzip", chunks=values.shape)
        packed.attrs.update(kept)
        mask, content = (1, b"few") if "not packed" in what else (0, zlib.compress(b"few"))
        packed.id.write_direct_chunk((0,) * values.ndim, content, mask)
    matrix = "layer:counts" if "layers" in place else "X"
    with pytest.raises(DamagedInput, match=f"/{place}: the chunk at 0.* (bytes where|to) "):
        slaf.convert(path, tmp_path / "out.slaf", matrix=matrix)
    assert not (tmp_path / "out.slaf").exists()
