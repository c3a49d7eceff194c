"""No key is written, logged, printed or told in an error."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import slaf
from slaf.runtime.progress import NullProgress
from slaf.storage.location import Location
from slaf.targets import FORMATS
from slaf.targets.base import WriteOptions
from slaf.targets.contents import contents_of
from slaf.targets.upload import BucketDestination, staging_url
from slaf.testing.crashing import Crash, CrashingStorage
from tests.builders import counts, write_h5ad
from tests.cli.terminal import run
from tests.cloud.proxy import Fault, Proxy
from tests.cloud.servers import SECRETS, upload

if TYPE_CHECKING:
    from tests.cloud.servers import Cloud


def check(text: str | bytes) -> None:
    """Check that no key is in a text."""
    for secret in SECRETS:
        found = secret.encode() in text if isinstance(text, bytes) else secret in text
        assert not found, text[:2000]


def as_input(words: list[str]) -> list[str]:
    """Options of an output as those of an input."""
    return [word.replace("--storage-option", "--input-storage-option") for word in words]


def _stopped_export(place: str, cloud: Cloud) -> None:
    """Stop an export amid its upload, and look into what it leaves."""
    output = cloud.at("stopped.zarr")
    staging = CrashingStorage(staging_url(output), 9, storage_options=cloud.options)
    dataset = slaf.open(place, storage_options=cloud.options)
    (format,) = (found for found in FORMATS if found.name == "zarr")
    target = format.open(
        contents_of(dataset),
        WriteOptions("csr", "zstd", 1 << 20, Path(tempfile.gettempdir())),
    )
    with tempfile.TemporaryDirectory() as scratch, pytest.raises(Crash):
        BucketDestination(output, cloud.options, staging).publish(
            target.write, format, overwrite=False, scratch=Path(scratch), progress=NullProgress()
        )
    left = Location(staging_url(output), cloud.options)
    assert left.list(".") == [".lock", "uploading.json"]
    for name in left.list("."):
        check(left.read(name) or b"")


def test_nothing_secret(
    cloud: Cloud, proxy: Proxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in what is stored, nor in what the program prints when it works, nor when it fails."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(12, 6))
    place, words = cloud.at("x"), cloud.words()
    ended = run("convert", source, place, "--verbose", "--chunk-size", "4", *words)
    assert ended.code == 0, ended.err
    check(ended.out + ended.err)
    more = upload(cloud, write_h5ad(tmp_path / "more.h5ad", counts(5, 6, seed=1)))
    ended = run("append", more, place, "--verbose", "--allow-duplicate", *words)
    assert ended.code == 0, ended.err
    check(ended.out + ended.err)
    for verb in ("info", "status", "verify"):
        ended = run(verb, place, "--json", "--verbose", *words)
        check(ended.out + ended.err)
    for name in ("out.h5ad", "out.zarr"):
        ended = run("export", place, cloud.at(name), "-v", *words)
        assert ended.code == 0, ended.err
        check(ended.out + ended.err)
    _stopped_export(place, cloud)
    location = Location(place, cloud.options)
    for name in location.list("."):
        check(location.read(name) or b"")
    check(repr(location) + str(location) + repr(slaf.open(location)))
    check(repr(slaf.SLAFConverter(storage_options=cloud.options)))
    there = cloud.via(proxy.endpoint)
    proxy.rule = lambda *_: Fault.FORBIDDEN
    with caplog.at_level(logging.DEBUG):
        commands: list[list[str | Path]] = [["info"], ["status"], ["verify"]]
        commands += [["convert", source], ["append", source], ["convert", there.at("more.h5ad")]]
        commands += [["export", "--format", "h5ad", place, *as_input(words)]]
        for command in commands:
            output = there.at("y" if command[0] == "export" else "x")
            ended = run(*command, output, "--verbose", *there.words())
            assert ended.code == 6, ended.err
            check(ended.out + ended.err)
        proxy.rule = lambda *_: Fault.CUT_BEFORE
        quick = ["--storage-option", "client_max_retries=1"]
        ended = run("info", there.at("x"), "--verbose", *there.words(), *quick)
        assert ended.code == 6, ended.err
        check(ended.out + ended.err)
    check(caplog.text)
