"""What fails between us and the server is tried again, or ends in an error that can be resumed."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import slaf
from slaf.errors import Locked, NotADataset, StorageUnavailable
from slaf.storage.location import Location
from tests.builders import counts, write_h5ad
from tests.cloud.outputs import output_of, unaccounted
from tests.cloud.proxy import Fault, Proxy, proxied

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud.servers import Cloud

OPTIONS: dict[str, Any] = {"chunk_size": 4}
HASTY = {"timeout": "30s", "client_max_retries": "1", "client_retry_timeout": "2"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An input of three parts."""
    return write_h5ad(tmp_path / "in.h5ad", counts(12, 6))


@pytest.fixture
def expected(source: Path, tmp_path: Path) -> dict[str, Any]:
    """What a disk holds of it."""
    return output_of(slaf.convert(source, tmp_path / "whole.slaf", **OPTIONS).location)


@pytest.mark.parametrize(
    "fault", [Fault.ERROR_500, Fault.ERROR_503, Fault.CUT_BEFORE, Fault.CUT_AFTER, Fault.SLOW]
)
def test_now_and_then(
    fault: Fault, source: Path, expected: dict[str, Any], one_cloud: Cloud, one_proxy: Proxy
) -> None:
    """One request in ten fails, and the dataset is the same, or the error can be resumed."""
    rng = random.Random(f"{fault} {one_cloud.name}")
    one_proxy.rule = lambda *_: fault if rng.random() < 1 / 10 else None
    there = one_cloud.via(one_proxy.endpoint)
    for _ in range(20):
        try:
            slaf.convert(source, there.at("x"), **OPTIONS, storage_options=there.options)
            break
        except slaf.ConflictError as error:
            if not isinstance(error, Locked):
                break  # it had been finished: only the last answer was lost
        except StorageUnavailable:
            continue
    one_proxy.rule = lambda *_: None
    place = Location(one_cloud.at("x"), one_cloud.options)
    if slaf.status(place).state != "finished":
        slaf.convert(source, place, **OPTIONS)
    assert output_of(place) == expected
    assert not unaccounted(place)
    assert any(passed.fault is fault for passed in one_proxy.passed)


@pytest.mark.parametrize("fault", [Fault.ERROR_503, Fault.CUT_BEFORE, Fault.CUT_AFTER])
def test_for_good(fault: Fault, source: Path, expected: dict[str, Any], s3: Cloud) -> None:
    """A server that fails from some request on ends the run with an error, and it is resumed."""
    for first in (4, 30):
        with proxied(s3.endpoint) as proxy:
            there = s3.via(proxy.endpoint)
            name = f"x-{first}"
            proxy.rule = lambda _m, _p, number, first=first: fault if number >= first else None  # type: ignore[misc]
            with pytest.raises((StorageUnavailable, Locked)):
                slaf.convert(
                    source, there.at(name), **OPTIONS, storage_options=there.options | HASTY
                )
        place = Location(s3.at(name), s3.options)
        with suppress(NotADataset):
            assert not slaf.status(place).published
        slaf.convert(source, place, **OPTIONS)
        assert output_of(place) == expected
        assert not unaccounted(place)


def test_no_answer(s3: Cloud) -> None:
    """A server that does not answer is given up after the time that was asked for."""
    with proxied(s3.endpoint) as proxy:
        proxy.rule, proxy.hang = lambda *_: Fault.HANG, 10.0
        there = s3.via(proxy.endpoint)
        options = there.options | {"timeout": "500ms", "client_max_retries": "1"}
        with pytest.raises(StorageUnavailable):
            slaf.open(there.at("x"), storage_options=options)


def test_a_published_dataset_out_of_reach(source: Path, one_cloud: Cloud, one_proxy: Proxy) -> None:
    """Reading that fails is the fault of the network, and not of the dataset."""
    slaf.convert(source, one_cloud.at("x"), storage_options=one_cloud.options)
    there = one_cloud.via(one_proxy.endpoint)
    dataset = slaf.open(there.at("x"), storage_options=there.options | HASTY)
    one_proxy.rule = lambda *_: Fault.ERROR_503
    for look in (lambda: dataset.X[:], lambda: dataset.obs, lambda: slaf.verify(dataset)):
        with pytest.raises(StorageUnavailable, match="cannot be reached"):
            look()
