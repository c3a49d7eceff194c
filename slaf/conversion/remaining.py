"""A dataset without the cells of some inputs: its rows, tables, files and record."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from msgspec import structs

from slaf.annotations.arrays import pairs_to_table
from slaf.annotations.columns import with_categories
from slaf.dataset.source import DatasetSource
from slaf.errors import DatasetError
from slaf.format.records import SlotRecord
from slaf.format.schema import CELLS, SOURCE_FILE, TABLES, partitioned_tables
from slaf.runs.annotations import elements_file
from slaf.runs.publish import source_files
from slaf.runs.value_types import AxisIds
from slaf.sources.concat.annotations import merge_uns
from slaf.sources.selection import SelectedSource, element_pairs, element_rows
from slaf.sparse.casting import as_float64
from slaf.sparse.ranges import RowRange
from slaf.sparse.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from slaf.annotations.columns import ColumnSet
    from slaf.dataset.dataset import Dataset
    from slaf.format.config import DatasetConfig, SourceRecord
    from slaf.format.records import AnnotationsRecord, Block, FileRecord, MatrixRecord
    from slaf.runs.annotations import File
    from slaf.sources.base import Source

__all__ = ["RemainingDataset"]

_OBSP = "cellsxcells"


@dataclass(frozen=True)
class RemainingDataset:
    """A dataset without the cells of some inputs.

    Genes keep their positions, and columns, elements and layers their names and types.

    Attributes
    ----------
    dataset
        The dataset.
    removed
        The positions in its sources of the inputs that are removed.
    offsets
        The row offsets of its cells in each table in cell order.
    """

    dataset: Dataset
    removed: frozenset[int]
    offsets: Mapping[str, NDArray[np.int64]]

    @cached_property
    def cells(self) -> NDArray[np.int64]:
        """The positions of the cells that stay."""
        return np.flatnonzero(self._stays)

    @cached_property
    def _stays(self) -> NDArray[np.bool_]:
        sources = self.dataset.sources
        of_sources = np.array([at not in self.removed for at in range(len(sources))])
        return np.repeat(of_sources, [source.n_cells for source in sources])

    @property
    def first_removed(self) -> int:
        """The position of the first cell that is removed."""
        return self.dataset.sources[min(self.removed)].offset

    @cached_property
    def sources(self) -> tuple[SourceRecord, ...]:
        """The inputs that stay."""
        offset, sources = 0, []
        for source in self._of_sources(self.dataset.sources):
            sources.append(structs.replace(source, offset=offset))
            offset += source.n_cells
        return tuple(sources)

    def _of_sources(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """Those of some values for each input that are of the inputs that stay."""
        return tuple(value for at, value in enumerate(values) if at not in self.removed)

    @cached_property
    def source(self) -> Source:
        """The rows that stay."""
        return SelectedSource(DatasetSource(self.dataset), self.cells)

    @cached_property
    def identifiers(self) -> AxisIds:
        """The ids of the cells that stay, and of the genes."""
        cells, genes = self.source.cells(), self.source.genes()
        return AxisIds(cells.column(0), genes.column(0))

    @cached_property
    def remaining_offsets(self) -> dict[str, NDArray[np.int64]]:
        """The row offsets of the cells that stay."""
        counts = {table: np.diff(offsets)[self.cells] for table, offsets in self.offsets.items()}
        return {
            table: np.concatenate([np.zeros(1, np.int64), np.cumsum(of_cells)])
            for table, of_cells in counts.items()
        }

    def statistics(self, n_cells: int) -> Statistics:
        """The statistics of the values of the first cells, which stay."""
        batches = self.dataset.matrix().batches(RowRange(0, n_cells))
        return Statistics.total(Statistics.of(as_float64(batch.values).values) for batch in batches)

    # --------------------------------------------------------------------------------------- record

    @cached_property
    def config(self) -> DatasetConfig:
        """The record of the dataset, with the digests of the rows that stay."""
        published = self.dataset.published
        return structs.replace(
            published,
            n_cells=len(self.cells),
            sources=self.sources,
            removed=(
                *published.removed,
                *(self.dataset.sources[at] for at in sorted(self.removed)),
            ),
            columns=self.columns,
            blocks=self._blocks(published.blocks),
            annotations=self._matrices(published.annotations),
        )

    def _blocks(self, blocks: Sequence[Block]) -> tuple[Block, ...]:
        """The blocks of the cells that stay, at their new positions.

        Raises
        ------
        DatasetError
            If a block has cells of an input that stays and of one that is removed.
        """
        stay = [block for block in blocks if self._stays[block.start : block.stop].any()]
        if not all(self._stays[block.start : block.stop].all() for block in stay):
            msg = (
                f"{self.dataset.location}: its checksum blocks hold cells of several inputs, as "
                "slafdb wrote them; convert the other inputs again"
            )
            raise DatasetError(msg)
        bounds = [(block.start, block.stop - 1) for block in stay]
        spans = np.searchsorted(self.cells, np.array(bounds, np.int64).reshape(-1, 2)).tolist()
        return tuple(
            structs.replace(block, span=(start, last + 1))
            for block, (start, last) in zip(stay, spans, strict=True)
        )

    def _matrices(self, record: AnnotationsRecord) -> AnnotationsRecord:
        """The record of layers, raw and coverage."""
        rows = {table: int(offsets[-1]) for table, offsets in self.remaining_offsets.items()}

        def remaining(matrix: MatrixRecord) -> MatrixRecord:
            return structs.replace(matrix, blocks=self._blocks(matrix.blocks))

        layers, raw, coverage = record.layers, record.raw, record.coverage
        if layers is not None:
            matrices = tuple(map(remaining, layers.matrices))
            layers = structs.replace(layers, rows=rows["layers"], matrices=matrices)
        if raw is not None:
            raw = structs.replace(
                raw,
                rows=rows["raw"],
                matrix=remaining(raw.matrix),
                genes_present=self._of_sources(raw.genes_present),
            )
        if coverage is not None:
            columns = tuple(map(remaining, coverage.matrices))
            coverage = structs.replace(coverage, rows=rows["coverage"], matrices=columns)
        return structs.replace(record, layers=layers, raw=raw, coverage=coverage)

    # ---------------------------------------------------------------------------- tables and files

    def tables(self) -> dict[str, pa.Table | None]:
        """The tables of cells that are written whole; None for one that would hold nothing."""
        tables: dict[str, pa.Table | None] = {CELLS: self._cells_table()}
        if self.dataset.annotations.record.obsp is not None:
            tables[_OBSP] = self._pairs[0]
        return tables

    @cached_property
    def _stored_cells(self) -> pa.Table:
        """The cells that stay, as they are stored."""
        stored = self.dataset.annotations.read_columns(CELLS).unify_dictionaries().combine_chunks()
        return stored.take(pa.array(self.cells))

    @property
    def columns(self) -> dict[str, ColumnSet]:
        """The records of the columns: of one without values, Lance stores no categories."""
        recorded = self.dataset.published.columns
        of_cells = (
            with_categories(column, self._stored_cells.column(column.name))
            for column in recorded[CELLS].columns
        )
        return {**recorded, CELLS: structs.replace(recorded[CELLS], columns=tuple(of_cells))}

    def _cells_table(self) -> pa.Table:
        rows = self._stored_cells
        columns: dict[str, Any] = {
            TABLES[CELLS].ids[1]: np.arange(rows.num_rows),
            SOURCE_FILE: source_files(self.sources),
        }
        for spec in partitioned_tables(self.remaining_offsets):
            columns[spec.start_index] = self.remaining_offsets[spec.name][:-1]
        for name, values in columns.items():
            at = rows.schema.get_field_index(name)
            field = rows.schema.field(at)
            rows = rows.set_column(at, field, pa.array(values).cast(field.type))
        return rows

    @cached_property
    def _pairs(self) -> tuple[pa.Table | None, tuple[Any, ...]]:
        """The table of obsp, and the records of its elements."""
        stored = self.dataset.annotations.slot("obsp")
        elements = {key: element_pairs(stored[key], self.cells) for key in stored}
        table, specs = pairs_to_table(elements, len(self.cells), TABLES[_OBSP].ids)
        return table, tuple(specs)

    def with_files(self, record: AnnotationsRecord) -> tuple[AnnotationsRecord, list[File]]:
        """The record of slots and files of elements, and these files."""
        files = dict(self._files())
        of_inputs = self._of_sources(record.uns_per_source)
        n_before, n_now = len(self.dataset.sources), len(self.sources)
        is_annotated = any(n.startswith("uns:") for n in self.dataset.published.annotated_names)
        if n_before > n_now == 1 and not is_annotated:
            # Of a single input, it is the uns of the dataset.
            of_inputs = ()
        records: dict[str, FileRecord | None] = {
            key: files[key][0] if key in files else None for key in ("uns", "elements")
        }
        if record.obsp is not None:
            record = structs.replace(record, obsp=SlotRecord(self._pairs[1]))
        record = structs.replace(
            record, uns_per_source=of_inputs if any(of_inputs) else (), **records
        )
        return record, list(files.values())

    def _files(self) -> Iterator[tuple[str, File]]:
        """The files of uns and of elements that no table holds, by the key of config.json."""
        uns = self._uns()
        if uns:
            yield "uns", elements_file("uns", {"uns": uns})
        elements = {
            slot: {key: self._element(slot, one) for key, one in of_slot.items()}
            for slot, of_slot in self.dataset.annotations.elements.items()
        }
        if self.dataset.annotations.record.obsp is not None:
            stored, specs = self.dataset.annotations.slot("obsp"), self._pairs[1]
            elements["obsp"] = {
                spec.key: element_pairs(stored[spec.key], self.cells)
                for spec in specs
                if spec.name is None
            }
        elements = {slot: of_slot for slot, of_slot in elements.items() if of_slot}
        if elements:
            yield "elements", elements_file("elements", elements)

    def _element(self, slot: str, element: Any) -> Any:
        return element_rows(element, self.cells) if slot == "obsm" else element

    def _uns(self) -> Mapping[str, Any]:
        """The uns of the inputs that stay, merged, and what was annotated."""
        annotations = self.dataset.annotations
        selection = annotations.record.selection
        if not annotations.record.uns_per_source or selection is None:
            return dict(annotations.uns)
        uns_per_source = [annotations.uns_of(at) for at in range(len(self.dataset.sources))]
        of_inputs = self._of_sources(uns_per_source)
        names = self.dataset.published.annotated_names
        if not any(name.startswith("uns:") for name in names):
            return merge_uns(of_inputs, selection.uns_merge)
        merged, own = merge_uns(of_inputs, selection.uns_merge), annotations.uns
        kept = {key: own[key] for key in own if f"uns:{key}" in names}
        return {key: merged[key] for key in merged if f"uns:{key}" not in names} | kept
