"""slaf.annotate: add, replace or drop columns, elements and layers of a dataset, in place."""

from __future__ import annotations

import difflib
import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from slaf.conversion.annotation_change import AnnotationChange
from slaf.conversion.annotation_input import AnnotationInput
from slaf.conversion.annotation_run import AnnotationRun
from slaf.conversion.rewrite import changing, is_unfinished
from slaf.dataset.dataset import Dataset, View, open_dataset
from slaf.errors import InputError
from slaf.format.records import ComputedRecord
from slaf.format.schema import CELLS, GENES
from slaf.options import ALIGNED_SLOTS, LAYER, ReadingOptions, ReadOptions
from slaf.runtime.progress import NullProgress
from slaf.sources import open_source

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    import anndata

    from slaf.conversion.annotation_input import Annotating, ColumnsInput
    from slaf.runtime.progress import Progress
    from slaf.storage.location import Location
    from slaf.transforms.qc import QCMetrics

__all__ = ["annotate"]

logger = logging.getLogger("slaf")

_SHOWN = 10

_ADVICE = (
    "annotate the dataset itself, with a table or an AnnData of these cells: rows go to the cells "
    "of their ids, and the others have no value"
)


def annotate(
    dataset: str | os.PathLike[str] | Location | View,
    *,
    obs: ColumnsInput | None = None,
    var: ColumnsInput | None = None,
    obsm: Mapping[str, Any] | None = None,
    varm: Mapping[str, Any] | None = None,
    obsp: Mapping[str, Any] | None = None,
    varp: Mapping[str, Any] | None = None,
    uns: Mapping[str, Any] | None = None,
    layers: Mapping[str, Any] | None = None,
    from_anndata: anndata.AnnData | str | os.PathLike[str] | None = None,
    qc: QCMetrics | None = None,
    drop: str | Sequence[str] = (),
    on: str | None = None,
    replace: bool = False,
    restart: bool = False,
    storage_options: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Dataset:
    """Add columns, elements and layers to a dataset in place, replace them, or drop some.

    Rows with ids are put to the cells and genes of these ids, whatever their order; what has no row
    for some of them is missing there. Ids and X never change. Only the tables that change are
    written, and readers see the previous dataset until all of it is on disk: nothing is written
    unless all can be.

    Parameters
    ----------
    dataset
        A published dataset, or the URL of one in a bucket; no view of a part.
    obs, var
        Columns: a table with ids (the index), a CSV, TSV or Parquet file (ids in its first column),
        or a mapping of names to series with ids, or to values of all rows in order.
    obsm, varm
        Elements by name: tables with ids, or arrays with a row for each cell, or gene, in order.
    obsp, varp
        Matrices of cells × cells, or genes × genes, by name.
    uns
        Anything that anndata can write, by name; a name is replaced as a whole.
    layers
        Matrices of all cells × genes in order, by name.
    from_anndata
        An AnnData, or a file that can be converted: everything in it but X and raw, aligned by its
        ids. What the dataset has already, with the same values, stays.
    qc
        Metrics of the dataset, from its `qc_metrics`: columns of obs and var, which every append
        and removal computes anew.
    drop
        The names to drop: "obs:NAME", "var:NAME", "obsm:KEY", "uns:KEY", "layer:NAME", ….
    on
        The column of a table in `obs` or `var` that has the ids.
    replace
        Replace content of the same name and other values; otherwise it is refused.
    restart
        Discard an unfinished run of the dataset, be it another.
    storage_options
        Credentials and settings of the bucket.
    progress
        Receives the progress: an object with the methods of `slaf.runtime.progress.Progress`.
    options
        By keyword, the other fields of `slaf.options.ReadingOptions`: how the file of
        `from_anndata` is read.

    Returns
    -------
    Dataset
        The new dataset, open.

    Raises
    ------
    InputError
        If an id is unknown or repeated, a name is there with other values, there is nothing of a
        name to drop, or something cannot be stored exactly. The dataset is unchanged.
    SelectionError
        If it is a view of a part of a dataset, or of inputs.
    DatasetError
        If there is no dataset.
    ConflictError
        If another process writes to the dataset, or another run is unfinished.
    StorageError
        If writing fails; the same call begins again.
    TypeError, ValueError
        If an option is unknown, or its value is invalid, or there is no `from_anndata` to read.

    Examples
    --------
    >>> import anndata, numpy, slaf, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ds = slaf.convert(anndata.AnnData(numpy.eye(3, 2)), f"{folder}/out.slaf")
    ...     ds = slaf.annotate(ds, obs={"depth": [1, 1, 0]}, uns={"by": "hand"})
    ...     "depth" in ds.obs, ds.uns["by"]
    (True, 'hand')
    """
    how = ReadingOptions.from_keywords("annotate", options | {"storage_options": storage_options})
    if options and from_anndata is None:
        msg = f"{min(options)} says how from_anndata is read, which is not given: leave it out"
        raise InputError(msg)
    with ExitStack() as opened:
        current = opened.enter_context(changing(dataset, storage_options, _ADVICE))
        location = current.location
        reading = AnnotationInput(current, on)
        for axis, columns in ((CELLS, obs), (GENES, var)):
            if columns is not None:
                reading.add_columns(axis, columns)
        for slot, elements in zip(ALIGNED_SLOTS, (obsm, varm, obsp, varp), strict=True):
            reading.add_elements(slot, elements or {})
        reading.add_uns(uns or {})
        reading.add_layers(layers or {})
        if from_anndata is not None:
            near = ReadOptions.part_of(how).near(location)
            source = opened.enter_context(open_source(from_anndata, how.format, near))
            reading.add_source(source)
        computed = None if qc is None else _add_metrics(reading, qc)
        added = reading.result
        dropped = (drop,) if isinstance(drop, str) else tuple(drop)
        _check_dropped(current, dropped, added)
        _check_replaced(current, () if replace else reading.differing)
        change = AnnotationChange(current, added, frozenset(dropped), computed)
        run = AnnotationRun(change)
        if change.is_new:
            run.execute(restart=restart, progress=progress or NullProgress())
        elif is_unfinished(location, "annotate"):
            run.discard_stopped()
    return open_dataset(location)


def _add_metrics(reading: AnnotationInput, metrics: QCMetrics) -> ComputedRecord:
    """Add metrics of all cells and genes in order, whose ids may occur twice."""
    frames = {CELLS: metrics.obs, GENES: metrics.var}
    for axis, frame in frames.items():
        columns = {str(name): values.to_numpy() for name, values in frame.items()}
        reading.add_columns(axis, columns)
    slots = zip(("obs", "var"), frames.values(), strict=True)
    names = tuple(f"{slot}:{name}" for slot, frame in slots for name in frame)
    return ComputedRecord(names, metrics.options)


def existing_names(dataset: Dataset) -> list[str]:
    """The names of all that can be replaced or dropped, as "obs:NAME", "obsm:KEY", …."""
    columns = dataset.published.columns
    annotations = dataset.annotations
    return [
        *(f"obs:{column.original}" for column in columns[CELLS].columns[1:]),
        *(f"var:{column.original}" for column in columns[GENES].columns[1:]),
        *(f"{slot}:{key}" for slot in ALIGNED_SLOTS for key in annotations.slot(slot)),
        *(f"uns:{key}" for key in annotations.uns),
        *(f"{LAYER}:{name}" for name in annotations.layers),
    ]


def _check_dropped(dataset: Dataset, dropped: Iterable[str], added: Annotating) -> None:
    """Refuse to drop what is not there, or is given at the same time."""
    existing = existing_names(dataset)
    for name in dropped:
        if name in added.names:
            msg = f"{name} is to be added and dropped; choose one"
            raise InputError(msg)
        if name not in existing:
            near = difflib.get_close_matches(name, existing, n=3, cutoff=0.3)
            found = f"the nearest is {' or '.join(near)}" if near else _list(existing)
            msg = f"{dataset.location}: there is no {name} to drop; {found}"
            raise InputError(msg)


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"there is {', '.join(names[:_SHOWN]) or 'nothing'}{more}"


def _check_replaced(dataset: Dataset, differing: Sequence[str]) -> None:
    """Refuse to replace what is there with other values."""
    if differing:
        msg = (
            f"{dataset.location} has {', '.join(differing)} with other values; replace with "
            "--replace (replace=True), or use other names"
        )
        raise InputError(msg)
