"""Tables, elements and matrices in the order of a dataset, aligned by their ids."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from slaf.annotations.columns import column_of, index_name_of, replace_ids, table_with_metadata
from slaf.annotations.concat_arrays import InputElement, align_varm, align_varp
from slaf.annotations.concat_columns import outer_join_genes
from slaf.errors import InputError
from slaf.format.schema import read_dtype
from slaf.options import ReadOptions
from slaf.sources.anndata.memory import as_matrix
from slaf.sources.selection import element_rows
from slaf.sparse.csr import csr_from_batches
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    from collections.abc import Sequence

    import scipy.sparse as sp
    from numpy.typing import NDArray

    from slaf.sources.matrix import Matrix

__all__ = ["Alignment", "Ids", "read_csr"]

_SHOWN = 5


@dataclass(frozen=True)
class Ids:
    """The ids of the cells, or genes, of a dataset.

    Attributes
    ----------
    axis
        "cells" or "genes".
    values
        In order.
    """

    axis: str
    values: pa.ChunkedArray

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {label: at for at, label in enumerate(self.values.to_pylist())}

    def align(self, labels: Sequence[Any] | pa.ChunkedArray, title: str) -> Alignment:
        """The position of each of these ids.

        Parameters
        ----------
        labels
            Ids of some or all cells, in any order; all in their order may repeat.
        title
            The name for errors of what has these ids.

        Raises
        ------
        InputError
            If an id is unknown, or stands for several rows.
        """
        if not isinstance(labels, pa.ChunkedArray):
            labels = pa.chunked_array([pa.array([str(label) for label in labels], pa.string())])
        if labels.equals(self.values):
            return Alignment(self, np.arange(len(self)), title)
        names = labels.to_pylist()
        self._check(names, title)
        positions = np.array([self._positions[name] for name in names], np.int64)
        return Alignment(self, positions, title)

    def all(self) -> Alignment:
        """A row for each id, in order."""
        return Alignment(self, np.arange(len(self)), "")

    def _check(self, names: list[str], title: str) -> None:
        singular = self.axis.removesuffix("s")
        repeated = _repeated(names)
        unknown = [name for name in dict.fromkeys(names) if name not in self._positions]
        if unknown:
            msg = (
                f"{title} has {_listed(unknown)}, which is no {singular} of the dataset; leave its "
                "row out, or name the column of the ids with --on"
            )
        elif repeated:
            msg = f"{title} has {_listed(repeated)} several times; keep one row for each {singular}"
        elif len(self._positions) < len(self) and (shared := _repeated(self.values.to_pylist())):
            msg = (
                f"several {self.axis} of the dataset have the id {_listed(shared)}, so that "
                f"{title} cannot be aligned by id; give a row for each {singular}, in order"
            )
        else:
            return
        raise InputError(msg)


@dataclass(frozen=True)
class Alignment:
    """Rows that belong to cells, or genes, of a dataset.

    Attributes
    ----------
    ids
        The ids of the dataset.
    positions
        The position of each row in the dataset.
    title
        The name for errors of what has these rows.
    """

    ids: Ids
    positions: NDArray[np.int64]
    title: str

    @property
    def is_identity(self) -> bool:
        """Whether there is a row for each id, in order."""
        return np.array_equal(self.positions, np.arange(len(self.ids)))

    @property
    def _order(self) -> NDArray[np.int64] | None:
        """The row of each id; None if an id has none."""
        return np.argsort(self.positions) if len(self.positions) == len(self.ids) else None

    def table(self, table: pa.Table) -> pa.Table:
        """A table with metadata, with a row for each id; null where it has no row."""
        order = self._order
        if self.is_identity:
            return replace_ids(table, self.ids.values)
        if order is not None:
            return replace_ids(_taken(table, order), self.ids.values)
        field = table.schema.field(0)
        index = self.ids.values.cast(field.type)
        empty = table_with_metadata([index], [column_of(field)], index_name_of(table))
        labels = ("the dataset", self.title)
        return outer_join_genes(empty, table, self.positions, len(self.ids), labels)[0]

    def element(self, name: str, element: Any) -> Any:
        """An element with these rows, with a row for each id; NaN where it has none."""
        order = self._order
        if self.is_identity:
            return element
        if order is not None:
            return element_rows(element, order)
        source = InputElement(self.title, element, self.ids.values)
        return align_varm(name, source, self.positions, self.ids.values)

    def of(self, element: Any, *, pairs: bool) -> Any:
        """The part of an element, or matrix of pairs, of all ids that has these rows."""
        if self.is_identity:
            return element
        rows = element_rows(element, self.positions)
        return rows[:, self.positions] if pairs else rows

    def pairs(self, name: str, element: Any) -> Any:
        """A matrix of pairs of these rows, as one of pairs of all ids."""
        order = self._order
        if self.is_identity:
            return element
        if order is not None:
            return element[order][:, order]
        source = InputElement(self.title, element, self.ids.values)
        return align_varp(name, source, self.positions, len(self.ids))

    def matrix(self, matrix: Matrix, genes: Alignment) -> Matrix:
        """A matrix of these cells and some genes, as one of all; no value where it has none."""
        if self.is_identity and genes.is_identity:
            return matrix
        import scipy.sparse as sp

        entries = read_csr(matrix).tocoo()
        placed = self.positions[entries.row], genes.positions[entries.col]
        shape = (len(self.ids), len(genes.ids))
        return as_matrix(sp.csr_matrix((entries.data, placed), shape=shape), ReadOptions())


def read_csr(matrix: Matrix) -> sp.csr_matrix:
    """A whole matrix, in its own type."""
    dtype = np.dtype(read_dtype(str(matrix.dtype), str(matrix.dtype), dtype_overflowed=False))
    batches = matrix.batches(RowRange(0, matrix.shape[0]))
    entries = ((batch.counts, batch.genes, batch.values) for batch in batches)
    return csr_from_batches(entries, matrix.shape[1], dtype)


def _taken(table: pa.Table, order: NDArray[np.int64]) -> pa.Table:
    return table.combine_chunks().take(pa.array(order)).cast(table.schema)


def _repeated(names: list[str]) -> list[str]:
    return [name for name, n in Counter(names).items() if n > 1]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more
