"""Summary of a dataset or an input, without reading its matrix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from slaf.format.config import load, load_published
from slaf.format.schema import CELLS, GENES
from slaf.storage.location import Location
from slaf.storage.paths import is_anndata
from slaf.storage.urls import is_web, redacted

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    import anndata

    from slaf.annotations.columns import ColumnSet
    from slaf.dataset.dataset import Dataset
    from slaf.format.config import SourceRecord
    from slaf.format.records import AnnotationsRecord
    from slaf.options import ReadOptions
    from slaf.sources.base import Source
    from slaf.sources.matrix import MatrixSize
    from slaf.sources.search import LeftOut

__all__ = [
    "DatasetInfo",
    "FolderInfo",
    "InputInfo",
    "TableInfo",
    "dataset_info",
    "describe_recorded_slots",
    "info",
    "input_info",
]


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table of a dataset: the Lance version that readers open, and its bytes on disk."""

    version: int
    bytes: int


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """Description of a published dataset by its config.json, and its size in bytes.

    Attributes
    ----------
    location
        Its directory or URL.
    n_cells, n_genes, nonzeros, density
        The shape of the matrix, its nonzeros and their share of all entries.
    value_type
        The type of the `value` column.
    dtype
        The type in which values are read.
    bytes
        The size of all files.
    tables
        The tables by name.
    obs, var
        The type of each of the user's columns, by name.
    statistics
        Minimum, maximum, mean and standard deviation of the nonzeros.
    annotations
        Layers, raw, obsm and the other slots, as text.
    sources
        The inputs, in the order of their cells.
    created_at, last_updated, writer
        The times of writing (ISO 8601, UTC), and the program.
    """

    location: str
    n_cells: int
    n_genes: int
    nonzeros: int
    density: float
    value_type: str
    dtype: str
    bytes: int
    tables: Mapping[str, TableInfo]
    obs: Mapping[str, str]
    var: Mapping[str, str]
    statistics: Mapping[str, float | None]
    annotations: tuple[str, ...]
    sources: tuple[SourceRecord, ...]
    created_at: str
    last_updated: str
    writer: str

    def to_json(self) -> dict[str, Any]:
        """As `slaf info --json` prints it."""
        return {"kind": "dataset", **to_builtins(self)}


@dataclass(frozen=True, slots=True)
class InputInfo:
    """Description of an input, without reading its matrix.

    Attributes
    ----------
    location
        Its path or URL.
    format
        The name of its format.
    matrix
        The matrix that is described: "X", "raw" or "layer:NAME".
    n_cells, n_genes
        Its shape.
    dtype
        The numeric type of its values.
    size
        The layout and the number of entries of the matrix.
    matrices
        All matrices of the input.
    obs, var
        The type of each column, by name.
    annotations
        Layers, raw, obsm and the other slots that would be converted, as text.
    not_converted
        The content that a conversion leaves out, as text.
    left_out
        Other contents of its folder, and why they are not converted.
    details
        Further facts of the format, as text: contigs, reads and index of a BAM file.
    """

    location: str
    format: str
    matrix: str
    n_cells: int
    n_genes: int
    dtype: str
    size: MatrixSize
    matrices: tuple[str, ...]
    obs: Mapping[str, str]
    var: Mapping[str, str]
    annotations: tuple[str, ...]
    not_converted: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()
    details: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As `slaf info --json` prints it."""
        return {"kind": "input", **to_builtins(self)}


@dataclass(frozen=True, slots=True)
class FolderInfo:
    """Description of several inputs that a folder or a pattern stands for.

    Attributes
    ----------
    location
        The folder, its URL, or the pattern.
    inputs
        The inputs that a conversion would take, in their order.
    left_out
        Other contents of the folder, and why they are not converted.
    """

    location: str
    inputs: tuple[InputInfo, ...]
    left_out: tuple[LeftOut, ...]

    def to_json(self) -> dict[str, Any]:
        """As `slaf info --json` prints it."""
        return {"kind": "folder", **to_builtins(self)}


def info(
    dataset_or_input: str | os.PathLike[str] | Location | Dataset | anndata.AnnData,
    *,
    matrix: str = "X",
    genome: str | None = None,
    feature_type: str | None = None,
    measurement: str | None = None,
    barcodes: str | os.PathLike[str] | None = None,
    features: str | os.PathLike[str] | None = None,
    gene_id_column: str | None = None,
    transpose: bool | None = None,
    format: str | None = None,
    storage_options: Mapping[str, str] | None = None,
    **choices: Any,
) -> DatasetInfo | InputInfo | FolderInfo:
    """Describe a published dataset, an input, or the inputs that a folder or pattern stands for.

    Parameters
    ----------
    dataset_or_input
        A dataset, what could be converted, or an AnnData.
    matrix, genome, feature_type, measurement
        The part of an input to describe, as for `slaf.convert`.
    barcodes, features, gene_id_column, transpose
        How an MTX file is read, as for `slaf.convert`.
    format
        The format of an input; None to recognise it by its content.
    storage_options
        For a URL, credentials and settings of the bucket.
    choices
        Further choices of the input by keyword, as for `slaf.convert`: `modality`, or those of
        files of reads.

    Raises
    ------
    DatasetError
        If there is a dataset that cannot be opened, or whose conversion is unfinished.
    InputError
        If it is an input that cannot be converted, or neither.
    """
    path: Any = getattr(dataset_or_input, "location", dataset_or_input)
    if not (is_anndata(path) or is_web(path)):
        location = Location.of(path, storage_options)
        if load(location) is not None:
            return dataset_info(location)
        path, storage_options = str(location), location.storage_options
    from slaf.options import ReadOptions

    options = ReadOptions(
        matrix=matrix,
        genome=genome,
        feature_type=feature_type,
        measurement=measurement,
        barcodes=barcodes,
        features=features,
        gene_id_column=gene_id_column,
        transpose=transpose,
        storage_options=storage_options,
        **choices,
    )
    return input_info(path, options, format)


def dataset_info(
    dataset: str | os.PathLike[str] | Location,
    *,
    storage_options: Mapping[str, str] | None = None,
) -> DatasetInfo:
    """Describe a published dataset; reads config.json only, and imports no more than that needs.

    Raises
    ------
    DatasetError
        If there is none that can be opened.
    """
    location = Location.of(dataset, storage_options)
    published = load_published(location)
    total = published.n_cells * published.n_genes
    return DatasetInfo(
        location=str(location),
        n_cells=published.n_cells,
        n_genes=published.n_genes,
        nonzeros=published.expression_count,
        density=published.expression_count / total if total else 0.0,
        value_type=published.value_type,
        dtype=published.dtype,
        bytes=location.size(),
        tables={
            name: TableInfo(published.versions[name], location.size(directory))
            for name, directory in published.tables.items()
        },
        obs=_types(published.columns[CELLS]),
        var=_types(published.columns[GENES]),
        statistics=published.expression_stats,
        annotations=tuple(describe_recorded_slots(published.annotations)),
        sources=published.sources,
        created_at=published.created_at,
        last_updated=published.last_updated,
        writer=published.writer,
    )


def input_info(
    path: str | os.PathLike[str] | anndata.AnnData,
    options: ReadOptions,
    format: str | None = None,
) -> InputInfo | FolderInfo:
    """Describe what a conversion with these options would take; reads no values.

    Raises
    ------
    InputError
        If it cannot be converted.
    """
    from slaf.sources import as_inputs

    found = as_inputs(path, format, options)
    described = []
    for one in found.inputs:
        with one.opened() as source:
            described.append(_source_info(source))
    if len(described) == 1:
        return replace(described[0], left_out=found.left_out)
    return FolderInfo(redacted(str(path)), tuple(described), found.left_out)


def _source_info(source: Source) -> InputInfo:
    from slaf.annotations.columns import to_lance
    from slaf.sources.slots import describe_slots

    description = source.info
    return InputInfo(
        location=description.uri,
        format=description.format,
        matrix=description.matrix,
        n_cells=description.n_cells,
        n_genes=description.n_genes,
        dtype=str(description.dtype),
        size=description.size,
        matrices=description.matrices,
        obs=_types(to_lance(source.cells(), ())[1]),
        var=_types(to_lance(source.lazy_genes(), ())[1]),
        annotations=describe_slots(source),
        not_converted=description.not_converted,
        details=description.details,
    )


def describe_recorded_slots(record: AnnotationsRecord) -> Iterator[str]:
    """Layers, raw, obsm and the other slots that are recorded, as text."""
    if record.layers is not None:
        layers = (f"{layer.original} ({layer.value_type})" for layer in record.layers.matrices)
        yield f"layers {', '.join(layers)}"
    if record.raw is not None:
        yield f"raw {record.raw.n_genes:,} genes, {record.raw.rows:,} nonzeros"
    if record.coverage is not None:
        contigs, rows = record.coverage.contigs, record.coverage.rows
        yield f"coverage of {len(contigs):,} contigs, {rows:,} runs"
    for slot, specs in record.specs.items():
        yield f"{slot} {', '.join(spec.key for spec in specs)}"
    if record.uns is not None:
        yield "uns"


def _types(columns: ColumnSet) -> dict[str, str]:
    return {c.original: c.dtype for c in columns.columns if c.original is not None}
