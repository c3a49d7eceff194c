"""Removing the files of a Lance table that its version does not name."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from slaf.tables.errors import newest, reported
from slaf.tables.read import manifest_name

if TYPE_CHECKING:
    from slaf.storage.location import Location

__all__ = ["remove_unreferenced"]


def remove_unreferenced(location: Location, name: str, version: int) -> None:
    """Remove every file of a table that this version, its newest, does not name."""
    dataset = newest(location, name)
    if dataset.version != version:
        return
    with location.mutation("clean", name), reported(location, name):
        dataset.cleanup_old_versions(
            older_than=timedelta(0), delete_unverified=True, error_if_tagged_old_versions=False
        )
    # Lance passes over some of what is left of a commit that was killed, and over a file that it
    # fails to remove.
    record = dataset.read_transaction(version)
    for file in location.list(name):
        other_record = record is not None and file.endswith(".txn") and record.uuid not in file
        older = file.endswith(".manifest") and not file.endswith(f"/{manifest_name(version)}")
        if other_record or older or _is_staged(file):
            location.remove(file)


def _is_staged(file: str) -> bool:
    # Lance writes under such a name first, and so do we, and then gives the file its own.
    base = file.rsplit("/", 1)[-1]
    return base.startswith(".tmp") or "#" in base or (base[0] == "." and base.endswith(".new"))
