"""What a dataset or an input holds, without reading its matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from slaf.format.config import load, load_published
from slaf.format.schema import CELLS, GENES
from slaf.storage.location import Location
from slaf.storage.paths import is_anndata
from slaf.storage.urls import is_web

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import anndata

    from slaf.annotations.columns import ColumnSet
    from slaf.dataset.dataset import Dataset
    from slaf.format.config import DatasetConfig, SourceRecord
    from slaf.options import ReadOptions
    from slaf.sources.base import MatrixSize

__all__ = ["DatasetInfo", "InputInfo", "TableInfo", "dataset_info", "info", "input_info"]


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table of a dataset: the Lance version that readers open, and its bytes on disk."""

    version: int
    bytes: int


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What config.json says of a published dataset, and the bytes that it takes.

    Attributes
    ----------
    place
        Where it is.
    n_cells, n_genes, nonzeros, density
        The shape of the matrix, and how full it is.
    value_type
        The type of the `value` column.
    dtype
        The type that values are given back in.
    bytes
        Of all files.
    tables
        By name.
    obs, var
        The type of each of the user's columns, by name.
    statistics
        Of the nonzeros: least, greatest and mean value, standard deviation.
    annotations
        Layers, raw, obsm, varm, obsp, varp and uns of the dataset, as text.
    sources
        The inputs, in the order of their cells.
    created_at, last_updated, writer
        When it was written (ISO 8601, UTC), and by which program.
    """

    place: str
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
    """What a conversion of an input would find, without reading its matrix.

    Attributes
    ----------
    place
        Where it is.
    format
        The name of its format.
    matrix
        The matrix that is described: "X", "raw" or "layer:NAME".
    n_cells, n_genes
        Its shape.
    dtype
        The numeric type of its values.
    extent
        How it lies in the input, and how many entries it holds.
    matrices
        All matrices of the input.
    obs, var
        The type of each column, by name.
    annotations
        Layers, raw, obsm and the other slots that a conversion would take, as text.
    not_converted
        Content of the input that a conversion would not take, as text.
    """

    place: str
    format: str
    matrix: str
    n_cells: int
    n_genes: int
    dtype: str
    extent: MatrixSize
    matrices: tuple[str, ...]
    obs: Mapping[str, str]
    var: Mapping[str, str]
    annotations: tuple[str, ...]
    not_converted: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As `slaf info --json` prints it."""
        return {"kind": "input", **to_builtins(self)}


def info(
    place: str | os.PathLike[str] | Location | Dataset | anndata.AnnData,
    *,
    matrix: str = "X",
    genome: str | None = None,
    feature_type: str | None = None,
    measurement: str | None = None,
    format: str | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> DatasetInfo | InputInfo:
    """Describe a published dataset, or an input.

    Parameters
    ----------
    place
        A dataset, a file that could be converted, or an AnnData.
    matrix, genome, feature_type, measurement
        Of an input, what to describe, as `slaf.convert` takes them.
    format
        The format of an input; found by its content if None.
    storage_options
        For a URL, how to reach it.

    Raises
    ------
    DatasetError
        If there is a dataset that cannot be opened, or that is not finished.
    InputError
        If it is an input that cannot be converted, or neither.
    """
    # A dataset that is open says where it is.
    there: Any = getattr(place, "location", place)
    if not (is_anndata(there) or is_web(there)):
        location = Location.of(there, storage_options)
        if load(location) is not None:
            return dataset_info(location)
        there, storage_options = str(location), location.storage_options
    from slaf.options import ReadOptions

    options = ReadOptions(
        matrix=matrix,
        genome=genome,
        feature_type=feature_type,
        measurement=measurement,
        storage_options=storage_options,
    )
    return input_info(there, options, format)


def dataset_info(
    place: str | os.PathLike[str] | Location,
    *,
    storage_options: Mapping[str, str] | None = None,
) -> DatasetInfo:
    """Describe a published dataset; reads config.json only, and imports no more than that takes.

    Raises
    ------
    DatasetError
        If there is none that can be opened.
    """
    location = Location.of(place, storage_options)
    published = load_published(location)
    total = published.n_cells * published.n_genes
    return DatasetInfo(
        place=str(location),
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
        annotations=_annotations(published),
        sources=published.sources,
        created_at=published.created_at,
        last_updated=published.last_updated,
        writer=published.writer,
    )


def input_info(
    place: str | os.PathLike[str] | anndata.AnnData,
    options: ReadOptions,
    format: str | None = None,
) -> InputInfo:
    """Describe what a conversion with these options would find; the values are not read.

    Raises
    ------
    InputError
        If it cannot be converted.
    """
    from slaf.annotations.columns import to_lance
    from slaf.sources import open_source
    from slaf.sources.slots import describe_slots

    with open_source(place, format, options) as source:
        return InputInfo(
            place=source.info.uri,
            format=source.info.format,
            matrix=source.info.matrix,
            n_cells=source.info.n_cells,
            n_genes=source.info.n_genes,
            dtype=str(source.info.dtype),
            extent=source.info.size,
            matrices=source.info.matrices,
            obs=_types(to_lance(source.cells(), ())[1]),
            var=_types(to_lance(source.genes(), ())[1]),
            annotations=describe_slots(source),
            not_converted=source.info.not_converted,
        )


def _annotations(published: DatasetConfig) -> tuple[str, ...]:
    found = published.annotations
    said = []
    if found.layers is not None:
        layers = ", ".join(f"{one.original} ({one.value_type})" for one in found.layers.matrices)
        said.append(f"layers {layers}")
    if found.raw is not None:
        said.append(f"raw {found.raw.n_genes:,} genes, {found.raw.rows:,} nonzeros")
    for slot, forms in found.forms.items():
        said.append(f"{slot} {', '.join(form.key for form in forms)}")
    return tuple(said) if found.uns is None else (*said, "uns")


def _types(columns: ColumnSet) -> dict[str, str]:
    return {c.original: c.dtype for c in columns.columns if c.original is not None}
