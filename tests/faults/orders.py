"""What a process is told to do, what is to befall it meanwhile, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.faults.interposer import Action

__all__ = ["Befallen", "Ended", "Order"]


@dataclass(frozen=True)
class Befallen:
    """What befalls a process.

    Attributes
    ----------
    action, at, argument
        As `interposer.arm` takes them.
    largest_file
        The bytes beyond which the system lets no file grow.
    memory
        The bytes of address space that the system gives to it beyond what it has.
    """

    action: Action = Action.COUNT
    at: int = -1
    argument: int = 0
    largest_file: int | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Order:
    """A command of `slaf`, by its words.

    Attributes
    ----------
    below
        The folder of which changes count.
    """

    words: tuple[str, ...]
    below: str
    befallen: Befallen
    out: str
    err: str


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes
    ----------
    code
        The exit code, or minus the signal that ended it.
    err
        What it wrote to stderr.
    seen, met
        As `interposer` counts them; None of a process that did not live to tell.
    seconds
        How long it took.
    """

    code: int
    err: str
    seen: int | None
    met: int | None
    seconds: float
