"""The coverage of several files of reads, which have the same contigs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from slaf.errors import InputError
from slaf.sources.concat.matrix import ConcatMatrix, ConcatPart
from slaf.sources.contents import Coverage
from slaf.sparse.batch import GeneMap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from slaf.sources.base import Source
    from slaf.sources.concat.members import Member
    from slaf.sources.matrix import Matrix
    from slaf.sparse.ranges import RowRange

__all__ = ["concat_coverage", "measure_cells"]


def concat_coverage(members: Sequence[Member]) -> Coverage | None:
    """The coverage of all; None for inputs that are no files of reads."""
    contigs = members[0].contigs
    if contigs is None:
        return None
    columns = {
        name: _column(members, name, dtype, len(contigs))
        for name, dtype in members[0].with_open(_dtypes).items()
    }
    return Coverage(contigs, columns)


def measure_cells(
    members: Sequence[Member], rows: RowRange
) -> Mapping[RowRange, Mapping[str, Sequence[Any]]]:
    """Columns of some cells that are known once their values are read."""
    measured: dict[RowRange, Mapping[str, Sequence[Any]]] = {}
    for member in members:
        wanted = rows.overlap(member.rows)
        if wanted:
            start = member.rows.start
            own = member.with_open(partial(_measure, rows=wanted.shifted(-start)))
            measured |= {part.shifted(start): values for part, values in own.items()}
    return measured


def _measure(source: Source, rows: RowRange) -> Mapping[RowRange, Mapping[str, Sequence[Any]]]:
    return source.measure(rows)


def _column(members: Sequence[Member], name: str, dtype: np.dtype[Any], n_contigs: int) -> Matrix:
    shape = members[-1].rows.stop, n_contigs
    parts = [ConcatPart(member, GeneMap.first(n_contigs, n_contigs)) for member in members]
    return ConcatMatrix(parts, lambda source: _coverage(source).columns[name], shape, dtype)


def _dtypes(source: Source) -> dict[str, np.dtype[Any]]:
    return {name: column.dtype for name, column in _coverage(source).columns.items()}


def _coverage(source: Source) -> Coverage:
    coverage = source.coverage()
    if coverage is None:
        msg = f"{source.info.uri}: its coverage has gone; leave the input as it is"
        raise InputError(msg)
    return coverage
