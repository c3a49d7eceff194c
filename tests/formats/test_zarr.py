"""AnnData on zarr: every codec, exports of this program, SpatialData, and damage."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import warnings
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, BytesCodec, GzipCodec, ZstdCodec

import slaf
from slaf.errors import DamagedInput, InputError, MissingMatrix
from slaf.sources import open_source
from slaf.sources.zarr.arrays import ZarrArray
from slaf.sources.zarr.store import open_objects
from slaf.testing.strategies import Stored
from tests.builders import assert_same_matrix, counts
from tests.formats.store_builders import write_zarr
from tests.sources.test_laws import everything

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STORED = Stored((3, 2), np.array([0, 2, 2]), np.array([1, 0, 1]), np.array([3, 4, 5], np.int32))
V2 = [
    None,
    numcodecs.Zstd(),
    numcodecs.Blosc(),
    numcodecs.GZip(),
    numcodecs.Zlib(),
    numcodecs.LZ4(),
]
V3 = [None, ZstdCodec(), ZstdCodec(checksum=True), BloscCodec(), GzipCodec()]
TYPES = ["<f4", ">f4", "<i8", ">u2", "|i1", "|b1", "<f8"]


@st.composite
def arrays(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    """An array of one or two dimensions, and how zarr stores it."""
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=2)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    dtype = np.dtype(draw(st.sampled_from(TYPES)))
    # Zeros too, for chunks that are not written.
    values = (rng.integers(0, 100, shape) * (rng.random(shape) < 0.4)).astype(dtype)
    chunks = tuple(draw(st.integers(1, 4)) for _ in shape)
    how: dict[str, Any] = {"chunks": chunks, "fill_value": draw(st.sampled_from([0, 1]))}
    if draw(st.booleans()):
        how |= {"zarr_format": 2, "compressors": draw(st.sampled_from(V2))}
        return values, how | {"order": draw(st.sampled_from(["C", "F"]))}
    how |= {"zarr_format": 3, "compressors": draw(st.sampled_from(V3))}
    if dtype.itemsize > 1:
        how["serializer"] = BytesCodec(endian=draw(st.sampled_from(["little", "big"])))
    if draw(st.booleans()):
        how["shards"] = tuple(chunk * draw(st.integers(1, 3)) for chunk in chunks)
    return values, how


@given(stored=arrays(), data=st.data())
def test_any_slice_of_any_array(
    stored: tuple[np.ndarray[Any, Any], dict[str, Any]], data: st.DataObject
) -> None:
    """A slice has the values that zarr reads, whatever the codecs, byte order and shards."""
    values, how = stored
    with tempfile.TemporaryDirectory() as folder:
        made = zarr.create_array(
            Path(folder) / "a", shape=values.shape, dtype=values.dtype, overwrite=True, **how
        )
        made[...] = values
        array: Any = ZarrArray(
            zarr.open_array(Path(folder) / "a"), open_objects(Path(folder) / "a")
        )
        for _ in range(3):
            part = tuple(
                slice(*sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2)))) for n in values.shape
            )
            found = array[part if len(part) > 1 else part[0]]
            np.testing.assert_array_equal(found, values[part])
            assert found.dtype == values.dtype.newbyteorder("=")
        if values.ndim == 1:
            np.testing.assert_array_equal(array[::3], values[::3])


@contextmanager
def written_as(version: int) -> Iterator[None]:
    """With anndata set to write this version of zarr; 0.13 warns wherever that setting is used."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with anndata.settings.override(zarr_write_format=version):
            yield


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("layout", ["csr", "csc"])
def test_an_export_is_read_back(version: int, layout: Any, tmp_path: Path) -> None:
    """What was exported to zarr is an input, with every slot as it was."""
    dataset = slaf.convert(everything(), tmp_path / "a.slaf")
    with written_as(version):
        slaf.export(dataset, tmp_path / "out.zarr", layout=layout)
    again = slaf.convert(tmp_path / "out.zarr", tmp_path / "b.slaf")
    assert again.published.blocks == dataset.published.blocks
    assert dict(slaf.diff(dataset, again).counts) == {}
    assert slaf.verify(again, tmp_path / "out.zarr").ok


def test_tables_of_spatial_data(tmp_path: Path) -> None:
    """The only table is taken and the images are named; of several each can be named."""
    path = write_zarr(tmp_path / "s.zarr", STORED, at="tables/one")
    zarr.open_group(path / "images").require_group("slide")
    with open_source(path) as source:
        assert source.info.not_converted == ("images (slide)",)
    write_zarr(path, STORED, at="tables/two")
    with pytest.raises(
        MissingMatrix, match=r"2 tables; name one of them: .*tables/one, .*tables/two"
    ):
        open_source(path)
    assert slaf.convert(path / "tables/two", tmp_path / "out.slaf").shape == STORED.shape


def shorten(path: Path) -> None:
    """Cut an object in half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """Change the last byte, in the checksum of the index of a shard."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def grow(path: Path) -> None:
    """Declare ten thousand million elements."""
    metadata = json.loads(path.read_text())
    metadata["shape"] = [10**10]
    path.write_text(json.dumps(metadata))


DAMAGE: dict[str, tuple[dict[str, Any], str, Callable[[Path], object]]] = {
    "chunk": ({"chunks": (2,)}, "X/data/c/0", shorten),
    "empty chunk": ({"chunks": (2,)}, "X/data/c/0", lambda path: path.write_text("")),
    "shard": ({"chunks": (2,), "shards": (4,)}, "X/data/c/0", shorten),
    "index": ({"chunks": (2,), "shards": (4,)}, "X/data/c/0", flip),
    "shape": ({"chunks": (2,)}, "X/data/zarr.json", grow),
    "metadata": ({}, "X/indptr/zarr.json", shorten),
    "ids": ({}, "obs/_index/zarr.json", Path.unlink),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage(name: str, tmp_path: Path) -> None:
    """A damaged store is refused with the path, and nothing is left at the output."""
    arrays_, key, damage = DAMAGE[name]
    path = write_zarr(tmp_path / "in.zarr", STORED, **arrays_)
    damage(path / key)
    with pytest.raises(DamagedInput, match=r"in\.zarr"):
        slaf.convert(path, tmp_path / "out.slaf")
    assert not (tmp_path / "out.slaf").exists()


@pytest.mark.parametrize(
    "codec", [numcodecs.Zstd(), numcodecs.Blosc(), numcodecs.LZ4(), numcodecs.GZip()]
)
@pytest.mark.parametrize("elements", [1, 40])
def test_a_chunk_of_another_size(codec: Any, elements: int, tmp_path: Path) -> None:
    """A chunk that decompresses to more or less than it should is refused."""
    path = write_zarr(tmp_path / "in.zarr", STORED, version=2, compressors=codec)
    (path / "X/data/0").write_bytes(codec.encode(np.ones(elements, np.int32)))
    with pytest.raises(DamagedInput):
        slaf.convert(path, tmp_path / "out.slaf")


def test_a_zip_that_is_cut_short(tmp_path: Path) -> None:
    """A zip file without its end is refused by name, as one without a group of zarr is."""
    path = write_zarr(tmp_path / "in.zarr.zip", STORED)
    shorten(path)
    with pytest.raises(InputError, match=r"in\.zarr\.zip"):
        slaf.convert(path, tmp_path / "out.slaf")


def test_a_pipe_in_the_folder(tmp_path: Path) -> None:
    """A pipe is not waited for."""
    path = write_zarr(tmp_path / "in.zarr", STORED)
    (path / "X/data/c/0").unlink()
    os.mkfifo(path / "X/data/c/0")
    with pytest.raises(InputError):
        slaf.convert(path, tmp_path / "out.slaf")


def test_a_changed_store_is_another_input(tmp_path: Path) -> None:
    """An identity changes with a chunk, and not with the place of the folder."""
    path = write_zarr(tmp_path / "in.zarr", STORED)
    with open_source(path) as source:
        before = dict(source.info.identity)
    shutil.copytree(path, tmp_path / "copy.zarr")
    with open_source(tmp_path / "copy.zarr") as source:
        assert dict(source.info.identity)["sample"] == before["sample"]
    other = replace(STORED, values=STORED.values + np.int32(1))
    write_zarr(tmp_path / "other.zarr", other)
    with open_source(tmp_path / "other.zarr") as source:
        assert dict(source.info.identity)["sample"] != before["sample"]


def test_as_anndata_reads(tmp_path: Path) -> None:
    """A store that anndata writes, of either version, gives what anndata reads."""
    adata = anndata.AnnData(counts(20, 8))
    adata.obs["kind"] = ["a", "b"] * 10
    for version in (2, 3):
        path = tmp_path / f"{version}.zarr"
        with written_as(version):
            adata.write_zarr(path)
        dataset = slaf.convert(path, tmp_path / f"{version}.slaf")
        assert_same_matrix(dataset.X.to_memory(), adata.X)
        assert dataset.obs["kind"].to_list() == adata.obs["kind"].to_list()
