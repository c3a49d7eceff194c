"""Align the genes of several inputs by id, never by position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from slaf.annotations.lazy_table import LazyColumn
from slaf.errors import GeneMismatch
from slaf.options import Join
from slaf.sparse.batch import GeneMap
from slaf.sparse.ranges import mask_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from slaf.annotations.lazy_table import AnyColumn

__all__ = ["Alignment", "GeneJoin", "Ranges", "align", "positions_among"]

Ranges = tuple[tuple[int, int], ...]

# The genes of several inputs: as the user chooses, or those of the first, whatever others have.
GeneJoin: TypeAlias = Join | Literal["first"]
_MAX_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Alignment:
    """The genes of several inputs as those of one matrix.

    Attributes
    ----------
    ids
        All gene ids: those of the first input, then the new ones of each further input.
    maps
        For each input, the position of each of its genes in `ids`; −1 for one that is left out.
    """

    ids: AnyColumn
    maps: tuple[GeneMap, ...]


def align(
    ids: Sequence[AnyColumn],
    labels: Sequence[str],
    join: GeneJoin,
    genes_present: Sequence[Ranges] = (),
) -> Alignment:
    """Align the genes of several inputs by id.

    An id that an input has several times is ambiguous, and refused, unless an earlier input has
    the same ids in the same order.

    Parameters
    ----------
    ids
        The gene ids of each input, in its order.
    labels
        The name of each input, for errors.
    join
        The genes to take.
    genes_present
        Where the first input is a dataset made of several, the genes of each of those.

    Raises
    ------
    GeneMismatch
        If the genes are not the same and `join` is strict, or an id is ambiguous.
    """
    first, n = ids[0], len(ids[0])
    if all(own is first or own == first for own in ids):
        return Alignment(first, (GeneMap.first(n, n),) * len(ids))
    arrays = [own.to_array() if isinstance(own, LazyColumn) else own for own in ids]
    aligner = _Aligner(arrays[0], labels[0], genes_present)
    if join == "intersection":
        aligner.intersect(arrays, labels)
    positions = [aligner.align(own, label, join) for own, label in zip(arrays, labels, strict=True)]
    # Inputs of the same genes share what they map.
    maps = {id(one): GeneMap(one, len(aligner.ids)) for one in positions}
    return Alignment(aligner.ids, tuple(maps[id(one)] for one in positions))


def positions_among(ids: pa.Array, all_ids: pa.Array, genes_present: Ranges) -> NDArray[np.int64]:
    """The positions of the genes of an input, once those of all inputs are aligned.

    Parameters
    ----------
    ids
        The gene ids of the input, in its order.
    all_ids
        The ids of the alignment.
    genes_present
        The genes that the input has, as the alignment gave them.
    """
    return _Aligner(all_ids, "", [genes_present]).align(ids, "", "intersection")


class _Aligner:
    """The genes so far, and the positions of each list of ids so far."""

    def __init__(self, ids: pa.Array, label: str, genes_present: Sequence[Ranges]) -> None:
        self.ids = ids
        self._label = label
        self._aligned: list[tuple[pa.Array, NDArray[np.int64]]] = [(ids, np.arange(len(ids)))]
        for ranges in dict.fromkeys(genes_present):
            positions = np.flatnonzero(mask_of(ranges, len(ids)))
            self._aligned.append((ids.take(pa.array(positions)), positions))

    def intersect(self, ids: Sequence[pa.Array], labels: Sequence[str]) -> None:
        """Leave out the genes that one of the inputs lacks."""
        in_all = pa.array(np.ones(len(self.ids), np.bool_))
        for own in ids:
            in_all = pc.and_(in_all, pc.is_in(self.ids, value_set=own))
        kept = self.ids.filter(in_all)
        if not all(own.equals(self.ids) for own in ids):
            for own, label in zip(ids, labels, strict=True):
                _check_unique(own.filter(pc.is_in(own, value_set=kept)), label)
        mask = in_all.to_numpy(zero_copy_only=False)
        self._aligned = [(self.ids, np.where(mask, np.cumsum(mask) - 1, -1))]
        self.ids = kept

    def align(self, ids: pa.Array, label: str, join: GeneJoin) -> NDArray[np.int64]:
        """The positions of the genes of an input; adds new genes for a union."""
        for aligned, known in self._aligned:
            if aligned.equals(ids):
                if join == "strict" and len(known) < len(self.ids):
                    break
                return known
        if join == "strict":
            self._check_same(ids, label)
        if join != "intersection":
            _check_unique(ids.filter(pc.is_in(ids, value_set=self.ids)), label)
            _check_unique(self.ids.filter(pc.is_in(self.ids, value_set=ids)), self._label)
        indices = pc.index_in(ids, value_set=self.ids).fill_null(-1)
        positions: NDArray[np.int64] = indices.to_numpy().astype(np.int64)
        if join == "union":
            new = np.flatnonzero(positions < 0)
            positions[new] = len(self.ids) + np.arange(len(new))
            self.ids = pa.concat_arrays([self.ids, ids.take(pa.array(new))])
        self._aligned.append((ids, positions))
        return positions

    def _check_same(self, ids: pa.Array, label: str) -> None:
        missing = self.ids.filter(pc.invert(pc.is_in(self.ids, value_set=ids)))
        added = ids.filter(pc.invert(pc.is_in(ids, value_set=self.ids)))
        differences = [
            f"{len(some):,} of {total:,} are {where} ({_examples(some)})"
            for some, total, where in (
                (missing, len(self.ids), "missing there"),
                (added, len(ids), "only there"),
            )
            if len(some)
        ]
        if differences:
            msg = (
                f"{label}: its genes are not those of {self._label}: {', '.join(differences)}; "
                "choose with --join whether to take all genes (union) or those of all inputs "
                "(intersection, of a conversion)"
            )
            raise GeneMismatch(msg)


def _check_unique(ids: pa.Array, label: str) -> None:
    counts = pc.value_counts(ids)
    repeated = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        msg = (
            f"{label}: {len(repeated):,} gene ids occur several times ({_examples(repeated)}), and "
            "the inputs list their genes differently, so that nothing tells which is which; give "
            "each gene an id of its own"
        )
        raise GeneMismatch(msg)


def _examples(ids: pa.Array) -> str:
    more = ", …" if len(ids) > _MAX_EXAMPLES else ""
    return ", ".join(map(repr, ids[:_MAX_EXAMPLES].to_pylist())) + more
