"""Compare the coverage of a dataset with a source: counted again, for files of reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.format.schema import COVERAGE, TABLES
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from slaf.dataset.dataset import Dataset
    from slaf.runtime.progress import Progress
    from slaf.sources.base import Source
    from slaf.sources.contents import Coverage
    from slaf.verification.report import DifferenceLog

__all__ = ["CoverageComparison"]

_NOTHING = "nothing"


class CoverageComparison:
    """Compares the runs of cells, and notes the first of each cell that differs with its place.

    Parameters
    ----------
    dataset
        A dataset with correct offsets and blocks, with as many cells as the source.
    source
        The source.
    differences
        Collects differences.

    Attributes
    ----------
    is_possible
        Whether both have the same contigs.
    measured
        The values that the source measured, of the cells that were compared.
    """

    def __init__(self, dataset: Dataset, source: Source, differences: DifferenceLog) -> None:
        self.measured: dict[RowRange, Mapping[str, Sequence[Any]]] = {}
        self._dataset = dataset
        self._source = source
        self._differences = differences
        self._coverage, record = source.coverage(), dataset.published.annotations.coverage
        stored = None if record is None else tuple((c.name, c.length) for c in record.contigs)
        expected = None if self._coverage is None else self._coverage.contigs
        differences.compare(COVERAGE, "contigs", expected or _NOTHING, stored or _NOTHING)
        self.is_possible = expected is not None and stored == expected

    def compare(self, rows: RowRange, progress: Progress) -> None:
        """Compare some cells."""
        self.measured |= self._source.measure(rows)
        for cell in range(rows.start, rows.stop):
            with self._differences.catching(f"{COVERAGE} of cell {cell}"):
                if self._coverage is not None:
                    _compare_cell(self._dataset, self._coverage, cell, self._differences)
            progress.advance(1, 0)


def _compare_cell(
    dataset: Dataset, coverage: Coverage, cell: int, differences: DifferenceLog
) -> None:
    names = TABLES[COVERAGE].values
    rows = RowRange(cell, cell + 1)
    expected = _columns_of_source(coverage, names, rows)
    chunks = list(dataset.rows(COVERAGE).chunks(rows, ("contig", *names)))
    stored = {
        name: np.concatenate([chunk.columns[at].to_numpy() for chunk in chunks])
        for at, name in enumerate(("contig", *names))
    }
    at = _first_difference(expected, stored)
    if at is not None:
        runs = (_describe(coverage, columns, at) for columns in (expected, stored))
        differences.note(COVERAGE, f"run {at} of cell {cell}", *runs)


def _columns_of_source(
    coverage: Coverage, names: tuple[str, ...], rows: RowRange
) -> Mapping[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {}
    for name in names:
        batches = list(coverage.columns[name].batches(rows))
        columns[name] = np.concatenate([batch.values for batch in batches])
        if "contig" not in columns:
            columns["contig"] = np.concatenate([batch.genes for batch in batches])
    return columns


def _first_difference(
    expected: Mapping[str, NDArray[Any]], stored: Mapping[str, NDArray[Any]]
) -> int | None:
    """The first run that is not the same; None if all are."""
    lengths = sorted((len(expected["contig"]), len(stored["contig"])))
    first = lengths[0] if lengths[0] < lengths[1] else None
    for name, values in expected.items():
        differs = np.flatnonzero(values[: lengths[0]] != stored[name][: lengths[0]])
        if len(differs):
            first = min(int(differs[0]), lengths[0] if first is None else first)
    return first


def _describe(coverage: Coverage, columns: Mapping[str, NDArray[Any]], at: int) -> str:
    if at >= len(columns["contig"]):
        return _NOTHING
    run = {name: int(values[at]) for name, values in columns.items()}
    contig, _ = coverage.contigs[run["contig"]]
    strand = ("", " forward", " reverse")[run["strand"]]
    return f"{contig}:{run['start']}-{run['start'] + run['length']}{strand} of depth {run['depth']}"
