"""Simulated counts of a droplet experiment, of any size."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Literal

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeVar

    from numpy.typing import NDArray

    Item = TypeVar("Item")
    Result = TypeVar("Result")

__all__ = ["Counts", "Layout", "blocks", "in_threads"]

Layout = Literal["csr", "csc", "dense"]

# Cells drawn at a time.
_BLOCK = 500
# Genes with fewer molecules in a median cell are drawn molecule by molecule.
_RARE = 1.0
# The slots that are divided among the cells of a block in proportion to their depths.
_SLOTS = 1 << 16
# An entry is sorted as one number: its position in the high bits, its count in these low bits.
_COUNT_BITS = 20


@dataclass(frozen=True, slots=True)
class Counts:
    """Parameters of simulated counts; equal parameters give equal counts in every layout.

    A larger number of cells begins with the cells of a smaller one.

    Attributes
    ----------
    n_cells, n_genes
        The shape.
    layout
        Layout of X in the file.
    depth
        Median number of molecules of a cell.
    seed
        Seed of the random numbers.
    compressed
        Whether gzip compresses the file, as in most files.
    normalised
        Whether X contains, instead of counts, the float32 results of scanpy's `normalize_total`
        and `log1p`.
    """

    n_cells: int
    n_genes: int = 30_000
    layout: Layout = "csr"
    depth: float = 6_000.0
    seed: int = 3
    compressed: bool = True
    normalised: bool = False

    @property
    def name(self) -> str:
        """Name of a file of these counts, without suffix."""
        values = "logs" if self.normalised else "counts"
        compression = "gzip" if self.compressed else "plain"
        size = f"{self.n_cells}x{self.n_genes}-{self.depth:g}-{self.seed}"
        return f"{values}-{self.layout}-{compression}-{size}"


def blocks(counts: Counts) -> Iterator[sp.csr_matrix]:
    """The matrix in blocks of cells: Poisson draws of depth × abundance.

    Depth and abundance are log-normal, and abundances vary by a gamma factor from block to
    block: a cell has about 2,600 of 30,000 genes, most with a count of 1, a few of a thousand.
    """
    abundance = np.random.default_rng(counts.seed).lognormal(0, 2.2, counts.n_genes)
    abundance /= abundance.sum()
    starts = range(0, counts.n_cells, _BLOCK)

    def draw(number: int) -> sp.csr_matrix:
        # Always a whole block, so that the cells do not depend on their number.
        rng = np.random.default_rng((counts.seed, number))
        block = _draw_block(counts.depth, abundance, rng)[: counts.n_cells - starts[number]]
        return _normalise(block) if counts.normalised else block

    return in_threads(draw, range(len(starts)))


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Map a function over items in threads, in order, a few items ahead."""
    n_threads = os.cpu_count() or 1
    with ThreadPoolExecutor(n_threads) as pool:
        remaining = iter(items)
        pending = deque(pool.submit(function, item) for item in islice(remaining, 2 * n_threads))
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(function, item) for item in islice(remaining, 1))
            yield result


def _draw_block(
    median_depth: float, abundance: NDArray[np.float64], rng: np.random.Generator
) -> sp.csr_matrix:
    """The cells of one block.

    For a rare gene, the number of molecules in the block is drawn, and then a cell for each:
    the same distribution as a Poisson draw for each cell, in a fraction of the time.
    """
    n_genes = len(abundance)
    depth = rng.lognormal(np.log(median_depth), 0.4, _BLOCK)
    share = abundance * rng.gamma(2.0, 0.5, n_genes)
    common = np.flatnonzero(share * median_depth >= _RARE)
    rare = np.flatnonzero(share * median_depth < _RARE)
    common_counts = rng.poisson(np.outer(depth, share[common]))
    molecules = rng.poisson(share[rare] * depth.sum())
    slots = np.round(np.concatenate([[0], np.cumsum(depth)]) * (_SLOTS / depth.sum()))
    owners = np.repeat(np.arange(_BLOCK, dtype=np.uint32), np.diff(slots).astype(np.int64))
    molecule_positions = owners[rng.integers(0, _SLOTS, molecules.sum(), np.uint16)] * np.uint32(
        n_genes
    )
    molecule_positions += np.repeat(rare.astype(np.uint32), molecules)
    molecule_positions.sort()
    firsts = np.flatnonzero(np.diff(molecule_positions, prepend=molecule_positions[:1] - 1))
    cells, positions = np.nonzero(common_counts)
    entries = np.concatenate([molecule_positions[firsts], cells * n_genes + common[positions]])
    entry_counts = np.concatenate(
        [np.diff(firsts, append=len(molecule_positions)), common_counts[cells, positions]]
    )
    keys = (entries.astype(np.uint64) << np.uint64(_COUNT_BITS)) | entry_counts.astype(np.uint64)
    keys.sort()
    values = (keys & np.uint64((1 << _COUNT_BITS) - 1)).astype(np.float32)
    rows, genes = np.divmod((keys >> np.uint64(_COUNT_BITS)).astype(np.uint32), np.uint32(n_genes))
    starts = np.searchsorted(rows, np.arange(_BLOCK + 1)).astype(np.int32)
    return sp.csr_matrix((values, genes.astype(np.int32), starts), shape=(_BLOCK, n_genes))


def _normalise(block: sp.csr_matrix) -> sp.csr_matrix:
    totals = np.asarray(block.sum(axis=1)).ravel()
    factors = np.repeat(np.float32(1e4) / totals, np.diff(block.indptr))
    values = np.log1p(block.data * factors, dtype=np.float32)
    return sp.csr_matrix((values, block.indices, block.indptr), shape=block.shape)
