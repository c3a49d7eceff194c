"""Annotations of a dataset that are lost, and that no input has: named, or dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from slaf.annotations.columns import ColumnSet
from slaf.errors import DamagedDataset
from slaf.format.records import SlotRecord
from slaf.format.schema import LAYERS
from slaf.options import LAYER
from slaf.runs.annotated import PAIR_SLOTS, TABLE_SLOTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa

    from slaf.annotations.arrays import ElementSpec
    from slaf.format.config import DatasetConfig
    from slaf.repairs.damage import Damage

__all__ = ["without_lost_annotations"]


def without_lost_annotations(
    published: DatasetConfig,
    damage: Damage,
    rows: Mapping[str, pa.Table | None],
    *,
    drop: bool,
) -> DatasetConfig:
    """A damaged dataset without what was annotated in tables and files that are lost.

    Parameters
    ----------
    published, damage
        The dataset and its damage.
    rows
        As returned by `slaf.repairs.work.salvageable_rows`.
    drop
        Whether it is dropped; otherwise it is refused.

    Returns
    -------
    DatasetConfig
        The same where nothing of it is lost. Otherwise the lost tables have the digests that they
        have without it, and there is no record of the lost files.

    Raises
    ------
    DamagedDataset
        If it is not to be dropped, or is a layer, naming it.
    """
    lost = {table for table, found in rows.items() if found is None}
    files = {
        key
        for key in ("uns", "elements")
        if (record := getattr(published.annotations, key)) and record.file in damage.elements
    }
    names = [n for n in published.annotated_names if _place(published, n) in lost | files]
    layers = {f"{LAYER}:{one.original}" for one in published.annotations.matrices().get(LAYERS, ())}
    lost_layers = sorted(layers & {*published.annotated_names}) if damage.rows_of(LAYERS) else []
    if lost_layers:
        remedy = "restore it from a copy"
        if len(lost_layers) == len(layers):
            drops = " ".join(f"--drop {name}" for name in lost_layers)
            remedy = f"drop them with `slaf annotate {drops}`, or restore it from a copy"
        msg = (
            f"{', '.join(lost_layers)} were annotated, and no input has the damaged rows; {remedy}"
        )
        raise DamagedDataset(msg)
    if names and not drop:
        msg = (
            f"{', '.join(names)} were annotated, and no input has them: their files are damaged; "
            "restore the dataset from a copy, or go on without them with --drop-annotated"
        )
        raise DamagedDataset(msg)
    return _without(published, names, lost, files) if names else published


def _place(published: DatasetConfig, name: str) -> str:
    """The table, or the key of the file, that holds an annotation; "" if there is none."""
    kind, _, key = name.partition(":")
    if kind == "uns":
        return "uns"
    for axis, (of_user, of_elements) in TABLE_SLOTS.items():
        columns = (column.original for column in published.columns[axis].columns[1:])
        if kind == of_user:
            return axis if key in columns else ""
        if kind == of_elements:
            return _place_of_element(published, kind, key, axis)
    pairs = {slot: table for table, slot in PAIR_SLOTS.items()}
    return _place_of_element(published, kind, key, pairs[kind]) if kind in pairs else ""


def _place_of_element(published: DatasetConfig, slot: str, key: str, table: str) -> str:
    specs = (one for one in published.annotations.specs.get(slot, ()) if one.key == key)
    return next(("elements" if one.name is None else table for one in specs), "")


def _without(
    published: DatasetConfig, names: list[str], lost: set[str], files: set[str]
) -> DatasetConfig:
    record, annotated, digests = published.annotations, published.annotated, {}
    if annotated is not None:
        digests = dict(annotated.digests)
        annotated = structs.replace(annotated, computed=annotated.computed_but(names))
    slots = {
        slot: SlotRecord(kept) if (kept := tuple(_kept(slot, specs, names))) else None
        for slot, specs in record.specs.items()
    }
    columns = {
        axis: ColumnSet(
            tuple(
                column
                for at, column in enumerate(published.columns[axis].columns)
                if at == 0 or f"{of_user}:{column.original}" not in names
            ),
            published.columns[axis].index_name,
        )
        for axis, (of_user, _) in TABLE_SLOTS.items()
    }
    annotations = structs.replace(record, **slots, **dict.fromkeys(files))
    config = structs.replace(
        published, columns=columns, annotations=annotations, annotated=annotated
    )
    gone = {table for table in lost & PAIR_SLOTS.keys() if not config.has_record(table)}
    tables = {
        name: digests.get(name, digest) if name in lost else digest
        for name, digest in published.checksums.tables.items()
        if name not in gone
    }
    return structs.replace(
        config,
        tables={name: one for name, one in published.tables.items() if name not in gone},
        versions={name: one for name, one in published.versions.items() if name not in gone},
        checksums=structs.replace(published.checksums, tables=tables),
    )


def _kept(slot: str, specs: tuple[ElementSpec, ...], names: list[str]) -> Iterator[ElementSpec]:
    return (one for one in specs if f"{slot}:{one.key}" not in names)
