"""What is at an output, in a form that can be compared and accounted for file by file."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import slaf
from slaf.errors import ConversionInProgress, DatasetError, NotADataset
from slaf.format.validation import CHECKSUM_KEY, checksum_error
from slaf.storage.location import Location

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from slaf.dataset.dataset import Dataset

__all__ = [
    "Output",
    "PartFile",
    "finished_parts",
    "output_of",
    "published",
    "published_parts",
    "receipts",
    "tree",
    "unaccounted",
]

# Of a dataset's config.json, what depends on the run and not on what was converted: the times,
# the names and checksums of files, and the Lance versions, which count the commits that earlier
# attempts made. What a version holds is compared table by table instead.
_OF_THE_RUN = ("created_at", "last_updated", "versions", "proof", "history", CHECKSUM_KEY)
_RECEIPT = re.compile(r"/(part|genes)-\d+\.json$")
_LAST_VERSION = 2**64 - 1


@dataclass(frozen=True)
class Output:
    """A published dataset: all that two runs of one conversion must agree in.

    Attributes
    ----------
    config
        config.json without what depends on the run; the digests are in it.
    tables
        Every table, row by row, at the version that config.json names.
    rows
        The rows of each fragment, in order: how the parts were cut.
    indices
        The columns that are indexed, by table.
    files
        The files of elements that config.json names.
    """

    config: dict[str, Any]
    tables: dict[str, pa.Table]
    rows: dict[str, list[int]]
    indices: dict[str, set[str]]
    files: dict[str, bytes]


@dataclass(frozen=True, order=True)
class PartFile:
    """A data file, so that one written twice is told from one that stayed."""

    name: str
    inode: int
    changed: int


def output_of(path: Path) -> Output:
    """The dataset at this path."""
    dataset = slaf.open(path)
    tables = {name: dataset.table(name) for name in dataset.published.tables}
    config = json.loads((path / "config.json").read_bytes())
    return Output(
        {key: config[key] for key in config if key not in (*_OF_THE_RUN, "checkpoint")},
        {name: table.to_table() for name, table in tables.items()},
        {name: [f.count_rows() for f in table.get_fragments()] for name, table in tables.items()},
        {
            name: {column for index in table.describe_indices() for column in index.field_names}
            for name, table in tables.items()
        },
        {name: (path / name).read_bytes() for name in _files(config)},
    )


def published(path: Path) -> Output | None:
    """The dataset at this path, or None if it is said that there is none."""
    try:
        return output_of(path)
    except (ConversionInProgress, NotADataset):
        return None
    except DatasetError as error:
        error.add_note("an unfinished conversion must say that it is one")
        raise


def finished_parts(path: Path) -> dict[int, list[PartFile]]:
    """The data files of each part of an unfinished run that has a receipt.

    By its place in the plan; parts in the order of genes by their first one, counted down from −1.
    """
    config = path / "config.json"
    checkpoint = json.loads(config.read_bytes()).get("checkpoint") if config.exists() else None
    found = {
        done["part"] if done["axis"] == "cells" else -1 - done["part"]: done
        for done in receipts(Location(path), checkpoint)
    }
    return {
        at: _part_files(
            path,
            [file["path"] for one in result["fragments"] for file in one["metadata"]["files"]],
            f"{table}.lance",
        )
        for at, done in found.items()
        for table, result in done["tables"].items()
        if table in {"expression", "expression_by_gene"}
    }


def receipts(location: Location, checkpoint: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The receipts of an unfinished run, but for those that are torn or were given up."""
    if checkpoint is None or "journal" not in checkpoint:
        return []
    names = location.list(f".parts/{checkpoint['journal'][:16]}")
    raws = [location.read(name) or b"" for name in names if _RECEIPT.search(name)]
    return [
        done
        for done in (json.loads(raw) for raw in raws if _is_whole(raw))
        if _counts(done, checkpoint)
    ]


def _counts(done: dict[str, Any], checkpoint: dict[str, Any]) -> bool:
    if done["axis"] == "genes":
        return True
    start = checkpoint["plan"]["parts"][done["part"]][0]
    offsets = [source["offset"] for source in checkpoint["plan"]["sources"]]
    source = max(at for at, offset in enumerate(offsets) if offset <= start)
    return bool(done["attempt"] == checkpoint["attempts"].get(str(source), 0))


def _is_whole(raw: bytes) -> bool:
    try:
        return checksum_error(raw, json.loads(raw)) is None
    except ValueError:
        return False


def published_parts(path: Path) -> list[PartFile]:
    """The data files of `expression`, in the order of the parts; and of the same by gene."""
    dataset = slaf.open(path)
    found = []
    for name in ("expression", "expression_by_gene"):
        if name in dataset.published.tables:
            fragments = dataset.table(name).get_fragments()
            files = [file.path for part in fragments for file in part.data_files()]
            found += _part_files(path, files, dataset.published.tables[name])
    return found


def unaccounted(path: Path) -> set[str]:
    """The files at this path that are not part of a dataset which can be opened there."""
    files = {file.relative_to(path).as_posix() for file in path.rglob("*") if not file.is_dir()}
    for version in slaf.history(path):
        if version.is_kept:
            files = _unaccounted(files, slaf.open(path, version=version.version))
            config = f"history/{version.version:06d}.json"
            data = json.loads((path / config).read_bytes()) if config in files else {}
            files -= {config, *_files(data)}
    config = json.loads((path / "config.json").read_bytes())
    readable = {"uns.json"} if "uns" in config else set()
    assert readable <= files
    return files - {"config.json", *readable, *_files(config)}


def _unaccounted(files: set[str], dataset: Dataset) -> set[str]:
    """Those of the files that are in no table of a dataset."""
    for name, directory in dataset.published.tables.items():
        table = dataset.table(name)
        manifest = f"{_LAST_VERSION - table.version:020}.manifest"
        record = table.read_transaction(table.version)
        assert record is not None
        named = {f"_versions/{manifest}", "_versions/latest_version_hint.json"}
        named |= {f"_transactions/{record.read_version}-{record.uuid}.txn"}
        named |= {
            f"data/{file.path}" for part in table.get_fragments() for file in part.data_files()
        }
        files -= {f"{directory}/{file}" for file in named}
        for index in table.describe_indices():
            for segment in index.segments:
                folder = f"{directory}/_indices/{segment.uuid}/"
                files -= {file for file in files if file.startswith(folder)}
    return files


def _files(config: dict[str, Any]) -> list[str]:
    """The files of elements that a config.json names."""
    records = [config[key] for key in ("uns", "elements") if key in config]
    records += [record for record in config.get("unses", []) if record is not None]
    return [record["file"] for record in records]


def tree(path: Path) -> dict[str, tuple[int, bytes | None]]:
    """Everything at this path, with inode and content, so that any change shows.

    All but the lock: the next process removes what a dead one left of it.
    """
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    return {
        file.relative_to(path.parent).as_posix(): (
            file.lstat().st_ino,
            file.read_bytes() if file.is_file() else None,
        )
        for file in files
        if file.name != ".lock"
    }


def _part_files(path: Path, names: list[str], directory: str) -> list[PartFile]:
    statuses = [(name, (path / directory / "data" / name).stat()) for name in names]
    return [PartFile(name, status.st_ino, status.st_mtime_ns) for name, status in statuses]
