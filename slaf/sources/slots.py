"""Which matrices of an AnnData go along with the one that was chosen."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self

from slaf.format.records import ALIGNED_SLOTS as FORMED
from slaf.format.records import RAW_VARM, SelectionRecord
from slaf.format.schema import RAW

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from slaf.sources.base import Source

__all__ = [
    "LAYER",
    "SLOTS",
    "SlotSelection",
    "UnsMerge",
    "describe_slots",
    "dropped_with_raw",
    "other_layers",
    "slot_names",
]

_LAYER: Final = "layer:"


def other_layers(chosen: str, matrices: Iterable[str]) -> dict[str, str]:
    """The matrices that have the genes of the chosen one, by the name that they get as layers.

    X becomes a layer of that name where a layer was chosen.

    Parameters
    ----------
    chosen
        "X", "raw" or "layer:NAME".
    matrices
        All there are.
    """
    if chosen == "raw":
        return {}
    others = [name for name in matrices if name not in {chosen, "raw"}]
    named = {name.removeprefix(_LAYER): name for name in others if name != "X"}
    if "X" in others:
        named.setdefault("X", "X")
    return named


def dropped_with_raw(
    chosen: str, matrices: Sequence[str], varied: Iterable[tuple[str, list[str]]]
) -> tuple[str, ...]:
    """In words, what belongs to other genes than those of the chosen matrix.

    Parameters
    ----------
    chosen, matrices
        As for `layers_beside`.
    varied
        The names in each slot that belongs to the genes of X.
    """
    if chosen == "raw":
        slots = (f"{slot} ({', '.join(names)})" for slot, names in varied if names)
        return (*(name for name in matrices if name != chosen), *slots)
    # A layer of the name X, where X itself is one.
    taken = {*other_layers(chosen, matrices).values(), chosen, "raw"}
    return tuple(name for name in matrices if name not in taken)


def describe_slots(source: Source) -> tuple[str, ...]:
    """In words, what goes along with the matrix of a source; reads as little as that takes."""
    slots = source.slots()
    names = [("layers", list(source.layers()))]
    names += [(slot, list(getattr(slots, slot))) for slot in SLOTS]
    said = [f"{slot} ({', '.join(found)})" for slot, found in names if found]
    found = source.raw()
    if found is not None:
        said.insert(1 if names[0][1] else 0, f"raw ({found.genes.num_rows:,} genes)")
    return tuple(said)


LAYER: Final = "layer"
SLOTS: Final = (*FORMED, "uns")
_KINDS: Final = (LAYER, RAW, RAW_VARM, *SLOTS)


class UnsMerge(StrEnum):
    """What becomes of uns where several inputs have one, by the rules of `anndata.concat`."""

    SAME = "same"
    """What is the same in all inputs."""

    UNIQUE = "unique"
    """What has one value only, in those that have it."""

    FIRST = "first"
    """The first value there is."""

    ONLY = "only"
    """What one input alone has."""


@dataclass(frozen=True, slots=True)
class SlotSelection:
    """What to take along with the matrix of an input.

    Attributes
    ----------
    layers
        "all", "none", or the names of those to take; "strict" takes all, and refuses inputs of
        which one lacks a layer, raw, or an element of obsm or obsp that another has.
    raw
        Whether raw goes along.
    without
        What stays behind: "obsm", say, or "obsm:X_pca", "uns:log", "layer:scaled".
    uns_merge
        What becomes of uns where several inputs have one.

    Raises
    ------
    ValueError
        If `without` names something that no input can have.
    """

    layers: str | tuple[str, ...] = "all"
    raw: bool = True
    without: tuple[str, ...] = ()
    uns_merge: UnsMerge = UnsMerge.UNIQUE

    def __post_init__(self) -> None:
        for name in self.without:
            if name.partition(":")[0] not in _KINDS:
                msg = (
                    f"{name!r} is nothing that could be left out; name one of "
                    f"{', '.join(_KINDS)}, or an element of one, like obsm:X_pca"
                )
                raise ValueError(msg)

    @property
    def is_strict(self) -> bool:
        """Whether all inputs must have the same."""
        return self.layers == "strict"

    @property
    def wanted(self) -> tuple[str, ...]:
        """The layers that are asked for by name."""
        if isinstance(self.layers, tuple):
            return self.layers
        return () if self.layers in {"all", "none", "strict"} else (self.layers,)

    def includes(self, name: str) -> bool:
        """Whether something of this name is taken: "layer:NAME", "raw", "obsm:KEY", …."""
        kind, _, key = name.partition(":")
        if name in self.without or kind in self.without:
            return False
        if kind == LAYER:
            return self.layers in {"all", "strict"} or key in self.wanted
        return self.raw if kind in {RAW, RAW_VARM} else True

    def of(self, names: Iterable[str]) -> Iterator[str]:
        """Those of the names that are taken."""
        return filter(self.includes, names)

    def to_record(self) -> SelectionRecord:
        """The record of config.json."""
        return SelectionRecord(self.layers, self.raw, self.without, str(self.uns_merge))

    @classmethod
    def from_record(cls, record: SelectionRecord | None) -> Self:
        """The selection that `to_record` gave; without a record, nothing is selected."""
        if record is None:
            return cls("none", raw=False, without=SLOTS)
        return cls(record.layers, record.raw, record.without, UnsMerge(record.uns_merge))


def slot_names(source: Source) -> list[str]:
    """The names of all that a source has beside its matrix; of uns as a whole."""
    names = [f"{LAYER}:{name}" for name in source.layers()]
    raw = source.raw()
    if raw is not None:
        names += [RAW, *(f"{RAW_VARM}:{key}" for key in raw.varm)]
    slots = source.slots()
    for slot in FORMED:
        names += [f"{slot}:{key}" for key in getattr(slots, slot)]
    return [*names, "uns"] if slots.uns else names
