"""A dataset that slafdb wrote, as inputs: an append writes it anew, with what it adds."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from slaf.arrays import RowRange
from slaf.as_source import DatasetSource
from slaf.columns import arrow_table
from slaf.conversion.companions import companions_of
from slaf.conversion.plan import Base, Plan, cut
from slaf.conversion.rules import Rules
from slaf.dataset import Dataset, open_dataset
from slaf.errors import MissingMatrix
from slaf.manifest import (
    ADOPTED_TABLES,
    COMPANIONS,
    TABLES,
    Published,
    SourceRecord,
    load,
    load_published,
)
from slaf.schema import (
    CELL_COLUMNS,
    CELLS,
    EXPRESSION,
    GENE_COLUMNS,
    GENES,
    LAYERS,
    RAW,
)
from slaf.sources.base import Extent, ReadOptions, Slots
from slaf.sources.inputs import Input
from slaf.tables.read import index_names, newest_version, read_table, scan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from slaf.arrays import Batch
    from slaf.conversion.plan import Options
    from slaf.sources import Concat, Source
    from slaf.sources.base import Matrix
    from slaf.storage import Location

__all__ = ["OlderDataset", "base_of", "plan_to_adopt", "refuse_if_nothing"]

_FORMAT = "slafdb"
_PEEK = 1 << 16
_SOURCE_FILE = "source_file"
_FILES = "multi_file"
# What an append would lose.
_MORE = ("layers", "obsm", "varm", "obsp", "varp")


def base_of(location: Location) -> Dataset | OlderDataset:
    """The dataset that is there, or the one of an earlier format, checked to its last row.

    Raises
    ------
    DatasetError
        If there is none, or it violates a rule of the format.
    """
    manifest = load(location, older=True)
    if manifest is None or manifest.older is None:
        return open_dataset(location)
    return OlderDataset(location, manifest.older)


def refuse_if_nothing(location: Location) -> None:
    """Refuse a place where nothing is that could be added to.

    Raises
    ------
    DatasetError
        If there is no dataset.
    """
    manifest = load(location, older=True)
    if manifest is None or manifest.older is None:
        load_published(location)


class OlderDataset:
    """A dataset of an earlier format whose tables satisfy the rules of this one.

    Parameters
    ----------
    location
        Where it is.
    config
        What its config.json says.

    Raises
    ------
    DamagedDataset
        If a rule is violated: the message names it, with the table and the row.
    """

    def __init__(self, location: Location, config: Mapping[str, Any]) -> None:
        self.location = location
        rules = Rules(str(location))
        _check_config(location, config, rules)
        self.versions = {name: newest_version(location, table) for name, table in TABLES.items()}
        self._tables = _Tables.checked(location, config, self.versions, rules)
        self.sources = tuple(_sources(location, config, self._tables, self.versions))

    def inputs(self) -> list[Input]:
        """The inputs that it was made of, each to be read from its tables."""
        told = len(self.sources) > 1
        return [
            Input(record.uri, _Opening(self._tables, record, told=told), ReadOptions())
            for record in self.sources
        ]

    def options(self, asked: Options) -> dict[str, Any]:
        """How its tables are stored, as far as this program has an option for it."""
        schema = self._tables.dataset.expression.schema
        return {
            "compression": asked.compression,
            "plain_types": str(schema.field("cell_integer_id").type) == "int32",
            "string_ids": "cell_id" in schema.names,
            "create_indices": "gene_integer_id" in index_names(self._tables.dataset.expression),
        }


def plan_to_adopt(there: OlderDataset, inputs: Concat, options: Options) -> Plan:
    """Plan to write a dataset of an earlier format anew, with what is added to it.

    Parameters
    ----------
    there
        The dataset.
    inputs
        What it was made of, and what is added.
    options
        What was asked for.
    """
    chosen = replace(options, **there.options(options))
    return Plan(
        operation="append",
        sources=inputs.records,
        n_cells=inputs.n_cells,
        n_genes=inputs.n_genes,
        options=chosen,
        value_type=str(chosen.value_types[0]),
        block_cells=chosen.block_cells,
        parts=tuple(cut(inputs, chosen)),
        companions=companions_of(inputs, chosen),
        rewrites=(EXPRESSION, LAYERS, RAW),
        base=Base(
            n_cells=sum(source.n_cells for source in there.sources),
            n_sources=len(there.sources),
            versions=there.versions,
        ),
        tables=ADOPTED_TABLES,
    )


def _check_config(location: Location, config: Mapping[str, Any], rules: Rules) -> None:
    if "checkpoint" in config:
        rules.broken("config.json", "a conversion of slafdb is unfinished; finish it with slafdb")
    tables = config.get("tables")
    if not isinstance(tables, dict) or any(tables.get(name) != TABLES[name] for name in TABLES):
        rules.broken("config.json", f"tables is {json.dumps(tables)}, not {json.dumps(TABLES)}")
    for name in (*_MORE, _FILES):
        if not isinstance(config.get(name) or {}, dict):
            rules.broken("config.json", f"{name} is {json.dumps(config[name])[:60]}, not an object")
    kept = [name for name in _MORE if (config.get(name) or {}).get("available")]
    more = dict.fromkeys([*(name for name in tables if name not in TABLES), *kept])
    # Named or not: they would be taken for what an earlier attempt of ours has left.
    more |= dict.fromkeys(name for name, folder in COMPANIONS.items() if location.list(folder))
    if location.read("uns.json") is not None:
        more["uns"] = None
    if more:
        rules.broken("config.json", f"it holds {', '.join(more)}, which this release would lose")


@dataclass(frozen=True, slots=True)
class _Tables:
    """The tables, known to satisfy the rules.

    Attributes
    ----------
    dataset
        What reads `expression`.
    cells, genes
        All their columns.
    """

    dataset: _Checked
    cells: pa.Table
    genes: pa.Table

    @classmethod
    def checked(
        cls,
        location: Location,
        config: Mapping[str, Any],
        versions: Mapping[str, int],
        rules: Rules,
    ) -> _Tables:
        pinned = _Checked(location, _as_published(config, versions))
        cells, genes = (read_table(pinned.table(name)) for name in (CELLS, GENES))
        shape = [cells.num_rows, genes.num_rows]
        if config.get("array_shape") != shape:
            found = config.get("array_shape")
            rules.broken("config.json", f"array_shape is {found}, but the tables have {shape} rows")
        for name, table in ((CELLS, cells), (GENES, genes)):
            rules.check_axis(name, table)
            _check_columns(name, table, rules)
        offsets = rules.check_expression(
            pinned.expression, cells.column("cell_id"), genes.column("gene_id")
        )
        rules.check_starts(cells, offsets)
        value_type = np.dtype(pinned.expression.schema.field("value").type.to_pandas_dtype())
        published = _as_published(config, versions, shape, value_type, int(offsets[-1]))
        return cls(_Checked(location, published, offsets), cells, genes)


class _Checked(Dataset):
    """The tables as a dataset, whose offsets were counted and not read."""

    def __init__(
        self,
        location: Location,
        published: Published,
        offsets: NDArray[np.int64] | None = None,
    ) -> None:
        super().__init__(location, published)
        if offsets is not None:
            self.cell_offsets = offsets


def _as_published(
    config: Mapping[str, Any],
    versions: Mapping[str, int],
    shape: Sequence[int] = (0, 0),
    value_type: np.dtype[Any] | None = None,
    nnz: int = 0,
) -> Published:
    dtype = str(value_type or np.dtype(np.uint16))
    created = str(config.get("created_at", ""))
    return Published(
        n_cells=shape[0],
        n_genes=shape[1],
        versions=versions,
        value_type=dtype,
        dtype=dtype,
        expression_count=nnz,
        expression_stats={},
        columns={},
        sources=(),
        blocks=(),
        optimizations={},
        created_at=created,
        last_updated=created,
        writer=_FORMAT,
    )


def _check_columns(name: str, table: pa.Table, rules: Rules) -> None:
    for field in table.schema:
        dtype = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        text = pa.types.is_string(dtype) or pa.types.is_large_string(dtype)
        time = pa.types.is_timestamp(dtype) or pa.types.is_duration(dtype)
        number = pa.types.is_integer(dtype) or pa.types.is_floating(dtype)
        if not (text or time or number or pa.types.is_boolean(dtype)):
            rules.broken(
                name,
                f"column {field.name} is of type {field.type}, which this release would lose",
            )


def _sources(
    location: Location, config: Mapping[str, Any], tables: _Tables, versions: Mapping[str, int]
) -> Iterator[SourceRecord]:
    """What the dataset was made of, as far as it says so of every cell; else the dataset itself."""
    shape = tables.dataset.shape
    whole: dict[str, Any] = {"file_path": str(location), "n_cells": shape[0], "cell_offset": 0}
    listed = (config.get(_FILES) or {}).get("source_files") or []
    files = listed if _cover(listed, tables.cells) else [whole]
    for file in files:
        start, n_cells = file["cell_offset"], file["n_cells"]
        yield SourceRecord(
            uri=file["file_path"],
            format=_FORMAT,
            matrix="X",
            dtype=tables.dataset.published.dtype,
            n_cells=n_cells,
            n_genes=shape[1],
            offset=start,
            identity={"versions": dict(versions), "cells": [start, start + n_cells]},
        )


def _cover(files: Any, cells: pa.Table) -> bool:
    """Whether these files have all cells, in order, and the column of their names says the same."""
    stop = 0
    if not isinstance(files, list):
        return False
    for file in files:
        if not _is_file(file) or file["cell_offset"] != stop:
            return False
        stop += file["n_cells"]
    return stop == cells.num_rows and (len(files) == 1 or _names_are_right(files, cells))


def _is_file(file: Any) -> bool:
    return (
        isinstance(file, dict)
        and all(isinstance(file.get(key), str) for key in ("file_name", "file_path"))
        and all(type(file.get(key)) is int for key in ("n_cells", "cell_offset"))
        and file["n_cells"] >= 0
    )


def _names_are_right(files: Sequence[Mapping[str, Any]], cells: pa.Table) -> bool:
    if _SOURCE_FILE not in cells.column_names:
        return False
    names = cells.column(_SOURCE_FILE).cast(pa.large_string())
    for file in files:
        here = names.slice(file["cell_offset"], file["n_cells"])
        alike = pc.equal(here, pa.scalar(file["file_name"], here.type))
        if not pc.all(alike, skip_nulls=False).as_py():
            return False
    return True


@dataclass(frozen=True, slots=True)
class _Opening:
    """Opens what is of one input; `told` if the dataset tells several from each other."""

    tables: _Tables
    record: SourceRecord
    told: bool

    def __call__(self, _options: ReadOptions) -> Source:
        return _Cells(self.tables, self.record, told=self.told)


class _Cells:
    """The cells of one input of an older dataset, as a source."""

    format = _FORMAT
    matrix = "X"

    def __init__(self, tables: _Tables, record: SourceRecord, *, told: bool) -> None:
        self._tables = tables
        self._record = record
        self._hidden = CELL_COLUMNS if told else CELL_COLUMNS[:-1]
        self._all = DatasetSource(tables.dataset)
        self.uri = record.uri
        self.dtype: np.dtype[Any] = np.dtype(record.dtype)
        self.n_cells, self.n_genes = record.n_cells, record.n_genes
        stop = record.offset + record.n_cells
        self._offsets = tables.dataset.cell_offsets[record.offset : stop + 1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is kept open."""

    def identity(self) -> Mapping[str, Any]:
        return self._record.identity

    def matrices(self) -> tuple[str, ...]:
        return ("X",)

    def left_behind(self) -> tuple[str, ...]:
        return ()

    def extent(self) -> Extent:
        return Extent("a dataset", int(self._offsets[-1] - self._offsets[0]))

    def peek(self, matrix: str | None = None) -> NDArray[Any]:
        if matrix not in {None, *self.matrices()}:
            msg = f"{self.uri}: a dataset has no matrix {matrix!r}"
            raise MissingMatrix(msg)
        start, stop = int(self._offsets[0]), int(self._offsets[-1])
        rows = RowRange(start, min(start + _PEEK, stop))
        found = scan(self._tables.dataset.expression, rows, ["value"])
        values = [batch.column(0).to_numpy() for batch in found]
        return np.concatenate([np.empty(0, self.dtype), *values])

    def nonzeros_before(self, step: int) -> NDArray[np.int64]:
        before = self._offsets - self._offsets[0]
        return np.append(before[:-1][::step], before[-1])

    def cells(self) -> pa.Table:
        rows = self._tables.cells.slice(self._record.offset, self.n_cells)
        return _described(CELLS, rows, self._hidden)

    def genes(self) -> pa.Table:
        return _described(GENES, self._tables.genes, GENE_COLUMNS)

    def layers(self) -> Mapping[str, Matrix]:
        return {}

    def raw(self) -> None:
        return None

    def slots(self) -> Slots:
        return Slots()

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        first = self._record.offset
        for batch in self._all.batches(rows.shifted(first)):
            yield batch.shifted(-first)


def _described(name: str, table: pa.Table, hidden: Sequence[str]) -> pa.Table:
    text = f"{name.removesuffix('s')}_id"
    columns = {field.name: table.column(field.name) for field in table.schema}
    kept = {key: columns[key] for key in columns if key not in hidden}
    return arrow_table(text, columns[text], kept)
