"""Read what was mended back from the tables, before readers see it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from slaf.dataset.dataset import Dataset
from slaf.errors import VerificationFailed
from slaf.format.digests import table_digest
from slaf.format.schema import CELLS, EXPRESSION, GENE_ORDER, TABLES
from slaf.repairs.parts import rewrite_genes, rewrite_part
from slaf.repairs.publish import RepairedDataset, table_files
from slaf.repairs.tables import RebuiltTables, row_starts, salvage_rows
from slaf.runs.gene_order import CellOrder, GeneOrder
from slaf.runs.publish import read_axes
from slaf.runtime.executors import run_parts
from slaf.runtime.progress import NullProgress
from slaf.tables.read import read_table
from slaf.tables.rows import DataFile
from slaf.verification.report import DifferenceLog, Report
from slaf.verification.rows import check_digests

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.format.config import DatasetConfig
    from slaf.options import ReadOptions
    from slaf.repairs.damage import Damage
    from slaf.repairs.publish import TableFiles
    from slaf.runs.journal import PartResult
    from slaf.runs.output_run import OutputRun
    from slaf.runs.publish import Axes
    from slaf.runtime.progress import Progress
    from slaf.sources.concat.source import Concat
    from slaf.storage.location import Location

__all__ = ["Repair", "read_back", "salvageable_rows"]


def read_back(dataset: Dataset, survey: Damage) -> None:
    """Hold the tables of a dataset that was mended against the digests of what was converted.

    Parameters
    ----------
    dataset
        As it will be published.
    survey
        What of it was damaged.

    Raises
    ------
    VerificationFailed
        If anything differs: the disk gives back other bytes than it was given.
    """
    findings = DifferenceLog()
    published = dataset.published
    for name in sorted(survey.tables & published.proof.tables.keys()):
        with findings.reading(name):
            found = table_digest(read_table(dataset.table(name)))
            findings.compare("digest", name, published.proof.tables[name], found)
    inside = [
        at
        for at, block in enumerate(published.blocks)
        if any(rows.start <= block.start and block.stop <= rows.stop for rows in survey.parts)
    ]
    # By offsets that are wrong nothing could be read.
    if not findings and inside:
        damaged = frozenset().union(*survey.parts.values())
        check_digests(dataset, findings, NullProgress(), inside, damaged)
    if findings:
        where = str(dataset.location)
        checks = ("what was mended",)
        report = Report(where, checks, tuple(findings.shown), tuple(findings.counts.items()))
        msg = f"{where}: what was mended does not come back: {report.differences[0]}"
        raise VerificationFailed(msg, report)


def salvageable_rows(
    location: Location, published: DatasetConfig, survey: Damage
) -> dict[str, pa.Table | None]:
    """The rows of each damaged table that is written whole; None where only an input has them."""
    return {
        name: None if name in survey.lost else salvage_rows(location, published, name)
        for name in sorted(survey.tables & published.proof.tables.keys())
    }


@dataclass(frozen=True, slots=True)
class Repair:
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

    run: OutputRun
    published: DatasetConfig
    survey: Damage
    rows: Mapping[str, pa.Table | None]

    def done(
        self, source: Concat | None, reading: ReadOptions, workers: int, progress: Progress
    ) -> RepairedDataset:
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
        data = self._data()
        tables = {name: rows for name, rows in self.rows.items() if rows is not None}
        files: dict[str, bytes] = {}
        lost = [name for name, rows in self.rows.items() if rows is None]
        if source is not None and axes is not None and (lost or self.survey.elements):
            made = RebuiltTables(source, self.published, axes)
            starts = self._starts(data, lost)
            tables |= {name: made.table(name, starts) for name in lost}
            files = {name: made.file(name) for name in self.survey.elements}
        return RepairedDataset(self.run, self.published, self.survey, data, tables, files)

    def _encode(self, source: Concat, axes: Axes, workers: int, progress: Progress) -> None:
        progress.begin(*self.run.covered(), self.run.plan.cells_to_write)
        encode = partial(self._part, source, axes, progress)
        run_parts(self.run.remaining(), encode, self.run.record, workers)

    def _part(self, source: Concat, axes: Axes, progress: Progress, index: int) -> PartResult:
        plan = self.run.plan
        return rewrite_part(
            source,
            plan,
            index,
            self.run.location,
            tables=self.survey.parts[plan.parts[index]],
            published=self.published,
            identifiers=axes.identifiers,
            progress=progress,
        )

    def _data(self) -> dict[str, TableFiles]:
        """The files of the tables that are written in parts, as far as they are done."""
        return table_files(self.run, self.published, self.survey)

    def _sort(self, reading: ReadOptions, workers: int, progress: Progress) -> None:
        """Sort the damaged genes again, out of rows that are whole, or are again."""
        run = self.run
        data = self._data()[EXPRESSION]
        files = [
            DataFile(path, fragment.rows)
            for path, fragment in zip(data.paths, data.fragments, strict=True)
        ]
        offsets = self._cell_offsets(data)
        rows = CellOrder.of_files(run.location, files, run.plan, offsets, self.published.blocks)
        progress.begin(0, 0, 2 * self.published.n_cells)
        done = {part.rows for part in run.parts(GENE_ORDER)}
        with GeneOrder(rows, reading, progress) as by_gene:
            recorded = self.published.by_gene
            rewrite = partial(rewrite_genes, by_gene, recorded=recorded, plan=run.plan)
            run_parts(sorted(self.survey.genes - done), rewrite, run.record, workers)

    def _cell_offsets(self, data: TableFiles) -> NDArray[np.int64]:
        if CELLS not in self.survey.tables:
            return Dataset(self.run.location, self.published).offsets(EXPRESSION)
        cells = self.rows[CELLS]
        if cells is None:
            return self._starts({EXPRESSION: data}, [CELLS])[EXPRESSION]
        starts = cells.column(TABLES[EXPRESSION].start_index).to_numpy()
        return np.append(starts, self.published.expression_count)

    def _starts(
        self, data: Mapping[str, TableFiles], lost: Collection[str]
    ) -> Mapping[str, NDArray[np.int64]]:
        """Where rows begin, for the tables that are lost and say so."""
        files = {name: data[name].paths for name in data if TABLES[name].axis.name in lost}
        return row_starts(self.run.location, self.published, files)
