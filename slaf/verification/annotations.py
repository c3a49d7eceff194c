"""Check layers, raw, obsm, varm, obsp, varp and uns of a dataset against their digests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xxhash

from slaf.format.config import OPTIONAL_TABLES
from slaf.format.schema import LAYERS, RAW, RAW_GENES
from slaf.options import ALIGNED_SLOTS
from slaf.sparse.ranges import RowRange
from slaf.verification.rows import RowTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slaf.dataset.dataset import Dataset
    from slaf.format.records import MatrixRecord
    from slaf.runtime.progress import Progress
    from slaf.verification.report import DifferenceLog

__all__ = [
    "check_annotation_digests",
    "check_annotations",
    "check_annotations_readable",
    "layer_row_tables",
    "n_layer_tables",
]


def check_annotations(dataset: Dataset, differences: DifferenceLog) -> None:
    """Check rows, offsets and blocks of the tables of layers and raw, without their values.

    Parameters
    ----------
    dataset
        A published dataset.
    differences
        Collects contradictions.
    """
    with differences.catching("layers, raw and annotations"):
        record = dataset.annotations.record
        expected = {LAYERS: record.layers is not None, RAW: record.raw is not None}
        expected[RAW_GENES] = expected[RAW]
        tables = dataset.published.tables
        for name, is_expected in expected.items():
            differences.compare("config", f"table {name}", is_expected, name in tables)
        for name in OPTIONAL_TABLES:
            if name in tables and not differences.has("config"):
                dataset.table(name).count_rows()
        if differences.has("config"):
            return
        for layers, matrices in layer_row_tables(dataset):
            n_rows = layers.table.count_rows()
            where = f"rows of {layers.name}"
            differences.compare("config", where, int(layers.offsets[-1]), n_rows)
            layers.check_offsets(differences)
            _check_blocks(layers, matrices, differences)
        if record.raw is not None:
            n_genes = dataset.table(RAW_GENES).count_rows()
            differences.compare("config", f"rows of {RAW_GENES}", record.raw.n_genes, n_genes)


def check_annotation_digests(
    dataset: Dataset, differences: DifferenceLog, progress: Progress, positions: Sequence[int]
) -> None:
    """Read blocks of layers and raw, and compare the digest of each.

    Parameters
    ----------
    dataset
        A dataset with correct offsets and blocks.
    differences
        Collects blocks that differ.
    progress
        Advances by the cells read, once for each table.
    positions
        The positions of the blocks to read.
    """
    for layers, matrices in layer_row_tables(dataset):
        for position in positions:
            block = layers.blocks[position]
            with differences.catching(layers.label(block)):
                digests = layers.digests(RowRange(block.start, block.stop), differences)
                for matrix, digest in zip(matrices, digests, strict=True):
                    where = f"{layers.name}, {matrix.original}, {block}"
                    differences.compare("digest", where, matrix.blocks[position].digest, digest)
            nonzeros = sum(matrix.blocks[position].rows for matrix in matrices)
            progress.advance(block.stop - block.start, nonzeros)


def check_annotations_readable(dataset: Dataset, differences: DifferenceLog) -> None:
    """Read every element of obsm, varm, obsp, varp and uns, and check files against digests."""
    for record in dataset.annotations.record.files:
        content = dataset.location.read(record.file)
        if content is None:
            differences.note("unreadable", record.file, "a file", "nothing")
        else:
            digest = xxhash.xxh3_128(content).hexdigest()
            differences.compare("digest", record.file, record.digest, digest)
    if differences.has("unreadable", "digest"):
        return
    for slot in ALIGNED_SLOTS:
        elements = dataset.annotations.slot(slot)
        for key in elements:
            with differences.catching(f"{slot} {key!r}"):
                elements[key]
    if dataset.raw is not None:
        with differences.catching(RAW_GENES):
            _ = dataset.raw.var, dict(dataset.raw.varm)
    with differences.catching("uns"):
        _ = dataset.uns


def n_layer_tables(dataset: Dataset) -> int:
    """Number of tables with layers or raw that config.json lists."""
    return sum(name in dataset.published.tables for name in (LAYERS, RAW))


def layer_row_tables(dataset: Dataset) -> Iterator[tuple[RowTable, tuple[MatrixRecord, ...]]]:
    """Tables with layers or raw, and the records of their matrices."""
    for name, matrices in dataset.annotations.record.matrices().items():
        yield RowTable.of(dataset, name), matrices


def _check_blocks(
    layers: RowTable, matrices: tuple[MatrixRecord, ...], differences: DifferenceLog
) -> None:
    expected = [(block.start, block.stop) for block in layers.blocks]
    for matrix in matrices:
        blocks = [(block.start, block.stop) for block in matrix.blocks]
        where = f"blocks of {layers.name}, {matrix.original}"
        differences.compare("config", where, expected, blocks)
