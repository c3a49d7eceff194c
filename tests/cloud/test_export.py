"""An export to a bucket is there whole or not at all, whatever stops it."""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import h5py
import numpy as np
import pytest
import scipy.sparse as sp

import slaf
from slaf.errors import (
    InputError,
    Locked,
    NoSuchBucket,
    OutputExists,
    StorageError,
    StorageUnavailable,
    TargetError,
)
from slaf.runtime.progress import NullProgress
from slaf.storage.location import Location
from slaf.storage.object_options import open_store
from slaf.targets import FORMATS
from slaf.targets.base import TargetFormat
from slaf.targets.upload import BucketDestination, staging_url
from slaf.testing.crashing import Crash, CrashingStorage, Failure, Moment
from tests.builders import counts, write_h5ad
from tests.cli.terminal import run
from tests.cloud.outputs import contents, files_of
from tests.cloud.proxy import Fault, Proxy, proxied
from tests.conversion.stopped import points

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from slaf.runtime.progress import Progress
    from tests.cloud.servers import Cloud

OUTPUTS: dict[str, dict[str, Any]] = {
    "out.h5ad": {"layout": "csc"},
    "out.zarr": {},
    "out.h5": {},
    "out": {"format": "10x_mtx"},
    "out.soma": {},
}
FOLDERS = [name for name in OUTPUTS if name not in {"out.h5ad", "out.h5"}]
HASTY = {"timeout": "30s", "client_max_retries": "1", "client_retry_timeout": "1"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset on a disk."""
    folder = tmp_path_factory.mktemp("dataset")
    slaf.convert(write_h5ad(folder / "in.h5ad", counts(40, 9)), folder / "in.slaf")
    return folder / "in.slaf"


@pytest.mark.parametrize("name", OUTPUTS)
def test_it_is_the_same(name: str, dataset: Path, cloud: Cloud, tmp_path: Path) -> None:
    """Of every format the objects are what the files are on a disk, and there are no others."""
    url, options = cloud.at(name), OUTPUTS[name]
    made = slaf.export(dataset, url, storage_options=cloud.options, **options)
    for file, data in contents(cloud).items():
        (tmp_path / "there" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "there" / file).write_bytes(data)
    local = slaf.export(dataset, tmp_path / name, **options)
    assert (made.output, made.format) == (url, local.format)
    if name == "out.soma":
        # Its files are called by the time.
        both = (slaf.diff(dataset, folder / name) for folder in (tmp_path, tmp_path / "there"))
        assert len({found.differences for found in both}) == 1
        assert {found.partition("/")[0] for found in contents(cloud)} == {name}
    else:
        assert contents(cloud) == files_of(tmp_path / name)
        assert made.bytes == local.bytes
    with pytest.raises(OutputExists, match="--overwrite replaces it"):
        slaf.export(dataset, url, storage_options=cloud.options, **options)


def test_the_other_name_of_azure(dataset: Path, az_server: Cloud) -> None:
    """An address that names the account is the same place."""
    cloud = az_server.fresh()
    container = "abfss://slaf-test@devstoreaccount1.dfs.core.windows.net"
    root = cloud.root.replace("az://slaf-test", container)
    for name in ("out.h5", "out.zarr"):
        made = slaf.export(dataset, f"{root}/{name}", storage_options=cloud.options)
        assert made.output == f"{root}/{name}"
        found = [data for there, data in contents(cloud).items() if there.partition("/")[0] == name]
        assert sum(map(len, found)) == made.bytes


@pytest.mark.parametrize("name", OUTPUTS)
def test_it_is_replaced(name: str, dataset: Path, one_cloud: Cloud, tmp_path: Path) -> None:
    """With `overwrite` nothing of the older one is left."""
    slaf.convert(write_h5ad(tmp_path / "b.h5ad", counts(9, 70, seed=1)), tmp_path / "b.slaf")
    url, options = one_cloud.at(name), OUTPUTS[name] | {"storage_options": one_cloud.options}
    slaf.export(tmp_path / "b.slaf", url, **options)
    before = contents(one_cloud).keys()
    slaf.export(dataset, url, overwrite=True, **options)
    slaf.export(dataset, tmp_path / name, **OUTPUTS[name])
    if name == "out.soma":
        # All but what has no content, and a name that is always the same.
        assert {found.rpartition("/")[2] for found in contents(one_cloud).keys() & before} == {
            "__tiledb_group.tdb"
        }
        assert len(contents(one_cloud)) == len(files_of(tmp_path / name))
    else:
        assert contents(one_cloud) == files_of(tmp_path / name)


def test_in_pieces(cloud: Cloud, tmp_path: Path) -> None:
    """What is large is sent in pieces, and is the same."""
    rng = np.random.default_rng(0)
    matrix = sp.csr_matrix(rng.integers(0, 1 << 20, (1500, 2000), np.int32))
    slaf.convert(write_h5ad(tmp_path / "in.h5ad", matrix), tmp_path / "in.slaf")
    options: dict[str, Any] = {"compression": "none"}
    with proxied(cloud.endpoint) as proxy:
        there = cloud.via(proxy.endpoint)
        slaf.export(
            tmp_path / "in.slaf", cloud.at("out.h5ad"), storage_options=there.options, **options
        )
        assert max(passed.sent for passed in proxy.passed) <= 8 << 20
        assert sum(passed.sent for passed in proxy.passed) > 20 << 20
    slaf.export(tmp_path / "in.slaf", tmp_path / "out.h5ad", **options)
    assert contents(cloud) == files_of(tmp_path / "out.h5ad")


def test_the_program(dataset: Path, s3: Cloud, gs_server: Cloud, tmp_path: Path) -> None:
    """`slaf export` takes URLs for both, be they of two clouds."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(20, 9))
    slaf.convert(source, s3.at("in.slaf"), storage_options=s3.options)
    other = gs_server.fresh()
    words = [*other.words()]
    words += [w.replace("--storage-option", "--input-storage-option") for w in s3.words()]
    command = ["export", s3.at("in.slaf"), other.at("out.h5ad"), *words]
    assert other.at("out.h5ad") in run(*command).succeeded().out
    assert run(*command).code == 4
    scratch = ["--scratch", str(tmp_path / "scratch")]
    run(*command, "--overwrite", *scratch).succeeded()
    assert not list((tmp_path / "scratch").iterdir())
    assert contents(other).keys() == {"out.h5ad"}
    ended = run("export", dataset, other.at("out"), *other.words())
    assert (ended.code, "no format has this suffix" in ended.err) == (3, True)


def test_what_is_refused(dataset: Path, cloud: Cloud) -> None:
    """What is no such output is not replaced; nothing is written into a dataset, or nowhere."""
    reach: dict[str, Any] = {"storage_options": cloud.options, "overwrite": True}
    place = Location(cloud.root, cloud.options)
    for name in ("out.zarr/notes.txt", "other.zarr", "dir.h5ad/notes.txt"):
        place.put(name, b"mine")
    for name in ("out.zarr", "other.zarr", "dir.h5ad"):
        with pytest.raises(OutputExists, match="is not replaced; remove it"):
            slaf.export(dataset, cloud.at(name), **reach)
    slaf.convert(dataset.parent / "in.h5ad", cloud.at("in.slaf"), storage_options=cloud.options)
    with pytest.raises(OutputExists, match="it would be in the dataset"):
        slaf.export(cloud.at("in.slaf"), cloud.at("in.slaf/out.h5ad"), **reach)
    with pytest.raises(StorageError, match="this is a bucket; name an output in it"):
        slaf.export(dataset, f"{cloud.name}://slaf-test/", format="h5ad", **reach)
    with pytest.raises(StorageError, match="an output is on a disk or in a bucket"):
        slaf.export(dataset, "https://host/out.h5ad?signature=x", format="h5ad")
    with pytest.raises(NoSuchBucket):
        slaf.export(dataset, cloud.at("x.h5ad").replace("slaf-test", "no-such-bucket"), **reach)
    assert {"out.zarr/notes.txt", "other.zarr", "dir.h5ad/notes.txt"} <= contents(cloud).keys()


# ------------------------------------------------------------------ stopped at every effect

OLD, NEW = "old", "new"
KINDS = {
    "file": TargetFormat("file", "a file", (), lambda path: path.is_file(), lambda *_: None),  # type: ignore[arg-type]
    "folder": TargetFormat(
        "folder",
        "a folder",
        (),
        lambda path: (path / "last").is_file(),
        lambda *_: None,  # type: ignore[arg-type]
        marker_files=("first", "last"),
    ),
}


def written(text: str, kind: str) -> dict[str, str]:
    """The objects of an output; of the older one also some that the newer has not."""
    if kind == "file":
        return {"out": text}
    names = ["a", "b/c", "first", "last", *(["b/d", "e"] if text == OLD else [])]
    return {f"out/{name}": text for name in names}


def publish(staging: Location, cloud: Cloud, kind: str, scratch: Path, text: str) -> None:
    """Publish an output, in the place of what is there."""

    def write(path: Path, seen: Progress) -> None:
        seen.begin(0, 0, 1)
        for name, content in written(text, kind).items():
            file = path.parent / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(content)

    place = BucketDestination(cloud.at("out"), cloud.options, staging)
    place.publish(write, KINDS[kind], overwrite=True, scratch=scratch, progress=NullProgress())


def seen(cloud: Cloud, kind: str) -> str | None:
    """What a reader sees: one of the texts, the same everywhere; or nothing."""
    there = {name: data.decode() for name, data in contents(cloud).items() if name[0] != "."}
    if (f"out/{KINDS[kind].marker_files[-1]}" if kind == "folder" else "out") not in there:
        return None
    (text,) = {*there.values()}
    assert there == written(text, kind)
    return text


@pytest.mark.parametrize(
    ("kind", "before", "failure", "most"),
    [
        ("file", None, Failure.CRASH, None),
        ("folder", OLD, Failure.CRASH, 5),
        ("folder", None, Failure.FULL, 4),
        pytest.param("folder", OLD, Failure.CRASH, None, marks=pytest.mark.slow),
        pytest.param("folder", None, Failure.FULL, None, marks=pytest.mark.slow),
        pytest.param("file", OLD, Failure.CRASH, None, marks=pytest.mark.slow),
        pytest.param("file", OLD, Failure.FULL, None, marks=pytest.mark.slow),
        pytest.param("file", None, Failure.FULL, None, marks=pytest.mark.slow),
        pytest.param("folder", OLD, Failure.FULL, None, marks=pytest.mark.slow),
        pytest.param("folder", None, Failure.CRASH, None, marks=pytest.mark.slow),
    ],
)
def test_stopped_at_any_effect(  # noqa: PLR0917 - pytest fills them by name
    kind: str,
    before: str | None,
    failure: Failure,
    most: int | None,
    one_cloud: Cloud,
    tmp_path: Path,
) -> None:
    """There is the older output, the newer one or none, never a part; the next export is whole."""

    def begun(at: int | None, moment: Moment = Moment.BEFORE) -> tuple[Cloud, CrashingStorage]:
        cloud = one_cloud.fresh()
        if before is not None:
            publish(plain(cloud), cloud, kind, tmp_path / "before", before)
        url = staging_url(cloud.at("out"))
        return cloud, CrashingStorage(url, at, moment, failure, storage_options=cloud.options)

    def plain(cloud: Cloud) -> Location:
        return Location(staging_url(cloud.at("out")), cloud.options)

    cloud, recorder = begun(None)
    publish(recorder, cloud, kind, tmp_path / "recorded", NEW)
    assert seen(cloud, kind) == NEW
    for at in points(len(recorder.effects), most, (kind, failure)):
        for moment in Moment:
            cloud, staging = begun(at, moment)
            with pytest.raises((Crash, StorageError)):
                publish(staging, cloud, kind, tmp_path / "scratch", NEW)
            found = seen(cloud, kind)
            assert found in {before, NEW, None}
            if kind == "file":
                assert found is not None or before is None
            if failure is Failure.FULL and found is None and before is None:
                # What was uploaded is removed again, for removing is not refused.
                assert not [name for name in contents(cloud) if name[0] != "."]
            publish(plain(cloud), cloud, kind, tmp_path / "scratch", NEW)
            assert seen(cloud, kind) == NEW
            assert all(name[0] != "." for name in contents(cloud))
            assert not list((tmp_path / "scratch").iterdir())


class Watching(Location):
    """A location that looks, before each object is put, whether there is an output."""

    def __init__(self, url: str, options: Mapping[str, str], format: str, output: str) -> None:
        super().__init__(url, options)
        self.looks = 0
        self._format = format
        self._output = output
        self._marks = {
            mark for found in FORMATS if found.name == format for mark in found.marker_files
        }
        self._reach = dict(options)

    @contextmanager
    def mutation(self, action: str, name: str) -> Iterator[None]:
        """Look, and go on."""
        with super().mutation(action, name):
            if action == "upload":
                self.looks += 1
                # At some of those that come first, and at all by which readers know it.
                if self.looks % 9 == 0 or name.split("/")[1] in self._marks:
                    assert not readable(self._output, self._reach, self._format)
            yield


def readable(url: str, options: Mapping[str, str], format: str) -> bool:
    """Whether a reader of the format takes what is there for something."""
    import zarr

    if format == "zarr":
        store = zarr.storage.ObjectStore(open_store(url, options), read_only=True)
        try:
            zarr.open_group(store, mode="r")
        except FileNotFoundError:
            return False
        return True
    try:
        slaf.info(url, storage_options=options)
    except InputError:
        return False
    return True


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_nothing_before_its_end(name: str, dataset: Path, s3: Cloud) -> None:
    """Before its last object is put, readers of the format find nothing at the output."""
    (format,) = [
        found
        for found in FORMATS
        if found.name == OUTPUTS[name].get("format") or name.endswith(found.suffixes or ("?",))
    ]
    url = s3.at(name)
    slaf.export(dataset, s3.at(f"first-{name}"), storage_options=s3.options, **OUTPUTS[name])
    assert readable(s3.at(f"first-{name}"), s3.options, format.name)
    local = dataset.parent / name
    slaf.export(dataset, local, overwrite=True, **OUTPUTS[name])
    staging = Watching(staging_url(url), s3.options, format.name, url)
    for _ in range(2):
        # The second time in the place of the first.
        BucketDestination(url, s3.options, staging).publish(
            lambda path, _: copied(local, path),
            format,
            overwrite=True,
            scratch=dataset.parent / "scratch",
            progress=NullProgress(),
        )
        assert readable(url, s3.options, format.name)
    assert staging.looks == 2 * sum(file.is_file() for file in local.rglob("*"))


def copied(source: Path, target: Path) -> None:
    """Copy a folder."""
    shutil.copytree(source, target)


# -------------------------------------------------------------------------------- and the rest


@pytest.mark.parametrize("name", ["out.h5ad", "out.zarr"])
def test_the_network_fails(
    name: str, dataset: Path, one_cloud: Cloud, one_proxy: Proxy, tmp_path: Path
) -> None:
    """From some request on, nothing is to be read, and the same command makes it whole."""
    there = one_cloud.via(one_proxy.endpoint)
    url, options = one_cloud.at(name), OUTPUTS[name]
    slaf.export(dataset, tmp_path / name, **options)
    slaf.export(dataset, f"{url}-all", format=name[4:], storage_options=there.options)
    requests = len(one_proxy.passed)
    for first in range(2, requests, max(requests // 5, 1)):
        begun = len(one_proxy.passed)
        one_proxy.rule = lambda _m, _p, n, last=begun + first: (  # type: ignore[misc]
            Fault.ERROR_503 if n >= last else None
        )
        with pytest.raises((StorageUnavailable, Locked)):
            slaf.export(dataset, url, storage_options=there.options | HASTY, **options)
        one_proxy.rule = lambda *_: None
        found = {k: v for k, v in contents(one_cloud).items() if k.partition("/")[0] == name}
        if name == "out.h5ad":
            assert not found
        elif found:
            assert not readable(url, one_cloud.options, "zarr")
    slaf.export(dataset, url, storage_options=one_cloud.options, **options)
    found = {k: v for k, v in contents(one_cloud).items() if k.partition("/")[0][:-4] != name}
    assert found == files_of(tmp_path / name)


class _Interrupts(NullProgress):
    """Sends Ctrl-C to this process, once something is being uploaded."""

    def __init__(self) -> None:
        self.told = 0

    def advance(self, cells: int, nonzeros: int) -> None:
        super().advance(cells, nonzeros)
        if not cells and not nonzeros:
            self.told += 1
            if self.told == 1:
                os.kill(os.getpid(), signal.SIGINT)
            # Meanwhile the other thread is told.
            time.sleep(0.5)


@pytest.mark.parametrize("name", ["out.h5", "out.zarr"])
def test_a_ctrl_c(name: str, dataset: Path, s3: Cloud) -> None:
    """A Ctrl-C amid the upload ends it, and nothing is left."""
    with pytest.raises(KeyboardInterrupt):
        slaf.export(
            dataset,
            s3.at(name),
            storage_options=s3.options,
            progress=_Interrupts(),
            **OUTPUTS[name],
        )
    found = contents(s3)
    # One object may have been sent already.
    assert not found or found.keys() == {"out.h5"}


class _Meanwhile(NullProgress):
    """Lets others come while the output is written."""

    def __init__(self, output: str, cloud: Cloud, dataset: Path) -> None:
        self._output = output
        self._cloud = cloud
        self._dataset = dataset

    def begin(self, cells: int, nonzeros: int, total_cells: int) -> None:
        super().begin(cells, nonzeros, total_cells)
        with pytest.raises(Locked, match="another process is writing here"):
            slaf.export(self._dataset, self._output, storage_options=self._cloud.options)
        above, _, name = self._output.rpartition("/")
        Location(above, self._cloud.options).put(name, b"theirs")


def test_others_come_meanwhile(dataset: Path, cloud: Cloud) -> None:
    """A second export is refused; what another program puts there stays as it is."""
    url = cloud.at("out.h5ad")
    watching = _Meanwhile(url, cloud, dataset)
    with pytest.raises(OutputExists):
        slaf.export(dataset, url, storage_options=cloud.options, progress=watching)
    assert contents(cloud) == {"out.h5ad": b"theirs"}


@pytest.mark.parametrize("name", ["out.h5ad", "out.zarr"])
def test_others_come_at_the_last_moment(
    name: str, dataset: Path, cloud: Cloud, proxy: Proxy
) -> None:
    """What is put there while the last request is under way stays too."""
    last = "out.h5ad" if name == "out.h5ad" else "out.zarr/.zgroup"
    place = Location(cloud.root, cloud.options)

    def rule(method: str, path: str, number: int) -> None:
        del number
        if method == "PUT" and unquote(path).endswith(f"/{last}"):
            place.put(last, b"theirs")

    proxy.rule = rule
    there = cloud.via(proxy.endpoint)
    with pytest.raises(Locked, match="another process has written it meanwhile"):
        slaf.export(dataset, cloud.at(name), storage_options=there.options)
    assert contents(cloud)[last] == b"theirs"


def test_a_value_that_does_not_fit(cloud: Cloud, tmp_path: Path) -> None:
    """What fails while it is written leaves nothing, in the bucket or on the disk."""
    matrix = sp.csr_matrix(np.array([[1.5, np.nan]], np.float32))
    slaf.convert(write_h5ad(tmp_path / "in.h5ad", matrix), tmp_path / "in.slaf")
    with pytest.raises(TargetError, match="which Matrix Market cannot hold"):
        slaf.export(
            tmp_path / "in.slaf",
            cloud.at("out"),
            format="10x_mtx",
            scratch=tmp_path / "scratch",
            storage_options=cloud.options,
        )
    assert not contents(cloud)
    assert not list((tmp_path / "scratch").iterdir())
    assert h5py.is_hdf5(tmp_path / "in.h5ad")
