"""The versions of a dataset: what was published before."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from slaf.format.config import former_config, load_published
from slaf.storage.location import Location

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

__all__ = ["DatasetVersion", "history"]


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """A version of a dataset.

    Attributes
    ----------
    version
        Its number, from 1.
    published_at
        The time, ISO 8601, UTC.
    operation
        The command that made it.
    n_cells, n_genes
        The shape of the matrix.
    is_kept
        Whether its files are there, so that it can be opened.
    """

    version: int
    published_at: str
    operation: str
    n_cells: int
    n_genes: int
    is_kept: bool

    def to_json(self) -> dict[str, Any]:
        """As `slaf history --json` prints it."""
        return asdict(self)


def history(
    dataset: str | os.PathLike[str] | Location,
    *,
    storage_options: Mapping[str, str] | None = None,
) -> list[DatasetVersion]:
    """The versions of a dataset, the newest last.

    The version before an annotation is kept until the next run, and can be opened by its number.

    Parameters
    ----------
    dataset
        The directory of the dataset, or its URL in a bucket.
    storage_options
        Credentials and settings of the bucket.

    Raises
    ------
    DatasetError
        If there is no dataset.

    Examples
    --------
    >>> import anndata, numpy, slaf, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ds = slaf.convert(anndata.AnnData(numpy.eye(3, 2)), f"{folder}/out.slaf")
    ...     ds = ds.annotate(uns={"by": "hand"})
    ...     former = slaf.open(ds.location, version=1)
    ...     [(one.version, one.operation) for one in slaf.history(ds.location)], former.uns
    ([(1, 'convert'), (2, 'annotate')], {})
    """
    location = Location.of(dataset, storage_options)
    published = load_published(location)
    # A release without a history made it in one run, as far as is known.
    records = published.history or published.with_history(None, "convert").history
    return [
        DatasetVersion(
            one.version,
            one.published_at,
            one.operation,
            one.n_cells,
            one.n_genes,
            one.version == published.version
            or location.size_of(former_config(one.version)) is not None,
        )
        for one in records
    ]
