"""A location in a bucket does what one on a disk does, and tells failures from absence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import slaf
from slaf.errors import (
    AccessDenied,
    Locked,
    NoSuchBucket,
    NotADataset,
    StorageError,
    StorageUnavailable,
)
from slaf.storage.location import Location
from slaf.testing.crashing import Crash, CrashingStorage, Moment
from tests.cloud.proxy import Fault, Proxy

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud.servers import Cloud


@pytest.fixture
def place(cloud: Cloud) -> Location:
    """A location where there is nothing."""
    return Location(cloud.at("out.slaf"), cloud.options)


def test_files(place: Location) -> None:
    """Files are put whole, read, listed, measured and removed."""
    assert not place.exists()
    assert place.is_empty()
    assert place.read("a.txt") is None
    assert place.size_of("a.txt") is None
    place.put("a.txt", b"first")
    place.put("a.txt", b"written")
    place.put("d/b.txt", b"b")
    place.put("d.txt", b"")
    assert place.read("a.txt") == b"written"
    assert place.list(".") == ["a.txt", "d.txt", "d/b.txt"]
    assert place.list("d") == ["d/b.txt"]
    assert (place.size(), place.size("d"), place.size_of("a.txt")) == (8, 1, 7)
    assert place.exists()
    assert not place.is_empty()
    place.remove("d")
    place.remove("not there")
    assert place.list(".") == ["a.txt", "d.txt"]


def test_lock(place: Location, cloud: Cloud) -> None:
    """One process holds the lock at a time, and it leaves nothing behind."""
    other = Location(cloud.at("out.slaf"), cloud.options)
    with place.lock():
        assert other.is_locked()
        with pytest.raises(Locked, match="another process is writing here"), other.lock():
            pass
        assert place.list(".") == [".lock"]
    assert not other.is_locked()
    assert not place.exists()
    with other.lock():
        assert place.is_locked()


def test_a_lock_that_nobody_got(cloud: Cloud) -> None:
    """A process that is stopped as soon as it has the lock holds nobody off, itself neither."""
    stopped = CrashingStorage(cloud.at("x"), 0, Moment.AFTER, storage_options=cloud.options)
    with pytest.raises(Crash), stopped.lock():
        pass
    place = Location(cloud.at("x"), cloud.options)
    with place.lock():
        assert place.is_locked()


def test_a_file_is_put_over_what_was_read(place: Location, cloud: Cloud) -> None:
    """Under the lock, a file that was read is replaced only if it is still the same."""
    other = Location(cloud.at("out.slaf"), cloud.options)
    with place.lock():
        assert place.read("config.json") is None
        place.put("config.json", b"1")
        place.put("config.json", b"2")
        other.put("config.json", b"other")
        with pytest.raises(Locked, match="another process has written it meanwhile"):
            place.put("config.json", b"3")
    assert place.read("config.json") == b"other"


def test_no_such_bucket(cloud: Cloud, tmp_path: Path) -> None:
    """A bucket that is not there is an error of its own, and never an empty place."""
    place = Location(cloud.at("x").replace("slaf-test", "no-such-bucket"), cloud.options)
    for look in (place.exists, place.is_empty, place.is_locked, lambda: place.read("config.json")):
        with pytest.raises(NoSuchBucket, match="there is no such bucket"):
            look()
    with pytest.raises(NoSuchBucket), place.lock():
        pass
    for command in (slaf.open, slaf.status, slaf.info):
        with pytest.raises(NoSuchBucket):
            command(str(place), storage_options=cloud.options)
    with pytest.raises(NoSuchBucket):
        slaf.convert(tmp_path / "in.h5ad", place)


def test_access_denied(cloud: Cloud, proxy: Proxy, tmp_path: Path) -> None:
    """A key that is refused is another, and nothing is written."""
    proxy.rule = lambda *_: Fault.FORBIDDEN
    there = cloud.via(proxy.endpoint)
    place = Location(there.at("x"), there.options)
    for look in (place.exists, place.is_locked, lambda: place.read("config.json")):
        with pytest.raises(AccessDenied, match="access is denied"):
            look()
    with pytest.raises(AccessDenied):
        slaf.convert(tmp_path / "in.h5ad", place)
    with pytest.raises(AccessDenied):
        slaf.open(place)


def test_a_wrong_key(az_server: Cloud) -> None:
    """So it is when the server itself refuses the key."""
    cloud = az_server.fresh()
    options = cloud.options | {"azure_storage_account_key": "d3Jvbmc="}
    with pytest.raises(AccessDenied, match="403 Forbidden"):
        slaf.open(cloud.at("x"), storage_options=options)


QUICK = {"client_max_retries": "1", "client_retry_timeout": "2"}


def test_unreachable(cloud: Cloud) -> None:
    """A server that is not there is a third one, told after the retries that were asked for."""
    there = cloud.via("http://127.0.0.1:9")
    place = Location(there.at("x"), there.options | QUICK)
    for look in (place.exists, place.is_locked, lambda: place.read("config.json")):
        with pytest.raises(StorageUnavailable, match="cannot be reached"):
            look()
    with pytest.raises(StorageUnavailable):
        slaf.open(place)


def test_nothing_there(cloud: Cloud) -> None:
    """An empty prefix of a bucket that is there is no dataset, and that is said."""
    with pytest.raises(NotADataset, match="does not exist"):
        slaf.open(cloud.at("x"), storage_options=cloud.options)


def test_options(s3: Cloud) -> None:
    """An option that is not known, or not of this cloud, is refused by its name alone."""
    for key in ("nonsense", "azure_storage_account_key"):
        with pytest.raises(StorageError, match=key) as caught:
            Location(s3.at("x"), s3.options | {key: "the-secret"})
        assert "the-secret" not in str(caught.value)
    with pytest.raises(StorageError, match="client_max_retries is 'many'"):
        Location(s3.at("x"), s3.options | {"client_max_retries": "many"})
    upper = {key.upper(): value for key, value in s3.options.items()}
    assert Location(s3.at("x"), upper).is_empty()


def test_other_urls() -> None:
    """A URL that no dataset can be at is refused at once."""
    with pytest.raises(StorageError, match="ftp:// is not known here"):
        Location("ftp://host/x")
    with pytest.raises(StorageError, match="this scheme is for inputs only") as caught:
        Location("https://user:pass@host/x?sig=secret")
    assert "https://host/x:" in str(caught.value)


def test_a_bucket_is_no_path(s3: Cloud) -> None:
    """What has to be a directory of this machine may not be a URL."""
    place = Location(s3.at("x"), s3.options)
    with pytest.raises(StorageError, match="a path of this machine"):
        place.path  # noqa: B018
    assert place.free() is None
    assert not place.shares_disk(place)
