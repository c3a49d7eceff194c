"""Cells a CPU second of an epoch of annbatch, with its shuffled copy made first: H5AD COPY."""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

import annbatch
import zarr


def main(h5ad: str, copy: str) -> None:
    """Run an epoch and print cells and CPU seconds; peak memory is not measured."""
    warnings.simplefilter("ignore")
    zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
    if not Path(copy).exists():
        annbatch.DatasetCollection(zarr.open(copy, mode="w")).add_adatas([h5ad])
    collection = annbatch.DatasetCollection(zarr.open(copy, mode="r"))
    loader = annbatch.Loader(batch_size=256, chunk_size=256, preload_nchunks=32, shuffle=True)
    loader.use_collection(collection)
    started, cells = time.process_time(), 0
    for batch in loader:
        cells += batch["X"].shape[0]
    print(json.dumps([cells, time.process_time() - started, 0]))


if __name__ == "__main__":
    main(*sys.argv[1:])
