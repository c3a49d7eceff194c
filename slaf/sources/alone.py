"""What stands beside the matrix of an only input, as far as it is taken."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from slaf.beside import RAW_VARM, SLOTS
from slaf.lazily import Lazily, WhenAsked
from slaf.schema import RAW
from slaf.sources.base import Slots
from slaf.sources.members import raw_of
from slaf.sources.taking import LAYER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slaf.sources.base import Matrix, Raw
    from slaf.sources.members import Member
    from slaf.sources.taking import Taking

__all__ = ["Alone"]


class Alone:
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

    def __init__(self, member: Member, taking: Taking) -> None:
        self._member = member
        self._taking = taking

    @property
    def layers(self) -> Mapping[str, Matrix]:
        """Those that are taken."""
        found = self._member.ask(lambda source: source.layers())
        names = [name for name in found if f"{LAYER}:{name}" in self._member.holds]
        return Lazily(names, lambda name: found[name])

    @property
    def raw(self) -> Raw | None:
        """Raw, with what is taken of its varm; None if it is not taken."""
        if RAW not in self._member.holds:
            return None
        found = self._member.ask(raw_of)
        varm = found.varm
        keys = [key for key in varm if f"{RAW_VARM}:{key}" in self._member.holds]
        return replace(found, varm=Lazily(keys, lambda key: varm[key]))

    def slots(self) -> Slots:
        """Of each slot the elements that are taken."""
        found = self._member.ask(lambda source: source.slots())
        aligned = {slot: self._taken(slot, getattr(found, slot)) for slot in SLOTS}
        return Slots(**aligned, uns=WhenAsked(lambda: self._taken("uns", found.uns)))

    def _taken(self, slot: str, elements: Mapping[str, Any]) -> Mapping[str, Any]:
        names = [key for key in elements if self._taking.takes(f"{slot}:{key}")]
        return Lazily(names, lambda key: elements[key])
