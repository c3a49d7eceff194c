"""The same counts as a compressed 10x MTX folder with entries in random order."""

from __future__ import annotations

import gzip
from contextlib import ExitStack
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyarrow import csv

from benchmarks.inputs.counts import blocks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.inputs.counts import Counts

__all__ = ["write_shuffled"]

_ENTRY = np.dtype([("gene", "<u4"), ("cell", "<u4"), ("value", "<u4")])
_BANNER = "%%MatrixMarket matrix coordinate integer general"
_BUCKETS = 16


def write_shuffled(path: Path, counts: Counts) -> int:
    """Write the folder in bounded memory; its number of nonzeros.

    Entries are distributed over buckets at random, and each bucket is then shuffled.
    """
    path.mkdir()
    for name, count in (("features", counts.n_genes), ("barcodes", counts.n_cells)):
        with gzip.open(path / f"{name}.tsv.gz", "wb") as table:
            table.write("".join(f"{name}-{number}\n" for number in range(count)).encode())
    with ExitStack() as closing:
        buckets = [closing.enter_context(TemporaryFile(dir=path.parent)) for _ in range(_BUCKETS)]
        n_entries = _distribute(counts, buckets)
        matrix = closing.enter_context(gzip.open(path / "matrix.mtx.gz", "wb", 1))
        sizes = f"{counts.n_genes} {counts.n_cells} {n_entries}"
        matrix.write(f"{_BANNER}\n{sizes}\n".encode())
        for number, bucket in enumerate(buckets):
            _shuffle(bucket, matrix, np.random.default_rng((counts.seed, number)))
    return n_entries


def _distribute(counts: Counts, buckets: Sequence[IO[bytes]]) -> int:
    """Append each entry to a random bucket; the number of entries."""
    rng = np.random.default_rng(counts.seed)
    start = n_entries = 0
    for block in blocks(counts):
        cells, genes = block.nonzero()
        entries = np.empty(block.nnz, _ENTRY)
        entries["gene"], entries["cell"], entries["value"] = genes, cells + start, block.data
        owners = rng.integers(0, len(buckets), block.nnz)
        for number, bucket in enumerate(buckets):
            bucket.write(entries[owners == number].tobytes())
        start += block.shape[0]
        n_entries += block.nnz
    return n_entries


def _shuffle(bucket: IO[bytes], matrix: gzip.GzipFile, rng: np.random.Generator) -> None:
    bucket.seek(0)
    entries = rng.permutation(np.frombuffer(bucket.read(), _ENTRY))
    columns = [entries["gene"] + 1, entries["cell"] + 1, entries["value"]]
    options = csv.WriteOptions(include_header=False, delimiter=" ")
    csv.write_csv(pa.table(columns, _ENTRY.names), matrix, options)
