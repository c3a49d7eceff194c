"""The lock of a bucket expires with its holder, who cannot write any more."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest

import slaf
from slaf.errors import Locked, StorageError
from slaf.format.epoch import locked
from slaf.format.validation import checksum_error, with_checksum
from slaf.runtime.progress import NullProgress
from slaf.storage.backend import LOCK_NAME
from slaf.storage.lease import LeaseRecord, is_expired
from slaf.storage.location import Location
from slaf.storage.object_prefix import ObjectPrefix
from tests.builders import counts, write_h5ad
from tests.cloud.outputs import output_of, unaccounted
from tests.cloud.proxy import Fault, Proxy
from tests.conversion.process import KILLED, ConvertingProcess

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cloud.servers import Cloud

LEASE = 1.0
# After this time another process may take it over: servers give times in whole seconds.
EXPIRED = LEASE + 3.5


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases of one second."""
    monkeypatch.setattr(ObjectPrefix, "lease_seconds", LEASE)


@pytest.mark.usefixtures("short")
def test_it_is_renewed(s3: Cloud) -> None:
    """A lock is held longer than its lease, as long as its holder lives."""
    location, other = (Location(s3.at("x"), s3.options) for _ in range(2))
    with location.lock():
        time.sleep(EXPIRED)
        location.put("a.txt", b"a")
        assert other.is_locked()
        with pytest.raises(Locked), other.lock():
            pass


@pytest.mark.usefixtures("short")
def test_it_expires(one_cloud: Cloud, one_proxy: Proxy) -> None:
    """A holder that cannot renew the lock loses it to another process, and writes nothing more."""
    proxied = one_cloud.via(one_proxy.endpoint)
    holder, other = (
        Location(proxied.at("x"), proxied.options),
        Location(one_cloud.at("x"), one_cloud.options),
    )
    other.put("config.json", b"{}")
    changes: tuple[Callable[[], object], ...] = (
        lambda: holder.put("config.json", b"late"),
        lambda: holder.remove("config.json"),
        lambda: ExitStack().enter_context(holder.mutation("commit", "expression.lance")),
    )
    with holder.lock():
        one_proxy.rule = lambda *_: Fault.CUT_BEFORE
        time.sleep(EXPIRED)
        with locked(other):
            one_proxy.rule = lambda *_: None
            for change in changes:
                with pytest.raises(Locked, match="the lock was lost"):
                    change()
            assert other.is_locked()
        with pytest.raises(Locked, match="the lock was lost"):
            holder.put("config.json", b"later")
    assert json.loads(other.read("config.json") or b"") == {"epoch": 1}
    assert other.list(".") == ["config.json"]


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("content", [b"{}", with_checksum({"a": 1}, indent=1), b"not JSON", None])
def test_a_late_request(content: bytes | None, one_cloud: Cloud) -> None:
    """What a former holder has sent before it knew, and arrives late, replaces nothing."""
    former = ObjectPrefix(one_cloud.at("x"), one_cloud.options)
    other = Location(one_cloud.at("x"), one_cloud.options)
    if content is not None:
        former.put("config.json", content)
    held = former.acquire(keep=False)
    assert former.read("config.json") == content
    held._stop.set()  # noqa: SLF001 - as if the process were stopped
    time.sleep(EXPIRED)
    with locked(other):
        if content in {b"not JSON", None}:
            # There is nothing to be published over it until there is another.
            other.read("config.json")
            other.put("config.json", b'{"epoch": 1}')
        with pytest.raises(Locked, match="another process has written it meanwhile"):
            former.put("config.json", b"late")
        raw = other.read("config.json") or b""
        assert json.loads(raw)["epoch"] == 1
        assert checksum_error(raw, json.loads(raw)) is None
        held.clean_up()
        assert former.has(LOCK_NAME)
    assert not former.has(LOCK_NAME)


@pytest.mark.usefixtures("short")
def test_each_takeover_is_an_epoch(one_cloud: Cloud) -> None:
    """config.json counts how often the lock was taken over, and other holders change nothing."""
    location = Location(one_cloud.at("x"), one_cloud.options)
    location.put("config.json", b"{}")
    for epoch in (1, 2):
        former = ObjectPrefix(one_cloud.at("x"), one_cloud.options)
        former.acquire(keep=False).release()
        with locked(location):
            assert json.loads(location.read("config.json") or b"") == {"epoch": epoch}
    with locked(location):
        pass
    assert json.loads(location.read("config.json") or b"") == {"epoch": 2}


@pytest.mark.usefixtures("short")
def test_a_takeover_that_fails(one_cloud: Cloud, one_proxy: Proxy) -> None:
    """Who takes the lock over and cannot begin an epoch does not give the lock back."""
    there = one_cloud.via(one_proxy.endpoint)
    location = Location(there.at("x"), there.options)
    location.put("config.json", b"{}")
    ObjectPrefix(one_cloud.at("x"), one_cloud.options).acquire(keep=False).release()
    one_proxy.rule = lambda method, path, _number: (
        Fault.CUT_BEFORE if method == "PUT" and unquote(path).endswith("config.json") else None
    )
    with pytest.raises(StorageError), locked(location):
        pass
    one_proxy.rule = lambda *_: None
    with locked(location):
        pass
    assert json.loads(location.read("config.json") or b"") == {"epoch": 1}


def test_a_lease_record() -> None:
    """A record shows a dead holder of this machine; a record of another machine only expires."""
    own = LeaseRecord.of_this_process(60)
    assert LeaseRecord.from_bytes(own.to_bytes()) == own
    assert not own.is_abandoned()
    assert not is_expired(own, 61)
    assert is_expired(own, 63)
    assert not is_expired(None, 61)
    assert is_expired(None, 63)
    dead = LeaseRecord("h", "host", 2**22 + 1, own.machine, "1", 60)
    assert dead.is_abandoned() == bool(own.machine)
    reused = LeaseRecord("h", "host", os.getpid(), own.machine, "another time", 60)
    assert reused.is_abandoned() == bool(own.machine)
    assert not LeaseRecord("h", "host", 1, "another machine", "1", 60).is_abandoned()
    assert LeaseRecord.from_bytes(b"no record") is None


def test_a_killed_process(one_cloud: Cloud, tmp_path: Path) -> None:
    """The lock of a killed process of this machine is free at once, before its lease expires."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(12, 6))
    options: dict[str, Any] = {"chunk_size": 3, "storage_options": one_cloud.options}
    first = ConvertingProcess(source, one_cloud.at("x"), options, hold_after=3)
    first.go()
    assert first.says() == "held"
    with pytest.raises(Locked, match="another process is writing here"):
        slaf.convert(source, one_cloud.at("x"), **options)
    assert slaf.status(one_cloud.at("x"), storage_options=one_cloud.options).state == "running"
    first.kill()
    assert first.wait() == KILLED
    assert slaf.status(one_cloud.at("x"), storage_options=one_cloud.options).state == "stopped"
    dataset = slaf.convert(source, one_cloud.at("x"), **options)
    slaf.verify(dataset, against=source)
    assert not unaccounted(dataset.location)


class _Losing(NullProgress):
    """Cuts a run off from its lock after some batches, until another process has it."""

    def __init__(self, proxy: Proxy, batches: int, other: Location) -> None:
        self._proxy = proxy
        self._left = batches
        self._other = other

    def advance(self, cells: int, nonzeros: int) -> None:
        super().advance(cells, nonzeros)
        self._left -= 1
        if self._left:
            return
        self._proxy.rule = lambda _method, path, _number: (
            Fault.CUT_BEFORE if path.endswith("lock") else None
        )
        time.sleep(EXPIRED)
        with locked(self._other):
            pass


@pytest.mark.usefixtures("short")
def test_a_conversion_that_loses_its_lock(
    one_cloud: Cloud, one_proxy: Proxy, tmp_path: Path
) -> None:
    """It stops without publishing anything, and the same call finishes it."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(12, 6))
    proxied, other = (
        one_cloud.via(one_proxy.endpoint),
        Location(one_cloud.at("x"), one_cloud.options),
    )
    expected = slaf.convert(source, tmp_path / "out.slaf", chunk_size=3)
    with pytest.raises(Locked, match="the lock was lost"):
        slaf.convert(
            source,
            proxied.at("x"),
            chunk_size=3,
            storage_options=proxied.options,
            progress=_Losing(one_proxy, 3, other),
        )
    status = slaf.status(other)
    assert (status.state, status.published, status.parts_done) == ("stopped", False, 2)
    slaf.convert(source, other, chunk_size=3)
    assert output_of(other) == output_of(expected.location)
    assert not unaccounted(other)
