"""What several inputs are brought together from, before any of it is opened."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import structs

from slaf.annotations.columns import replace_ids
from slaf.errors import InputError
from slaf.format.config import SourceRecord
from slaf.sources.concat.genes import align
from slaf.sources.slots import slot_names
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from slaf.sources.base import MatrixSize, Raw, ReadOptions, Source
    from slaf.sources.concat.genes import Alignment, GeneSet
    from slaf.sources.concat.pool import SourcePool
    from slaf.sources.slots import SlotSelection

__all__ = ["PEEK", "ExistingDataset", "Input", "Member", "open_members", "raw_of"]


@dataclass(frozen=True, slots=True)
class Input:
    """An input that is opened when it is read.

    Attributes
    ----------
    place
        Where it is.
    open
        Opens it, again and again.
    options
        How it is read.
    prefix
        What to put before each of its cell ids.
    """

    place: str
    open: Callable[[ReadOptions], Source]
    options: ReadOptions
    prefix: str = ""

    def opened(self) -> Source:
        """The input, open for reading."""
        return self.open(self.options)


@dataclass(frozen=True, slots=True)
class ExistingDataset:
    """What comes before the inputs and is made of several itself: a dataset, say.

    Attributes
    ----------
    source
        Its cells, with all that stands beside its matrix.
    records
        The inputs that it was made of.
    unses
        Gives the uns of each of these.
    """

    source: Source
    records: tuple[SourceRecord, ...]
    unses: Callable[[], Sequence[Mapping[str, Any]]]


T = TypeVar("T")

# Values of each input that are looked at beforehand.
PEEK = 1 << 12


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One input of several, with what it said of itself: so that it need not be asked again.

    Attributes
    ----------
    lease
        Keeps it open while it is read.
    record
        What is noted of it.
    rows
        Its cells among all.
    cells
        These, with their prefix.
    positions
        Of each of its genes the place among all; −1 for those left out.
    genes_repeated
        Whether its genes are those of the input before it, with all their columns.
    matrices, left_behind, extent
        As it gives them.
    peek
        Some of its first values.
    offers, holds
        The names of what it has beside its matrix, and of what is taken of that.
    inputs
        Of how many inputs it is made itself.
    stays
        Whether its rows are where they belong already: those of a dataset that is added to.
    """

    lease: Callable[[], AbstractContextManager[Source]]
    record: SourceRecord
    rows: RowRange
    cells: pa.Table
    positions: NDArray[np.int64]
    genes_repeated: bool
    matrices: tuple[str, ...]
    left_behind: tuple[str, ...]
    extent: MatrixSize
    sample_values: NDArray[Any]
    offers: tuple[str, ...]
    holds: tuple[str, ...]
    inputs: int = 1
    stays: bool = False

    @property
    def place(self) -> str:
        """What to call it in an error."""
        return self.record.uri

    @property
    def ids(self) -> pa.ChunkedArray:
        """The ids of its cells."""
        return self.cells.column(0)

    def ask(self, question: Callable[[Source], T]) -> T:
        """What it answers; it is open only meanwhile."""
        with self.lease() as source:
            return question(source)


def open_members(
    shelf: SourcePool,
    inputs: Sequence[Input],
    existing: ExistingDataset | None,
    genes: GeneSet,
    taking: SlotSelection,
) -> tuple[tuple[Member, ...], pa.Array]:
    """The members of a source, and the ids of all genes.

    Each is opened once, so that none is found to be unfit later.

    Parameters
    ----------
    shelf
        Which opens them: what exists first.
    inputs
        In the order of their cells.
    existing
        What comes before them; its genes are the first, in their order.
    genes
        Which genes to take.
    taking
        What to take of the inputs beside their matrices.

    Raises
    ------
    GeneMismatch
        If the genes cannot be brought together as wanted.
    InputError
        If one cannot be read.
    """
    asked = [] if existing is None else [_Request({}, "")]
    asked += [_Request(one.options.choice(), one.prefix) for one in inputs]
    found = list(_scan(shelf, asked, genes))
    told, ids = [member for member, _ in found], [ids for _, ids in found]
    measured = []
    if existing is not None:
        told[0] = replace(told[0], inputs=len(existing.records), stays=True)
        measured = [record.measured for record in existing.records]
    alignment = align(ids, [member.place for member in told], genes, measured)
    recorded = (_finalise(member, alignment, at, taking) for at, member in enumerate(told))
    return tuple(recorded), alignment.ids


def raw_of(source: Source) -> Raw:
    """The raw of an input that had one when it was opened first.

    Raises
    ------
    InputError
        If it has none any more.
    """
    raw = source.raw()
    if raw is None:
        msg = f"{source.uri}: raw has gone; leave the input as it is while it is read"
        raise InputError(msg)
    return raw


class _Request(NamedTuple):
    """What was asked for of an input: its choice and its prefix."""

    choice: Mapping[str, str]
    prefix: str


def _scan(
    shelf: SourcePool, asked: Sequence[_Request], genes: GeneSet
) -> Iterator[tuple[Member, pa.Array]]:
    """Each member as it is by itself, all of it taken, and the ids of its genes."""
    before: pa.Table | None = None
    ids = pa.array([], pa.string())
    # One for all of as many genes: there may be thousands of inputs.
    positions = np.arange(0)
    start = 0
    for at, (choice, prefix) in enumerate(asked):
        with shelf.lease(at) as source:
            record = SourceRecord(
                uri=source.uri,
                format=source.format,
                matrix=source.matrix,
                dtype=str(source.dtype),
                n_cells=source.n_cells,
                n_genes=source.n_genes,
                offset=start,
                identity=shelf.identities[at],
                choice=choice,
                genes=str(genes),
                prefix=prefix,
            )
            var = source.genes()
            repeated = before is not None and var.equals(before, check_metadata=True)
            if not repeated:
                ids = var.column(0).combine_chunks()
            before = var
            if len(positions) != source.n_genes:
                positions = np.arange(source.n_genes)
            lease = partial(shelf.lease, at)
            member = _member(source, lease, record, positions, repeated=repeated)
        yield member, ids
        start = member.rows.stop


def _member(
    source: Source,
    lease: Callable[[], AbstractContextManager[Source]],
    record: SourceRecord,
    positions: NDArray[np.int64],
    *,
    repeated: bool,
) -> Member:
    cells = _prefixed(source.cells(), record.prefix)
    offers = tuple(slot_names(source))
    return Member(
        lease=lease,
        record=record,
        rows=RowRange(0, source.n_cells).shifted(record.offset),
        cells=cells,
        positions=positions,
        genes_repeated=repeated,
        matrices=source.matrices(),
        left_behind=source.left_behind(),
        extent=source.extent(),
        sample_values=source.sample_values()[:PEEK].copy(),
        offers=offers,
        holds=offers,
    )


def _finalise(member: Member, alignment: Alignment, at: int, taking: SlotSelection) -> Member:
    """The member with its genes among all, and only what is taken of it."""
    holds = member.holds if member.stays else tuple(taking.of(member.offers))
    record = structs.replace(
        member.record, measured=alignment.measured(at), holds=holds, taken=taking.to_record()
    )
    return replace(member, record=record, positions=alignment.positions[at], holds=holds)


def _prefixed(table: pa.Table, prefix: str) -> pa.Table:
    if not prefix:
        return table
    return replace_ids(table, pc.binary_join_element_wise(prefix, table.column(0), ""))
