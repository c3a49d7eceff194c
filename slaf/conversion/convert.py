"""Conversion: plan, parts, publish."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slaf.conversion.execute import execute_run, log_warnings
from slaf.conversion.prepare import prepare_convert
from slaf.dataset.dataset import Dataset, open_dataset
from slaf.format.schema import Compression
from slaf.runs.output_run import begin_or_resume, check_not_complete
from slaf.runtime.progress import NullProgress
from slaf.sources.concat.genes import GeneSet
from slaf.sources.slots import UnsMerge
from slaf.storage.location import Location

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from slaf.runtime.progress import Progress
    from slaf.sources.base import Inputs

__all__ = ["convert"]


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
        Told how far the run is: an object with the two methods of `slaf.runtime.progress.Progress`.

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
    check_not_complete(location, overwrite=overwrite)
    with prepare_convert(
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
        log_warnings(ready.inputs)
        ready.expected(tables, workers)
        with location.lock():
            run = begin_or_resume(
                location,
                ready.plan,
                overwrite=overwrite,
                restart=restart,
                allow_duplicate=allow_duplicate,
            )
            execute_run(run, ready, tables, workers, progress or NullProgress())
    return open_dataset(location)
