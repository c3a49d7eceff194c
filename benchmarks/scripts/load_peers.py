"""Cells a CPU second of an epoch of another program: PROGRAM H5AD STORE.

It ends early after some CPU seconds. What a program reads is made first, and not measured.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

_BATCH = 256
_CPU_SECONDS = 5.0


def annbatch(h5ad: str, store: str) -> Iterator[int]:
    """Its shuffled copy, by the fastest of its settings."""
    import zarr
    from annbatch import DatasetCollection, Loader

    zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
    if not Path(store).exists():
        DatasetCollection(zarr.open(store, mode="w")).add_adatas([h5ad])
    collection = DatasetCollection(zarr.open(store, mode="r"))
    loader = Loader(batch_size=_BATCH, chunk_size=256, preload_nchunks=32, shuffle=True)
    loader.use_collection(collection)
    for batch in loader:
        yield batch["X"].shape[0]


def scdl(h5ad: str, store: str) -> Iterator[int]:
    """Its memory map, by PyTorch's DataLoader."""
    from bionemo.scdl.io.single_cell_memmap_dataset import SingleCellMemMapDataset
    from bionemo.scdl.util.torch_dataloader_utils import collate_sparse_matrix_batch
    from torch.utils.data import DataLoader

    if not Path(store).exists():
        SingleCellMemMapDataset(store, h5ad, data_dtype="uint16", use_X_not_raw=True).save()
    loader = DataLoader(
        SingleCellMemMapDataset(store),
        batch_size=_BATCH,
        shuffle=True,
        collate_fn=collate_sparse_matrix_batch,
    )
    for batch in loader:
        yield batch.shape[0]


def scdataset(h5ad: str, _: str) -> Iterator[int]:
    """Blocks of 64 cells, 64 batches at a time, of a file that stays on disk."""
    import anndata
    from scdataset import BlockShuffling, scDataset

    dataset = scDataset(
        anndata.read_h5ad(h5ad, backed="r"),
        BlockShuffling(block_size=64),
        batch_size=_BATCH,
        fetch_factor=64,
        fetch_callback=lambda file, cells: file.X[cells],
    )
    for batch in dataset:
        yield batch.shape[0]


def backed(h5ad: str, _: str) -> Iterator[int]:
    """Random cells of a file that stays on disk."""
    import anndata

    file: Any = anndata.read_h5ad(h5ad, backed="r")
    cells = np.random.default_rng(0).permutation(file.n_obs)
    for first in range(0, len(cells), _BATCH):
        yield file.X[np.sort(cells[first : first + _BATCH])].shape[0]


_PROGRAMS = {each.__name__: each for each in (annbatch, scdl, scdataset, backed)}


def main(program: str, h5ad: str, store: str) -> None:
    """Run an epoch, or what there is time for, and print cells and CPU seconds."""
    warnings.simplefilter("ignore")
    batches = _PROGRAMS[program](h5ad, store)
    # With the first batch all is open, and its copy is made.
    next(batches)
    started, cells = time.process_time(), 0
    for n in batches:
        cells += n
        if time.process_time() - started > _CPU_SECONDS:
            break
    print(json.dumps([cells, time.process_time() - started, 0]))


if __name__ == "__main__":
    main(*sys.argv[1:])
