"""Counts as a droplet experiment has them, of any size."""

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

    Given = TypeVar("Given")
    Made = TypeVar("Made")

__all__ = ["Counts", "Layout", "blocks", "in_threads"]

Layout = Literal["csr", "csc", "dense"]

# Cells drawn at a time.
_BLOCK = 500
# Genes with fewer molecules in a median cell are drawn molecule by molecule.
_RARE = 1.0
# The lots of which each cell of a block has its share.
_LOTS = 1 << 16
# An entry is sorted as one number: its place above, its count in so many bits below.
_COUNT_BITS = 20


@dataclass(frozen=True, slots=True)
class Counts:
    """Which counts; the same ones give the same file, whatever its layout.

    The first cells of many are those of few.

    Attributes
    ----------
    n_cells, n_genes
        The shape.
    layout
        How the file holds X.
    depth
        The median number of molecules of a cell.
    seed
        Of all that is random.
    packed
        Whether the file is compressed by gzip, as most are, or not at all.
    normalised
        Whether X holds, instead of counts, the float32 logarithms that scanpy's `normalize_total`
        and `log1p` make of them.
    """

    n_cells: int
    n_genes: int = 30_000
    layout: Layout = "csr"
    depth: float = 6_000.0
    seed: int = 3
    packed: bool = True
    normalised: bool = False

    @property
    def name(self) -> str:
        """What a file of them is called, but for its suffix."""
        values = "logs" if self.normalised else "counts"
        packing = "gzip" if self.packed else "plain"
        of = f"{self.n_cells}x{self.n_genes}-{self.depth:g}-{self.seed}"
        return f"{values}-{self.layout}-{packing}-{of}"


def blocks(counts: Counts) -> Iterator[sp.csr_matrix]:
    """The matrix, some cells at a time: Poisson draws of depth × abundance.

    Depth and abundance are log-normal, and abundances vary by a gamma factor from block to
    block: about 2,600 of 30,000 genes are found in a cell, mostly once, a few a thousand times.
    """
    abundance = np.random.default_rng(counts.seed).lognormal(0, 2.2, counts.n_genes)
    abundance /= abundance.sum()
    starts = range(0, counts.n_cells, _BLOCK)

    def drawn(number: int) -> sp.csr_matrix:
        # A whole block is drawn, so that the cells do not depend on how many there are.
        rng = np.random.default_rng((counts.seed, number))
        block = _drawn(counts.depth, abundance, rng)[: counts.n_cells - starts[number]]
        return _normalised(block) if counts.normalised else block

    return in_threads(drawn, range(len(starts)))


def in_threads(make: Callable[[Given], Made], given: Iterable[Given]) -> Iterator[Made]:
    """What is made of each, in order: several at once, and only a few ahead."""
    n_threads = os.cpu_count() or 1
    with ThreadPoolExecutor(n_threads) as pool:
        ahead = iter(given)
        under_way = deque(pool.submit(make, one) for one in islice(ahead, 2 * n_threads))
        while under_way:
            made = under_way.popleft().result()
            under_way.extend(pool.submit(make, one) for one in islice(ahead, 1))
            yield made


def _drawn(
    median_depth: float, abundance: NDArray[np.float64], rng: np.random.Generator
) -> sp.csr_matrix:
    """The cells of one block.

    Of a rare gene the molecules of the block are counted, and each is given to a cell by lot:
    the same distribution as a Poisson draw for each cell, at a fraction of the time.
    """
    n_genes = len(abundance)
    depth = rng.lognormal(np.log(median_depth), 0.4, _BLOCK)
    share = abundance * rng.gamma(2.0, 0.5, n_genes)
    common = np.flatnonzero(share * median_depth >= _RARE)
    rare = np.flatnonzero(share * median_depth < _RARE)
    often = rng.poisson(np.outer(depth, share[common]))
    molecules = rng.poisson(share[rare] * depth.sum())
    lots = np.round(np.concatenate([[0], np.cumsum(depth)]) * (_LOTS / depth.sum()))
    owners = np.repeat(np.arange(_BLOCK, dtype=np.uint32), np.diff(lots).astype(np.int64))
    places = owners[rng.integers(0, _LOTS, molecules.sum(), np.uint16)] * np.uint32(n_genes)
    places += np.repeat(rare.astype(np.uint32), molecules)
    places.sort()
    firsts = np.flatnonzero(np.diff(places, prepend=places[:1] - 1))
    cells, positions = np.nonzero(often)
    entries = np.concatenate([places[firsts], cells * n_genes + common[positions]])
    found = np.concatenate([np.diff(firsts, append=len(places)), often[cells, positions]])
    keys = (entries.astype(np.uint64) << np.uint64(_COUNT_BITS)) | found.astype(np.uint64)
    keys.sort()
    values = (keys & np.uint64((1 << _COUNT_BITS) - 1)).astype(np.float32)
    rows, genes = np.divmod((keys >> np.uint64(_COUNT_BITS)).astype(np.uint32), np.uint32(n_genes))
    starts = np.searchsorted(rows, np.arange(_BLOCK + 1)).astype(np.int32)
    return sp.csr_matrix((values, genes.astype(np.int32), starts), shape=(_BLOCK, n_genes))


def _normalised(block: sp.csr_matrix) -> sp.csr_matrix:
    totals = np.asarray(block.sum(axis=1)).ravel()
    factors = np.repeat(np.float32(1e4) / totals, np.diff(block.indptr))
    values = np.log1p(block.data * factors, dtype=np.float32)
    return sp.csr_matrix((values, block.indices, block.indptr), shape=block.shape)
