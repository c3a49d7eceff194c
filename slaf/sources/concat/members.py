"""The inputs of one source, and what is known of each after it was opened first."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import structs

from slaf.annotations.columns import column_of, replace_ids, with_constants, without_columns
from slaf.annotations.lazy_table import LazyColumn, LazyTable, equal_tables, id_column
from slaf.errors import InputError
from slaf.format.config import SourceRecord
from slaf.format.schema import RAW
from slaf.options import LAYER
from slaf.sources.concat.genes import align
from slaf.sources.concat.same_cells import check_samples_differ
from slaf.sources.concat.same_contigs import check_same_contigs
from slaf.sources.identity import content_key
from slaf.sources.slots import slot_names
from slaf.sparse.batch import GeneMap
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from slaf.annotations.lazy_table import AnyColumn, AnyTable
    from slaf.format.config import SampleValue
    from slaf.options import ReadOptions, SlotSelection
    from slaf.sources.base import Source, SourceInfo
    from slaf.sources.concat.genes import Alignment, GeneJoin
    from slaf.sources.concat.pool import SourcePool
    from slaf.sources.contents import Raw

__all__ = [
    "SAMPLE",
    "SAMPLE_SIZE",
    "ExistingDataset",
    "Input",
    "Member",
    "check_raw",
    "open_members",
    "raw_genes",
    "record_of",
    "selected_columns",
]

T = TypeVar("T")

# The column of obs with the sample of each cell.
SAMPLE: Final = "sample"

# Sampled values of each input.
SAMPLE_SIZE = 1 << 12

# The positions of genes before they are aligned.
_UNALIGNED: Final = GeneMap.first(0, 0)


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
    sample_name
        The value of its column `sample`, unless it has such a column, or one is in `sample`.
    sample
        Columns of obs with one value for all of its cells, which it must not have.
    sheet
        The sample sheet of these columns; "" without one.
    folder
        The number of the folder or pattern that stands for it and for others; None if it was named
        by itself.
    reads
        The paths and URLs of what is read; `uri` if None.
    choices
        The options of `slaf.options.INPUT_CHOICES` that its format has.
    """

    uri: str
    open: Callable[[ReadOptions], Source]
    options: ReadOptions
    prefix: str = ""
    sample_name: str = ""
    sample: Mapping[str, SampleValue] = field(default_factory=dict)
    sheet: str = ""
    folder: int | None = None
    reads: tuple[str, ...] | None = None
    choices: frozenset[str] = frozenset()

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
    computed
        Those of columns that are computed anew.
    new_columns
        Columns of obs that it gets from the samples of these records, for it has them not yet.
    """

    source: Source
    records: tuple[SourceRecord, ...]
    uns_per_source: Callable[[], Sequence[Mapping[str, Any]]]
    annotated: frozenset[str] = frozenset()
    computed: frozenset[str] = frozenset()
    new_columns: tuple[str, ...] = ()

    def cells(self) -> pa.Table:
        """Its cells, with the new columns."""
        columns = {
            name: [record.sample.get(name) for record in self.records] for name in self.new_columns
        }
        lengths = [record.n_cells for record in self.records]
        return with_constants(self.source.cells(), columns, lengths)


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
    gene_map
        The position of each of its genes among all.
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
    contigs
        The contigs of its reads; None for an input without coverage.
    unsorted
        The names of those of its matrices that are sorted by cell when they are read.
    """

    lease: Callable[[], AbstractContextManager[Source]]
    info: SourceInfo
    record: SourceRecord
    rows: RowRange
    cells: pa.Table
    gene_map: GeneMap
    genes_repeated: bool
    sample_values: NDArray[Any]
    available: tuple[str, ...]
    selected: tuple[str, ...]
    columns: tuple[str, ...]
    n_inputs: int = 1
    is_existing: bool = False
    contigs: tuple[tuple[str, int], ...] | None = None
    unsorted: frozenset[str] = frozenset()

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
    join: GeneJoin,
    selection: SlotSelection,
    *,
    allow_duplicate: bool,
) -> tuple[tuple[Member, ...], AnyColumn]:
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
    scanned = list(_scan(pool, inputs, existing, join))
    if not allow_duplicate:
        # Before genes are aligned: whether they are the same does not matter for these.
        n_existing = len(scanned) - len(inputs)
        check_samples_differ(
            (one.uri, one.folder, member.ids_of_input)
            for one, (member, _) in zip(inputs, scanned[n_existing:], strict=True)
        )
    of_dataset = () if existing is None or allow_duplicate else existing.records
    known = {content_key(record) for record in of_dataset}
    # Those that the dataset has are refused as such, when the run begins.
    others = (one for one, _ in scanned if content_key(one.record) not in known)
    check_same_contigs([(one.label, one.contigs, one.ids) for one in others])
    members, ids = [member for member, _ in scanned], [ids for _, ids in scanned]
    members = list(_with_samples(members, inputs, selection))
    if isinstance(ids[-1], LazyColumn) and all(one.genes_repeated for one in members[1:]):
        # The genes of a dataset are those that the inputs make.
        ids = [ids[-1]] * len(ids)
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
    pool: SourcePool, inputs: Sequence[Input], existing: ExistingDataset | None, join: GeneJoin
) -> Iterator[tuple[Member, AnyColumn]]:
    """Each member by itself, with all its slots, and the ids of its genes."""
    last_var: AnyTable | None = None
    ids: AnyColumn = pa.array([], pa.string())
    start = 0
    several: Sequence[Input | None] = [*([] if existing is None else [None]), *inputs]
    for at, one in enumerate(several):
        with pool.lease(at) as source:
            # Tables first: damage in them is named better than by the slots.
            cells = source.cells() if one or not existing else existing.cells()
            var, info, prefix = source.lazy_genes(), source.info, one.prefix if one else ""
            repeated = last_var is not None and equal_tables(var, last_var)
            if not repeated or isinstance(var, LazyTable):
                ids = id_column(var)
            last_var = var
            available, coverage = tuple(slot_names(source)), source.coverage()
            member = Member(
                lease=partial(pool.lease, at),
                info=info,
                record=_record(info, start, one.options.choice() if one else {}, prefix, join),
                rows=RowRange(start, start + info.n_cells),
                cells=_prefixed(cells, prefix),
                gene_map=_UNALIGNED,
                genes_repeated=repeated,
                sample_values=source.matrix().sample_values()[:SAMPLE_SIZE].copy(),
                available=available,
                selected=available,
                columns=(*_column_names("obs", cells), *_column_names("var", var)),
                contigs=None if coverage is None else coverage.contigs,
                unsorted=frozenset(_unsorted(source)),
            )
        yield member, ids
        start = member.rows.stop


def _unsorted(source: Source) -> Iterator[str]:
    """The names of the matrices of a source that are sorted by cell when they are read."""
    sizes = {source.info.matrix: source.info.size}
    sizes |= {f"{LAYER}:{name}": layer.size for name, layer in source.layers().items()}
    raw = source.raw()
    if raw is not None:
        sizes[RAW] = raw.matrix.size
    return (name for name, size in sizes.items() if size.scratch)


def record_of(one: Input) -> SourceRecord:
    """The record of an input by itself, which is opened for it."""
    with one.opened() as source:
        return _record(source.info, 0, one.options.choice(), "", "strict")


def _record(
    info: SourceInfo,
    offset: int,
    choice: Mapping[str, str | bool | int],
    prefix: str,
    join: GeneJoin,
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


def _with_samples(
    members: Sequence[Member], inputs: Sequence[Input], selection: SlotSelection
) -> Iterator[Member]:
    """The members with the columns of obs that are selected, and those of their samples.

    Raises
    ------
    InputError
        If inputs have columns of their sheet already, naming all of them.
    """
    n_existing = len(members) - len(inputs)
    conflicts: dict[str, list[str]] = {}
    yield from members[:n_existing]
    for member, one in zip(members[n_existing:], inputs, strict=True):
        own = {name.partition(":")[2] for name in member.columns if name.startswith("obs:")}
        kept = {name for name in own if selection.includes(f"obs:{name}")}
        sample = dict(one.sample)
        if one.sample_name and SAMPLE not in own and selection.includes(f"obs:{SAMPLE}"):
            sample = {SAMPLE: one.sample_name, **sample}
        for name in kept.intersection(sample):
            conflicts.setdefault(name, []).append(member.label)
        cells = with_constants(
            selected_columns(member.cells, "obs", selection),
            {name: [value] for name, value in sample.items()},
            [len(member.rows)],
        )
        record = structs.replace(
            member.record, sample=sample, sheet=one.sheet, genes_present=()
        )  # of the genes, when they are aligned
        given = (SAMPLE, *one.sample) if one.sample_name else one.sample
        columns = dict.fromkeys([*member.columns, *(f"obs:{name}" for name in given)])
        yield replace(member, cells=cells, record=record, columns=tuple(columns))
    if conflicts:
        raise _sheet_conflict(conflicts)


def _sheet_conflict(conflicts: Mapping[str, Sequence[str]]) -> InputError:
    columns = ", ".join(
        f"{name!r} in {labels[0]}" + (f" and {len(labels) - 1:,} more" if len(labels) > 1 else "")
        for name, labels in sorted(conflicts.items())
    )
    options = " ".join(f"--without obs:{name}" for name in sorted(conflicts))
    return InputError(
        f"the sample sheet has columns that obs has already: {columns}; rename them in the sheet, "
        f"or leave out those of the inputs with {options}"
    )


def _finalise(member: Member, alignment: Alignment, at: int, selection: SlotSelection) -> Member:
    """The member with the positions of its genes, and its selected slots."""
    available = member.available
    selected = available if member.is_existing else tuple(selection.of(available))
    record = structs.replace(
        member.record,
        genes_present=alignment.maps[at].genes_present,
        slots=selected,
        selection=selection,
    )
    return replace(member, record=record, gene_map=alignment.maps[at], selected=selected)


def selected_columns(table: pa.Table, slot: str, selection: SlotSelection) -> pa.Table:
    """The table of obs or var without the columns that the selection leaves out."""
    return without_columns(table, lambda name: not selection.includes(f"{slot}:{name}"))


def raw_genes(member: Member, raw: Raw) -> pa.Table:
    """The genes of raw without the columns of var that are left out."""
    selection = member.record.selection
    if selection is None or member.is_existing:
        return raw.genes
    return selected_columns(raw.genes, "var", selection)


def _column_names(slot: str, table: AnyTable) -> list[str]:
    originals = (column_of(field).original for field in table.schema)
    return [f"{slot}:{name}" for name in originals if name is not None]


def _prefixed(table: pa.Table, prefix: str) -> pa.Table:
    if not prefix:
        return table
    return replace_ids(table, pc.binary_join_element_wise(prefix, table.column(0), ""))
