"""The inputs of one source, and what is known of each after it was opened first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import structs

from slaf.annotations.columns import column_of, replace_ids, without_columns
from slaf.errors import InputError
from slaf.format.config import SourceRecord
from slaf.sources.concat.genes import align
from slaf.sources.concat.same_cells import check_samples_differ
from slaf.sources.slots import slot_names
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from slaf.options import Join, ReadOptions, SlotSelection
    from slaf.sources.base import Raw, Source, SourceInfo
    from slaf.sources.concat.genes import Alignment
    from slaf.sources.concat.pool import SourcePool

__all__ = [
    "SAMPLE_SIZE",
    "ExistingDataset",
    "Input",
    "Member",
    "check_raw",
    "open_members",
    "raw_genes",
    "selected_columns",
]

T = TypeVar("T")

# Sampled values of each input.
SAMPLE_SIZE = 1 << 12


@dataclass(frozen=True, slots=True)
class Input:
    """An input that is opened when it is read.

    Attributes
    ----------
    uri
        Its path or URL.
    open
        Opens it, as often as needed.
    options
        How it is read.
    prefix
        The prefix of its cell ids.
    folder
        The number of the folder or pattern that stands for it and for others; None if it was named
        by itself.
    """

    uri: str
    open: Callable[[ReadOptions], Source]
    options: ReadOptions
    prefix: str = ""
    folder: int | None = None

    def opened(self) -> Source:
        """The input, open for reading."""
        return self.open(self.options)


@dataclass(frozen=True, slots=True)
class ExistingDataset:
    """A dataset to which inputs are added, as the first of several sources.

    Attributes
    ----------
    source
        The dataset.
    records
        The inputs that it was made of.
    uns_per_source
        Reads the uns of each of these.
    annotated
        The names of what is not from these: "obs:NAME", "varm:KEY", "uns:KEY", ….
    """

    source: Source
    records: tuple[SourceRecord, ...]
    uns_per_source: Callable[[], Sequence[Mapping[str, Any]]]
    annotated: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One input of several, with all that needs no second opening.

    Attributes
    ----------
    lease
        Keeps it open while it is read.
    info
        Its description.
    record
        Its record in config.json.
    rows
        Its cells among all.
    cells
        The table of its cells, with their prefix.
    positions
        The position of each of its genes among all; −1 for those left out.
    genes_repeated
        Whether its genes, with all columns, are those of the input before it.
    sample_values
        Some of its first values.
    available, selected
        The names of its layers, raw and slots, and of those that are converted.
    columns
        The names of its columns, as "obs:NAME" and "var:NAME".
    n_inputs
        The number of inputs that it was made of.
    is_existing
        Whether it is the dataset to which the others are added.
    """

    lease: Callable[[], AbstractContextManager[Source]]
    info: SourceInfo
    record: SourceRecord
    rows: RowRange
    cells: pa.Table
    positions: NDArray[np.int64]
    genes_repeated: bool
    sample_values: NDArray[Any]
    available: tuple[str, ...]
    selected: tuple[str, ...]
    columns: tuple[str, ...]
    n_inputs: int = 1
    is_existing: bool = False

    @property
    def label(self) -> str:
        """Its name in errors."""
        return self.record.uri

    @property
    def ids(self) -> pa.ChunkedArray:
        """The ids of its cells."""
        return self.cells.column(0)

    @property
    def ids_of_input(self) -> pa.ChunkedArray:
        """The ids of its cells without their prefix."""
        prefix = self.record.prefix
        return pc.utf8_slice_codeunits(self.ids, len(prefix)) if prefix else self.ids

    def with_open(self, read: Callable[[Source], T]) -> T:
        """Read something of it; it is open meanwhile."""
        with self.lease() as source:
            return read(source)


def open_members(
    pool: SourcePool,
    inputs: Sequence[Input],
    existing: ExistingDataset | None,
    join: Join,
    selection: SlotSelection,
    *,
    allow_duplicate: bool,
) -> tuple[tuple[Member, ...], pa.Array]:
    """The members of a source, and the ids of all genes.

    Each is opened once, so that an unfit one is found before the work begins.

    Parameters
    ----------
    pool
        Opens them: an existing dataset first.
    inputs
        In the order of their cells.
    existing
        A dataset before them; its genes come first, in their order.
    join
        The genes to take.
    selection
        The layers, raw and slots to take of the inputs.
    allow_duplicate
        Whether inputs of one folder may have the same cells.

    Raises
    ------
    DuplicateInput
        If all cell ids of one are among those of another of the same folder.
    GeneMismatch
        If the genes cannot be aligned as chosen.
    InputError
        If one cannot be read.
    """
    choices = [(one.options.choice(), one.prefix) for one in inputs]
    if existing is not None:
        choices.insert(0, ({}, ""))
    scanned = list(_scan(pool, choices, join))
    if not allow_duplicate:
        # Before genes are aligned: whether they are the same does not matter for these.
        n_existing = len(scanned) - len(inputs)
        check_samples_differ(
            (one.uri, one.folder, member.ids_of_input)
            for one, (member, _) in zip(inputs, scanned[n_existing:], strict=True)
        )
    members, ids = [member for member, _ in scanned], [ids for _, ids in scanned]
    genes_present = []
    if existing is not None:
        n_inputs = len(existing.records)
        members[0] = replace(members[0], n_inputs=n_inputs, is_existing=True)
        genes_present = [record.genes_present for record in existing.records]
    alignment = align(ids, [member.label for member in members], join, genes_present)
    finished = (_finalise(member, alignment, at, selection) for at, member in enumerate(members))
    return tuple(finished), alignment.ids


def check_raw(source: Source) -> Raw:
    """The raw of an input that had one when it was opened first.

    Raises
    ------
    InputError
        If it has none any more.
    """
    raw = source.raw()
    if raw is None:
        msg = f"{source.info.uri}: raw has gone; leave the input as it is while it is read"
        raise InputError(msg)
    return raw


def _scan(
    pool: SourcePool, choices: Sequence[tuple[Mapping[str, str | bool], str]], join: Join
) -> Iterator[tuple[Member, pa.Array]]:
    """Each member by itself, with all its slots, and the ids of its genes."""
    last_var: pa.Table | None = None
    ids = pa.array([], pa.string())
    # One array for all inputs with as many genes: there may be thousands.
    positions = np.arange(0)
    start = 0
    for at, (choice, prefix) in enumerate(choices):
        with pool.lease(at) as source:
            # Tables first: damage in them is named better than by the slots.
            cells, var, info = source.cells(), source.genes(), source.info
            repeated = last_var is not None and var.equals(last_var, check_metadata=True)
            if not repeated:
                ids = var.column(0).combine_chunks()
            last_var = var
            if len(positions) != info.n_genes:
                positions = np.arange(info.n_genes)
            available = tuple(slot_names(source))
            member = Member(
                lease=partial(pool.lease, at),
                info=info,
                record=_record(info, start, choice, prefix, join),
                rows=RowRange(start, start + info.n_cells),
                cells=_prefixed(cells, prefix),
                positions=positions,
                genes_repeated=repeated,
                sample_values=source.matrix().sample_values()[:SAMPLE_SIZE].copy(),
                available=available,
                selected=available,
                columns=(*_column_names("obs", cells), *_column_names("var", var)),
            )
        yield member, ids
        start = member.rows.stop


def _record(
    info: SourceInfo, offset: int, choice: Mapping[str, str | bool], prefix: str, join: Join
) -> SourceRecord:
    return SourceRecord(
        uri=info.uri,
        format=info.format,
        matrix=info.matrix,
        dtype=str(info.dtype),
        n_cells=info.n_cells,
        n_genes=info.n_genes,
        offset=offset,
        identity=dict(info.identity),
        choice=choice,
        genes=str(join),
        prefix=prefix,
    )


def _finalise(member: Member, alignment: Alignment, at: int, selection: SlotSelection) -> Member:
    """The member with the positions of its genes, and its selected slots."""
    available = member.available
    selected = available if member.is_existing else tuple(selection.of(available))
    record = structs.replace(
        member.record,
        genes_present=alignment.genes_present(at),
        slots=selected,
        selection=selection,
    )
    cells = member.cells
    if not member.is_existing:
        cells = selected_columns(cells, "obs", selection)
    positions = alignment.positions[at]
    return replace(member, record=record, cells=cells, positions=positions, selected=selected)


def selected_columns(table: pa.Table, slot: str, selection: SlotSelection) -> pa.Table:
    """The table of obs or var without the columns that the selection leaves out."""
    return without_columns(table, lambda name: not selection.includes(f"{slot}:{name}"))


def raw_genes(member: Member, raw: Raw) -> pa.Table:
    """The genes of raw without the columns of var that are left out."""
    selection = member.record.selection
    if selection is None or member.is_existing:
        return raw.genes
    return selected_columns(raw.genes, "var", selection)


def _column_names(slot: str, table: pa.Table) -> list[str]:
    originals = (column_of(field).original for field in table.schema)
    return [f"{slot}:{name}" for name in originals if name is not None]


def _prefixed(table: pa.Table, prefix: str) -> pa.Table:
    if not prefix:
        return table
    return replace_ids(table, pc.binary_join_element_wise(prefix, table.column(0), ""))
