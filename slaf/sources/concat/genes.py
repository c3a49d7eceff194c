"""Which gene of one input is which of another: by id, never by position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from slaf.errors import GeneMismatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from slaf.options import GeneSet

__all__ = ["Alignment", "Ranges", "align"]

Ranges = tuple[tuple[int, int], ...]
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Alignment:
    """The genes of several inputs as those of one matrix.

    Attributes
    ----------
    ids
        The ids of all genes, in order: those of the first input, then what others add.
    positions
        For each input, of each of its genes the place in `ids`; −1 for one that is left out.
    """

    ids: pa.Array
    positions: tuple[NDArray[np.int64], ...]

    def measured(self, index: int) -> Ranges:
        """The genes that an input has, as ranges of places."""
        return as_ranges(self.positions[index])


def as_ranges(positions: NDArray[np.int64]) -> Ranges:
    """Places in any order, those below 0 left out, as ascending ranges ``[start, stop)``."""
    places = np.sort(positions[positions >= 0])
    if not len(places):
        return ()
    cuts = np.flatnonzero(np.diff(places) != 1) + 1
    return tuple((int(run[0]), int(run[-1]) + 1) for run in np.split(places, cuts))


def align(
    ids: Sequence[pa.Array],
    places: Sequence[str],
    genes: GeneSet,
    measured: Sequence[Ranges] = (),
) -> Alignment:
    """Align the genes of several inputs by id.

    An id that an input has several times says which gene is meant only where the ids of that
    input are those of an earlier one, in the same order; elsewhere it is refused.

    Parameters
    ----------
    ids
        The gene ids of each input, in its order.
    places
        What to call each in an error.
    genes
        Which genes to take.
    measured
        Where the first input is itself made of several: the genes of each of those.

    Raises
    ------
    GeneMismatch
        If the genes are not the same and `genes` is strict, or an id is ambiguous.
    """
    aligner = _Aligner(ids[0], places[0], measured)
    if genes == "intersection":
        aligner.keep(ids, places)
    positions = [
        aligner.positions(found, place, genes) for found, place in zip(ids, places, strict=True)
    ]
    return Alignment(aligner.ids, tuple(positions))


class _Aligner:
    """The genes so far, and the lists of ids that are known to mean certain of them."""

    def __init__(self, ids: pa.Array, place: str, measured: Sequence[Ranges]) -> None:
        self.ids = ids
        self._place = place
        self._known: list[tuple[pa.Array, NDArray[np.int64]]] = []
        self._learn(ids, np.arange(len(ids)))
        for ranges in dict.fromkeys(measured):
            chosen = np.concatenate([np.empty(0, np.int64), *(np.arange(*run) for run in ranges)])
            self._learn(ids.take(pa.array(chosen)), chosen)

    def keep(self, ids: Sequence[pa.Array], places: Sequence[str]) -> None:
        """Leave out the genes that one of the inputs has not."""
        kept = pa.array(np.ones(len(self.ids), np.bool_))
        for found in ids:
            kept = pc.and_(kept, pc.is_in(self.ids, value_set=found))
        chosen = self.ids.filter(kept)
        if not all(found.equals(self.ids) for found in ids):
            for found, place in zip(ids, places, strict=True):
                _refuse_repeated(found.filter(pc.is_in(found, value_set=chosen)), place)
        positions = np.cumsum(kept.to_numpy(zero_copy_only=False)) - 1
        positions[~kept.to_numpy(zero_copy_only=False)] = -1
        self._known = [(self.ids, positions)]
        self.ids = chosen

    def positions(self, ids: pa.Array, place: str, genes: GeneSet) -> NDArray[np.int64]:
        """Where the genes of an input are; what is new is added, if the union is wanted."""
        for known, positions in self._known:
            if known.equals(ids):
                if genes == "strict" and len(positions) < len(self.ids):
                    break
                return positions
        if genes == "strict":
            self._refuse_others(ids, place)
        both = pc.is_in(ids, value_set=self.ids)
        if genes != "intersection":
            _refuse_repeated(ids.filter(both), place)
            _refuse_repeated(self.ids.filter(pc.is_in(self.ids, value_set=ids)), self._place)
        places = pc.index_in(ids, value_set=self.ids).fill_null(-1)
        found: NDArray[np.int64] = places.to_numpy().astype(np.int64)
        if genes == "union":
            new = np.flatnonzero(found < 0)
            found[new] = len(self.ids) + np.arange(len(new))
            self.ids = pa.concat_arrays([self.ids, ids.take(pa.array(new))])
        self._learn(ids, found)
        return found

    def _learn(self, ids: pa.Array, positions: NDArray[np.int64]) -> None:
        self._known.append((ids, positions))

    def _refuse_others(self, ids: pa.Array, place: str) -> None:
        missing = self.ids.filter(pc.invert(pc.is_in(self.ids, value_set=ids)))
        added = ids.filter(pc.invert(pc.is_in(ids, value_set=self.ids)))
        what = [
            f"{len(some):,} of {total:,} are {where} ({_shown(some)})"
            for some, total, where in (
                (missing, len(self.ids), "missing there"),
                (added, len(ids), "only there"),
            )
            if len(some)
        ]
        if what:
            msg = (
                f"{place}: its genes are not those of {self._place}: {', '.join(what)}; choose "
                "with --genes whether to take all genes (union) or those of all inputs "
                "(intersection, of a conversion)"
            )
            raise GeneMismatch(msg)


def _refuse_repeated(ids: pa.Array, place: str) -> None:
    counts = pc.value_counts(ids)
    repeated = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        msg = (
            f"{place}: {len(repeated):,} gene ids occur several times ({_shown(repeated)}), and "
            "the inputs list their genes differently, so that nothing tells which is which; give "
            "each gene an id of its own"
        )
        raise GeneMismatch(msg)


def _shown(ids: pa.Array) -> str:
    more = ", …" if len(ids) > _SHOWN else ""
    return ", ".join(map(repr, ids[:_SHOWN].to_pylist())) + more
