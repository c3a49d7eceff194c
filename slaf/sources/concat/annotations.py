"""Merge the layers, raw and slots of several inputs."""

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
from slaf.annotations.dataframes import is_frame, with_ids
from slaf.annotations.equality import equal_elements
from slaf.annotations.lazy_table import LazyColumn
from slaf.errors import GeneMismatch, InputError
from slaf.format.schema import RAW
from slaf.options import ALIGNED_SLOTS, LAYER, RAW_VARM
from slaf.runtime.lazy import DeferredMapping, LazyMapping
from slaf.sources.base import add_note
from slaf.sources.concat.axes import merge_genes
from slaf.sources.concat.genes import align
from slaf.sources.concat.matrix import ConcatMatrix, ConcatPart
from slaf.sources.concat.members import check_raw, raw_genes
from slaf.sources.contents import Raw, Slots
from slaf.sparse.batch import GeneMap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from slaf.annotations.lazy_table import AnyColumn
    from slaf.options import SlotSelection, UnsMerge
    from slaf.sources.base import Source
    from slaf.sources.concat.genes import Alignment, GeneJoin
    from slaf.sources.concat.matrix import FindMatrix
    from slaf.sources.concat.members import Member
    from slaf.sources.matrix import Matrix
    from slaf.sparse.batch import GeneMap

__all__ = ["MergedAnnotations", "merge_uns", "read_uns", "single_raw", "single_slots"]

T = TypeVar("T")


def single_raw(member: Member) -> Raw | None:
    """The raw of the only input, if it is selected, with the selected elements of its varm.

    It is read after its lease: the pool closes the only input last.
    """
    if RAW not in member.selected:
        return None
    raw = member.with_open(check_raw)
    keys = [key for key in raw.varm if f"{RAW_VARM}:{key}" in member.selected]
    ids = raw.genes.column(0)
    return replace(
        raw,
        genes=raw_genes(member, raw),
        varm=LazyMapping(keys, lambda key: with_ids(f"{RAW_VARM}:{key}", raw.varm[key], ids, ids)),
    )


def single_slots(member: Member, selection: SlotSelection) -> Slots:
    """The selected elements of the only input."""
    slots = member.with_open(lambda source: source.slots())

    def selected(slot: str) -> Mapping[str, Any]:
        elements: Mapping[str, Any] = getattr(slots, slot)
        names = [key for key in elements if selection.includes(f"{slot}:{key}")]
        return LazyMapping(
            names,
            lambda key: member.with_open(
                lambda source: _with_ids(f"{slot}:{key}", elements[key], source, member)
            ),
        )

    aligned = {slot: selected(slot) for slot in ALIGNED_SLOTS}
    return Slots(**aligned, uns=DeferredMapping(lambda: selected("uns")))


class MergedAnnotations:
    """Layers, raw and slots of several inputs.

    Parameters
    ----------
    members
        In the order of their cells.
    gene_ids
        The ids of all genes.
    join
        The genes to take of several raws: as for the matrices.
    uns
        Makes the merged uns.
    """

    def __init__(
        self,
        members: Sequence[Member],
        gene_ids: AnyColumn,
        join: GeneJoin,
        uns: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._members = tuple(members)
        self._gene_ids = gene_ids
        self._join = join
        self._uns = uns

    @property
    def layers(self) -> list[str]:
        """The names of the layers that any input has."""
        return [name.partition(":")[2] for name in self._names(LAYER)]

    def layer(self, key: str) -> Matrix:
        """A layer; cells of an input that lacks it have no values."""
        name = f"{LAYER}:{key}"
        maps = {m: m.gene_map for m in self._members if name in m.selected}
        return self._concat(maps, lambda source: source.layers()[key], len(self._gene_ids))

    def raw(self) -> Raw | None:
        """The raws of all inputs that have one, their genes aligned by id.

        Raises
        ------
        GeneMismatch
            If they cannot be aligned as chosen.
        """
        raws = {m: m.with_open(check_raw) for m in self._members if RAW in m.selected}
        if not raws:
            return None
        labels = [f"raw of {member.label}" for member in raws]
        alignment = self._align_raws(raws.values(), labels)
        maps = dict(zip(raws, alignment.maps, strict=True))
        tables = [raw_genes(member, raw) for member, raw in raws.items()]
        genes, _ = merge_genes(zip(tables, alignment.maps, labels, strict=True))
        present = {
            # A dataset whose inputs are all given again stands for none of them.
            member: (raw.genes_present or (maps[member].genes_present,))[: member.n_inputs]
            for member, raw in raws.items()
        }
        return Raw(
            self._concat(maps, lambda source: check_raw(source).matrix, len(alignment.ids)),
            genes,
            self._lazy(RAW_VARM, lambda name: self._raw_element(name, maps, genes)),
            tuple(ranges for m in self._members for ranges in present.get(m, ((),) * m.n_inputs)),
        )

    def slots(self) -> Slots:
        """The slots of all, each element merged when it is used.

        The first use of an element reads all elements of all inputs, which are kept as long as
        these slots are.
        """

        @cache
        def read() -> list[Mapping[str, Any]]:
            return [
                m.with_open(partial(_elements, member=m, names=m.selected)) for m in self._members
            ]

        def pieces(name: str) -> list[InputElement]:
            return [
                InputElement(member.label, elements.get(name), member.ids)
                for member, elements in zip(self._members, read(), strict=True)
            ]

        def first(name: str) -> tuple[InputElement, GeneMap]:
            return next(
                (piece, member.gene_map)
                for piece, member in zip(pieces(name), self._members, strict=True)
                if piece.element is not None
            )

        return Slots(
            self._lazy("obsm", lambda name: concat_obsm(name, pieces(name))),
            self._lazy("varm", lambda name: self._align(name, *first(name))),
            self._lazy("obsp", lambda name: concat_obsp(name, pieces(name))),
            self._lazy("varp", lambda name: self._align(name, *first(name))),
            DeferredMapping(self._uns),
        )

    @cached_property
    def differing(self) -> tuple[str, ...]:
        """The elements of varm and varp that differ between inputs."""
        holders = Counter(name for member in self._members for name in member.selected)
        shared = [n for slot in ("varm", "varp") for n in self._names(slot) if holders[n] > 1]
        first: dict[str, Any] = {}
        differing: set[str] = set()
        # Each input is opened once for all elements.
        for member in self._members:
            names = [name for name in shared if name in member.selected and name not in differing]
            read = partial(_elements, member=member, names=names)
            elements = member.with_open(read) if names else {}
            for name, element in elements.items():
                piece = InputElement(member.label, element, member.ids)
                aligned = self._align(name, piece, member.gene_map)
                if not equal_elements(first.setdefault(name, aligned), aligned):
                    differing.add(name)
        pairs = (name.partition(":") for name in shared if name in differing)
        return tuple(f"{slot} ({key})" for slot, _, key in pairs)

    def _names(self, kind: str) -> list[str]:
        """The selected names of this kind, as "layer:NAME"."""
        names = dict.fromkeys(name for member in self._members for name in member.selected)
        return [name for name in names if name.startswith(f"{kind}:")]

    def _lazy(self, kind: str, make: Callable[[str], T]) -> LazyMapping[T]:
        """The elements of this kind by key, each made from its name."""
        keys = [name.partition(":")[2] for name in self._names(kind)]
        return LazyMapping(keys, lambda key: make(f"{kind}:{key}"))

    def _concat(
        self, maps: Mapping[Member, GeneMap], find: FindMatrix, n_genes: int
    ) -> ConcatMatrix:
        """One matrix of the members that have positions of its genes."""
        parts = [ConcatPart(member, maps.get(member)) for member in self._members]
        dtypes = [member.with_open(lambda source: find(source).dtype) for member in maps]
        shape = (self._members[-1].rows.stop, n_genes)
        return ConcatMatrix(parts, find, shape, promote_dtype(dtypes))

    def _align(self, name: str, piece: InputElement, gene_map: GeneMap) -> Any:
        """An element of varm or varp among the genes of all."""
        if name.startswith("varp:"):
            return align_varp(name, piece, gene_map.positions, len(self._gene_ids))
        ids = self._gene_ids
        whole = ids.to_array() if isinstance(ids, LazyColumn) else ids
        return align_varm(name, piece, gene_map.positions, pa.chunked_array([whole]))

    def _align_raws(self, raws: Iterable[Raw], labels: Sequence[str]) -> Alignment:
        ids = [raw.genes.column(0).combine_chunks() for raw in raws]
        try:
            return align(ids, labels, self._join)
        except GeneMismatch as error:
            error.add_note("in raw, which --no-raw leaves out")
            raise

    def _raw_element(self, name: str, maps: Mapping[Member, GeneMap], genes: pa.Table) -> Any:
        key = name.partition(":")[2]
        member = next(member for member in self._members if name in member.selected)

        def read(source: Source) -> Any:
            raw = check_raw(source)
            ids = raw.genes.column(0)
            return with_ids(name, raw.varm[key], ids, ids)

        piece = InputElement(member.label, member.with_open(read), member.ids)
        return align_varm(name, piece, maps[member].positions, genes.column(0))


def _elements(source: Source, member: Member, names: Iterable[str]) -> dict[str, Any]:
    """The elements of these names in obsm, varm, obsp and varp."""
    slots = source.slots()
    split = ((name, *name.partition(":")) for name in names)
    with add_note(f"in {member.label}"):
        return {
            name: _with_ids(name, getattr(slots, slot)[key], source, member)
            for name, slot, _, key in split
            if slot in ALIGNED_SLOTS
        }


def _with_ids(name: str, element: Any, source: Source, member: Member) -> Any:
    """A table of obsm or varm with the ids of the dataset; another element as it is."""
    if not is_frame(element) or not name.startswith(("obsm:", "varm:")):
        return element
    in_obsm = name.startswith("obsm:")
    own = (source.cells() if in_obsm else source.genes()).column(0)
    return with_ids(name, element, own, member.ids if in_obsm else own)


def read_uns(member: Member, selection: SlotSelection) -> Mapping[str, Any]:
    """The selected elements of the uns of an input."""

    def read(source: Source) -> Mapping[str, Any]:
        uns = source.slots().uns
        return {key: uns[key] for key in uns if selection.includes(f"uns:{key}")}

    return member.with_open(read) if "uns" in member.selected else {}


def merge_uns(uns_per_source: Sequence[Mapping[str, Any]], how: UnsMerge) -> Mapping[str, Any]:
    """One uns of several, as `anndata.concat` merges them; the uns of a single input as it is.

    Raises
    ------
    InputError
        If they cannot be compared.
    """
    if len(uns_per_source) == 1:
        return uns_per_source[0]
    if not any(uns_per_source):
        return {}
    import anndata
    import pandas as pd

    obs = pd.DataFrame(index=["0"])
    carriers = [anndata.AnnData(obs=obs, uns=dict(uns)) for uns in uns_per_source]
    try:
        return dict(anndata.concat(carriers, uns_merge=str(how), index_unique="-").uns)
    except (TypeError, ValueError, AttributeError) as error:
        msg = f"uns of the inputs cannot be compared ({error}); leave it out with --without uns"
        raise InputError(msg) from error
