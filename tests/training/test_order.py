"""The order of training: law 10, for any numbers."""

from __future__ import annotations

from itertools import islice
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slaf.training.order import Order, fitting_window_blocks, random_words

if TYPE_CHECKING:
    from numpy.typing import NDArray


@st.composite
def orders(draw: st.DrawFn) -> Order:
    """An order of few cells, in small blocks, windows and batches."""
    block, batch = draw(st.integers(1, 9)), draw(st.integers(2, 40))
    step = batch // gcd(batch, block)
    streams, drop_last = draw(st.integers(1, 6)), draw(st.booleans())
    fewest = streams * (batch if drop_last else 2)
    return Order(
        n=draw(st.integers(fewest, 3000)),
        batch_size=batch,
        block_size=block,
        window_blocks=step * draw(st.integers(1, 4)),
        streams=streams,
        seed=draw(st.integers(-(1 << 70), 1 << 70)),
        shuffle=draw(st.booleans()),
        drop_last=drop_last,
    )


EPOCHS = st.integers(0, (1 << 31) - 1)


def batches_of(order: Order, epoch: int) -> list[list[NDArray[np.int64]]]:
    """The batches of each stream."""
    return [list(order.epoch(epoch).batches(stream)) for stream in range(order.streams)]


@given(orders(), EPOCHS)
@example(Order(49_153, streams=3), 0)
@example(Order(49_151, streams=3), 0)
@example(Order(7, 3, 1, 3, streams=2), 0)
@example(Order(3, 2, 1, 2), 0)
def test_an_epoch(order: Order, epoch: int) -> None:
    """Each cell comes once; each stream has as many batches, none of them small or too large."""
    streams = batches_of(order, epoch)
    assert {len(batches) for batches in streams} == {order.n_batches}
    sizes = {len(batch) for batches in streams for batch in batches}
    assert min(sizes) >= 2
    assert max(sizes) <= max(order.batch_size, 4)
    cells = np.concatenate([batch for batches in streams for batch in batches])
    if order.drop_last:
        assert sizes == {order.batch_size}
        assert len(np.unique(cells)) == len(cells)
        assert order.n - len(cells) < order.batch_size * order.streams
    else:
        np.testing.assert_array_equal(np.sort(cells), np.arange(order.n))


@given(orders(), EPOCHS)
def test_the_last_batches_are_alike(order: Order, epoch: int) -> None:
    """Batches are whole, but those of the remainder, which differ by one cell at most."""
    sizes = [len(batch) for batches in batches_of(order, epoch) for batch in batches]
    rest = [size for size in sizes if size != order.batch_size]
    assert not rest or max(rest) - min(rest) <= 1


@given(orders(), EPOCHS)
def test_windows_fit(order: Order, epoch: int) -> None:
    """No window has more cells than `block_size` × `window_blocks`; their numbers differ."""
    windows = [
        window for stream in range(order.streams) for window in order.epoch(epoch).windows(stream)
    ]
    if order.batch_size >= 4:
        assert all(w.cuts[-1] - w.cuts[0] <= order.window_cells for w in windows)
    assert len({window.number for window in windows}) == len(windows)


@given(orders(), EPOCHS, st.data())
def test_a_start_in_the_middle(order: Order, epoch: int, data: st.DataObject) -> None:
    """From any batch on, the batches are those of the whole epoch."""
    start = data.draw(st.integers(0, order.n_batches))
    for stream in range(order.streams):
        whole = list(order.epoch(epoch).batches(stream))
        rest = list(order.epoch(epoch).batches(stream, start))
        assert len(rest) == len(whole) - start
        for one, other in zip(rest, whole[start:], strict=True):
            np.testing.assert_array_equal(one, other)


@given(orders(), EPOCHS, st.data())
def test_what_remains(order: Order, epoch: int, data: st.DataObject) -> None:
    """After some batches of each stream, the cells of the others remain, for any other streams."""
    done = data.draw(st.integers(0, order.n_batches))
    had = [b for s in range(order.streams) for b in islice(order.epoch(epoch).batches(s), done)]
    left = order.epoch(epoch).remaining(done)
    both = np.concatenate([*had, left])
    np.testing.assert_array_equal(np.sort(both), np.arange(order.n))


@given(orders(), EPOCHS)
def test_it_is_a_function_of_seed_and_epoch(order: Order, epoch: int) -> None:
    """The same numbers give the same batches; without shuffling, in the given order."""
    first = np.concatenate(batches_of(order, epoch)[0])
    again = np.concatenate(batches_of(Order(**vars(order)), epoch)[0])
    np.testing.assert_array_equal(first, again)
    if not order.shuffle:
        for stream in batches_of(order, epoch):
            assert (np.diff(np.concatenate(stream)) > 0).all()


def test_seeds_and_epochs_differ() -> None:
    """Another seed, or another epoch, is another order."""
    firsts = {
        tuple(next(Order(5000, seed=seed).epoch(epoch).batches()))
        for seed in (0, 1, 2**64 - 1)
        for epoch in (0, 1)
    }
    assert len(firsts) == 6


def test_random_words_do_not_change() -> None:
    """The words, and so the orders, are those of earlier releases."""
    words = random_words(2, 5, 3, 1, 7)
    assert words.tolist() == random_words(3, 5, 3, 1, 7).tolist()[:2]
    batch = next(Order(1000, 8, 4, 16, seed=5).epoch(3).batches())
    assert batch.tolist() == [585, 932, 562, 128, 220, 586, 385, 851]


def _entropy(labels: NDArray[np.int64]) -> float:
    """The entropy of labels, in bits."""
    shares = np.bincount(labels) / len(labels)
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n", [50_000, 203_456])
def test_batches_of_sorted_labels_are_mixed(n: int, seed: int) -> None:
    """On cells sorted by 14 labels, batches are at least 0.985 as mixed as random ones.

    Distinct blocks are counted too: a batch comes from nearly as many as it can.
    """
    labels = np.sort(np.random.default_rng(seed).integers(0, 14, n))
    order = Order(n, seed=seed)
    batches = list(order.epoch(0).batches())
    rng = np.random.default_rng(seed)
    at_random = [_entropy(labels[rng.choice(n, 256, replace=False)]) for _ in range(200)]
    mixed = np.mean([_entropy(labels[batch]) for batch in batches])
    assert mixed >= 0.985 * np.mean(at_random)
    assert np.mean([len(np.unique(batch // 64)) for batch in batches]) > 140


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"n": 1000, "batch_size": 100}, "take window_blocks=250"),
        ({"n": 1000, "batch_size": 100, "window_blocks": 30}, "take window_blocks=25"),
        ({"n": 3, "streams": 2}, "3 are too few for 2 ranks and workers, .* at least 2"),
        ({"n": 0}, "0 are too few"),
        ({"n": 255, "drop_last": True}, "at least 256; take a smaller batch_size, or drop_last"),
    ],
)
def test_numbers_that_do_not_fit(numbers: dict[str, Any], message: str) -> None:
    """They are refused, with others that fit."""
    with pytest.raises(ValueError, match=message):
        Order(**numbers)


@given(st.integers(2, 5000), st.integers(1, 500), st.integers(1, 600))
def test_window_blocks_that_fit(batch_size: int, block_size: int, near: int) -> None:
    """Its windows are whole batches, and no other number that fits is nearer."""
    fitting = fitting_window_blocks(batch_size, block_size, near)
    assert fitting * block_size % batch_size == 0
    step = batch_size // gcd(batch_size, block_size)
    assert abs(fitting - near) <= step / 2 or fitting == step


def test_a_hundred_million_cells() -> None:
    """The first batch of many cells takes no list of all of them."""
    batch = next(Order(100_000_000, streams=8).epoch(0).batches(7))
    assert len(batch) == 256
