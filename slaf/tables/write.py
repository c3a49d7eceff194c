"""Writing Lance tables: fragments that nobody sees yet, commits, indices, cleaning.

Lance syncs nothing to the disk; here whatever a later step relies on is synced first.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, Literal

import lance
import pyarrow as pa
from lance.fragment import FragmentMetadata, write_fragments

from slaf.ahead import ahead
from slaf.errors import DamagedDataset, SlafError, StorageError
from slaf.storage import Location, blamed, cause
from slaf.tables.fragments import STORAGE_VERSION, Fragment
from slaf.tables.read import LANCE_ERRORS, manifest_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from lance.dataset import Index
    from lance.indices import IndexSegment

    from slaf.schema import IndexKind

__all__ = [
    "append",
    "clean",
    "commit",
    "index",
    "index_rest",
    "restore_version",
    "stay",
    "undo",
    "write_part",
    "write_table",
]

# A part is one fragment, however many rows it has.
_ROWS_PER_FILE: Final = 1 << 31
# Of each column so much is encoded at a time: larger pages are slower to write, and no smaller.
_PAGE_BYTES: Final = 2 << 20
# Rows that one segment of an index covers, at the least: as many as a part has.
_ROWS_INDEXED: Final = 32 << 20
# The source decodes the next batches while Lance, in threads of its own, encodes those of a page,
# which is full after about as many.
_BATCHES_AHEAD: Final = 4
# Versions are counted up to one that is made again; a stranger's file may claim any number.
_MOST_VERSIONS: Final = 100_000
# The property of a commit that says which run it belongs to.
_RUN: Final = "slaf.run"


def write_part(
    location: Location,
    name: str,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    *,
    appending: bool = False,
) -> list[Fragment]:
    """Write rows to files of a table that no version of it names yet.

    Parameters
    ----------
    location, name
        The table: a directory of this location.
    schema
        The columns of the rows.
    batches
        The rows, in order. An exception raised by them is raised here as it is.
    appending
        They will stand behind the rows that the table has, and not replace them.

    Returns
    -------
    list of Fragment
        The fragments, in order; none for no rows. Their files are on disk.
    """
    caught: list[BaseException] = []
    reader = pa.RecordBatchReader.from_batches(
        schema, _remembering(ahead(batches, _BATCHES_AHEAD), caught.append)
    )
    with location.effect("write", name):
        try:
            fragments = write_fragments(
                reader,
                location.uri(name),
                schema,
                mode="append" if appending else _mode(location, name),
                max_rows_per_file=_ROWS_PER_FILE,
                data_cache_bytes=_PAGE_BYTES,
                data_storage_version=STORAGE_VERSION,
                storage_options=location.storage_options,
            )
        except LANCE_ERRORS as error:
            # Lance turns whatever its input raises into an OSError with the text of it.
            if caught:
                raise caught[0] from None
            raise _refusal(location, name, error) from cause(location.uri(name), error)
    made = [Fragment.from_json(fragment.to_json()) for fragment in fragments]
    location.sync(f"{name}/{path}" for fragment in made for path in fragment.paths)
    return made


def commit(location: Location, name: str, schema: pa.Schema, fragments: Sequence[Fragment]) -> int:
    """Make fragments, in this order, the whole of a table; the version that does.

    Done twice it makes two versions that are equal.
    """
    with location.effect("commit", name), _reported(location, name):
        version = _overwrite(location, name, schema, fragments)
    _sync_version(location, name)
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
    dataset = _newest(location, name)
    with _reported(location, name):
        for version in range(base + 1, dataset.version + 1):
            done = dataset.read_transaction(version)
            properties = (done.transaction_properties or {}) if done is not None else {}
            if properties.get(_RUN) == run_id:
                return int(dataset.version)
    with location.effect("restore", name), _reported(location, name):
        restored = lance.LanceDataset.commit(
            uri,
            lance.LanceOperation.Restore(base),
            read_version=dataset.version,
            storage_options=location.storage_options,
        )
    _sync_version(location, name)
    # Numbered behind those that are there.
    fresh = [_metadata(fragment, 0) for fragment in fragments]
    operation = lance.LanceOperation.Append(fresh)
    transaction = lance.Transaction(
        read_version=restored.version, operation=operation, transaction_properties={_RUN: run_id}
    )
    with location.effect("commit", name), _reported(location, name):
        appended = lance.LanceDataset.commit(
            uri, transaction, storage_options=location.storage_options
        )
    if appended.version != restored.version + 1:
        # Lance lets appends pass each other, and so another's may stand before this one.
        msg = (
            f"{location}: another program writes to {name} at the same time; run the command again"
        )
        raise StorageError(msg)
    _sync_version(location, name)
    return int(appended.version)


def write_table(location: Location, name: str, table: pa.Table) -> int:
    """Make these rows the whole of a table; the version that does."""
    # In one batch: of several Lance would add up the categories, though they are the same.
    batches = table.combine_chunks().to_batches()
    fragments = write_part(location, name, table.schema, batches)
    return commit(location, name, table.schema, fragments)


def index(location: Location, name: str, column: str, kind: IndexKind) -> int:
    """Index a column of the newest version; the version that has the index."""
    dataset = _newest(location, name)
    if not dataset.count_rows():
        # Lance refuses to index nothing, in which there is nothing to look up either.
        return int(dataset.version)
    with location.effect("index", f"{name} {column}"), _reported(location, name):
        segments: list[Index | IndexSegment] = [
            dataset.create_index_uncommitted(
                column, kind, f"{column}_idx", replace=True, fragment_ids=fragment_ids
            )
            for fragment_ids in _groups(dataset)
        ]
        dataset.commit_existing_index_segments(f"{column}_idx", column, segments)
    location.sync(location.list(f"{name}/_indices"))
    _sync_version(location, name)
    return int(dataset.version)


def index_rest(location: Location, name: str, wanted: Mapping[str, IndexKind]) -> int:
    """Index the fragments that were appended, by every index that the table has or should have.

    Parameters
    ----------
    location, name
        The table.
    wanted
        The columns that have an index, but where there was nothing yet to be indexed.
    """
    dataset = _newest(location, name)
    missing = dict(wanted)
    for found in dataset.describe_indices():
        (column,) = found.field_names
        missing.pop(column, None)
        covered = {at for segment in found.segments for at in segment.fragment_ids}
        groups = [[at for at in group if at not in covered] for group in _groups(dataset)]
        rest = [group for group in groups if group]
        if not rest:
            continue
        with location.effect("index", f"{name} {column}"), _reported(location, name):
            segments: list[Index | IndexSegment] = [
                dataset.create_index_uncommitted(
                    column, found.index_type.upper(), found.name, replace=True, fragment_ids=group
                )
                for group in rest
            ]
            dataset.commit_existing_index_segments(found.name, column, segments)
    location.sync(location.list(f"{name}/_indices"))
    _sync_version(location, name)
    version = int(dataset.version)
    for column, kind in missing.items():
        version = index(location, name, column, kind)
    return version


def restore_version(
    location: Location,
    name: str,
    version: int,
    schema: pa.Schema,
    fragments: Sequence[Fragment],
) -> None:
    """Put a file in place of that of a version which is damaged or gone, so that it opens again.

    It names the same rows; what indices there were it does not know.

    Raises
    ------
    DamagedDataset
        If there are more versions than any run has made.

    Parameters
    ----------
    location, name, version
        The table.
    schema, fragments
        What the version was, which others may still read.
    """
    if version > _MOST_VERSIONS:
        msg = f"{location}: version {version:,} of {name} is damaged; convert the inputs again"
        raise DamagedDataset(msg)
    with TemporaryDirectory() as scratch:
        # Lance counts versions, and the number is in the file as well as in its name.
        for _ in range(version):
            _overwrite(Location(scratch), "table", schema, fragments)
        content = (Path(scratch) / "table" / manifest_name(version)).read_bytes()
    location.put(f"{name}/{manifest_name(version)}", content)


def undo(location: Location, name: str, version: int) -> None:
    """Remove the versions of a table that a run made which was stopped and given up."""
    for file in location.list(f"{name}/_versions"):
        if file.endswith(".manifest") and file < f"{name}/{manifest_name(version)}":
            location.remove(file)


def stay(location: Location, name: str, version: int) -> int:
    """Leave a table at the version that it has; a run that was given up may have made others."""
    undo(location, name, version)
    return version


def clean(location: Location, name: str, version: int) -> None:
    """Remove every file of a table that this version, its newest, does not name."""
    dataset = _newest(location, name)
    if dataset.version != version:
        return
    with location.effect("clean", name), _reported(location, name):
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
            mode=_mode(location, name),
            data_storage_version=STORAGE_VERSION,
            enable_v2_manifest_paths=True,
            storage_options=location.storage_options,
        )
    return int(dataset.version)


def _mode(location: Location, name: str) -> Literal["create", "overwrite"]:
    """How Lance wants to be told that what the table holds now, if anything, does not matter."""
    there = any(file.endswith(".manifest") for file in location.list(f"{name}/_versions"))
    return "overwrite" if there else "create"


def _newest(location: Location, name: str) -> lance.LanceDataset:
    try:
        return lance.dataset(location.uri(name), storage_options=location.storage_options)
    except LANCE_ERRORS as error:
        raise _refusal(location, name, error) from cause(location.uri(name), error)


def _is_staged(file: str) -> bool:
    # Lance writes under such a name first, and so do we, and then gives the file its own.
    base = file.rsplit("/", 1)[-1]
    return base.startswith(".tmp") or "#" in base or (base[0] == "." and base.endswith(".new"))


@contextmanager
def _reported(location: Location, name: str) -> Iterator[None]:
    try:
        yield
    except LANCE_ERRORS as error:
        raise _refusal(location, name, error) from cause(location.uri(name), error)


def _refusal(location: Location, name: str, error: Exception) -> SlafError:
    return blamed(
        location.uri(name),
        error,
        lambda text: StorageError(f"{location}: {name} cannot be written: {text}"),
    )


def _groups(dataset: lance.LanceDataset) -> Iterator[list[int]]:
    """The fragments of a table in groups that are indexed one after the other, in bounded memory.

    For a whole table Lance sorts, or reads ahead, more the more rows there are.
    """
    group: list[int] = []
    rows = 0
    for fragment in dataset.get_fragments():
        group.append(fragment.fragment_id)
        rows += fragment.count_rows()
        if rows >= _ROWS_INDEXED:
            yield group
            group, rows = [], 0
    if group:
        yield group


def _sync_version(location: Location, name: str) -> None:
    location.sync(location.list(f"{name}/_versions") + location.list(f"{name}/_transactions"))


def _remembering(
    batches: Iterable[pa.RecordBatch], remember: Callable[[BaseException], None]
) -> Iterator[pa.RecordBatch]:
    try:
        yield from batches
    except BaseException as error:  # a Ctrl-C as well
        remember(error)
        raise


def _metadata(fragment: Fragment, number: int) -> FragmentMetadata:
    return FragmentMetadata.from_json(json.dumps(fragment.to_json() | {"id": number}))
