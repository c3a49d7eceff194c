"""What is at an output in a bucket, in a form that can be compared with that of another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import obstore

import slaf
from slaf.errors import ConversionInProgress, NotADataset
from slaf.format.validation import CHECKSUM_KEY
from slaf.storage.location import Location
from slaf.storage.object_options import open_store
from tests.conversion.outputs import receipts

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud.servers import Cloud

__all__ = ["contents", "files_of", "finished_parts", "output_of", "published", "unaccounted"]

# What depends on the run and not on what was converted.
_OF_THE_RUN = {"created_at", "last_updated", "versions", "proof", "history", "checkpoint"}
_OF_THE_RUN |= {"epoch", CHECKSUM_KEY}
_LAST_VERSION = 2**64 - 1


def output_of(location: Location) -> dict[str, Any]:
    """Of the dataset at a location: config.json, the tables, how they are cut, what is indexed."""
    dataset = slaf.open(location)
    raw = location.read("config.json")
    assert raw is not None
    config = json.loads(raw)
    tables = {name: dataset.table(name) for name in dataset.published.tables}
    return {
        "config": {key: config[key] for key in config if key not in _OF_THE_RUN},
        "tables": {name: table.to_table() for name, table in tables.items()},
        "rows": {n: [f.count_rows() for f in t.get_fragments()] for n, t in tables.items()},
        "indexed": {
            name: sorted(
                column for index in table.describe_indices() for column in index.field_names
            )
            for name, table in tables.items()
        },
    }


def published(cloud: Cloud, name: str) -> dict[str, Any] | None:
    """The dataset of this name, or None if it is said that there is none."""
    try:
        return output_of(Location(cloud.at(name), cloud.options))
    except (ConversionInProgress, NotADataset):
        return None


def finished_parts(location: Location) -> set[str]:
    """The data files of the parts of an unfinished run that have a receipt."""
    checkpoint = json.loads(location.read("config.json") or b"{}").get("checkpoint")
    return {
        file["path"]
        for part in receipts(location, checkpoint)
        for result in part["tables"].values()
        for fragment in result["fragments"]
        for file in fragment["metadata"]["files"]
    }


def unaccounted(location: Location) -> set[str]:
    """The objects at a location that are not part of the dataset which is published there."""
    dataset = slaf.open(location)
    left = set(location.list(".")) - {"config.json"}
    for name, directory in dataset.published.tables.items():
        table = dataset.table(name)
        record = table.read_transaction(table.version)
        assert record is not None
        named = {
            f"_versions/{_LAST_VERSION - table.version:020}.manifest",
            "_versions/latest_version_hint.json",
            f"_transactions/{record.read_version}-{record.uuid}.txn",
            *(f"data/{file.path}" for part in table.get_fragments() for file in part.data_files()),
        }
        left -= {f"{directory}/{file}" for file in named}
        for index in table.describe_indices():
            for segment in index.segments:
                left = {f for f in left if not f.startswith(f"{directory}/_indices/{segment.uuid}")}
    return left


def contents(cloud: Cloud) -> dict[str, bytes]:
    """All objects of a place."""
    store = open_store(cloud.root, cloud.options)
    names = [found["path"] for chunk in obstore.list(store) for found in chunk]
    return {name: bytes(obstore.get(store, name).bytes()) for name in sorted(names)}


def files_of(path: Path) -> dict[str, bytes]:
    """The same of a file or folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {file.relative_to(path.parent).as_posix(): file.read_bytes() for file in sorted(files)}
