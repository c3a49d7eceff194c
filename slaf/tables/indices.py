"""The indices of Lance tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from slaf.tables.commit import sync_version
from slaf.tables.errors import newest, reported

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import lance
    from lance.dataset import Index
    from lance.indices import IndexSegment

    from slaf.format.schema import IndexKind
    from slaf.storage.location import Location

__all__ = ["index", "index_new_fragments"]


# Rows that one segment of an index covers, at the least: as many as a part has.
_ROWS_INDEXED: Final = 32 << 20


def index(location: Location, name: str, column: str, kind: IndexKind) -> int:
    """Index a column of the newest version; the version that has the index."""
    dataset = newest(location, name)
    if not dataset.count_rows():
        # Lance refuses to index nothing, in which there is nothing to look up either.
        return int(dataset.version)
    with location.mutation("index", f"{name} {column}"), reported(location, name):
        segments: list[Index | IndexSegment] = [
            dataset.create_index_uncommitted(
                column, kind, f"{column}_idx", replace=True, fragment_ids=fragment_ids
            )
            for fragment_ids in _groups(dataset)
        ]
        dataset.commit_existing_index_segments(f"{column}_idx", column, segments)
    location.sync(location.list(f"{name}/_indices"))
    sync_version(location, name)
    return int(dataset.version)


def index_new_fragments(location: Location, name: str, wanted: Mapping[str, IndexKind]) -> int:
    """Index the fragments that were appended, by every index that the table has or should have.

    Parameters
    ----------
    location, name
        The table.
    wanted
        The columns that have an index, but where there was nothing yet to be indexed.
    """
    dataset = newest(location, name)
    missing = dict(wanted)
    for found in dataset.describe_indices():
        (column,) = found.field_names
        missing.pop(column, None)
        covered = {at for segment in found.segments for at in segment.fragment_ids}
        groups = [[at for at in group if at not in covered] for group in _groups(dataset)]
        rest = [group for group in groups if group]
        if not rest:
            continue
        with location.mutation("index", f"{name} {column}"), reported(location, name):
            segments: list[Index | IndexSegment] = [
                dataset.create_index_uncommitted(
                    column, found.index_type.upper(), found.name, replace=True, fragment_ids=group
                )
                for group in rest
            ]
            dataset.commit_existing_index_segments(found.name, column, segments)
    location.sync(location.list(f"{name}/_indices"))
    sync_version(location, name)
    version = int(dataset.version)
    for column, kind in missing.items():
        version = index(location, name, column, kind)
    return version


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
