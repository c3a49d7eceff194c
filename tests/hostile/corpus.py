"""All hostile inputs, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.hostile import h5ad

if TYPE_CHECKING:
    from tests.hostile.case import Case

__all__ = ["CORPUS"]

_KINDS = {"h5ad": h5ad.CASES}

CORPUS: dict[str, Case] = {
    f"{kind}: {name}": case for kind, cases in _KINDS.items() for name, case in cases.items()
}
