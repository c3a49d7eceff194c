"""Conversion: plan, parts, publish."""

from __future__ import annotations

import logging
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from slaf.conversion.beside import read_beside
from slaf.conversion.claim import Run, claim, refuse_if_complete
from slaf.conversion.encode import ValueDoesNotFit, encode_part
from slaf.conversion.estimate import estimate, refuse_if_too_small
from slaf.conversion.plan import Options, counts_elsewhere, make_plan
from slaf.conversion.preview import Preview, preview
from slaf.conversion.publish import finish, publish, read_axes
from slaf.conversion.run import encode_parts
from slaf.dataset import Dataset, open_dataset
from slaf.errors import InputError
from slaf.progress import Unwatched
from slaf.schema import Compression
from slaf.sources import ReadOptions, open_source
from slaf.storage import Location

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import anndata

    from slaf.conversion.publish import Axes
    from slaf.progress import Progress
    from slaf.sources import Source

__all__ = ["Options", "Preview", "convert", "preview"]

logger = logging.getLogger("slaf")


def convert(
    source: str | os.PathLike[str] | anndata.AnnData,
    output: str | os.PathLike[str] | Location,
    *,
    matrix: str = "X",
    genome: str | None = None,
    feature_type: str | None = None,
    measurement: str | None = None,
    format: str | None = None,
    compression: str = Compression.BALANCED,
    chunk_size: int | None = None,
    compact: bool = False,
    create_indices: bool = False,
    string_ids: bool = False,
    plain_types: bool = False,
    layers: str | Sequence[str] = "all",
    raw: bool = True,
    workers: int = 0,
    memory: int | None = None,
    scratch: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    restart: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """Convert an input into a dataset, or finish a conversion that was stopped.

    The same call resumes: what parts are on disk already is in the output's config.json, and
    until all of them are there, and proven to be the input's, there is no dataset to open.

    Parameters
    ----------
    source
        An h5ad, a 10x H5 file or MTX folder, a SOMA experiment, or an AnnData in memory,
        which is not changed.
    output
        A directory that does not exist yet.
    matrix
        Which matrix becomes `expression`: "X", "raw" or "layer:NAME".
    genome
        Of a 10x H5 file with a matrix for each of several genomes, the one to take.
    feature_type
        Of a 10x matrix, the features to take, like "Gene Expression"; None for all.
    measurement
        Of a SOMA experiment, the measurement to take; None for RNA, or the only one.
    format
        The format of the input; found by its content if None.
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
    plain_types
        Store int32 ids and float32 values (float64 where that alone is exact), for readers
        that know no unsigned integers.
    layers
        Which further matrices of the same genes go along: "all", "none", or a list of names.
    raw
        Take along what AnnData calls raw, where it is not the matrix itself.
    workers
        Threads that encode parts beside this one: memory for time.
    memory
        Bytes that sorting may take where the input is not in cell order; 256 MiB if None.
    scratch
        The directory for what does not fit in `memory`; the output's parent if None.
    overwrite
        Replace a dataset, which stays readable until the new one is whole.
    restart
        Discard an unfinished conversion that is at the output.
    progress
        Told how far the run is: an object with the two methods of `slaf.progress.Progress`.

    Returns
    -------
    Dataset
        The published dataset, open.

    Raises
    ------
    InputError
        If the input cannot be converted exactly. Nothing is left at the output.
    ConflictError
        If the output is not free for this conversion.
    StorageError
        If the disk refuses; the conversion can be resumed.
    """
    options = Options(
        matrix=matrix,
        compression=Compression(compression),
        chunk_size=chunk_size,
        compact=compact,
        create_indices=create_indices,
        string_ids=string_ids,
        plain_types=plain_types,
        layers=layers if isinstance(layers, str) else tuple(layers),
        raw=raw,
    )
    location = Location.of(output)
    refuse_if_complete(location, overwrite=overwrite)
    reading = ReadOptions.beside(
        location,
        matrix,
        memory,
        scratch,
        genome=genome,
        feature_type=feature_type,
        measurement=measurement,
    )
    with open_source(source, format, reading) as opened:
        plan = make_plan(opened, options, reading.choice())
        axes = read_axes(opened)
        # What cannot be kept is refused now; what can is read again at the end.
        read_beside(opened, options, axes.cells, axes.genes)
        _announce(opened)
        refuse_if_too_small(location, reading, estimate(plan, opened, reading, workers))
        with location.lock():
            run = claim(location, plan, overwrite=overwrite, restart=restart)
            _encode(run, opened, axes, workers, progress or Unwatched())
            _publish(run, opened, axes)
    return open_dataset(location)


def _encode(run: Run, source: Source, axes: Axes, workers: int, progress: Progress) -> None:
    """Write the parts that remain; begin again with a wider type where a value asks for it."""
    while True:
        plan = run.checkpoint.plan
        cells, nonzeros = run.checkpoint.covered()
        progress.begin(cells, nonzeros, plan.source.n_cells)
        encode = partial(
            encode_part,
            source,
            plan,
            location=run.location,
            identifiers=axes.identifiers,
            progress=progress,
        )
        try:
            encode_parts(run.checkpoint.remaining(), encode, run.record, workers)
        except ValueDoesNotFit as misfit:
            lost = len(run.checkpoint.done)
            run.begin(misfit.wider)
            if lost:
                logger.info(
                    "a value asks for a wider type: beginning again (%d parts are written a "
                    "second time)",
                    lost,
                )
        except InputError:
            run.abandon()
            raise
        else:
            return


def _publish(run: Run, source: Source, axes: Axes) -> None:
    if run.checkpoint.published and run.published is not None:
        finish(run.location, run.published)
        return
    kept = read_beside(source, run.checkpoint.plan.options, axes.cells, axes.genes)
    writer = f"slaf {version('slaf')}"
    publish(run.location, run.checkpoint, axes, run.published, writer, kept=kept)


def _announce(source: Source) -> None:
    """Say what a user would want to know before the work begins."""
    elsewhere = counts_elsewhere(source)
    if elsewhere:
        logger.warning(
            "%s holds fractions, but %s whole numbers: if you want counts, use --matrix %s",
            source.matrix,
            " and ".join(elsewhere),
            elsewhere[0],
        )
    left = source.left_behind()
    if left:
        logger.warning("not converted by this release: %s", "; ".join(left))
