"""Hold every file of a dataset against what was noted of it when it was written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np

from slaf.errors import StorageError
from slaf.format.files import etag_scope
from slaf.format.schema import (
    CELLS,
    EXPRESSION,
    GENES,
    VALUE,
    partitioned_tables,
    table_schema,
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
    "unknown_files",
]

_VERSIONS = "/_versions/"


@dataclass(frozen=True, slots=True)
class DamagedFile:
    """A file that is not what was written.

    Attributes
    ----------
    file
        What was written.
    expected, found
        In what they differ.
    """

    file: StoredFile
    expected: str
    found: str


def check_files(dataset: Dataset, findings: DifferenceLog, *, read: bool) -> None:
    """Note each file that is gone or changed, with the table, the cells and the inputs it holds.

    Parameters
    ----------
    dataset
        Any published dataset.
    findings
        Takes what is damaged.
    read
        Whether to read the files; else only those that are gone, or of another size, are found.
    """
    for damaged in damaged_files(dataset.location, dataset.published, read=read):
        where = f"{damaged.file.file} ({describe_file(dataset.published, damaged.file)})"
        findings.note("file", where, damaged.expected, damaged.found)


def check_file_ranges(dataset: Dataset, findings: DifferenceLog) -> None:
    """Check that files hold the rows of the cells that config.json says, stored as it says.

    Parameters
    ----------
    dataset
        Whose files and offsets are known to be right.
    findings
        Takes what contradicts.
    """
    published = dataset.published
    known = {one.file: one for one in published.proof.files}
    for name in (spec.name for spec in partitioned_tables(published.tables)):
        ordered, first = RowTable.of(dataset, name), 0
        axis = ordered.axis
        for fragment in ordered.table.get_fragments():
            rows = fragment.count_rows()
            (file,) = (one.path for one in fragment.data_files())
            path = f"{published.tables[name]}/data/{file}"
            one = known.get(path)
            held = None if one is None else getattr(one, axis.name)
            if one is not None and held is not None:
                there = ordered.rows_of(*held)
                findings.compare("config", f"{axis.name} of {path}", (first, first + rows), there)
                findings.compare("config", f"rows of {path}", rows, one.rows)
            first += rows
    _check_stored(dataset, findings)


def _check_stored(dataset: Dataset, findings: DifferenceLog) -> None:
    proof = dataset.published.proof
    for name in (CELLS, GENES):
        if name not in proof.tables:
            findings.note("config", "proof.tables", f"a digest of {name}", "none")
    compressions = get_args(Compression)
    if proof.stored["compression"] not in compressions:
        found = proof.stored["compression"]
        findings.note("config", "proof.stored.compression", " or ".join(compressions), found)
        return
    published = dataset.published
    version = manifest_name(published.versions[EXPRESSION])
    if f"{published.tables[EXPRESSION]}/{version}" not in {one.file for one in proof.files}:
        # Another program's version: what is wrong with it, the digests say.
        return
    options = published.store_options
    types = {VALUE: np.dtype(published.value_type)}
    for spec in partitioned_tables(published.tables):
        if EXPRESSION in {spec.name, spec.copies}:
            expected = table_schema(spec.name, types, dataset.n_genes, options)
            schema = dataset.table(spec.name).schema
            if not schema.equals(expected, check_metadata=True):
                findings.note("config", "proof.stored", expected, schema)
    if dataset.n_genes:
        indexed = "gene_id" in index_names(dataset.table(GENES))
        wanted = proof.stored["create_indices"]
        findings.compare("config", "proof.stored.create_indices", indexed, wanted)


def damaged_files(
    location: Location, published: DatasetConfig, *, read: bool = True
) -> Iterator[DamagedFile]:
    """The files that are not what config.json says was written.

    In a bucket a file that still has the tag which it was given is not read.

    Parameters
    ----------
    location, published
        The dataset.
    read
        Whether to read the files; those that say what a version is are read in any case, for
        Lance may break down over what is damaged in them.
    """
    proof = published.proof
    if not proof.files:
        return
    sizes = location.sizes()
    here = proof.place and proof.place == etag_scope(location)
    tags = location.etags() if here else {}
    for file in proof.files:
        size = sizes.get(file.file)
        if size is None:
            yield DamagedFile(file, "a file", "nothing")
        elif size != file.bytes:
            yield DamagedFile(file, f"{file.bytes} bytes", f"{size} bytes")
        elif file.etag and here:
            if tags.get(file.file) != file.etag:
                yield DamagedFile(file, f"tag {file.etag}", f"tag {tags.get(file.file)}")
        elif file.digest and (read or _VERSIONS in file.file):
            expected, found = f"checksum {file.digest}", _digest(location, file.file)
            if found != expected:
                yield DamagedFile(file, expected, found)


def unknown_files(dataset: Dataset) -> int:
    """How many files with rows there are of which nothing was noted when they were written."""
    known = {file.file for file in dataset.published.proof.files}
    return sum(
        f"{directory}/{file}" not in known
        for name, directory in dataset.published.tables.items()
        for file, _ in data_files(dataset.table(name))
    )


def describe_file(published: DatasetConfig, file: StoredFile) -> str:
    """What of a dataset is in a file, in words."""
    for name, directory in published.tables.items():
        if file.file.startswith(f"{directory}/"):
            inside = file.file.removeprefix(f"{directory}/")
            return f"{_part_of_table(inside)}{name}{_held(published, file)}"
    beside = published.annotations
    names = {
        record.file: f"uns of {source.uri}"
        for record, source in zip(beside.unses, published.sources, strict=False)
        if record is not None
    }
    if beside.uns is not None:
        names[beside.uns.file] = "uns"
    if beside.elements is not None:
        names[beside.elements.file] = "elements that no table holds"
    return names.get(file.file, "uns, to be read by people")


def _part_of_table(inside: str) -> str:
    kinds = {"_versions": "the version of ", "_transactions": "the record of a commit of "}
    return (kinds | {"_indices": "an index of "}).get(inside.split("/", 1)[0], "")


def _held(published: DatasetConfig, file: StoredFile) -> str:
    if file.genes is not None:
        start, stop = file.genes
        return f", genes {start} to {stop}"
    if file.cells is None:
        return ""
    start, stop = file.cells
    held = published.blocks
    blocks = [str(at) for at, one in enumerate(held) if start <= one.start and one.stop <= stop]
    which = " to ".join(dict.fromkeys((*blocks[:1], *blocks[-1:])))
    which = f"block{'s' if len(blocks) > 1 else ''} {which}"
    sources = [
        source.uri
        for source in published.sources
        if source.offset < stop and start < source.offset + source.n_cells
    ]
    return f", cells {start} to {stop}, {which}, of {', '.join(sources)}"


def _digest(location: Location, file: str) -> str:
    try:
        return f"checksum {location.digest(file)}"
    except StorageError as error:
        return str(error)
