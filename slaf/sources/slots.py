"""Which matrices of an AnnData go along with the one that was chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from slaf.format.schema import RAW
from slaf.options import ALIGNED_SLOTS, LAYER, RAW_VARM, SLOTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slaf.sources.base import Source

__all__ = [
    "describe_slots",
    "dropped_with_raw",
    "other_layers",
    "slot_names",
]

_LAYER: Final = f"{LAYER}:"


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


def slot_names(source: Source) -> list[str]:
    """The names of all that a source has beside its matrix; of uns as a whole."""
    names = [f"{LAYER}:{name}" for name in source.layers()]
    raw = source.raw()
    if raw is not None:
        names += [RAW, *(f"{RAW_VARM}:{key}" for key in raw.varm)]
    slots = source.slots()
    for slot in ALIGNED_SLOTS:
        names += [f"{slot}:{key}" for key in getattr(slots, slot)]
    return [*names, "uns"] if slots.uns else names
