"""Build indices of Lance tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slaf.tables.commit import open_newest, sync_version
from slaf.tables.errors import write_errors
from slaf.tables.zone_maps import is_known_format, zone_map

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import lance
    import numpy as np
    from lance.dataset import Index
    from lance.indices import IndexSegment
    from numpy.typing import NDArray

    from slaf.format.schema import IndexKind
    from slaf.storage.location import Location

__all__ = ["index", "index_new_fragments"]

# Rows in one segment of an index, at least: as many as a part has.
_SEGMENT_ROWS: Final = 32 << 20

# A table of fewer rows is read in a few hundredths of a second.
_SCANNED_ROWS: Final = 1 << 22


def index(
    location: Location,
    name: str,
    column: str,
    kind: IndexKind,
    offsets: NDArray[np.int64] | None = None,
) -> int:
    """Index a column of the newest version; number of the version with the index.

    Parameters
    ----------
    offsets
        For a ZONEMAP of the positions by which the table is sorted: the first row of each
        position, and the number of all rows. Without them Lance reads the column.
    """
    dataset = open_newest(location, name)
    # Lance refuses to index a table without rows.
    if dataset.count_rows():
        groups = _fragment_groups(dataset)
        _index_fragments(location, name, dataset, column, f"{column}_idx", kind, groups, offsets)
        _sync_indices(location, name)
    return int(dataset.version)


def index_new_fragments(
    location: Location,
    name: str,
    wanted: Mapping[str, IndexKind],
    offsets: NDArray[np.int64] | None = None,
) -> int:
    """Add fragments that were appended to every index that the table has or should have.

    Parameters
    ----------
    location, name
        The table.
    wanted
        Columns that should have an index, also if the table had no rows to index before.
    offsets
        As of `index`.
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
            # Another program may have made a ZONEMAP of a column that does not ascend.
            known = offsets if wanted.get(column) == kind else None
            missing_groups = filter(None, groups)
            _index_fragments(
                location, name, dataset, column, existing.name, kind, missing_groups, known
            )
    _sync_indices(location, name)
    version = int(dataset.version)
    for column, kind in missing.items():
        version = index(location, name, column, kind, offsets)
    return version


def _index_fragments(  # noqa: PLR0917
    location: Location,
    name: str,
    dataset: lance.LanceDataset,
    column: str,
    index_name: str,
    kind: Any,
    groups: Iterable[list[int]],
    offsets: NDArray[np.int64] | None,
) -> None:
    is_known = kind == "ZONEMAP" and _are_of(dataset, column, offsets)
    with location.mutation("index", f"{name} {column}"), write_errors(location, name):
        segments: list[Index | IndexSegment] = [
            zone_map(location, name, dataset, column, index_name, group, offsets)
            if is_known and offsets is not None
            else dataset.create_index_uncommitted(
                column, kind, index_name, replace=True, fragment_ids=group
            )
            for group in groups
        ]
        dataset.commit_existing_index_segments(index_name, column, segments)


def _are_of(dataset: lance.LanceDataset, column: str, offsets: NDArray[np.int64] | None) -> bool:
    """Whether a zone map can be computed from offsets, and it is worth to learn how."""
    return (
        offsets is not None
        and int(offsets[-1]) == dataset.count_rows() >= _SCANNED_ROWS
        and is_known_format(dataset.schema.field(column).type)
    )


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
