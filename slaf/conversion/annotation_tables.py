"""The tables that an annotation writes whole, and the files of elements, as they will be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
from msgspec import structs

from slaf.annotations.arrays import arrays_to_columns, pairs_to_table
from slaf.annotations.columns import ColumnSet, to_lance
from slaf.format.records import SlotRecord
from slaf.format.schema import (
    CELL_COLUMNS,
    CELLS,
    EXPRESSION,
    GENE_COLUMNS,
    GENES,
    LAYERS,
    TABLES,
    pair_table,
)
from slaf.options import ALIGNED_SLOTS, LAYER
from slaf.runs.annotated import (
    PAIR_SLOTS,
    TABLE_SLOTS,
    elements_without,
)
from slaf.runs.annotations import elements_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from slaf.annotations.arrays import ElementSpec
    from slaf.conversion.annotation_change import AnnotationChange
    from slaf.format.records import FileRecord

__all__ = ["AnnotatedTables"]

_FORMAT_COLUMNS = {CELLS: CELL_COLUMNS, GENES: GENE_COLUMNS}


class AnnotatedTables:
    """The tables that are written whole, and the files of elements, as they will be.

    Parameters
    ----------
    change
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

    def __init__(self, change: AnnotationChange) -> None:
        self._change = change
        self._annotations = change.dataset.annotations
        self.columns = dict(change.published.columns)
        self.files: dict[str, tuple[FileRecord, bytes]] = {}
        self._specs = dict(self._annotations.record.specs)
        self._tables: dict[str, pa.Table | None] = {}
        self._left = elements_without(self._annotations.elements, change.changes)
        for axis, slots in TABLE_SLOTS.items():
            if change.has_changed(*slots):
                self._tables[axis] = self._axis_table(axis, *slots)
        for name, slot in PAIR_SLOTS.items():
            if change.has_changed(slot):
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
        if self._change.has_changed(LAYER):
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
            if name is None or f"{of_user}:{name}" not in self._change.changes
        }
        specs = self._specs.get(slot, ())
        kept_specs = [one for one in specs if f"{slot}:{one.key}" not in self._change.changes]
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
        table = self._change.added.columns.get(axis)
        if table is None:
            return pa.table({}), {}
        lance, columns = to_lance(table, reserved)
        return lance, {column.original: column for column in columns.columns[1:]}

    def _added_elements(
        self, slot: str, specs: tuple[ElementSpec, ...], n_rows: int, reserved: tuple[str, ...]
    ) -> dict[str, pa.Array]:
        """The added elements of obsm or varm that are columns; records all of them."""
        elements = self._change.added.slots.get(slot, {})
        columns, added = arrays_to_columns(elements, n_rows, reserved)
        by_key = {one.key: one for one in (*specs, *added)}
        self._specs[slot] = tuple(
            one for one in by_key.values() if f"{slot}:{one.key}" not in self._change.dropped
        )
        self._keep_left(slot, added)
        return columns

    def _pair_table(self, slot: str) -> pa.Table | None:
        stored, added = self._annotations.slot(slot), self._change.added.slots.get(slot, {})
        elements = {
            key: added[key] if key in added else stored[key]
            for key in dict.fromkeys((*stored, *added))
            if f"{slot}:{key}" not in self._change.dropped
        }
        n = self._change.dataset.n_cells if slot == "obsp" else self._change.dataset.n_genes
        table, specs = pairs_to_table(elements, n, pair_table(slot).ids)
        self._specs[slot] = tuple(specs)
        self._keep_left(slot, [one for one in specs if one.key in added])
        return table

    def _keep_left(self, slot: str, specs: list[ElementSpec]) -> None:
        """Keep the added elements that no table holds, for the file of elements."""
        added = self._change.added.slots.get(slot, {})
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
        if self._change.has_changed(*ALIGNED_SLOTS):
            self._put("elements", self._left)
            record = structs.replace(record, elements=self._file_record("elements"))
        if self._change.has_changed("uns"):
            uns = elements_without({"uns": self._annotations.uns}, self._change.dropped)
            uns.setdefault("uns", {}).update(self._change.added.slots.get("uns", {}))
            self._put("uns", uns if uns["uns"] else {})
            of_inputs = record.uns_per_source
            if not of_inputs and len(self._change.published.sources) == 1:
                # That of the only input stays, for it may get others.
                of_inputs = (record.uns,)
            record = structs.replace(record, uns=self._file_record("uns"), uns_per_source=of_inputs)
        return record

    def _put(self, key: str, content: Mapping[str, Any]) -> None:
        if content:
            self.files[key] = elements_file(key, content)

    def _file_record(self, key: str) -> FileRecord | None:
        return self.files[key][0] if key in self.files else None
