"""Single cells by their positions, as a map-style dataset of PyTorch takes them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from slaf.training.batch import Batch
    from slaf.training.windows import BatchMaker

__all__ = ["CellMap"]


class CellMap:
    """The cells of a loader by their positions in its selection.

    ``DataLoader(cells, batch_size=256, shuffle=True, collate_fn=slaf.training.torch.as_tensors)``
    reads each batch at once.

    Parameters
    ----------
    maker
        Makes the batches.
    cells
        The selected cells.
    seed, threads
        As for the loader.
    """

    def __init__(
        self, maker: BatchMaker, cells: NDArray[np.int64], seed: int, threads: int
    ) -> None:
        self._maker, self._cells, self._seed, self._threads = maker, cells, seed, threads

    def __len__(self) -> int:
        """Number of cells."""
        return len(self._cells)

    def __getitem__(self, position: int) -> Batch:
        """A batch of one cell.

        Raises
        ------
        IndexError
            If there is no such position.
        """
        return self.__getitems__([position])

    def __getitems__(self, positions: Sequence[int]) -> Batch:
        """A batch of cells in the order of their positions.

        Raises
        ------
        IndexError
            If there is no such position.
        """
        cells = self._cells[np.asarray(positions, np.int64)]
        unique, places = np.unique(cells, return_inverse=True)
        reading = self._maker.reader.reading(unique)
        with ThreadPoolExecutor(self._threads, "slaf-cells") as pool:
            reading.begin(pool)
            rows = reading.rows()
        return self._maker.batch(rows, cells, places, (self._seed, 0, int(positions[0])))
