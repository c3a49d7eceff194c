"""What Lance refuses while a table is written, told as an error of ours."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import lance

from slaf.errors import SlafError, StorageError
from slaf.storage.errors import safe_cause, translate_lance_error
from slaf.tables.read import LANCE_ERRORS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slaf.storage.location import Location

__all__ = ["newest", "refusal", "reported"]


def newest(location: Location, name: str) -> lance.LanceDataset:
    """The newest version of a table, to be followed by another.

    Raises
    ------
    StorageError
        If it cannot be opened.
    """
    try:
        return lance.dataset(location.uri(name), storage_options=location.storage_options)
    except LANCE_ERRORS as error:
        raise refusal(location, name, error) from safe_cause(location.uri(name), error)


@contextmanager
def reported(location: Location, name: str) -> Iterator[None]:
    """Raise what Lance raises of a table as an error of ours."""
    try:
        yield
    except LANCE_ERRORS as error:
        raise refusal(location, name, error) from safe_cause(location.uri(name), error)


def refusal(location: Location, name: str, error: Exception) -> SlafError:
    """An error of ours for one of Lance's, with the table and the reason."""
    return translate_lance_error(
        location.uri(name),
        error,
        lambda text: StorageError(f"{location}: {name} cannot be written: {text}"),
    )
