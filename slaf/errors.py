"""The errors that SLAF raises, each with what was found, where, and what to do.

::

    SlafError
    ├── InputError (ValueError)            the input cannot be converted exactly
    │   ├── NoSuchInput (FileNotFoundError)
    │   ├── UnknownFormat                  no format, or more than one, recognises it
    │   ├── MissingMatrix (LookupError)    it has no such matrix
    │   ├── DamagedInput                   it contradicts itself, or cannot be read
    │   ├── GeneMismatch                   inputs whose genes are not those of each other
    │   ├── InexactValue                   a value fits no type that a table can hold
    │   └── SourceChanged                  it no longer gives what a dataset was made of
    ├── ConflictError                      the output is not free for this command
    │   ├── OutputExists (FileExistsError) a finished dataset, or something else, is there
    │   ├── UnfinishedRun                  another conversion is unfinished there
    │   ├── DuplicateInput                 the same input is in the dataset, or given twice
    │   └── Locked (BlockingIOError)       another process is writing there
    ├── DatasetError                       there is no dataset that can be opened
    │   ├── NotADataset (FileNotFoundError)
    │   ├── ConversionInProgress           a conversion is unfinished; nothing is shown of it
    │   ├── UnsupportedFormat              written by another program, or a newer SLAF
    │   └── DamagedDataset (ValueError)    its files contradict each other
    ├── SelectionError (LookupError)       cells or genes that the dataset does not have
    ├── QueryError (ValueError)            SQL that cannot be run
    ├── TargetError (ValueError)           an output cannot be written as it was asked for
    ├── VerificationFailed                 a dataset is not what its proof says
    └── StorageError (OSError)             the disk or bucket refused
        ├── NoSuchBucket (FileNotFoundError)
        ├── AccessDenied (PermissionError)     the credentials are wrong, or do not allow it
        └── StorageUnavailable (ConnectionError)   the network or the server fails

Each derives from :class:`SlafError` and, where one fits, from a builtin.
"""

from __future__ import annotations

from typing import Any


class SlafError(Exception):
    """Any error that SLAF raises on purpose.

    Attributes
    ----------
    remedy
        What to do, where the message does not say it itself.
    """

    remedy = ""

    def __str__(self) -> str:
        """One paragraph: the message, the places that were added on the way up, the remedy."""
        notes = getattr(self, "__notes__", ())
        # Not what OSError makes of it, which begins with the number of the error.
        return "; ".join(filter(None, [*map(str, self.args[-1:]), *notes, self.remedy]))


class InputError(SlafError, ValueError):
    """The input cannot be converted exactly."""


class NoSuchInput(InputError, FileNotFoundError):
    """There is nothing at the place of the input."""

    remedy = "check the path"


class UnknownFormat(InputError):
    """No format recognises the input, or more than one does."""


class MissingMatrix(InputError, LookupError):
    """The input has no matrix of the name asked for."""


class DamagedInput(InputError):
    """The input contradicts itself, or cannot be read to its end.

    Parameters
    ----------
    message
        What was found, and where.
    remedy
        What to do, if it is anything else than to get the input once more.
    """

    remedy = "copy it again from where it came, or write it anew"

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        if remedy is not None:
            self.remedy = remedy


class GeneMismatch(InputError):
    """Inputs have other genes than each other, or ids that do not tell which gene is meant."""


class InexactValue(InputError):
    """A value cannot be stored exactly in any type that a table can hold."""


class SourceChanged(InputError):
    """An input no longer gives what a dataset was made of, so nothing can be mended from it."""


class ConflictError(SlafError):
    """The output is not free for this command."""


class OutputExists(ConflictError, FileExistsError):
    """Something is at the output already, and it was not asked to be replaced."""


class UnfinishedRun(ConflictError):
    """An unfinished conversion of another input, or with other options, is at the output."""


class DuplicateInput(ConflictError):
    """The same input is in the dataset already, or was given twice."""


class Locked(ConflictError, BlockingIOError):
    """Another process is writing to the output."""


class DatasetError(SlafError):
    """There is no dataset that can be opened."""


class NotADataset(DatasetError, FileNotFoundError):
    """There is nothing here that is a SLAF dataset."""


class ConversionInProgress(DatasetError):
    """A conversion has not been finished: there is no dataset yet."""


class UnsupportedFormat(DatasetError):
    """A dataset in a format that this release does not read."""


class DamagedDataset(DatasetError, ValueError):
    """The files of a dataset contradict each other, or break a rule of the format."""


class SelectionError(SlafError, LookupError):
    """Cells or genes were asked for that the dataset does not have."""


class QueryError(SlafError, ValueError):
    """A query cannot be run; the message is the engine's."""


class TargetError(SlafError, ValueError):
    """An output cannot be written as it was asked for, or cannot hold what it should."""


class StorageError(SlafError, OSError):
    """The disk or the bucket refused to read or to write."""


class NoSuchBucket(StorageError, FileNotFoundError):
    """There is no bucket of this name, which is not to say that there is no dataset."""


class AccessDenied(StorageError, PermissionError):
    """The bucket refuses these credentials, or there are none."""


class StorageUnavailable(StorageError, ConnectionError):
    """The bucket did not answer, or not as it should, however often it was asked."""


class VerificationFailed(SlafError):
    """A dataset is not what its own proof, or its source, says.

    Attributes
    ----------
    report
        A `slaf.Report`: what was checked, and each difference.
    """

    def __init__(self, message: str, report: Any) -> None:
        super().__init__(message)
        self.report = report
