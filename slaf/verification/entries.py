"""Compare the entries of some cells of two matrices, and name those that differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.arrays import as_float64

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from slaf.arrays import Batch
    from slaf.verification.report import Findings

__all__ = ["Entries", "compare_entries"]

# Cell ids, gene ids and values.
Entries = tuple["NDArray[Any]", "NDArray[Any]", "NDArray[Any]"]

_ID_SHIFT = np.uint64(32)


def compare_entries(
    kind: str,
    batch: Batch,
    found: Entries,
    place: Callable[[int, int], str],
    findings: Findings,
    *,
    matrix: str = "",
) -> bool:
    """Note each value in which they differ; whether there is none.

    Parameters
    ----------
    kind
        Of the differences.
    batch
        What is expected of some cells.
    found
        What there is of them.
    place
        Says which cell and gene are at these positions.
    findings
        Takes the differences.
    matrix
        What to put before each place.
    """
    cells, genes, values = found
    if (
        np.array_equal(batch.cells(), cells)
        and np.array_equal(batch.genes, genes)
        and _same_values(batch.values, values)
    ):
        return True
    before = findings.counts[kind]
    ours, theirs = _by_place(batch.cells(), batch.genes, batch.values), _by_place(*found)
    for key in sorted(ours.keys() | theirs.keys()):
        one, other = ours.get(key, 0), theirs.get(key, 0)
        if one != other and not (one != one and other != other):  # noqa: PLR0124 - NaN
            where = ""
            if findings.keeps(kind):
                where = matrix + place(key >> int(_ID_SHIFT), key & 0xFFFFFFFF)
            findings.note(kind, where, one, other)
    # The same entries, then, in disorder, or one of them several times.
    if before == findings.counts[kind]:
        cells_of = f"{matrix}cells {batch.rows.start} to {batch.rows.stop}"
        findings.note("order", cells_of, "ascending", "the same entries in disorder")
    return False


def _by_place(cells: NDArray[Any], genes: NDArray[Any], values: NDArray[Any]) -> dict[int, Any]:
    keys = (cells.astype(np.uint64) << _ID_SHIFT) | genes.astype(np.uint64)
    return dict(zip(keys.tolist(), values.tolist(), strict=True))


def _same_values(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two arrays hold the same numbers, whatever their types; every NaN is the same."""
    ours, theirs = as_float64(one), as_float64(other)
    if not np.array_equal(ours.values, theirs.values, equal_nan=True):
        return False
    if ours.rest is None or theirs.rest is None:
        return ours.rest is theirs.rest
    return np.array_equal(ours.rest, theirs.rest)
