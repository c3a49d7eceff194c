"""Raise errors of Lance as errors of SLAF, with the table and the reason."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import lance

from slaf.errors import DamagedDataset, StorageError
from slaf.storage.errors import safe_cause, translate_lance_error
from slaf.storage.urls import redacted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from slaf.errors import SlafError
    from slaf.storage.location import Location

__all__ = ["LANCE_ERRORS", "changed_since", "read_errors", "translated_errors", "write_errors"]

# Lance raises any of these, for damage to one page the one, to another page the other.
LANCE_ERRORS = (OSError, ValueError, RuntimeError)


@contextmanager
def translated_errors(uri: str, make_error: Callable[[str], SlafError]) -> Iterator[None]:
    """Raise an error of Lance as the one that `make_error` makes of its text.

    An error that a bucket caused is raised as the error of storage that it is.
    """
    try:
        yield
    except LANCE_ERRORS as error:
        raise translate_lance_error(uri, error, make_error) from safe_cause(uri, error)


def write_errors(location: Location, name: str) -> AbstractContextManager[None]:
    """Raise errors of Lance in writing a table as `StorageError`."""
    return translated_errors(
        location.uri(name),
        lambda text: StorageError(f"{location}: {name} cannot be written: {text}"),
    )


def read_errors(
    uri: str, failure: str = "cannot be read", table: lance.LanceDataset | None = None
) -> AbstractContextManager[None]:
    """Raise errors of Lance in reading a table or a data file as `DamagedDataset`.

    Parameters
    ----------
    uri
        The table or the file.
    failure
        The operation that failed, as "cannot be read".
    table
        The table, opened at the version that is read.
    """

    def make_error(text: str) -> SlafError:
        hint = "" if table is None else changed_since(table.uri, table.version)
        return DamagedDataset(f"{redacted(uri)}: {failure} ({text}){hint}")

    return translated_errors(uri, make_error)


def changed_since(uri: str, version: int, options: dict[str, str] | None = None) -> str:
    """Hint for an error in reading a version that is not the newest of its table, or nothing.

    A table that is gone may have been replaced by one in another directory.
    """
    try:
        is_newest = lance.dataset(uri, storage_options=options).version <= version
    except LANCE_ERRORS as error:
        is_newest = "not found" not in str(error).lower()
    return "" if is_newest else "; if it was written to since it was opened, open it anew"
