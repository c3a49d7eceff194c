"""Write rows to files of Lance tables, synced to disk, which readers see after a commit only."""

from __future__ import annotations

import errno
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from lance.file import LanceFileWriter
from lance.fragment import write_fragments

from slaf.annotations.lazy_table import PIECE_ROWS, LazyTable
from slaf.errors import SlafError, StorageError
from slaf.runtime.forks import check_not_forked
from slaf.runtime.prefetch import prefetch
from slaf.storage.location import Location
from slaf.tables.commit import commit, mode_of
from slaf.tables.errors import write_errors
from slaf.tables.fragments import STORAGE_VERSION, Fragment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from slaf.annotations.lazy_table import AnyTable

__all__ = ["encoded_size", "write_part", "write_table"]


# A part is one fragment, however many rows it has.
_ROWS_PER_FILE: Final = 1 << 31

# Bytes of a column that are encoded at a time; larger pages are slower and compress no better.
_PAGE_BYTES: Final = 2 << 20


# Batches that are decoded ahead while Lance encodes a page, in threads; about as many as a page
# has.
_BATCHES_AHEAD: Final = 4

# Each piece of a lazy table is a page, for less memory.
_LAZY_PAGE_BYTES: Final = 4 * PIECE_ROWS
_PIECES_AHEAD: Final = 1


def write_part(
    location: Location,
    name: str,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    *,
    appending: bool = False,
    page_bytes: int = _PAGE_BYTES,
    ahead: int = _BATCHES_AHEAD,
) -> list[Fragment]:
    """Write rows to data files of a table, which no version names before a commit.

    Parameters
    ----------
    location, name
        The table: a directory of this location.
    schema
        The columns of the rows.
    batches
        The rows, in order. An exception that they raise is raised unchanged.
    appending
        The rows will be appended to those of the table, instead of replacing them.
    page_bytes
        The bytes of a column that are encoded at a time.
    ahead
        The batches that wait to be encoded.

    Returns
    -------
    list of Fragment
        The fragments, in order; none for no rows. Their files are synced to disk.

    Raises
    ------
    StorageError
        If the disk refuses to write, or a file is incomplete.
    """
    check_not_forked()
    caught: list[BaseException] = []
    reader = pa.RecordBatchReader.from_batches(
        schema, _recording_errors(prefetch(batches, ahead), caught)
    )
    with location.mutation("write", name), _original_error(caught), write_errors(location, name):
        written = write_fragments(
            reader,
            location.uri(name),
            schema,
            mode="append" if appending else mode_of(location, name),
            max_rows_per_file=_ROWS_PER_FILE,
            data_cache_bytes=page_bytes,
            data_storage_version=STORAGE_VERSION,
            storage_options=location.storage_options,
        )
    fragments = [Fragment(fragment.to_json()) for fragment in written]
    location.sync(f"{name}/{path}" for fragment in fragments for path in fragment.paths)
    _check_sizes(location, name, fragments)
    return fragments


def write_table(location: Location, name: str, table: AnyTable) -> int:
    """Write and commit all rows of a table; number of the new version."""
    if isinstance(table, LazyTable):
        fragments = _write_pieces(location, name, table)
    else:
        batches = table.combine_chunks().to_batches(max_chunksize=_rows_per_batch(table.schema))
        fragments = write_part(location, name, table.schema, batches)
    return commit(location, name, table.schema, fragments)


def _write_pieces(location: Location, name: str, table: LazyTable) -> list[Fragment]:
    return write_part(
        location,
        name,
        table.schema,
        (batch for piece in table.pieces() for batch in piece.combine_chunks().to_batches()),
        page_bytes=_LAZY_PAGE_BYTES,
        ahead=_PIECES_AHEAD,
    )


def _rows_per_batch(schema: pa.Schema) -> int:
    """The rows of a batch, for each of which Lance begins a page.

    Of several batches in a page it would concatenate the equal categories. One batch of all rows
    takes twice the memory.
    """
    widths = [
        field.type.index_type.bit_width for field in schema if pa.types.is_dictionary(field.type)
    ]
    return _PAGE_BYTES * 8 // min(widths, default=32)


def encoded_size(batch: pa.RecordBatch) -> int:
    """The bytes that rows take in a data file."""
    with tempfile.TemporaryDirectory(prefix="slaf-") as folder, write_errors(Location(folder), ""):
        file = Path(folder, "sample.lance")
        with LanceFileWriter(
            str(file), batch.schema, data_cache_bytes=_PAGE_BYTES, version=STORAGE_VERSION
        ) as writer:
            writer.write_batch(batch)
        return file.stat().st_size


def _check_sizes(location: Location, name: str, fragments: Sequence[Fragment]) -> None:
    """Refuse incomplete files: Lance ignores the result of its last buffered write."""
    if location.is_remote:
        return  # buckets store whole objects only
    for fragment in fragments:
        for path, size in fragment.sizes.items():
            stored = location.size_of(f"{name}/{path}")
            if stored != size:
                msg = (
                    f"{location}: {name}/{path} has {stored or 0:,} of {size:,} bytes: the disk "
                    "refused the others"
                )
                raise StorageError(errno.EIO, msg)


def _recording_errors(
    batches: Iterable[pa.RecordBatch], caught: list[BaseException]
) -> Iterator[pa.RecordBatch]:
    try:
        yield from batches
    except BaseException as error:  # a Ctrl-C as well
        caught.append(error)
        raise


@contextmanager
def _original_error(caught: list[BaseException]) -> Iterator[None]:
    """Raise the error of the input, which Lance turns into an OSError with the text of it."""
    try:
        yield
    except SlafError:
        if caught:
            raise caught[0] from None
        raise
