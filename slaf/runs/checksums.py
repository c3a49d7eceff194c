"""By what the files of a run, and the tables that it writes whole, will be known again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from slaf.errors import DamagedDataset
from slaf.format.digests import table_digest
from slaf.format.files import FileChecksums, StoredFile, etag_scope
from slaf.tables.read import files_of

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    import pyarrow as pa

    from slaf.format.config import DatasetConfig
    from slaf.format.files import StorageOptions
    from slaf.runs.checkpoint import Checkpoint
    from slaf.runs.plan import Options
    from slaf.sparse.ranges import RowRange
    from slaf.storage.location import Location
    from slaf.tables.fragments import Fragment

__all__ = [
    "add_checksums",
    "file_checksums",
    "files_without_checksum",
    "storage_options_record",
    "table_digests",
    "valid_here",
    "with_checksums",
    "with_uns_json_checksum",
]


def file_checksums(
    location: Location,
    directory: str,
    fragments: Sequence[Fragment],
    cells: RowRange | None = None,
    *,
    genes: RowRange | None = None,
) -> tuple[StoredFile, ...]:
    """The files of fragments that were written this moment, and are still in memory.

    Parameters
    ----------
    location, directory
        The table.
    fragments
        As `slaf.tables.write.write_part` gives them.
    cells, genes
        Those whose rows they hold: of one of both.
    """
    of_cells = None if cells is None else (cells.start, cells.stop)
    of_genes = None if genes is None else (genes.start, genes.stop)
    found = []
    for fragment in fragments:
        for path in fragment.paths:
            stored = _stored(location, f"{directory}/{path}")
            found.append(replace(stored, cells=of_cells, genes=of_genes, rows=fragment.rows))
    return tuple(found)


def table_digests(tables: Mapping[str, pa.Table]) -> dict[str, str]:
    """The digest of each table that is written whole."""
    return {name: table_digest(table) for name, table in tables.items()}


def with_checksums(
    location: Location,
    checkpoint: Checkpoint,
    published: DatasetConfig,
    before: DatasetConfig | None,
    digests: Mapping[str, str],
) -> DatasetConfig:
    """What a run publishes, with its proof.

    Parameters
    ----------
    location, checkpoint
        The run, whose tables are committed.
    published
        What it publishes.
    before
        What readers see until now.
    digests
        Of the tables that it wrote whole.
    """
    results = checkpoint.results()
    files = [one for result in results for one in result.files]
    files += [o for result in results for c in result.companions.values() for o in c.files]
    files += [one for part in checkpoint.by_gene for one in part.files]
    appends = before is not None and checkpoint.plan.base is not None
    without: Container[str] = ()
    if before is not None and appends:
        files += valid_here(location, before.proof)
        without = files_without_checksum(location, before)
        digests = {**before.proof.tables, **digests}
    digests = {name: digest for name, digest in digests.items() if name in published.tables}
    said = FileChecksums((), digests, storage_options_record(checkpoint.plan.options))
    return add_checksums(location, published, files, without, said)


def add_checksums(
    location: Location,
    published: DatasetConfig,
    known: Iterable[StoredFile],
    without: Container[str],
    said: FileChecksums,
) -> DatasetConfig:
    """What is published, with a proof of the files that make it; reads those not known yet.

    Parameters
    ----------
    location
        The dataset, whose tables are committed.
    published
        What is to be published.
    known
        Files that were looked at when they were written.
    without
        Those that were not: what has become of them since, nobody can tell.
    said
        What else the proof says: the digests of tables, and how they are stored.
    """
    have = {one.file: one for one in known}
    names = [
        f"{directory}/{file}"
        for table, directory in published.tables.items()
        for file in files_of(location, directory, published.versions[table])
    ]
    names += [record.file for record in published.annotations.files]
    files = [
        have.get(name) or _stored(location, name)
        for name in names
        if name in have or name not in without
    ]
    proof = replace(said, files=tuple(files), place=etag_scope(location))
    return replace(published, proof=proof)


def valid_here(location: Location, proof: FileChecksums) -> list[StoredFile]:
    """The files of a proof that can be known again here.

    Those that have nothing but a tag cannot, once the dataset was copied from where they got it.
    """
    if proof.place == etag_scope(location):
        return list(proof.files)
    return [replace(one, etag="") for one in proof.files if one.digest]


def files_without_checksum(
    location: Location, published: DatasetConfig, unopened: Container[str] = ()
) -> frozenset[str]:
    """The files of a dataset that it has no proof of; of tables that do not open, none."""
    known = {one.file for one in valid_here(location, published.proof)}
    return frozenset(
        name
        for table, directory in published.tables.items()
        if table not in unopened
        for file in files_of(location, directory, published.versions[table])
        if (name := f"{directory}/{file}") not in known
    )


def storage_options_record(options: Options) -> StorageOptions:
    """How tables are stored that were written with these options."""
    return {
        "compression": str(options.compression),
        "plain_types": options.plain_types,
        "create_indices": options.create_indices,
    }


def with_uns_json_checksum(
    location: Location, published: DatasetConfig, name: str
) -> DatasetConfig:
    """What is published, once the file that people read is there too, or is not any more."""
    proof = published.proof
    if not proof.files:
        return published
    files = [one for one in proof.files if one.file != name]
    if location.size_of(name) is not None:
        files.append(_stored(location, name))
    return replace(published, proof=replace(proof, files=tuple(files)))


def _stored(location: Location, name: str) -> StoredFile:
    """A file as it is now.

    Raises
    ------
    DamagedDataset
        If it is gone.
    """
    mark = location.mark(name)
    if mark is None:
        msg = f"{location}: {name} is gone; run the same command again"
        raise DamagedDataset(msg)
    return StoredFile(name, mark.bytes, mark.digest, mark.etag)
