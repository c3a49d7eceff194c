"""Damage in an h5ad is told with the file and the matrix, wherever it is noticed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
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
