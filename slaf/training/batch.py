"""Batches of cells: sparse, dense, padded, or as tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from slaf.kernels import kernels
from slaf.sparse.ranges import indptr_from_counts
from slaf.training.order import SUBSET, random_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    import scipy.sparse as sp
    from numpy.typing import NDArray

    from slaf.training.options import LoaderOptions
    from slaf.training.rows import Entries

__all__ = ["Batch", "Encoder", "Padded"]

_DEFAULT_LENGTH: Final = 2048


class Padded(NamedTuple):
    """The nonzeros of cells as rows of equal length.

    Attributes
    ----------
    ids
        The id of the gene of each nonzero, int32, cells × length; then the id that fills rows.
    values
        The values, float32; then zeros.
    """

    ids: NDArray[np.int32]
    values: NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """Some cells of a dataset. ``batch["X"]`` is ``batch.X``.

    Attributes
    ----------
    X
        Cells × genes as the option `to` says: a scipy.sparse.csr_matrix, a float32 array,
        `Padded`, or an int32 array of ids.
    cells
        The positions of the cells in the dataset.
    labels
        The int32 codes of each column of labels.
    obs
        The values of each column of obs.
    obsm
        The rows of each array of obsm.
    source
        The position of the input of each cell in `Dataset.sources`.
    controls
        A control of each cell, in the same order; None without the option `controls`.
    """

    X: Any
    cells: NDArray[np.int64]
    labels: Mapping[str, NDArray[np.int32]]
    obs: Mapping[str, NDArray[Any]]
    obsm: Mapping[str, NDArray[Any]]
    source: NDArray[np.int64]
    controls: Batch | None = None
    _entries: Entries = field(repr=False, kw_only=True)
    _measured: NDArray[np.bool_] | None = field(repr=False, kw_only=True)

    @cached_property
    def total(self) -> NDArray[np.float64]:
        """The sum of each cell over all genes of the dataset, before any scaling."""
        return self._entries.sums()

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """Cells × genes: whether the input of a cell measured the gene; None if all did."""
        return None if self._measured is None else self._measured[self.source]

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.cells)

    def __getitem__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(self, name):
            raise KeyError(name)
        return getattr(self, name)


class Encoder:
    """Makes `Batch.X` of entries.

    Parameters
    ----------
    options
        The options of the loader.
    n_genes
        The number of selected genes.

    Raises
    ------
    ValueError
        If `token_ids` or `gene_scale` has another length.
    """

    def __init__(self, options: LoaderOptions, n_genes: int) -> None:
        self._options = options
        self._n_genes = n_genes
        self._length = options.length or _DEFAULT_LENGTH
        self._ids = np.arange(n_genes + 1, dtype=np.int32)
        if options.token_ids is not None:
            self._ids = _checked("token_ids", options.token_ids, n_genes + 1, np.dtype(np.int32))
        self._scale: NDArray[np.float64] | None = None
        if options.gene_scale is not None:
            self._scale = _checked("gene_scale", options.gene_scale, n_genes, np.dtype(np.float64))

    def n_bytes(self, n_cells: int, n_entries: int) -> int:
        """The bytes of a batch of so many cells and entries, at most."""
        if self._options.to == "dense":
            return 4 * n_cells * self._n_genes + 12 * n_entries
        if self._options.to == "csr":
            return 12 * n_entries
        return 8 * n_cells * min(self._length, self._n_genes) + 40 * n_entries

    def encode(self, entries: Entries, key: tuple[int, int, int]) -> Any:
        """Make X.

        Parameters
        ----------
        entries
            The entries, with positions of selected genes.
        key
            Seed, epoch and number of the batch, which decide the subset of "padded".
        """
        to = self._options.to
        if to == "tokens":
            return self._tokens(entries)
        entries = self._normalized(entries)
        if to == "csr":
            return self._csr(entries)
        return self._dense(entries) if to == "dense" else self._padded(entries, key)

    def _normalized(self, entries: Entries) -> Entries:
        target, values = self._options.target_sum, entries.values
        if target is not None:
            totals = entries.sums()
            factors = np.divide(target, totals, out=np.ones_like(totals), where=totals != 0)
            counts = np.diff(entries.indptr)
            values = values.astype(np.float32) * np.repeat(factors.astype(np.float32), counts)
        if self._options.log1p:
            values = np.log1p(values.astype(np.float32, copy=False))
        return entries._replace(values=values)

    def _csr(self, entries: Entries) -> sp.csr_matrix:
        import scipy.sparse as sp

        shape = len(entries.indptr) - 1, self._n_genes
        if int(entries.indptr[-1]) > np.iinfo(np.int32).max:
            return sp.csr_matrix((entries.values, entries.genes, entries.indptr), shape=shape)
        matrix = sp.csr_matrix(shape, dtype=entries.values.dtype)
        # The constructor would look at every entry once more.
        matrix.indptr = entries.indptr.astype(np.int32)
        matrix.indices, matrix.data = entries.genes, entries.values
        return matrix

    def _dense(self, entries: Entries) -> NDArray[np.float32]:
        dense = np.empty((len(entries.indptr) - 1, self._n_genes), np.float32)
        kernels().dense(entries.indptr, entries.genes, entries.values, dense)
        return dense

    def _padded(self, entries: Entries, key: tuple[int, int, int]) -> Padded:
        entries = _subset(entries, self._length, key)
        cells, columns, shape = _places(entries.indptr)
        ids, values = np.full(shape, self._ids[-1]), np.zeros(shape, np.float32)
        ids[cells, columns] = self._ids[entries.genes]
        values[cells, columns] = entries.values
        return Padded(ids, values)

    def _tokens(self, entries: Entries) -> NDArray[np.int32]:
        values = entries.values.astype(np.float64)
        if self._scale is not None:
            values /= self._scale[entries.genes]
        cells, _, _ = _places(entries.indptr)
        # Equal values stay in the order of genes.
        order = np.lexsort((-values, cells))
        ranked = entries._replace(genes=entries.genes[order], values=values[order])
        ranked = _first_of_each(ranked, self._length)
        cells, columns, shape = _places(ranked.indptr)
        ids = np.full(shape, self._ids[-1])
        ids[cells, columns] = self._ids[ranked.genes]
        return ids


def _checked(name: str, values: Any, length: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    array = np.asarray(values)
    if array.shape != (length,) or not np.can_cast(array.dtype, dtype, "same_kind"):
        msg = (
            f"{name} has the shape {array.shape} and the type {array.dtype}, but it is {length:,} "
            f"numbers that {dtype} holds: "
            + ("one for each selected gene" if name != "token_ids" else "one more than genes")
        )
        raise ValueError(msg)
    return array.astype(dtype)


def _places(indptr: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any], tuple[int, int]]:
    """The cell of each entry, its place in the cell, and the shape of all, filled up."""
    counts = np.diff(indptr)
    cells = np.repeat(np.arange(len(counts)), counts)
    shape = (len(counts), int(counts.max(initial=0)))
    return cells, np.arange(len(cells)) - np.repeat(indptr[:-1], counts), shape


def _first_of_each(entries: Entries, length: int) -> Entries:
    """The first entries of each cell."""
    _, columns, _ = _places(entries.indptr)
    kept = columns < length
    counts = np.minimum(np.diff(entries.indptr), length)
    return entries._replace(
        indptr=indptr_from_counts(counts), genes=entries.genes[kept], values=entries.values[kept]
    )


def _subset(entries: Entries, length: int, key: tuple[int, int, int]) -> Entries:
    """At most `length` entries of each cell, drawn at random, in the order of genes."""
    if int(np.diff(entries.indptr).max(initial=0)) <= length:
        return entries
    seed, epoch, number = key
    words = random_words(len(entries.genes), seed, epoch, SUBSET, number)
    cells, _, _ = _places(entries.indptr)
    drawn = np.lexsort((words, cells))
    shuffled = entries._replace(genes=entries.genes[drawn], values=entries.values[drawn])
    first = _first_of_each(shuffled, length)
    cells, _, _ = _places(first.indptr)
    order = np.lexsort((first.genes, cells))
    return first._replace(genes=first.genes[order], values=first.values[order])
