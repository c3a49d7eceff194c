"""The cells and genes of several inputs, as those of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from slaf.annotations.concat_columns import concat_rows, outer_join_genes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from slaf.format.config import SourceRecord
    from slaf.sources.base import Raw
    from slaf.sources.concat.members import Member

__all__ = ["concat_cells", "merge_genes", "repeated_ids", "rows_without_values", "shared_genes"]


def concat_cells(members: Sequence[Member]) -> pa.Table:
    """The cells of all, with the columns that any has; missing where one lacks them.

    Raises
    ------
    InputError
        If a column is of types that have no common one.
    """
    if len(members) == 1:
        return members[0].cells
    return concat_rows([member.cells for member in members], [member.place for member in members])


def merge_genes(
    tables: Iterable[tuple[pa.Table, NDArray[np.int64], str]],
) -> tuple[pa.Table, tuple[str, ...]]:
    """All genes, with the columns that any input has: of each the first value there is.

    Parameters
    ----------
    tables
        Of each input its genes, their places among all (−1 for those left out), and what to
        call it in an error.

    Returns
    -------
    table
        The genes.
    disagreeing
        The columns of which inputs hold different values.

    Raises
    ------
    InputError
        If a column is of types that have no common one.
    """
    left = iter(tables)
    whole, positions, first = next(left)
    if (positions < 0).any():
        whole = whole.take(pa.array(np.flatnonzero(positions >= 0)))
    disagreeing: dict[str, None] = {}
    for table, at, place in left:
        n_genes = max(whole.num_rows, int(at.max(initial=-1)) + 1)
        whole, differing = outer_join_genes(whole, table, at, n_genes, (first, place))
        disagreeing |= dict.fromkeys(differing)
    return whole, tuple(disagreeing)


def repeated_ids(cells: pa.Table) -> int:
    """How many cells have the id of one before them."""
    ids = cells.column(0)
    return len(ids) - int(pc.count_distinct(ids).as_py())


def shared_genes(members: Sequence[Member], n_genes: int) -> int:
    """How many genes all inputs have."""
    counts = np.zeros(n_genes, np.int64)
    for member in members:
        counts[member.positions[member.positions >= 0]] += 1
    return int(np.count_nonzero(counts == len(members)))


def rows_without_values(
    slot: str, key: str, records: Sequence[SourceRecord], n_genes: int, raw: Raw | None = None
) -> NDArray[np.bool_]:
    """The rows of an element that no input gave anything to.

    Parameters
    ----------
    slot
        "obsm", of which each input gives its cells; or "varm" or "raw_varm", of which the first
        that has it gives its genes.
    key
        The name of the element.
    records
        The inputs.
    n_genes
        All genes.
    raw
        Whose genes these are, of an element of its varm.
    """
    name = f"{slot}:{key}"
    having = [record.holds is None or name in record.holds for record in records]
    if slot == "obsm":
        return np.repeat(~np.array(having), [record.n_cells for record in records])
    measured = [record.measured for record in records]
    if raw is not None:
        n_genes = raw.genes.num_rows
        measured = list(raw.measured) or [((0, n_genes),)]
    lacks = np.ones(n_genes, np.bool_)
    for start, stop in measured[having.index(True)]:
        lacks[start:stop] = False
    return lacks
