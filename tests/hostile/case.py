"""A hostile input: how it is made, and what must come of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from slaf_cli.report import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slaf.testing.strategies import Stored

__all__ = ["Case", "Fate", "converted", "either", "refused"]


class Fate(StrEnum):
    """What must come of an input."""

    REFUSED = "refused"
    CONVERTED = "converted"
    EITHER = "either"
    """Exactly converted, as `slaf verify --against` says, or refused."""


@dataclass(frozen=True)
class Case:
    """A hostile input.

    Attributes
    ----------
    write
        Makes it in an empty folder; gives the path that a user would name.
    fate
        What must come of it.
    says
        What the refusal must say: a regular expression.
    code
        The exit code of the refusal.
    truth
        What the dataset must hold.
    options
        Further words of the command.
    """

    write: Callable[[Path], Path]
    fate: Fate
    says: str = ""
    code: ExitCode = ExitCode.BAD_INPUT
    truth: Stored | None = None
    options: tuple[str, ...] = ()


def refused(
    write: Callable[[Path], Path],
    says: str,
    *options: str,
    code: ExitCode = ExitCode.BAD_INPUT,
) -> Case:
    """An input that is refused with these words."""
    return Case(write, Fate.REFUSED, says, code, options=options)


def converted(write: Callable[[Path], Path], truth: Stored, *options: str) -> Case:
    """An input that only looks odd: it holds just this."""
    return Case(write, Fate.CONVERTED, truth=truth, options=options)


def either(write: Callable[[Path], Path]) -> Case:
    """An input of random damage: what it holds may still be read."""
    return Case(write, Fate.EITHER)
