"""What stands beside the matrices of several inputs, as that of one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from slaf.arrays import Batch, RowRange, with_genes
from slaf.beside import RAW_VARM
from slaf.element_union import (
    Piece,
    at_pairs,
    at_places,
    below_each_other,
    block_diagonal,
    common_number,
)
from slaf.equality import same
from slaf.errors import GenesDiffer, InputError
from slaf.lazily import Lazily
from slaf.schema import RAW
from slaf.sources.alignment import GeneSet, align
from slaf.sources.base import Extent, Raw, Slots
from slaf.sources.taking import LAYER
from slaf.union import joined

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from slaf.sources.alignment import Ranges
    from slaf.sources.base import Matrix, Source
    from slaf.sources.taking import UnsMerge

__all__ = ["Member", "Together", "merged_uns"]


@dataclass(frozen=True, slots=True)
class Member:
    """One input of several.

    Attributes
    ----------
    place
        What to call it in an error.
    lease
        Keeps it open while it is read.
    rows
        Its cells among all.
    ids
        The ids of its cells.
    positions
        Of each of its genes the place among all; −1 for those left out.
    holds
        The names of what is taken of it beside its matrix.
    inputs
        Of how many inputs it is made itself.
    stays
        Whether its rows are where they belong already: those of a dataset that is added to.
    """

    place: str
    lease: Callable[[], AbstractContextManager[Source]]
    rows: RowRange
    ids: pa.ChunkedArray
    positions: NDArray[np.int64]
    holds: tuple[str, ...]
    inputs: int = 1
    stays: bool = False


class Together:
    """Layers, raw and slots of several inputs.

    Parameters
    ----------
    members
        In the order of their cells.
    gene_ids
        Of all genes.
    genes
        Which genes to take of several raws: as of the matrices.
    """

    def __init__(self, members: Sequence[Member], gene_ids: pa.Array, genes: GeneSet) -> None:
        self._members = tuple(members)
        self._gene_ids = pa.chunked_array([gene_ids])
        self._genes = genes
        self._shape = (members[-1].rows.stop, len(gene_ids))

    @cached_property
    def layers(self) -> Mapping[str, Matrix]:
        """The layers that any of them has; a cell of one that lacks it has no values in it."""
        return Lazily(self._keys(LAYER), self._layer, keep=True)

    @cached_property
    def raw(self) -> Raw | None:
        """The raws of those that have one, their genes aligned by id.

        Raises
        ------
        GenesDiffer
            If these cannot be brought together as wanted.
        """
        at = [index for index, member in enumerate(self._members) if RAW in member.holds]
        if not at:
            return None
        having = [self._members[index] for index in at]
        found = [_asked(member, _raw_of) for member in having]
        ids = [raw.genes.column(0).combine_chunks() for raw in found]
        places = [f"raw of {member.place}" for member in having]
        try:
            alignment = align(ids, places, self._genes)
        except GenesDiffer as error:
            error.add_note("in raw, which --no-raw leaves out")
            raise
        genes = _joined([raw.genes for raw in found], alignment.positions, places)
        positions = dict(zip(at, alignment.positions, strict=True))
        measured: list[Ranges] = []
        for index, member in enumerate(self._members):
            if index not in positions:
                measured += [()] * member.inputs
                continue
            raw = found[at.index(index)]
            measured += raw.measured or [alignment.measured(at.index(index))]
        parts = [_Part(m, positions.get(index)) for index, m in enumerate(self._members)]
        shape = (self._shape[0], len(alignment.ids))
        return Raw(
            _Stacked(parts, lambda source: _raw_of(source).matrix, shape),
            genes,
            Lazily(self._keys(RAW_VARM), lambda key: self._raw_element(key, positions, genes)),
            tuple(measured),
        )

    def slots(self) -> Slots:
        """The slots of all, each element brought together when it is asked for.

        All elements of an input are read at once when the first is, and kept as long as these
        slots are.
        """

        @cache
        def read() -> list[Slots]:
            return [_asked(member, partial(_taken, member=member)) for member in self._members]

        def pieces(slot: str, key: str) -> list[Piece]:
            return [
                Piece(member.place, getattr(slots, slot).get(key), member.ids)
                for member, slots in zip(self._members, read(), strict=True)
            ]

        def first(slot: str, key: str) -> tuple[Piece, NDArray[np.int64]]:
            return next(
                (piece, member.positions)
                for piece, member in zip(pieces(slot, key), self._members, strict=True)
                if piece.element is not None
            )

        def of(slot: str, make: Callable[[str, str], Any]) -> Lazily[Any]:
            return Lazily(self._keys(slot), lambda key: make(f"{slot}:{key}", key))

        return Slots(
            of("obsm", lambda name, key: below_each_other(name, pieces("obsm", key))),
            of("varm", lambda name, key: at_places(name, *first("varm", key), self._gene_ids)),
            of("obsp", lambda name, key: block_diagonal(name, pieces("obsp", key))),
            of("varp", lambda name, key: at_pairs(name, *first("varp", key), self._shape[1])),
        )

    @cached_property
    def differing(self) -> tuple[str, ...]:
        """The elements of varm and varp that are not the same in all inputs that have them."""
        found = []
        for slot in ("varm", "varp"):
            for key in self._keys(slot):
                having = [m for m in self._members if f"{slot}:{key}" in m.holds]
                if len(having) > 1 and not self._is_one(slot, key, having):
                    found.append(f"{slot} ({key})")
        return tuple(found)

    def _is_one(self, slot: str, key: str, having: Sequence[Member]) -> bool:
        def placed(member: Member) -> Any:
            element = _asked(member, lambda source: getattr(source.slots(), slot)[key])
            piece = Piece(member.place, element, member.ids)
            if slot == "varp":
                return at_pairs(f"{slot}:{key}", piece, member.positions, self._shape[1])
            return at_places(f"{slot}:{key}", piece, member.positions, self._gene_ids)

        expected = placed(having[0])
        return all(same(expected, placed(member)) for member in having[1:])

    def _keys(self, kind: str) -> list[str]:
        names = (name.partition(":") for member in self._members for name in member.holds)
        return list(dict.fromkeys(key for found, _, key in names if found == kind))

    def _layer(self, name: str) -> Matrix:
        parts = [
            _Part(member, member.positions if f"{LAYER}:{name}" in member.holds else None)
            for member in self._members
        ]
        return _Stacked(parts, lambda source: source.layers()[name], self._shape)

    def _raw_element(
        self, key: str, positions: Mapping[int, NDArray[np.int64]], genes: pa.Table
    ) -> Any:
        name = f"{RAW_VARM}:{key}"
        index = next(at for at, member in enumerate(self._members) if name in member.holds)
        member = self._members[index]
        element = _asked(member, lambda source: _raw_of(source).varm[key])
        piece = Piece(member.place, element, member.ids)
        return at_places(name, piece, positions[index], genes.column(0))


@dataclass(frozen=True, slots=True)
class _Part:
    """A member, and where its genes are in the matrix; None where it has no such matrix."""

    member: Member
    positions: NDArray[np.int64] | None


class _Stacked:
    """One matrix of several inputs, some of which may lack it."""

    def __init__(
        self, parts: Sequence[_Part], find: Callable[[Source], Matrix], shape: tuple[int, int]
    ) -> None:
        self._parts = parts
        self._find = find
        self.shape = shape
        self.dtype = common_number(self._of_each(lambda matrix: matrix.dtype))

    def extent(self) -> Extent:
        """How much they hold together, without what stays where it is."""
        found = list(self._of_each(lambda matrix: matrix.extent(), added=True))
        return Extent(
            " and ".join(dict.fromkeys(extent.layout for extent in found)),
            sum(extent.entries for extent in found),
            exact=all(extent.exact for extent in found),
            least_scratch=max((extent.least_scratch for extent in found), default=0),
            scratch=max((extent.scratch for extent in found), default=0),
            memory=max((extent.memory for extent in found), default=0),
        )

    def peek(self) -> NDArray[Any]:
        """Some of the first values of each."""
        return np.concatenate(list(self._of_each(lambda matrix: matrix.peek())))

    def nonzeros_before(self, step: int) -> NDArray[np.int64]:
        """An estimate, from the entries of each as a whole."""
        marks, entries = [0], [0.0]
        for part in self._parts:
            held = 0
            if part.positions is not None:
                held = _asked(part.member, lambda source: self._find(source).extent().entries)
            marks.append(part.member.rows.stop)
            entries.append(entries[-1] + held)
        wanted = np.append(np.arange(0, self.shape[0], step), self.shape[0])
        known: NDArray[np.int64] = np.interp(wanted, marks, entries).astype(np.int64)
        return known

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order; without entries where an input lacks the matrix."""
        for part in self._parts:
            held = part.member.rows
            start, stop = max(rows.start, held.start), min(rows.stop, held.stop)
            if start >= stop:
                continue
            if part.positions is None:
                yield _nothing(RowRange(start, stop), self.dtype)
                continue
            with part.member.lease() as source:
                found = self._find(source)
                for batch in found.batches(RowRange(start - held.start, stop - held.start)):
                    here = RowRange(batch.rows.start + held.start, batch.rows.stop + held.start)
                    moved = Batch(here, batch.counts, batch.genes, batch.values)
                    yield (
                        moved
                        if self._is_aligned(part.positions)
                        else with_genes(moved, part.positions, self.shape[1])
                    )

    def _is_aligned(self, positions: NDArray[np.int64]) -> bool:
        return np.array_equal(positions, np.arange(len(positions)))

    def _of_each(self, asked: Callable[[Matrix], Any], *, added: bool = False) -> Iterator[Any]:
        for part in self._parts:
            if part.positions is not None and not (added and part.member.stays):
                yield _asked(part.member, lambda source: asked(self._find(source)))


def merged_uns(unses: Sequence[Mapping[str, Any]], how: UnsMerge) -> dict[str, Any]:
    """One uns of several, as `anndata.concat` merges them."""
    import anndata
    import pandas as pd

    if not any(unses):
        return {}
    held = [anndata.AnnData(obs=pd.DataFrame(index=["0"]), uns=dict(uns)) for uns in unses]
    try:
        return dict(anndata.concat(held, uns_merge=str(how), index_unique="-").uns)
    except (TypeError, ValueError, AttributeError) as error:
        msg = f"uns of the inputs cannot be compared ({error}); leave it out with --without uns"
        raise InputError(msg) from error


def _asked(member: Member, ask: Callable[[Source], Any]) -> Any:
    with member.lease() as source:
        return ask(source)


def _raw_of(source: Source) -> Raw:
    raw = source.raw()
    if raw is None:
        msg = f"{source.uri}: raw has gone; leave the input as it is while it is read"
        raise InputError(msg)
    return raw


def _taken(source: Source, member: Member) -> Slots:
    slots = source.slots()
    found: dict[str, dict[str, Any]] = {"obsm": {}, "varm": {}, "obsp": {}, "varp": {}}
    for name in member.holds:
        slot, _, key = name.partition(":")
        if slot in found:
            found[slot][key] = getattr(slots, slot)[key]
    return Slots(**found)


def _joined(
    tables: Iterable[pa.Table], positions: Sequence[NDArray[np.int64]], places: Sequence[str]
) -> pa.Table:
    whole: pa.Table | None = None
    for table, at, place in zip(tables, positions, places, strict=True):
        if whole is None:
            whole = table.take(pa.array(np.flatnonzero(at >= 0)))
            continue
        n_genes = max(whole.num_rows, int(at.max(initial=-1)) + 1)
        whole, _ = joined(whole, table, at, n_genes, (places[0], place))
    return whole


def _nothing(rows: RowRange, dtype: np.dtype[Any]) -> Batch:
    counts = np.zeros(len(rows), np.int64)
    return Batch(rows, counts, np.empty(0, np.uint32), np.empty(0, dtype))
