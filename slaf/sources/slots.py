"""The layers, raw and slots that are converted with the chosen matrix."""

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
    "in_words",
    "other_layers",
    "slot_names",
]

_LAYER: Final = f"{LAYER}:"


def other_layers(chosen: str, matrices: Iterable[str]) -> dict[str, str]:
    """The other matrices with the genes of the chosen one, by their names as layers.

    X becomes a layer of that name where a layer was chosen.

    Parameters
    ----------
    chosen
        "X", "raw" or "layer:NAME".
    matrices
        The names of all matrices.
    """
    if chosen == "raw":
        return {}
    others = [name for name in matrices if name not in {chosen, "raw"}]
    layers = {name.removeprefix(_LAYER): name for name in others if name != "X"}
    if "X" in others:
        layers.setdefault("X", "X")
    return layers


def dropped_with_raw(
    chosen: str, matrices: Sequence[str], of_genes: Iterable[tuple[str, list[str]]]
) -> tuple[str, ...]:
    """The content with other genes than those of the chosen matrix, in words.

    Parameters
    ----------
    chosen, matrices
        As for `other_layers`.
    of_genes
        The names in each slot with the genes of X.
    """
    if chosen == "raw":
        slots = (text for slot, names in of_genes for text in in_words(slot, names))
        return (*(name for name in matrices if name != chosen), *slots)
    # A layer called X, where X itself becomes a layer.
    converted = {*other_layers(chosen, matrices).values(), chosen, "raw"}
    return tuple(name for name in matrices if name not in converted)


def describe_slots(source: Source) -> tuple[str, ...]:
    """The layers, raw and slots of a source, in words; reads only names."""
    slots, raw = source.slots(), source.raw()
    layers = in_words("layers", source.info.layers)
    genes = [] if raw is None else [f"raw ({raw.genes.num_rows:,} genes)"]
    coverage = source.coverage()
    runs = [] if coverage is None else [f"coverage ({len(coverage.contigs):,} contigs)"]
    return (
        *layers,
        *genes,
        *runs,
        *(text for s in SLOTS for text in in_words(s, getattr(slots, s))),
    )


def in_words(slot: str, names: Iterable[str]) -> list[str]:
    """The elements of a slot as one text; none without elements."""
    names = list(names)
    return [f"{slot} ({', '.join(names)})"] if names else []


def slot_names(source: Source) -> list[str]:
    """The names of the layers, raw and slots of a source; uns as a whole."""
    names = [f"{LAYER}:{name}" for name in source.info.layers]
    raw = source.raw()
    if raw is not None:
        names += [RAW, *(f"{RAW_VARM}:{key}" for key in raw.varm)]
    slots = source.slots()
    for slot in ALIGNED_SLOTS:
        names += [f"{slot}:{key}" for key in getattr(slots, slot)]
    return [*names, "uns"] if slots.uns else names
