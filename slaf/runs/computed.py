"""Metrics that were written to a dataset, computed anew for its cells of now."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from msgspec import structs

from slaf.annotations.columns import ColumnSet, to_lance
from slaf.annotations.dataframes import from_frame
from slaf.dataset.dataset import Dataset
from slaf.errors import SelectionError
from slaf.format.schema import CELLS, GENES, TABLES
from slaf.runs.checksums import table_digests, with_checksums
from slaf.runs.commit import TableRows, commit_tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa

    from slaf.format.config import DatasetConfig
    from slaf.format.records import ComputedRecord
    from slaf.runs.output_run import OutputRun

    Values = Mapping[str, Any]

__all__ = ["with_computed"]

logger = logging.getLogger("slaf")

_SLOTS = {CELLS: "obs", GENES: "var"}


def with_computed(
    run: OutputRun, dataset: DatasetConfig, base: DatasetConfig | None
) -> DatasetConfig:
    """A dataset, committed but not published, with its metrics computed of the cells of now.

    Metrics that cannot be computed anew are dropped; both are logged.

    Parameters
    ----------
    run
        The run that changed the cells.
    dataset
        The record, with the checksums of its files.
    base
        The dataset before.
    """
    annotated = dataset.annotated
    if annotated is None or not annotated.computed:
        return dataset
    opened = Dataset(run.location, dataset)
    changed: dict[str, Any] = {}
    for record in annotated.computed:
        changed |= _computed(opened, record)
    kept = [one for one in annotated.computed if changed[one.names[0]] is not None]
    tables, columns = {}, dict(dataset.columns)
    for axis in _SLOTS:
        tables[axis], columns[axis] = _with_values(opened, axis, changed)
    changes = {name: TableRows(run.plan.directory(name), rows) for name, rows in tables.items()}
    dataset = structs.replace(
        dataset,
        columns=columns,
        versions={**dataset.versions, **commit_tables(run.location, run.plan, changes)},
        annotated=structs.replace(annotated, computed=tuple(kept)),
    )
    if not dataset.checksums.files:
        return dataset
    checksums = structs.replace(
        dataset.checksums, tables={**dataset.checksums.tables, **table_digests(tables)}
    )
    return with_checksums(run.location, dataset, run.files(), checksums, base=base)


def _computed(dataset: Dataset, record: ComputedRecord) -> dict[str, Any]:
    """The values of each column of a record; None for columns that are dropped."""
    names = ", ".join(record.names)
    reason = "the genes of a mask were given one by one"
    if record.options is not None:
        try:
            metrics = dataset.qc_metrics(**record.options)
        except SelectionError as error:
            reason = str(error)
        else:
            logger.info("%s: computed anew: %s", dataset.location, names)
            frames = {"obs": metrics.obs, "var": metrics.var}
            pairs = (name.partition(":") for name in record.names)
            return {f"{slot}:{name}": frames[slot][name].to_numpy() for slot, _, name in pairs}
    logger.warning("%s: dropped, for they cannot be computed anew (%s): %s; write them again with "
                   "`slaf qc --write`", dataset.location, reason, names)  # fmt: skip
    return dict.fromkeys(record.names)


def _with_values(
    dataset: Dataset, axis: str, changed: Mapping[str, Any]
) -> tuple[pa.Table, ColumnSet]:
    """`cells` or `genes` with other values of some columns, or without them."""
    import pandas as pd

    table = dataset.annotations.read_columns(axis).unify_dictionaries().combine_chunks()
    columns, id_name = dataset.published.columns[axis], TABLES[axis].ids[0]
    values = dict(_of_slot(_SLOTS[axis], changed))
    new = {name: one for name, one in values.items() if one is not None}
    index = pd.Index(table.column(id_name).to_pylist(), dtype=object)
    arrays, made = to_lance(from_frame(pd.DataFrame(new, index=index), id_name), ())
    by_name = {column.original: column for column in made.columns}
    kept = []
    for column in columns.columns:
        at = table.column_names.index(column.name)
        if column.original in new:
            record = by_name[column.original]
            table = table.set_column(at, column.name, arrays.column(record.name))
            kept.append(structs.replace(record, name=column.name))
        elif column.original in values:
            table = table.remove_column(at)
        else:
            kept.append(column)
    return table, ColumnSet(tuple(kept), columns.index_name)


def _of_slot(slot: str, changed: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, values in changed.items():
        prefix, _, column = name.partition(":")
        if prefix == slot:
            yield column, values
