"""Names of the inputs of a dataset: of their files, and of their samples."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "counts_rank",
    "is_named_counts",
    "path_parts",
    "sample_names",
    "unique_names",
    "without_suffix",
]

# The names of matrices that hold counts, the most telling first.
_COUNTS = ("counts", "raw_counts", "raw", "spliced", "x")

_SUFFIX = re.compile(r"(?:\.(?:bam|cram|sam|h5ad|h5mu|hdf5|h5|loom|zarr|zip|mtx|gz|slaf))+$")

# What tools call their files and folders, whatever the sample.
_KIND = (
    r"(?:sample_)?(?:raw|filtered|unfiltered)(?:_(?:feature|peak|gene)_bc_matri(?:x|ces)(?:_h5)?)?"
)
_OF_A_TOOL = re.compile(
    rf"{_KIND}|outs?|counts?|matrix|adata|anndata|(?:cell_)?feature_(?:bc|cell)?_?matrix"
    r"|counts_(?:un)?filtered|Gene(?:Full\w*)?|Velocyto|Solo\.out|DGE_(?:un)?filtered|quants(?:_mat)?"
    r"|alevin|af_quant|all-sample|binned_outputs|square_\d+um"
)
_WORDS_OF_A_TOOL = re.compile(rf"(?<=.)(?:[_.-](?:{_KIND}|matrix)|Solo\.out)$")
_LAST_WORD = re.compile(r"(?<=.)[_.-][^_.-]*$")


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


def sample_names(uris: Sequence[str], earlier: Sequence[str] = ()) -> tuple[str, ...]:
    """A short name for each input: the part of its path that tells it from the others.

    The names that tools give their files and folders are left out. Names are different, also of
    inputs with the same URI; text joined to them, as in "a_" and "b_c", "a_b_" and "c", may still
    be equal.

    Parameters
    ----------
    uris
        The inputs.
    earlier
        The names that the first inputs have already, which stay.

    Examples
    --------
    >>> sample_names(["runs/S01/outs/filtered_feature_bc_matrix.h5", "runs/S02/outs/raw.h5"])
    ('S01', 'S02')
    """
    paths = list(dict.fromkeys(path_parts(uri) for uri in uris))
    short = [_without_tools(path) for path in paths]
    if len(set(short)) < len(short):
        short = [(*path[:-1], without_suffix(path[-1])) for path in paths]
    name_of = dict(zip(paths, _telling_parts(short), strict=True))
    names, used = list(earlier), set(earlier)
    for uri in uris[len(names) :]:
        name = name_of[path_parts(uri)]
        numbered = (f"{name}-{number}" for number in count(2))
        names.append(name if name not in used else next(n for n in numbered if n not in used))
        used.add(names[-1])
    return tuple(names)


def path_parts(uri: str) -> tuple[str, ...]:
    """The folders and the name of an input; what AnnData in memory are called is one name."""
    if uri.startswith("<"):
        return (uri.strip("<>").partition(" ")[0],)
    return tuple(part for part in uri.split("/") if part not in {"", "."}) or (uri,)


def without_suffix(name: str) -> str:
    """The name of a file without the suffixes of its format."""
    return _SUFFIX.sub("", name) or name


def _without_tools(path: tuple[str, ...]) -> tuple[str, ...]:
    """The path without suffix, and without what a tool calls its files and folders."""
    *folders, name = path
    parts = [*folders, without_suffix(name)]
    while len(parts) > 1 and _OF_A_TOOL.fullmatch(parts[-1]):
        parts.pop()
    last = parts[-1]
    return (*parts[:-1], last if _OF_A_TOOL.fullmatch(last) else _WORDS_OF_A_TOOL.sub("", last))


def _telling_parts(paths: Sequence[tuple[str, ...]]) -> list[str]:
    """The last parts of paths that tell all apart: one of each path if it does, else more."""
    depth = max(map(len, paths), default=0)
    columns = [
        [path[-at] if len(path) >= at else "" for path in paths] for at in range(1, depth + 1)
    ]
    for parts in columns:
        if len(set(parts)) == len(parts) and all(parts):
            return _without_common_words(parts)
    chosen: list[list[str]] = []
    for parts in columns:
        if len(set(parts)) > 1:
            chosen.insert(0, parts)
        names = ["_".join(filter(None, of_path)) for of_path in zip(*chosen, strict=True)]
        if len(set(names)) == len(paths) and all(names):
            return names
    return ["_".join(path) for path in paths]


def _without_common_words(names: list[str]) -> list[str]:
    """The names without the last words that all have, as long as they differ."""
    while len(names) > 1:
        words = {word[0] if (word := _LAST_WORD.search(name)) else "" for name in names}
        shorter = [_LAST_WORD.sub("", name) for name in names]
        if len(words) > 1 or "" in words or len(set(shorter)) < len(names):
            break
        names = shorter
    return names
