"""Files of reads from a bucket, and their coverage in one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyBigWig
import pytest

import slaf
from slaf.errors import InputError
from tests.cloud.servers import upload
from tests.conversion.cases import files_of_reads

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud.servers import Cloud


def test_reads_and_coverage(one_cloud: Cloud, tmp_path: Path) -> None:
    """It is the local one; a file of reads in a bucket is downloaded, or the option is named."""
    first, second, third = files_of_reads(tmp_path)
    local = slaf.convert([first, second, third], tmp_path / "out.slaf", bin_size=20)
    reach, url = one_cloud.options, upload(one_cloud, first)
    with pytest.raises(InputError, match="reads are not read from buckets; name a directory with"):
        slaf.convert(url, one_cloud.at("out.slaf"), storage_options=reach)
    stage = tmp_path / "stage"
    slaf.convert(url, one_cloud.at("out.slaf"), bin_size=20, stage=stage, storage_options=reach)
    dataset = slaf.append([second, third], one_cloud.at("out.slaf"), storage_options=reach)
    assert dataset.obs.equals(local.obs)
    for region in ("chr1:3-250", "chrM"):
        np.testing.assert_array_equal(dataset.coverage(region), local.coverage(region))
    assert slaf.verify(dataset, [url, second, third], stage=stage, storage_options=reach).ok
    slaf.export(dataset, tmp_path / "tracks", format="bigwig")
    with pyBigWig.open(str(tmp_path / "tracks" / "a.bw")) as file:
        assert file.stats("chr1", 0, 300, type="max") == [local.coverage("chr1")[0].max()]
