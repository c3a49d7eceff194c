"""One matrix of several inputs, end to end."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from slaf.sources.matrix import MatrixSize, positive_counts
from slaf.sparse.batch import Batch, GeneMap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from slaf.sources.base import Source, SourceInfo
    from slaf.sources.concat.members import Member
    from slaf.sources.matrix import Matrix
    from slaf.sparse.batch import GeneMap
    from slaf.sparse.ranges import RowRange

__all__ = ["ChosenMatrix", "ConcatMatrix", "ConcatPart", "FindMatrix", "empty_batch"]

T = TypeVar("T")

FindMatrix: TypeAlias = "Callable[[Source], Matrix]"


class ConcatPart(NamedTuple):
    """A member and the positions of its genes; None if it lacks the matrix."""

    member: Member
    gene_map: GeneMap | None


class ConcatMatrix:
    """One matrix of several inputs; some of them may lack it.

    Parameters
    ----------
    parts
        In the order of their cells.
    find
        Finds the matrix in an input.
    shape
        Cells and genes of all.
    dtype
        The numeric type of all values.
    """

    def __init__(
        self,
        parts: Sequence[ConcatPart],
        find: FindMatrix,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
    ) -> None:
        self._parts = parts
        self._find = find
        self.shape = shape
        self.dtype = dtype

    @property
    def size(self) -> MatrixSize:
        """The size in all inputs, without that in an existing dataset."""
        sizes = self._of_each(lambda matrix: matrix.size, existing=False)
        return MatrixSize.of_all(sizes)

    def positive_counts(self, axis: int) -> NDArray[np.int64] | None:
        """The numbers of values above zero of each cell; None for genes."""
        maps = [part.gene_map for part in self._parts]
        if not axis or any(one is None or one.n_dropped for one in maps):
            return None
        found = list(self._of_each(lambda matrix: positive_counts(matrix, axis)))
        known = [counts for counts in found if counts is not None]
        return np.concatenate(known) if known and len(known) == len(found) else None

    def sample_values(self) -> NDArray[Any]:
        """Some of the first values of each input."""
        samples = self._of_each(lambda matrix: matrix.sample_values())
        return np.concatenate([np.empty(0, self.dtype), *samples])

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells: exact, or an estimate."""
        cells, offsets, total = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)], 0
        for part in self._parts:
            rows = part.member.rows
            steps = np.append(np.arange(rows.start, rows.stop, step), rows.stop)
            entries = np.zeros(len(steps), np.int64)
            if part.gene_map is not None:
                entries = self._call(part, lambda matrix: matrix.indptr_estimate(step))
            cells.append(steps[1:])
            offsets.append(total + entries[1:])
            total += int(entries[-1])
        steps = np.append(np.arange(0, self.shape[0], step), self.shape[0])
        estimate = np.interp(steps, np.concatenate(cells), np.concatenate(offsets))
        return np.asarray(estimate, np.int64)

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order; without entries where an input lacks the matrix."""
        first = bisect_right(self._parts, rows.start, key=lambda part: part.member.rows.stop)
        for member, gene_map in self._parts[first:]:
            start = member.rows.start
            if start >= rows.stop:
                return
            wanted = rows.overlap(member.rows)
            if not wanted:
                continue
            if gene_map is None:
                yield empty_batch(wanted, self.dtype)
                continue
            with member.lease() as source:
                for batch in self._find(source).batches(wanted.shifted(-start)):
                    yield gene_map.apply(batch.shifted(start))

    def _of_each(self, read: Callable[[Matrix], T], *, existing: bool = True) -> Iterator[T]:
        for part in self._parts:
            if part.gene_map is not None and (existing or not part.member.is_existing):
                yield self._call(part, read)

    def _call(self, part: ConcatPart, read: Callable[[Matrix], T]) -> T:
        return part.member.with_open(lambda source: read(self._find(source)))


class ChosenMatrix(ConcatMatrix):
    """The chosen matrices of all inputs, with the sizes and samples of their first opening.

    Parameters
    ----------
    members
        The inputs.
    info
        The description of all.
    """

    def __init__(self, members: Sequence[Member], info: SourceInfo) -> None:
        parts = [ConcatPart(member, member.gene_map) for member in members]
        shape = info.n_cells, info.n_genes
        super().__init__(parts, lambda source: source.matrix(), shape, info.dtype)
        self._size = info.size

    @property
    def size(self) -> MatrixSize:
        """The size in all inputs, without that in an existing dataset."""
        return self._size

    def sample_values(self) -> NDArray[Any]:
        """Some of the first values of each input."""
        return np.concatenate([part.member.sample_values for part in self._parts])


def empty_batch(rows: RowRange, dtype: np.dtype[Any]) -> Batch:
    """Cells without entries."""
    counts = np.zeros(len(rows), np.int64)
    return Batch(rows, counts, np.empty(0, np.uint32), np.empty(0, dtype))
