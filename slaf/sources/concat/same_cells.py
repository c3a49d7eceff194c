"""Refuse several matrices of the same cells where one folder stands for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from slaf.errors import DuplicateInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["check_samples_differ"]

# The label of an input, the number of its folder, and its cell ids.
_Ids: TypeAlias = "tuple[str, int | None, pa.ChunkedArray]"

# The number that programs put behind a barcode, and others leave out.
_BARCODE = r"^([ACGT]{8,})-[0-9]+$"
_BIN = r"^s_(?P<size>[0-9]+)um_"
# Cells of an input that are looked up among all before the others are.
_PROBES = 16


def check_samples_differ(inputs: Iterable[_Ids]) -> None:
    """Refuse inputs of one folder if one has all cells of another, or they are bins of two sizes.

    Parameters
    ----------
    inputs
        The label of each, the number of the folder or pattern that stands for it (None if it was
        named by itself), and its cell ids.

    Raises
    ------
    DuplicateInput
        Naming both.
    """
    folders: dict[int, list[tuple[str, pa.ChunkedArray]]] = {}
    for label, folder, ids in inputs:
        if folder is not None and len(ids):
            folders.setdefault(folder, []).append((label, _barcodes(ids)))
    for some in folders.values():
        _check_bins(some)
        for inner, outer in _contained(some):
            raise _refusal(*some[inner], *some[outer])


def _barcodes(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """The ids without the numbers behind barcodes."""
    return pc.replace_substring_regex(ids, pattern=_BARCODE, replacement=r"\1")


def _check_bins(inputs: Sequence[tuple[str, pa.ChunkedArray]]) -> None:
    """Refuse bins of different sizes, which Space Ranger writes into their ids."""
    sizes: dict[str, str] = {}
    for label, ids in inputs:
        size = pc.extract_regex(ids[:1], pattern=_BIN)[0].as_py()
        if size is not None:
            sizes.setdefault(size["size"], label)
    if len(sizes) > 1:
        (first, one), (second, other), *_ = sizes.items()
        msg = (
            f"{one} has bins of {first} µm and {other} of {second} µm, which cover the same "
            "tissue; name the size that is meant"
        )
        raise DuplicateInput(msg)


def _contained(inputs: Sequence[tuple[str, pa.ChunkedArray]]) -> Iterator[tuple[int, int]]:
    """The pairs of inputs where the second has all ids of the first."""
    lengths = [len(ids) for _, ids in inputs]
    sets: dict[int, pa.Array] = {}
    probes = [ids.take(_spread(len(ids))).combine_chunks() for _, ids in inputs]
    owners = np.repeat(np.arange(len(inputs)), [len(some) for some in probes])
    values = pa.concat_arrays(probes)
    # Only inputs with all probes of another are compared as a whole.
    unique = pc.unique(values)
    places = pc.index_in(values, value_set=unique).to_numpy()
    for outer, (_, ids) in enumerate(inputs):
        found = np.zeros(len(unique), np.bool_)
        hits = pc.index_in(ids, value_set=unique).drop_null().to_numpy()
        found[hits] = True
        n_missing = np.bincount(owners, ~found[places], len(inputs))
        for inner in np.flatnonzero(n_missing == 0).tolist():
            # Of equal ones the later is named as the repetition.
            if inner == outer or lengths[inner] > lengths[outer]:
                continue
            outer_set = sets.setdefault(outer, ids.combine_chunks())
            if pc.all(pc.is_in(inputs[inner][1], value_set=outer_set)).as_py():
                yield inner, outer
        sets.pop(outer, None)


def _spread(length: int) -> pa.Array:
    return pa.array(np.unique(np.linspace(0, length - 1, min(length, _PROBES)).astype(np.int64)))


def _refusal(
    inner: str, inner_ids: pa.ChunkedArray, outer: str, outer_ids: pa.ChunkedArray
) -> DuplicateInput:
    every = (
        "has the same cell ids as"
        if len(inner_ids) == len(outer_ids)
        else (
            f"has {len(inner_ids):,} cells, and all their ids are among the {len(outer_ids):,} of"
        )
    )
    msg = (
        f"{inner} {every} {outer}, which the same folder or pattern stands for: as two matrices of "
        "one sample its cells would be taken twice. Name the one that is meant; or name both, if "
        "they are two samples"
    )
    return DuplicateInput(msg)
