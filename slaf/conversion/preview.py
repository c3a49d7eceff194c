"""What a conversion or an append would do, found out without beginning it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from slaf.conversion.prepare import prepare_append, prepare_convert
from slaf.conversion.slafdb import open_append_target
from slaf.errors import Locked
from slaf.format.schema import EXPRESSION, Compression
from slaf.runs.plan import likely_type, matrices_with_counts
from slaf.sources.concat.genes import GeneSet
from slaf.sources.slots import UnsMerge, describe_slots
from slaf.storage.location import Location

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from slaf.conversion.prepare import Prepared
    from slaf.format.config import SourceRecord
    from slaf.runs.checkpoint import Checkpoint
    from slaf.runs.estimate import Estimate
    from slaf.sources.base import Inputs, MatrixSize

__all__ = ["Preview", "preview", "preview_append"]


@dataclass(frozen=True, slots=True)
class Preview:
    """What a conversion or an append would do.

    Attributes
    ----------
    operation
        "convert" or "append".
    sources
        The inputs.
    output
        Where the dataset would be, or is.
    n_cells, n_genes
        Its shape then.
    shared_genes
        Of the genes, how many all inputs have.
    extent
        How the matrices lie in the inputs, and how many entries they hold.
    value_type
        The type of values to begin with. A value that it does not hold makes the run begin
        again with a wider one.
    rewrites
        Whether the rows of a dataset that is added to would be written again.
    parts, parts_done
        The units of work, and those that an unfinished run has done already.
    expected
        What it would take.
    free
        Bytes that are free on the disk of the output; None in a bucket.
    beside
        What goes along with the matrix, in words: layers, raw, obsm and the other slots.
    left_behind
        What the inputs hold and the dataset will not, in words.
    counts_in
        Where the chosen matrix holds fractions: the matrices that begin with whole numbers.
    notes
        What else is to be known of inputs that are brought together, in words.
    """

    operation: str
    sources: tuple[SourceRecord, ...]
    output: str
    n_cells: int
    n_genes: int
    shared_genes: int
    extent: MatrixSize
    value_type: str
    rewrites: bool
    parts: int
    parts_done: int
    expected: Estimate
    free: int | None
    beside: tuple[str, ...]
    left_behind: tuple[str, ...]
    counts_in: tuple[str, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As `--dry-run --json` prints it."""
        data: dict[str, Any] = to_builtins(self)
        return data


def preview(
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
) -> Preview:
    """Say what `slaf.convert` would do with these arguments, and refuse what it would refuse.

    Nothing is written. The matrix is not read, so values that no type holds are not found.

    Raises
    ------
    InputError
        If an input cannot be converted.
    ConflictError
        If the output is not free for this conversion.
    StorageError
        If the disk is too small.
    """
    with prepare_convert(
        inputs,
        output,
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
        _check_not_locked(ready.location)
        there = ready.unfinished(
            overwrite=overwrite, restart=restart, allow_duplicate=allow_duplicate
        )
        return _preview(ready, there, workers)


def preview_append(
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
) -> Preview:
    """Say what `slaf.append` would do with these arguments, and refuse what it would refuse.

    Raises
    ------
    DatasetError, InputError, ConflictError, StorageError
        As `slaf.append` does; nothing is written.
    """
    there = open_append_target(Location.of(dataset, storage_options))
    with prepare_append(
        inputs,
        there,
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
    ) as ready:
        _check_not_locked(ready.location)
        unfinished = ready.unfinished(restart=restart, allow_duplicate=allow_duplicate)
        return _preview(ready, unfinished, workers)


def _check_not_locked(location: Location) -> None:
    if location.is_locked():
        msg = f"{location}: another process is writing there"
        raise Locked(msg)


def _preview(ready: Prepared, unfinished: Checkpoint | None, workers: int) -> Preview:
    plan, inputs = ready.plan, ready.inputs
    tables = ready.tables()
    return Preview(
        operation=plan.operation,
        sources=plan.added,
        output=str(ready.location),
        n_cells=plan.n_cells,
        n_genes=plan.n_genes,
        shared_genes=inputs.shared_genes(),
        extent=inputs.extent(),
        value_type=str(likely_type(inputs.sample_values(), plan.options)),
        rewrites=EXPRESSION in plan.rewrites,
        parts=len(plan.parts),
        parts_done=len(unfinished.done) if unfinished else 0,
        expected=ready.expected(tables, workers),
        free=ready.location.free(),
        beside=describe_slots(inputs),
        left_behind=inputs.left_behind(),
        counts_in=matrices_with_counts(inputs),
        notes=inputs.notes(),
    )
