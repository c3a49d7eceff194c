"""The plan of a loader: its cells, their order on streams, and the memory that it takes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import gcd
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from slaf.errors import SelectionError
from slaf.format.schema import CELLS
from slaf.sparse.ranges import as_positions
from slaf.training.columns import codes_of, combined_codes, obs_columns
from slaf.training.order import Order
from slaf.training.sampling import AllCells, SetSampler, WeightedCells, is_in_split

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from slaf.dataset.dataset import Dataset
    from slaf.training.batch import Encoder
    from slaf.training.options import LoaderOptions
    from slaf.training.rows import RowReader
    from slaf.training.sampling import Sampler

__all__ = ["Plan", "Position"]

# The options that decide which cells make which batch.
_ORDERING: Final = (
    *("batch_size", "shuffle", "seed", "drop_last", "block_size", "blocks", "split", "split_by"),
    *("balance", "samples", "group", "set_size", "controls", "match"),
)

# Standard deviations above the mean that the size of a window may have.
_DEVIATIONS: Final = 6
# Batches in memory besides those made ahead: the one in use, and the next one.
_IN_USE: Final = 2


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the order of a loader.

    Attributes
    ----------
    epoch
        The number of the epoch.
    batches
        The batches of the epoch that each stream has yielded.
    before
        The streams, and the batches of each, that came before with other numbers of streams.
    """

    epoch: int = 0
    batches: int = 0
    before: tuple[tuple[int, int], ...] = ()


class Plan:
    """The cells of a loader, and their order.

    Parameters
    ----------
    dataset
        The dataset.
    cells
        The selected cells.
    options
        The options of the loader.

    Attributes
    ----------
    cells
        The cells of the split.
    sampler
        Gives the cells of each epoch.

    Raises
    ------
    SelectionError
        If a column does not exist, or no cell is left.
    ValueError
        If weights do not fit the cells.
    """

    def __init__(self, dataset: Dataset, cells: NDArray[np.int64], options: LoaderOptions) -> None:
        self._dataset, self.options = dataset, options
        # In an order that is shuffled, neighbours in the dataset are read together.
        order = np.argsort(cells, kind="stable") if options.shuffle else np.arange(len(cells))
        order = order[self._is_in_split()[cells[order]]]
        self.cells = cells[order]
        if not len(self.cells):
            msg = f"{dataset.location}: no cell is selected; select others, or another split"
            raise SelectionError(msg)
        self._weights = self._cell_weights(order, len(cells))
        self.sampler: Sampler = self._make_sampler()

    def order(self, n: int, streams: int) -> Order:
        """The order of `n` units on so many streams.

        Raises
        ------
        ValueError
            If they are too few, or windows are no whole number of batches.
        """
        options, size = self.options, self.sampler.set_size
        batch, block, window = options.batch_size // size, options.block_size, options.blocks
        if options.group:
            # The cells of a set lie anywhere: there are no blocks.
            block, window = 1, max(block * window // options.batch_size, 1) * batch
        return Order(
            n,
            batch_size=batch,
            block_size=block,
            window_blocks=window,
            streams=streams,
            seed=options.seed,
            shuffle=options.shuffle,
            drop_last=options.drop_last,
            smallest=2 if size == 1 else 1,
        )

    def units(self, position: Position) -> NDArray[np.int64]:
        """The units of an epoch that were not yielded before the number of streams changed."""
        units = np.arange(len(self.sampler))
        for streams, batches in position.before:
            epoch = self.order(len(units), streams).epoch(position.epoch)
            units = units[epoch.remaining(batches)]
        return units

    def position_of(self, state: dict[str, Any], streams: int) -> Position:
        """The position of a state, for any number of streams.

        Raises
        ------
        ValueError
            If the state is of other cells or options, or too few cells remain for the streams.
        """
        _check_same(state["loader"], self.fingerprint)
        before = tuple((earlier, batches) for earlier, batches in state["before"])
        if state["streams"] == streams:
            return Position(state["epoch"], state["batches"], before)
        if state["batches"]:
            before = (*before, (state["streams"], state["batches"]))
        position = Position(state["epoch"], 0, before)
        n = len(self.units(position))
        if not n:
            return Position(position.epoch + 1)
        try:
            self.order(n, streams)
        except ValueError as error:
            msg = (
                f"{n:,} cells remain of epoch {position.epoch}, too few for {streams} ranks and "
                f"workers; begin the next epoch with set_epoch({position.epoch + 1})"
            )
            raise ValueError(msg) from error
        return position

    def state_of(self, position: Position, streams: int) -> dict[str, Any]:
        """A position, as JSON."""
        return {
            "epoch": position.epoch,
            "batches": position.batches,
            "streams": streams,
            "before": [list(each) for each in position.before],
            "loader": self.fingerprint,
        }

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """All that decides the order, as JSON."""
        from xxhash import xxh3_128_hexdigest

        def digest(array: NDArray[Any]) -> str:
            return xxh3_128_hexdigest(np.ascontiguousarray(array).data)

        blocks = ((block.start, block.digest) for block in self._dataset.published.blocks)
        options = {name: getattr(self.options, name) for name in _ORDERING}
        weights = None if self._weights is None else digest(self._weights)
        return {
            "dataset": xxh3_128_hexdigest(repr(list(blocks)).encode()),
            "cells": digest(self.cells),
            "weights": weights,
            **{name: _as_json(value) for name, value in options.items()},
        }

    def check(self, streams: int, workers: int, reader: RowReader, encoder: Encoder) -> None:
        """Check that the cells suffice for the streams, and the memory for the windows.

        Raises
        ------
        ValueError
            If not; the error names numbers that fit.
        """
        self.order(len(self.sampler), streams)
        draw = self.sampler.draw(0)
        drawn = draw.cells if draw.controls is None else np.stack([draw.cells, draw.controls])
        sizes = reader.lengths(drawn.ravel())
        copies = drawn.size // draw.cells.size
        n_entries = int(sizes.mean() * self.options.batch_size)
        batches = encoder.n_bytes(self.options.batch_size, n_entries) * copies
        batches *= self.options.prefetch + _IN_USE

        def needed(blocks: int) -> int:
            """The bytes of all workers, with windows of so many blocks."""
            n_cells = blocks * self.options.block_size * copies
            window = self._largest_window(sizes, n_cells) * reader.entry_bytes
            return (window + batches) * workers

        if needed(self.options.blocks) > self.options.memory:
            raise ValueError(self._memory_message(needed))

    def _largest_window(self, sizes: NDArray[np.int64], n: int) -> int:
        """The most entries of a window of `n` cells; with shuffling, almost surely."""
        if len(sizes) <= n:
            return int(sizes.sum())
        if not self.options.shuffle:
            return int(np.add.reduceat(sizes, np.arange(0, len(sizes), n)).max())
        deviation = float(sizes.std()) * (n * self.options.block_size) ** 0.5
        return int(n * sizes.mean() + _DEVIATIONS * deviation)

    def _memory_message(self, needed: Callable[[int], int]) -> str:
        options = self.options
        step = options.batch_size // gcd(options.batch_size, options.block_size)
        fewer = range(options.blocks // step * step, 0, -step)
        blocks = next((blocks for blocks in fewer if needed(blocks) <= options.memory), 0)
        remedy = f"window_blocks={blocks}, or " if blocks else ""
        kilobytes = -(-needed(options.blocks) // 1024)
        return (
            f"windows of {options.blocks} blocks of {options.block_size} cells, and batches of "
            f"{options.batch_size}, take {kilobytes:,} KB, but memory is "
            f'{options.memory // 1024:,} KB; take {remedy}memory="{kilobytes}KB"'
        )

    # --------------------------------------------------------------------------------------- cells

    def _is_in_split(self) -> NDArray[np.bool_]:
        """Whether each cell of the dataset is in the split."""
        by, split = self.options.split_by, self.options.split
        if split is None:
            return np.ones(self._dataset.n_cells, np.bool_)
        frame = obs_columns(self._dataset, () if by is None else (by,))
        if by is None:
            return is_in_split(frame.index.tolist(), split)
        codes, values = codes_of(frame[by])
        # Cells without a value stay together too.
        in_split: NDArray[np.bool_] = is_in_split([*values, ""], split)[codes]
        return in_split

    def _cell_weights(self, order: NDArray[np.int64], n: int) -> NDArray[np.float64] | None:
        """The weight of each cell, if cells are drawn."""
        options = self.options
        if options.balance is not None:
            frame = obs_columns(self._dataset, (options.balance,))
            codes = codes_of(frame[options.balance])[0][self.cells]
            counts = np.bincount(codes[codes >= 0], minlength=int(codes.max()) + 1)
            return np.where(codes >= 0, 1 / np.maximum(counts[codes], 1), 0.0)
        if options.weights is None:
            return None
        if isinstance(options.weights, str):
            frame = obs_columns(self._dataset, (options.weights,))
            return frame[options.weights].to_numpy(np.float64)[self.cells]
        weights = np.asarray(options.weights, np.float64)
        if weights.shape != (n,):
            msg = f"weights has the shape {weights.shape}, but there are {n:,} selected cells"
            raise ValueError(msg)
        return weights[order]

    def _make_sampler(self) -> Sampler:
        options = self.options
        if self._weights is not None:
            n = options.samples or len(self.cells)
            return WeightedCells(self.cells, self._weights, n, options.seed)
        if options.group and options.set_size is not None:
            return self._sets(options.set_size)
        return AllCells(self.cells)

    def _sets(self, set_size: int) -> SetSampler:
        options = self.options
        groups, cells = self._codes(options.group), self.cells
        controls = keys = control_keys = None
        if options.controls is not None:
            is_control = np.zeros(self._dataset.n_cells, np.bool_)
            is_control[as_positions(self._dataset.resolve(CELLS, options.controls))] = True
            controls = cells[is_control[cells]]
            cells = cells[~is_control[cells]]
            codes = self._codes(options.match)
            controls = controls[codes[controls] >= 0]
            keys, control_keys = codes[cells], codes[controls]
        return SetSampler(
            cells,
            groups[cells],
            set_size,
            options.seed,
            shuffle=options.shuffle,
            controls=controls,
            keys=keys,
            control_keys=control_keys,
        )

    def _codes(self, names: Sequence[str]) -> NDArray[np.int64]:
        """A code of each cell of the dataset for the values of some columns; −1 if one lacks."""
        frame = obs_columns(self._dataset, names)
        return combined_codes([codes_of(frame[name])[0] for name in names], len(frame))


def _check_same(recorded: dict[str, Any], current: dict[str, Any]) -> None:
    for name, value in current.items():
        if recorded.get(name) == value:
            continue
        what = f"{name}={recorded.get(name)!r}, and this one has {name}={value!r}"
        if name in {"dataset", "cells", "weights"}:
            what = f"another {name}" if name == "dataset" else f"other {name}"
        msg = f"the state is of a loader with {what}; make the loader as it was made then"
        raise ValueError(msg)


def _as_json(value: Any) -> Any:
    return [_as_json(each) for each in value] if isinstance(value, tuple) else value
