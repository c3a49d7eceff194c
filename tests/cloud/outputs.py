"""What is at an output in a bucket, in a form that can be compared with that of another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import slaf
from slaf.errors import InProgress, NotADataset
from slaf.storage import Location

if TYPE_CHECKING:
    from tests.cloud.servers import Cloud

__all__ = ["finished_parts", "output_of", "published", "unaccounted"]

# What depends on the run and not on what was converted.
_OF_THE_RUN = ("created_at", "last_updated", "versions", "proof", "checkpoint")
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
    except (InProgress, NotADataset):
        return None


def finished_parts(location: Location) -> set[str]:
    """The data files of the parts that the checkpoint of an unfinished run says are done."""
    checkpoint = json.loads(location.read("config.json") or b"{}").get("checkpoint")
    if checkpoint is None:
        return set()
    return {
        file["path"]
        for part in checkpoint["done"].values()
        for fragment in part["fragments"]
        for file in fragment["files"]
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
