"""Conversion: plan, parts, publish."""

from __future__ import annotations

import logging
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from slaf.beside import blocks_of
from slaf.conversion.adding import rewriting
from slaf.conversion.adopted import base_of, refuse_if_nothing
from slaf.conversion.beside import read_beside
from slaf.conversion.claim import Run, claim, refuse_if_complete
from slaf.conversion.encode import ValueDoesNotFit, encode_part
from slaf.conversion.gene_major import sort_by_gene
from slaf.conversion.plan import Options, counts_elsewhere
from slaf.conversion.prepare import ready_to_append, ready_to_convert
from slaf.conversion.preview import Preview, preview, preview_append
from slaf.conversion.publish import finish, publish
from slaf.conversion.run import encode_parts
from slaf.dataset import Dataset, open_dataset
from slaf.errors import DamagedInput, InputError
from slaf.progress import Unwatched
from slaf.schema import EXPRESSION, Compression
from slaf.sources import GeneSet
from slaf.sources.taking import UnsMerge
from slaf.storage import Location

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from slaf.conversion.checkpoint import PartResult
    from slaf.conversion.plan import Plan
    from slaf.conversion.prepare import Prepared
    from slaf.conversion.publish import Axes
    from slaf.progress import Progress
    from slaf.sources import Concat
    from slaf.sources.base import Inputs

__all__ = ["Options", "Preview", "append", "convert", "preview", "preview_append"]

logger = logging.getLogger("slaf")

# Nonzeros that are written in a second or two: how many of them were, depends on the cores.
_WORTH_TELLING = 1 << 24


def convert(
    inputs: Inputs,
    output: str | os.PathLike[str] | Location,
    *,
    matrix: str = "X",
    genome: str | None = None,
    feature_type: str | None = None,
    measurement: str | None = None,
    format: str | None = None,
    genes: str = GeneSet.STRICT,
    cell_id_prefix: bool = False,
    allow_duplicate: bool = False,
    compression: str = Compression.BALANCED,
    chunk_size: int | None = None,
    compact: bool = False,
    create_indices: bool = False,
    string_ids: bool = False,
    by_gene: bool = False,
    plain_types: bool = False,
    layers: str | Sequence[str] = "all",
    raw: bool = True,
    without: str | Sequence[str] = (),
    uns_merge: str = UnsMerge.UNIQUE,
    workers: int = 0,
    memory: int | None = None,
    scratch: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    restart: bool = False,
    storage_options: Mapping[str, str] | None = None,
    input_storage_options: Mapping[str, str] | None = None,
    stage: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Convert inputs into a dataset, or finish a conversion that was stopped.

    The same call resumes: what parts are on disk already is in the output's config.json, and
    until all of them are there, and proven to be the input's, there is no dataset to open.

    Parameters
    ----------
    inputs
        An h5ad, a 10x H5 file or MTX folder, a SOMA experiment, or an AnnData in memory,
        which is not changed; a folder of inputs; or a list of these, whose cells follow each
        other.
    output
        A directory that does not exist yet, or the URL of one in a bucket.
    matrix
        Which matrix becomes `expression`: "X", "raw" or "layer:NAME".
    genome
        Of a 10x H5 file with a matrix for each of several genomes, the one to take.
    feature_type
        Of a 10x matrix, the features to take, like "Gene Expression"; None for all.
    measurement
        Of a SOMA experiment, the measurement to take; None for RNA, or the only one.
    format
        The format of the inputs; found by the content of each if None.
    genes
        Which genes to take of several inputs, which are aligned by their ids: "strict" refuses
        inputs that have not the same, "union" takes all, "intersection" those that all have.
    cell_id_prefix
        Put the name of its input before each cell id.
    allow_duplicate
        Take an input that is given twice twice.
    compression
        "fast", "balanced" or "small": bytes against time.
    chunk_size
        Cells written and checkpointed at a time; None for about 32 million nonzeros.
    compact
        Gather chunks into parts of about 32 million nonzeros, however small they are.
    create_indices
        Also index the ids of cells and genes: bytes for quicker look-ups.
    string_ids
        Also store the ids as strings beside the integers in `expression`.
    by_gene
        Also write the rows of `expression` in the order of genes: two and a half times the time,
        and half as many bytes again, for genes to be read as fast as cells are.
    plain_types
        Store int32 ids and float32 values (float64 where that alone is exact), for readers
        that know no unsigned integers.
    layers
        Which further matrices of the same genes go along: "all", "none", or a list of names.
        Where an input lacks what another has, there are missing values; "strict" takes all, and
        refuses such inputs.
    raw
        Take along what AnnData calls raw, where it is not the matrix itself.
    without
        What else to leave out: a slot, like "uns", or one element, like "obsm:X_pca".
    uns_merge
        What becomes of the uns of several inputs, by the rules of `anndata.concat`: "same",
        "unique", "first" or "only". That of each is kept besides.
    workers
        Threads that encode parts beside this one: memory for time.
    memory
        Bytes that sorting may take where the input is not in cell order; if None a quarter of
        what the machine or the container has free, at most 2 GiB.
    scratch
        The directory for what does not fit in `memory`; the output's parent if None.
    overwrite
        Replace a dataset, which stays readable until the new one is whole.
    restart
        Discard an unfinished run that is at the output.
    storage_options
        How to reach the buckets of inputs and output, by the names that Lance and obstore have
        for it; what is not said is taken from the environment.
    input_storage_options
        How to reach the buckets of the inputs, where that is another matter.
    stage
        A directory into which inputs from elsewhere are downloaded first, and kept; None to
        fetch only what is needed, when it is.
    progress
        Told how far the run is: an object with the two methods of `slaf.progress.Progress`.

    Returns
    -------
    Dataset
        The published dataset, open.

    Raises
    ------
    InputError
        If an input cannot be converted exactly. Nothing is left at the output.
    ConflictError
        If the output is not free for this conversion, or an input is given twice.
    StorageError
        If the disk refuses; the conversion can be resumed.
    """
    location = Location.of(output, storage_options)
    refuse_if_complete(location, overwrite=overwrite)
    with ready_to_convert(
        inputs,
        location,
        matrix=matrix,
        genome=genome,
        feature_type=feature_type,
        measurement=measurement,
        format=format,
        genes=genes,
        cell_id_prefix=cell_id_prefix,
        compression=compression,
        chunk_size=chunk_size,
        compact=compact,
        create_indices=create_indices,
        string_ids=string_ids,
        by_gene=by_gene,
        plain_types=plain_types,
        layers=layers,
        raw=raw,
        without=without,
        uns_merge=uns_merge,
        workers=workers,
        memory=memory,
        scratch=scratch,
        storage_options=storage_options,
        input_storage_options=input_storage_options,
        stage=stage,
    ) as ready:
        tables = ready.tables()
        _announce(ready.inputs)
        ready.expected(tables, workers)
        with location.lock():
            run = claim(
                location,
                ready.plan,
                overwrite=overwrite,
                restart=restart,
                allow_duplicate=allow_duplicate,
            )
            _carry_out(run, ready, tables.axes, workers, progress or Unwatched())
    return open_dataset(location)


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
        Told how far the run is: an object with the two methods of `slaf.progress.Progress`.

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
    refuse_if_nothing(location)
    with (
        location.lock(),
        ready_to_append(
            inputs,
            base_of(location),
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
        _announce(ready.inputs)
        ready.expected(tables, workers)
        run = claim(
            location,
            ready.plan,
            overwrite=False,
            restart=restart,
            allow_duplicate=allow_duplicate,
        )
        _carry_out(run, ready, tables.axes, workers, progress or Unwatched())
    return open_dataset(location)


def _carry_out(run: Run, ready: Prepared, axes: Axes, workers: int, progress: Progress) -> None:
    """All that is left to do of a run: its parts, the rows in the order of genes, and the end."""
    _encode(run, ready.inputs, axes, workers, progress)
    sort_by_gene(run, ready.reading, workers, progress)
    _publish(run, ready.inputs, axes)


def _encode(run: Run, inputs: Concat, axes: Axes, workers: int, progress: Progress) -> None:
    """Write the parts that remain; begin again with a wider type where a value asks for it."""
    while True:
        plan = run.checkpoint.plan
        kept = blocks_of(run.published if plan.base else None)
        cells, nonzeros = run.checkpoint.covered()
        progress.begin(cells, nonzeros, plan.cells_to_write)
        damaged: set[int] = set()
        encode = partial(
            _encode_readable,
            damaged,
            inputs,
            plan,
            location=run.location,
            identifiers=axes.identifiers,
            kept=kept,
            progress=progress,
        )
        try:
            encode_parts(run.checkpoint.remaining(), encode, run.record, workers)
        except ValueDoesNotFit as misfit:
            _, lost = run.checkpoint.covered()
            run.begin(rewriting(misfit.wider, misfit.table, kept.get(EXPRESSION, ())))
            _say_why(plan, run.checkpoint.plan, lost)
        except InputError as error:
            sound = run.checkpoint.without_sources_of(damaged)
            if isinstance(error, DamagedInput) and len(plan.added) > 1 and sound.done:
                # Of several inputs those that are done stay so, until the damaged one is mended.
                run.keep(sound)
                error.add_note(
                    f"{len(sound.done)} of {len(plan.parts)} parts are kept: mend it and run the "
                    "same again, or discard them with --restart"
                )
            else:
                run.abandon()
            raise
        else:
            return


def _encode_readable(
    damaged: set[int], inputs: Concat, plan: Plan, index: int, **how: Any
) -> PartResult:
    """Encode a part; note those of which the input turns out to be damaged."""
    try:
        return encode_part(inputs, plan, index, **how)
    except DamagedInput:
        damaged.add(index)
        raise


def _say_why(before: Plan, now: Plan, lost: int) -> None:
    again = [table for table in now.rewrites if table not in before.rewrites]
    if EXPRESSION in again:
        logger.info("a value asks for %s: the dataset is written again with it", now.value_type)
    elif again:
        logger.info("a value asks for a wider type: %s is written again with it", again[0])
    elif lost >= _WORTH_TELLING:
        logger.info(
            "a value asks for %s: beginning again (%s nonzeros are written a second time)",
            now.value_type if now.value_type != before.value_type else "a wider type",
            f"{lost:,}",
        )


def _publish(run: Run, inputs: Concat, axes: Axes) -> None:
    if run.checkpoint.published and run.published is not None:
        finish(run.location, run.published)
        return
    kept = read_beside(inputs, axes.cells, axes.genes)
    writer = f"slaf {version('slaf')}"
    publish(run.location, run.checkpoint, axes, run.published, writer, kept=kept)


def _announce(inputs: Concat) -> None:
    """Say what a user would want to know before the work begins."""
    elsewhere = counts_elsewhere(inputs)
    if elsewhere:
        logger.warning(
            "%s holds fractions, but %s whole numbers: if you want counts, use --matrix %s",
            inputs.matrix,
            " and ".join(elsewhere),
            elsewhere[0],
        )
    left = inputs.left_behind()
    if left:
        logger.warning("not converted: %s", "; ".join(left))
    for note in inputs.notes():
        logger.warning("%s", note)
