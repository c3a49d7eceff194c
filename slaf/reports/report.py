"""Describe a dataset on one page: `slaf.report`."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from slaf.dataset.dataset import Dataset, open_dataset
from slaf.dataset.info import describe_recorded_slots
from slaf.errors import DamagedDataset, OutputExists, VerificationFailed
from slaf.format.config import CONFIG
from slaf.format.schema import CELLS, GENES, LAYERS, RAW
from slaf.reports.contents import (
    ColumnBytes,
    DatasetReport,
    FragmentBytes,
    TableBytes,
    Verification,
)
from slaf.reports.html import MOST_BYTES, START, as_html
from slaf.reports.left_behind import left_behind
from slaf.reports.multiqc import write_multiqc
from slaf.reports.quality import Quality, measure, without_values
from slaf.reports.repeat import repeat
from slaf.reports.warnings import warnings_of
from slaf.runtime.progress import NullProgress
from slaf.storage.location import Location
from slaf.storage.urls import is_url, local_path
from slaf.tables.read import column_bytes
from slaf.verification.verify import verify as verify_dataset

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from slaf.runtime.progress import Progress

__all__ = ["report"]


def report(
    dataset: str | os.PathLike[str] | Location | Dataset,
    output: str | os.PathLike[str] | None = None,
    *,
    multiqc: str | os.PathLike[str] | None = None,
    layer: str | None = None,
    mt: str | None = None,
    verify: bool = True,
    overwrite: bool = False,
    storage_options: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> DatasetReport:
    """Describe a dataset: warnings, inputs, quality of cells, genes, bytes, and how it was made.

    The values are read once, fractions twice. The page is one HTML file of at most 300 kB without
    scripts; the same dataset gives the same bytes. A dataset that is damaged is described as far as
    it can be read, and the damage is the first of the warnings.

    Parameters
    ----------
    dataset
        A published dataset.
    output
        A path or URL for the page; None for no page.
    multiqc
        A directory or URL for the same figures as custom content of MultiQC; None for none.
    layer
        The layer whose values are described instead of X, or "raw".
    mt
        The mitochondrial genes: a regular expression that is searched in ids and symbols; those of
        human and mouse if None.
    verify
        Whether to verify the dataset first, as `slaf.verify` does with ``quick=True``.
    overwrite
        Whether to replace a page.
    storage_options
        Credentials and settings of the bucket.
    progress
        Reports progress: an object with the two methods of `slaf.runtime.progress.Progress`.

    Returns
    -------
    DatasetReport
        All that the page says, and of all inputs.

    Raises
    ------
    OutputExists
        If there is a page, and not `overwrite`.
    SelectionError
        If there is no such layer, or no gene matches `mt`.
    DatasetError
        If there is no dataset that can be opened.

    Examples
    --------
    >>> import anndata, numpy, slaf, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ds = slaf.convert(anndata.AnnData(numpy.array([[0.5, 1], [2, 3]])), f"{folder}/a.slaf")
    ...     made = slaf.report(ds, f"{folder}/report.html")
    ...     [warning.kind for warning in made.warnings], made.verification.state
    (['fractional'], 'quick')
    """
    page = None if output is None else _Page(output, storage_options, overwrite=overwrite)
    opened = (
        dataset
        if isinstance(dataset, Dataset)
        else open_dataset(dataset, storage_options=storage_options)
    )
    state = _verified(opened) if verify else Verification("none")
    quality: Quality | None = None
    try:
        quality = measure(opened, layer, mt, progress or NullProgress())
    except DamagedDataset as error:
        state = Verification("failed", state.checks, (*state.differences, str(error)))
    found = _contents(opened, layer, state, quality)
    if page is not None:
        page.write(as_html(found))
    if multiqc is not None:
        write_multiqc(found, Location.of(multiqc, storage_options))
    return found


class _Page:
    """The file of the page, which is checked before the dataset is read."""

    def __init__(
        self,
        output: str | os.PathLike[str],
        storage_options: Mapping[str, str] | None,
        *,
        overwrite: bool,
    ) -> None:
        folder, _, self._name = str(output).rpartition("/")
        if not is_url(output):
            path = local_path(output)
            folder, self._name = str(path.parent), path.name
        self._folder = Location(folder, storage_options)
        size = self._folder.size_of(self._name)
        if size is not None and not overwrite:
            msg = f"{output}: it exists already; --overwrite replaces a page"
            raise OutputExists(msg)
        if size is not None and not self._is_page(size):
            msg = (
                f"{output}: it exists and is no page of a report, so it is not replaced; remove it"
            )
            raise OutputExists(msg)

    def _is_page(self, size: int) -> bool:
        start = self._folder.read(self._name) if size <= MOST_BYTES else None
        return start is not None and start.startswith(START.encode())

    def write(self, text: str) -> None:
        """Write the page, whole or not at all."""
        self._folder.mkdir()
        self._folder.put(self._name, text.encode())


def _verified(dataset: Dataset) -> Verification:
    try:
        checked = verify_dataset(dataset, quick=True)
    except VerificationFailed as failed:
        differences = tuple(map(str, failed.report.differences))
        return Verification("failed", failed.report.checks, differences)
    return Verification("quick", checked.checks)


def _contents(
    dataset: Dataset, layer: str | None, state: Verification, quality: Quality | None
) -> DatasetReport:
    published, location = dataset.published, dataset.location
    nonzeros, n_genes, dtype, value_type = _matrix(dataset, layer)
    return DatasetReport(
        location=str(location),
        digest=_digest(location),
        matrix="X" if layer is None else layer if layer == RAW else f"layer:{layer}",
        n_cells=published.n_cells,
        n_genes=n_genes,
        nonzeros=nonzeros,
        dtype=dtype,
        value_type=value_type,
        bytes=location.size(),
        warnings=tuple(warnings_of(dataset, layer, state, quality)),
        verification=state,
        sources=tuple(without_values(dataset, layer)) if quality is None else quality.sources,
        mt_genes=0 if quality is None else quality.mt_genes,
        genes=() if quality is None else quality.genes,
        tables=tuple(_table_bytes(dataset)),
        annotations=tuple(describe_recorded_slots(published.annotations)),
        left_behind=tuple(left_behind(published)),
        steps=published.transforms,
        history=published.history or published.with_history(None, "convert").history,
        created_at=published.created_at,
        last_updated=published.last_updated,
        writer=published.writer,
        commands=repeat(published),
    )


def _matrix(dataset: Dataset, layer: str | None) -> tuple[int, int, str, str]:
    """Nonzeros, genes, and the types of the values."""
    published, annotations = dataset.published, dataset.annotations
    if layer is None:
        return dataset.nnz, dataset.n_genes, published.dtype, published.value_type
    raw = annotations.record.raw if layer == RAW else None
    record = annotations.layers[layer] if raw is None else raw.matrix
    n_genes = dataset.n_genes if raw is None else raw.n_genes
    return record.nnz, n_genes, record.dtype, record.value_type


def _table_bytes(dataset: Dataset) -> Iterator[TableBytes]:
    """The bytes of each table; of a damaged one those of its columns are left out."""
    published = dataset.published
    for name, directory in published.tables.items():
        columns: dict[str, int] = {}
        with suppress(DamagedDataset):
            columns = column_bytes(dataset.location, directory, published.versions[name])
        names = _original_names(dataset, name)
        files = published.checksums.of(directory)
        yield TableBytes(
            name,
            published.versions[name],
            dataset.location.size(directory),
            tuple(ColumnBytes(names.get(each, each), size) for each, size in columns.items()),
            tuple(
                FragmentBytes(file.file, file.rows, file.bytes)
                for file in files
                if "/data/" in file.file
            ),
        )


def _original_names(dataset: Dataset, table: str) -> dict[str, str]:
    """The user's names of columns that have another in the table."""
    if table == LAYERS:
        return {record.name: name for name, record in dataset.annotations.layers.items()}
    if table not in (CELLS, GENES):
        return {}
    columns = dataset.published.columns[table].columns
    return {each.name: each.original for each in columns if each.original is not None}


def _digest(location: Location) -> str:
    """The digest that config.json has of itself; "" without one."""
    raw = location.read(CONFIG)
    return "" if raw is None else str(json.loads(raw).get("digest", ""))
