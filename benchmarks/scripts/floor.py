"""The lower bound of a conversion: decompress X, and write its arrays.

No checks, no digests, no obs and var, and no dataset.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import h5py
import lance
import numpy as np
import pyarrow as pa
from isal import isal_zlib

from slaf.format.schema import EXPRESSION, VALUE, table_schema
from slaf.options import Compression, StoreOptions, one_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# Chunks that make one batch.
_BATCH = 64


def main(source: str, output: str, compression: str) -> None:
    """Write the nonzeros of an h5ad file with a gzip-compressed CSR X as a Lance table."""
    with h5py.File(source) as file:
        x = file["X"]
        n_genes = int(x.attrs["shape"][1])
        options = StoreOptions(compression=one_of(Compression, "compression", compression))
        schema = table_schema(EXPRESSION, {VALUE: np.dtype(np.uint16)}, n_genes, options)
        batches = pa.RecordBatchReader.from_batches(schema, _batches(x, schema))
        lance.write_dataset(batches, output, data_storage_version="2.1")


def _batches(x: h5py.Group, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    indptr, genes, values = x["indptr"][:], x["indices"], x["data"]
    gene_type = schema.field("gene_integer_id").type.to_pandas_dtype()
    size = _BATCH * values.chunks[0]
    for start in range(0, len(values), size):
        stop = min(start + size, len(values))
        first, last = np.searchsorted(indptr, [start, stop - 1], side="right") - 1
        edges = np.clip(indptr[first : last + 2], start, stop)
        arrays = [
            np.repeat(np.arange(first, last + 1, dtype=np.uint32), np.diff(edges)),
            _decompressed(genes, start, stop).astype(gene_type),
            _decompressed(values, start, stop).astype(np.uint16),
        ]
        yield pa.record_batch([pa.array(array) for array in arrays], schema=schema)


def _decompressed(column: h5py.Dataset, start: int, stop: int) -> NDArray[Any]:
    chunks = range(start, stop, column.chunks[0])
    compressed = (column.id.read_direct_chunk((chunk,))[1] for chunk in chunks)
    raw = b"".join(isal_zlib.decompress(chunk) for chunk in compressed)
    return np.frombuffer(raw, column.dtype)[: stop - start]


if __name__ == "__main__":
    main(*sys.argv[1:])
