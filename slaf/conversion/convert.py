"""slaf.convert: convert inputs into a dataset."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from slaf.conversion.execute import execute_run, log_warnings
from slaf.conversion.planned import elsewhere
from slaf.conversion.prepare import prepare_convert
from slaf.conversion.preview import preview, with_options
from slaf.dataset.dataset import Dataset, open_dataset
from slaf.format.epoch import locked
from slaf.options import ConvertDryRun, ConvertOptions, ConvertRun
from slaf.runs.output_run import begin_or_resume, check_not_complete
from slaf.runtime.progress import NullProgress
from slaf.storage.location import Location

if TYPE_CHECKING:
    from slaf.conversion.prepare import Prepared
    from slaf.conversion.preview import Preview
    from slaf.sources.base import Inputs

__all__ = ["convert", "finish_conversion"]


@with_options(ConvertOptions, ConvertRun, ConvertDryRun)
def convert(
    inputs: Inputs, output: str | os.PathLike[str] | Location, options: ConvertOptions
) -> Dataset | Preview:
    """Convert inputs into a dataset, or finish a conversion that was stopped.

    The same call resumes: the receipts of the finished parts are in the output. The dataset can be
    opened once all parts are on disk and have the digests of the input.

    Parameters
    ----------
    inputs
        An h5ad, a 10x H5 file or MTX folder, a SOMA experiment, a BAM file, which is one cell, or
        an AnnData in memory, which is not changed; a folder of inputs; or a list of these, whose
        cells are concatenated.
    output
        A directory that does not exist yet, or the URL of one in a bucket.
    options
        By keyword, each field of `slaf.options.ConvertOptions`.

    Returns
    -------
    Dataset | Preview
        The published dataset, open; with `dry_run=True`, a preview of the conversion.

    Raises
    ------
    InputError
        If an input cannot be converted exactly. Nothing is left at the output.
    ConflictError
        If the output has other content, or an input is given twice.
    StorageError
        If writing fails; the conversion can be resumed.
    TypeError, ValueError
        If an option is unknown, or its value is invalid.
    """
    location = Location.of(output, options.storage_options)
    if not options.dry_run:
        check_not_complete(location, overwrite=options.overwrite, append="`slaf append`")
    with prepare_convert(inputs, location, options) as prepared:
        if options.dry_run:
            return preview(prepared, prepared.unfinished(options, overwrite=options.overwrite))
        finish_conversion(inputs, prepared, options)
    return open_dataset(location)


def finish_conversion(inputs: Inputs, prepared: Prepared, options: ConvertOptions) -> None:
    """Begin a prepared conversion, or take it up again, and publish the dataset.

    Parameters
    ----------
    inputs
        The inputs, as they were given.
    prepared
        The conversion.
    options
        How it runs.
    """
    location, tables = prepared.location, prepared.tables()
    log_warnings(prepared)
    prepared.estimate(tables)
    with locked(location):
        run = begin_or_resume(
            location,
            prepared.plan,
            overwrite=options.overwrite,
            restart=options.restart,
            allow_duplicate=options.allow_duplicate,
            directory=None if options.executor is None else os.getcwd(),  # noqa: PTH109
        )
        with elsewhere(inputs, options) as encode:
            progress = options.progress or NullProgress()
            workers = options.workers
            execute_run(run, prepared, tables, workers, progress=progress, elsewhere=encode)
