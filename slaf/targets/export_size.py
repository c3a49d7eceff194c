"""The disk space that an export takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slaf.dataset.dataset import Dataset, View
from slaf.dataset.lazy_matrix import LazyMatrix, composed
from slaf.storage.location import Location
from slaf.storage.space import LEAST_SHARE, check_free

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slaf.targets.base import TargetFormat

__all__ = ["check_export_space", "export_bytes"]

# Cells from all over a dataset, in so many runs, whose values are compressed for the estimate.
_RUNS, _CELLS = 8, 16


def check_export_space(
    staging: Location, view: View, format: TargetFormat, *, is_packed: bool
) -> None:
    """Refuse an export whose matrices surely do not fit on the disk, and warn of one that may not.

    Parameters
    ----------
    staging
        The folder that it is written in; what a stopped export left there is removed first.
    view, format
        The view that is written, and its format.
    is_packed
        Whether its arrays are compressed.

    Raises
    ------
    StorageError
        If the disk is too small.
    """
    least, likely = export_bytes(view, format, is_packed=is_packed)
    use = f"the values take about {likely:,}"
    written, disk = staging.size(), Location(staging.path.parent)
    check_free(disk, least - written, likely - written, use, "another output")


def export_bytes(view: View, format: TargetFormat, *, is_packed: bool) -> tuple[int, int]:
    """The bytes that X and raw take in a format: surely, and probably.

    Parameters
    ----------
    view, format, is_packed
        As for `check_export_space`.

    Returns
    -------
    tuple[int, int]
        0 for a matrix whose number of entries is not known without reading it.
    """
    likely = 0
    for matrix in _counted(view, format):
        n_bytes, n_entries = _sampled(matrix, is_packed=is_packed)
        likely += matrix.most_entries * n_bytes // max(n_entries, 1)
    return int(likely * LEAST_SHARE) if is_packed else likely, likely


def _counted(view: View, format: TargetFormat) -> Iterator[LazyMatrix]:
    """The matrices that a format holds of a view, if the numbers of their entries are known."""
    if format.has_strands or not isinstance(view.origin, Dataset):
        return
    if view.genes is None:
        yield view.X
    if view.raw is not None and format.layouts:
        yield view.raw.X


def _sampled(matrix: LazyMatrix, *, is_packed: bool) -> tuple[int, int]:
    """The bytes of values and genes of some cells, in the smallest types, and their number."""
    import pyarrow as pa

    n_cells, n_genes = matrix.shape
    starts = np.linspace(0, max(n_cells - _CELLS, 0), _RUNS).astype(np.int64)
    rows = np.unique(np.add.outer(starts, np.arange(min(_CELLS, n_cells))))
    cells = composed(matrix.cells, rows)
    sample = LazyMatrix(matrix.source, matrix.name, matrix.label, cells, matrix.genes)
    batches = list(sample.batches())
    types = min(matrix.dtype, matrix.value_type, key=_width), np.min_scalar_type(n_genes)
    columns = [batch.values for batch in batches], [batch.genes for batch in batches]
    content = b"".join(
        part.astype(dtype).tobytes()
        for dtype, column in zip(types, columns, strict=True)
        for part in column
    )
    if is_packed:
        content = pa.compress(content, codec="zstd", asbytes=True)
    return len(content), sum(batch.nnz for batch in batches)


def _width(dtype: np.dtype[np.generic]) -> int:
    return dtype.itemsize
