"""Rewrite what is damaged, and read it back before it is published."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from msgspec import structs

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


def read_back(dataset: Dataset, damage: Damage) -> None:
    """Compare the tables of a repaired dataset with the digests of what was converted.

    Parameters
    ----------
    dataset
        The repaired dataset, not published yet.
    damage
        The damage that was repaired.

    Raises
    ------
    VerificationFailed
        If anything differs: the disk returned other bytes than were written.
    """
    differences = DifferenceLog()
    published = dataset.published
    for name in sorted(damage.tables & published.checksums.tables.keys()):
        with differences.catching(name):
            digest = table_digest(read_table(dataset.table(name)))
            differences.compare("digest", name, published.checksums.tables[name], digest)
    indices = [
        index
        for index, block in enumerate(published.blocks)
        if any(rows.start <= block.start and block.stop <= rows.stop for rows in damage.parts)
    ]
    # With wrong offsets no rows can be read.
    if not differences and indices:
        rewritten = frozenset().union(*damage.parts.values())
        check_digests(dataset, differences, NullProgress(), indices, rewritten)
    if differences:
        label = str(dataset.location)
        checks = ("the repaired files",)
        report = Report(label, checks, *differences.results())
        msg = f"{label}: the repaired files are not read back as written: {report.differences[0]}"
        raise VerificationFailed(msg, report)


def salvageable_rows(
    location: Location, published: DatasetConfig, damage: Damage
) -> dict[str, pa.Table | None]:
    """The rows of each damaged table that is written whole; None if only the inputs have them."""
    return {
        name: None if name in damage.lost else salvage_rows(location, published, name)
        for name in sorted(damage.tables & published.checksums.tables.keys())
    }


@dataclass(frozen=True, slots=True)
class Repair:
    """A repair in progress; none of its files is in the dataset yet.

    Attributes
    ----------
    run
        The run of the repair.
    published
        The damaged dataset.
    damage
        Its damage.
    rows
        As returned by `salvageable_rows`.
    """

    run: OutputRun
    published: DatasetConfig
    damage: Damage
    rows: Mapping[str, pa.Table | None]

    def rewrite(
        self, source: Concat | None, reading: ReadOptions, workers: int, progress: Progress
    ) -> RepairedDataset:
        """Write all that is damaged again, and compare it with its digests.

        Parameters
        ----------
        source
            The inputs; None if they are not needed.
        reading
            The memory for sorting.
        workers, progress
            As for `slaf.repair`.

        Raises
        ------
        SourceChanged
            If the inputs differ from what was converted.
        """
        is_lost = self.rows.get(CELLS, self.published) is None
        axes = None if source is None else read_axes(source, measured=is_lost)
        if source is not None and axes is not None:
            self._rewrite_parts(source, axes, workers, progress)
        if self.damage.genes:
            self._sort(reading, workers, progress)
        data = self._data()
        tables = {name: rows for name, rows in self.rows.items() if rows is not None}
        files: dict[str, bytes] = {}
        published = self.published
        lost = [name for name, rows in self.rows.items() if rows is None]
        if source is not None and axes is not None and (lost or self.damage.elements):
            rebuilt = RebuiltTables(source, self.published, axes)
            starts = self._starts(data, lost)
            tables |= {name: rebuilt.table(name, starts) for name in lost}
            recorded = {record.file for record in published.annotations.files}
            for name in self.damage.elements:
                if name in recorded:
                    files[name] = rebuilt.file(name)
                elif (
                    remaining := rebuilt.remaining_file(key := name.partition("-")[0])
                ) is not None:
                    record, files[remaining[0].file] = remaining
                    annotations = structs.replace(published.annotations, **{key: record})
                    published = structs.replace(published, annotations=annotations)
        return RepairedDataset(self.run, published, self.damage, data, tables, files)

    def _rewrite_parts(self, source: Concat, axes: Axes, workers: int, progress: Progress) -> None:
        run = self.run
        progress.begin(*run.covered(), run.plan.cells_to_write)

        def rewrite(index: int) -> PartResult:
            return rewrite_part(
                source,
                run.plan,
                index,
                run.location,
                tables=self.damage.parts[run.plan.parts[index]],
                published=self.published,
                identifiers=axes.identifiers,
                progress=progress,
            )

        run_parts(run.remaining(), rewrite, run.record, workers)

    def _data(self) -> dict[str, TableFiles]:
        """The files of the tables that are written in parts, as far as they are done."""
        return table_files(self.run, self.published, self.damage)

    def _sort(self, reading: ReadOptions, workers: int, progress: Progress) -> None:
        """Sort the rows of the damaged genes again, from rows in cell order that are intact."""
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
            run_parts(sorted(self.damage.genes - done), rewrite, run.record, workers)

    def _cell_offsets(self, data: TableFiles) -> NDArray[np.int64]:
        if CELLS not in self.damage.tables:
            return Dataset(self.run.location, self.published).offsets(EXPRESSION)
        cells = self.rows[CELLS]
        if cells is None:
            return self._starts({EXPRESSION: data}, [CELLS])[EXPRESSION]
        starts = cells.column(TABLES[EXPRESSION].start_index).to_numpy()
        return np.append(starts, self.published.expression_count)

    def _starts(
        self, data: Mapping[str, TableFiles], lost: Collection[str]
    ) -> Mapping[str, NDArray[np.int64]]:
        """The row offsets that the lost tables have as columns."""
        files = {name: data[name].paths for name in data if TABLES[name].axis.name in lost}
        return row_starts(self.run.location, self.published, files)
