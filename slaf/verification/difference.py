"""How two datasets differ, or a dataset and a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from slaf.as_source import DatasetSource, HeldMatrix
from slaf.dataset import Dataset, open_dataset
from slaf.errors import NotADataset
from slaf.manifest import load
from slaf.progress import Unwatched
from slaf.schema import given_back
from slaf.sources import ReadOptions, open_source
from slaf.storage import Location, is_anndata, is_web, shown
from slaf.verification.against import check_against
from slaf.verification.beside import check_beside, n_companions
from slaf.verification.beside_against import check_beside_against
from slaf.verification.report import Comparison, Findings
from slaf.verification.tables import check_tables

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    import anndata

    from slaf.beside import MatrixRecord
    from slaf.manifest import Published
    from slaf.progress import Progress
    from slaf.sources import Source

    Types = Callable[["_Typed", Published | MatrixRecord], tuple[str, str]]

__all__ = ["diff"]


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
        Told how far it is: an object with the two methods of `slaf.progress.Progress`.

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
    findings = Findings(exchanged=other is None)
    dataset = one if other is None else other
    if dataset is None:
        msg = f"neither {names[0]} nor {names[1]} is a SLAF dataset; one of them has to be"
        raise NotADataset(msg)
    for opened in filter(None, (one, other)):
        check_tables(opened, findings)
        check_beside(opened, findings)
    if not findings.of(*_FATAL):
        seen = progress or Unwatched()
        seen.begin(0, 0, (1 + n_companions(dataset)) * dataset.n_cells)
        options = ReadOptions.beside(
            dataset.location,
            matrix,
            memory,
            scratch,
            genome=genome,
            feature_type=feature_type,
            measurement=measurement,
            storage_options=storage_options,
            stage=stage,
        )
        if one is not None and other is not None:
            source = DatasetSource(one)
            findings.compare("type", "of the values", *_types(source, other.published))
            _compare(other, source, _types, findings, seen)
        else:
            with open_source(second if other is None else first, format, options) as file:
                findings.compare("type", "of the values", *_types_of_file(file, dataset.published))
                _compare(dataset, file, _types_of_file, findings, seen)
    differences, counts = tuple(findings.shown), tuple(findings.counts.items())
    return Comparison(*names, ("ids, values, columns, types and slots",), differences, counts)


def _compare(
    dataset: Dataset, original: Source, types: Types, findings: Findings, seen: Progress
) -> None:
    check_against(dataset, original, findings, seen)
    check_beside_against(dataset, original, findings, seen, types=types)


def _types(one: _Typed, other: Published | MatrixRecord) -> tuple[str, str]:
    """The types that values of two datasets are given back in."""
    return (one.given_back if isinstance(one, HeldMatrix) else str(one.dtype)), other.dtype


def _types_of_file(one: _Typed, other: Published | MatrixRecord) -> tuple[str, str]:
    """The types that values of a file would be, and those of a dataset are given back in."""
    declared = given_back(str(one.dtype), other.value_type, outgrown=False)
    # Sums of repeated entries, which only reading all of them finds, may be beyond that type.
    outgrown = other.dtype == other.value_type and not np.can_cast(other.dtype, declared)
    return (other.dtype if outgrown else declared), other.dtype


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
    return "<AnnData>" if is_anndata(place) else shown(str(place))
