"""The servers that the tests of buckets run against do what S3, Azure and Google do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lance
import pyarrow as pa

if TYPE_CHECKING:
    from tests.cloud.servers import Cloud


def test_lance_works_on_it(cloud: Cloud) -> None:
    """A table is written, appended to and read."""
    rows, place = pa.table({"a": range(1000)}), cloud.at("rows.lance")
    lance.write_dataset(rows, place, storage_options=cloud.options)
    lance.write_dataset(rows, place, storage_options=cloud.options, mode="append")
    table = lance.dataset(place, storage_options=cloud.options)
    assert table.to_table().equals(pa.concat_tables([rows, rows]))
    assert table.version == 2
