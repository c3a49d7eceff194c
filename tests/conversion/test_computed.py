"""Metrics that were written are those of the cells of now, after every append and removal."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import slaf
from slaf.errors import DuplicateInput
from slaf.testing.crashing import Crash, CrashingStorage, Moment
from tests.builders import counts, write_h5ad

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS: dict[str, Any] = {"mask": {"few": "gene-[12]$"}, "percent_top": [2, 3]}


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    """Three inputs; the last has a gene more."""
    genes = (6, 6, 7)
    return [
        write_h5ad(tmp_path / f"{at}.h5ad", counts(5 + at, genes[at], seed=at)) for at in range(3)
    ]


def assert_computed(dataset: slaf.Dataset) -> None:
    """The columns are the metrics, bit for bit, and in their types."""
    expected = dataset.qc_metrics(**OPTIONS)
    for frame, found in ((expected.obs, dataset.obs), (expected.var, dataset.var)):
        assert set(frame) <= set(found)
        for name in frame:
            assert found[name].dtype == frame[name].dtype
            np.testing.assert_array_equal(found[name], frame[name])


def test_an_append_and_a_removal_compute_them(
    inputs: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The commit that adds or removes cells computes those of old and new cells and genes."""
    made = slaf.convert(inputs[0], tmp_path / "out.slaf", cell_id_prefix=True)
    made = made.annotate(qc=made.qc_metrics(**OPTIONS), obs={"own": range(5)})
    assert_computed(made)
    with caplog.at_level(logging.INFO, "slaf"):
        made = slaf.append(inputs[1:], made.location, join="union")
    assert "computed anew: obs:n_genes_by_counts, " in caplog.text
    assert "are missing values there: own\n" in caplog.text
    assert_computed(made)
    assert made.obs["own"].isna().sum() == 13
    assert slaf.verify(made, inputs).ok
    made = slaf.remove(made.location, str(inputs[0]))
    assert_computed(made)
    assert slaf.verify(made, inputs[1:]).ok
    made = made.annotate(drop="obs:total_counts")
    made = made.annotate(var={"n_cells_by_counts": [1] * made.n_vars}, replace=True)
    made = slaf.append(inputs[0], made.location, join="union")
    assert "total_counts" not in made.obs
    assert set(made.var["n_cells_by_counts"]) == {1}
    assert made.var["total_counts"].tolist() == made.sum("cells").tolist()


def test_the_order_of_appends_does_not_matter(inputs: list[Path], tmp_path: Path) -> None:
    """The metrics of each cell and gene are the same bits, whichever input came first."""
    found = []
    for order in ((0, 1), (1, 0)):
        path = tmp_path / f"{order[0]}.slaf"
        made = slaf.convert(inputs[order[0]], path, cell_id_prefix=True)
        made = made.annotate(qc=made.qc_metrics(**OPTIONS))
        made = slaf.append(inputs[order[1]], path)
        found.append((made.obs.sort_index().drop(columns="sample"), made.var))
    for one, other in zip(*found, strict=True):
        assert one.equals(other)


def test_masks_that_are_no_patterns(
    inputs: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Metrics of genes that were given one by one are dropped by an append, with a warning."""
    made = slaf.convert(inputs[0], tmp_path / "out.slaf", cell_id_prefix=True)
    metrics = made.qc_metrics(mask={"few": np.arange(6) < 2}, percent_top=[])
    made = made.annotate(qc=metrics, var={"own": range(6)})
    made = slaf.append(inputs[1], made.location)
    assert "dropped, for they cannot be computed anew" in caplog.text
    assert set(made.obs).isdisjoint(metrics.obs)
    assert set(made.var).isdisjoint(metrics.var)
    assert "own" in made.var
    assert slaf.verify(made, inputs[:2]).ok
    assert slaf.append(inputs[2], made.location, join="union").n_obs == 18


@pytest.mark.parametrize("moment", list(Moment))
def test_a_stopped_append_computes_them(inputs: list[Path], tmp_path: Path, moment: Moment) -> None:
    """Stopped at any effect of its end, the dataset has the metrics of before, or of after."""
    path = tmp_path / "out.slaf"
    first = slaf.convert(inputs[0], path, cell_id_prefix=True)
    before = slaf.annotate(path, qc=first.qc_metrics(**OPTIONS)).obs
    at = 6
    while True:
        try:
            made = slaf.append(inputs[1], CrashingStorage(path, at, moment))
        except Crash:
            found = slaf.open(path)
            assert found.n_obs == 11 or found.obs.equals(before)
        except DuplicateInput:
            made = slaf.open(path)
            break
        else:
            break
        at += 5
    assert_computed(made)
    assert slaf.verify(path, inputs[:2]).ok
