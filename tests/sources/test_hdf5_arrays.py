"""Parts of chunked HDF5 arrays are those of numpy, however many chunks are read at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slaf.errors import DamagedInput
from slaf.sources.hdf5.arrays import DeflatedArray, open_1d, open_nd

if TYPE_CHECKING:
    from pathlib import Path

_FILTERS: list[dict[str, Any]] = [
    {},
    {"compression": "gzip"},
    {"compression": "gzip", "shuffle": True},
    {"compression": "gzip", "shuffle": True, "fletcher32": True},
]
_TYPES = ["u1", "<u2", ">i4", "<f8"]
_LENGTHS = st.integers(1, 5_000)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    n=_LENGTHS,
    chunk=_LENGTHS,
    dtype=st.sampled_from(_TYPES),
    filters=st.sampled_from(_FILTERS),
    most_bytes=st.sampled_from([1, 1_000, 10_000, 512 << 10]),
    parts=st.lists(st.tuples(_LENGTHS, _LENGTHS, st.integers(1, 3)), min_size=1, max_size=6),
)
def test_parts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    n: int,
    chunk: int,
    dtype: str,
    filters: dict[str, Any],
    most_bytes: int,
    parts: list[tuple[int, int, int]],
) -> None:
    """In any order, with steps, within a chunk or over many; whole, and as pieces."""
    monkeypatch.setattr("slaf.sources.hdf5.arrays._RUN_BYTES", most_bytes)
    expected = np.random.default_rng(n).integers(0, 200, n).astype(dtype)
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file.create_dataset("x", data=expected, chunks=(min(chunk, n),), **filters)
    with h5py.File(tmp_path / "in.h5") as file:
        array = open_1d(file["x"])
        for start, stop, step in parts:
            np.testing.assert_array_equal(array[start:stop:step], expected[start:stop:step])
            if isinstance(array, DeflatedArray):
                pieces = list(array.pieces(min(start, n), min(stop, n)))
                assert all(map(len, pieces))
                found = np.concatenate([expected[:0], *pieces])
                np.testing.assert_array_equal(found, expected[start:stop])


@pytest.mark.parametrize("filters", _FILTERS[1:3])
def test_a_damaged_chunk_among_others(tmp_path: Path, filters: dict[str, Any]) -> None:
    """It is named, and those before it were read."""
    expected = np.arange(1_000, dtype=np.int32)
    with h5py.File(tmp_path / "in.h5", "w") as file:
        data = file.create_dataset("x", data=expected, chunks=(100,), **filters)
        chunk = data.id.get_chunk_info(7)
    with (tmp_path / "in.h5").open("r+b") as raw:
        raw.seek(chunk.byte_offset + chunk.size // 2)
        raw.write(b"\xff\xff\xff\xff")
    with h5py.File(tmp_path / "in.h5") as file:
        array = open_1d(file["x"])
        np.testing.assert_array_equal(array[:700], expected[:700])
        with pytest.raises(DamagedInput, match="x: the chunk at 700 "):
            array[650:]


def test_a_chunk_that_skipped_a_filter(tmp_path: Path) -> None:
    """HDF5 stores a chunk that a filter would enlarge without it; the others are inflated."""
    expected = np.arange(400, dtype=np.int32)
    with h5py.File(tmp_path / "in.h5", "w") as file:
        data = file.create_dataset("x", data=expected, chunks=(100,), compression="gzip")
        data.id.write_direct_chunk((200,), expected[200:300].tobytes(), filter_mask=1)
    with h5py.File(tmp_path / "in.h5") as file:
        np.testing.assert_array_equal(open_1d(file["x"])[50:], expected[50:])


@pytest.mark.parametrize("filters", _FILTERS[1:])
@pytest.mark.parametrize("most_bytes", [100, 1_000, 512 << 10])
def test_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filters: dict[str, Any], most_bytes: int
) -> None:
    """More chunks of a dense matrix than one call inflates, and larger ones than it would."""
    monkeypatch.setattr("slaf.sources.hdf5.arrays._RUN_BYTES", most_bytes)
    expected = np.arange(40 * 30, dtype=np.int32).reshape(40, 30)
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file.create_dataset("x", data=expected, chunks=(8, 5), **filters)
    with h5py.File(tmp_path / "in.h5") as file:
        array = open_nd(file["x"])
        if not isinstance(array, DeflatedArray):
            np.testing.assert_array_equal(array[()], expected)
            return
        tiles, rows, columns = array.stack((slice(0, 40), slice(0, 30)), np.empty((0, 0, 0)))
        for tile, row, column in zip(tiles, rows, columns, strict=True):
            np.testing.assert_array_equal(tile, expected[row : row + 8, column : column + 5])
