"""slaf.scan and slaf.concat: the view of unconverted inputs, and of views end to end."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import slaf.dataset.source  # noqa: F401 - makes a dataset an input too
from slaf.dataset.dataset import Dataset, View, open_dataset
from slaf.errors import InputError
from slaf.format.config import load
from slaf.options import INPUT_CHOICES, ReadOptions, ScanOptions
from slaf.runtime.forks import check_not_forked
from slaf.sources import as_inputs
from slaf.sources.concat.source import Concat
from slaf.sources.samples import with_samples
from slaf.storage.location import Location
from slaf.storage.urls import is_web

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slaf.options import Join
    from slaf.sources.base import Inputs, Source

__all__ = ["Scan", "SourceView", "check_nothing_chosen", "concat", "open_or_scan", "scan"]


def scan(inputs: Inputs, **options: Any) -> Scan:
    """The view of inputs as they lie: whatever `slaf.convert` takes, without a conversion.

    A matrix that is not in the order of cells is sorted into scratch on first access; closing the
    scan removes it. Nothing else is written.

    Parameters
    ----------
    inputs
        As for `slaf.convert`: a path, a URL, an AnnData, or a list of these.
    options
        By keyword, each field of `slaf.options.ScanOptions`.

    Returns
    -------
    Scan
        A `View`, and a context manager that closes the inputs.

    Raises
    ------
    InputError
        If an input cannot be read.
    TypeError, ValueError
        If an option is unknown, or its value is invalid.

    Examples
    --------
    >>> import anndata, numpy
    >>> with scan(anndata.AnnData(numpy.eye(3, 2))) as view:
    ...     view["cell_integer_id >= 1"].X.to_memory().toarray().tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    return Scan(inputs, ScanOptions.from_keywords("scan", options))


def concat(views: Sequence[View], *, join: Join = "strict", cell_id_prefix: bool = False) -> Scan:
    """Views end to end: their cells below each other, their genes aligned by id; nothing is read.

    Views of datasets, of inputs, and of parts of them may be mixed. Layers, raw and annotations are
    merged as those of several inputs of `slaf.convert`.

    Parameters
    ----------
    views
        In the order of their cells.
    join
        The genes: "strict" if all must have the same, "union" or "intersection".
    cell_id_prefix
        Put the name of its view before each cell id.

    Returns
    -------
    Scan
        A view; closing it leaves the views open.

    Raises
    ------
    GeneMismatch
        If the genes cannot be aligned as chosen.
    InputError
        If there is no view, or one cannot be read.

    Examples
    --------
    >>> import anndata, numpy, slaf
    >>> view = slaf.scan(anndata.AnnData(numpy.eye(4, 3)))
    >>> both = slaf.concat([view[2:], view[:1]])
    >>> both.obs_names.to_list()
    ['2', '3', '0']
    """
    return scan(list(views), join=join, cell_id_prefix=cell_id_prefix)


def open_or_scan(dataset_or_inputs: View | Inputs, **options: Any) -> View:
    """The view of a dataset, or of inputs; closing it leaves a view that was given open.

    Parameters
    ----------
    dataset_or_inputs
        A view, a dataset, or inputs as for `slaf.scan`.
    options
        By keyword, as for `slaf.scan`; those that choose something of an input are refused with a
        dataset.
    """
    if isinstance(dataset_or_inputs, Dataset):
        return dataset_or_inputs
    if isinstance(dataset_or_inputs, View):
        view = dataset_or_inputs
        return View(view.origin, view.cells, view.genes, view.steps)
    storage_options = options.get("storage_options")
    if isinstance(dataset_or_inputs, str | os.PathLike) and not is_web(str(dataset_or_inputs)):
        location = Location.of(dataset_or_inputs, storage_options)
        if load(location) is not None:
            check_nothing_chosen(str(location), options)
            return open_dataset(location)
    return scan(dataset_or_inputs, **options)


def check_nothing_chosen(dataset: str, options: Mapping[str, Any]) -> None:
    """Check that of a dataset nothing is chosen that only an input has.

    Raises
    ------
    InputError
        If a matrix, or what a format knows, is chosen.
    """
    chosen = [name for name in ("matrix", *INPUT_CHOICES) if options.get(name) not in {None, "X"}]
    if chosen:
        msg = f"{dataset} is a dataset, but {chosen[0]} is chosen of an input: leave it out"
        raise InputError(msg)


class SourceView(View):
    """The view of all of a source that stays open.

    Parameters
    ----------
    source
        The source.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(self)
        self._source = source

    @property
    def source(self) -> Source:
        """The source."""
        return self._source

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return self.source.info.n_cells

    @property
    def n_vars(self) -> int:
        """Number of genes."""
        return self.source.info.n_genes


class Scan(SourceView):
    """The view of all of some inputs; `slaf.scan` makes one.

    Parameters
    ----------
    inputs
        As for `slaf.convert`.
    options
        How they are read.
    """

    def __init__(self, inputs: Inputs, options: ScanOptions) -> None:
        check_not_forked()
        reading = ReadOptions.part_of(options)
        found = as_inputs(inputs, options.format, reading).inputs
        named = with_samples(found, options.samples, reading, prefixed=options.cell_id_prefix)
        super().__init__(Concat(named, options.join))
        self._inputs = inputs
        self._options = options
        self._is_closed = False

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Scan, options=self._options), (self._inputs,)

    @property
    def source(self) -> Source:
        """The inputs as one source.

        Raises
        ------
        ValueError
            If the scan is closed.
        """
        check_not_forked()
        if self._is_closed:
            msg = "the scan is closed; call slaf.scan again"
            raise ValueError(msg)
        return self._source

    def close(self) -> None:
        """Close the inputs, and remove scratch."""
        if not self._is_closed:
            self._is_closed = True
            self._source.__exit__()
