"""What stands beside the matrices of several inputs, as that of one."""

from __future__ import annotations

from collections import Counter
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from slaf.arrays import GenePlaces
from slaf.beside import RAW_VARM, SLOTS
from slaf.element_union import (
    Piece,
    at_pairs,
    at_places,
    below_each_other,
    block_diagonal,
    common_number,
)
from slaf.equality import same
from slaf.errors import GenesDiffer
from slaf.lazily import Lazily, WhenAsked
from slaf.schema import RAW
from slaf.sources.alignment import align
from slaf.sources.axes import joined_genes
from slaf.sources.base import Raw, Slots
from slaf.sources.members import raw_of
from slaf.sources.stacked import Part, Stacked
from slaf.sources.taking import LAYER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from slaf.sources.alignment import Alignment, GeneSet
    from slaf.sources.base import Matrix, Source
    from slaf.sources.members import Member
    from slaf.sources.stacked import Find

__all__ = ["Together"]

T = TypeVar("T")

# Of these all inputs have one, for they have the same genes.
_OF_GENES = ("varm", "varp")


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
    uns
        Gives the uns that is made of theirs.
    """

    def __init__(
        self,
        members: Sequence[Member],
        gene_ids: pa.Array,
        genes: GeneSet,
        uns: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._members = tuple(members)
        self._gene_ids = pa.chunked_array([gene_ids])
        self._genes = genes
        self._uns = uns

    @cached_property
    def layers(self) -> Mapping[str, Matrix]:
        """The layers that any of them has; a cell of one that lacks it has no values in it."""
        return self._lazily(LAYER, self._layer, keep=True)

    @cached_property
    def raw(self) -> Raw | None:
        """The raws of those that have one, their genes aligned by id.

        Raises
        ------
        GenesDiffer
            If these cannot be brought together as wanted.
        """
        raws = {member: member.ask(raw_of) for member in self._members if RAW in member.holds}
        if not raws:
            return None
        places = [f"raw of {member.place}" for member in raws]
        alignment = self._align_raws(raws.values(), places)
        positions = dict(zip(raws, alignment.positions, strict=True))
        tables = [raw.genes for raw in raws.values()]
        genes, _ = joined_genes(zip(tables, alignment.positions, places, strict=True))
        measured = {
            member: raw.measured or (alignment.measured(at),)
            for at, (member, raw) in enumerate(raws.items())
        }
        return Raw(
            self._stacked(positions, lambda source: raw_of(source).matrix, len(alignment.ids)),
            genes,
            self._lazily(RAW_VARM, lambda name: self._raw_element(name, positions, genes)),
            tuple(ranges for m in self._members for ranges in measured.get(m, ((),) * m.inputs)),
        )

    def slots(self) -> Slots:
        """The slots of all, each element brought together when it is asked for.

        All elements of an input are read at once when the first is, and kept as long as these
        slots are.
        """

        @cache
        def read() -> list[Mapping[str, Any]]:
            return [member.ask(partial(_elements, names=member.holds)) for member in self._members]

        def pieces(name: str) -> list[Piece]:
            return [
                Piece(member.place, elements.get(name), member.ids)
                for member, elements in zip(self._members, read(), strict=True)
            ]

        def first(name: str) -> tuple[Piece, NDArray[np.int64]]:
            return next(
                (piece, member.positions)
                for piece, member in zip(pieces(name), self._members, strict=True)
                if piece.element is not None
            )

        return Slots(
            self._lazily("obsm", lambda name: below_each_other(name, pieces(name))),
            self._lazily("varm", lambda name: self._at_genes(name, *first(name))),
            self._lazily("obsp", lambda name: block_diagonal(name, pieces(name))),
            self._lazily("varp", lambda name: self._at_genes(name, *first(name))),
            WhenAsked(self._uns),
        )

    @cached_property
    def differing(self) -> tuple[str, ...]:
        """The elements of varm and varp that are not the same in all inputs that have them."""
        holders = Counter(name for member in self._members for name in member.holds)
        several = [n for slot in _OF_GENES for n in self._names(slot) if holders[n] > 1]
        first: dict[str, Any] = {}
        found: set[str] = set()
        # Each input is opened once, and not for every element.
        for member in self._members:
            names = [name for name in several if name in member.holds and name not in found]
            elements = member.ask(partial(_elements, names=names)) if names else {}
            for name, element in elements.items():
                piece = Piece(member.place, element, member.ids)
                placed = self._at_genes(name, piece, member.positions)
                if name not in first:
                    first[name] = placed
                elif not same(first[name], placed):
                    found.add(name)
        pairs = (name.partition(":") for name in several if name in found)
        return tuple(f"{slot} ({key})" for slot, _, key in pairs)

    def _names(self, kind: str) -> list[str]:
        """The names of this kind that any of them holds, as "layer:NAME"."""
        names = dict.fromkeys(name for member in self._members for name in member.holds)
        return [name for name in names if name.startswith(f"{kind}:")]

    def _lazily(self, kind: str, make: Callable[[str], T], *, keep: bool = False) -> Lazily[T]:
        """What is made of each name of this kind, by what follows the kind."""
        keys = [name.partition(":")[2] for name in self._names(kind)]
        return Lazily(keys, lambda key: make(f"{kind}:{key}"), keep=keep)

    def _layer(self, name: str) -> Matrix:
        key = name.partition(":")[2]
        positions = {m: m.positions for m in self._members if name in m.holds}
        return self._stacked(positions, lambda source: source.layers()[key], len(self._gene_ids))

    def _stacked(
        self, positions: Mapping[Member, NDArray[np.int64]], find: Find, n_genes: int
    ) -> Stacked:
        """A matrix of those whose genes have positions in it."""
        places = {member: GenePlaces(at, n_genes) for member, at in positions.items()}
        parts = [Part(member, places.get(member)) for member in self._members]
        dtypes = [member.ask(lambda source: find(source).dtype) for member in positions]
        shape = (self._members[-1].rows.stop, n_genes)
        return Stacked(parts, find, shape, common_number(dtypes))

    def _at_genes(self, name: str, piece: Piece, positions: NDArray[np.int64]) -> Any:
        """An element of varm or varp among the genes of all."""
        if name.startswith("varp:"):
            return at_pairs(name, piece, positions, len(self._gene_ids))
        return at_places(name, piece, positions, self._gene_ids)

    def _align_raws(self, raws: Iterable[Raw], places: Sequence[str]) -> Alignment:
        ids = [raw.genes.column(0).combine_chunks() for raw in raws]
        try:
            return align(ids, places, self._genes)
        except GenesDiffer as error:
            error.add_note("in raw, which --no-raw leaves out")
            raise

    def _raw_element(
        self, name: str, positions: Mapping[Member, NDArray[np.int64]], genes: pa.Table
    ) -> Any:
        key = name.partition(":")[2]
        member = next(member for member in self._members if name in member.holds)
        element = member.ask(lambda source: raw_of(source).varm[key])
        piece = Piece(member.place, element, member.ids)
        return at_places(name, piece, positions[member], genes.column(0))


def _elements(source: Source, names: Iterable[str]) -> dict[str, Any]:
    """Those of these that slots hold, by the same names."""
    slots = source.slots()
    pairs = ((name, *name.partition(":")) for name in names)
    return {name: getattr(slots, slot)[key] for name, slot, _, key in pairs if slot in SLOTS}
