"""The work of a repair, until all that is damaged is written again and proven."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from slaf.by_gene import by_gene_of
from slaf.conversion.gene_major import CellMajor, GeneMajor
from slaf.conversion.publish import read_axes
from slaf.conversion.run import encode_parts
from slaf.dataset import Dataset
from slaf.mending.parts import mend_genes, mend_part, scratch_of
from slaf.mending.publish import Mended, data_of
from slaf.mending.whole import Remade, kept_rows, starts_of
from slaf.schema import BY_GENE, CELLS, EXPRESSION, GENES, START_INDEX

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.conversion.checkpoint import PartResult
    from slaf.conversion.claim import Run
    from slaf.conversion.publish import Axes
    from slaf.manifest import Published
    from slaf.mending.publish import Data
    from slaf.mending.survey import Survey
    from slaf.progress import Progress
    from slaf.sources import Concat, ReadOptions
    from slaf.storage import Location

__all__ = ["Work", "rows_left"]


def rows_left(
    location: Location, published: Published, survey: Survey
) -> dict[str, pa.Table | None]:
    """The rows of each damaged table that is written whole; None where only an input has them."""
    return {
        name: None if name in survey.lost else kept_rows(location, published, name)
        for name in sorted(survey.tables & published.proof.tables.keys())
    }


@dataclass(frozen=True, slots=True)
class Work:
    """A repair that is under way; nothing of it has its place in the dataset yet.

    Attributes
    ----------
    run
        Which owns the dataset.
    published
        The dataset as it is.
    survey
        What of it is damaged.
    rows
        As `rows_left` gives them.
    """

    run: Run
    published: Published
    survey: Survey
    rows: Mapping[str, pa.Table | None]

    def done(
        self, source: Concat | None, reading: ReadOptions, workers: int, progress: Progress
    ) -> Mended:
        """All that is damaged, written again and proven.

        Parameters
        ----------
        source
            The inputs; None if none are needed.
        reading
            How much memory sorting may take.
        workers, progress
            As for `slaf.repair`.

        Raises
        ------
        SourceChanged
            If the inputs do not give what was converted.
        """
        axes = None if source is None else read_axes(source)
        if source is not None and axes is not None:
            self._encode(source, axes, workers, progress)
        if self.survey.genes:
            self._sort(reading, workers, progress)
        run, location = self.run, self.run.location
        data = self._data()
        tables = {name: rows for name, rows in self.rows.items() if rows is not None}
        files: dict[str, bytes] = {}
        lost = [name for name, rows in self.rows.items() if rows is None]
        if source is not None and axes is not None and (lost or self.survey.elements):
            made = Remade(source, self.published, axes)
            starts = self._starts(data, lost)
            tables |= {name: made.table(name, starts) for name in lost}
            files = {name: made.file(name) for name in self.survey.elements}
        return Mended(location, self.published, self.survey, run.checkpoint, data, tables, files)

    def _encode(self, source: Concat, axes: Axes, workers: int, progress: Progress) -> None:
        checkpoint = self.run.checkpoint
        progress.begin(*checkpoint.covered(), checkpoint.plan.cells_to_write)
        encode = partial(self._part, source, axes, progress)
        encode_parts(checkpoint.remaining(), encode, self.run.record, workers)

    def _part(self, source: Concat, axes: Axes, progress: Progress, index: int) -> PartResult:
        plan = self.run.checkpoint.plan
        return mend_part(
            source,
            plan,
            index,
            self.run.location,
            tables=self.survey.parts[plan.parts[index]],
            published=self.published,
            identifiers=axes.identifiers,
            progress=progress,
        )

    def _data(self) -> dict[str, Data]:
        """The files of the tables that are written in parts, as far as they are done."""
        return data_of(self.run.location, self.published, self.survey, self.run.checkpoint)

    def _sort(self, reading: ReadOptions, workers: int, progress: Progress) -> None:
        """Sort the damaged genes again, out of rows that are whole, or are again."""
        run, directory = self.run, self.published.tables[BY_GENE]
        data = self._data()[EXPRESSION]
        rows = CellMajor(
            run.location,
            tuple(data.files(self.published.tables[EXPRESSION])),
            self._cell_offsets(data),
            self.published.blocks,
            self.published.n_genes,
            np.dtype(self.published.value_type),
        )
        progress.begin(0, 0, 2 * self.published.n_cells)
        done = {part.genes for part in run.checkpoint.by_gene}
        with GeneMajor(rows, reading, progress) as by_gene:
            mend = partial(
                mend_genes,
                by_gene,
                recorded=by_gene_of(self.published),
                directory=scratch_of(directory),
                schema=run.checkpoint.plan.schema_by_gene,
            )
            encode_parts(sorted(self.survey.genes - done), mend, run.record_genes, workers)

    def _cell_offsets(self, data: Data) -> NDArray[np.int64]:
        if CELLS not in self.survey.tables:
            return Dataset(self.run.location, self.published).cell_offsets
        cells = self.rows[CELLS]
        if cells is None:
            return self._starts({EXPRESSION: data}, [CELLS])[EXPRESSION]
        starts = cells.column(START_INDEX[EXPRESSION]).to_numpy()
        return np.append(starts, self.published.expression_count)

    def _starts(
        self, data: Mapping[str, Data], lost: Collection[str]
    ) -> Mapping[str, NDArray[np.int64]]:
        """Where rows begin, for the tables that are lost and say so."""
        wanted = {BY_GENE} if GENES in lost else set()
        wanted |= data.keys() - {BY_GENE} if CELLS in lost else set()
        tables = self.published.tables
        files = {name: data[name].files(tables[name]) for name in wanted & data.keys()}
        return starts_of(self.run.location, self.published, files)
