"""Several inputs, end to end, as one source: cells below each other, genes aligned by id."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from slaf.arrays import Batch, RowRange, with_genes
from slaf.beside import RAW_VARM
from slaf.columns import with_index
from slaf.errors import MissingMatrix
from slaf.lazily import Lazily, WhenAsked
from slaf.manifest import SourceRecord
from slaf.schema import RAW
from slaf.sources.alignment import GeneSet, align
from slaf.sources.base import Extent, Raw, Slots
from slaf.sources.identity import content_identity
from slaf.sources.shelf import Shelf
from slaf.sources.taking import LAYER, SLOTS, Taking, names_beside
from slaf.sources.together import Member, Together, merged_uns
from slaf.union import absent_somewhere, joined, stacked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from slaf.sources.base import Matrix, ReadOptions, Source

__all__ = ["Concat", "Input", "Kept"]

# Values of each input that are looked at beforehand.
_PEEK = 1 << 12


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


class Kept(NamedTuple):
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


@dataclass(frozen=True, slots=True)
class _Told:
    """What an input said of itself when it was opened first: so that it need not be asked again.

    Attributes
    ----------
    matrices, left_behind, extent
        As it gives them.
    peek
        Some of its first values.
    cells
        Its cells, with their prefix.
    genes_repeated
        Whether its genes are those of the input before it, with all their columns.
    offers, holds
        The names of what it has beside its matrix, and of what is taken of that.
    """

    matrices: tuple[str, ...]
    left_behind: tuple[str, ...]
    extent: Extent
    peek: NDArray[Any]
    cells: pa.Table
    genes_repeated: bool
    offers: tuple[str, ...]
    holds: tuple[str, ...]


class Concat:
    """Several inputs as one; each is open only while it is read.

    Every input is opened once when this is made, so that none is found to be unfit later.

    Parameters
    ----------
    inputs
        In the order of their cells; at least one, unless something is kept before them.
    genes
        Which genes to take.
    kept
        What comes before the inputs; its genes are the first, in their order.
    taking
        What to take of the inputs beside their matrices.

    Raises
    ------
    GenesDiffer
        If the genes cannot be brought together as wanted.
    InputError
        If one cannot be read.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        genes: GeneSet = GeneSet.STRICT,
        kept: Kept | None = None,
        taking: Taking | None = None,
    ) -> None:
        self._kept = kept
        self.taking = taking or Taking()
        self._inputs = tuple(inputs)
        opens = [one.opened for one in inputs]
        if kept is not None:
            opens.insert(0, lambda: kept.source)
        self._shelf = Shelf(opens)
        with ExitStack() as failing:
            failing.callback(self._shelf.close)
            self._describe(genes)
            failing.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._shelf.close()

    @property
    def inputs(self) -> tuple[RowRange, ...]:
        """The cells of each input, and before them of what is kept."""
        return self._rows

    def identity(self) -> Mapping[str, Any]:
        """Those of all inputs."""
        return {"inputs": [dict(record.identity) for record in self.records]}

    def matrices(self) -> tuple[str, ...]:
        """The matrices that all inputs have."""
        names = [told.matrices for told in self._told]
        return tuple(name for name in names[0] if all(name in others for others in names))

    def left_behind(self) -> tuple[str, ...]:
        """What inputs hold and a conversion does not take, and the genes that are left out."""
        inputs = range(self._kept is not None, len(self._rows))
        found: dict[str, int] = {}
        for at in inputs:
            for what in self._told[at].left_behind:
                found[what] = found.get(what, 0) + 1
        dropped = np.array([np.count_nonzero(places < 0) for places in self._positions])
        said = [
            what if n == len(inputs) else f"{what} (of {n:,} inputs)" for what, n in found.items()
        ]
        if dropped.any():
            n = np.count_nonzero(dropped)
            said.append(f"genes that not all inputs have: up to {dropped.max():,} of {n:,} inputs")
        return tuple(said)

    def notes(self) -> tuple[str, ...]:
        """What a user should know of inputs that were brought together, in words."""
        notes = []
        repeated = self._repeated_ids()
        if repeated:
            notes.append(
                f"{repeated:,} cell ids occur more than once: `source_file` tells them apart, and "
                "--cell-id-prefix makes them unique"
            )
        beside = self._absent_beside()
        if beside:
            notes.append(
                "beside the matrix, what some inputs lack is missing there: " + ", ".join(beside)
            )
        if self._together is not None and self._together.differing:
            notes.append(
                "of what inputs hold different ones, that of the first is kept: "
                + ", ".join(self._together.differing)
            )
        if self._absent:
            notes.append(
                "columns of obs that some inputs lack are missing values there: "
                + ", ".join(self._absent)
            )
        _, disagreeing = self._joined
        if disagreeing:
            notes.append(
                "columns of var of which inputs hold different values, of which the first is "
                f"kept: {', '.join(disagreeing)}"
            )
        return tuple(notes)

    def shared_genes(self) -> int:
        """How many genes all inputs have."""
        counts = np.zeros(self.n_genes, np.int64)
        for positions in self._positions:
            counts[positions[positions >= 0]] += 1
        return int(np.count_nonzero(counts == len(self._positions)))

    def gene_digest(self) -> str:
        """A digest of the ids of all genes, in their order."""
        identity = content_identity(gene.encode() + b"\0" for gene in self._ids.to_pylist())
        return str(identity["sample"])

    def extent(self) -> Extent:
        """What the inputs hold together, without what is kept before them.

        One that is not in the order of its cells takes its scratch only while it is read.
        """
        extents = [told.extent for told in self._told[self._kept is not None :]]
        layouts = list(dict.fromkeys(extent.layout for extent in extents))
        dropped = any((positions < 0).any() for positions in self._positions)
        return Extent(
            " and ".join(layouts),
            sum(extent.entries for extent in extents),
            exact=all(extent.exact for extent in extents) and not dropped,
            least_scratch=max(extent.least_scratch for extent in extents),
            scratch=max(extent.scratch for extent in extents),
            memory=max(extent.memory for extent in extents),
        )

    def peek(self, matrix: str | None = None) -> NDArray[Any]:
        """Some of the first values of each input."""
        found = [
            told.peek
            if matrix is None
            else self._of(at, lambda source: source.peek(matrix)[:_PEEK])
            for at, told in enumerate(self._told)
        ]
        whole: NDArray[Any] = np.concatenate(found)
        return whole

    def nonzeros_before(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells: exact, or an estimate."""
        marks, before, total = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)], 0
        for at, rows in enumerate(self._rows):
            entries = self.offsets(at, step)
            cells = rows.start + np.arange(len(entries)) * step
            marks.append(np.minimum(cells, rows.stop)[1:])
            before.append(total + entries[1:])
            total += int(entries[-1])
        wanted = np.append(np.arange(0, self.n_cells, step), self.n_cells)
        known = np.interp(wanted, np.concatenate(marks), np.concatenate(before))
        found: NDArray[np.int64] = known.astype(np.int64)
        return found

    def offsets(self, index: int, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, … of one input, and in all of it."""
        found: NDArray[np.int64] = self._of(index, lambda source: source.nonzeros_before(step))
        return found

    def cells(self) -> pa.Table:
        """The cells of all, with the columns that any has; missing where one lacks them."""
        return self._stacked

    def genes(self) -> pa.Table:
        """All genes, with the columns that any input has: of each the first value there is."""
        return self._joined[0]

    def layers(self) -> Mapping[str, Matrix]:
        """Those that are taken; of several inputs all that any has."""
        if self._together is not None:
            return self._together.layers
        # They outlive the lease, for the only input stays on the shelf until this is closed.
        found: Mapping[str, Matrix] = self._of(0, lambda source: source.layers())
        names = [name for name in found if f"{LAYER}:{name}" in self._told[0].holds]
        return Lazily(names, lambda name: found[name])

    def raw(self) -> Raw | None:
        """Raw, if it is taken; of several inputs those of all that have one."""
        if self._together is not None:
            return self._together.raw
        if RAW not in self._told[0].holds:
            return None
        found: Raw = self._of(0, lambda source: source.raw())
        keys = [key for key in found.varm if f"{RAW_VARM}:{key}" in self._told[0].holds]
        return replace(found, varm=Lazily(keys, lambda key: found.varm[key]))

    def slots(self) -> Slots:
        """Those that are taken; of several inputs brought together."""
        if self._together is not None:
            uns = WhenAsked(lambda: self.merged(self.unses()))
            return replace(self._together.slots(), uns=uns)
        found: Slots = self._of(0, lambda source: source.slots())
        return Slots(**{slot: self._taken(slot, getattr(found, slot)) for slot in SLOTS})

    def unses(self) -> list[Mapping[str, Any]]:
        """The uns of each input, as far as it is taken."""
        found = [] if self._kept is None else list(self._kept.unses())
        for at in range(self._kept is not None, len(self._rows)):
            uns = self._of(at, _uns) if "uns" in self._told[at].holds else {}
            found.append({key: uns[key] for key in uns if self.taking.takes(f"uns:{key}")})
        return found

    def merged(self, unses: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """One uns of those of all inputs; that of the only one as it is."""
        return unses[0] if len(unses) == 1 else merged_uns(unses, self.taking.uns_merge)

    def refuse_unknown(self, without: Iterable[str]) -> None:
        """Refuse a choice of layers, or of what to leave out, that none of the inputs has.

        Parameters
        ----------
        without
            What is left out by a name that was given now.

        Raises
        ------
        MissingMatrix
            Naming it, and what there is.
        """
        there = list(dict.fromkeys(name for told in self._told for name in told.offers))
        layers = [name.partition(":")[2] for name in there if name.startswith(f"{LAYER}:")]
        for name in self.taking.wanted:
            if name not in layers:
                have = ", ".join(layers) or "none at all"
                msg = f"there is no layer {name!r} beside the matrix; choose with --layers: {have}"
                raise MissingMatrix(msg)
        for name in without:
            slot, _, key = name.partition(":")
            if key and slot != "uns" and name not in there:
                have = ", ".join(there) or "nothing"
                msg = f"there is no {name} to leave out; beside the matrix there is {have}"
                raise MissingMatrix(msg)

    def missing(self, slot: str, key: str) -> NDArray[np.bool_]:
        """The rows of an element that no input gave anything to.

        Parameters
        ----------
        slot
            "obsm", of which each input gives its cells; or "varm" or "raw_varm", of which the
            first that has it gives its genes.
        key
            The name of the element.
        """
        name = f"{slot}:{key}"
        having = [record.holds is None or name in record.holds for record in self.records]
        if slot == "obsm":
            return np.repeat(~np.array(having), [record.n_cells for record in self.records])
        raw = self.raw() if slot == RAW_VARM else None
        n_genes = self.n_genes if raw is None else raw.genes.num_rows
        measured = [record.measured for record in self.records]
        if raw is not None:
            measured = list(raw.measured) or [((0, n_genes),)]
        lacks = np.ones(n_genes, np.bool_)
        for start, stop in measured[having.index(True)]:
            lacks[start:stop] = False
        return lacks

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        for at, held in enumerate(self._rows):
            start, stop = max(rows.start, held.start), min(rows.stop, held.stop)
            if start >= stop:
                continue
            with self._shelf.lease(at) as source:
                for batch in source.batches(RowRange(start - held.start, stop - held.start)):
                    moved = RowRange(batch.rows.start + held.start, batch.rows.stop + held.start)
                    found = Batch(moved, batch.counts, batch.genes, batch.values)
                    yield (
                        found
                        if self._same[at]
                        else with_genes(found, self._positions[at], self.n_genes)
                    )

    def _describe(self, genes: GeneSet) -> None:
        found: list[SourceRecord] = []
        lists: list[pa.Array] = []
        rows: list[RowRange] = []
        told: list[_Told] = []
        before: pa.Table | None = None
        kept = () if self._kept is None else self._kept.records
        start = 0
        choices: list[Mapping[str, str]] = [{}] * bool(kept) + [
            one.options.choice() for one in self._inputs
        ]
        prefixes = [""] * bool(kept) + [one.prefix for one in self._inputs]
        for at, (choice, prefix) in enumerate(zip(choices, prefixes, strict=True)):
            with self._shelf.lease(at) as source:
                found.append(
                    SourceRecord(
                        uri=source.uri,
                        format=source.format,
                        matrix=source.matrix,
                        dtype=str(source.dtype),
                        n_cells=source.n_cells,
                        n_genes=source.n_genes,
                        offset=start,
                        identity=self._shelf.identities[at],
                        choice=choice,
                        genes=str(genes),
                        prefix=prefix,
                    )
                )
                var = source.genes()
                repeated = before is not None and var.equals(before, check_metadata=True)
                before = var
                ids = lists[-1] if repeated else var.column(0).combine_chunks()
                lists.append(ids)
                taking = Taking() if at < len(choices) - len(self._inputs) else self.taking
                cells = _prefixed(source.cells(), prefix)
                offers = names_beside(source)
                told.append(
                    _Told(
                        matrices=source.matrices(),
                        left_behind=source.left_behind(),
                        extent=source.extent(),
                        peek=source.peek()[:_PEEK].copy(),
                        cells=cells,
                        genes_repeated=repeated,
                        offers=tuple(offers),
                        holds=tuple(taking.of(offers)),
                    )
                )
                rows.append(RowRange(start, start + source.n_cells))
                start += source.n_cells
        places = [record.uri for record in found]
        alignment = align(lists, places, genes, [record.measured for record in kept])
        self._rows = tuple(rows)
        self._told = told
        self._positions = alignment.positions
        self._ids = alignment.ids
        self._genes = genes
        self.n_cells, self.n_genes = start, len(alignment.ids)
        self._same = [
            bool(np.array_equal(positions, np.arange(len(positions))))
            for positions in alignment.positions
        ]
        measured = [
            replace(
                record,
                measured=alignment.measured(at),
                holds=told[at].holds,
                taken=self.taking.to_json(),
            )
            for at, record in enumerate(found)
        ]
        self._places = places
        self.records = (*kept, *measured[bool(kept) :])
        self.uri = places[0] if len(places) == 1 else f"{places[0]} and {len(places) - 1:,} more"
        self.format = " and ".join(dict.fromkeys(record.format for record in self.records))
        self.matrix = " and ".join(dict.fromkeys(record.matrix for record in self.records))
        self.dtype = np.result_type(*(np.dtype(record.dtype) for record in found))
        self._refuse_unlike()

    @property
    def _tables(self) -> tuple[pa.Table, ...]:
        return tuple(told.cells for told in self._told)

    @cached_property
    def _stacked(self) -> pa.Table:
        if len(self._tables) == 1:
            return self._tables[0]
        return stacked(self._tables, self._places)

    @property
    def _absent(self) -> tuple[str, ...]:
        return absent_somewhere(self._tables)

    @cached_property
    def _joined(self) -> tuple[pa.Table, tuple[str, ...]]:
        table = self._of(0, lambda source: source.genes())
        if not self._same[0]:
            table = table.take(pa.array(np.flatnonzero(self._positions[0] >= 0)))
        disagreeing: list[str] = []
        for at in range(1, len(self._rows)):
            if self._told[at].genes_repeated:
                continue
            more = self._of(at, lambda source: source.genes())
            positions = self._positions[at]
            n_genes = max(table.num_rows, int(positions.max(initial=-1)) + 1)
            places = (self._places[0], self._places[at])
            table, differing = joined(table, more, positions, n_genes, places)
            disagreeing += differing
        return table, tuple(dict.fromkeys(disagreeing))

    def _taken(self, slot: str, elements: Mapping[str, Any]) -> Mapping[str, Any]:
        """Those elements of the only input that are taken."""
        names = [key for key in elements if self.taking.takes(f"{slot}:{key}")]
        return Lazily(names, lambda key: elements[key])

    @cached_property
    def _together(self) -> Together | None:
        """What stands beside the matrices of several inputs; None of one."""
        if len(self._rows) == 1 and self._kept is None:
            return None
        members = [
            Member(
                place,
                partial(self._shelf.lease, at),
                self._rows[at],
                told.cells.column(0),
                self._positions[at],
                told.holds,
                len(self._kept.records) if self._kept and not at else 1,
                stays=self._kept is not None and not at,
            )
            for at, (place, told) in enumerate(zip(self._places, self._told, strict=True))
        ]
        return Together(members, self._ids, self._genes)

    def _absent_beside(self) -> list[str]:
        """What some inputs have beside their matrix, and others have not."""
        held = [told.holds for told in self._told]
        names = dict.fromkeys(name for names in held for name in names)
        kinds = (LAYER, RAW, "obsm", "obsp")
        return [
            name
            for name in names
            if name.partition(":")[0] in kinds and not all(name in others for others in held)
        ]

    def _refuse_unlike(self) -> None:
        """Refuse inputs of which one lacks what another has, where that is asked for."""
        lacking = self._absent_beside() if self.taking.is_strict else []
        if lacking:
            name = lacking[0]
            has, lacks = (
                next(
                    place
                    for place, told in zip(self._places, self._told, strict=True)
                    if (name in told.holds) is there
                )
                for there in (True, False)
            )
            msg = (
                f"{lacks} has no {name}, which {has} has; make them alike, leave it out with "
                f"--without {name}, or take --layers all for missing values there"
            )
            raise MissingMatrix(msg)

    def _repeated_ids(self) -> int:
        ids = self.cells().column(0)
        return len(ids) - int(pc.count_distinct(ids).as_py()) if len(self._rows) > 1 else 0

    def _of(self, index: int, asked: Callable[[Source], Any]) -> Any:
        with self._shelf.lease(index) as source:
            return asked(source)


def _uns(source: Source) -> Mapping[str, Any]:
    uns = source.slots().uns
    return {key: uns[key] for key in uns}


def _prefixed(table: pa.Table, prefix: str) -> pa.Table:
    if not prefix:
        return table
    return with_index(table, pc.binary_join_element_wise(prefix, table.column(0), ""))
