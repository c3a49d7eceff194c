"""Conversion: plan, parts, publish."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slaf.conversion.execute import execute_run, log_warnings
from slaf.conversion.prepare import prepare_append
from slaf.conversion.slafdb import check_dataset_exists, open_append_target
from slaf.dataset.dataset import Dataset, open_dataset
from slaf.runs.output_run import begin_or_resume
from slaf.runtime.progress import NullProgress
from slaf.sources.concat.genes import GeneSet
from slaf.storage.location import Location

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from slaf.runtime.progress import Progress
    from slaf.sources.base import Inputs

__all__ = ["append"]


def append(
    inputs: Inputs,
    dataset: str | os.PathLike[str] | Location,
    *,
    matrix: str | None = None,
    genome: str | None = None,
    feature_type: str | None = None,
    measurement: str | None = None,
    format: str | None = None,
    genes: str = GeneSet.STRICT,
    cell_id_prefix: bool = False,
    allow_duplicate: bool = False,
    without: str | Sequence[str] = (),
    by_gene: bool | None = None,
    chunk_size: int | None = None,
    compact: bool = False,
    workers: int = 0,
    memory: int | None = None,
    scratch: str | os.PathLike[str] | None = None,
    restart: bool = False,
    storage_options: Mapping[str, str] | None = None,
    input_storage_options: Mapping[str, str] | None = None,
    stage: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Add the cells of inputs to a dataset, or finish an append that was stopped.

    Readers see the dataset as it was until all of it is there. Its rows stay as they are,
    unless a value or the number of genes asks for a wider type: then all are written again.
    How it is stored is not chosen here: as it was when it was made.

    Parameters
    ----------
    inputs
        As for `slaf.convert`.
    dataset
        A published dataset, or the URL of one in a bucket. One that slafdb wrote is written
        anew, if its tables satisfy the format, and stays what it is until that is done.
    matrix
        Which matrix of the inputs to take; that of the inputs of the dataset if None.
    genome, feature_type, measurement, format
        As for `slaf.convert`.
    genes
        "strict" refuses inputs whose genes are not those of the dataset, in whatever order;
        "union" puts genes that it has not behind those that it has.
    cell_id_prefix
        Put the name of its input before each cell id.
    allow_duplicate
        Take an input that is in the dataset already once more.
    without
        As for `slaf.convert`; beside what was left out when the dataset was made. What layers,
        raw and slots of the inputs are taken otherwise was chosen then.
    by_gene
        Whether the dataset will have its rows in the order of genes too, all of which each append
        writes anew; None to leave it with them or without, as it is.
    chunk_size, compact, workers, memory, scratch
        As for `slaf.convert`.
    restart
        Discard an unfinished append that is at the dataset.
    storage_options, input_storage_options, stage
        As for `slaf.convert`.
    progress
        Told how far the run is: an object with the two methods of `slaf.runtime.progress.Progress`.

    Returns
    -------
    Dataset
        The dataset as it is published now, open.

    Raises
    ------
    DatasetError
        If there is no dataset.
    InputError
        If an input cannot be added exactly. The dataset stays as it was.
    ConflictError
        If another run is at work there, or unfinished, or an input is in the dataset already.
    StorageError
        If the disk refuses; the append can be resumed.
    """
    location = Location.of(dataset, storage_options)
    check_dataset_exists(location)
    with (
        location.lock(),
        prepare_append(
            inputs,
            open_append_target(location),
            matrix=matrix,
            genome=genome,
            feature_type=feature_type,
            measurement=measurement,
            format=format,
            genes=genes,
            cell_id_prefix=cell_id_prefix,
            without=without,
            by_gene=by_gene,
            chunk_size=chunk_size,
            compact=compact,
            workers=workers,
            memory=memory,
            scratch=scratch,
            storage_options=storage_options,
            input_storage_options=input_storage_options,
            stage=stage,
        ) as ready,
    ):
        # Before anything is read of them: it is soon known.
        ready.unfinished(restart=restart, allow_duplicate=allow_duplicate)
        tables = ready.tables()
        log_warnings(ready.inputs)
        ready.expected(tables, workers)
        run = begin_or_resume(
            location,
            ready.plan,
            overwrite=False,
            restart=restart,
            allow_duplicate=allow_duplicate,
        )
        execute_run(run, ready, tables, workers, progress or NullProgress())
    return open_dataset(location)
