"""The options of what is stored: slots, parts, types and compression."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

from slaf.options.choices import COLUMNS, LAYER, RAW_VARM, SLOTS, Compression, Join, UnsMerge
from slaf.options.declare import Options, option

__all__ = [
    "PartOptions",
    "SlotSelection",
    "StoreOptions",
    "slot_names",
]

_KINDS: Final = (LAYER, "raw", RAW_VARM, *SLOTS, *COLUMNS)

# Cells that one digest covers, unless the caller says how many make a part.
_BLOCK_CELLS = 4096


def slot_names(names: str | Sequence[str]) -> tuple[str, ...]:
    """What `without` names: slots and elements of slots.

    Raises
    ------
    ValueError
        If one of them is something that no input can have.
    """
    listed = (names,) if isinstance(names, str) else tuple(names)
    for name in listed:
        if name.partition(":")[0] not in _KINDS:
            msg = (
                f"{name!r} is nothing that could be left out; name one of {', '.join(_KINDS)}, or "
                "an element or a column of one, like obsm:X_pca or obs:batch"
            )
            raise ValueError(msg)
    return listed


@dataclass(frozen=True, kw_only=True)
class PartOptions(Options):
    """How a run is divided."""

    chunk_size: int | None = option(None, metavar="CELLS", minimum=1)
    """Cells written, digested and checkpointed at a time; by default about 32 million nonzeros.
    Fewer lose less to an interruption, and take more time and bytes.
    """

    compact: bool = False
    """Gather chunks, however small, into parts of about 32 million nonzeros: less time and bytes
    than `chunk_size` alone, and more lost to an interruption.
    """


@dataclass(frozen=True, kw_only=True)
class SlotSelection(Options):
    """What of an input is converted besides its matrix."""

    layers: str | Sequence[str] = option(
        "all",
        metavar="all|none|strict|A,B",
        parse=lambda layers: layers if isinstance(layers, str) else tuple(layers),
    )
    """Further matrices of the same genes: all, none, or some by name. Their nonzeros add time and
    bytes. Where an input lacks what another has, values are missing; strict converts all, and
    refuses inputs if one lacks a layer, raw or an element of obsm or obsp that another
    has.
    """

    raw: bool = True
    """Convert what AnnData calls raw, where it is not the matrix itself; without it a conversion
    takes less time and bytes.
    """

    without: str | Sequence[str] = option((), parse=slot_names)
    """Leave out a slot, like uns, or one element or column, like obsm:X_pca or obs:batch; a column
    of var is left out of raw too. Less time and bytes.
    """

    uns_merge: UnsMerge = "unique"
    """The uns of several inputs, by the rules of `anndata.concat`: what is the same in all, what
    has one value only, the first value, or what one input alone has. The uns of each is stored
    too. Changes no time, few bytes.
    """

    @property
    def is_strict(self) -> bool:
        """Whether all inputs must have the same."""
        return self.layers == "strict"

    @property
    def wanted(self) -> tuple[str, ...]:
        """The layers that are chosen by name."""
        if not isinstance(self.layers, str):
            return tuple(self.layers)
        return () if self.layers in {"all", "none", "strict"} else (self.layers,)

    def includes(self, name: str) -> bool:
        """Whether something of this name is converted: "layer:NAME", "raw", "obsm:KEY", …."""
        kind, _, key = name.partition(":")
        if name in self.without or kind in self.without:
            return False
        if kind == LAYER:
            return self.layers in {"all", "strict"} or key in self.wanted
        return self.raw if kind in {"raw", RAW_VARM} else True

    def of(self, names: Iterable[str]) -> Iterator[str]:
        """Those of the names that are converted."""
        return filter(self.includes, names)

    @classmethod
    def nothing(cls) -> Self:
        """The selection of nothing besides the matrix."""
        return cls(layers="none", raw=False, without=SLOTS)


@dataclass(frozen=True, kw_only=True)
class StoreOptions(SlotSelection, PartOptions):
    """What decides the bytes of a dataset: the record that a plan has, and its checkpoint."""

    join: Join = "strict"
    """Genes of several inputs, which are aligned by their ids: strict refuses inputs that have not
    the same, union takes all, intersection those that all have. Fewer take fewer bytes.
    """

    compression: Compression = "balanced"
    """Bytes against time: about 2.9, 2.2 or 1.6 bytes a nonzero for counts."""

    create_indices: bool = option(default=False, flag="--indices")
    """Also index the ids of cells and genes: time and bytes for quicker look-ups."""

    string_ids: bool = False
    """Also store the ids of cell and gene as text with each nonzero, for readers that look nothing
    up: more time and bytes.
    """

    by_gene: bool = False
    """Also write the nonzeros in the order of genes, for genes to be read as fast as cells are: two
    and a half times the time, and half as many bytes again.
    """

    plain_types: bool = False
    """Store int32 ids in all tables and float32 values (float64 where that alone is exact), for
    readers that know no unsigned integers: more bytes.
    """

    @property
    def block_cells(self) -> int:
        """Cells that one digest covers."""
        return self.chunk_size or _BLOCK_CELLS

    @property
    def slots(self) -> SlotSelection:
        """What is converted besides the matrix."""
        return SlotSelection.part_of(self)
