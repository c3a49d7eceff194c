"""The run of an annotation: the tables and files that change, written and published."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from msgspec import structs

from slaf.annotations.arrays import arrays_to_columns, pairs_to_table
from slaf.annotations.columns import ColumnSet, to_lance
from slaf.conversion.plan_append import stored_options
from slaf.dataset.source import DatasetSource
from slaf.errors import InputError
from slaf.format.config import LEGACY_DIR, load, table_directories
from slaf.format.records import LayersRecord, MatrixRecord, SlotRecord
from slaf.format.schema import (
    CELL_COLUMNS,
    CELLS,
    EXPRESSION,
    GENE_COLUMNS,
    GENES,
    LAYERS,
    TABLES,
    pair_table,
    read_dtype,
)
from slaf.options import ALIGNED_SLOTS, COLUMNS, LAYER, StoreOptions
from slaf.runs.annotated import (
    PAIR_SLOTS,
    TABLE_SLOTS,
    elements_without,
    with_annotated_digests,
)
from slaf.runs.annotations import elements_file
from slaf.runs.checksums import storage_options_record, table_digests, with_checksums
from slaf.runs.commit import TableFragments, TableGrowth, TableRows, commit_tables
from slaf.runs.encode import NeedsWiderType, encode_part
from slaf.runs.gene_encodings import choose_gene_encodings
from slaf.runs.matrix_tables import matrix_tables, recorded_matrix_tables
from slaf.runs.output_run import begin_or_resume
from slaf.runs.plan import Plan, parts_of_blocks
from slaf.runs.publish import with_plain_ids
from slaf.runs.row_offsets import row_offsets
from slaf.runs.value_types import AxisIds
from slaf.runtime.executors import run_parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from slaf.annotations.arrays import ElementSpec
    from slaf.conversion.annotation_input import Annotating
    from slaf.dataset.dataset import Dataset
    from slaf.format.config import DatasetConfig, SourceRecord
    from slaf.format.records import FileRecord
    from slaf.runs.commit import TableChange
    from slaf.runs.output_run import OutputRun
    from slaf.runtime.progress import Progress
    from slaf.sources.base import Matrix

__all__ = ["AnnotationRun"]

_FORMAT_COLUMNS = {CELLS: CELL_COLUMNS, GENES: GENE_COLUMNS}


class AnnotatedSource(DatasetSource):
    """A dataset with other layers.

    Parameters
    ----------
    dataset
        The dataset.
    layers
        Layers that are added, or replace others.
    dropped
        The names of layers that are left out.
    """

    def __init__(
        self, dataset: Dataset, layers: Mapping[str, Matrix], dropped: frozenset[str]
    ) -> None:
        super().__init__(dataset)
        self._added = layers
        names = [
            name for name in dict.fromkeys((*self.info.layers, *layers)) if name not in dropped
        ]
        self.info = replace(self.info, layers={name: f"{LAYER}:{name}" for name in names})

    def open_matrix(self, name: str) -> Matrix:
        """X, raw or a layer."""
        kind, _, layer = name.partition(":")
        added = self._added.get(layer) if kind == LAYER else None
        return super().open_matrix(name) if added is None else added


@dataclass(frozen=True)
class AnnotationRun:
    """A change of a dataset that is ready to be written.

    Attributes
    ----------
    dataset
        The dataset.
    added
        What is added, or replaces what is there, in the order of the dataset.
    dropped
        The names to drop.
    """

    dataset: Dataset
    added: Annotating
    dropped: frozenset[str]

    @property
    def published(self) -> DatasetConfig:
        """The record of the dataset before."""
        return self.dataset.published

    @cached_property
    def changes(self) -> frozenset[str]:
        """The names of all that is added, replaced or dropped."""
        return self.dropped | frozenset(self.added.names)

    def has_changed(self, *kinds: str) -> bool:
        """Whether anything of these kinds, "obs" or "layer", is added, replaced or dropped."""
        return any(name.partition(":")[0] in kinds for name in self.changes)

    def execute(self, *, restart: bool, progress: Progress) -> None:
        """Write the tables that change, and publish the dataset.

        Raises
        ------
        InputError
            If something cannot be stored exactly.
        ConflictError
            If another run is unfinished.
        """
        # All that may be refused is made before the first byte is written.
        tables = _WholeTables(self)
        source = AnnotatedSource(self.dataset, self.added.layers, self._dropped_layers)
        run = self._begin(source, restart=restart)
        if self.has_changed(LAYER):
            self._encode(run, source, progress)
        self._publish(run, source, tables)

    @property
    def _dropped_layers(self) -> frozenset[str]:
        prefix = f"{LAYER}:"
        return frozenset(n.removeprefix(prefix) for n in self.dropped if n.startswith(prefix))

    def _begin(self, source: AnnotatedSource, *, restart: bool) -> OutputRun:
        """The run, begun anew: what it is given cannot be known again after it was stopped."""
        location, plan = self.dataset.location, self._plan(source)
        manifest = load(location)
        unfinished = None if manifest is None else manifest.checkpoint
        again = unfinished is not None and unfinished["plan"].get("operation") == "annotate"
        if again and unfinished is not None and unfinished["published"]:
            begin_or_resume(
                location, plan, overwrite=False, restart=False, allow_duplicate=True
            ).clean_up()
        return begin_or_resume(
            location, plan, overwrite=False, restart=restart or again, allow_duplicate=True
        )

    def _plan(self, source: AnnotatedSource) -> Plan:
        published = self.published
        options = stored_options(self.dataset, StoreOptions())
        legacy = published.tables[EXPRESSION].startswith(f"{LEGACY_DIR}/")
        plan = Plan.of_dataset(
            published,
            operation="annotate",
            options=options,
            parts=(),
            tables={**table_directories(legacy=legacy), **published.tables},
        )
        if not self.has_changed(LAYER):
            return plan
        tables = matrix_tables(source, options, recorded_matrix_tables(published))
        parts = tuple(parts_of_blocks(published.blocks)) if source.info.layers else ()
        return replace(plan, rewrites=(LAYERS,), matrix_tables=tables, parts=parts)

    def _encode(self, run: OutputRun, source: AnnotatedSource, progress: Progress) -> None:
        """Write the rows of `layers`."""
        read = self.dataset.annotations.read_columns
        ids = AxisIds(read(CELLS, ["cell_id"]).column(0), read(GENES, ["gene_id"]).column(0))
        choose_gene_encodings(run, source, self.published.tables)
        while True:
            progress.begin(*run.covered(), run.plan.cells_to_write)
            encode = partial(
                encode_part,
                source,
                run.plan,
                location=run.location,
                identifiers=ids,
                base=self._kept_base,
                progress=progress,
            )
            try:
                run_parts(run.remaining(), encode, run.record, 0)
            except NeedsWiderType as misfit:
                run.begin(run.plan.widened(misfit.types))
            except InputError:
                run.abandon()
                raise
            else:
                return

    @property
    def _kept_base(self) -> DatasetConfig:
        """The dataset with the layers that stay, whose digests their rows must have again."""
        record = self.published.annotations
        if record.layers is None:
            return self.published
        kept = tuple(
            one for one in record.layers.matrices if f"{LAYER}:{one.original}" not in self.changes
        )
        layers = structs.replace(record.layers, matrices=kept)
        annotations = structs.replace(record, layers=layers)
        return structs.replace(self.published, annotations=annotations)

    def _publish(self, run: OutputRun, source: AnnotatedSource, tables: _WholeTables) -> None:
        location, published = run.location, self.published
        for record, content in tables.files.values():
            location.put(record.file, content)
        offsets = None
        changes: dict[str, TableChange] = {
            name: TableGrowth(directory, published.versions[name])
            for name, directory in published.tables.items()
        }
        record = tables.record
        if self.has_changed(LAYER):
            changes.pop(LAYERS, None)
            record = structs.replace(record, layers=None)
            if source.info.layers:
                offsets = row_offsets(run, LAYERS)
                changes[LAYERS] = self._layers_change(run, offsets)
                record = structs.replace(record, layers=self._layers_record(run, offsets))
        whole = tables.rows(offsets, has_layers=LAYERS in changes)
        if run.plan.options.plain_types:
            whole = {n: None if t is None else with_plain_ids(n, t) for n, t in whole.items()}
        for name, rows in whole.items():
            changes.pop(name, None)
            if rows is not None:
                changes[name] = TableRows(run.plan.directory(name), rows)
        versions = commit_tables(location, run.plan, changes)
        annotated = structs.replace(
            published,
            tables={name: run.plan.directory(name) for name in versions},
            versions=versions,
            columns=tables.columns,
            sources=tuple(map(self._source, published.sources)),
            annotations=record,
            last_updated=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        if published.checksums.files:
            stored = storage_options_record(run.plan)
            new = {name: rows for name, rows in whole.items() if rows is not None}
            checksums = structs.replace(
                published.checksums, tables=table_digests(new), storage=stored
            )
            annotated = with_checksums(location, annotated, run.files(), checksums, base=published)
        # The files of the tables are recorded, so that these can be read.
        run.publish(with_annotated_digests(location, annotated, self._names))

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(sorted({*self.published.annotated_names, *self.changes}))

    def _layers_change(self, run: OutputRun, offsets: NDArray[np.int64]) -> TableChange:
        fragments = [one for result in run.results(LAYERS) for one in result.fragments]
        directory = run.plan.directory(LAYERS)
        return TableFragments(directory, run.plan.schema(LAYERS), fragments, offsets)

    def _layers_record(self, run: OutputRun, offsets: NDArray[np.int64]) -> LayersRecord:
        kept = self._kept_base.annotations.matrices().get(LAYERS, ())
        recorded = {one.original: one for one in kept}
        overflowed = {name for result in run.results(LAYERS) for name in result.dtype_overflowed}
        matrices = tuple(
            recorded.get(column.original)
            or MatrixRecord(
                name=column.name,
                original=column.original,
                dtype=read_dtype(
                    column.dtype, column.value_type, dtype_overflowed=column.name in overflowed
                ),
                source_dtype=column.dtype,
                value_type=column.value_type,
                blocks=run.blocks(LAYERS, column.name),
            )
            for column in run.plan.matrix_table(LAYERS).values
        )
        return LayersRecord(int(offsets[-1]), matrices)

    def _source(self, source: SourceRecord) -> SourceRecord:
        """An input, whose cells have what is added, and lack what is dropped."""
        if source.slots is None and self.published.annotations.selection is not None:
            return source
        kept = [name for name in source.slots or () if name not in self.dropped]
        added = ["uns" if name.startswith("uns:") else name for name in self.added.names]
        slots = [name for name in added if name.partition(":")[0] not in COLUMNS]
        return structs.replace(source, slots=tuple(dict.fromkeys([*kept, *slots])))


class _WholeTables:
    """The tables that are written whole, and the files of elements, as they will be.

    Parameters
    ----------
    run
        The change.

    Attributes
    ----------
    columns
        The records of the columns of cells and genes.
    files
        The files by the key of config.json, with their content.
    record
        The record of annotations; that of layers is as it was.

    Raises
    ------
    InputError
        If something cannot be stored exactly.
    """

    def __init__(self, run: AnnotationRun) -> None:
        self._run = run
        self._annotations = run.dataset.annotations
        self.columns = dict(run.published.columns)
        self.files: dict[str, tuple[FileRecord, bytes]] = {}
        self._specs = dict(self._annotations.record.specs)
        self._tables: dict[str, pa.Table | None] = {}
        self._left = elements_without(self._annotations.elements, run.changes)
        for axis, slots in TABLE_SLOTS.items():
            if run.has_changed(*slots):
                self._tables[axis] = self._axis_table(axis, *slots)
        for name, slot in PAIR_SLOTS.items():
            if run.has_changed(slot):
                self._tables[name] = self._pair_table(slot)
        self.record = self._with_files(self._with_slots())

    def rows(
        self, offsets: NDArray[np.int64] | None, *, has_layers: bool
    ) -> dict[str, pa.Table | None]:
        """The tables that change; None for one that is dropped.

        Parameters
        ----------
        offsets
            The row offsets of the cells in `layers`, if it was written.
        has_layers
            Whether there is a table `layers`.
        """
        start = TABLES[LAYERS].start_index
        if self._run.has_changed(LAYER):
            cells = self._tables.get(CELLS)
            cells = self._annotations.read_columns(CELLS) if cells is None else cells
            if start in cells.column_names:
                cells = cells.drop_columns([start])
            if has_layers and offsets is not None:
                at = cells.column_names.index(TABLES[EXPRESSION].start_index) + 1
                cells = cells.add_column(at, start, pa.array(offsets[: cells.num_rows]))
            self._tables[CELLS] = cells
        return self._tables

    def _axis_table(self, axis: str, of_user: str, slot: str) -> pa.Table:
        """`cells` or `genes`, with the columns of the user and of elements that they will have."""
        stored = self._annotations.read_columns(axis)
        stored = stored.unify_dictionaries().combine_chunks()
        old = {column.original: column for column in self.columns[axis].columns}
        of_format = [n for n in stored.column_names if n in _FORMAT_COLUMNS[axis]]
        of_user_kept = {
            name: column
            for name, column in old.items()
            if name is None or f"{of_user}:{name}" not in self._run.changes
        }
        specs = self._specs.get(slot, ())
        kept_specs = [one for one in specs if f"{slot}:{one.key}" not in self._run.changes]
        kept_elements = [one.name for one in kept_specs if one.name is not None]
        kept = [*of_format, *(c.name for c in of_user_kept.values()), *kept_elements]
        added, columns = self._added_columns(axis, (*_FORMAT_COLUMNS[axis], *kept))
        order = [name for name in {**old, **columns} if name in of_user_kept or name in columns]
        arrays = {name: stored.column(name) for name in of_format}
        record = []
        for name in order:
            column = columns.get(name) or of_user_kept[name]
            record.append(column)
            arrays[column.name] = (added if name in columns else stored).column(column.name)
        self.columns[axis] = ColumnSet(tuple(record), self.columns[axis].index_name)
        arrays |= {name: stored.column(name) for name in kept_elements}
        arrays |= self._added_elements(slot, specs, stored.num_rows, tuple(arrays))
        return pa.table(arrays)

    def _added_columns(
        self, axis: str, reserved: tuple[str, ...]
    ) -> tuple[pa.Table, dict[Any, Any]]:
        """The added columns of the user, and their records by the names of the user."""
        table = self._run.added.columns.get(axis)
        if table is None:
            return pa.table({}), {}
        lance, columns = to_lance(table, reserved)
        return lance, {column.original: column for column in columns.columns[1:]}

    def _added_elements(
        self, slot: str, specs: tuple[ElementSpec, ...], n_rows: int, reserved: tuple[str, ...]
    ) -> dict[str, pa.Array]:
        """The added elements of obsm or varm that are columns; records all of them."""
        elements = self._run.added.slots.get(slot, {})
        columns, added = arrays_to_columns(elements, n_rows, reserved)
        by_key = {one.key: one for one in (*specs, *added)}
        self._specs[slot] = tuple(
            one for one in by_key.values() if f"{slot}:{one.key}" not in self._run.dropped
        )
        self._keep_left(slot, added)
        return columns

    def _pair_table(self, slot: str) -> pa.Table | None:
        stored, added = self._annotations.slot(slot), self._run.added.slots.get(slot, {})
        elements = {
            key: added[key] if key in added else stored[key]
            for key in dict.fromkeys((*stored, *added))
            if f"{slot}:{key}" not in self._run.dropped
        }
        n = self._run.dataset.n_cells if slot == "obsp" else self._run.dataset.n_genes
        table, specs = pairs_to_table(elements, n, pair_table(slot).ids)
        self._specs[slot] = tuple(specs)
        self._keep_left(slot, [one for one in specs if one.key in added])
        return table

    def _keep_left(self, slot: str, specs: list[ElementSpec]) -> None:
        """Keep the added elements that no table holds, for the file of elements."""
        added = self._run.added.slots.get(slot, {})
        left = {one.key: added[one.key] for one in specs if one.name is None}
        if left:
            self._left[slot] = self._left.get(slot, {}) | left

    def _with_slots(self) -> Any:
        records = {
            slot: SlotRecord(self._specs[slot]) if self._specs.get(slot) else None
            for slot in ALIGNED_SLOTS
        }
        return structs.replace(self._annotations.record, **records)

    def _with_files(self, record: Any) -> Any:
        if self._run.has_changed(*ALIGNED_SLOTS):
            self._put("elements", self._left)
            record = structs.replace(record, elements=self._file_record("elements"))
        if self._run.has_changed("uns"):
            uns = elements_without({"uns": self._annotations.uns}, self._run.dropped)
            uns.setdefault("uns", {}).update(self._run.added.slots.get("uns", {}))
            self._put("uns", uns if uns["uns"] else {})
            of_inputs = record.uns_per_source
            if not of_inputs and len(self._run.published.sources) == 1:
                # That of the only input stays, for it may get others.
                of_inputs = (record.uns,)
            record = structs.replace(record, uns=self._file_record("uns"), uns_per_source=of_inputs)
        return record

    def _put(self, key: str, content: Mapping[str, Any]) -> None:
        if content:
            self.files[key] = elements_file(key, content)

    def _file_record(self, key: str) -> FileRecord | None:
        return self.files[key][0] if key in self.files else None
