"""A dataset in a bucket is annotated, and inputs are removed from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import slaf
from slaf.testing.crashing import Crash, CrashingStorage
from tests.builders import counts, write_h5ad

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud.servers import Cloud


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two inputs."""
    folder = tmp_path_factory.mktemp("annotate")
    return [write_h5ad(folder / f"{n}.h5ad", counts(6, 5, seed=n)) for n in range(2)]


def test_in_a_bucket(inputs: list[Path], cloud: Cloud) -> None:
    """What is annotated is proven, the version before can be opened, and an input is removed."""
    made = slaf.convert(inputs, cloud.at("a.slaf"), storage_options=cloud.options)
    layer = counts(12, 5, seed=9) * 0.5
    made = made.annotate(obs={"n": range(12)}, layers={"half": layer}, uns={"by": "hand"})
    assert slaf.verify(made).ok
    assert "n" not in slaf.open(made.location, version=1).obs
    made = slaf.remove(made, "0.h5ad")
    assert slaf.verify(made, against=inputs[1]).ok
    assert made.obs["n"].tolist() == list(range(6, 12))
    assert np.array_equal(made.layers["half"][:].toarray(), layer[6:].toarray())


def test_stopped(inputs: list[Path], one_cloud: Cloud) -> None:
    """An annotation that was stopped changed nothing; the same call ends well."""
    place = one_cloud.at("a.slaf")
    made = slaf.convert(inputs, place, storage_options=one_cloud.options)
    for at in (4, 9):
        with pytest.raises(Crash):
            slaf.annotate(
                CrashingStorage(place, at, storage_options=one_cloud.options), uns={"at": at}
            )
        assert slaf.verify(made.location).ok
    assert slaf.annotate(made, uns={"by": "hand"}).uns["by"] == "hand"
    assert slaf.verify(made.location).ok
