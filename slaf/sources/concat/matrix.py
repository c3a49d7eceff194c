"""One matrix of several inputs, cells below each other."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from slaf.sources.base import MatrixSize
from slaf.sparse.batch import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from slaf.sources.base import Matrix, Source
    from slaf.sources.concat.members import Member
    from slaf.sparse.batch import GeneMap
    from slaf.sparse.ranges import RowRange

__all__ = ["ConcatMatrix", "ConcatPart", "Find"]

T = TypeVar("T")

# Finds the matrix that is meant in a source; the chosen one is the source itself.
Find: TypeAlias = "Callable[[Source], Matrix | Source]"


class ConcatPart(NamedTuple):
    """A member, and where the genes of its matrix stand; None where it has no such matrix."""

    member: Member
    places: GeneMap | None


class ConcatMatrix:
    """One matrix of several inputs, some of which may lack it.

    Parameters
    ----------
    parts
        In the order of their cells.
    find
        Finds it in an input that has it.
    shape
        Cells and genes of all.
    dtype
        The numeric type of all values.
    """

    def __init__(
        self, parts: Sequence[ConcatPart], find: Find, shape: tuple[int, int], dtype: np.dtype[Any]
    ) -> None:
        self._parts = parts
        self._find = find
        self.shape = shape
        self.dtype = dtype

    def extent(self) -> MatrixSize:
        """How much they hold together, without what stays where it is."""
        added = [part for part in self._having() if not part.member.stays]
        return MatrixSize.of_all(self._ask(part, lambda matrix: matrix.extent()) for part in added)

    def sample_values(self) -> NDArray[Any]:
        """Some of the first values of each."""
        found = [self._ask(part, lambda matrix: matrix.sample_values()) for part in self._having()]
        return np.concatenate(found)

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells: exact, or an estimate."""
        marks, before, total = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)], 0
        for part in self._parts:
            rows = part.member.rows
            cells = np.append(np.arange(rows.start, rows.stop, step), rows.stop)
            entries = np.zeros(len(cells), np.int64)
            if part.places is not None:
                entries = self._ask(part, lambda matrix: matrix.indptr_estimate(step))
            marks.append(cells[1:])
            before.append(total + entries[1:])
            total += int(entries[-1])
        wanted = np.append(np.arange(0, self.shape[0], step), self.shape[0])
        known = np.interp(wanted, np.concatenate(marks), np.concatenate(before))
        found: NDArray[np.int64] = known.astype(np.int64)
        return found

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order; without entries where an input lacks the matrix."""
        first = bisect_right(self._parts, rows.start, key=lambda part: part.member.rows.stop)
        for part in self._parts[first:]:
            held = part.member.rows
            if held.start >= rows.stop:
                return
            here = rows.overlap(held)
            if not here:
                continue
            if part.places is None:
                yield _nothing(here, self.dtype)
                continue
            with part.member.lease() as source:
                for batch in self._find(source).batches(here.shifted(-held.start)):
                    yield part.places.apply(batch.shifted(held.start))

    def _having(self) -> list[ConcatPart]:
        return [part for part in self._parts if part.places is not None]

    def _ask(self, part: ConcatPart, question: Callable[[Matrix | Source], T]) -> T:
        return part.member.ask(lambda source: question(self._find(source)))


def _nothing(rows: RowRange, dtype: np.dtype[Any]) -> Batch:
    counts = np.zeros(len(rows), np.int64)
    return Batch(rows, counts, np.empty(0, np.uint32), np.empty(0, dtype))
