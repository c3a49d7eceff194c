"""Reading Lance tables at a pinned version."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import lance
from lance.file import LanceFileReader

from slaf.errors import DamagedDataset, SlafError
from slaf.storage.errors import safe_cause, translate_lance_error
from slaf.storage.urls import redacted
from slaf.tables.fragments import Fragment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.storage.location import Location

__all__ = [
    "LANCE_ERRORS",
    "LanceTable",
    "data_files",
    "files_of",
    "fragments_of",
    "index_names",
    "manifest_name",
    "newest_version",
    "open_table",
    "read_file",
    "read_table",
    "take_rows",
    "unreadable_file",
]

# The type of an open table, so that no other package imports lance.
LanceTable: TypeAlias = lance.LanceDataset


# What Lance raises: for one page that is damaged the one, for another page the other.
LANCE_ERRORS = (OSError, ValueError, RuntimeError)
# The name of a version's file counts down from here, so that the newest is listed first.
_LAST_VERSION = 2**64 - 1


def open_table(location: Location, name: str, version: int) -> lance.LanceDataset:
    """A table as of a version.

    Raises
    ------
    DamagedDataset
        If the table, or that version of it, is not there.
    """
    try:
        return lance.dataset(
            location.uri(name), version=version, storage_options=location.storage_options
        )
    except LANCE_ERRORS as error:
        raise translate_lance_error(
            location.uri(name),
            error,
            lambda text: DamagedDataset(
                f"{location}: version {version} of {name} cannot be opened ({text})"
                + _since(location.uri(name), version, location.storage_options)
            ),
        ) from safe_cause(location.uri(name), error)


def newest_version(location: Location, name: str) -> int:
    """The newest version of a table.

    Raises
    ------
    DamagedDataset
        If the table is not there.
    """
    try:
        return int(
            lance.dataset(location.uri(name), storage_options=location.storage_options).version
        )
    except LANCE_ERRORS as error:
        raise translate_lance_error(
            location.uri(name),
            error,
            lambda text: DamagedDataset(f"{location}: {name} cannot be opened ({text})"),
        ) from safe_cause(location.uri(name), error)


def read_table(table: lance.LanceDataset, columns: Sequence[str] | None = None) -> pa.Table:
    """All rows of a table that fits in memory; of all columns, or of these.

    Raises
    ------
    DamagedDataset
        If they cannot be read.
    """
    try:
        return table.to_table(None if columns is None else list(columns))
    except LANCE_ERRORS as error:
        raise _unreadable(table, "cannot be read", error) from safe_cause(table.uri, error)


def take_rows(
    table: lance.LanceDataset, offsets: NDArray[np.int64], columns: Sequence[str]
) -> pa.Table:
    """The rows at these offsets, in this order.

    Raises
    ------
    DamagedDataset
        If they cannot be read.
    """
    try:
        # Of a view of them pylance takes one number after the other; a list would first have to be
        # made of all, half as long as reading takes, and an Arrow array is three times slower.
        return table.take(memoryview(offsets), columns=list(columns))  # type: ignore[arg-type]
    except LANCE_ERRORS as error:
        raise _unreadable(table, f"{len(offsets):,} rows cannot be read", error) from safe_cause(
            table.uri, error
        )


def index_names(table: lance.LanceDataset) -> set[str]:
    """The columns that have an index."""
    return {column for found in table.describe_indices() for column in found.field_names}


def data_files(table: lance.LanceDataset) -> Iterator[tuple[str, int | None]]:
    """The files that hold a table's rows, below its directory, and the bytes each must have."""
    for fragment in table.get_fragments():
        for file in fragment.data_files():
            yield f"data/{file.path}", file.file_size_bytes


def fragments_of(location: Location, name: str, version: int) -> list[Fragment]:
    """The fragments of a version of a table, in order.

    Raises
    ------
    DamagedDataset
        If the version cannot be opened.
    """
    table = open_table(location, name, version)
    return [Fragment(one.metadata.to_json()) for one in table.get_fragments()]


def read_file(location: Location, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of one data file, which no version of a table need name.

    Raises
    ------
    DamagedDataset
        If it cannot be read.
    """
    uri = location.uri(name)
    chosen = None if columns is None else list(columns)
    try:
        reader = LanceFileReader(uri, storage_options=location.storage_options, columns=chosen)
        return reader.read_all().to_table()
    except LANCE_ERRORS as error:
        raise unreadable_file(uri, "cannot be read", error) from safe_cause(uri, error)


def manifest_name(version: int) -> str:
    """The file of a version, below the directory of its table."""
    return f"_versions/{_LAST_VERSION - version:020}.manifest"


def files_of(location: Location, name: str, version: int) -> list[str]:
    """All files that make a version of a table, below its directory.

    Not the hint at the newest version: Lance holds it for nothing more, and every commit, be it
    one that is never published, replaces it.

    Raises
    ------
    DamagedDataset
        If the version cannot be opened.
    """
    table = open_table(location, name, version)
    files = [file for file, _ in data_files(table)]
    files.append(manifest_name(version))
    try:
        record = table.read_transaction(version)
        if record is not None:
            files.append(f"_transactions/{record.read_version}-{record.uuid}.txn")
        segments = [one.uuid for found in table.describe_indices() for one in found.segments]
    except LANCE_ERRORS as error:
        raise _unreadable(table, "its files cannot be listed", error) from safe_cause(
            table.uri, error
        )
    for uuid in segments:
        listed = location.list(f"{name}/_indices/{uuid}")
        files += [file.removeprefix(f"{name}/") for file in listed]
    return files


def unreadable_file(
    uri: str, what: str, error: Exception, table: lance.LanceDataset | None = None
) -> SlafError:
    """An error of ours for what Lance says of a data file.

    Parameters
    ----------
    uri
        The file.
    what
        What cannot be done.
    error
        What Lance raised.
    table
        The table at the version that names the file.
    """
    since = "" if table is None else _since(table.uri, table.version)
    return translate_lance_error(
        uri, error, lambda text: DamagedDataset(f"{redacted(uri)}: {what} ({text}){since}")
    )


def _unreadable(table: lance.LanceDataset, what: str, error: Exception) -> SlafError:
    return unreadable_file(table.uri, what, error, table)


def _since(uri: str, version: int, options: dict[str, str] | None = None) -> str:
    """What else may be the matter with a version, if it is not the newest of its table."""
    try:
        newest = lance.dataset(uri, storage_options=options).version
    except LANCE_ERRORS:
        return ""
    return "" if newest <= version else "; if it was written to since it was opened, open it anew"
