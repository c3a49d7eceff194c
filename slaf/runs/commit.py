"""Commit a changed set of tables, and remove the files that config.json does not name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from slaf.annotations.uns import as_json
from slaf.dataset.annotations import Annotations
from slaf.format.config import (
    HISTORY,
    LEGACY_DIR,
    SCRATCH,
    former_config,
    table_directories,
)
from slaf.format.records import is_uns_file
from slaf.format.schema import TABLES
from slaf.tables.commit import append, commit, drop_newer_versions, remove_unreferenced
from slaf.tables.indices import index, index_new_fragments
from slaf.tables.write import write_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.annotations.lazy_table import AnyTable
    from slaf.format.config import DatasetConfig
    from slaf.runs.plan import Plan
    from slaf.storage.location import Location
    from slaf.tables.fragments import Fragment

__all__ = [
    "COPY_JOURNAL",
    "UNS_JSON",
    "TableChange",
    "TableFragments",
    "TableGrowth",
    "TableRows",
    "clean_up",
    "commit_tables",
    "remove_other_files",
]

UNS_JSON: Final = "uns.json"

# The directory of a table: the usual one, or one that a repair has made for it.
_DIRECTORY: Final = re.compile(
    rf"(?:{LEGACY_DIR}/)?(?:{'|'.join(TABLES)})(?:-[0-9a-f]{{8}})?\.lance(?=/)"
)


# The record of an unfinished copy; readers ignore a file of such a name.
COPY_JOURNAL: Final = ".copy.new"


@dataclass(frozen=True, slots=True)
class TableRows:
    """A table that is written whole."""

    directory: str
    rows: AnyTable


@dataclass(frozen=True, slots=True)
class TableFragments:
    """A table whose rows are all in fragments that are on disk, in order.

    Attributes
    ----------
    offsets
        The first row of each cell or gene, and the number of rows, where they are known.
    """

    directory: str
    schema: pa.Schema
    fragments: Sequence[Fragment]
    offsets: NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True)
class TableGrowth:
    """A table that gets fragments behind the rows of a version, or stays at it without any.

    Attributes
    ----------
    offsets
        As of `TableFragments`, with the fragments.
    """

    directory: str
    base: int
    fragments: Sequence[Fragment] = ()
    offsets: NDArray[np.int64] | None = None


# What becomes of a table, in the directory that it has or in a new one.
TableChange: TypeAlias = TableRows | TableFragments | TableGrowth


def commit_tables(
    location: Location, plan: Plan, changes: Mapping[str, TableChange]
) -> dict[str, int]:
    """Commit a changed set of tables, each with its indices; their versions.

    May be stopped anywhere and done again: each commit replaces a whole table, or is found to be
    there already, and until config.json names the new versions readers keep the previous ones.
    """
    return {table: _commit(location, plan, table, change) for table, change in changes.items()}


def _commit(location: Location, plan: Plan, table: str, change: TableChange) -> int:
    name = change.directory
    indices = TABLES[table].indexed_columns(create_indices=plan.options.create_indices)
    if isinstance(change, TableGrowth):
        if change.fragments:
            append(location, name, change.fragments, change.base, plan.run_id)
            return index_new_fragments(location, name, indices, change.offsets)
        # A run that was given up may have made others.
        drop_newer_versions(location, name, change.base)
        return change.base
    offsets = None
    if isinstance(change, TableRows):
        version = write_table(location, name, change.rows)
    else:
        version, offsets = commit(location, name, change.schema, change.fragments), change.offsets
    for column, kind in indices.items():
        version = index(location, name, column, kind, offsets)
    return version


def clean_up(
    location: Location, published: DatasetConfig, former: DatasetConfig | None = None
) -> None:
    """Remove every file that a published dataset does not need, and write uns.json.

    Parameters
    ----------
    former
        The version before, if it is kept.
    """
    kept = [published] if former is None else [published, former]
    for table, directory in published.tables.items():
        versions = {
            one.versions[table] for one in kept[1:] if one.tables.get(table) == directory
        } - {published.versions[table]}
        remove_unreferenced(location, directory, published.versions[table], versions)
    names = {name for one in kept for name in one.tables.values()}
    names |= {file.file for one in kept for file in one.annotations.files}
    if former is not None:
        names.add(former_config(former.version))
    remove_other_files(location, names)
    _write_uns_json(location, published)


def remove_other_files(location: Location, kept: AbstractSet[str] = frozenset()) -> None:
    """Remove the directories of tables and the files of elements but these, and the receipts."""
    names = location.list(".")
    removable = {directory[0] for directory in map(_DIRECTORY.match, names) if directory}
    removable |= {name for name in names if is_uns_file(name)}
    # Whatever is left of one that was being removed.
    removable |= {*table_directories().values()}
    if not any(directory.startswith(f"{LEGACY_DIR}/") for directory in kept):
        removable.add(LEGACY_DIR)
    for name in sorted(removable - kept):
        location.remove(name)
    for name in location.list(HISTORY):
        if name not in kept:
            location.remove(name)
    location.remove(SCRATCH)


def _write_uns_json(location: Location, published: DatasetConfig) -> None:
    """Write uns as JSON next to the file that a dataset has it in, or remove a former copy."""
    if published.annotations.uns is None:
        location.remove(UNS_JSON)
        return
    content = as_json(Annotations(location, published).uns)
    if location.read(UNS_JSON) != content:
        location.put(UNS_JSON, content)
