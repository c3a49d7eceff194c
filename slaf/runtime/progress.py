"""How a run tells whoever watches it how far it is."""

from __future__ import annotations

from typing import Protocol

__all__ = ["NullProgress", "Progress"]


class Progress(Protocol):
    """Watches a conversion or a verification; its methods may be called from several threads."""

    def begin(self, cells: int, nonzeros: int, total_cells: int) -> None:
        """The work begins, or begins again, with so much of it done already.

        A conversion that is resumed begins where it was stopped; one that meets a value which
        asks for a wider type begins again with nothing done.

        Parameters
        ----------
        cells, nonzeros
            What is done.
        total_cells
            All cells there are to be handled: known beforehand for every input, as the number
            of nonzeros is not.
        """

    def advance(self, cells: int, nonzeros: int) -> None:
        """So many more are done."""


class NullProgress:
    """For runs that nobody watches."""

    def begin(self, cells: int, nonzeros: int, total_cells: int) -> None:
        """Say nothing."""

    def advance(self, cells: int, nonzeros: int) -> None:
        """Say nothing."""
