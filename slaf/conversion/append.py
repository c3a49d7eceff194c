"""slaf.append: add cells to a dataset."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from slaf.conversion.execute import execute_run, log_warnings
from slaf.conversion.planned import elsewhere
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
    from slaf.conversion.preview import Preview
    from slaf.sources.base import Inputs

__all__ = ["append"]

logger = logging.getLogger("slaf")


@with_options(AppendOptions, AppendRun, AppendDryRun)
def append(
    inputs: Inputs, dataset: str | os.PathLike[str] | Location, options: AppendOptions
) -> Dataset | Preview:
    """Add the cells of inputs to a dataset, or finish an append that was stopped.

    Readers see the previous dataset until all cells are on disk. Its rows are kept, unless a value
    or the number of genes needs a wider type: then all rows are written again. The storage options
    and the selection of layers, raw and slots are those of the conversion.

    Parameters
    ----------
    inputs
        As for `slaf.convert`.
    dataset
        A published dataset, or the URL of one in a bucket. A dataset of slafdb whose tables satisfy
        the format is written again in this format, and is unchanged until that is complete.
    options
        By keyword, each field of `slaf.options.AppendOptions`.

    Returns
    -------
    Dataset | Preview
        The published dataset, open; with `dry_run=True`, a preview of the append.

    Raises
    ------
    DatasetError
        If there is no dataset.
    InputError
        If an input cannot be added exactly. The dataset is unchanged.
    ConflictError
        If another process writes to the dataset, another run is unfinished, or the dataset has an
        StorageError
        If writing fails; the append can be resumed.
    TypeError, ValueError
        If an option is unknown, or its value is invalid.
    """
    location = Location.of(dataset, options.storage_options)
    check_dataset_exists(location)
    if options.dry_run:
        with prepare_append(inputs, open_append_target(location), options) as prepared:
            # A conflict is reported before any table is read.
            return preview(prepared, prepared.unfinished(options))
    while n_later := _append(inputs, location, options):
        logger.info("the append that was stopped is finished; %s more follow", f"{n_later:,}")
    return open_dataset(location)


def _append(inputs: Inputs, location: Location, options: AppendOptions) -> int:
    """Append inputs, or finish an append; the number of inputs that are left to append."""
    with locked(location), ExitStack() as opened:
        target = open_append_target(location)
        prepared = opened.enter_context(prepare_append(inputs, target, options))
        prepared.unfinished(options)
        tables = prepared.tables()
        log_warnings(prepared)
        prepared.estimate(tables)
        run = begin_or_resume(
            location,
            prepared.plan,
            overwrite=False,
            restart=options.restart,
            allow_duplicate=options.allow_duplicate,
            directory=None if options.executor is None else os.getcwd(),  # noqa: PTH109
        )
        with elsewhere(inputs, options) as encode:
            progress = options.progress or NullProgress()
            workers = options.workers
            execute_run(run, prepared, tables, workers, progress=progress, elsewhere=encode)
        return prepared.n_later
