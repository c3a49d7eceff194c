"""Bytes of a dataset by table, column and fragment."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from slaf.errors import DamagedDataset
from slaf.format.schema import CELLS, GENES, LAYERS
from slaf.reports.contents import ColumnBytes, FragmentBytes, TableBytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slaf.dataset.dataset import Dataset

__all__ = ["table_bytes"]


def table_bytes(dataset: Dataset) -> Iterator[TableBytes]:
    """The bytes of each table; of a damaged one those of its columns are left out."""
    from slaf.tables.read import column_bytes

    published = dataset.published
    for name, directory in published.tables.items():
        columns: dict[str, int] = {}
        with suppress(DamagedDataset):
            columns = column_bytes(dataset.location, directory, published.versions[name])
        names = _original_names(dataset, name)
        files = published.checksums.of(directory)
        yield TableBytes(
            name,
            published.versions[name],
            dataset.location.size(directory),
            tuple(ColumnBytes(names.get(each, each), size) for each, size in columns.items()),
            tuple(
                FragmentBytes(file.file, file.rows, file.bytes)
                for file in files
                if "/data/" in file.file
            ),
        )


def _original_names(dataset: Dataset, table: str) -> dict[str, str]:
    """The user's names of columns that have another in the table."""
    if table == LAYERS:
        return {record.name: name for name, record in dataset.annotations.layers.items()}
    if table not in (CELLS, GENES):
        return {}
    columns = dataset.published.columns[table].columns
    return {each.name: each.original for each in columns if each.original is not None}
