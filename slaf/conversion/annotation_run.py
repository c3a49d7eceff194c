"""The run of an annotation: the tables and files that change, written and published."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import structs

from slaf.conversion.annotation_tables import AnnotatedTables
from slaf.conversion.plan_append import stored_options
from slaf.conversion.rewrite import (
    begin_rewrite,
    ids_of,
    is_unfinished,
    rewrite_parts,
    with_written,
)
from slaf.dataset.source import DatasetSource
from slaf.format.config import LEGACY_DIR, table_directories
from slaf.format.records import LayersRecord, MatrixRecord
from slaf.format.schema import (
    EXPRESSION,
    LAYERS,
    read_dtype,
)
from slaf.options import COLUMNS, LAYER, StoreOptions
from slaf.runs.annotated import (
    with_annotated_digests,
)
from slaf.runs.annotations import put_files
from slaf.runs.commit import TableFragments, TableGrowth, TableRows, commit_tables
from slaf.runs.gene_encodings import choose_gene_encodings
from slaf.runs.matrix_tables import matrix_tables, recorded_matrix_tables
from slaf.runs.plan import Plan, parts_of_blocks
from slaf.runs.publish import with_plain_ids
from slaf.runs.row_offsets import row_offsets

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from slaf.conversion.annotation_change import AnnotationChange
    from slaf.dataset.dataset import Dataset
    from slaf.format.config import DatasetConfig, SourceRecord
    from slaf.runs.commit import TableChange
    from slaf.runs.output_run import OutputRun
    from slaf.runtime.progress import Progress
    from slaf.sources.matrix import Matrix

__all__ = ["AnnotationRun"]


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


class AnnotationRun:
    """Writes the tables and files that a change concerns, and publishes the dataset.

    Parameters
    ----------
    change
        The change.
    """

    def __init__(self, change: AnnotationChange) -> None:
        self._change = change

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
        tables = AnnotatedTables(self._change)
        source = AnnotatedSource(
            self._change.dataset, self._change.added.layers, self._dropped_layers
        )
        run = self._begin(source, restart=restart)
        if self._change.has_changed(LAYER):
            self._encode(run, source, progress)
        self._publish(run, source, tables)

    def discard_stopped(self) -> None:
        """Discard an annotation that was stopped, where nothing is to be changed any more."""
        self._begin(AnnotatedSource(self._change.dataset, {}, frozenset()), restart=True).abandon()

    @property
    def _dropped_layers(self) -> frozenset[str]:
        prefix = f"{LAYER}:"
        return frozenset(
            n.removeprefix(prefix) for n in self._change.dropped if n.startswith(prefix)
        )

    def _begin(self, source: AnnotatedSource, *, restart: bool) -> OutputRun:
        """The run, begun anew: what it is given cannot be known again after it was stopped."""
        location, plan = self._change.dataset.location, self._plan(source)
        again = is_unfinished(location, "annotate")
        return begin_rewrite(location, plan, source, restart=restart or again)

    def _plan(self, source: AnnotatedSource) -> Plan:
        published = self._change.published
        options = stored_options(self._change.dataset, StoreOptions())
        legacy = published.tables[EXPRESSION].startswith(f"{LEGACY_DIR}/")
        plan = Plan.of_dataset(
            published,
            operation="annotate",
            options=options,
            parts=(),
            tables={**table_directories(legacy=legacy), **published.tables},
        )
        if not self._change.has_changed(LAYER):
            return plan
        tables = matrix_tables(source, options, recorded_matrix_tables(published))
        parts = tuple(parts_of_blocks(published.blocks)) if source.info.layers else ()
        return replace(plan, rewrites=(LAYERS,), matrix_tables=tables, parts=parts)

    def _encode(self, run: OutputRun, source: AnnotatedSource, progress: Progress) -> None:
        """Write the rows of `layers`."""
        choose_gene_encodings(run, source, self._change.published.tables)
        ids = ids_of(self._change.dataset)
        rewrite_parts(run, source, self._kept_base, ids, progress=progress)

    @property
    def _kept_base(self) -> DatasetConfig:
        """The dataset with the layers that stay, whose digests their rows must have again."""
        record = self._change.published.annotations
        if record.layers is None:
            return self._change.published
        kept = tuple(
            one
            for one in record.layers.matrices
            if f"{LAYER}:{one.original}" not in self._change.changes
        )
        layers = structs.replace(record.layers, matrices=kept)
        annotations = structs.replace(record, layers=layers)
        return structs.replace(self._change.published, annotations=annotations)

    def _publish(self, run: OutputRun, source: AnnotatedSource, tables: AnnotatedTables) -> None:
        location, published = run.location, self._change.published
        put_files(location, tables.files.values())
        offsets = None
        changes: dict[str, TableChange] = {
            name: TableGrowth(directory, published.versions[name])
            for name, directory in published.tables.items()
        }
        record = tables.record
        if self._change.has_changed(LAYER):
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
        annotated = with_written(run, annotated, whole)
        # The files of the tables are recorded, so that these can be read.
        run.publish(with_annotated_digests(location, annotated, self._change.record))

    def _layers_change(self, run: OutputRun, offsets: NDArray[np.int64]) -> TableChange:
        directory, schema = run.plan.directory(LAYERS), run.plan.schema(LAYERS)
        return TableFragments(directory, schema, run.fragments(LAYERS), offsets)

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
        if source.slots is None and self._change.published.annotations.selection is not None:
            return source
        kept = [name for name in source.slots or () if name not in self._change.dropped]
        added = ["uns" if name.startswith("uns:") else name for name in self._change.added.names]
        slots = [name for name in added if name.partition(":")[0] not in COLUMNS]
        return structs.replace(source, slots=tuple(dict.fromkeys([*kept, *slots])))
