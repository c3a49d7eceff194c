"""Removing inputs from a dataset gives the dataset of the others."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import slaf
from slaf.errors import InputError
from tests.laws.test_given_back import adatas


def removed_and_others(data: st.DataObject, folder: Path) -> None:
    """Convert and append inputs, remove some, and compare what stays with what was there."""
    drawn = [data.draw(adatas(f"{name}-")) for name in "abc"]
    options: Any = {"join": "union", "layers": "all", "chunk_size": data.draw(st.integers(1, 3))}
    options |= {"by_gene": data.draw(st.booleans()), "plain_types": data.draw(st.booleans())}
    inputs = [folder / f"{name}.slaf" for name in "abc"]
    try:
        for adata, path in zip(drawn, inputs, strict=True):
            slaf.convert(adata, path)
        dataset = slaf.convert(inputs[:2], folder / "out.slaf", **options)
        dataset = slaf.append(inputs[2], dataset.location, join="union")
    except InputError:
        return
    if data.draw(st.booleans()):
        slaf.compact(dataset.location)
    if data.draw(st.booleans()):
        slaf.annotate(dataset.location, obs={"mark": range(dataset.n_obs)}, uns={"by": "hand"})
    shutil.copytree(folder / "out.slaf", folder / "before.slaf")
    which = data.draw(st.sets(st.integers(0, 2), min_size=1, max_size=2))
    dataset = slaf.remove(dataset.location, [inputs[at].name for at in which])
    stays = ~np.isin(np.repeat([0, 1, 2], [len(adata) for adata in drawn]), list(which))
    differences = slaf.diff(slaf.open(folder / "before.slaf")[stays], dataset).differences
    assert [str(one) for one in differences if one.kind != "uns"] == []
    assert slaf.verify(dataset).ok
    assert slaf.verify(dataset, against=[inputs[at] for at in range(3) if at not in which]).ok
    assert dataset.to_anndata().shape == dataset.shape
    for at in which:
        dataset = slaf.append(inputs[at], dataset.location, join="union")
    again = [*(at for at in range(3) if at not in which), *which]
    assert slaf.verify(dataset, against=[inputs[at] for at in again]).ok
    assert dataset.to_anndata().shape == (len(stays), dataset.n_genes)


@settings(max_examples=2)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore")
def test_removing_gives_the_dataset_of_the_others(data: st.DataObject) -> None:
    """What stays is what the dataset had of these cells, proven, and equal to the inputs."""
    with tempfile.TemporaryDirectory() as folder:
        removed_and_others(data, Path(folder))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=150)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore")
def test_removing_from_many_datasets(data: st.DataObject) -> None:
    """So it is with many datasets."""
    with tempfile.TemporaryDirectory() as folder:
        removed_and_others(data, Path(folder))
