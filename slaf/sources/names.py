"""What the inputs of a dataset are called, so that each can be told from the others."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["cell_id_prefixes", "unique_names"]

_SUFFIXES = (".h5ad", ".h5", ".gz", ".mtx")


def unique_names(uris: Sequence[str]) -> tuple[str, ...]:
    """The end of each address, with as many folders before it as tell it from the others.

    Inputs of one address have one name.
    """
    parts = [[part for part in uri.split("/") if part] or [uri] for uri in uris]
    lengths = [1] * len(uris)
    while True:
        names = ["/".join(found[-n:]) for found, n in zip(parts, lengths, strict=True)]
        addresses: dict[str, set[str]] = {}
        for name, uri in zip(names, uris, strict=True):
            addresses.setdefault(name, set()).add(uri)
        growing = [
            at
            for at, name in enumerate(names)
            if len(addresses[name]) > 1 and lengths[at] < len(parts[at])
        ]
        if not growing:
            return tuple(names)
        for at in growing:
            lengths[at] += 1


def cell_id_prefixes(uris: Sequence[str]) -> tuple[str, ...]:
    """What to put before the cell ids of each input, which is another for each.

    Ids may still be alike, as "b_c" behind "a_" and "c" behind "a_b_" are.
    """
    names = unique_names(uris)
    stems = [_stem(name) for name in names]
    stems = [
        stem if stems.count(stem) == 1 else name for stem, name in zip(stems, names, strict=True)
    ]
    seen: Counter[str] = Counter()
    prefixes = []
    for stem in stems:
        seen[stem] += 1
        prefixes.append(f"{stem}_" if seen[stem] == 1 else f"{stem}-{seen[stem]}_")
    return tuple(prefixes)


def _stem(name: str) -> str:
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name
