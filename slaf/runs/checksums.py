"""Checksums of the files that a run wrote, and digests of the tables that it writes whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from slaf.errors import DamagedDataset
from slaf.format.digests import table_digest
from slaf.format.files import FileChecksums, StorageOptions, StoredFile, etag_scope
from slaf.tables.read import files_of

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Mapping, Sequence

    from slaf.annotations.lazy_table import AnyTable
    from slaf.format.config import DatasetConfig
    from slaf.format.schema import Axis
    from slaf.runs.plan import Plan
    from slaf.sparse.ranges import RowRange
    from slaf.storage.location import Location
    from slaf.tables.fragments import Fragment

__all__ = [
    "file_checksums",
    "storage_options_record",
    "table_digests",
    "with_checksums",
    "with_uns_json_checksum",
]


def file_checksums(
    location: Location,
    directory: str,
    fragments: Sequence[Fragment],
    axis: Axis,
    rows: RowRange,
) -> tuple[StoredFile, ...]:
    """The files of fragments that were written this moment, and are still in memory.

    Parameters
    ----------
    location, directory
        The table.
    fragments
        As `slaf.tables.write.write_part` gives them.
    axis, rows
        The cells or genes whose rows they hold.
    """
    row_range = {axis.name: (rows.start, rows.stop)}
    return tuple(
        replace(_stored(location, f"{directory}/{path}"), **row_range, rows=fragment.rows)
        for fragment in fragments
        for path in fragment.paths
    )


def table_digests(tables: Mapping[str, AnyTable]) -> dict[str, str]:
    """The digest of each table that is written whole."""
    return {name: table_digest(table) for name, table in tables.items()}


def with_checksums(
    location: Location,
    published: DatasetConfig,
    written: Iterable[StoredFile],
    checksums: FileChecksums,
    *,
    base: DatasetConfig | None = None,
    damaged: Collection[str] = (),
) -> DatasetConfig:
    """A dataset with the checksums of the files that make it; reads those not known yet.

    Parameters
    ----------
    location
        The dataset, whose tables are committed.
    published
        What is to be published.
    written
        Files whose checksums were taken when they were written.
    checksums
        The digests of tables, and how they are stored.
    base
        The dataset that was changed, whose files keep their checksums. A file of it that has none
        gets none: nobody can tell what has become of it since it was written.
    damaged
        Files of the base that are not what was written.
    """
    without: Container[str] = ()
    files = list(written)
    if base is not None:
        recorded = _valid_here(location, base.checksums)
        files = [*(one for one in recorded if one.file not in damaged), *files]
        without = _files_without_checksum(location, base, damaged)
        checksums = replace(checksums, tables={**base.checksums.tables, **checksums.tables})
    by_name = {stored.file: stored for stored in files}
    names = [
        f"{directory}/{file}"
        for table, directory in published.tables.items()
        for file in files_of(location, directory, published.versions[table])
    ]
    names += [record.file for record in published.annotations.files]
    stored = [
        by_name.get(name) or _stored(location, name)
        for name in names
        if name in by_name or name not in without
    ]
    tables = {name: one for name, one in checksums.tables.items() if name in published.tables}
    proof = replace(checksums, files=tuple(stored), etag_scope=etag_scope(location), tables=tables)
    return replace(published, checksums=proof)


def _valid_here(location: Location, proof: FileChecksums) -> list[StoredFile]:
    """The files of a proof that can be known again here.

    Those that have nothing but a tag cannot, once the dataset was copied from where they got it.
    """
    if proof.etag_scope == etag_scope(location):
        return list(proof.files)
    return [replace(one, etag="") for one in proof.files if one.digest]


def _files_without_checksum(
    location: Location, published: DatasetConfig, damaged: Collection[str] = ()
) -> frozenset[str]:
    """The files of a dataset that have no checksum; of a table whose version is damaged, none."""
    recorded = {stored.file for stored in _valid_here(location, published.checksums)}
    return frozenset(
        name
        for table, directory in published.tables.items()
        if not any(file.startswith(f"{directory}/_versions/") for file in damaged)
        for file in files_of(location, directory, published.versions[table])
        if (name := f"{directory}/{file}") not in recorded
    )


def storage_options_record(plan: Plan) -> StorageOptions:
    """How the tables are stored that a plan writes."""
    return StorageOptions(
        compression=plan.options.compression,
        plain_types=plan.options.plain_types,
        create_indices=plan.options.create_indices,
        gene_encodings={
            table.table: table.gene_encoding for table in plan.matrix_tables if table.gene_encoding
        },
    )


def with_uns_json_checksum(
    location: Location, published: DatasetConfig, name: str
) -> DatasetConfig:
    """The published dataset with the checksum of uns.json, which was written or removed."""
    proof = published.checksums
    if not proof.files:
        return published
    files = [one for one in proof.files if one.file != name]
    if location.size_of(name) is not None:
        files.append(_stored(location, name))
    return replace(published, checksums=replace(proof, files=tuple(files)))


def _stored(location: Location, name: str) -> StoredFile:
    """A file as it is now.

    Raises
    ------
    DamagedDataset
        If it is gone.
    """
    mark = location.stat(name)
    if mark is None:
        msg = f"{location}: {name} is gone; run the same command again"
        raise DamagedDataset(msg)
    return StoredFile(name, mark.bytes, mark.digest, mark.etag)
