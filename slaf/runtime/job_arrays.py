"""Job arrays of schedulers: the index of this task, and lists of indices like 3,7-9."""

from __future__ import annotations

import os
import re
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["SCHEDULERS", "Scheduler", "indices_text", "parse_indices", "task_index"]


class Scheduler(NamedTuple):
    """The variable in which a scheduler gives the index of a task.

    Attributes
    ----------
    name
        The scheduler.
    variable
        The environment variable.
    first
        The index of the first task: 1 where the scheduler has no index 0.
    """

    name: str
    variable: str
    first: int = 0


# https://slurm.schedmd.com/job_array.html; PBS Professional and Torque; LSF (0 outside of an
# array); Grid Engine ("undefined" outside of an array);
# https://docs.aws.amazon.com/batch/latest/userguide/array_jobs.html;
# https://cloud.google.com/batch/docs/create-run-basic-job; Cloud Run; Kubernetes indexed jobs.
SCHEDULERS = (
    Scheduler("SLURM", "SLURM_ARRAY_TASK_ID"),
    Scheduler("PBS", "PBS_ARRAY_INDEX"),
    Scheduler("Torque", "PBS_ARRAYID"),
    Scheduler("LSF", "LSB_JOBINDEX", 1),
    Scheduler("SGE", "SGE_TASK_ID", 1),
    Scheduler("AWS Batch", "AWS_BATCH_JOB_ARRAY_INDEX"),
    Scheduler("Google Batch", "BATCH_TASK_INDEX"),
    Scheduler("Cloud Run", "CLOUD_RUN_TASK_INDEX"),
    Scheduler("Kubernetes", "JOB_COMPLETION_INDEX"),
)


def task_index(environment: Mapping[str, str] = os.environ) -> int | None:
    """The index of this task in its job array, counted from 0; None outside of an array.

    Raises
    ------
    ValueError
        If schedulers contradict each other, as where one runs in a job of another.

    Examples
    --------
    >>> task_index({"SGE_TASK_ID": "3"})
    2
    """
    found = {}
    for scheduler in SCHEDULERS:
        text = environment.get(scheduler.variable, "")
        if re.fullmatch(r"\d+", text) and int(text) >= scheduler.first:
            found[scheduler.variable] = int(text) - scheduler.first
    if len(set(found.values())) > 1:
        names = " and ".join(f"{name}={environment[name]}" for name in found)
        msg = f"{names} contradict each other; name the part with --index"
        raise ValueError(msg)
    return next(iter(found.values()), None)


def indices_text(indices: Iterable[int], first: int = 0) -> str:
    """Indices as the options of schedulers take them.

    Parameters
    ----------
    indices
        In ascending order, counted from 0.
    first
        The index of the first task of the scheduler.

    Examples
    --------
    >>> indices_text([3, 7, 8, 9])
    '3,7-9'
    """
    runs = groupby(enumerate(indices), key=lambda pair: pair[1] - pair[0])
    ranges = [[index + first for _, index in run] for _, run in runs]
    return ",".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else str(r[0]) for r in ranges)


def parse_indices(text: str) -> list[int]:
    """The indices of a text like 3,7-9, in ascending order.

    Raises
    ------
    ValueError
        If it is not of this form.

    Examples
    --------
    >>> parse_indices("3,7-9")
    [3, 7, 8, 9]
    """
    indices: set[int] = set()
    for each in text.split(","):
        matched = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", each)
        if matched is None or int(matched[2] or matched[1]) < int(matched[1]):
            msg = f"{text!r} is no list of indices; write it as 3 or 3,7-9"
            raise ValueError(msg)
        indices.update(range(int(matched[1]), int(matched[2] or matched[1]) + 1))
    return sorted(indices)
