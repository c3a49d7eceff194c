"""Random numbers of cells: functions of a seed and the id of a cell, and of nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["cell_keys", "mixed"]


def cell_keys(ids: pa.ChunkedArray, seed: int, prefix: str = "") -> NDArray[np.uint64]:
    """A number for each cell, uniform over 64 bits.

    Parameters
    ----------
    ids
        The ids of the cells.
    seed
        Another seed gives other numbers.
    prefix
        Text before each id.
    """
    digest = xxhash.xxh3_64_intdigest
    texts: list[Any] = ids.to_pylist()
    return np.fromiter(
        (digest(f"{prefix}{text}".encode(), seed=seed) for text in texts), np.uint64, len(texts)
    )


def mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Random-looking numbers, no two of different numbers equal: the finaliser of splitmix64.

    https://prng.di.unimi.it/splitmix64.c
    """
    mixed = numbers ^ (numbers >> np.uint64(30))
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed
