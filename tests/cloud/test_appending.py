"""Several inputs of buckets become one dataset, and a dataset in a bucket is added to."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

import slaf
from slaf.errors import DuplicateInput, Locked, UnknownFormat
from slaf.storage.location import Location
from slaf.testing.crashing import Crash, CrashingStorage, Moment
from tests.builders import counts, write_h5ad
from tests.cloud.outputs import finished_parts, output_of, published, unaccounted
from tests.cloud.proxy import proxied
from tests.cloud.servers import SECRETS, upload
from tests.conversion.process import KILLED, ConvertingProcess

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud.servers import Cloud

N_GENES = 6
OPTIONS: dict[str, Any] = {"chunk_size": 3}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three inputs of the same genes, of one name in a folder each."""
    root = tmp_path_factory.mktemp("inputs") / "samples"
    for number in range(3):
        folder = root / f"s{number}"
        folder.mkdir(parents=True)
        write_h5ad(folder / "in.h5ad", counts(7 + number, N_GENES, seed=number))
    return sorted(root.glob("*/in.h5ad"))


@pytest.fixture(scope="module")
def expected(inputs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a disk holds of the first, to which the others were added."""
    path = tmp_path_factory.mktemp("expected") / "out.slaf"
    slaf.convert(inputs[0], path, **OPTIONS)
    slaf.append(inputs[1:], path, **OPTIONS)
    return output_of(Location(path))


def test_a_folder(inputs: list[Path], cloud: Cloud, tmp_path: Path) -> None:
    """A prefix stands for all inputs below it; it and lists of URLs are as files of a disk are."""
    upload(cloud, inputs[0].parent.parent)
    (tmp_path / "notes.txt").write_text("no input")
    upload(cloud, tmp_path / "notes.txt")
    here = slaf.convert(inputs, tmp_path / "here.slaf", cell_id_prefix=True)
    reach: dict[str, Any] = {"storage_options": cloud.options, "cell_id_prefix": True}
    with pytest.raises(DuplicateInput, match="all their ids are among"):
        slaf.convert(cloud.at("samples"), cloud.at("out.slaf"), **reach)
    reach["allow_duplicate"] = True
    there = slaf.convert(cloud.at("samples"), cloud.at("out.slaf"), workers=2, **reach)
    assert there.published.blocks == here.published.blocks
    assert there.obs_names.to_list() == here.obs_names.to_list()
    urls = [cloud.at(f"samples/s{number}/in.h5ad") for number in range(3)]
    assert [source.uri for source in there.sources] == urls
    listed = [urls[0], str(inputs[1]), urls[2]]
    mixed = slaf.convert(listed, tmp_path / "mixed.slaf", **reach)
    assert mixed.published.blocks == here.published.blocks
    slaf.verify(there, against=cloud.at("samples"), input_storage_options=cloud.options)
    slaf.verify(there, against=urls, input_storage_options=cloud.options)
    with pytest.raises(DuplicateInput):
        slaf.append(urls[1], there.location, input_storage_options=cloud.options)
    with pytest.raises(UnknownFormat):
        slaf.convert(cloud.at("notes.txt"), tmp_path / "no.slaf", storage_options=cloud.options)


def test_a_folder_is_staged(inputs: list[Path], s3: Cloud, tmp_path: Path) -> None:
    """Inputs of one name do not get in each other's way; each is downloaded once."""
    upload(s3, inputs[0].parent.parent)
    here = slaf.convert(inputs, tmp_path / "here.slaf")
    with proxied(s3.endpoint) as proxy:
        reach: dict[str, Any] = {
            "storage_options": s3.via(proxy.endpoint).options,
            "stage": tmp_path / "stage",
            "allow_duplicate": True,
        }
        there = slaf.convert(s3.at("samples"), tmp_path / "there.slaf", **reach)
        most = 2 * sum(path.stat().st_size for path in inputs)
        assert proxy.received() < most + 200_000
    assert there.published.blocks == here.published.blocks
    assert len(list((tmp_path / "stage").rglob("in.h5ad"))) == 3


def test_it_is_added_to(inputs: list[Path], expected: dict[str, Any], cloud: Cloud) -> None:
    """An append to a bucket leaves what one to a disk does, and no key anywhere."""
    place, reach = cloud.at("out.slaf"), cloud.options
    slaf.convert(inputs[0], place, **OPTIONS, storage_options=reach)
    found = slaf.append(inputs[1:], place, storage_options=reach, dry_run=True)
    assert (found.operation, found.n_cells, found.free) == ("append", 24, None)
    dataset = slaf.append(inputs[1:], place, **OPTIONS, storage_options=reach)
    assert output_of(dataset.location) == expected
    assert not unaccounted(dataset.location)
    slaf.verify(place, against=inputs, storage_options=reach)
    config = dataset.location.read("config.json") or b""
    assert not any(secret.encode() in config for secret in SECRETS)


def test_an_append_is_stopped(
    inputs: list[Path], expected: dict[str, Any], one_cloud: Cloud
) -> None:
    """Stopped anywhere, readers see the dataset as it was, and the same call finishes it."""
    rng, reach = random.Random(one_cloud.name), one_cloud.options
    for number in range(2):
        name = f"{number}.slaf"
        place = one_cloud.at(name)
        slaf.convert(inputs[0], place, **OPTIONS, storage_options=reach)
        before = published(one_cloud, name)
        moment = rng.choice(list(Moment))
        storage = CrashingStorage(place, rng.randrange(2, 28), moment, storage_options=reach)
        with pytest.raises(Crash):
            slaf.append(inputs[1:], storage, **OPTIONS)
        seen = published(one_cloud, name)
        assert seen in (before, expected)
        try:
            slaf.append(inputs[1:], place, **OPTIONS, storage_options=reach)
        except DuplicateInput:
            assert seen == expected
        assert published(one_cloud, name) == expected
        assert not unaccounted(Location(place, reach))


def test_an_append_is_killed(inputs: list[Path], one_cloud: Cloud, tmp_path: Path) -> None:
    """The next process takes it up where it was, at once, and keeps the parts that are done."""
    place, options = one_cloud.at("x"), OPTIONS | {"storage_options": one_cloud.options}
    whole = tmp_path / "whole.slaf"
    for output, reach in ((whole, OPTIONS), (place, options)):
        slaf.convert(inputs[0], output, **reach)
    slaf.append(inputs[1], whole, **OPTIONS)
    process = ConvertingProcess(inputs[1], place, options, kill_before=9, appends=True)
    process.go()
    assert process.wait() == KILLED
    found = slaf.status(place, storage_options=one_cloud.options)
    assert (found.state, found.operation, found.published) == ("stopped", "append", True)
    assert found.parts_done > 0
    files = finished_parts(Location(place, one_cloud.options))
    dataset = slaf.append(inputs[1], place, **options)
    assert output_of(dataset.location) == output_of(Location(whole))
    assert files <= {
        file.path for part in dataset.expression.get_fragments() for file in part.data_files()
    }
    assert not unaccounted(dataset.location)


def test_two_append(inputs: list[Path], expected: dict[str, Any], one_cloud: Cloud) -> None:
    """The second is refused while the first is at work, and adds its own after it."""
    place, options = one_cloud.at("x"), OPTIONS | {"storage_options": one_cloud.options}
    slaf.convert(inputs[0], place, **options)
    before = published(one_cloud, "x")
    first = ConvertingProcess(inputs[1], place, options, hold_after=2, appends=True)
    first.go()
    assert first.says() == "held"
    with pytest.raises(Locked, match="another process is writing"):
        slaf.append(inputs[2], place, **options)
    assert published(one_cloud, "x") == before
    first.go()
    assert first.says() == "done"
    first.wait()
    dataset = slaf.append(inputs[2], place, **options)
    assert dataset.published.blocks == slaf.open(dataset.location).published.blocks
    tables = output_of(dataset.location)["tables"]
    assert tables["expression"].equals(expected["tables"]["expression"])
    slaf.verify(dataset, against=inputs)
