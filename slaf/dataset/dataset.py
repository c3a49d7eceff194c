"""View and Dataset: a published dataset, open for reading, and some of its cells and genes."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from slaf.annotations.read_only import refuse
from slaf.dataset.aggregate import Aggregates
from slaf.dataset.display import as_html, as_text
from slaf.dataset.history import history
from slaf.dataset.in_memory import InMemory
from slaf.dataset.query import QueryTable
from slaf.dataset.sql import Sql
from slaf.dataset.steps import Steps
from slaf.dataset.stored import StoredDataset
from slaf.errors import SelectionError
from slaf.format.config import DatasetConfig, load_former, load_published
from slaf.format.schema import CELLS, COVERAGE, GENES
from slaf.runtime.forks import check_not_forked
from slaf.storage.location import Location

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from slaf.dataset.base import Step
    from slaf.sources.base import Source
    from slaf.targets.export import ExportReport
    from slaf.training.loader import Loader
    from slaf.transforms.base import SourceStep

    Positions = NDArray[np.int64] | None

__all__ = ["Dataset", "TransformedView", "View", "open_dataset"]


class View(InMemory["View"], Sql["View"], Steps["View"], Aggregates["View"]):
    """Some cells and genes of a dataset, or of inputs, in an order: lazy and immutable.

    ``view[cells, genes]`` is another view. Cells and genes are selected by a position or several, a
    slice, a mask, a boolean Series (aligned by its index), ids, symbols of genes, or a filter on
    obs or var. `slaf.open` and `slaf.scan` make the first view.

    Parameters
    ----------
    origin
        The dataset or the scan.
    cells, genes
        Positions in it, in any order, each any number of times; None for all.
    steps
        The steps of an analysis that made the view, besides selections.

    Attributes
    ----------
    origin
        The dataset or the scan, itself one, or one with its values changed.
    cells, genes
        Positions in the origin, int64, in the order of the view; None for all.
    steps
        As above.

    Examples
    --------
    >>> import anndata, numpy, slaf
    >>> view = slaf.scan(anndata.AnnData(numpy.eye(4, 3)))
    >>> view[1:, ["2", "0"]].shape
    (3, 2)
    >>> view[[3, 1]].obs_names.to_list()
    ['3', '1']
    """

    def __init__(
        self,
        origin: View,
        cells: Positions = None,
        genes: Positions = None,
        steps: tuple[Step, ...] = (),
    ) -> None:
        self.__dict__.update(origin=origin, cells=cells, genes=genes, steps=steps)

    def __reduce__(self) -> tuple[Any, ...]:
        return View, (self.origin, self.cells, self.genes, self.steps)

    def _part(self, cells: Positions, genes: Positions, steps: tuple[Step, ...]) -> View:
        return View(self.origin, cells, genes, steps)

    def _changed(self, change: SourceStep, steps: tuple[Step, ...]) -> View:
        return TransformedView(self, change, steps)

    @property
    def root(self) -> View:
        """The dataset or the scan, whatever steps lie between."""
        return self.origin if self.origin is self else self.origin.root

    def __repr__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and hasattr(View, name):
            refuse(name)
        super().__setattr__(name, value)

    # ----------------------------------------------------------------------- verbs of other modules

    def write_h5ad(self, output: str | os.PathLike[str], **options: Any) -> ExportReport:
        """Write the view as an h5ad file; memory does not grow with the number of cells.

        Parameters
        ----------
        output
            A path or a URL.
        options
            By keyword, as for `slaf.export`.
        """
        from slaf.targets.export import export

        return export(self, output, format="h5ad", **options)

    def write_zarr(self, output: str | os.PathLike[str], **options: Any) -> ExportReport:
        """Write the view as AnnData in zarr; memory does not grow with the number of cells.

        Parameters
        ----------
        output
            A path or a URL.
        options
            By keyword, as for `slaf.export`.
        """
        from slaf.targets.export import export

        return export(self, output, format="zarr", **options)

    def loader(self, **options: Any) -> Loader:
        """Batches of cells for training, shuffled in every epoch, in bounded memory.

        `batch.X` has the genes of the view, in its order.

        Parameters
        ----------
        options
            By keyword, each field of `slaf.training.options.LoaderOptions`.

        Returns
        -------
        slaf.training.loader.Loader
            Its iteration gives an epoch of batches; `torch()` is a dataset of PyTorch.

        Raises
        ------
        SelectionError
            If a requested column or layer does not exist.
        TypeError, ValueError
            If an option is unknown, or does not fit; the error names one that does.
        """
        from slaf.training.loader import Loader

        if not isinstance(self.origin, Dataset):
            msg = f"{self.label}: a loader reads datasets; convert it with slaf.convert first"
            raise SelectionError(msg)
        return Loader(self.origin, self.cells, self.genes, **options)

    def annotate(self, **changes: Any) -> Dataset:
        """Add columns, elements and layers to the dataset in place, replace them, or drop some.

        Datasets that are open stay as they are.

        Parameters
        ----------
        changes
            By keyword, each parameter of `slaf.annotate`: `obs`, `obsm`, `from_anndata`, ….

        Returns
        -------
        Dataset
            The new dataset.

        Raises
        ------
        InputError
            If an id is unknown or repeated, or something is there with other values.
        SelectionError
            If the view is a part of a dataset, or of inputs.
        """
        from slaf.conversion.annotate import annotate

        return annotate(self, **changes)


class TransformedView(View):
    """The view of all of another view, with the values of one matrix, or its gene ids, changed.

    Parameters
    ----------
    base
        The other view.
    step
        The change of the values.
    steps
        All steps until then.
    """

    base: View
    step: SourceStep

    def __init__(self, base: View, step: SourceStep, steps: tuple[Step, ...]) -> None:
        super().__init__(self, steps=steps)
        self.__dict__.update(base=base, step=step)
        # A step that cannot be done is refused now.
        self.source  # noqa: B018

    def __reduce__(self) -> tuple[Any, ...]:
        return TransformedView, (self.base, self.step, self.steps)

    @cached_property
    def source(self) -> Source:
        """The other view as a source, seen through the step."""
        return self.step.applied(self.base.as_source())

    @property
    def root(self) -> View:
        """The dataset, or the scan."""
        return self.base.root

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return self.base.n_obs

    @property
    def n_vars(self) -> int:
        """Number of genes."""
        return self.base.n_vars


class Dataset(StoredDataset, View):
    """A published dataset: the view of all of itself, with its tables.

    It reads the table versions that config.json named when it was opened. Other processes may
    replace and remove these: open the dataset again for what was not read before. Use `slaf.open`
    to open one. A pickle of a dataset in a bucket holds the storage options that it was opened
    with; those from the environment are not in it.

    Parameters
    ----------
    location
        Its location.
    published
        Its record in config.json.

    Attributes
    ----------
    location
        Its location.
    published
        Its record in config.json.
    """

    def __init__(self, location: Location, published: DatasetConfig) -> None:
        View.__init__(self, self)
        StoredDataset.__init__(self, location, published)

    def __reduce__(self) -> tuple[Any, ...]:
        return Dataset, (self.location, self.published)

    @cached_property
    def source(self) -> Source:
        """The dataset as a source."""
        from slaf.dataset.source import DatasetViewSource

        return DatasetViewSource(self)

    @property
    def label(self) -> str:
        """Its path or URL."""
        return str(self.location)

    def close(self) -> None:
        """Forget what was read; the dataset can still be used."""
        super().close()
        self.__dict__.pop("source", None)

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return self.published.n_cells

    @property
    def n_vars(self) -> int:
        """Number of genes."""
        return self.published.n_genes

    def query_tables(self) -> dict[str, QueryTable]:
        """The tables that `sql` reads, by name: all that are stored."""
        return {name: self._query_table(name) for name in self.published.tables}

    def query_table(self, axis: str) -> QueryTable:
        """The cells or genes as SQL and filters read them."""
        return self._query_table(axis)

    def _query_table(self, name: str) -> QueryTable:
        from slaf.dataset.coverage import query_table
        from slaf.tables.read import stream_columns

        if name == COVERAGE:
            return query_table(self, self.table(COVERAGE))
        table = self.table(name)
        return QueryTable(
            table.schema,
            lambda columns: stream_columns(table, columns),
            nan_is_missing=name in (CELLS, GENES),
            columns=self.published.columns[name] if name in (CELLS, GENES) else None,
        )


def open_dataset(
    dataset: str | os.PathLike[str] | Location,
    *,
    version: int | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> Dataset:
    """Open a published dataset for reading.

    Parameters
    ----------
    dataset
        The directory of the dataset, or its URL in a bucket.
    version
        A version that `slaf.history` lists, while its files are there; the newest by default.
    storage_options
        For a URL, credentials and settings of the bucket, by the names of Lance and obstore; the
        environment has the others.

    Raises
    ------
    NotADataset
        If there is none.
    ConversionInProgress
        If its conversion is unfinished.
    UnsupportedFormat
        If another program or a newer release wrote it.
    DamagedDataset
        If its config.json contradicts itself.
    StorageError
        If the bucket cannot be reached.
    """
    check_not_forked()
    location = Location.of(dataset, storage_options)
    published = load_published(location)
    if version is None or version == published.version:
        return Dataset(location, published)
    former = load_former(location, version)
    if former is None:
        there = ", ".join(str(one.version) for one in history(location) if one.is_kept)
        msg = f"{location}: there is no version {version} to open; there is {there}"
        raise SelectionError(msg)
    return Dataset(location, former)
