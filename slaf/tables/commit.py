"""Commit versions of Lance tables, and remove versions and files that are not used."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal

import lance
from lance.fragment import FragmentMetadata

from slaf.errors import StorageError
from slaf.tables.errors import write_errors
from slaf.tables.fragments import STORAGE_VERSION
from slaf.tables.read import files_of, manifest_name

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import pyarrow as pa

    from slaf.storage.location import Location
    from slaf.tables.fragments import Fragment

__all__ = [
    "append",
    "commit",
    "drop_newer_versions",
    "mode_of",
    "open_newest",
    "remove_unreferenced",
    "sync_version",
]

# Property of a commit with the id of its run.
_RUN: Final = "slaf.run"

# The directories of a table with the files of its versions, which have no deletions.
_DIRECTORIES: Final = ("_indices", "_transactions", "_versions", "data")

# The number of the newest version, which Lance does not rely on.
_HINT: Final = "_versions/latest_version_hint.json"


def commit(location: Location, name: str, schema: pa.Schema, fragments: Sequence[Fragment]) -> int:
    """Commit fragments, in this order, as all rows of a table; number of the new version.

    A second call makes another version with the same rows.
    """
    with location.mutation("commit", name), write_errors(location, name):
        version = _overwrite(location, name, schema, fragments)
    sync_version(location, name)
    return version


def append(
    location: Location, name: str, fragments: Sequence[Fragment], base: int, run_id: str
) -> int:
    """Append fragments, in this order, to the rows of a version; number of the new version.

    A second call by the same run appends nothing, while Lance itself would append the rows again.
    A writer that started earlier and was thought dead can no longer commit its rows.

    Parameters
    ----------
    location, name
        The table.
    fragments
        At least one.
    base
        The version to append to; later commits of other runs are undone.
    run_id
        The id of this run.

    Raises
    ------
    StorageError
        If another writer commits at the same time.
    """
    uri = location.uri(name)
    dataset = open_newest(location, name)
    with write_errors(location, name):
        for version in range(base + 1, dataset.version + 1):
            transaction = dataset.read_transaction(version)
            properties = None if transaction is None else transaction.transaction_properties
            if (properties or {}).get(_RUN) == run_id:
                return int(dataset.version)
    with location.mutation("restore", name), write_errors(location, name):
        restored = lance.LanceDataset.commit(
            uri,
            lance.LanceOperation.Restore(base),
            read_version=dataset.version,
            storage_options=location.storage_options,
        )
    sync_version(location, name)
    # Lance numbers appended fragments itself.
    operation = lance.LanceOperation.Append([_metadata(fragment, 0) for fragment in fragments])
    transaction = lance.Transaction(
        read_version=restored.version, operation=operation, transaction_properties={_RUN: run_id}
    )
    with location.mutation("commit", name), write_errors(location, name):
        appended = lance.LanceDataset.commit(
            uri, transaction, storage_options=location.storage_options
        )
    if appended.version != restored.version + 1:
        # Lance rebases concurrent appends, so that another's rows may precede these.
        msg = (
            f"{location}: another program writes to {name} at the same time; run the command again"
        )
        raise StorageError(msg)
    sync_version(location, name)
    return int(appended.version)


def drop_newer_versions(location: Location, name: str, version: int) -> None:
    """Remove the versions of a table after a version, made by a run that was discarded."""
    for file in location.list(f"{name}/_versions"):
        if file.endswith(".manifest") and file < f"{name}/{manifest_name(version)}":
            location.remove(file)


def remove_unreferenced(
    location: Location, name: str, version: int, former: Collection[int] = ()
) -> None:
    """Remove every file of a table that no version names, if the version is the newest.

    Parameters
    ----------
    location, name, version
        The table and its version.
    former
        Further versions that are kept.
    """
    dataset = open_newest(location, name)
    if dataset.version != version:
        return
    if former:
        versions = (version, *former)
        kept = {f"{name}/{file}" for each in versions for file in files_of(location, name, each)}
        for file in location.list(name):
            if file not in kept and not file.endswith(_HINT):
                location.remove(file)
        return
    with location.mutation("clean", name), write_errors(location, name):
        dataset.cleanup_old_versions(
            older_than=timedelta(0), delete_unverified=True, error_if_tagged_old_versions=False
        )
    # Lance leaves some files of a commit that was killed, and says nothing of those that it failed
    # to remove. What else is there, as tags, is the user's.
    named = {f"{name}/{file}" for file in (_HINT, *files_of(location, name, version))}
    directories = tuple(f"{name}/{directory}/" for directory in _DIRECTORIES)
    for file in location.list(name):
        if file.startswith(directories) and file not in named:
            location.remove(file)


def open_newest(location: Location, name: str) -> lance.LanceDataset:
    """Open the newest version of a table, to commit another.

    Raises
    ------
    StorageError
        If it cannot be opened.
    """
    uri = location.uri(name)
    with write_errors(location, name):
        return lance.dataset(uri, storage_options=location.storage_options)


def mode_of(location: Location, name: str) -> Literal["create", "overwrite"]:
    """Mode in which Lance writes a table anew, whether or not it exists."""
    exists = any(file.endswith(".manifest") for file in location.list(f"{name}/_versions"))
    return "overwrite" if exists else "create"


def sync_version(location: Location, name: str) -> None:
    """Sync manifests and transactions of a table to the disk."""
    location.sync(location.list(f"{name}/_versions") + location.list(f"{name}/_transactions"))


def _overwrite(
    location: Location, name: str, schema: pa.Schema, fragments: Sequence[Fragment]
) -> int:
    uri = location.uri(name)
    if fragments:
        dataset = lance.LanceDataset.commit(
            uri,
            lance.LanceOperation.Overwrite(
                schema, [_metadata(fragment, number) for number, fragment in enumerate(fragments)]
            ),
            enable_v2_manifest_paths=True,
            storage_options=location.storage_options,
        )
    else:
        # A commit without fragments would not take our storage version.
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
    return FragmentMetadata.from_json(json.dumps({**fragment.metadata, "id": number}))
