"""The report of a dataset in a bucket, and a page in one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import slaf
from slaf.errors import OutputExists
from slaf.storage.location import Location
from tests.builders import counts, write_h5ad

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud.servers import Cloud


def test_a_report_in_a_bucket(one_cloud: Cloud, tmp_path: Path) -> None:
    """The page and the files for MultiQC are written next to the dataset, and not replaced."""
    path, reach = write_h5ad(tmp_path / "in.h5ad", counts(60, 9)), one_cloud.options
    slaf.convert(path, one_cloud.at("out.slaf"), storage_options=reach)
    page = one_cloud.at("report.html")
    made = slaf.report(
        one_cloud.at("out.slaf"), page, multiqc=one_cloud.at("mqc"), storage_options=reach
    )
    assert [column.name for column in made.tables[0].columns][-1] == "value"
    folder = Location(page.rpartition("/")[0], reach)
    assert (folder.read("report.html") or b"").startswith(b"<!doctype html>")
    assert len(folder.list("mqc")) == 2
    with pytest.raises(OutputExists, match=r"report\.html: it exists already"):
        slaf.report(one_cloud.at("out.slaf"), page, storage_options=reach)
