"""Which matrices of an AnnData go along with the one that was chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from slaf.sources.taking import SLOTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slaf.sources.base import Source

__all__ = ["layers_beside", "left_of_raw", "named"]

_LAYER: Final = "layer:"


def layers_beside(chosen: str, matrices: Iterable[str]) -> dict[str, str]:
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


def left_of_raw(
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
    taken = {*layers_beside(chosen, matrices).values(), chosen, "raw"}
    return tuple(name for name in matrices if name not in taken)


def named(source: Source) -> tuple[str, ...]:
    """In words, what goes along with the matrix of a source; reads as little as that takes."""
    slots = source.slots()
    names = [("layers", list(source.layers()))]
    names += [(slot, list(getattr(slots, slot))) for slot in SLOTS]
    said = [f"{slot} ({', '.join(found)})" for slot, found in names if found]
    found = source.raw()
    if found is not None:
        said.insert(1 if names[0][1] else 0, f"raw ({found.genes.num_rows:,} genes)")
    return tuple(said)
