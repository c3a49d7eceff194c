"""Concatenate obs, merge var."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from slaf.annotations.concat_columns import concat_rows, outer_join_genes
from slaf.sparse.ranges import mask_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from slaf.format.config import SourceRecord
    from slaf.sources.concat.members import Member
    from slaf.sources.contents import Raw
    from slaf.sparse.batch import GeneMap

__all__ = ["concat_cells", "merge_genes", "repeated_ids", "rows_without_values", "shared_genes"]


def concat_cells(members: Sequence[Member]) -> pa.Table:
    """The cells of all, with the columns of any; missing values where one lacks a column.

    Raises
    ------
    InputError
        If the types of a column have no common one.
    """
    if len(members) == 1:
        return members[0].cells
    return concat_rows([member.cells for member in members], [member.label for member in members])


def merge_genes(
    tables: Iterable[tuple[pa.Table, GeneMap, str]],
) -> tuple[pa.Table, tuple[str, ...]]:
    """All genes, with the columns of any input: the first value of each.

    Parameters
    ----------
    tables
        For each input its genes, their positions among all, and its name for errors.

    Returns
    -------
    table
        The genes.
    differing
        The columns with different values in several inputs.

    Raises
    ------
    InputError
        If the types of a column have no common one.
    """
    remaining = iter(tables)
    merged, gene_map, first = next(remaining)
    if gene_map.n_dropped:
        merged = merged.take(pa.array(np.flatnonzero(gene_map.positions >= 0)))
    differing: dict[str, None] = {}
    for table, gene_map, label in remaining:
        positions = gene_map.positions
        n_genes = max(merged.num_rows, int(positions.max(initial=-1)) + 1)
        merged, columns = outer_join_genes(merged, table, positions, n_genes, (first, label))
        differing |= dict.fromkeys(columns)
    return merged, tuple(differing)


def repeated_ids(cells: pa.Table) -> int:
    """The number of cells with the id of an earlier one."""
    ids = cells.column(0)
    return len(ids) - int(pc.count_distinct(ids).as_py())


def shared_genes(members: Sequence[Member], n_genes: int) -> int:
    """The number of genes that all inputs have."""
    counts = np.zeros(n_genes, np.int64)
    for member in members:
        for start, stop in member.gene_map.genes_present:
            counts[start:stop] += 1
    return int(np.count_nonzero(counts == len(members)))


def rows_without_values(
    slot: str, key: str, records: Sequence[SourceRecord], n_genes: int, raw: Raw | None = None
) -> NDArray[np.bool_]:
    """The rows of an element without a value from any input.

    Parameters
    ----------
    slot
        "obsm", with cells of each input; or "varm" or "raw_varm", with genes of the first input
        that has it.
    key
        The name of the element.
    records
        The inputs.
    n_genes
        The number of all genes.
    raw
        Raw, for an element of its varm.
    """
    name = f"{slot}:{key}"
    has_element = [record.slots is None or name in record.slots for record in records]
    if slot == "obsm":
        return np.repeat(~np.array(has_element), [record.n_cells for record in records])
    genes_present = [record.genes_present for record in records]
    if raw is not None:
        n_genes = raw.genes.num_rows
        genes_present = list(raw.genes_present) or [((0, n_genes),)]
    return ~mask_of(genes_present[has_element.index(True)], n_genes)
