"""Open and read Lance tables at a version."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

import lance
import pyarrow as pa
from lance.file import LanceFileReader

from slaf.errors import DamagedDataset
from slaf.runtime.forks import check_not_forked
from slaf.tables.errors import changed_since, read_errors, translated_errors
from slaf.tables.fragments import Fragment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from slaf.storage.location import Location

__all__ = [
    "LanceTable",
    "column_bytes",
    "data_files",
    "files_of",
    "fragments_of",
    "index_names",
    "manifest_name",
    "newest_version",
    "open_table",
    "read_file",
    "read_table",
    "read_where",
    "stream_columns",
    "take_rows",
]

# Type of an open table, so that no other package imports lance.
LanceTable: TypeAlias = lance.LanceDataset

# Names of manifests count down from here, so that the newest is listed first.
_LAST_VERSION = 2**64 - 1


def open_table(location: Location, name: str, version: int) -> lance.LanceDataset:
    """Open a table at a version.

    Raises
    ------
    DamagedDataset
        If the table or the version does not exist.
    """
    check_not_forked()
    uri, options = location.uri(name), location.storage_options

    def cannot_open(text: str) -> DamagedDataset:
        failure = f"{location}: version {version} of {name} cannot be opened ({text})"
        return DamagedDataset(failure + changed_since(uri, version, options))

    with translated_errors(uri, cannot_open):
        return lance.dataset(uri, version=version, storage_options=options)


def newest_version(location: Location, name: str) -> int:
    """Number of the newest version of a table.

    Raises
    ------
    DamagedDataset
        If the table does not exist.
    """
    uri = location.uri(name)
    with translated_errors(
        uri, lambda text: DamagedDataset(f"{location}: {name} cannot be opened ({text})")
    ):
        return int(lance.dataset(uri, storage_options=location.storage_options).version)


def read_table(table: lance.LanceDataset, columns: Sequence[str] | None = None) -> pa.Table:
    """Read all rows of a table that fits in memory, in some columns or all.

    Raises
    ------
    DamagedDataset
        If they cannot be read.
    """
    check_not_forked()
    with read_errors(table.uri, table=table):
        return table.to_table(None if columns is None else list(columns))


def stream_columns(table: lance.LanceDataset, columns: Sequence[str]) -> pa.RecordBatchReader:
    """Read columns of all rows in order, as a stream.

    Raises
    ------
    DamagedDataset
        While they are read, if they cannot be.
    """
    schema = pa.schema([table.schema.field(name) for name in columns])

    def batches() -> Iterator[pa.RecordBatch]:
        check_not_forked()
        with read_errors(table.uri, table=table):
            yield from table.scanner(columns=list(columns), scan_in_order=True).to_batches()

    return pa.RecordBatchReader.from_batches(schema, batches())


def read_where(table: lance.LanceDataset, columns: Sequence[str], condition: str) -> pa.Table:
    """Read the rows that satisfy a condition of Lance, which uses the indices of the table.

    Raises
    ------
    DamagedDataset
        If they cannot be read.
    """
    check_not_forked()
    with read_errors(table.uri, table=table):
        return table.to_table(list(columns), filter=condition)


def take_rows(
    table: lance.LanceDataset, offsets: NDArray[np.int64], columns: Sequence[str]
) -> pa.Table:
    """Read the rows at some offsets, in the order of the offsets.

    Raises
    ------
    DamagedDataset
        If they cannot be read.
    """
    check_not_forked()
    with read_errors(table.uri, f"{len(offsets):,} rows cannot be read", table):
        # pylance iterates over its argument: making a list first takes half as long as reading,
        # and iterating over an Arrow array three times as long as over a memoryview.
        return table.take(memoryview(offsets), columns=list(columns))  # type: ignore[arg-type]


def index_names(table: lance.LanceDataset) -> set[str]:
    """Columns that have an index."""
    return {column for index in table.describe_indices() for column in index.field_names}


def data_files(table: lance.LanceDataset) -> Iterator[tuple[str, int | None]]:
    """Data files of a table, relative to its directory, with the bytes that each must have."""
    for fragment in table.get_fragments():
        for file in fragment.data_files():
            yield f"data/{file.path}", file.file_size_bytes


def fragments_of(location: Location, name: str, version: int) -> list[Fragment]:
    """Fragments of a version of a table, in order.

    Raises
    ------
    DamagedDataset
        If the version cannot be opened.
    """
    table = open_table(location, name, version)
    return [Fragment(part.metadata.to_json()) for part in table.get_fragments()]


def read_file(location: Location, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read the rows of one data file, whether or not a version of a table names it.

    Raises
    ------
    DamagedDataset
        If it cannot be read.
    """
    uri = location.uri(name)
    chosen = None if columns is None else list(columns)
    with read_errors(uri):
        reader = LanceFileReader(uri, storage_options=location.storage_options, columns=chosen)
        return reader.read_all().to_table()


def manifest_name(version: int) -> str:
    """Path of the manifest of a version, relative to the directory of its table."""
    return f"_versions/{_LAST_VERSION - version:020}.manifest"


def files_of(location: Location, name: str, version: int) -> list[str]:
    """All files of a version of a table, relative to its directory.

    The hint at the newest version is not among them: every commit replaces it, also one that is
    never published, and Lance does not rely on it.

    Raises
    ------
    DamagedDataset
        If the version cannot be opened.
    """
    table = open_table(location, name, version)
    files = [*(file for file, _ in data_files(table)), manifest_name(version)]
    with read_errors(table.uri, "its files cannot be listed", table):
        transaction = table.read_transaction(version)
        segments = [part.uuid for index in table.describe_indices() for part in index.segments]
    if transaction is not None:
        files.append(f"_transactions/{transaction.read_version}-{transaction.uuid}.txn")
    for uuid in segments:
        listed = location.list(f"{name}/_indices/{uuid}")
        files += [file.removeprefix(f"{name}/") for file in listed]
    return files


def column_bytes(location: Location, name: str, version: int) -> dict[str, int]:
    """Bytes of each column of a version of a table, by the footers of its data files.

    A file in which columns and fields do not correspond, as in those of Lance 2.0 with nested
    types, counts for none.

    Raises
    ------
    DamagedDataset
        If a file cannot be read.
    """
    sizes: dict[str, int] = {}
    for file, _ in data_files(open_table(location, name, version)):
        uri = location.uri(f"{name}/{file}")
        with read_errors(uri):
            reader = LanceFileReader(uri, storage_options=location.storage_options)
            stored = [column.size_bytes for column in reader.file_statistics().columns]
            schema = reader.metadata().schema
        leaves = [_leaves(field.type) for field in schema]
        if sum(leaves) != len(stored):
            continue
        following = iter(stored)
        for field, n in zip(schema, leaves, strict=True):
            sizes[field.name] = sizes.get(field.name, 0) + sum(islice(following, n))
    return sizes


def _leaves(dtype: pa.DataType) -> int:
    """The number of columns of a file in which values of a type are stored."""
    if pa.types.is_struct(dtype):
        return sum(_leaves(dtype.field(at).type) for at in range(dtype.num_fields))
    is_list = pa.types.is_list(dtype) or pa.types.is_large_list(dtype)
    return _leaves(dtype.value_type) if is_list else 1
