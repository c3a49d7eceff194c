"""Commits: which files, in which order, make a version of a Lance table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, Literal

import lance
from lance.fragment import FragmentMetadata

from slaf.errors import StorageError
from slaf.tables.errors import newest, reported
from slaf.tables.fragments import STORAGE_VERSION
from slaf.tables.read import manifest_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from slaf.storage.location import Location
    from slaf.tables.fragments import Fragment

__all__ = [
    "append",
    "commit",
    "drop_newer_versions",
    "mode_of",
    "sync_version",
]

# The property of a commit that says which run it belongs to.
_RUN: Final = "slaf.run"


def commit(location: Location, name: str, schema: pa.Schema, fragments: Sequence[Fragment]) -> int:
    """Make fragments, in this order, the whole of a table; the version that does.

    Done twice it makes two versions that are equal.
    """
    with location.mutation("commit", name), reported(location, name):
        version = _overwrite(location, name, schema, fragments)
    sync_version(location, name)
    return version


def append(
    location: Location, name: str, fragments: Sequence[Fragment], base: int, run_id: str
) -> int:
    """Put fragments, in this order, behind the rows of a version; the version that has both.

    Done twice by one run it appends once: Lance itself would append the same again. A writer
    that began before, and was thought dead, cannot commit what it holds any more.

    Parameters
    ----------
    location, name
        The table.
    fragments
        At least one.
    base
        The version; what was committed after it, but by this run, is undone.
    run_id
        Tells this run from others.

    Raises
    ------
    StorageError
        If another writer commits at the same time.
    """
    uri = location.uri(name)
    dataset = newest(location, name)
    with reported(location, name):
        for version in range(base + 1, dataset.version + 1):
            done = dataset.read_transaction(version)
            properties = (done.transaction_properties or {}) if done is not None else {}
            if properties.get(_RUN) == run_id:
                return int(dataset.version)
    with location.mutation("restore", name), reported(location, name):
        restored = lance.LanceDataset.commit(
            uri,
            lance.LanceOperation.Restore(base),
            read_version=dataset.version,
            storage_options=location.storage_options,
        )
    sync_version(location, name)
    # Numbered behind those that are there.
    fresh = [_metadata(fragment, 0) for fragment in fragments]
    operation = lance.LanceOperation.Append(fresh)
    transaction = lance.Transaction(
        read_version=restored.version, operation=operation, transaction_properties={_RUN: run_id}
    )
    with location.mutation("commit", name), reported(location, name):
        appended = lance.LanceDataset.commit(
            uri, transaction, storage_options=location.storage_options
        )
    if appended.version != restored.version + 1:
        # Lance lets appends pass each other, and so another's may stand before this one.
        msg = (
            f"{location}: another program writes to {name} at the same time; run the command again"
        )
        raise StorageError(msg)
    sync_version(location, name)
    return int(appended.version)


def drop_newer_versions(location: Location, name: str, version: int) -> None:
    """Remove the versions of a table that a run made which was stopped and given up."""
    for file in location.list(f"{name}/_versions"):
        if file.endswith(".manifest") and file < f"{name}/{manifest_name(version)}":
            location.remove(file)


def mode_of(location: Location, name: str) -> Literal["create", "overwrite"]:
    """How Lance wants to be told that what the table holds now, if anything, does not matter."""
    there = any(file.endswith(".manifest") for file in location.list(f"{name}/_versions"))
    return "overwrite" if there else "create"


def sync_version(location: Location, name: str) -> None:
    """See to it that the versions of a table are on the disk."""
    location.sync(location.list(f"{name}/_versions") + location.list(f"{name}/_transactions"))


def _overwrite(
    location: Location, name: str, schema: pa.Schema, fragments: Sequence[Fragment]
) -> int:
    uri = location.uri(name)
    if fragments:
        dataset = lance.LanceDataset.commit(
            uri,
            lance.LanceOperation.Overwrite(
                schema, [_metadata(one, at) for at, one in enumerate(fragments)]
            ),
            enable_v2_manifest_paths=True,
            storage_options=location.storage_options,
        )
    else:
        # A commit of no fragments would choose a storage version of its own.
        dataset = lance.write_dataset(
            schema.empty_table(),
            uri,
            mode=mode_of(location, name),
            data_storage_version=STORAGE_VERSION,
            enable_v2_manifest_paths=True,
            storage_options=location.storage_options,
        )
    return int(dataset.version)


def _metadata(fragment: Fragment, number: int) -> FragmentMetadata:
    return FragmentMetadata.from_json(json.dumps(fragment.to_json() | {"id": number}))
