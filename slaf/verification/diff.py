"""Compare two datasets, or a dataset and an input: `slaf.diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.dataset.dataset import Dataset, View, open_dataset
from slaf.dataset.matrix import StoredMatrix
from slaf.dataset.scan import check_nothing_chosen
from slaf.dataset.source import DatasetSource
from slaf.errors import NotADataset
from slaf.format.config import load
from slaf.format.schema import narrowest_count, read_dtype
from slaf.options import ReadingOptions, ReadOptions
from slaf.runtime.progress import NullProgress
from slaf.sources import open_source
from slaf.storage.location import Location
from slaf.storage.paths import is_anndata
from slaf.storage.urls import is_web, redacted
from slaf.verification.against import check_against
from slaf.verification.annotations import check_indexes
from slaf.verification.annotations_against import check_annotations_against
from slaf.verification.report import Comparison, DifferenceLog
from slaf.verification.rows import check_row_tables, row_tables
from slaf.verification.tables import check_tables

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    import anndata

    from slaf.format.config import DatasetConfig
    from slaf.format.records import MatrixRecord
    from slaf.runtime.progress import Progress
    from slaf.sources.base import Source
    from slaf.sources.matrix import Matrix

    Types = Callable[[Matrix, DatasetConfig | MatrixRecord], tuple[str, str]]

__all__ = ["diff"]


# Kinds of differences after which values cannot be read.
_FATAL = ("offsets", "config", "unreadable")


def diff(
    first: str | os.PathLike[str] | Location | View | anndata.AnnData,
    second: str | os.PathLike[str] | Location | View | anndata.AnnData,
    *,
    progress: Progress | None = None,
    **options: Any,
) -> Comparison:
    """Compare two datasets, or a dataset and an input: values, ids, columns and types.

    Layers, raw, obsm, varm, obsp, varp and uns are compared too. Storage does not count: parts,
    compression, the type of values on disk. The type of values as they are read does.

    Parameters
    ----------
    first, second
        Two datasets, or a dataset and a view, a file that can be converted, or an AnnData.
    progress
        Reports progress: an object with the two methods of `slaf.runtime.progress.Progress`.
    options
        By keyword, each field of `slaf.options.ReadingOptions`: how a file is read, as for
        `slaf.convert`. `storage_options` are of the buckets of both.

    Returns
    -------
    Comparison
        The checks, and the first differences of each kind.

    Raises
    ------
    DatasetError, InputError
        If one of them cannot be read, or none is a dataset; or if both are, and something is
        chosen of a file.
    TypeError, ValueError
        If an option is unknown, or its value is invalid.
    """
    reading = ReadingOptions.from_keywords("diff", options)
    storage_options = reading.storage_options
    first_dataset = _dataset(first, storage_options)
    second_dataset = _dataset(second, storage_options)
    names = _name(first, first_dataset), _name(second, second_dataset)
    # The original, whose content is called expected, is the first dataset, or a file.
    differences = DifferenceLog(exchanged=second_dataset is None)
    dataset = first_dataset if second_dataset is None else second_dataset
    if dataset is None:
        msg = f"neither {names[0]} nor {names[1]} is a SLAF dataset; one of them has to be"
        raise NotADataset(msg)
    if first_dataset is not None and second_dataset is not None:
        check_nothing_chosen(names[1], options)
    for opened in (one for one in (first_dataset, second_dataset) if one is not None):
        check_tables(opened, differences)
        check_row_tables(opened, differences)
        if not differences.has(*_FATAL):
            check_indexes(opened, differences)
    if not differences.has(*_FATAL):
        progress = progress or NullProgress()
        progress.begin(0, 0, len(list(row_tables(dataset))) * dataset.n_cells)
        if first_dataset is not None and second_dataset is not None:
            _compare(dataset, DatasetSource(first_dataset), _types, differences, progress)
        else:
            file = second if second_dataset is None else first
            how = ReadOptions.part_of(reading).near(dataset.location)
            with open_source(file, reading.format, how) as source:
                _compare(dataset, source, _types_of_file, differences, progress)
    checks = ("ids, values, columns, types and slots",)
    return Comparison(*names, checks, *differences.results())


def _compare(
    dataset: Dataset, source: Source, types: Types, differences: DifferenceLog, progress: Progress
) -> None:
    differences.compare("type", "of the values", *types(source.matrix(), dataset.published))
    check_against(dataset, source, differences, progress)
    check_annotations_against(dataset, source, differences, progress, types=types)


def _types(matrix: Matrix, record: DatasetConfig | MatrixRecord) -> tuple[str, str]:
    """Types in which values of two datasets are read."""
    dtype = matrix.read_dtype if isinstance(matrix, StoredMatrix) else matrix.dtype
    return str(dtype), record.dtype


def _types_of_file(matrix: Matrix, record: DatasetConfig | MatrixRecord) -> tuple[str, str]:
    """Types in which values of a file would be read, and those of a dataset are."""
    declared = read_dtype(str(matrix.dtype), record.value_type, dtype_overflowed=False)
    # Sums of repeated entries may exceed that type; only reading all entries shows it.
    wide = {record.value_type, narrowest_count(record.value_type, beyond_uint16=False)}
    overflowed = record.dtype in wide and not np.can_cast(record.dtype, declared)
    return (record.dtype if overflowed else declared), record.dtype


def _dataset(target: Any, storage_options: Mapping[str, str] | None) -> Dataset | None:
    """Open the dataset at a path or URL; None if there is none."""
    if isinstance(target, Dataset):
        return target
    if isinstance(target, View):
        return None
    if isinstance(target, Location) or not (is_anndata(target) or is_web(target)):
        location = Location.of(target, storage_options)
        return open_dataset(location) if load(location) is not None else None
    return None


def _name(target: Any, dataset: Dataset | None) -> str:
    if dataset is not None:
        return str(dataset.location)
    if isinstance(target, View):
        return target.as_source().info.uri
    return "<AnnData>" if is_anndata(target) else redacted(str(target))
