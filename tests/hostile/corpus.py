"""All hostile inputs, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.hostile import h5ad, mtx, places, soma, tenx_h5
from tests.hostile.case import either
from tests.hostile.edits import cut, flipped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.hostile.case import Case

__all__ = ["CAMPAIGN", "CORPUS", "REPRESENTATIVE", "groups"]

_OF_EACH_KIND = 12

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

# Cases that are much the same follow each other: one of each few stands for them.
REPRESENTATIVE: tuple[str, ...] = tuple(
    f"{kind}: {name}"
    for kind, cases in _KINDS.items()
    for name in list(cases)[:: len(cases) // _OF_EACH_KIND]
)


def groups(names: Iterable[str], size: int = 8) -> dict[str, tuple[str, ...]]:
    """So many names at a time, called by the first of them."""
    chosen = tuple(names)
    return {chosen[at]: chosen[at : at + size] for at in range(0, len(chosen), size)}


_FILES = {
    "h5ad rows": h5ad.CSR,
    "h5ad packed": h5ad.PACKED,
    "h5ad columns": h5ad.CSC,
    "h5ad dense": h5ad.DENSE,
    "10x H5": tenx_h5.V3,
    "10x H5 packed": tenx_h5.PACKED,
    "10x H5 of version 2": tenx_h5.V2,
}
_FOLDERS = {
    "mtx": mtx.PLAIN,
    "mtx packed": mtx.PACKED,
    "soma": soma.SPARSE,
    "soma dense": soma.DENSE,
}

CAMPAIGN: dict[str, Case] = {
    **{
        f"{name} cut at {part} of 60": either(cut(good, part / 60))
        for name, good in _FILES.items()
        for part in range(60)
    },
    **{
        f"{name} changed {seed}": either(flipped(good, 1000 + seed))
        for name, good in (_FILES | _FOLDERS).items()
        for seed in range(60)
    },
}
