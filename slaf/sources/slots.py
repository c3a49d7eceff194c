"""The layers, raw and slots that are converted with the chosen matrix."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Self

from slaf.format.records import ALIGNED_SLOTS as FORMED
from slaf.format.records import RAW_VARM
from slaf.format.schema import RAW

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from slaf.sources.base import Source

__all__ = [
    "LAYER",
    "SLOTS",
    "SlotSelection",
    "UnsMerge",
    "describe_slots",
    "dropped_with_raw",
    "in_words",
    "other_layers",
    "slot_names",
]

_LAYER: Final = "layer:"


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
    return (*layers, *genes, *(text for s in SLOTS for text in in_words(s, getattr(slots, s))))


def in_words(slot: str, names: Iterable[str]) -> list[str]:
    """The elements of a slot as one text; none without elements."""
    names = list(names)
    return [f"{slot} ({', '.join(names)})"] if names else []


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

    def to_json(self) -> dict[str, Any]:
        """As config.json has it."""
        layers = self.layers if isinstance(self.layers, str) else list(self.layers)
        return asdict(self) | {
            "layers": layers,
            "without": list(self.without),
            "uns_merge": str(self.uns_merge),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> Self:
        """As `to_json` wrote it; None stands for nothing at all."""
        if data is None:
            return cls("none", raw=False, without=SLOTS)
        layers = data["layers"]
        return cls(
            layers if isinstance(layers, str) else tuple(layers),
            data["raw"],
            tuple(data.get("without", ())),
            UnsMerge(data.get("uns_merge", UnsMerge.UNIQUE)),
        )


def slot_names(source: Source) -> list[str]:
    """The names of the layers, raw and slots of a source; uns as a whole."""
    names = [f"{LAYER}:{name}" for name in source.info.layers]
    raw = source.raw()
    if raw is not None:
        names += [RAW, *(f"{RAW_VARM}:{key}" for key in raw.varm)]
    slots = source.slots()
    for slot in FORMED:
        names += [f"{slot}:{key}" for key in getattr(slots, slot)]
    return [*names, "uns"] if slots.uns else names
