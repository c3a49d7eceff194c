"""Errors of SLAF, as a tree.

::

    SlafError
    ├── InputError (ValueError)            the input cannot be converted exactly
    │   ├── NoSuchInput (FileNotFoundError)
    │   ├── UnknownFormat                  no format, or more than one, recognises the input
    │   ├── MissingMatrix (LookupError)    the input has no such matrix
    │   ├── DamagedInput                   the input contradicts itself, or cannot be read
    │   ├── GeneMismatch                   genes of inputs differ or are ambiguous
    │   ├── InexactValue                   a value fits no type that a table can hold
    │   └── SourceChanged                  an input differs from the one that was converted
    ├── ConflictError                      the output is not free for this command
    │   ├── OutputExists (FileExistsError) a dataset or something else exists at the output
    │   ├── UnfinishedRun                  another conversion is unfinished at the output
    │   ├── NoPlan (LookupError)           nothing is planned at the output
    │   ├── MissingParts                   parts of a plan are not done, or not valid
    │   ├── DuplicateInput                 an input is in the dataset already, or given twice
    │   │   └── AlreadyInDataset           all inputs are in the dataset: nothing is left to append
    │   └── Locked (BlockingIOError)       another process writes to the output
    ├── DatasetError                       no dataset can be opened
    │   ├── NotADataset (FileNotFoundError)
    │   ├── ConversionInProgress           a conversion is unfinished
    │   ├── UnsupportedFormat              the dataset is of another program or a newer SLAF
    │   └── DamagedDataset (ValueError)    files of the dataset contradict each other
    ├── SelectionError (LookupError)       cells or genes that the dataset does not have
    ├── QueryError (ValueError)            SQL that cannot be run
    ├── ReadOnlyError (TypeError)          an assignment to a view
    ├── ForkedProcess (RuntimeError)       work in a forked process; start it by spawn
    ├── MissingPackage (ImportError)       a package of an extra is not installed
    ├── TargetError (ValueError)           an output cannot be written as requested
    ├── VerificationFailed                 a dataset differs from its digests or its source
    └── StorageError (OSError)             the disk or bucket refused
        ├── NoSuchBucket (FileNotFoundError)
        ├── AccessDenied (PermissionError)     credentials are missing, wrong or insufficient
        └── StorageUnavailable (ConnectionError)   the network or the server fails

Each derives from :class:`SlafError` and, if one fits, from a builtin. Messages name the cause, the
location and a remedy.
"""

from __future__ import annotations

from typing import Any


class SlafError(Exception):
    """Base class of all errors of SLAF.

    Attributes
    ----------
    remedy
        What to do, unless the message says it.
    """

    remedy = ""

    @property
    def message(self) -> str:
        """The fault and its place, with the notes that callers added."""
        # OSError itself would put the number of the error first.
        fault = str(self.args[-1]) if self.args else ""
        notes = (str(note) for note in getattr(self, "__notes__", ()))
        # A place that the fault names is not named again.
        return "; ".join(
            filter(None, [fault, *(n for n in notes if n.removeprefix("in ") not in fault)])
        )

    def __str__(self) -> str:
        """One paragraph: message and remedy."""
        return "; ".join(filter(None, [self.message, self.remedy]))


class InputError(SlafError, ValueError):
    """The input cannot be converted exactly."""


class NoSuchInput(InputError, FileNotFoundError):
    """The input does not exist."""

    remedy = "check the path"


class UnknownFormat(InputError):
    """No format recognises the input, or more than one does."""


class MissingMatrix(InputError, LookupError):
    """The input has no matrix of the requested name."""


class DamagedInput(InputError):
    """The input contradicts itself, or cannot be read to the end.

    Parameters
    ----------
    message
        The damage and its location.
    remedy
        What to do, if not to copy or write the input again.
    """

    remedy = "copy it again from its origin, or write it again"

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        if remedy is not None:
            self.remedy = remedy


class GeneMismatch(InputError):
    """Genes of inputs differ, or their ids are ambiguous."""


class InexactValue(InputError):
    """A value cannot be stored exactly in any type that a table can hold."""


class SourceChanged(InputError):
    """An input differs from the one that was converted, so that nothing can be repaired from it."""


class ConflictError(SlafError):
    """The output is not free for this command."""


class OutputExists(ConflictError, FileExistsError):
    """Something exists at the output, and replacing it was not requested."""


class UnfinishedRun(ConflictError):
    """A conversion of another input, or with other options, is unfinished at the output."""


class NoPlan(ConflictError, LookupError):
    """Nothing is planned at the output."""


class MissingParts(ConflictError):
    """Parts of a plan have no valid receipt, so that nothing is published.

    Attributes
    ----------
    missing
        The indices of the parts, in order.
    """

    def __init__(self, message: str, missing: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.missing = missing


class DuplicateInput(ConflictError):
    """An input is in the dataset already, or was given twice."""


class AlreadyInDataset(DuplicateInput):
    """All inputs are in the dataset already, so that nothing is left to append."""


class Locked(ConflictError, BlockingIOError):
    """Another process is writing to the output."""


class DatasetError(SlafError):
    """No dataset can be opened."""


class NotADataset(DatasetError, FileNotFoundError):
    """There is no SLAF dataset at this location."""


class ConversionInProgress(DatasetError):
    """A conversion is unfinished: there is no dataset yet."""


class UnsupportedFormat(DatasetError):
    """A dataset in a format that this release does not read."""


class DamagedDataset(DatasetError, ValueError):
    """The files of a dataset contradict each other, or break a rule of the format."""


class SelectionError(SlafError, LookupError):
    """The dataset does not have the requested cells or genes."""


class QueryError(SlafError, ValueError):
    """A query cannot be run."""


class ReadOnlyError(SlafError, TypeError):
    """A view, and what it gives, are not changed by assignments."""


class ForkedProcess(SlafError, RuntimeError):
    """Work in a process that was forked from one that read a dataset; start it by spawn."""


class TargetError(SlafError, ValueError):
    """An output cannot be written as requested, or cannot hold the content."""


class StorageError(SlafError, OSError):
    """The disk or the bucket refused to read or to write."""


class NoSuchBucket(StorageError, FileNotFoundError):
    """There is no bucket of this name."""


class AccessDenied(StorageError, PermissionError):
    """The bucket refuses the credentials, or there are none."""


class StorageUnavailable(StorageError, ConnectionError):
    """The bucket did not answer correctly, in spite of retries."""


class MissingPackage(SlafError, ImportError):
    """A package of an extra is not installed."""


class VerificationFailed(SlafError):
    """A dataset differs from its digests or from its source.

    Attributes
    ----------
    report
        The `slaf.Report` with checks and differences.
    """

    def __init__(self, message: str, report: Any) -> None:
        super().__init__(message)
        self.report = report

    def __reduce__(self) -> tuple[Any, ...]:
        """The message and the report: another process hands on both."""
        return type(self), (*self.args, self.report), vars(self)
