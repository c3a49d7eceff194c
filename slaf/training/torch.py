"""PyTorch datasets of a loader; the only module that imports torch."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from slaf.errors import SelectionError
from slaf.training.batch import Padded
from slaf.training.columns import CellColumns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from slaf.training.batch import Batch
    from slaf.training.epochs import Epochs

__all__ = ["BatchDataset", "ScviBatch", "Sparse", "as_tensors"]

Sparse: TypeAlias = Literal["tensor", "arrays"]
_ARRAYS: Final = ("indptr", "indices", "data")

with warnings.catch_warnings():
    # PyTorch warns once that sparse tensors are a beta feature.
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor(torch.zeros(1, dtype=torch.int64), [], [], size=(0, 0))


class BatchDataset(IterableDataset[dict[str, Any]]):
    """The batches of a loader as dictionaries of tensors, for ``DataLoader(batch_size=None)``.

    Each of `num_workers` workers reads windows of its own and yields as many batches. It keeps the
    state of each worker for torchdata's StatefulDataLoader.

    Parameters
    ----------
    loader
        The loader.
    num_workers
        The workers of the DataLoader.
    convert
        Makes a dictionary of a batch.

    Raises
    ------
    ValueError
        If there are too few cells, or there is too little memory, for so many workers.
    """

    def __init__(
        self, loader: Epochs, num_workers: int, convert: Callable[[Batch], dict[str, Any]]
    ) -> None:
        self._loader, self._convert = loader, convert
        self.num_workers = num_workers
        self._workers = max(num_workers, 1)
        loader.check(self._workers)
        # The generation and epoch that the last iteration of each worker had.
        self._last = torch.full((self._workers, 2), -1, dtype=torch.int64)
        _share(self._last)
        if num_workers:
            loader.share_epoch(_share(torch.zeros(2, dtype=torch.int64)))

    def __len__(self) -> int:
        return self._loader.n_batches(self._workers)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        info = get_worker_info()
        found = 0 if info is None else info.num_workers
        if found != self.num_workers:
            msg = (
                f"the DataLoader has num_workers={found}, but the dataset was made for "
                f"{self.num_workers}; make it by loader.torch(num_workers={found})"
            )
            raise ValueError(msg)
        if info is None:
            return map(self._convert, self._loader)
        self._check_new_epoch(info.id)
        batches = self._loader.worker_batches(info.id, self._workers)
        return map(self._convert, batches)

    def _check_new_epoch(self, worker: int) -> None:
        """Refuse the same order again, which workers that were started anew would give."""
        generation, position = self._loader.generation, self._loader.position
        now = torch.tensor([generation, position.epoch])
        if position.batches == 0 and self._loader.options.shuffle and self._last[worker].equal(now):
            msg = (
                f"epoch {position.epoch} was run already, and new workers would run it again: call "
                f"loader.set_epoch({position.epoch + 1}) before the DataLoader is iterated again, "
                "or give it persistent_workers=True"
            )
            raise RuntimeError(msg)
        self._last[worker] = now

    def state_dict(self) -> dict[str, Any]:
        """The place behind the last batch of this worker."""
        return self._loader.state_at(self._loader.last_position, self._workers)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue behind the last batch of a state.

        Raises
        ------
        ValueError
            If the state is of other cells or options.
        """
        self._loader.load_state_dict(state, workers=self._workers)


class ScviBatch:
    """Makes the dictionary that scvi-tools takes of a batch.

    Parameters
    ----------
    loader
        The loader.
    batch, labels, sample
        Columns of obs; zeros without one.

    Raises
    ------
    SelectionError
        If a column does not exist, or a selected cell has no value in it.
    """

    def __init__(
        self, loader: Epochs, batch: str | None, labels: str | None, sample: str | None
    ) -> None:
        named = {"batch": batch, "labels": labels, "sample": sample}
        self._names = named
        self._columns = CellColumns(
            loader.dataset, [name for name in named.values() if name is not None]
        )
        codes = self._columns.of(loader.cells)["labels"]
        for name, values in codes.items():
            if (values < 0).any():
                msg = (
                    f"{(values < 0).sum():,} selected cells have no value of {name!r}; select "
                    f'cells with one: "{name} IS NOT NULL"'
                )
                raise SelectionError(msg)

    def __call__(self, batch: Batch) -> dict[str, torch.Tensor]:
        """X, batch, labels, sample and size_factor, all but X in one column."""
        codes = self._columns.of(batch.cells)["labels"]
        zeros = np.zeros(len(batch), np.int64)
        columns = {
            name: torch.from_numpy(codes.get(column, zeros).astype(np.int64))[:, None]
            for name, column in self._names.items()
        }
        totals = torch.from_numpy(batch.total.astype(np.float32))[:, None]
        return {"X": _tensor(batch.X, "tensor"), **columns, "size_factor": totals}


class TensorBatch:
    """Makes a dictionary of tensors of a batch.

    Parameters
    ----------
    sparse
        Whether a sparse X is a sparse tensor, or the three tensors "indptr", "indices" and "data".
    """

    def __init__(self, sparse: Sparse) -> None:
        self._sparse = sparse

    def __call__(self, batch: Batch) -> dict[str, Any]:
        """The parts of the batch by their names; text stays in numpy arrays."""
        return as_tensors(batch, self._sparse)


def as_tensors(batch: Batch, sparse: Sparse = "tensor") -> dict[str, Any]:
    """A batch as a dictionary of tensors.

    Parameters
    ----------
    batch
        The batch.
    sparse
        Whether a sparse X is a sparse tensor, or the three tensors "indptr", "indices" and "data".

    Returns
    -------
    dict
        "X", "cells", "labels", "obs", "obsm", "source", "total"; "mask" where some genes were not
        measured; and "controls". Text stays in numpy arrays.
    """
    parts: dict[str, Any] = {
        "X": _tensor(batch.X, sparse),
        "cells": torch.from_numpy(batch.cells),
        "labels": {name: torch.from_numpy(codes) for name, codes in batch.labels.items()},
        "obs": {name: _column(values) for name, values in batch.obs.items()},
        "obsm": {name: torch.from_numpy(array) for name, array in batch.obsm.items()},
        "source": torch.from_numpy(batch.source),
        "total": torch.from_numpy(batch.total),
    }
    if batch.mask is not None:
        parts["mask"] = torch.from_numpy(batch.mask)
    if batch.controls is not None:
        parts["controls"] = as_tensors(batch.controls, sparse)
    return parts


def _tensor(X: Any, sparse: Sparse) -> Any:  # noqa: N803 - AnnData's name
    if isinstance(X, Padded):
        return {"ids": torch.from_numpy(X.ids), "values": torch.from_numpy(X.values)}
    if isinstance(X, np.ndarray):
        return torch.from_numpy(X)
    shape: tuple[int, int] = X.shape
    arrays: list[Any] = [torch.from_numpy(getattr(X, name)) for name in _ARRAYS]
    if sparse == "arrays":
        return dict(zip(_ARRAYS, arrays, strict=True))
    indptr, indices, data = arrays
    return torch.sparse_csr_tensor(indptr, indices, data, size=shape, check_invariants=False)


def _share(tensor: torch.Tensor) -> torch.Tensor:
    shared: torch.Tensor = tensor.share_memory_()  # type: ignore[no-untyped-call]
    return shared


def _column(values: NDArray[Any]) -> Any:
    return torch.from_numpy(values) if values.dtype.kind in "biuf" else values
