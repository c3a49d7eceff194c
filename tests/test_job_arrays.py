"""Job arrays: the index of a task, by scheduler, and lists of indices."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaf.runtime.job_arrays import SCHEDULERS, Scheduler, indices_text, parse_indices, task_index


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=lambda each: each.name)
def test_the_index_of_a_task(scheduler: Scheduler) -> None:
    """Each scheduler counts from its first index; outside of an array there is none."""
    for index in (0, 1, 311):
        assert task_index({scheduler.variable: str(index + scheduler.first)}) == index
    for outside in ("undefined", "", *(["0"] if scheduler.first else [])):
        assert task_index({scheduler.variable: outside}) is None


def test_no_array() -> None:
    """Without a variable of a scheduler there is no index."""
    assert task_index({"PATH": "/bin"}) is None


def test_schedulers_that_contradict_each_other() -> None:
    """Two indices are refused, unless they are the same part."""
    both = {"SLURM_ARRAY_TASK_ID": "2", "SGE_TASK_ID": "3"}
    assert task_index(both) == 2
    with pytest.raises(ValueError, match=r"SLURM_ARRAY_TASK_ID=2 and SGE_TASK_ID=2 contradict"):
        task_index(both | {"SGE_TASK_ID": "2"})


@given(st.sets(st.integers(0, 60)))
def test_lists_of_indices(indices: set[int]) -> None:
    """What is written as a list is read as the same indices."""
    ordered = sorted(indices)
    assert not ordered or parse_indices(indices_text(ordered)) == ordered
    assert not ordered or parse_indices(indices_text(ordered, 1)) == [i + 1 for i in ordered]


@pytest.mark.parametrize("text", ["", "a", "3-", "-3", "5-3", "1,,2", "1 2"])
def test_no_list_of_indices(text: str) -> None:
    """Text that is no list of indices is refused."""
    with pytest.raises(ValueError, match="is no list of indices"):
        parse_indices(text)
