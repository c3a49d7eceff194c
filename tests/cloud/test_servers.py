"""The servers that the tests of buckets run against do what S3, Azure and Google do."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import h5py
import lance
import pyarrow as pa

from slaf.storage.remote_path import RemotePath
from tests.builders import counts, write_h5ad
from tests.cloud.proxy import proxied
from tests.cloud.servers import upload

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud.servers import Cloud


def test_lance_works_on_it(cloud: Cloud) -> None:
    """A table is written, appended to and read."""
    rows, place = pa.table({"a": range(1000)}), cloud.at("rows.lance")
    lance.write_dataset(rows, place, storage_options=cloud.options)
    lance.write_dataset(rows, place, storage_options=cloud.options, mode="append")
    table = lance.dataset(place, storage_options=cloud.options)
    assert table.to_table().equals(pa.concat_tables([rows, rows]))
    assert table.version == 2


def test_a_proxy_answers_a_reader_that_has_the_lock_of_hdf5(s3: Cloud, tmp_path: Path) -> None:
    """Also where a thread of the proxy allocates enough to look for cycles, and HDF5 is in one."""
    local = write_h5ad(tmp_path / "in.h5ad", counts(20, 9))
    url = upload(s3, local)
    with proxied(s3.endpoint) as proxy, h5py.File(local) as other:
        proxy.rule = lambda *_: _allocate()
        impatient = {"timeout": "5s", "client_max_retries": "0"}
        path = RemotePath.of(url, s3.via(proxy.endpoint).options | impatient)
        with path.open_random() as content:
            cycle: dict[str, Any] = {"data": other["X/data"]}
            cycle["cycle"] = cycle
            del cycle
            with h5py.File(content) as file:
                assert len(file["X/data"]) == len(other["X/data"])


def _allocate() -> None:
    """Make more objects than Python makes before it looks for cycles again."""
    [[] for _ in range(2 * max(gc.get_threshold()[0], 1_000))]
