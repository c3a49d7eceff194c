"""How two datasets differ, or a dataset and a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from slaf.dataset.dataset import Dataset, open_dataset
from slaf.dataset.matrix import StoredMatrix
from slaf.dataset.source import DatasetSource
from slaf.errors import NotADataset
from slaf.format.config import load
from slaf.format.schema import read_dtype
from slaf.options import ReadOptions
from slaf.runtime.progress import NullProgress
from slaf.sources import open_source
from slaf.storage.location import Location
from slaf.storage.paths import is_anndata
from slaf.storage.urls import is_web, redacted
from slaf.verification.against import check_against
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

__all__ = ["diff"]

if TYPE_CHECKING:
    Types = Callable[["_Typed", DatasetConfig | MatrixRecord], tuple[str, str]]


class _Typed(Protocol):
    """A source, or one of its matrices."""

    @property
    def dtype(self) -> np.dtype[Any]: ...


# What can no longer be compared when these are wrong: it is read by them.
_FATAL = ("offsets", "config", "unreadable")


def diff(
    first: str | os.PathLike[str] | Location | Dataset | anndata.AnnData,
    second: str | os.PathLike[str] | Location | Dataset | anndata.AnnData,
    *,
    matrix: str = "X",
    genome: str | None = None,
    feature_type: str | None = None,
    measurement: str | None = None,
    format: str | None = None,
    memory: int | None = None,
    scratch: str | os.PathLike[str] | None = None,
    storage_options: Mapping[str, str] | None = None,
    stage: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare all that two datasets hold, or a dataset and a file: values, ids, columns, types.

    Layers, raw, obsm, varm, obsp, varp and uns are compared too. How a dataset is stored does not
    count: parts, compression, the type of the values on disk. The type they are given back in does.

    Parameters
    ----------
    first, second
        A dataset each; or one of them a file that can be converted, or an AnnData.
    matrix
        Of a file, the matrix to compare: "X", "raw" or "layer:NAME".
    genome, feature_type, measurement, format, memory, scratch
        Of a file, as for `slaf.convert`.
    storage_options
        How to reach the buckets of both, by the names that Lance and obstore have for it; what
        is not said is taken from the environment.
    stage
        Of a file, as for `slaf.convert`.
    progress
        Told how far it is: an object with the two methods of `slaf.runtime.progress.Progress`.

    Returns
    -------
    Comparison
        What was compared, and the first differences of each kind.

    Raises
    ------
    DatasetError, InputError
        If one of them cannot be read, or none is a dataset.
    """
    one, other = _dataset(first, storage_options), _dataset(second, storage_options)
    names = (_name(first, one), _name(second, other))
    # What the comparison calls expected is the original: the first, or a file.
    findings = DifferenceLog(exchanged=other is None)
    dataset = one if other is None else other
    if dataset is None:
        msg = f"neither {names[0]} nor {names[1]} is a SLAF dataset; one of them has to be"
        raise NotADataset(msg)
    for opened in filter(None, (one, other)):
        check_tables(opened, findings)
        check_row_tables(opened, findings)
    if not findings.of(*_FATAL):
        seen = progress or NullProgress()
        seen.begin(0, 0, len(list(row_tables(dataset))) * dataset.n_cells)
        options = ReadOptions(
            matrix=matrix,
            memory=memory,
            scratch=scratch,
            genome=genome,
            feature_type=feature_type,
            measurement=measurement,
            storage_options=storage_options,
            stage=stage,
        ).near(dataset.location)
        if one is not None and other is not None:
            source = DatasetSource(one)
            findings.compare("type", "of the values", *_types(source.matrix(), other.published))
            _compare(other, source, _types, findings, seen)
        else:
            with open_source(second if other is None else first, format, options) as file:
                findings.compare(
                    "type", "of the values", *_types_of_file(file.matrix(), dataset.published)
                )
                _compare(dataset, file, _types_of_file, findings, seen)
    differences, counts = tuple(findings.shown), tuple(findings.counts.items())
    return Comparison(*names, ("ids, values, columns, types and slots",), differences, counts)


def _compare(
    dataset: Dataset, original: Source, types: Types, findings: DifferenceLog, seen: Progress
) -> None:
    check_against(dataset, original, findings, seen)
    check_annotations_against(dataset, original, findings, seen, types=types)


def _types(one: _Typed, other: DatasetConfig | MatrixRecord) -> tuple[str, str]:
    """The types that values of two datasets are given back in."""
    return str(one.read_dtype if isinstance(one, StoredMatrix) else one.dtype), other.dtype


def _types_of_file(one: _Typed, other: DatasetConfig | MatrixRecord) -> tuple[str, str]:
    """The types that values of a file would be, and those of a dataset are given back in."""
    declared = read_dtype(str(one.dtype), other.value_type, dtype_overflowed=False)
    # Sums of repeated entries, which only reading all of them finds, may be beyond that type.
    dtype_overflowed = other.dtype == other.value_type and not np.can_cast(other.dtype, declared)
    return (other.dtype if dtype_overflowed else declared), other.dtype


def _dataset(place: Any, storage_options: Mapping[str, str] | None) -> Dataset | None:
    """The dataset that is given, or is at this place."""
    if isinstance(place, Dataset):
        return place
    if isinstance(place, Location) or not (is_anndata(place) or is_web(place)):
        location = Location.of(place, storage_options)
        return open_dataset(location) if load(location) is not None else None
    return None


def _name(place: Any, dataset: Dataset | None) -> str:
    if dataset is not None:
        return str(dataset.location)
    return "<AnnData>" if is_anndata(place) else redacted(str(place))
