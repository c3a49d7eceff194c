"""How two datasets differ, or a dataset and a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slaf.as_source import DatasetSource
from slaf.dataset import Dataset, open_dataset
from slaf.errors import NotADataset
from slaf.manifest import load
from slaf.progress import Unwatched
from slaf.schema import given_back
from slaf.sources import ReadOptions, open_source
from slaf.storage import Location
from slaf.verification.against import check_against
from slaf.verification.report import Comparison, Findings
from slaf.verification.tables import check_tables

if TYPE_CHECKING:
    import os

    import anndata

    from slaf.progress import Progress
    from slaf.sources import Source
    from slaf.verification.against import Original

__all__ = ["diff"]

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
    progress: Progress | None = None,
) -> Comparison:
    """Compare every value, id, column and type of two datasets, or of a dataset and a file.

    How a dataset is stored does not count: parts, compression, the type of the values on disk.
    The type they are given back in does.

    Parameters
    ----------
    first, second
        A dataset each; or one of them a file that can be converted, or an AnnData.
    matrix
        Of a file, the matrix to compare: "X", "raw" or "layer:NAME".
    genome, feature_type, measurement, format, memory, scratch
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
    one, other = _dataset(first), _dataset(second)
    names = (_name(first, one), _name(second, other))
    # What the comparison calls expected is the original: the first, or a file.
    findings = Findings(exchanged=other is None)
    dataset = one if other is None else other
    if dataset is None:
        msg = f"neither {names[0]} nor {names[1]} is a SLAF dataset; one of them has to be"
        raise NotADataset(msg)
    for opened in filter(None, (one, other)):
        check_tables(opened, findings)
    if not findings.of(*_FATAL):
        seen = progress or Unwatched()
        seen.begin(0, 0, dataset.n_cells)
        options = ReadOptions.beside(
            dataset.location,
            matrix,
            memory,
            scratch,
            genome=genome,
            feature_type=feature_type,
            measurement=measurement,
        )
        if one is not None and other is not None:
            _compare(other, DatasetSource(one), one.published.dtype, findings, seen)
        else:
            with open_source(second if other is None else first, format, options) as source:
                _compare(dataset, source, _type_given_back(source, dataset), findings, seen)
    differences, counts = tuple(findings.shown), tuple(findings.counts.items())
    return Comparison(*names, ("ids, values, columns and types",), differences, counts)


def _compare(
    dataset: Dataset, original: Original, dtype: str, findings: Findings, seen: Progress
) -> None:
    findings.compare("type", "of the values", dtype, dataset.published.dtype)
    check_against(dataset, original, findings, seen)


def _type_given_back(source: Source, dataset: Dataset) -> str:
    """The type that values of the file are given back in by its dataset."""
    published = dataset.published
    declared = given_back(str(source.dtype), published.value_type, outgrown=False)
    # Sums of repeated entries, which only reading all of them finds, may be beyond that type.
    return published.dtype if published.dtype == published.value_type else declared


def _dataset(place: Any) -> Dataset | None:
    """The dataset that is given, or is at this place."""
    if isinstance(place, Dataset):
        return place
    if isinstance(place, Location) or not hasattr(place, "obs"):
        location = Location.of(place)
        return open_dataset(location) if load(location) is not None else None
    return None


def _name(place: Any, dataset: Dataset | None) -> str:
    if dataset is not None:
        return str(dataset.location)
    return "<AnnData>" if hasattr(place, "obs") else str(place)
