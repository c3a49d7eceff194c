"""Committing a table: which files are there afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from slaf.storage.location import Location
from slaf.tables.commit import remove_unreferenced
from slaf.tables.indices import index
from slaf.tables.read import files_of, open_table, read_table
from slaf.tables.write import write_table

if TYPE_CHECKING:
    from pathlib import Path

NAME = "a.lance"
# Files that no version names, whatever they are called.
LEFT = [
    "data/0123.lance",
    "data/0123.bin",
    "data/.tmp-1",
    "_indices/x/page.idx",
    "_transactions/9-x.txn",
]
# Files that are not of a version.
KEPT = ["_refs/tags/best.json", "notes.txt"]


def test_unnamed_files_are_removed(tmp_path: Path) -> None:
    """Every file of earlier versions and of dead commits goes; the user's own stay."""
    location = Location(tmp_path)
    for values in ([1, 2], [3]):
        write_table(location, NAME, pa.table({"a": values}))
        version = index(location, NAME, "a", "BTREE")
    for file in (*LEFT, "notes.txt"):
        location.put(f"{NAME}/{file}", b"")
    open_table(location, NAME, version).tags.create("best", version)

    remove_unreferenced(location, NAME, version)

    found = {file.removeprefix(f"{NAME}/") for file in location.list(NAME)}
    hint = "_versions/latest_version_hint.json"
    assert found - {hint} == {*KEPT, *files_of(location, NAME, version)}
    assert read_table(open_table(location, NAME, version)).to_pydict() == {"a": [3]}
