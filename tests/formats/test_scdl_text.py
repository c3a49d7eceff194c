"""Text in feature tables of SCDL, whichever pandas wrote them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import slaf
from tests.builders import counts, write_h5ad

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("text", [pa.string(), pa.large_string()], ids=str)
def test_ids_are_text_of_any_type(text: pa.DataType, tmp_path: Path) -> None:
    """Ids are the ids, also as large strings, which Arrow makes of the text of pandas 3."""
    dataset = slaf.convert(write_h5ad(tmp_path / "in.h5ad", counts(4, 3)), tmp_path / "in.slaf")
    slaf.export(dataset, tmp_path / "out", format="scdl")
    tables = list((tmp_path / "out").rglob("dataframe_0.parquet"))
    assert len(tables) == 2
    for path in tables:
        table = pq.read_table(path)
        pq.write_table(table.set_column(0, table.column_names[0], table.column(0).cast(text)), path)
    found = slaf.convert(tmp_path / "out", tmp_path / "out.slaf")
    assert list(found.obs_names) == list(dataset.obs_names)
    assert list(found.var_names) == list(dataset.var_names)
