"""Inputs in buckets and on the web are read as files are, in few requests, and no more of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import scipy.sparse as sp

import slaf
from benchmarks.inputs import Counts, Input, cached_input
from slaf.errors import (
    DuplicateInput,
    NoSuchBucket,
    NoSuchInput,
    StorageError,
    StorageUnavailable,
)
from slaf.options import ReadOptions
from slaf.sources import open_source
from slaf.sparse.ranges import RowRange
from slaf.storage.location import Location
from slaf.testing.laws import SourceLaws
from tests.builders import counts, write_h5ad
from tests.cli.terminal import run
from tests.cloud.outputs import output_of
from tests.cloud.proxy import Fault, Proxy, proxied
from tests.cloud.servers import upload
from tests.formats.builders import Mtx, write_soma, write_v3
from tests.formats.store_builders import write_h5mu, write_loom, write_zarr
from tests.formats.test_laws import SINGLE, STORED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slaf.sources.base import Source
    from tests.cloud.servers import Cloud


class Elsewhere(SourceLaws):
    """The laws of a source, of one that lies in a bucket."""

    @pytest.fixture(autouse=True)
    def _cloud(self, s3: Cloud) -> None:
        self.cloud = s3

    def local(self, folder: Path) -> Path:
        """The input, on this machine."""
        raise NotImplementedError

    def opener(self, folder: Path) -> Callable[[], Source]:
        """The same in a bucket."""
        url = upload(self.cloud, self.local(folder))
        options = ReadOptions(storage_options=self.cloud.options)
        return lambda: open_source(url, options=options)


class TestH5ad(Elsewhere):
    def local(self, folder: Path) -> Path:
        """Chunks that are deflated."""
        return write_h5ad(folder / "in.h5ad", counts(30, 9))


class TestH5adDense(Elsewhere):
    def local(self, folder: Path) -> Path:
        """A dense matrix in chunks that cut both cells and genes."""
        path = write_h5ad(folder / "in.h5ad", counts(30, 9))
        with h5py.File(path, "r+") as file:
            dense = counts(30, 9).toarray()
            del file["X"]
            made = file.create_dataset("X", data=dense, chunks=(7, 4), compression="gzip")
            made.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        return path


class TestTenxH5(Elsewhere):
    def local(self, folder: Path) -> Path:
        """Small chunks, shuffled and deflated."""
        return write_v3(folder / "in.h5", STORED, compression="gzip", shuffle=True, chunks=(2,))


class TestTenxH5Contiguous(Elsewhere):
    def local(self, folder: Path) -> Path:
        """No chunks at all."""
        return write_v3(folder / "in.h5", STORED)


class TestTenxH5OtherFilter(Elsewhere):
    def local(self, folder: Path) -> Path:
        """A filter that HDF5 has to undo."""
        return write_v3(folder / "in.h5", STORED, compression="lzf", chunks=(2,))


class TestMtx(Elsewhere):
    def local(self, folder: Path) -> Path:
        """A folder of three files."""
        return Mtx().write(folder / "in", STORED)


class TestZarr(Elsewhere):
    def local(self, folder: Path) -> Path:
        """Compressed rows in small chunks, an object each."""
        return write_zarr(folder / "in.zarr", STORED, version=2, chunks=(2,))


class TestZarrSharded(Elsewhere):
    def local(self, folder: Path) -> Path:
        """Compressed rows in shards, of which only chunks are fetched."""
        return write_zarr(folder / "in.zarr", STORED, chunks=(2,), shards=(4,))


class TestZarrZipped(Elsewhere):
    def local(self, folder: Path) -> Path:
        """A zip file."""
        return write_zarr(folder / "in.zarr.zip", STORED, chunks=(2,), shards=(4,))


class TestMuData(Elsewhere):
    def local(self, folder: Path) -> Path:
        """The only modality."""
        return write_h5mu(folder / "in.h5mu", atac=SINGLE)


class TestLoom(Elsewhere):
    def local(self, folder: Path) -> Path:
        """Chunks that cut both genes and cells."""
        return write_loom(folder / "in.loom", SINGLE, chunks=(2, 4), compression="gzip")


def test_metadata_of_zarr_is_fetched_once(s3: Cloud, tmp_path: Path) -> None:
    """A store is opened for each table and part, and each object of its metadata fetched once."""
    url = upload(s3, write_zarr(tmp_path / "in.zarr", STORED, chunks=(2,)))
    with proxied(s3.endpoint) as proxy:
        there = s3.via(proxy.endpoint).options
        slaf.convert(url, tmp_path / "out.slaf", input_storage_options=there)
        fetched = [one.path for one in proxy.passed if one.path.endswith("zarr.json")]
    assert fetched
    assert len(fetched) == len(set(fetched))


def test_soma(s3: Cloud, tmp_path: Path) -> None:
    """An experiment is read by TileDB itself, and as it is on a disk."""
    local = write_soma(tmp_path / "in.soma", SINGLE)
    url = upload(s3, local)
    here = slaf.convert(local, tmp_path / "here.slaf")
    there = slaf.convert(url, tmp_path / "there.slaf", storage_options=s3.options)
    assert here.published.blocks == there.published.blocks
    assert there.sources[0].uri == url
    slaf.verify(there, url, input_storage_options=s3.options)


def test_bucket_to_bucket(cloud: Cloud, tmp_path: Path) -> None:
    """From a bucket to a bucket, it is the same as from a disk to a disk; resuming too."""
    local = write_h5ad(tmp_path / "in.h5ad", counts(40, 9))
    url = upload(cloud, local)
    slaf.convert(local, tmp_path / "out.slaf", chunk_size=8)
    slaf.convert(url, cloud.at("out.slaf"), chunk_size=8, storage_options=cloud.options)
    expected = output_of(Location(tmp_path / "out.slaf"))
    found = output_of(Location(cloud.at("out.slaf"), cloud.options))
    for one in (expected, found):
        for source in (*one["config"].pop("sources"), *one["config"]["multi_file"]["source_files"]):
            source.pop("uri", None)
            source.pop("identity", None)
            source.pop("file_path", None)
    assert found == expected
    slaf.verify(cloud.at("out.slaf"), url, storage_options=cloud.options)
    described = slaf.info(url, storage_options=cloud.options)
    assert isinstance(described, slaf.InputInfo)
    assert described.n_cells == 40
    ended = run("info", url, "--json", *cloud.words()).succeeded()
    assert ended.json["format"] == "h5ad"


@pytest.mark.corpus
def test_counts_from_bucket_to_bucket(corpus: Path, one_cloud: Cloud, tmp_path: Path) -> None:
    """Real counts become the same, by the digests of all blocks."""
    local = corpus / "h5ad/pbmc3k_counts/pbmc3k_counts.h5ad"
    bucket_to_bucket(local, one_cloud, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_counts_from_bucket_to_bucket(cloud: Cloud, tmp_path: Path) -> None:
    """So do tens of millions of them, of 10,000 cells."""
    bucket_to_bucket(cached_input(Input(Counts(10_000))).path, cloud, tmp_path)


def bucket_to_bucket(local: Path, cloud: Cloud, folder: Path) -> None:
    """Convert a file on the disk, and from the bucket to the bucket, and compare both."""
    url = upload(cloud, local)
    here = slaf.convert(local, folder / "out.slaf")
    with proxied(cloud.endpoint) as proxy:
        there = cloud.via(proxy.endpoint).options
        made = slaf.convert(
            url,
            cloud.at("out.slaf"),
            input_storage_options=there,
            storage_options=cloud.options,
        )
        assert proxy.received() < 1.1 * _bytes_of(local, layers=True)
    assert made.published.blocks == here.published.blocks
    assert slaf.diff(here, made).ok


def large(path: Path) -> Path:
    """A file of some megabytes that do not pack, with another matrix that is not asked for."""
    rng = np.random.default_rng(0)
    dense = rng.integers(1, 1 << 20, (3000, 2000), np.int32) * (rng.random((3000, 2000)) < 0.25)
    return write_h5ad(path, sp.csr_matrix(dense), layers={"other": sp.csr_matrix(dense)})


def test_what_is_fetched(s3: Cloud, tmp_path: Path) -> None:
    """Little more than the datasets that are needed is fetched, at least four requests at once."""
    local = large(tmp_path / "in.h5ad")
    with h5py.File(local) as file:
        needed = sum(file["X"][name].id.get_storage_size() for name in file["X"])
    upload(s3, local)
    with proxied(s3.endpoint) as proxy:
        proxy.delay = 0.05
        there = s3.via(proxy.endpoint)
        out, options = tmp_path / "out.slaf", there.options
        slaf.convert(there.at("in.h5ad"), out, layers="none", storage_options=options)
        received, most = proxy.received(), proxy.most_in_flight
    assert needed > 8e6
    assert received < 1.1 * needed
    assert most >= 4
    slaf.verify(tmp_path / "out.slaf", local)


def _bytes_of(path: Path, *, layers: bool) -> int:
    """The bytes of the datasets of a file, as they are stored, with the text that they point to."""
    found: list[int] = []

    def count(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and (layers or not name.startswith("layers/")):
            found.append(item.id.get_storage_size())
            if h5py.check_string_dtype(item.dtype):
                found.append(sum(map(len, item[:])))

    with h5py.File(path) as file:
        file.visititems(count)
    return sum(found)


@pytest.mark.corpus
@pytest.mark.parametrize("layers", ["all", "none"])
def test_what_is_fetched_of_a_small_file(
    layers: str, corpus: Path, s3: Cloud, tmp_path: Path
) -> None:
    """Of a file of ten megabytes it is as little, although its parts lie here and there."""
    small = corpus / "h5ad/pbmc3k_counts/pbmc3k_counts.h5ad"
    upload(s3, small)
    with proxied(s3.endpoint) as proxy:
        proxy.delay = 0.05
        there = s3.via(proxy.endpoint)
        out, options = tmp_path / "out.slaf", there.options
        slaf.convert(there.at(small.name), out, layers=layers, storage_options=options)
        received, most = proxy.received(), proxy.most_in_flight
    assert received < 1.1 * _bytes_of(small, layers=layers == "all")
    assert most >= 4


def test_the_web(s3: Cloud, gs_server: Cloud, tmp_path: Path) -> None:
    """An address of the web is read as well, and what signs it is not told anybody."""
    cloud = gs_server.fresh()
    local = write_h5ad(tmp_path / "in.h5ad", counts(20, 9))
    upload(cloud, local)
    path = cloud.root.removeprefix("gs://")
    url = f"{cloud.endpoint}/{path}/in.h5ad?signature=nobody-may-see"
    dataset = slaf.convert(url, tmp_path / "out.slaf")
    assert dataset.sources[0].uri == url.partition("?")[0]
    config = (tmp_path / "out.slaf/config.json").read_text()
    assert "nobody-may-see" not in config
    slaf.verify(dataset, url)
    with pytest.raises(NoSuchInput) as caught:
        slaf.info(url.replace("in.h5ad", "none.h5ad"))
    assert "nobody-may-see" not in str(caught.value)
    with pytest.raises(StorageError, match="takes no aws_region"):
        slaf.info(url, storage_options={"aws_region": "x"})
    assert s3.name == "s3"


def test_a_pattern(cloud: Cloud, tmp_path: Path) -> None:
    """A pattern stands for the objects of a bucket that match it, in any of its folders."""
    folder = tmp_path / "patterns"
    for name in ("one/a.h5ad", "one/b.h5ad", "two/c.h5ad", "two/notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("h5ad"):
            write_h5ad(folder / name, counts(3, 4, seed=len(name) + ord(name[4])))
        else:
            (folder / name).write_text("none")
    pattern = f"{upload(cloud, folder)}/*/[bc]*.h5ad"
    reach: dict[str, Any] = {"storage_options": cloud.options}
    with pytest.raises(DuplicateInput, match="has the same cell ids"):
        slaf.convert(pattern, tmp_path / "out.slaf", **reach)
    ds = slaf.convert(pattern, tmp_path / "out.slaf", allow_duplicate=True, **reach)
    assert [source.uri.rpartition("/")[2] for source in ds.sources] == ["b.h5ad", "c.h5ad"]
    with pytest.raises(NoSuchInput, match="nothing matches this pattern"):
        slaf.convert(f"{cloud.at('patterns')}/*.h5", tmp_path / "2", storage_options=cloud.options)


def test_staging(s3: Cloud, tmp_path: Path) -> None:
    """An input that is staged is downloaded once, and named by where it came from."""
    for local in (
        write_h5ad(tmp_path / "in.h5ad", counts(20, 9)),
        Mtx().write(tmp_path / "folder", STORED),
        write_soma(tmp_path / "in.soma", SINGLE),
    ):
        url = upload(s3, local)
        reach: dict[str, Any] = {"storage_options": s3.options, "stage": tmp_path / "staged"}
        with proxied(s3.endpoint) as proxy:
            reach["storage_options"] = s3.via(proxy.endpoint).options
            dataset = slaf.convert(url, tmp_path / f"{local.name}.slaf", **reach)
            first = proxy.received()
            slaf.convert(url, tmp_path / f"{local.name}.again.slaf", **reach)
            assert proxy.received() - first < first
        assert dataset.sources[0].uri == url
        assert (tmp_path / "staged" / url.partition("://")[2]).exists()
        slaf.verify(dataset, local)


def test_what_is_not_there(cloud: Cloud, tmp_path: Path) -> None:
    """An input that is missing, a bucket that is missing and a network that fails are three."""
    output = tmp_path / "out.slaf"
    with pytest.raises(NoSuchInput, match="there is no such file"):
        slaf.convert(cloud.at("none.h5ad"), output, storage_options=cloud.options)
    other = cloud.at("in.h5ad").replace("slaf-test", "no-such-bucket")
    with pytest.raises(NoSuchBucket):
        slaf.convert(other, output, storage_options=cloud.options)
    gone = cloud.via("http://127.0.0.1:9").options
    gone |= {"client_max_retries": "1", "client_retry_timeout": "1"}
    with pytest.raises(StorageUnavailable):
        slaf.convert(cloud.at("in.h5ad"), output, storage_options=gone)
    assert not output.exists()


@pytest.mark.parametrize("fault", [Fault.ERROR_503, Fault.CUT_AFTER, Fault.FORBIDDEN])
def test_the_network_fails_amid(
    fault: Fault, one_cloud: Cloud, one_proxy: Proxy, tmp_path: Path
) -> None:
    """Then it is the network that is blamed and not the file, and the run can be resumed."""
    local = large(tmp_path / "in.h5ad")
    upload(one_cloud, local)
    there = one_cloud.via(one_proxy.endpoint)
    reach = there.options | {"client_max_retries": "1", "client_retry_timeout": "2"}
    one_proxy.rule = lambda _method, _path, number: fault if number > 24 else None
    with pytest.raises(StorageError) as caught:
        slaf.convert(
            there.at("in.h5ad"), tmp_path / "out.slaf", chunk_size=500, input_storage_options=reach
        )
    assert isinstance(caught.value, StorageUnavailable) is (fault is not Fault.FORBIDDEN)
    slaf.convert(
        one_cloud.at("in.h5ad"),
        tmp_path / "out.slaf",
        chunk_size=500,
        storage_options=one_cloud.options,
    )
    slaf.verify(tmp_path / "out.slaf", local)


def test_it_is_changed_meanwhile(s3: Cloud, tmp_path: Path) -> None:
    """An object that becomes another while it is read ends the run; so does one on resuming."""
    upload(s3, large(tmp_path / "in.h5ad"))
    with open_source(s3.at("in.h5ad"), options=ReadOptions(storage_options=s3.options)) as source:
        before = source.info.identity
        upload(s3, write_h5ad(tmp_path / "in.h5ad", counts(20, 9, seed=1)))
        with pytest.raises(StorageError, match="it was changed while it was read"):
            list(source.matrix().batches(RowRange(0, 20)))
    with open_source(s3.at("in.h5ad"), options=ReadOptions(storage_options=s3.options)) as source:
        assert source.info.identity != before
    assert json.dumps(dict(before))
