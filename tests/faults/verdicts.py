"""What came of a fault, in the words of a table."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from slaf.errors import DatasetError, SlafError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.operations import Operation

__all__ = ["Verdict", "judged"]


class Verdict(StrEnum):
    """What came of it.

    Attributes
    ----------
    SOUND
        What was published is whole, or the same command made it so, with nothing left behind.
    LOST, DOUBLED
        Rows are missing, or are there that should not be.
    UNREADABLE
        What says that it is published cannot be opened or proven.
    STUCK
        The same command does not finish it.
    WRONG
        It differs in another way, something is left behind, or a part was written again.
    UNTOLD
        The command ended without saying why, by another exit code, or not at all.
    """

    SOUND = "sound"
    LOST = "lost"
    DOUBLED = "doubled"
    UNREADABLE = "unreadable"
    STUCK = "stuck"
    WRONG = "wrong"
    UNTOLD = "untold"


def judged(
    operation: Operation, output: Path, expected: Any, whole: Any, *, finishing: bool
) -> tuple[Verdict, str]:
    """Check an output of which a fault has been made, and say what is the matter if it fails.

    Parameters
    ----------
    expected
        What the operation makes.
    whole
        The rows of that.
    finishing
        Give the command once more; else only look.
    """
    check: Callable[[Path, Any], None]
    check = operation.finish if finishing else operation.check_stopped
    try:
        check(output, expected)
    except AssertionError as error:
        return _difference(operation, output, whole), f"{error}"
    except SlafError as error:
        unreadable = isinstance(error, DatasetError) or not finishing
        return (Verdict.UNREADABLE if unreadable else Verdict.STUCK), repr(error)
    return Verdict.SOUND, ""


def _difference(operation: Operation, output: Path, whole: Any) -> Verdict:
    try:
        found = operation.rows(output)
    except SlafError:
        return Verdict.UNREADABLE
    if found is None:
        return Verdict.LOST
    if whole - found:
        return Verdict.LOST
    return Verdict.DOUBLED if found - whole else Verdict.WRONG
