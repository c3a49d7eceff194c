"""Writing rows to Lance tables, in files that nobody sees before a commit names them.

Lance syncs nothing to the disk; here whatever a later step relies on is synced first.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from lance.fragment import write_fragments

from slaf.errors import StorageError
from slaf.runtime.prefetch import prefetch
from slaf.storage.errors import safe_cause
from slaf.tables.commit import commit, mode_of
from slaf.tables.errors import refusal
from slaf.tables.fragments import STORAGE_VERSION, Fragment
from slaf.tables.read import LANCE_ERRORS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from slaf.storage.location import Location

__all__ = ["write_part", "write_table"]


# A part is one fragment, however many rows it has.
_ROWS_PER_FILE: Final = 1 << 31

# Of each column so much is encoded at a time: larger pages are slower to write, and no smaller.
_PAGE_BYTES: Final = 2 << 20

# The source decodes the next batches while Lance, in threads of its own, encodes those of a page,
# which is full after about as many.
_BATCHES_AHEAD: Final = 4


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

    Raises
    ------
    StorageError
        If the disk refuses, or has not taken all.
    """
    caught: list[BaseException] = []
    reader = pa.RecordBatchReader.from_batches(
        schema, _remembering(prefetch(batches, _BATCHES_AHEAD), caught.append)
    )
    with location.mutation("write", name):
        try:
            fragments = write_fragments(
                reader,
                location.uri(name),
                schema,
                mode="append" if appending else mode_of(location, name),
                max_rows_per_file=_ROWS_PER_FILE,
                data_cache_bytes=_PAGE_BYTES,
                data_storage_version=STORAGE_VERSION,
                storage_options=location.storage_options,
            )
        except LANCE_ERRORS as error:
            # Lance turns whatever its input raises into an OSError with the text of it.
            if caught:
                raise caught[0] from None
            raise refusal(location, name, error) from safe_cause(location.uri(name), error)
    made = [Fragment.from_json(fragment.to_json()) for fragment in fragments]
    location.sync(f"{name}/{path}" for fragment in made for path in fragment.paths)
    _refuse_cut_short(location, name, made)
    return made


def write_table(location: Location, name: str, table: pa.Table) -> int:
    """Make these rows the whole of a table; the version that does."""
    # In one batch: of several Lance would add up the categories, though they are the same.
    batches = table.combine_chunks().to_batches()
    fragments = write_part(location, name, table.schema, batches)
    return commit(location, name, table.schema, fragments)


def _refuse_cut_short(location: Location, name: str, made: Sequence[Fragment]) -> None:
    """Refuse files that a disk has not taken whole: of the last bytes Lance does not ask."""
    if location.is_remote:
        return  # a bucket has an object whole, or not at all
    for fragment in made:
        for path, size in fragment.sizes.items():
            found = location.size_of(f"{name}/{path}")
            if found != size:
                msg = (
                    f"{location}: of {name}/{path} {found or 0:,} of {size:,} bytes are there: the "
                    "disk has refused the others"
                )
                raise StorageError(errno.EIO, msg)


def _remembering(
    batches: Iterable[pa.RecordBatch], remember: Callable[[BaseException], None]
) -> Iterator[pa.RecordBatch]:
    try:
        yield from batches
    except BaseException as error:  # a Ctrl-C as well
        remember(error)
        raise
