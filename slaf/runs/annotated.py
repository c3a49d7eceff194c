"""The tables and files of a dataset without what it was annotated with, and their digests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xxhash
from msgspec import structs

from slaf.annotations.arrays import pairs_to_table
from slaf.annotations.uns import write_elements
from slaf.dataset.dataset import Dataset
from slaf.format.digests import table_digest
from slaf.format.schema import CELLS, GENES, pair_table
from slaf.options import RAW_VARM

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    import pyarrow as pa

    from slaf.annotations.arrays import ElementSpec
    from slaf.annotations.columns import ColumnSet
    from slaf.format.config import DatasetConfig
    from slaf.format.records import AnnotatedRecord
    from slaf.storage.location import Location

__all__ = [
    "PAIR_SLOTS",
    "TABLE_SLOTS",
    "elements_without",
    "table_without",
    "with_annotated_digests",
]

# The slots whose columns are in a table.
TABLE_SLOTS = {CELLS: ("obs", "obsm"), GENES: ("var", "varm")}
PAIR_SLOTS = {pair_table(slot).name: slot for slot in ("obsp", "varp")}
_ELEMENT_SLOTS = ("obsm", "varm", "obsp", "varp", RAW_VARM)


def table_without(
    name: str,
    table: pa.Table,
    columns: ColumnSet,
    specs: Mapping[str, tuple[ElementSpec, ...]],
    names: Container[str],
) -> pa.Table:
    """`cells` or `genes` without some columns and elements.

    Parameters
    ----------
    name, table
        The table.
    columns
        The record of its columns of obs or var.
    specs
        The records of the elements of each slot.
    names
        The names to leave out: "obs:NAME", "obsm:KEY", ….
    """
    of_user, of_elements = TABLE_SLOTS[name]
    dropped = [one.name for one in columns.columns[1:] if f"{of_user}:{one.original}" in names]
    dropped += [
        one.name
        for one in specs.get(of_elements, ())
        if one.name is not None and f"{of_elements}:{one.key}" in names
    ]
    return table.drop_columns([one for one in dropped if one in table.column_names])


def elements_without(
    elements: Mapping[str, Mapping[str, Any]], names: Container[str]
) -> dict[str, dict[str, Any]]:
    """The elements of each slot but those of some names; no slot without elements."""
    kept = {
        slot: {key: one for key, one in of_slot.items() if f"{slot}:{key}" not in names}
        for slot, of_slot in elements.items()
    }
    return {slot: of_slot for slot, of_slot in kept.items() if of_slot}


def with_annotated_digests(
    location: Location, published: DatasetConfig, record: AnnotatedRecord
) -> DatasetConfig:
    """A dataset, committed but not published, with the record of what it was annotated with."""
    digests = _digests_without(Dataset(location, published), record.names)
    return structs.replace(published, annotated=structs.replace(record, digests=digests))


def _digests_without(dataset: Dataset, names: Container[str]) -> dict[str, str]:
    """The digests of the tables and files that hold some of these names, without them.

    A file or a table of pairs that would not be there has no digest.
    """
    published, annotations = dataset.published, dataset.annotations
    record = annotations.record
    digests = {}
    for name in TABLE_SLOTS:
        table = annotations.read_columns(name)
        kept = table_without(name, table, published.columns[name], record.specs, names)
        if kept.num_columns < table.num_columns:
            digests[name] = table_digest(kept)
    for name, slot in PAIR_SLOTS.items():
        pairs = {one.key for one in record.specs.get(slot, ()) if one.name is not None}
        kept_pairs = {key for key in pairs if f"{slot}:{key}" not in names}
        if kept_pairs and kept_pairs < pairs:
            elements = annotations.slot(slot)
            n = published.n_cells if slot == "obsp" else published.n_genes
            ordered = {key: elements[key] for key in elements if key in kept_pairs}
            made, _ = pairs_to_table(ordered, n, pair_table(slot).ids)
            if made is not None:
                types = annotations.table(name).schema
                ids = [types.field(each) for each in pair_table(slot).ids]
                digests[name] = table_digest(_with_types(made, ids))
    for key, content in (("uns", {"uns": annotations.uns}), ("elements", annotations.elements)):
        kept_elements = elements_without(content, names)
        n_kept = sum(map(len, kept_elements.values()))
        if kept_elements and n_kept < sum(map(len, content.values())):
            digests[key] = xxhash.xxh3_128_hexdigest(write_elements(kept_elements)[0])
    return digests


def _with_types(table: pa.Table, fields: list[pa.Field]) -> pa.Table:
    for at, field in enumerate(fields):
        table = table.set_column(at, field.name, table.column(at).cast(field.type))
    return table
