"""Conversion: plan, parts, publish."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slaf.conversion.execute import execute_run, log_warnings
from slaf.conversion.prepare import prepare_convert
from slaf.conversion.preview import preview, with_options
from slaf.dataset.dataset import Dataset, open_dataset
from slaf.format.epoch import locked
from slaf.options import ConvertDryRun, ConvertOptions, ConvertRun
from slaf.runs.output_run import begin_or_resume, check_not_complete
from slaf.runtime.progress import NullProgress
from slaf.storage.location import Location

if TYPE_CHECKING:
    import os

    from slaf.conversion.preview import Preview
    from slaf.sources.base import Inputs

__all__ = ["convert"]


@with_options(ConvertOptions, ConvertRun, ConvertDryRun)
def convert(
    inputs: Inputs, output: str | os.PathLike[str] | Location, options: ConvertOptions
) -> Dataset | Preview:
    """Convert inputs into a dataset, or finish a conversion that was stopped.

    The same call resumes: the parts that are on disk already are in the output's config.json, and
    until all of them are on disk, and proven to be the input's, there is no dataset to open.

    Parameters
    ----------
    inputs
        An h5ad, a 10x H5 file or MTX folder, a SOMA experiment, or an AnnData in memory, which is
        not changed; a folder of inputs; or a list of these, whose cells follow each other.
    output
        A directory that does not exist yet, or the URL of one in a bucket.
    options
        By keyword, each field of `slaf.options.ConvertOptions`.

    Returns
    -------
    Dataset | Preview
        The published dataset, open; with `dry_run=True` what the conversion would do.

    Raises
    ------
    InputError
        If an input cannot be converted exactly. Nothing is left at the output.
    ConflictError
        If the output is not free for this conversion, or an input is given twice.
    StorageError
        If the disk refuses; the conversion can be resumed.
    TypeError, ValueError
        If there is no such option, or it does not take the value.
    """
    location = Location.of(output, options.storage_options)
    if not options.dry_run:
        check_not_complete(location, overwrite=options.overwrite)
    with prepare_convert(inputs, location, options) as ready:
        if options.dry_run:
            return preview(ready, ready.unfinished(options, overwrite=options.overwrite))
        tables = ready.tables()
        log_warnings(ready.inputs)
        ready.estimate(tables)
        with locked(location):
            run = begin_or_resume(
                location,
                ready.plan,
                overwrite=options.overwrite,
                restart=options.restart,
                allow_duplicate=options.allow_duplicate,
            )
            progress = options.progress or NullProgress()
            execute_run(run, ready, tables, options.workers, progress)
    return open_dataset(location)
