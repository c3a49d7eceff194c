"""In a bucket, too, the rows in the order of genes are those of `expression`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import slaf
from slaf.storage.location import Location
from slaf.testing.crashing import Crash, CrashingStorage
from tests.builders import counts, write_h5ad
from tests.cloud.outputs import output_of, unaccounted

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud.servers import Cloud

TABLE = "expression_by_gene"


def test_stopped_finished_read_and_mended(cloud: Cloud, tmp_path: Path) -> None:
    """It is the local one; stopped while sorting it is finished; what is lost is sorted again."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(16, 6))
    local = slaf.convert(source, tmp_path / "out.slaf", by_gene=True)
    place, reach = cloud.at("out.slaf"), cloud.options
    recorder = CrashingStorage(cloud.at("whole.slaf"), storage_options=reach)
    slaf.convert(source, recorder, by_gene=True)
    sorting = [at for at, one in enumerate(recorder.effects) if f"write {TABLE}" in str(one)]
    with pytest.raises(Crash):
        slaf.convert(
            source, CrashingStorage(place, sorting[0], storage_options=reach), by_gene=True
        )
    dataset = slaf.convert(source, place, by_gene=True, storage_options=reach)
    assert output_of(dataset.location) == output_of(local.location)
    assert not unaccounted(dataset.location)
    found = dataset[[3, 1], [5]].X.to_memory().toarray()
    assert np.array_equal(found, local.X.to_memory().toarray()[[3, 1]][:, [5]])
    location = Location(place, reach)
    (lost,) = location.list(f"{TABLE}.lance/data")
    location.remove(lost)
    with pytest.raises(slaf.VerificationFailed, match=TABLE):
        slaf.verify(place, storage_options=reach)
    slaf.repair(place, storage_options=reach)
    slaf.verify(place, against=source, storage_options=reach)
