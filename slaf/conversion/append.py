"""Append: more cells for a dataset."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from slaf.conversion.execute import execute_run, log_warnings
from slaf.conversion.prepare import prepare_append
from slaf.conversion.preview import preview, with_options
from slaf.conversion.slafdb import check_dataset_exists, open_append_target
from slaf.dataset.dataset import Dataset, open_dataset
from slaf.format.epoch import locked
from slaf.options import AppendDryRun, AppendOptions, AppendRun
from slaf.runs.output_run import begin_or_resume
from slaf.runtime.progress import NullProgress
from slaf.storage.location import Location

if TYPE_CHECKING:
    import os

    from slaf.conversion.preview import Preview
    from slaf.sources.base import Inputs

__all__ = ["append"]


@with_options(AppendOptions, AppendRun, AppendDryRun)
def append(
    inputs: Inputs, dataset: str | os.PathLike[str] | Location, options: AppendOptions
) -> Dataset | Preview:
    """Add the cells of inputs to a dataset, or finish an append that was stopped.

    Readers see the dataset as it was until all of it is on disk. Its rows stay as they are, unless
    a value or the number of genes asks for a wider type: then all are written again. How it is
    stored, and which layers, raw and slots of the inputs are converted, was chosen when it was
    made.

    Parameters
    ----------
    inputs
        As for `slaf.convert`.
    dataset
        A published dataset, or the URL of one in a bucket. One that slafdb wrote is written anew,
        if its tables satisfy the format, and stays what it is until that is done.
    options
        By keyword, each field of `slaf.options.AppendOptions`.

    Returns
    -------
    Dataset | Preview
        The dataset as it is published now, open; with `dry_run=True` what the append would do.

    Raises
    ------
    DatasetError
        If there is no dataset.
    InputError
        If an input cannot be added exactly. The dataset stays as it was.
    ConflictError
        If another run is at work at the dataset, or unfinished, or an input is in the dataset
        already.
    StorageError
        If the disk refuses; the append can be resumed.
    TypeError, ValueError
        If there is no such option, or it does not take the value.
    """
    location = Location.of(dataset, options.storage_options)
    check_dataset_exists(location)
    with ExitStack() as opened:
        if not options.dry_run:
            opened.enter_context(locked(location))
        target = open_append_target(location)
        ready = opened.enter_context(prepare_append(inputs, target, options))
        # Before any table is read: a conflict is known at once.
        unfinished = ready.unfinished(options)
        if options.dry_run:
            return preview(ready, unfinished)
        tables = ready.tables()
        log_warnings(ready.inputs)
        ready.estimate(tables)
        run = begin_or_resume(
            location,
            ready.plan,
            overwrite=False,
            restart=options.restart,
            allow_duplicate=options.allow_duplicate,
        )
        execute_run(run, ready, tables, options.workers, options.progress or NullProgress())
    return open_dataset(location)
