"""Epochs of a loader of another program, or all from an h5ad file to its first batch.

epochs PROGRAM H5AD STORE, or first PROGRAM H5AD STORE. What a program reads is made on first use.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from usage import print_epochs, print_whole, watch_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from numpy.typing import NDArray

_BATCH = 256
# As ours.
_GENES = 2_000
_TARGET = 1e4


def annbatch(h5ad: str, store: str) -> Callable[[], Generator[int, None, None]]:
    """Its shuffled copy, by the fastest of its settings."""
    loader = _annbatch_loader(h5ad, store)

    def epoch() -> Generator[int, None, None]:
        for batch in loader:
            yield batch["X"].shape[0]

    return epoch


def annbatch_dense(h5ad: str, store: str) -> Callable[[], Generator[int, None, None]]:
    """A shuffled copy of all genes, whose batches are normalised, cut and made dense."""
    loader = _annbatch_loader(h5ad, store)

    def epoch() -> Generator[int, None, None]:
        for batch in loader:
            totals = np.asarray(batch["X"].sum(axis=1)).ravel()
            yield len(_dense(batch["X"][:, :_GENES], totals))

    return epoch


def annbatch_genes(h5ad: str, store: str) -> Callable[[], Generator[int, None, None]]:
    """A shuffled copy of some genes without compression, whose batches are made dense."""
    loader = _annbatch_loader(h5ad, store, load_adata=_read_genes, zarr_compressor=())

    def epoch() -> Generator[int, None, None]:
        for batch in loader:
            yield len(_dense(batch["X"], batch["obs"]["total"].to_numpy()))

    return epoch


def _annbatch_loader(h5ad: str, store: str, **options: Any) -> Any:
    import zarr
    from annbatch import DatasetCollection, Loader

    zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
    if not Path(store).exists():
        DatasetCollection(zarr.open(store, mode="w")).add_adatas([h5ad], **options)
    collection = DatasetCollection(zarr.open(store, mode="r"))
    loader = Loader(batch_size=_BATCH, chunk_size=256, preload_nchunks=32, shuffle=True)
    loader.use_collection(collection)
    return loader


def _read_genes(h5ad: str) -> Any:
    import anndata

    file = anndata.read_h5ad(h5ad)
    file.obs["total"] = np.asarray(file.X.sum(axis=1)).ravel()
    return anndata.AnnData(
        file.X[:, :_GENES].astype(np.uint16), file.obs[["total"]], file.var.iloc[:_GENES, :0]
    )


def _dense(counts: sp.csr_matrix, totals: NDArray[Any]) -> NDArray[np.float32]:
    """Counts of a batch, normalised, in logarithms, as float32."""
    values = counts.data.astype(np.float32)
    values *= np.repeat((_TARGET / totals).astype(np.float32), np.diff(counts.indptr))
    np.log1p(values, out=values)
    matrix = sp.csr_matrix((values, counts.indices, counts.indptr), shape=counts.shape)
    dense: NDArray[np.float32] = matrix.toarray()
    return dense


def scdl(h5ad: str, store: str) -> Callable[[], Generator[int, None, None]]:
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

    def epoch() -> Generator[int, None, None]:
        for batch in loader:
            yield batch.shape[0]

    return epoch


def slafdb(h5ad: str, store: str) -> Callable[[], Generator[int, None, None]]:
    """Its mixture of scanners, whose batches are tables of entries."""
    if not Path(store).exists():
        program = Path(sys.executable).with_name("slaf")
        subprocess.run([program, "convert", h5ad, store], check=True, stdout=sys.stderr)
    # In this environment `slaf` is the package of slafdb.
    array: Any = import_module("slaf").SLAFArray(store, load_metadata=True)
    loader = import_module("slaf.ml.dataloaders").SLAFDataLoader

    def epoch() -> Generator[int, None, None]:
        options = {"batch_size": _BATCH, "raw_mode": True, "verbose": False}
        for batch in loader(array, **options):
            yield len(batch["cell_ids"])

    return epoch


def scdataset(h5ad: str, _: str) -> Callable[[], Generator[int, None, None]]:
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

    def epoch() -> Generator[int, None, None]:
        for batch in dataset:
            yield batch.shape[0]

    return epoch


def backed(h5ad: str, _: str) -> Callable[[], Generator[int, None, None]]:
    """Random cells of a file that stays on disk."""
    import anndata

    file: Any = anndata.read_h5ad(h5ad, backed="r")

    def epoch() -> Generator[int, None, None]:
        cells = np.random.default_rng(0).permutation(file.n_obs)
        for first in range(0, len(cells), _BATCH):
            yield file.X[np.sort(cells[first : first + _BATCH])].shape[0]

    return epoch


_PROGRAMS = {
    each.__name__: each
    for each in (annbatch, annbatch_dense, annbatch_genes, scdl, slafdb, scdataset, backed)
}


def main(verb: str, program: str, h5ad: str, store: str) -> None:
    """Run epochs, or take one batch of a new store, and print what they took."""
    warnings.simplefilter("ignore")
    watch_memory()
    if verb == "epochs":
        print_epochs(_PROGRAMS[program](h5ad, store))
        return
    shutil.rmtree(store, ignore_errors=True)
    next(_PROGRAMS[program](h5ad, store)())
    print_whole()


if __name__ == "__main__":
    main(*sys.argv[1:])
