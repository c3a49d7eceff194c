"""The cells of an epoch: all of a selection, some drawn by weight, or sets of a group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from slaf.errors import SelectionError
from slaf.training.order import DRAW, random_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["AllCells", "Draw", "Sampler", "SetSampler", "WeightedCells", "is_in_split"]

_WORDS = 2.0**64


@dataclass(frozen=True, slots=True)
class Draw:
    """The cells of an epoch.

    Attributes
    ----------
    cells
        Units × cells of a unit: positions in the dataset.
    controls
        A control of each cell, in the same shape; None without controls.
    """

    cells: NDArray[np.int64]
    controls: NDArray[np.int64] | None = None


class Sampler(Protocol):
    """Gives the cells of an epoch.

    Attributes
    ----------
    set_size
        The cells of a unit, which stay together.
    """

    set_size: int

    def __len__(self) -> int:
        """Number of units in an epoch."""

    def draw(self, epoch: int) -> Draw:
        """The cells of an epoch, in the order in which they are best read."""


class AllCells:
    """Each cell of a selection once.

    Parameters
    ----------
    cells
        Positions in the dataset.
    """

    set_size = 1

    def __init__(self, cells: NDArray[np.int64]) -> None:
        self._draw = Draw(cells[:, None])

    def __len__(self) -> int:
        return len(self._draw.cells)

    def draw(self, epoch: int) -> Draw:  # noqa: ARG002 - all epochs have the same cells
        """All cells."""
        return self._draw


class WeightedCells:
    """Cells drawn with replacement.

    Parameters
    ----------
    cells
        Positions in the dataset.
    weights
        A weight for each cell.
    samples
        The number of cells in an epoch.
    seed
        The seed.

    Raises
    ------
    ValueError
        If a weight is negative or not finite, or all are zero.
    """

    set_size = 1

    def __init__(
        self, cells: NDArray[np.int64], weights: NDArray[np.float64], samples: int, seed: int
    ) -> None:
        if not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
            msg = "weights are numbers from 0 on, at least one of them above 0; correct them"
            raise ValueError(msg)
        self._cells, self._samples, self._seed = cells, samples, seed
        self._bounds = np.cumsum(weights) / weights.sum()
        self._last = int(np.flatnonzero(weights)[-1])

    def __len__(self) -> int:
        return self._samples

    def draw(self, epoch: int) -> Draw:
        """The drawn cells, in the order of the selection."""
        numbers = np.sort(random_words(self._samples, self._seed, epoch, DRAW)) / _WORDS
        at = np.searchsorted(self._bounds, numbers, side="right")
        return Draw(self._cells[np.minimum(at, self._last)][:, None])


class SetSampler:
    """Sets of cells of one group, and a control for each cell.

    Parameters
    ----------
    cells
        Positions in the dataset.
    groups
        The group of each cell, from 0 on; −1 for a cell of none, which is in no set.
    set_size
        The cells of a set.
    seed
        The seed.
    shuffle
        Whether to shuffle the cells of a group; else they stay in their order.
    controls, keys, control_keys
        The positions of controls; the key of each cell, and of each control, which agree in a pair.
        None without controls.

    Raises
    ------
    SelectionError
        If no control has the key of a cell.
    """

    def __init__(
        self,
        cells: NDArray[np.int64],
        groups: NDArray[np.int64],
        set_size: int,
        seed: int,
        *,
        shuffle: bool,
        controls: NDArray[np.int64] | None = None,
        keys: NDArray[np.int64] | None = None,
        control_keys: NDArray[np.int64] | None = None,
    ) -> None:
        self.set_size = set_size
        self._seed, self._shuffle = seed, shuffle
        order = np.argsort(groups, kind="stable")
        order = order[groups[order] >= 0]
        self._cells, self._groups = cells[order], groups[order]
        _, self._starts = np.unique(self._groups, return_index=True)
        self._sizes = np.diff(self._starts, append=len(order))
        self._pairs: _Pairs | None = None
        if controls is not None and keys is not None and control_keys is not None:
            self._pairs = _Pairs(keys[order], controls, control_keys)

    def __len__(self) -> int:
        return int((-(-self._sizes // self.set_size)).sum())

    def draw(self, epoch: int) -> Draw:
        """The sets, group by group."""
        n = len(self._cells)
        order = np.arange(n)
        if self._shuffle:
            words = random_words(n, self._seed, epoch, DRAW)
            order = np.lexsort((words, self._groups))
        # Slots of a last set that has too few cells are filled from the beginning of the group.
        slots = -(-self._sizes // self.set_size) * self.set_size
        within = np.arange(slots.sum()) - np.repeat(np.cumsum(slots) - slots, slots)
        at = order[np.repeat(self._starts, slots) + within % np.repeat(self._sizes, slots)]
        cells = self._cells[at].reshape(-1, self.set_size)
        if self._pairs is None:
            return Draw(cells)
        words = random_words(len(at), self._seed, epoch, DRAW, 1)
        return Draw(cells, self._pairs.draw(at, words).reshape(cells.shape))


class _Pairs:
    """The controls that agree with each cell."""

    def __init__(
        self,
        keys: NDArray[np.int64],
        controls: NDArray[np.int64],
        control_keys: NDArray[np.int64],
    ) -> None:
        order = np.argsort(control_keys, kind="stable")
        self._controls, ordered = controls[order], control_keys[order]
        self._first = np.searchsorted(ordered, keys, side="left")
        self._n = np.searchsorted(ordered, keys, side="right") - self._first
        self.unmatched = np.flatnonzero(self._n == 0)
        if len(self.unmatched):
            msg = (
                f"{len(self.unmatched):,} cells have no control that agrees with them in the "
                "columns of match; match fewer columns, select other cells, or widen controls"
            )
            raise SelectionError(msg)

    def draw(self, cells: NDArray[np.int64], words: NDArray[np.uint64]) -> NDArray[np.int64]:
        """A control for each of some cells."""
        within = words % self._n[cells].astype(np.uint64)
        drawn: NDArray[np.int64] = self._controls[self._first[cells] + within.astype(np.int64)]
        return drawn


def is_in_split(values: Sequence[Any], split: tuple[str, tuple[float, ...]]) -> NDArray[np.bool_]:
    """Whether each value belongs to a part: decided by its xxh3 alone.

    Parameters
    ----------
    values
        The values, as text.
    split
        The part, and the shares of training (and validation).

    Examples
    --------
    >>> is_in_split(["D1", "D2", "D3"], ("train", (0.5,))).tolist()
    [True, False, True]
    """
    from xxhash import xxh3_64_intdigest

    name, shares = split
    hashed = [xxh3_64_intdigest(str(value).encode()) for value in values]
    bounds = np.cumsum([0.0, *shares, 1.0])
    bounds[-1] = np.inf
    # Of two parts, the second has either name.
    at = min(("train", "validation", "test").index(name), len(shares))
    numbers = np.array(hashed, np.uint64) / _WORDS
    within: NDArray[np.bool_] = (numbers >= bounds[at]) & (numbers < bounds[at + 1])
    return within
