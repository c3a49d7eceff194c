"""Loader: shuffled batches of cells for training, in numpy, for PyTorch and for scvi-tools."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from slaf.runtime.extras import require
from slaf.training.epochs import Epochs
from slaf.training.map_style import CellMap

if TYPE_CHECKING:
    from slaf.training.torch import BatchDataset, Sparse

__all__ = ["Loader"]

logger = logging.getLogger("slaf")


class Loader(Epochs):
    """Batches of cells of a dataset, shuffled in every epoch, in bounded memory.

    Each cell comes once in an epoch (but for `weights`, `balance` and `group`), and every rank has
    as many batches. The order depends on the dataset, the selection, the seed, the epoch, the
    numbers of ranks and workers, `batch_size`, `block_size` and `window_blocks`, and on nothing
    else. An iteration runs the epoch of `set_epoch` or what remains of it, the next iteration the
    next epoch.

    Parameters
    ----------
    dataset
        The dataset.
    cells, genes
        Positions in the dataset; None for all. `batch.X` has the genes in this order.
    options
        By keyword, each field of `slaf.training.options.LoaderOptions`.

    Raises
    ------
    SelectionError
        If a column, layer or array does not exist, or no cell is left.
    TypeError, ValueError
        If an option is unknown, or does not fit; the error names one that does.
    """

    def torch(self, num_workers: int = 0, *, sparse: Sparse = "tensor") -> BatchDataset:
        """The batches as dictionaries of tensors, for PyTorch's DataLoader.

        ``DataLoader(loader.torch(2), batch_size=None, num_workers=2,
        multiprocessing_context="spawn", persistent_workers=True)``. For another epoch than the
        next one, and for every epoch without `persistent_workers`, call `set_epoch`.

        Parameters
        ----------
        num_workers
            The workers of the DataLoader, which share the memory.
        sparse
            Whether a sparse X is a sparse "tensor", or three "arrays": indptr, indices and data.

        Raises
        ------
        ValueError
            If cells or memory do not suffice for so many workers.
        MissingPackage
            If PyTorch is not installed.
        """
        module = _torch_module()
        batches: BatchDataset = module.BatchDataset(self, num_workers, module.TensorBatch(sparse))
        return batches

    def scvi(
        self,
        batch: str | None = None,
        labels: str | None = None,
        sample: str | None = None,
        num_workers: int = 0,
    ) -> BatchDataset:
        """The batches as scvi-tools takes them: X, batch, labels, sample and size_factor.

        Parameters
        ----------
        batch, labels, sample
            Columns of obs, whose codes are given; zeros without one.
        num_workers
            As for `torch`.

        Raises
        ------
        SelectionError
            If a column does not exist, or a selected cell has no value in it.
        MissingPackage, ValueError
            As for `torch`.
        """
        module = _torch_module()
        convert = module.ScviBatch(self, batch, labels, sample)
        batches: BatchDataset = module.BatchDataset(self, num_workers, convert)
        return batches

    def map_style(self) -> CellMap:
        """The cells by their positions in the selection, for samplers of PyTorch.

        Without a cache each batch takes about ten times as long as in an iteration, which a message
        says.
        """
        if self.options.cache is None:
            logger.warning(
                "%s: single cells are read from the tables, at a tenth of the speed of "
                "neighbouring ones; give the loader a cache",
                self.dataset.location,
            )
        return CellMap(self._maker, self.cells, self.options.seed, self._threads)


def _torch_module() -> Any:
    require("torch", "a dataset of PyTorch")
    from slaf.training import torch

    return torch
