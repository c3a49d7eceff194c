"""Estimates of the disk space, memory and time of a run."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from slaf.runs.matrix_tables import source_matrices
from slaf.runs.plan import likely_type
from slaf.sparse.casting import is_whole
from slaf.storage.location import Location
from slaf.storage.space import LEAST_SHARE, check_free

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from slaf.format.config import DatasetConfig
    from slaf.options import ReadOptions
    from slaf.runs.plan import Plan
    from slaf.sources.base import Source
    from slaf.sources.matrix import Matrix

__all__ = ["Estimate", "check_disk_space", "estimate", "part_estimate", "rewrite_estimate"]

# Measured on 7 million counts and their logarithms, 3,000 cells × 30,000 genes: bytes a value.
_COUNTS = {"fast": 0.98, "balanced": 0.98, "small": 0.50}

# The share that stays of fractions: at least, where values repeat as logarithms of counts do. Of
# others as much stays as zstd leaves of a sample.
_FRACTIONS = {"fast": 0.86, "balanced": 0.40, "small": 0.40}
_SAMPLED_BLOCK = 8192

# The share that lz4 or zstd leaves of bit-packed positions: of genes by cell, of cells by gene.
_GENES = {"fast": 1.0, "balanced": 0.70, "small": 0.62}
_CELLS_BY_GENE = {"fast": 1.0, "balanced": 0.60, "small": 0.57}
_CELLS = 0.03
_INDEX = 3.0

# Bytes of the positions of a cell and a gene while they are sorted.
_SORTED_IDS = 6

_PROGRAM_MEMORY = 260 << 20
_WORKER_MEMORY = 62 << 20
_START_SECONDS = 1.5
_COUNTS_A_SECOND = 16e6
_FRACTIONS_A_SECOND = 10e6
_SORTED_A_SECOND = 8e6


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimated bytes, memory and time of a run.

    Attributes
    ----------
    bytes
        The size of the dataset.
    least_bytes
        The least that it takes; 0 if unknown.
    scratch
        Bytes that sorting takes on the scratch disk meanwhile.
    least_scratch
        The part of them that is certain.
    memory
        Bytes at the peak.
    seconds
        On a laptop: the right order of magnitude.
    """

    bytes: int
    least_bytes: int
    scratch: int
    least_scratch: int
    memory: int
    seconds: float

    def with_matrix(self, plan: Plan, matrix: Matrix, share: float = 1) -> Estimate:
        """The estimate with one more matrix, or a share of its entries."""
        size, first = matrix.size, matrix.sample_values()
        size = replace(size, entries=round(size.entries * share))
        counts = is_whole(first)
        each = _bytes_a_nonzero(plan, likely_type(first, plan.options), first, counts=counts)
        n_bytes = round(size.entries * each)
        seconds = size.entries / (_COUNTS_A_SECOND if counts else _FRACTIONS_A_SECOND)
        if size.scratch:
            seconds += size.entries / _SORTED_A_SECOND
        return Estimate(
            bytes=self.bytes + n_bytes,
            least_bytes=self.least_bytes + (int(n_bytes * LEAST_SHARE) if size.exact else 0),
            scratch=self.scratch + size.scratch,
            least_scratch=self.least_scratch + (size.least_scratch if size.exact else 0),
            memory=self.memory + size.memory,
            seconds=self.seconds + seconds,
        )

    def by_gene(self, plan: Plan, matrix: Matrix, memory: int) -> Estimate:
        """The estimate with a copy of all rows in the order of genes."""
        entries = int(matrix.indptr_estimate(max(plan.n_cells, 1))[-1])
        first = matrix.sample_values()
        dtype = likely_type(first, plan.options)
        cells = max(plan.n_cells - 1, 1).bit_length() / 8
        cells *= _CELLS_BY_GENE[plan.options.compression]
        values = _bytes_of_values(plan, dtype, first, counts=is_whole(first))
        sorting = entries * (_SORTED_IDS + dtype.itemsize)
        return replace(
            self,
            bytes=self.bytes + round(entries * (cells + values)),
            scratch=self.scratch + sorting,
            memory=max(self.memory, _PROGRAM_MEMORY + min(memory, sorting)),
            seconds=self.seconds + entries / _SORTED_A_SECOND,
        )


def estimate(plan: Plan, source: Source, annotations: int, workers: int, memory: int) -> Estimate:
    """Estimate a plan.

    Parameters
    ----------
    annotations
        Bytes in memory of everything but the matrices.
    memory
        The memory budget of sorting by gene.
    """
    least = _PROGRAM_MEMORY + max(workers, 1) * _WORKER_MEMORY
    whole = Estimate(annotations, 0, 0, 0, least, _START_SECONDS)
    for table in plan.matrix_tables:
        for matrix in source_matrices(source, table.table)[0].values():
            whole = whole.with_matrix(plan, matrix)
    return whole.by_gene(plan, source.matrix(), memory) if plan.options.by_gene else whole


def part_estimate(plan: Plan, source: Source, memory: int) -> Estimate:
    """Estimate one part of a plan, encoded by a process of its own.

    Parameters
    ----------
    memory
        The memory budget of sorting, where an input is not in the order of cells.
    """
    cells_only = replace(plan, options=replace(plan.options, by_gene=False))
    whole = estimate(cells_only, source, 0, 1, memory)
    n_parts = max(len(plan.parts), 1)
    return replace(
        whole,
        bytes=whole.bytes // n_parts,
        least_bytes=whole.least_bytes // n_parts,
        seconds=_START_SECONDS + (whole.seconds - _START_SECONDS) / n_parts,
    )


def check_disk_space(
    location: Location,
    options: ReadOptions,
    expected: Estimate,
    *,
    base: DatasetConfig | None = None,
    use: str = "the dataset takes",
    remedy: str = "another output",
) -> None:
    """Refuse a run that cannot fit on the disk.

    Parameters
    ----------
    location
        The dataset.
    options
        The scratch directory of sorting.
    expected
        The estimate of the run.
    base
        The dataset that is there, if its files stay.
    use
        The subject and verb of the message, as "the dataset takes".
    remedy
        The place to name instead, for messages.

    Raises
    ------
    StorageError
        If less space is free than the dataset, or sorting, takes at the least.
    """
    # The files of an unfinished run count.
    written = 0 if location.is_remote else location.size() - _recorded_bytes(base)
    least = max(expected.least_bytes - written, 0)
    use = f"{use} about {expected.bytes:,}"
    if expected.least_scratch:
        scratch = Location(options.scratch or tempfile.gettempdir())
        sorting = f"sorting takes {expected.least_scratch:,} or more"
        if scratch.shares_disk(location):
            least += expected.least_scratch
            use += f" and {sorting} meanwhile"
        else:
            elsewhere = "another directory with --scratch"
            check_free(scratch, expected.least_scratch, 0, sorting, elsewhere)
    check_free(location, least, expected.bytes - written, use, remedy)


def _recorded_bytes(dataset: DatasetConfig | None) -> int:
    """The bytes of the files of a dataset, as far as they are recorded."""
    return 0 if dataset is None else sum(file.bytes for file in dataset.checksums.files)


def rewrite_estimate(plan: Plan, source: Source) -> Estimate:
    """Estimate a run that writes some rows of a dataset again.

    Parameters
    ----------
    plan
        Its plan, with the parts that are written.
    source
        The rows, as they will be.
    """
    whole = Estimate(0, 0, 0, 0, _PROGRAM_MEMORY, _START_SECONDS)
    for table in plan.matrix_tables if plan.parts else ():
        if table.table in plan.rewrites:
            for matrix in source_matrices(source, table.table)[0].values():
                whole = whole.with_matrix(plan, matrix, _written_share(plan, matrix))
    return whole


def _written_share(plan: Plan, matrix: Matrix) -> float:
    """The share of the entries of a matrix that the parts of a plan have."""
    offsets = matrix.indptr_estimate(1)
    written = sum(int(offsets[part.stop] - offsets[part.start]) for part in plan.parts)
    return written / max(int(offsets[-1]), 1)


def _bytes_a_nonzero(
    plan: Plan, dtype: np.dtype[Any], sample: NDArray[Any], *, counts: bool
) -> float:
    genes = max(plan.n_genes - 1, 1).bit_length() / 8 * _GENES[plan.options.compression]
    values = _bytes_of_values(plan, dtype, sample, counts=counts)
    return _CELLS + genes + values + (_INDEX if plan.options.create_indices else 0.0)


def _bytes_of_values(
    plan: Plan, dtype: np.dtype[Any], sample: NDArray[Any], *, counts: bool
) -> float:
    compression = plan.options.compression
    if counts:
        return _COUNTS[compression]
    return (
        max(_FRACTIONS[compression], _compressed_share(sample[sample != 0], dtype)) * dtype.itemsize
    )


def _compressed_share(values: NDArray[Any], dtype: np.dtype[Any]) -> float:
    """The share that zstd leaves of values, block by block as in a table."""
    import pyarrow as pa

    content = values.astype(dtype).tobytes()
    blocks = (content[at : at + _SAMPLED_BLOCK] for at in range(0, len(content), _SAMPLED_BLOCK))
    sizes = [len(pa.compress(block, codec="zstd", asbytes=True)) for block in blocks]
    return min(sum(sizes) / max(len(content), 1), 1.0)
