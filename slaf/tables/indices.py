"""Build indices of Lance tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slaf.tables.commit import open_newest, sync_version
from slaf.tables.errors import write_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import lance
    from lance.dataset import Index
    from lance.indices import IndexSegment

    from slaf.format.schema import IndexKind
    from slaf.storage.location import Location

__all__ = ["index", "index_new_fragments"]

# Rows in one segment of an index, at least: as many as a part has.
_SEGMENT_ROWS: Final = 32 << 20


def index(location: Location, name: str, column: str, kind: IndexKind) -> int:
    """Index a column of the newest version; number of the version with the index."""
    dataset = open_newest(location, name)
    # Lance refuses to index a table without rows.
    if dataset.count_rows():
        groups = _fragment_groups(dataset)
        _index_fragments(location, name, dataset, column, f"{column}_idx", kind, groups)
        _sync_indices(location, name)
    return int(dataset.version)


def index_new_fragments(location: Location, name: str, wanted: Mapping[str, IndexKind]) -> int:
    """Add fragments that were appended to every index that the table has or should have.

    Parameters
    ----------
    location, name
        The table.
    wanted
        Columns that should have an index, also if the table had no rows to index before.
    """
    dataset = open_newest(location, name)
    missing = dict(wanted)
    for existing in dataset.describe_indices():
        (column,) = existing.field_names
        missing.pop(column, None)
        covered = {number for segment in existing.segments for number in segment.fragment_ids}
        groups = [[n for n in group if n not in covered] for group in _fragment_groups(dataset)]
        if any(groups):
            kind = existing.index_type.upper()
            _index_fragments(
                location, name, dataset, column, existing.name, kind, filter(None, groups)
            )
    _sync_indices(location, name)
    version = int(dataset.version)
    for column, kind in missing.items():
        version = index(location, name, column, kind)
    return version


def _index_fragments(  # noqa: PLR0917
    location: Location,
    name: str,
    dataset: lance.LanceDataset,
    column: str,
    index_name: str,
    kind: Any,
    groups: Iterable[list[int]],
) -> None:
    with location.mutation("index", f"{name} {column}"), write_errors(location, name):
        segments: list[Index | IndexSegment] = [
            dataset.create_index_uncommitted(
                column, kind, index_name, replace=True, fragment_ids=group
            )
            for group in groups
        ]
        dataset.commit_existing_index_segments(index_name, column, segments)


def _sync_indices(location: Location, name: str) -> None:
    location.sync(location.list(f"{name}/_indices"))
    sync_version(location, name)


def _fragment_groups(dataset: lance.LanceDataset) -> Iterator[list[int]]:
    """Split the fragments of a table into groups that can be indexed in bounded memory.

    The memory that Lance takes to sort, or to read ahead, grows with the rows that it indexes.
    """
    group: list[int] = []
    rows = 0
    for fragment in dataset.get_fragments():
        group.append(fragment.fragment_id)
        rows += fragment.count_rows()
        if rows >= _SEGMENT_ROWS:
            yield group
            group, rows = [], 0
    if group:
        yield group
