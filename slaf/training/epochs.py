"""Epochs: shuffled batches of cells of a dataset, in bounded memory, resumable at every batch."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from slaf.errors import DatasetError, SelectionError, StorageError
from slaf.format.config import load_published
from slaf.runtime.prefetch import prefetch
from slaf.sparse.ranges import mask_of
from slaf.training.batch import Encoder
from slaf.training.columns import CellColumns
from slaf.training.options import LoaderOptions
from slaf.training.plan import Plan, Position
from slaf.training.rows import TableReader
from slaf.training.windows import BatchMaker, read_batches

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from slaf.dataset.dataset import Dataset
    from slaf.dataset.matrix import StoredMatrix
    from slaf.training.batch import Batch
    from slaf.training.rows import RowReader

__all__ = ["Epochs"]

# Threads that read from a disk, and from a bucket.
_THREADS: Final = 2, 32


class Epochs:
    """Batches of cells of a dataset, epoch after epoch, for one process or several.

    Parameters
    ----------
    dataset, cells, genes, options
        As for `slaf.training.loader.Loader`.

    Raises
    ------
    SelectionError, TypeError, ValueError
        As there.
    """

    def __init__(
        self,
        dataset: Dataset,
        cells: NDArray[np.int64] | None = None,
        genes: NDArray[np.int64] | None = None,
        **options: Any,
    ) -> None:
        self.options = LoaderOptions.from_keywords("loader", options)
        self.dataset = dataset
        self._selected = np.arange(dataset.n_cells) if cells is None else cells
        self._genes = (
            genes if genes is None else _genes_of_layer(dataset, genes, self.options.layer)
        )
        self._threads = self.options.threads or _THREADS[dataset.location.is_remote]
        self._pid = os.getpid()
        self._position = self._next = Position()
        # How often the position was set; in memory that the processes of workers share, if any.
        self.generation = 0
        self._shared_epoch: Any = None
        self.rank, self.world_size = _rank_and_size(self.options)
        self._plan = Plan(dataset, self._selected, self.options)
        self._columns = CellColumns(
            dataset,
            (*self.options.labels, *self.options.group),
            self.options.obs,
            self.options.obsm,
        )
        self._measured = _measured_genes(dataset, self._genes, self.options.layer)
        self.check(workers=1)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({str(self.dataset.location)!r}: {self.n_cells:,} cells × "
            f"{self.n_genes:,} genes, {len(self):,} batches of {self.options.batch_size})"
        )

    # ------------------------------------------------------------------------------------- content

    @property
    def n_cells(self) -> int:
        """Number of selected cells; with a split, those of its part."""
        return len(self._plan.cells)

    @property
    def n_genes(self) -> int:
        """Number of selected genes."""
        return self._reader.n_genes

    @property
    def cells(self) -> NDArray[np.int64]:
        """The positions of the selected cells in the dataset."""
        return self._plan.cells

    @property
    def categories(self) -> Mapping[str, Sequence[Any]]:
        """For each column of labels, the values of its codes."""
        return self._columns.categories

    def __len__(self) -> int:
        """Number of batches of this rank in the epoch that the next iteration begins or ends."""
        return self.n_batches(workers=1)

    def n_batches(self, workers: int) -> int:
        """Number of batches of this rank, made by so many workers."""
        n = len(self._plan.units(self._next))
        return self._plan.order(n, self.world_size * workers).n_batches * workers

    def check(self, workers: int) -> None:
        """Check that cells and memory suffice for so many workers of each rank.

        Raises
        ------
        ValueError
            If not; the error names numbers that fit.
        """
        streams = self.world_size * workers
        self._plan.check(streams, workers, self._reader, self._maker.encoder)

    # --------------------------------------------------------------------------------------- state

    @property
    def position(self) -> Position:
        """The place where the next iteration begins."""
        return self._next

    @property
    def last_position(self) -> Position:
        """The place behind the last batch that was yielded."""
        return self._position

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration, from its first batch on."""
        self._set_position(Position(epoch))
        if self._shared_epoch is not None:
            self._shared_epoch[1] = epoch
            self._shared_epoch[0] = self.generation

    def share_epoch(self, shared: Any) -> None:
        """Let workers see the epochs that are set later.

        Parameters
        ----------
        shared
            Two integers in shared memory: the generation, and the epoch.
        """
        shared[0] = self.generation
        self._shared_epoch = shared

    def _set_position(self, position: Position) -> None:
        self._position = self._next = position
        self.generation += 1

    def state_dict(self) -> dict[str, Any]:
        """The place behind the last batch that was yielded, as JSON.

        Raises
        ------
        RuntimeError
            If the workers of a DataLoader count the batches.
        """
        if self._shared_epoch is not None:
            msg = (
                "workers of a DataLoader yield the batches, and know their number: take the "
                "state_dict() of torchdata's StatefulDataLoader"
            )
            raise RuntimeError(msg)
        return self.state_at(self._position, workers=1)

    def state_at(self, position: Position, workers: int) -> dict[str, Any]:
        """A place in the order of each worker, as JSON."""
        return self._plan.state_of(position, self.world_size * workers)

    def load_state_dict(self, state: Mapping[str, Any], *, workers: int = 1) -> None:
        """Continue behind the last batch of a state: with the same batches, or with other ranks.

        With another number of ranks, every rank must load the state of the same batch; the cells
        that no rank had are then shared among all.

        Parameters
        ----------
        state
            As `state_dict` gave it.
        workers
            Workers of each rank.

        Raises
        ------
        ValueError
            If the state is of other cells or options, which the error names; or fewer cells remain
            than the ranks need.
        """
        streams = self.world_size * workers
        self._set_position(self._plan.position_of(dict(state), streams))

    # ----------------------------------------------------------------------------------- iteration

    def __iter__(self) -> Iterator[Batch]:
        """The batches of an epoch, or those that remain of it.

        Raises
        ------
        DatasetError
            If the dataset was replaced since it was opened.
        RuntimeError
            In a process that was forked from the one that made the loader.
        """
        return self.worker_batches(0, 1)

    def worker_batches(self, worker: int, workers: int) -> Iterator[Batch]:
        """The batches of a worker of this rank; the next iteration gives the next epoch.

        Raises
        ------
        DatasetError, RuntimeError
            As for the iteration.
        """
        if self._shared_epoch is not None and int(self._shared_epoch[0]) > self.generation:
            self.generation = int(self._shared_epoch[0])
            self._next = Position(int(self._shared_epoch[1]))
        position = self._next
        batches = self.batches(position, worker, workers)
        self._position, self._next = position, Position(position.epoch + 1)
        return self._counted(batches, position)

    def _counted(self, batches: Iterator[Batch], position: Position) -> Iterator[Batch]:
        following = self._next
        for batch in batches:
            position = replace(position, batches=position.batches + 1)
            self._position = position
            yield batch
        self._position = following

    def batches(self, position: Position, worker: int, workers: int) -> Iterator[Batch]:
        """The batches of a worker of this rank from a place on, made ahead of their use.

        Raises
        ------
        DatasetError, RuntimeError
            As for the iteration.
        """
        self._check_process()
        self._check_rank()
        self.check_unchanged()
        options, streams = self.options, self.world_size * workers
        units, draw = self._plan.units(position), self._plan.sampler.draw(position.epoch)
        epoch = self._plan.order(len(units), streams).epoch(position.epoch)
        stream, start = self.rank * workers + worker, position.batches
        batches = read_batches(
            self._maker,
            ((w, draw, units[epoch.positions(w)]) for w in epoch.windows(stream, start)),
            start=start,
            seed=options.seed,
            epoch=position.epoch,
            threads=self._threads,
            memory=options.memory // workers if options.prefetch else 0,
        )
        return self._guarded(batches)

    def _guarded(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The same batches, some made ahead; an error of a dataset that was replaced says so."""
        depth = self.options.prefetch
        try:
            with closing(batches):  # type: ignore[type-var]  # a generator
                yield from prefetch(batches, depth) if depth else batches
        except (DatasetError, StorageError):
            self.check_unchanged()
            raise

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            msg = (
                "this process was forked from the one that made the loader, and Lance cannot read "
                'after a fork; start processes by spawn: multiprocessing_context="spawn" of '
                "DataLoader"
            )
            raise RuntimeError(msg)

    def _check_rank(self) -> None:
        if (self.rank, self.world_size) == (0, 1) != _rank_and_size(self.options):
            msg = (
                "torch.distributed was started after the loader was made, which reads all cells on "
                "every rank; make the loader after init_process_group()"
            )
            raise RuntimeError(msg)

    def check_unchanged(self) -> None:
        """Check that the dataset has the cells that it had when it was opened.

        Raises
        ------
        DatasetError
            If it was replaced.
        """
        before, now = self.dataset.published, load_published(self.dataset.location)
        digests = [[block.digest for block in each.blocks] for each in (before, now)]
        if digests[1][: len(digests[0])] != digests[0] or before.n_genes > now.n_genes:
            msg = (
                f"{self.dataset.location}: it was replaced since it was opened; open it again, "
                "make a new loader, and begin with its first epoch"
            )
            raise DatasetError(msg)

    # ----------------------------------------------------------------------------------- processes

    @cached_property
    def _reader(self) -> RowReader:
        matrix = _matrix_of(self.dataset, self.options.layer)
        if self.options.cache is None:
            is_remote = self.dataset.location.is_remote
            return TableReader(matrix, self._genes, is_remote=is_remote)
        from slaf.training.cache import CacheContent, open_cache

        cells, layer = np.unique(self._selected), self.options.layer
        content = CacheContent(self.dataset, matrix, layer, cells, self._genes)
        return open_cache(self.options.cache, content)

    @cached_property
    def _maker(self) -> BatchMaker:
        encoder = Encoder(self.options, self._reader.n_genes)
        return BatchMaker(self._reader, encoder, self._columns, self._measured)

    def __getstate__(self) -> dict[str, Any]:
        # Open files stay in their process.
        return {n: v for n, v in vars(self).items() if n not in {"_pid", "_reader", "_maker"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _pid=os.getpid())


def _rank_and_size(options: LoaderOptions) -> tuple[int, int]:
    if options.rank is not None and options.world_size is not None:
        return options.rank, options.world_size
    # A program that uses it has imported it.
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def _matrix_of(dataset: Dataset, layer: str | None) -> StoredMatrix:
    if layer != "raw" or "raw" in dataset.layers:
        return dataset.matrix(layer)
    if dataset.stored_raw is None:
        msg = f"{dataset.location}: there is no raw; leave layer out, or take one of its layers"
        raise SelectionError(msg)
    return dataset.stored_raw.matrix


def _genes_of_layer(
    dataset: Dataset, genes: NDArray[np.int64], layer: str | None
) -> NDArray[np.int64]:
    """The positions of genes of the dataset in its layer: raw has genes of its own."""
    if layer != "raw" or dataset.raw is None or "raw" in dataset.layers:
        return genes
    names, raw_names = dataset.var_names[genes], dataset.raw.var_names
    positions: NDArray[np.int64] = raw_names.get_indexer(names)
    if (positions < 0).any():
        msg = f"{dataset.location}: raw has no gene {names[positions < 0][0]!r}; select others"
        raise SelectionError(msg)
    return positions


def _measured_genes(
    dataset: Dataset, genes: NDArray[np.int64] | None, layer: str | None
) -> NDArray[np.bool_] | None:
    """Sources × genes: whether the source measured the gene; None if all measured all."""
    raw = dataset.stored_raw if layer == "raw" and "raw" not in dataset.layers else None
    n_genes = dataset.n_genes if raw is None else raw.n_genes
    ranges = [source.genes_present for source in dataset.sources]
    if raw is not None:
        # None are recorded where all inputs have all.
        ranges = list(raw.genes_present) or [((0, n_genes),)]
    measured = np.stack([mask_of(each, n_genes) for each in ranges])
    if genes is not None:
        measured = measured[:, genes]
    return None if measured.all() else measured
