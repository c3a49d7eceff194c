"""What stands beside the matrix of an only input, as far as it is taken."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from slaf.annotations.concat_arrays import (
    InputElement,
    align_varm,
    align_varp,
    concat_obsm,
    concat_obsp,
    promote_dtype,
)
from slaf.annotations.equality import equal_elements
from slaf.errors import GeneMismatch, InputError
from slaf.format.schema import RAW
from slaf.options import ALIGNED_SLOTS, LAYER, RAW_VARM
from slaf.runtime.lazy import DeferredMapping, LazyMapping
from slaf.sources.base import Raw, Slots
from slaf.sources.concat.axes import merge_genes
from slaf.sources.concat.genes import align
from slaf.sources.concat.matrix import ConcatMatrix, ConcatPart
from slaf.sources.concat.members import raw_of
from slaf.sparse.batch import GeneMap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from slaf.options import GeneSet, SlotSelection, UnsMerge
    from slaf.sources.base import Matrix, Source
    from slaf.sources.concat.genes import Alignment
    from slaf.sources.concat.matrix import Find
    from slaf.sources.concat.members import Member

__all__ = ["MergedAnnotations", "SingleInputAnnotations", "merge_uns", "uns_per_source"]


class SingleInputAnnotations:
    """Layers, raw and slots of an only input.

    They outlive its lease, for it is the last that a shelf closes.

    Parameters
    ----------
    member
        The input.
    taking
        What to take of it.
    """

    differing: tuple[str, ...] = ()

    def __init__(self, member: Member, taking: SlotSelection) -> None:
        self._member = member
        self._taking = taking

    @property
    def layers(self) -> Mapping[str, Matrix]:
        """Those that are taken."""
        found = self._member.ask(lambda source: source.layers())
        names = [name for name in found if f"{LAYER}:{name}" in self._member.holds]
        return LazyMapping(names, lambda name: found[name])

    @property
    def raw(self) -> Raw | None:
        """Raw, with what is taken of its varm; None if it is not taken."""
        if RAW not in self._member.holds:
            return None
        found = self._member.ask(raw_of)
        varm = found.varm
        keys = [key for key in varm if f"{RAW_VARM}:{key}" in self._member.holds]
        return replace(found, varm=LazyMapping(keys, lambda key: varm[key]))

    def slots(self) -> Slots:
        """Of each slot the elements that are taken."""
        found = self._member.ask(lambda source: source.slots())
        aligned = {slot: self._taken(slot, getattr(found, slot)) for slot in ALIGNED_SLOTS}
        return Slots(**aligned, uns=DeferredMapping(lambda: self._taken("uns", found.uns)))

    def _taken(self, slot: str, elements: Mapping[str, Any]) -> Mapping[str, Any]:
        names = [key for key in elements if self._taking.includes(f"{slot}:{key}")]
        return LazyMapping(names, lambda key: elements[key])


T = TypeVar("T")

# Of these all inputs have one, for they have the same genes.
_OF_GENES = ("varm", "varp")


class MergedAnnotations:
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
        GeneMismatch
            If these cannot be brought together as wanted.
        """
        raws = {member: member.ask(raw_of) for member in self._members if RAW in member.holds}
        if not raws:
            return None
        places = [f"raw of {member.place}" for member in raws]
        alignment = self._align_raws(raws.values(), places)
        positions = dict(zip(raws, alignment.positions, strict=True))
        tables = [raw.genes for raw in raws.values()]
        genes, _ = merge_genes(zip(tables, alignment.positions, places, strict=True))
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

        def pieces(name: str) -> list[InputElement]:
            return [
                InputElement(member.place, elements.get(name), member.ids)
                for member, elements in zip(self._members, read(), strict=True)
            ]

        def first(name: str) -> tuple[InputElement, NDArray[np.int64]]:
            return next(
                (piece, member.positions)
                for piece, member in zip(pieces(name), self._members, strict=True)
                if piece.element is not None
            )

        return Slots(
            self._lazily("obsm", lambda name: concat_obsm(name, pieces(name))),
            self._lazily("varm", lambda name: self._at_genes(name, *first(name))),
            self._lazily("obsp", lambda name: concat_obsp(name, pieces(name))),
            self._lazily("varp", lambda name: self._at_genes(name, *first(name))),
            DeferredMapping(self._uns),
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
                piece = InputElement(member.place, element, member.ids)
                placed = self._at_genes(name, piece, member.positions)
                if name not in first:
                    first[name] = placed
                elif not equal_elements(first[name], placed):
                    found.add(name)
        pairs = (name.partition(":") for name in several if name in found)
        return tuple(f"{slot} ({key})" for slot, _, key in pairs)

    def _names(self, kind: str) -> list[str]:
        """The names of this kind that any of them holds, as "layer:NAME"."""
        names = dict.fromkeys(name for member in self._members for name in member.holds)
        return [name for name in names if name.startswith(f"{kind}:")]

    def _lazily(self, kind: str, make: Callable[[str], T], *, keep: bool = False) -> LazyMapping[T]:
        """What is made of each name of this kind, by what follows the kind."""
        keys = [name.partition(":")[2] for name in self._names(kind)]
        return LazyMapping(keys, lambda key: make(f"{kind}:{key}"), keep=keep)

    def _layer(self, name: str) -> Matrix:
        key = name.partition(":")[2]
        positions = {m: m.positions for m in self._members if name in m.holds}
        return self._stacked(positions, lambda source: source.layers()[key], len(self._gene_ids))

    def _stacked(
        self, positions: Mapping[Member, NDArray[np.int64]], find: Find, n_genes: int
    ) -> ConcatMatrix:
        """A matrix of those whose genes have positions in it."""
        places = {member: GeneMap(at, n_genes) for member, at in positions.items()}
        parts = [ConcatPart(member, places.get(member)) for member in self._members]
        dtypes = [member.ask(lambda source: find(source).dtype) for member in positions]
        shape = (self._members[-1].rows.stop, n_genes)
        return ConcatMatrix(parts, find, shape, promote_dtype(dtypes))

    def _at_genes(self, name: str, piece: InputElement, positions: NDArray[np.int64]) -> Any:
        """An element of varm or varp among the genes of all."""
        if name.startswith("varp:"):
            return align_varp(name, piece, positions, len(self._gene_ids))
        return align_varm(name, piece, positions, self._gene_ids)

    def _align_raws(self, raws: Iterable[Raw], places: Sequence[str]) -> Alignment:
        ids = [raw.genes.column(0).combine_chunks() for raw in raws]
        try:
            return align(ids, places, self._genes)
        except GeneMismatch as error:
            error.add_note("in raw, which --no-raw leaves out")
            raise

    def _raw_element(
        self, name: str, positions: Mapping[Member, NDArray[np.int64]], genes: pa.Table
    ) -> Any:
        key = name.partition(":")[2]
        member = next(member for member in self._members if name in member.holds)
        element = member.ask(lambda source: raw_of(source).varm[key])
        piece = InputElement(member.place, element, member.ids)
        return align_varm(name, piece, positions[member], genes.column(0))


def _elements(source: Source, names: Iterable[str]) -> dict[str, Any]:
    """Those of these that slots hold, by the same names."""
    slots = source.slots()
    pairs = ((name, *name.partition(":")) for name in names)
    return {
        name: getattr(slots, slot)[key] for name, slot, _, key in pairs if slot in ALIGNED_SLOTS
    }


def uns_per_source(member: Member, taking: SlotSelection) -> Mapping[str, Any]:
    """The uns of an input, as far as it is taken."""
    uns = member.ask(_uns) if "uns" in member.holds else {}
    return {key: uns[key] for key in uns if taking.includes(f"uns:{key}")}


def merge_uns(unses: Sequence[Mapping[str, Any]], how: UnsMerge) -> Mapping[str, Any]:
    """One uns of several, as `anndata.concat` merges them; that of the only one as it is.

    Raises
    ------
    InputError
        If they cannot be compared.
    """
    if len(unses) == 1:
        return unses[0]
    if not any(unses):
        return {}
    import anndata
    import pandas as pd

    held = [anndata.AnnData(obs=pd.DataFrame(index=["0"]), uns=dict(uns)) for uns in unses]
    try:
        return dict(anndata.concat(held, uns_merge=str(how), index_unique="-").uns)
    except (TypeError, ValueError, AttributeError) as error:
        msg = f"uns of the inputs cannot be compared ({error}); leave it out with --without uns"
        raise InputError(msg) from error


def _uns(source: Source) -> Mapping[str, Any]:
    uns = source.slots().uns
    return {key: uns[key] for key in uns}
