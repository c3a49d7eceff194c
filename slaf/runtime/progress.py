"""The protocol by which a run reports its progress."""

from __future__ import annotations

from typing import Protocol

__all__ = ["NullProgress", "Progress"]


class Progress(Protocol):
    """Observer of a run; several threads may call its methods."""

    def begin(self, cells: int, nonzeros: int, total_cells: int) -> None:
        """The run begins, or begins again, with some of the work done.

        A resumed conversion begins with the finished parts; one that restarts with a wider value
        type begins with nothing done.

        Parameters
        ----------
        cells, nonzeros
            The work that is done.
        total_cells
            The whole work; the number of nonzeros is not known for every input.
        """

    def advance(self, cells: int, nonzeros: int) -> None:
        """More cells and nonzeros are done."""


class NullProgress:
    """A progress without an observer."""

    def begin(self, cells: int, nonzeros: int, total_cells: int) -> None:
        """Nothing."""

    def advance(self, cells: int, nonzeros: int) -> None:
        """Nothing."""
