"""Batches for training from a bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import slaf
from tests.builders import counts, write_h5ad
from tests.cloud.proxy import proxied

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud.servers import Cloud


def test_blocks_are_read_at_the_same_time(s3: Cloud, tmp_path: Path) -> None:
    """The batches are those of the disk, and a slow answer holds no other block back."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(1_536, 6_000))
    local = slaf.convert(source, tmp_path / "out.slaf", compression="fast")
    slaf.copy(local, s3.at("out.slaf"), storage_options=s3.options)
    with proxied(s3.endpoint) as proxy:
        there = slaf.open(s3.at("out.slaf"), storage_options=s3.via(proxy.endpoint).options)
        expected = list(local.loader(batch_size=128, block_size=128))
        proxy.settle()
        proxy.delay, proxy.most_in_flight = 0.05, 0
        batches = list(there.loader(batch_size=128, block_size=128))
    assert len(batches) == len(expected) == 12
    for one, other in zip(batches, expected, strict=True):
        np.testing.assert_array_equal(one.cells, other.cells)
        assert (one.X != other.X).nnz == 0
    assert proxy.most_in_flight > 4


def test_nothing_but_rows_is_asked_for_again(s3: Cloud, tmp_path: Path) -> None:
    """A second epoch sends a request for each column of each block, and opens no file."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(1_536, 6_000))
    slaf.copy(
        slaf.convert(source, tmp_path / "out.slaf"), s3.at("out.slaf"), storage_options=s3.options
    )
    with proxied(s3.endpoint) as proxy:
        there = slaf.open(s3.at("out.slaf"), storage_options=s3.via(proxy.endpoint).options)
        loader = there.loader(batch_size=128, block_size=128)
        first = len(list(loader))
        proxy.settle()
        proxy.passed.clear()
        assert len(list(loader)) == first == 12
        proxy.settle()
    asked = [passed for passed in proxy.passed if "expression" in passed.path]
    assert {passed.method for passed in asked} == {"GET"}
    assert len(asked) <= 2 * 12
