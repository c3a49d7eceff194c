"""All hostile inputs, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.hostile import h5ad, mtx, places, soma, tenx_h5

if TYPE_CHECKING:
    from tests.hostile.case import Case

__all__ = ["CORPUS"]

_KINDS = {
    "h5ad": h5ad.CASES,
    "10x_h5": tenx_h5.CASES,
    "mtx": mtx.CASES,
    "soma": soma.CASES,
    "place": places.CASES,
}

CORPUS: dict[str, Case] = {
    f"{kind}: {name}": case for kind, cases in _KINDS.items() for name, case in cases.items()
}
