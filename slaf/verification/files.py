"""Check files of a dataset against the sizes and checksums recorded when they were written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from slaf.errors import StorageError
from slaf.format.files import etag_scope
from slaf.format.schema import (
    CELLS,
    EXPRESSION,
    GENES,
    partitioned_tables,
)
from slaf.options import Compression
from slaf.tables.read import data_files, index_names, manifest_name
from slaf.verification.rows import RowTable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slaf.dataset.dataset import Dataset
    from slaf.format.config import DatasetConfig
    from slaf.format.files import StoredFile
    from slaf.storage.location import Location
    from slaf.verification.report import DifferenceLog

__all__ = [
    "DamagedFile",
    "check_file_ranges",
    "check_files",
    "damaged_files",
    "describe_file",
    "n_files_without_checksum",
]

_VERSIONS = "/_versions/"

# Folders of Lance in a table, and the description of their files.
_FOLDERS = {
    "_versions": "the version of ",
    "_transactions": "the record of a commit of ",
    "_indices": "an index of ",
}


@dataclass(frozen=True, slots=True)
class DamagedFile:
    """A file that is missing or was changed.

    Attributes
    ----------
    file
        Its record in config.json.
    expected, found
        Its recorded and its actual size, checksum or tag, as text.
    """

    file: StoredFile
    expected: str
    found: str


def check_files(
    dataset: Dataset,
    differences: DifferenceLog,
    *,
    read: bool,
    share: tuple[int, int] = (0, 1),
) -> None:
    """Note each file that is missing or changed, with its table, cells and inputs.

    Parameters
    ----------
    dataset
        A published dataset.
    differences
        Collects damaged files.
    read
        Whether to read the files; otherwise only existence and sizes are checked.
    share
        The share of the files that is read, and the number of shares.
    """
    for damaged in damaged_files(dataset.location, dataset.published, read=read, share=share):
        where = f"{damaged.file.file} ({describe_file(dataset.published, damaged.file)})"
        differences.note("file", where, damaged.expected, damaged.found)


def check_file_ranges(dataset: Dataset, differences: DifferenceLog) -> None:
    """Check that files hold the rows of the cells, and have the schema, that config.json records.

    Parameters
    ----------
    dataset
        A dataset with correct files and offsets.
    differences
        Collects contradictions.
    """
    published = dataset.published
    recorded = {file.file: file for file in published.checksums.files}
    for name in (spec.name for spec in partitioned_tables(published.tables)):
        rows, start = RowTable.of(dataset, name), 0
        axis = rows.axis.name
        for fragment in rows.table.get_fragments():
            n_rows = fragment.count_rows()
            (file,) = fragment.data_files()
            path = f"{published.tables[name]}/data/{file.path}"
            record = recorded.get(path)
            cells = None if record is None else getattr(record, axis)
            if record is not None and cells is not None:
                row_range = start, start + n_rows
                differences.compare("config", f"{axis} of {path}", row_range, rows.rows_of(*cells))
                differences.compare("config", f"rows of {path}", n_rows, record.rows)
            start += n_rows
    _check_stored(dataset, differences)


def _check_stored(dataset: Dataset, differences: DifferenceLog) -> None:
    """Check `proof.tables` and `proof.stored` of config.json."""
    published, proof = dataset.published, dataset.published.checksums
    for name in (CELLS, GENES):
        if name not in proof.tables:
            differences.note("config", "proof.tables", f"a digest of {name}", "none")
    compressions, compression = get_args(Compression), proof.storage.compression
    if compression not in compressions:
        expected = " or ".join(compressions)
        differences.note("config", "proof.stored.compression", expected, compression)
        return
    manifest = f"{published.tables[EXPRESSION]}/{manifest_name(published.versions[EXPRESSION])}"
    if manifest not in {file.file for file in proof.files}:
        # A version of another program: its digests show differences.
        return
    for spec in partitioned_tables(published.tables):
        expected_schema = published.schema(spec.name)
        stored_schema = dataset.table(spec.name).schema
        if not stored_schema.equals(expected_schema, check_metadata=True):
            differences.note("config", "proof.stored", expected_schema, stored_schema)
            break
    if dataset.n_genes:
        is_indexed = "gene_id" in index_names(dataset.table(GENES))
        recorded = proof.storage.create_indices
        differences.compare("config", "proof.stored.create_indices", is_indexed, recorded)


def damaged_files(
    location: Location,
    published: DatasetConfig,
    *,
    read: bool = True,
    share: tuple[int, int] = (0, 1),
) -> Iterator[DamagedFile]:
    """Find files that differ from their records in config.json.

    In a bucket, a file that still has its recorded tag is not read.

    Parameters
    ----------
    location, published
        The dataset.
    read
        Whether to read the files; manifests are always read, because Lance may crash on damaged
        ones.
    share
        The share of the files that is read, and the number of shares.
    """
    proof = published.checksums
    if not proof.files:
        return
    sizes = location.sizes()
    has_tags = proof.etag_scope and proof.etag_scope == etag_scope(location)
    tags = location.etags() if has_tags else {}
    for position, file in enumerate(proof.files):
        is_shared = read and position % share[1] == share[0]
        size = sizes.get(file.file)
        if size is None:
            yield DamagedFile(file, "a file", "nothing")
        elif size != file.bytes:
            yield DamagedFile(file, f"{file.bytes} bytes", f"{size} bytes")
        elif file.etag and has_tags:
            if tags.get(file.file) != file.etag:
                yield DamagedFile(file, f"tag {file.etag}", f"tag {tags.get(file.file)}")
        elif file.digest and (is_shared or _VERSIONS in file.file):
            expected, actual = f"checksum {file.digest}", _checksum(location, file.file)
            if actual != expected:
                yield DamagedFile(file, expected, actual)


def n_files_without_checksum(dataset: Dataset) -> int:
    """Number of data files without a record in config.json."""
    recorded = {file.file for file in dataset.published.checksums.files}
    return sum(
        f"{directory}/{file}" not in recorded
        for name, directory in dataset.published.tables.items()
        for file, _ in data_files(dataset.table(name))
    )


def describe_file(published: DatasetConfig, file: StoredFile) -> str:
    """Describe the content of a file: table, cells or genes, blocks and inputs."""
    for name, directory in published.tables.items():
        if file.file.startswith(f"{directory}/"):
            folder = file.file.removeprefix(f"{directory}/").split("/", 1)[0]
            return f"{_FOLDERS.get(folder, '')}{name}{_describe_rows(published, file)}"
    record = published.annotations
    descriptions = {
        uns.file: f"uns of {source.uri}"
        for uns, source in zip(record.uns_per_source, published.sources, strict=False)
        if uns is not None
    }
    if record.uns is not None:
        descriptions[record.uns.file] = "uns"
    if record.elements is not None:
        descriptions[record.elements.file] = "elements that no table holds"
    return descriptions.get(file.file, "uns, to be read by people")


def _describe_rows(published: DatasetConfig, file: StoredFile) -> str:
    if file.genes is not None:
        return f", genes {file.genes[0]} to {file.genes[1]}"
    if file.cells is None:
        return ""
    start, stop = file.cells
    blocks = [
        str(number)
        for number, block in enumerate(published.blocks)
        if start <= block.start and block.stop <= stop
    ]
    numbers = " to ".join(dict.fromkeys((*blocks[:1], *blocks[-1:])))
    sources = [
        source.uri
        for source in published.sources
        if source.offset < stop and start < source.offset + source.n_cells
    ]
    plural = "s" if len(blocks) > 1 else ""
    return f", cells {start} to {stop}, block{plural} {numbers}, of {', '.join(sources)}"


def _checksum(location: Location, file: str) -> str:
    try:
        return f"checksum {location.digest(file)}"
    except StorageError as error:
        return str(error)
