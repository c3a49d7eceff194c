"""A location in a bucket behaves as one on a disk, and reports failures as errors."""

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
def location(cloud: Cloud) -> Location:
    """An empty location."""
    return Location(cloud.at("out.slaf"), cloud.options)


def test_files(location: Location) -> None:
    """Files are put whole, read, listed, measured and removed."""
    assert not location.exists()
    assert location.is_empty()
    assert location.read("a.txt") is None
    assert location.size_of("a.txt") is None
    location.put("a.txt", b"first")
    location.put("a.txt", b"written")
    location.put("d/b.txt", b"b")
    location.put("d.txt", b"")
    assert location.read("a.txt") == b"written"
    assert location.list(".") == ["a.txt", "d.txt", "d/b.txt"]
    assert location.list("d") == ["d/b.txt"]
    assert (location.size(), location.size("d"), location.size_of("a.txt")) == (8, 1, 7)
    assert location.exists()
    assert not location.is_empty()
    location.remove("d")
    location.remove("missing")
    assert location.list(".") == ["a.txt", "d.txt"]


def test_lock(location: Location, cloud: Cloud) -> None:
    """One process holds the lock at a time, and it leaves no object."""
    other = Location(cloud.at("out.slaf"), cloud.options)
    with location.lock():
        assert other.is_locked()
        with pytest.raises(Locked, match="another process is writing here"), other.lock():
            pass
        assert location.list(".") == [".lock"]
    assert not other.is_locked()
    assert not location.exists()
    with other.lock():
        assert location.is_locked()


def test_a_crash_while_locking(cloud: Cloud) -> None:
    """A process that fails right after it took the lock does not hold it."""
    stopped = CrashingStorage(cloud.at("x"), 0, Moment.AFTER, storage_options=cloud.options)
    with pytest.raises(Crash), stopped.lock():
        pass
    location = Location(cloud.at("x"), cloud.options)
    with location.lock():
        assert location.is_locked()


def test_a_put_replaces_the_version_that_was_read(location: Location, cloud: Cloud) -> None:
    """Under the lock, a file that was read is replaced only if it is still the same."""
    other = Location(cloud.at("out.slaf"), cloud.options)
    with location.lock():
        assert location.read("config.json") is None
        location.put("config.json", b"1")
        location.put("config.json", b"2")
        other.put("config.json", b"other")
        with pytest.raises(Locked, match="another process has written it meanwhile"):
            location.put("config.json", b"3")
    assert location.read("config.json") == b"other"


def test_no_such_bucket(cloud: Cloud, tmp_path: Path) -> None:
    """A missing bucket is an error of its own, never an empty location."""
    location = Location(cloud.at("x").replace("slaf-test", "no-such-bucket"), cloud.options)
    for read in (
        location.exists,
        location.is_empty,
        location.is_locked,
        lambda: location.read("config.json"),
    ):
        with pytest.raises(NoSuchBucket, match="there is no such bucket"):
            read()
    with pytest.raises(NoSuchBucket), location.lock():
        pass
    for command in (slaf.open, slaf.status, slaf.info):
        with pytest.raises(NoSuchBucket):
            command(str(location), storage_options=cloud.options)
    with pytest.raises(NoSuchBucket):
        slaf.convert(tmp_path / "in.h5ad", location)


def test_access_denied(cloud: Cloud, proxy: Proxy, tmp_path: Path) -> None:
    """A refused key is an error of its own, and nothing is written."""
    proxy.rule = lambda *_: Fault.FORBIDDEN
    proxied = cloud.via(proxy.endpoint)
    location = Location(proxied.at("x"), proxied.options)
    for read in (location.exists, location.is_locked, lambda: location.read("config.json")):
        with pytest.raises(AccessDenied, match="access is denied"):
            read()
    with pytest.raises(AccessDenied):
        slaf.convert(tmp_path / "in.h5ad", location)
    with pytest.raises(AccessDenied):
        slaf.open(location)


def test_a_wrong_key(az_server: Cloud) -> None:
    """A wrong key, which the server itself refuses, is the same error."""
    cloud = az_server.fresh()
    options = cloud.options | {"azure_storage_account_key": "d3Jvbmc="}
    with pytest.raises(AccessDenied, match="403 Forbidden"):
        slaf.open(cloud.at("x"), storage_options=options)


QUICK = {"client_max_retries": "1", "client_retry_timeout": "2"}


def test_unreachable(cloud: Cloud) -> None:
    """A server that does not answer is an error of its own, after the chosen retries."""
    proxied = cloud.via("http://127.0.0.1:9")
    location = Location(proxied.at("x"), proxied.options | QUICK)
    for read in (location.exists, location.is_locked, lambda: location.read("config.json")):
        with pytest.raises(StorageUnavailable, match="cannot be reached"):
            read()
    with pytest.raises(StorageUnavailable):
        slaf.open(location)


def test_an_empty_prefix(cloud: Cloud) -> None:
    """An empty prefix of an existing bucket is reported as no dataset."""
    with pytest.raises(NotADataset, match="does not exist"):
        slaf.open(cloud.at("x"), storage_options=cloud.options)


def test_options(s3: Cloud) -> None:
    """An unknown option, or one of another cloud, is refused by its name, without its value."""
    for key in ("nonsense", "azure_storage_account_key"):
        with pytest.raises(StorageError, match=key) as caught:
            Location(s3.at("x"), s3.options | {key: "the-secret"})
        assert "the-secret" not in str(caught.value)
    with pytest.raises(StorageError, match="client_max_retries is 'many'"):
        Location(s3.at("x"), s3.options | {"client_max_retries": "many"})
    upper = {key.upper(): value for key, value in s3.options.items()}
    assert Location(s3.at("x"), upper).is_empty()


def test_other_urls() -> None:
    """A URL of an unsupported scheme is refused at once."""
    with pytest.raises(StorageError, match="ftp:// is not known here"):
        Location("ftp://host/x")
    for nothing in ("s3://", "gs:///", "ftp://"):
        with pytest.raises(StorageError, match=f"{nothing}.*: this names no bucket"):
            Location(nothing)
    with pytest.raises(StorageError, match="this scheme is for inputs only") as caught:
        Location("https://user:pass@host/x?sig=secret")
    assert "https://host/x:" in str(caught.value)


def test_a_bucket_is_no_path(s3: Cloud) -> None:
    """A location in a bucket has no path, no limit and no shared disk."""
    location = Location(s3.at("x"), s3.options)
    with pytest.raises(StorageError, match="a path of this machine"):
        location.path  # noqa: B018
    assert location.free() is None
    assert not location.shares_disk(location)
