"""A dataset that slafdb wrote, as inputs: an append writes it anew, with what it adds."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from slaf.annotations.columns import arrow_table
from slaf.dataset.dataset import Dataset, open_dataset
from slaf.errors import DamagedDataset
from slaf.format.config import (
    DatasetConfig,
    Metadata,
    SourceRecord,
    load,
    load_published,
    table_directories,
)
from slaf.format.schema import (
    CELL_COLUMNS,
    CELLS,
    EXPRESSION,
    GENE_COLUMNS,
    GENES,
    SOURCE_FILE,
    TABLES,
    VALUE_TYPES,
    partitioned_tables,
)
from slaf.options import ReadOptions
from slaf.runs.matrix_tables import matrix_tables
from slaf.runs.plan import BaseDataset, Plan, plan_parts
from slaf.sources.base import MatrixSize, Source, SourceInfo, check_only_x
from slaf.sources.concat.members import Input
from slaf.tables.read import index_names, newest_version, read_table
from slaf.tables.rows import TableRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from slaf.options import StoreOptions
    from slaf.sources.base import Matrix
    from slaf.sources.concat.source import Concat
    from slaf.sparse.batch import Batch
    from slaf.sparse.ranges import RowRange
    from slaf.storage.location import Location

__all__ = [
    "Rules",
    "SlafdbDataset",
    "check_dataset_exists",
    "open_append_target",
    "plan_slafdb_append",
]

_FORMAT = "slafdb"
_PEEK = 1 << 16
_FILES = "multi_file"

# The tables of slafdb, in their directories.
_DIRECTORIES = {name: spec.directory for name, spec in TABLES.items() if spec.required}

# What an append would lose.
_MORE = ("layers", "obsm", "varm", "obsp", "varp")


def open_append_target(location: Location) -> Dataset | SlafdbDataset:
    """The dataset that is there, or the one of an earlier format, checked to its last row.

    Raises
    ------
    DatasetError
        If there is none, or it violates a rule of the format.
    """
    manifest = load(location, older=True)
    if manifest is None or manifest.older is None:
        return open_dataset(location)
    return SlafdbDataset(location, manifest.older)


def check_dataset_exists(location: Location) -> None:
    """Refuse a place where nothing is that could be added to.

    Raises
    ------
    DatasetError
        If there is no dataset.
    """
    manifest = load(location, older=True)
    if manifest is None or manifest.older is None:
        load_published(location)


class SlafdbDataset:
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
        self.versions = {
            name: newest_version(location, directory) for name, directory in _DIRECTORIES.items()
        }
        self._tables = _Tables.checked(location, config, self.versions, rules)
        self.sources = tuple(_sources(location, config, self._tables, self.versions))

    def inputs(self) -> list[Input]:
        """The inputs that it was made of, each to be read from its tables."""
        told = len(self.sources) > 1
        return [
            Input(record.uri, _Opening(self._tables, record, told=told), ReadOptions())
            for record in self.sources
        ]

    def options(self, asked: StoreOptions) -> dict[str, Any]:
        """How its tables are stored, as far as this program has an option for it."""
        schema = self._tables.dataset.expression.schema
        return {
            "compression": asked.compression,
            "plain_types": str(schema.field("cell_integer_id").type) == "int32",
            "string_ids": "cell_id" in schema.names,
            "create_indices": "gene_integer_id" in index_names(self._tables.dataset.expression),
        }


def plan_slafdb_append(there: SlafdbDataset, inputs: Concat, options: StoreOptions) -> Plan:
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
        n_cells=inputs.info.n_cells,
        n_genes=inputs.info.n_genes,
        options=chosen,
        block_cells=chosen.block_cells,
        parts=tuple(plan_parts(inputs, chosen)),
        matrix_tables=matrix_tables(inputs, chosen),
        rewrites=tuple(spec.name for spec in partitioned_tables()),
        base=BaseDataset(
            n_cells=sum(source.n_cells for source in there.sources),
            n_sources=len(there.sources),
            versions=there.versions,
        ),
        tables=table_directories(legacy=True),
    )


def _check_config(location: Location, config: Mapping[str, Any], rules: Rules) -> None:
    if "checkpoint" in config:
        rules.broken("config.json", "a conversion of slafdb is unfinished; finish it with slafdb")
    tables = config.get("tables")
    if not isinstance(tables, dict) or not _DIRECTORIES.items() <= tables.items():
        expected = json.dumps(_DIRECTORIES)
        rules.broken("config.json", f"tables is {json.dumps(tables)}, not {expected}")
    for name in (*_MORE, _FILES):
        if not isinstance(config.get(name) or {}, dict):
            rules.broken("config.json", f"{name} is {json.dumps(config[name])[:60]}, not an object")
    kept = [name for name in _MORE if (config.get(name) or {}).get("available")]
    more = dict.fromkeys([*(name for name in tables if name not in _DIRECTORIES), *kept])
    # Named or not: they would be taken for what an earlier attempt of ours has left.
    more |= dict.fromkeys(
        name for name, spec in TABLES.items() if not spec.required and location.list(spec.directory)
    )
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
        pinned = _Checked(location, _as_config(config, versions))
        cells, genes = (read_table(pinned.table(name)) for name in (CELLS, GENES))
        shape = [cells.num_rows, genes.num_rows]
        if config.get("array_shape") != shape:
            found = config.get("array_shape")
            rules.broken("config.json", f"array_shape is {found}, but the tables have {shape} rows")
        for name, table in ((CELLS, cells), (GENES, genes)):
            rules.check_axis(name, table)
            _check_columns(name, table, rules)
        reader = TableRows(location, _DIRECTORIES[EXPRESSION], pinned.expression)
        offsets = rules.check_expression(reader, cells.column("cell_id"), genes.column("gene_id"))
        rules.check_starts(cells, offsets)
        value_type = np.dtype(pinned.expression.schema.field("value").type.to_pandas_dtype())
        published = _as_config(config, versions, shape, value_type, int(offsets[-1]))
        return cls(_Checked(location, published, offsets), cells, genes)


class _Checked(Dataset):
    """The tables as a dataset, whose offsets were counted and not read."""

    def __init__(
        self,
        location: Location,
        published: DatasetConfig,
        offsets: NDArray[np.int64] | None = None,
    ) -> None:
        super().__init__(location, published)
        if offsets is not None:
            self._offsets[EXPRESSION] = offsets


def _as_config(
    config: Mapping[str, Any],
    versions: Mapping[str, int],
    shape: Sequence[int] = (0, 0),
    value_type: np.dtype[Any] | None = None,
    nnz: int = 0,
) -> DatasetConfig:
    dtype = str(value_type or np.dtype(np.uint16))
    created = str(config.get("created_at", ""))
    return DatasetConfig(
        n_cells=shape[0],
        n_genes=shape[1],
        versions=versions,
        value_type=dtype,
        dtype=dtype,
        tables=_DIRECTORIES,
        metadata=Metadata(nnz, {}),
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
    if SOURCE_FILE not in cells.column_names:
        return False
    names = cells.column(SOURCE_FILE).cast(pa.large_string())
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


class _Cells(Source):
    """The cells of one input of an older dataset, as a source."""

    def __init__(self, tables: _Tables, record: SourceRecord, *, told: bool) -> None:
        super().__init__()
        self._tables = tables
        self._record = record
        self._hidden = CELL_COLUMNS if told else CELL_COLUMNS[:-1]
        self._all = tables.dataset.matrix()
        self.dtype: np.dtype[Any] = np.dtype(record.dtype)
        self.shape = record.n_cells, record.n_genes
        stop = record.offset + record.n_cells
        self._offsets = tables.dataset.offsets(EXPRESSION)[record.offset : stop + 1]
        self.size = MatrixSize("a dataset", int(self._offsets[-1] - self._offsets[0]))
        self.info = SourceInfo.of(self, uri=record.uri, format=_FORMAT, identity=record.identity)

    def open_matrix(self, name: str) -> Matrix:
        check_only_x(name, f"{self.info.uri}: a dataset")
        return self

    def sample_values(self) -> NDArray[Any]:
        start, stop = int(self._offsets[0]), int(self._offsets[-1])
        span = np.array([[start, min(start + _PEEK, stop)]])
        found = self._all.rows.reader.read(span, ["value"])
        values = [batch.column(0).to_numpy() for batch in found]
        return np.concatenate([np.empty(0, self.dtype), *values])

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        before = self._offsets - self._offsets[0]
        return np.append(before[:-1][::step], before[-1])

    def read_cells(self) -> pa.Table:
        rows = self._tables.cells.slice(self._record.offset, self._record.n_cells)
        return _described(CELLS, rows, self._hidden)

    def read_genes(self) -> pa.Table:
        return _described(GENES, self._tables.genes, GENE_COLUMNS)

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        first = self._record.offset
        for batch in self._all.batches(rows.shifted(first)):
            yield batch.shifted(-first)


def _described(name: str, table: pa.Table, hidden: Sequence[str]) -> pa.Table:
    text = f"{name.removesuffix('s')}_id"
    columns = {field.name: table.column(field.name) for field in table.schema}
    kept = {key: columns[key] for key in columns if key not in hidden}
    return arrow_table(text, columns[text], kept)


_IDS = ("cell_integer_id", "gene_integer_id")
_COLUMNS = (*_IDS, "value")
_STRINGS = ("cell_id", "gene_id")
_ID_TYPES = ("int32", "uint16", "uint32")


class Rules:
    """What the tables of a dataset have to satisfy; what does not is named with its row.

    Parameters
    ----------
    place
        What to call the dataset in an error.
    """

    def __init__(self, place: str) -> None:
        self._place = place

    def broken(self, where: str, what: str) -> NoReturn:
        """Refuse the dataset.

        Raises
        ------
        DamagedDataset
            Always.
        """
        msg = (
            f"{self._place}: {where}: {what}; nothing was changed: convert the original input "
            "anew, and append to that"
        )
        raise DamagedDataset(msg)

    def check_axis(self, name: str, table: pa.Table) -> None:
        """Check the ids of `cells` or `genes`: each row has one, and they are numbered in order."""
        kind = name.removesuffix("s")
        text, number = f"{kind}_id", f"{kind}_integer_id"
        for column in (text, number):
            if column not in table.column_names:
                self.broken(name, f"there is no column {column}")
            self._refuse_row(name, pc.is_null(table.column(column)), f"{column} is null")
        found = table.column(text).type
        if not (pa.types.is_string(found) or pa.types.is_large_string(found)):
            self.broken(name, f"{text} is of type {found}, not string")
        if not pa.types.is_integer(table.column(number).type):
            self.broken(name, f"{number} is of type {table.column(number).type}, not an integer")
        wrong = pc.not_equal(table.column(number), pa.array(np.arange(table.num_rows)))
        self._refuse_row(name, wrong, f"{number} is not the position of the row")

    def check_starts(self, table: pa.Table, offsets: NDArray[np.int64]) -> None:
        """Check `cell_start_index`, where it is there, against the rows that each cell has."""
        if "cell_start_index" not in table.column_names:
            return
        starts = table.column("cell_start_index")
        if starts.type != pa.int64():
            self.broken("cells", f"cell_start_index is of type {starts.type}, not int64")
        self._refuse_row("cells", pc.is_null(starts), "cell_start_index is null")
        found = starts.to_numpy()
        wrong = np.flatnonzero(found != offsets[:-1])
        if len(wrong):
            row = int(wrong[0])
            self.broken(
                f"cells, row {row:,}",
                f"cell_start_index is {found[row]:,}, but the rows of the cell begin at "
                f"{offsets[row]:,}",
            )

    def check_expression(
        self, reader: TableRows, cells: pa.ChunkedArray, genes: pa.ChunkedArray
    ) -> NDArray[np.int64]:
        """Check every row of `expression`, and count where those of each cell begin.

        Parameters
        ----------
        reader
            Reads the table as it is pinned.
        cells, genes
            The ids of the axes.
        """
        names = self._check_types(reader.schema)
        counts = np.zeros(len(cells), np.int64)
        before, seen = (-1, -1), 0
        for batch in reader.read(np.array([[0, reader.n_rows]]), names):
            self._refuse_nulls(batch, seen)
            ids = [batch.column(name).to_numpy().astype(np.int64) for name in _IDS]
            self._check_order(ids[0], ids[1], (len(cells), len(genes)), before, seen)
            zeros = batch.column("value").to_numpy() == 0
            self._refuse_first("expression", zeros, seen, "value is zero")
            for name, axis, positions in zip(_STRINGS, (cells, genes), ids, strict=True):
                if name in names:
                    differ = pc.not_equal(batch.column(name), axis.take(pa.array(positions)))
                    self._refuse_row("expression", differ, f"{name} is not that of the id", seen)
            counts += np.bincount(ids[0], minlength=len(cells))
            before, seen = (int(ids[0][-1]), int(ids[1][-1])), seen + batch.num_rows
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])

    def _check_types(self, schema: pa.Schema) -> list[str]:
        names = list(schema.names)
        if [*names[-3:]] != [*_COLUMNS] or names[:-3] not in ([], [*_STRINGS]):
            self.broken(
                "expression", f"its columns are {', '.join(names)}, not {', '.join(_COLUMNS)}"
            )
        types = {name: str(schema.field(name).type) for name in names}
        allowed = [str(pa.from_numpy_dtype(dtype)) for dtype in VALUE_TYPES]
        for name, known in (*((name, _ID_TYPES) for name in _IDS), ("value", allowed)):
            if types[name] not in known:
                self.broken(
                    "expression", f"{name} is of type {types[name]}, not one of {', '.join(known)}"
                )
        return names

    def _check_order(
        self,
        cells: NDArray[np.int64],
        genes: NDArray[np.int64],
        shape: tuple[int, int],
        before: tuple[int, int],
        seen: int,
    ) -> None:
        for name, ids, count in zip(_IDS, (cells, genes), shape, strict=True):
            wrong = (ids < 0) | (ids >= count)
            self._refuse_first("expression", wrong, seen, f"{name} is not below {count:,}")
        steps = np.diff(cells, prepend=before[0])
        self._refuse_first("expression", steps < 0, seen, "its cell is before that of the last row")
        rises = np.diff(genes, prepend=before[1])
        wrong = (steps == 0) & (rises <= 0)
        self._refuse_first(
            "expression", wrong, seen, "its gene is not behind that of the row before, of one cell"
        )

    def _refuse_nulls(self, batch: pa.RecordBatch, seen: int) -> None:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if column.null_count:
                self._refuse_row("expression", pc.is_null(column), f"{name} is null", seen)

    def _refuse_row(self, table: str, wrong: Any, what: str, seen: int = 0) -> None:
        self._refuse_first(table, wrong.to_numpy(zero_copy_only=False), seen, what)

    def _refuse_first(self, table: str, wrong: NDArray[np.bool_], seen: int, what: str) -> None:
        rows = np.flatnonzero(wrong)
        if len(rows):
            self.broken(f"{table}, row {seen + int(rows[0]):,}", what)
