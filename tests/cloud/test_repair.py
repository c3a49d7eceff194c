"""A dataset in a bucket is held against the tags of its objects, and mended as one on a disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import slaf
from slaf.storage.location import Location
from slaf.testing.crashing import Crash, CrashingStorage
from tests.builders import counts, write_h5ad
from tests.cloud.outputs import output_of, unaccounted

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud.servers import Cloud


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An input of three parts, with obsp and uns."""
    parts: dict[str, Any] = {"obsp": {"graph": counts(12, 12, seed=4)}, "uns": {"colour": "red"}}
    return write_h5ad(tmp_path_factory.mktemp("source") / "in.h5ad", counts(12, 6), **parts)


def change(location: Location, name: str) -> None:
    """Put an object of the same size and another content."""
    content = bytearray(location.read(name) or b"")
    content[len(content) // 2] ^= 1
    location.put(name, bytes(content))


def test_every_object(source: Path, one_cloud: Cloud) -> None:
    """An object that is another, or gone, is found by its tag, and mended."""
    place = one_cloud.at("out.slaf")
    dataset = slaf.convert(source, place, chunk_size=4, storage_options=one_cloud.options)
    location, expected = dataset.location, output_of(dataset.location)
    proof = dataset.published.checksums
    assert proof.etag_scope == place
    assert all(one.etag for one in proof.files)
    slaf.verify(place, storage_options=one_cloud.options)
    kinds = {"data": "expression.lance/data", "version": "cells.lance/_versions"}
    kinds |= {"pairs": "cellsxcells.lance/data", "uns": "uns-", "index": "expression.lance/_ind"}
    for kind, start in kinds.items():
        published = slaf.open(place, storage_options=one_cloud.options).published
        name = next(one.file for one in published.checksums.files if one.file.startswith(start))
        if kind in {"pairs", "index"}:
            location.remove(name)
        else:
            change(location, name)
        with pytest.raises(slaf.VerificationFailed) as caught:
            slaf.verify(place, quick=True, storage_options=one_cloud.options)
        (difference,) = caught.value.report.differences
        assert difference.where.startswith(name)
        repaired = slaf.repair(place, source, storage_options=one_cloud.options)
        assert [damaged.split(" ")[0] for damaged in repaired.damaged] == [name]
        found = output_of(location)
        if kind == "version":
            # A table that Lance cannot open is written into a new directory.
            assert found["config"]["tables"].keys() == expected["config"]["tables"].keys()
            expected["config"]["tables"] = found["config"]["tables"]
        assert found == expected
        assert not {file for file in unaccounted(location) if not file.startswith("uns")}
        slaf.verify(place, against=source, storage_options=one_cloud.options)


def test_stopped(source: Path, one_cloud: Cloud) -> None:
    """A repair in a bucket that is stopped is finished by the same call."""
    place = one_cloud.at("out.slaf")
    dataset = slaf.convert(source, place, chunk_size=4, storage_options=one_cloud.options)
    expected = output_of(dataset.location)
    for at in (6, 9, 12, 15):
        published = slaf.open(place, storage_options=one_cloud.options).published
        for one in published.checksums.files:
            if "/data/" in one.file:
                change(dataset.location, one.file)
        with pytest.raises(Crash):
            slaf.repair(CrashingStorage(place, at, storage_options=one_cloud.options), source)
        slaf.repair(place, source, storage_options=one_cloud.options)
        assert output_of(dataset.location) == expected


def test_a_copy_on_a_disk(source: Path, cloud: Cloud, tmp_path: Path) -> None:
    """Tags say nothing of a copy elsewhere; what a disk has noted is held against a copy too."""
    place = cloud.at("out.slaf")
    dataset = slaf.convert(source, place, chunk_size=4, storage_options=cloud.options)
    copy = Location(tmp_path / "copy.slaf")
    copy.mkdir()
    for name in dataset.location.list("."):
        copy.put(name, dataset.location.read(name) or b"")
    assert slaf.verify(copy).ok
    # And the other way round: digests go with the files.
    local = slaf.convert(source, tmp_path / "local.slaf", chunk_size=4).location
    there = Location(cloud.at("uploaded.slaf"), cloud.options)
    for name in local.list("."):
        there.put(name, local.read(name) or b"")
    assert slaf.verify(there).ok
    damaged = next(name for name in there.list(".") if "expression.lance/data" in name)
    change(there, damaged)
    with pytest.raises(slaf.VerificationFailed, match=damaged):
        slaf.verify(there)
    # An append notes tags of its own, and keeps the digests.
    slaf.repair(there, source)
    more = write_h5ad(tmp_path / "more.h5ad", counts(5, 6, seed=3))
    plain = slaf.convert(more, there.uri("plain.slaf"), storage_options=cloud.options)
    assert plain.published.checksums.etag_scope == there.uri("plain.slaf")
