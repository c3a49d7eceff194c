"""The order of training: which cells make which batch, as pure functions of seed and epoch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import gcd
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["DRAW", "SUBSET", "Epoch", "Order", "Window", "fitting_window_blocks", "random_words"]

# The purpose of random words: words of different purposes are independent.
_BLOCKS: Final = 0
_CELLS: Final = 1
SUBSET: Final = 2
DRAW: Final = 3

_WORD: Final = (1 << 64) - 1


def random_words(
    n: int, seed: int, epoch: int, purpose: int, number: int = 0
) -> NDArray[np.uint64]:
    """Random words of 64 bits: the raw stream of Philox, the same in every release of numpy.

    Parameters
    ----------
    n
        How many.
    seed, epoch, purpose, number
        The key of the stream: any seed, an epoch below 2**31, one of the purposes of this module,
        and a number below 2**31.
    """
    key = np.array([seed & _WORD, epoch << 33 | purpose << 31 | number], np.uint64)
    words: NDArray[np.uint64] = np.random.Philox(key=key).random_raw(n)
    return words


def _permutation(n: int, *key: int) -> NDArray[np.int64]:
    """A random order of `n` things, by the key of its random words."""
    return np.argsort(random_words(n, *key), kind="stable")


def fitting_window_blocks(batch_size: int, block_size: int, near: int = 256) -> int:
    """The number of blocks nearest to `near` whose cells make whole batches.

    Examples
    --------
    >>> fitting_window_blocks(256, 64), fitting_window_blocks(100, 64)
    (256, 250)
    """
    step = batch_size // gcd(batch_size, block_size)
    return max(round(near / step), 1) * step


@dataclass(frozen=True, slots=True)
class Window:
    """Cells that are in memory together.

    Attributes
    ----------
    number
        The number of the window in the epoch.
    first_batch
        The number of its first batch in its stream.
    cuts
        The start of each batch in the order of blocks, and the end of the last.
    """

    number: int
    first_batch: int
    cuts: NDArray[np.int64]

    @property
    def n_batches(self) -> int:
        """Number of batches."""
        return len(self.cuts) - 1


@dataclass(frozen=True)
class Order:
    """The order of `n` cells in every epoch, for a number of streams.

    A stream is a rank, or a worker of a rank. Blocks of neighbouring cells are permuted; windows of
    blocks are shuffled cell by cell; window *w* belongs to stream *w* mod `streams`. The last whole
    window of each stream and what remains are divided again, into batches of nearly equal sizes, so
    that every stream has as many batches.

    Parameters
    ----------
    n
        The number of cells.
    batch_size
        The cells of a batch.
    block_size
        Neighbouring cells that are read together.
    window_blocks
        Blocks that are in memory together.
    streams
        The number of streams.
    seed
        Any integer.
    shuffle
        Whether to permute; else all is in the given order.
    drop_last
        Whether to leave out cells so that every batch has `batch_size` cells; else each cell comes
        once, and a few batches at the end of an epoch are smaller (with a `batch_size` of 2 or 3,
        of up to 4 cells).
    smallest
        The fewest cells of a batch.

    Raises
    ------
    ValueError
        If a window is no whole number of batches, or there are too few cells.
    """

    n: int
    batch_size: int = 256
    block_size: int = 64
    window_blocks: int = 256
    streams: int = 1
    seed: int = 0
    shuffle: bool = True
    drop_last: bool = False
    smallest: int = 2

    def __post_init__(self) -> None:
        if self.window_cells % self.batch_size:
            fitting = fitting_window_blocks(self.batch_size, self.block_size, self.window_blocks)
            msg = (
                f"a window of block_size × window_blocks = {self.block_size} × "
                f"{self.window_blocks} cells is no whole number of batches of batch_size="
                f"{self.batch_size}; take window_blocks={fitting}"
            )
            raise ValueError(msg)
        if not self.n_batches:
            self._refuse()

    def _refuse(self) -> None:
        needed = self.batch_size if self.drop_last else self.smallest
        remedy = "a smaller batch_size, or drop_last=False" if self.drop_last else "more cells"
        if self.streams > 1:
            remedy += ", or fewer ranks and workers"
        msg = (
            f"{self.n:,} are too few for {self.streams} ranks and workers, each of which needs at "
            f"least {needed}; take {remedy}"
        )
        raise ValueError(msg)

    @property
    def window_cells(self) -> int:
        """The cells of a whole window."""
        return self.block_size * self.window_blocks

    @property
    def whole_windows(self) -> int:
        """The whole windows of each stream that are not divided again."""
        return max(self.n // (self.window_cells * self.streams) - 1, 0)

    @property
    def remainder(self) -> tuple[int, int]:
        """The cells that are divided again, and the batches of each stream that they make."""
        cells = self.n - self.whole_windows * self.window_cells * self.streams
        if self.drop_last:
            batches = cells // (self.batch_size * self.streams)
            return batches * self.batch_size * self.streams, batches
        batches = -(-cells // (self.batch_size * self.streams))
        return cells, min(batches, cells // (self.smallest * self.streams))

    @property
    def n_batches(self) -> int:
        """Batches of each stream in an epoch."""
        return self.whole_windows * (self.window_cells // self.batch_size) + self.remainder[1]

    def epoch(self, number: int) -> Epoch:
        """The order of an epoch."""
        return Epoch(self, number)


@dataclass(frozen=True)
class Epoch:
    """The order of one epoch.

    Parameters
    ----------
    order
        The order.
    number
        The number of the epoch, from 0 on.
    """

    order: Order
    number: int

    @cached_property
    def _blocks(self) -> NDArray[np.int64]:
        """The blocks in their order; the last one, which may be short, stays the last."""
        n = self.order.n // self.order.block_size
        blocks = np.arange(n + 1)
        if self.order.shuffle:
            blocks[:n] = _permutation(n, self.order.seed, self.number, _BLOCKS)
        return blocks

    def windows(self, stream: int = 0, start: int = 0) -> Iterator[Window]:
        """The windows of a stream, from that of its batch number `start` on."""
        order = self.order
        per_window = order.window_cells // order.batch_size
        for at in range(min(start // per_window, order.whole_windows), order.whole_windows):
            number = at * order.streams + stream
            cuts = np.arange(per_window + 1) * order.batch_size + number * order.window_cells
            yield Window(number, at * per_window, cuts)
        for window in self._last_windows(stream, per_window):
            if window.first_batch + window.n_batches > start:
                yield window

    def _last_windows(self, stream: int, per_window: int) -> Iterator[Window]:
        """The windows of the cells that are divided again: one, or two of half the batches."""
        order = self.order
        cells, batches = order.remainder
        first, begin = (
            order.whole_windows * per_window,
            order.whole_windows * order.window_cells * order.streams,
        )
        bounds = begin + np.arange(batches * order.streams + 1) * cells // (batches * order.streams)
        half = batches if batches <= per_window else -(-batches // 2)
        done = 0
        for at, n_batches in enumerate((half, batches - half)):
            if n_batches:
                number = (order.whole_windows + at) * order.streams + stream
                low = done * order.streams + stream * n_batches
                yield Window(number, first + done, bounds[low : low + n_batches + 1])
                done += n_batches

    def positions(self, window: Window) -> NDArray[np.int64]:
        """The cells of a window in their order, from 0 to `n`."""
        size = self.order.block_size
        slots = np.arange(window.cuts[0], window.cuts[-1])
        cells: NDArray[np.int64] = self._blocks[slots // size] * size + slots % size
        if not self.order.shuffle:
            return cells
        key = self.order.seed, self.number, _CELLS, window.number
        shuffled: NDArray[np.int64] = cells[_permutation(len(cells), *key)]
        return shuffled

    def batches(self, stream: int = 0, start: int = 0) -> Iterator[NDArray[np.int64]]:
        """The batches of a stream, from number `start` on, as cells from 0 to `n`."""
        for window in self.windows(stream, start):
            cells, cuts = self.positions(window), window.cuts - window.cuts[0]
            for at in range(max(start - window.first_batch, 0), window.n_batches):
                yield cells[cuts[at] : cuts[at + 1]]

    def remaining(self, done: int) -> NDArray[np.int64]:
        """The cells that no stream has had after `done` batches of each, ascending."""
        left = np.ones(self.order.n, np.bool_)
        for stream in range(self.order.streams):
            for window in self.windows(stream):
                end = min(done - window.first_batch, window.n_batches)
                if end <= 0:
                    break
                left[self.positions(window)[: window.cuts[end] - window.cuts[0]]] = False
        return np.flatnonzero(left)
