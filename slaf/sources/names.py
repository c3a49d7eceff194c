"""Unique names of the inputs of a dataset, and prefixes of their cell ids."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["cell_id_prefixes", "counts_rank", "is_named_counts", "unique_names"]

# The names of matrices that hold counts, the most telling first.
_COUNTS = ("counts", "raw_counts", "raw", "spliced", "x")

_SUFFIXES = (".h5ad", ".h5", ".gz", ".mtx")


def counts_rank(matrix: str) -> int:
    """The rank of a matrix among those that are counts by their name; others are behind all."""
    name = matrix.rpartition(":")[2].lower()
    return _COUNTS.index(name) if name in _COUNTS else len(_COUNTS)


def is_named_counts(matrix: str) -> bool:
    """Whether a matrix, as "raw" or "layer:counts", is counts by its name."""
    return counts_rank(matrix) < len(_COUNTS)


def unique_names(uris: Sequence[str]) -> tuple[str, ...]:
    """The last part of each URI, with as many folders before it as make it unique.

    Inputs with the same URI have the same name.
    """
    parts = [[part for part in uri.split("/") if part] or [uri] for uri in uris]
    lengths = [1] * len(uris)
    while True:
        names = ["/".join(own[-n:]) for own, n in zip(parts, lengths, strict=True)]
        uris_of: dict[str, set[str]] = {}
        for name, uri in zip(names, uris, strict=True):
            uris_of.setdefault(name, set()).add(uri)
        ambiguous = [
            at
            for at, name in enumerate(names)
            if len(uris_of[name]) > 1 and lengths[at] < len(parts[at])
        ]
        if not ambiguous:
            return tuple(names)
        for at in ambiguous:
            lengths[at] += 1


def cell_id_prefixes(uris: Sequence[str]) -> tuple[str, ...]:
    """A prefix for the cell ids of each input, each different.

    Prefixed ids may still be equal: "a_" and "b_c", "a_b_" and "c".
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
