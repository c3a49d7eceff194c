"""Append to datasets of slafdb: check their tables, and write them again in this format."""

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
from slaf.runs.plan import BaseDataset, Plan, make_plan
from slaf.sources.base import Source, SourceInfo, check_only_x
from slaf.sources.concat.members import Input
from slaf.sources.matrix import MatrixSize
from slaf.sources.samples import names_of_records
from slaf.tables.read import index_names, newest_version, read_table
from slaf.tables.rows import TableRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from slaf.options import StoreOptions
    from slaf.sources.concat.source import Concat
    from slaf.sources.matrix import Matrix
    from slaf.sparse.batch import Batch
    from slaf.sparse.ranges import RowRange
    from slaf.storage.location import Location

__all__ = [
    "SlafdbDataset",
    "check_dataset_exists",
    "open_append_target",
    "plan_slafdb_append",
]

_FORMAT = "slafdb"
_SAMPLE_ROWS = 1 << 16
_FILES = "multi_file"

# The tables of slafdb, in their directories.
_DIRECTORIES = {name: spec.directory for name, spec in TABLES.items() if spec.required}

# The slots of slafdb datasets, which cannot be converted.
_SLOTS = ("layers", "obsm", "varm", "obsp", "varp")


def open_append_target(location: Location) -> Dataset | SlafdbDataset:
    """The dataset at a location; one of slafdb is checked to its last row.

    Raises
    ------
    DatasetError
        If there is none, or it violates the format.
    """
    manifest = load(location, legacy=True)
    if manifest is None or manifest.legacy is None:
        return open_dataset(location)
    return SlafdbDataset(location, manifest.legacy)


def check_dataset_exists(location: Location) -> None:
    """Refuse a location without a dataset.

    Raises
    ------
    DatasetError
        If there is no dataset.
    """
    manifest = load(location, legacy=True)
    if manifest is None or manifest.legacy is None:
        load_published(location)


class SlafdbDataset:
    """A dataset of slafdb whose tables satisfy the rules of this format.

    Parameters
    ----------
    location
        The location of the dataset.
    config
        The content of its config.json.

    Raises
    ------
    DamagedDataset
        If a rule is violated; the message names it, the table and the row.
    """

    def __init__(self, location: Location, config: Mapping[str, Any]) -> None:
        self.location = location
        rules = _Rules(str(location))
        _check_config(location, config, rules)
        self.versions = {
            name: newest_version(location, directory) for name, directory in _DIRECTORIES.items()
        }
        self._tables = _Tables.checked(location, config, self.versions, rules)
        self.sources = tuple(_sources(location, config, self._tables, self.versions))

    def inputs(self) -> list[Input]:
        """The inputs of the dataset, each to be read from its tables."""
        names = names_of_records(self.sources)
        return [
            Input(record.uri, self._opener(record), ReadOptions(), sample_name=name)
            for record, name in zip(self.sources, names, strict=True)
        ]

    def options(self, requested: StoreOptions) -> StoreOptions:
        """The requested options, with those of its tables where slafdb has them."""
        schema = self._tables.dataset.expression.schema
        return replace(
            requested,
            plain_types=str(schema.field("cell_integer_id").type) == "int32",
            string_ids="cell_id" in schema.names,
            create_indices="gene_integer_id" in index_names(self._tables.dataset.expression),
        )

    def _opener(self, record: SourceRecord) -> Callable[[ReadOptions], Source]:
        # The column of file names is the user's, unless it tells the inputs apart.
        hidden = CELL_COLUMNS if len(self.sources) > 1 else CELL_COLUMNS[:-1]
        return lambda _options: _SlafdbSource(self._tables, record, hidden)


def plan_slafdb_append(dataset: SlafdbDataset, inputs: Concat, requested: StoreOptions) -> Plan:
    """The plan of a run that writes a slafdb dataset again, with further inputs.

    Parameters
    ----------
    dataset
        The dataset.
    inputs
        The inputs of the dataset, and the added inputs.
    requested
        The options of the append.
    """
    return replace(
        make_plan(inputs, dataset.options(requested)),
        operation="append",
        rewrites=tuple(spec.name for spec in partitioned_tables()),
        base=BaseDataset(
            n_cells=sum(source.n_cells for source in dataset.sources),
            n_sources=len(dataset.sources),
            versions=dataset.versions,
        ),
        tables=table_directories(legacy=True),
    )


def _check_config(location: Location, config: Mapping[str, Any], rules: _Rules) -> None:
    if "checkpoint" in config:
        rules.fail("config.json", "a conversion of slafdb is unfinished; finish it with slafdb")
    tables = config.get("tables")
    if not isinstance(tables, dict) or not _DIRECTORIES.items() <= tables.items():
        expected = json.dumps(_DIRECTORIES)
        rules.fail("config.json", f"tables is {json.dumps(tables)}, not {expected}")
    for name in (*_SLOTS, _FILES):
        if not isinstance(config.get(name) or {}, dict):
            rules.fail("config.json", f"{name} is {json.dumps(config[name])[:60]}, not an object")
    more = [name for name in tables if name not in _DIRECTORIES]
    more += [name for name in _SLOTS if (config.get(name) or {}).get("available")]
    # Listed or not: a stopped append leaves directories of these names too, which are removed.
    more += [
        name for name, spec in TABLES.items() if not spec.required and location.list(spec.directory)
    ]
    if location.read("uns.json") is not None:
        more.append("uns")
    if more:
        names = ", ".join(dict.fromkeys(more))
        rules.fail("config.json", f"it holds {names}, which this release would lose")


@dataclass(frozen=True, slots=True)
class _Tables:
    """The tables of a slafdb dataset, which satisfy the rules.

    Attributes
    ----------
    dataset
        The dataset, to read `expression`.
    cells, genes
        All columns of the other tables.
    """

    dataset: _TablesAsDataset
    cells: pa.Table
    genes: pa.Table

    @classmethod
    def checked(
        cls,
        location: Location,
        config: Mapping[str, Any],
        versions: Mapping[str, int],
        rules: _Rules,
    ) -> _Tables:
        pinned = _TablesAsDataset(location, _as_config(config, versions))
        cells, genes = (read_table(pinned.table(name)) for name in (CELLS, GENES))
        shape = [cells.num_rows, genes.num_rows]
        if config.get("array_shape") != shape:
            recorded = config.get("array_shape")
            rules.fail(
                "config.json", f"array_shape is {recorded}, but the tables have {shape} rows"
            )
        for name, table in ((CELLS, cells), (GENES, genes)):
            rules.check_axis(name, table)
            _check_columns(name, table, rules)
        reader = TableRows(location, _DIRECTORIES[EXPRESSION], pinned.expression)
        offsets = rules.check_expression(reader, cells.column("cell_id"), genes.column("gene_id"))
        rules.check_starts(cells, offsets)
        value_type = np.dtype(pinned.expression.schema.field("value").type.to_pandas_dtype())
        published = _as_config(config, versions, shape, value_type, int(offsets[-1]))
        return cls(_TablesAsDataset(location, published, offsets), cells, genes)


class _TablesAsDataset(Dataset):
    """The tables as a dataset, whose row offsets were counted instead of read."""

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


def _check_columns(name: str, table: pa.Table, rules: _Rules) -> None:
    for field in table.schema:
        dtype = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        text = pa.types.is_string(dtype) or pa.types.is_large_string(dtype)
        time = pa.types.is_timestamp(dtype) or pa.types.is_duration(dtype)
        number = pa.types.is_integer(dtype) or pa.types.is_floating(dtype)
        if not (text or time or number or pa.types.is_boolean(dtype)):
            rules.fail(
                name,
                f"column {field.name} is of type {field.type}, which this release would lose",
            )


def _sources(
    location: Location, config: Mapping[str, Any], tables: _Tables, versions: Mapping[str, int]
) -> Iterator[SourceRecord]:
    """The inputs of the dataset, if they are recorded for every cell; else the dataset itself."""
    shape = tables.dataset.shape
    whole: dict[str, Any] = {"file_path": str(location), "n_cells": shape[0], "cell_offset": 0}
    recorded = (config.get(_FILES) or {}).get("source_files") or []
    files = recorded if _are_files_of(recorded, tables.cells) else [whole]
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


def _are_files_of(files: Any, cells: pa.Table) -> bool:
    """Whether these files have all cells, in order, and their names are those in `source_file`."""
    stop = 0
    if not isinstance(files, list):
        return False
    for file in files:
        if not _is_file(file) or file["cell_offset"] != stop:
            return False
        stop += file["n_cells"]
    return stop == cells.num_rows and (len(files) == 1 or _names_match(files, cells))


def _is_file(file: Any) -> bool:
    return (
        isinstance(file, dict)
        and all(isinstance(file.get(key), str) for key in ("file_name", "file_path"))
        and all(type(file.get(key)) is int for key in ("n_cells", "cell_offset"))
        and file["n_cells"] >= 0
    )


def _names_match(files: Sequence[Mapping[str, Any]], cells: pa.Table) -> bool:
    if SOURCE_FILE not in cells.column_names:
        return False
    names = cells.column(SOURCE_FILE).cast(pa.large_string())
    for file in files:
        of_file = names.slice(file["cell_offset"], file["n_cells"])
        equal = pc.equal(of_file, pa.scalar(file["file_name"], of_file.type))
        if not pc.all(equal, skip_nulls=False).as_py():
            return False
    return True


class _SlafdbSource(Source):
    """The cells of one input of a slafdb dataset, as a source."""

    def __init__(self, tables: _Tables, record: SourceRecord, hidden: Sequence[str]) -> None:
        super().__init__()
        self._tables = tables
        self._record = record
        self._hidden = hidden
        self._matrix = tables.dataset.matrix()
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
        span = np.array([[start, min(start + _SAMPLE_ROWS, stop)]])
        batches = self._matrix.rows.reader.read(span, ["value"])
        values = [batch.column(0).to_numpy() for batch in batches]
        return np.concatenate([np.empty(0, self.dtype), *values])

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        offsets = self._offsets - self._offsets[0]
        return np.append(offsets[:-1][::step], offsets[-1])

    def read_cells(self) -> pa.Table:
        rows = self._tables.cells.slice(self._record.offset, self._record.n_cells)
        return _user_columns(CELLS, rows, self._hidden)

    def read_genes(self) -> pa.Table:
        return _user_columns(GENES, self._tables.genes, GENE_COLUMNS)

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        first = self._record.offset
        for batch in self._matrix.batches(rows.shifted(first)):
            yield batch.shifted(-first)


def _user_columns(name: str, table: pa.Table, hidden: Sequence[str]) -> pa.Table:
    text = f"{name.removesuffix('s')}_id"
    columns = {field.name: table.column(field.name) for field in table.schema}
    visible = {key: columns[key] for key in columns if key not in hidden}
    return arrow_table(text, columns[text], visible)


_IDS = ("cell_integer_id", "gene_integer_id")
_COLUMNS = (*_IDS, "value")
_STRINGS = ("cell_id", "gene_id")
_ID_TYPES = ("int32", "uint16", "uint32")


class _Rules:
    """The rules of the format for tables; an error names the violated rule, the table and the row.

    Parameters
    ----------
    label
        The name of the dataset, for errors.
    """

    def __init__(self, label: str) -> None:
        self._label = label

    def fail(self, where: str, violation: str) -> NoReturn:
        """Refuse the dataset.

        Raises
        ------
        DamagedDataset
            Always.
        """
        msg = (
            f"{self._label}: {where}: {violation}; nothing was changed: convert the original input "
            "anew, and append to that"
        )
        raise DamagedDataset(msg)

    def check_axis(self, name: str, table: pa.Table) -> None:
        """Check the ids of `cells` or `genes`: none is null, and integer ids are positions."""
        kind = name.removesuffix("s")
        text, number = f"{kind}_id", f"{kind}_integer_id"
        for column in (text, number):
            if column not in table.column_names:
                self.fail(name, f"there is no column {column}")
            self._check_rows(name, pc.is_null(table.column(column)), f"{column} is null")
        dtype = table.column(text).type
        if not (pa.types.is_string(dtype) or pa.types.is_large_string(dtype)):
            self.fail(name, f"{text} is of type {dtype}, not string")
        if not pa.types.is_integer(table.column(number).type):
            self.fail(name, f"{number} is of type {table.column(number).type}, not an integer")
        wrong = pc.not_equal(table.column(number), pa.array(np.arange(table.num_rows)))
        self._check_rows(name, wrong, f"{number} is not the position of the row")

    def check_starts(self, table: pa.Table, offsets: NDArray[np.int64]) -> None:
        """Check the column `cell_start_index`, if `cells` has it, against the rows of each cell."""
        if "cell_start_index" not in table.column_names:
            return
        starts = table.column("cell_start_index")
        if starts.type != pa.int64():
            self.fail("cells", f"cell_start_index is of type {starts.type}, not int64")
        self._check_rows("cells", pc.is_null(starts), "cell_start_index is null")
        recorded = starts.to_numpy()
        wrong = np.flatnonzero(recorded != offsets[:-1])
        if len(wrong):
            row = int(wrong[0])
            self.fail(
                f"cells, row {row:,}",
                f"cell_start_index is {recorded[row]:,}, but the rows of the cell begin at "
                f"{offsets[row]:,}",
            )

    def check_expression(
        self, reader: TableRows, cells: pa.ChunkedArray, genes: pa.ChunkedArray
    ) -> NDArray[np.int64]:
        """Check every row of `expression`; the row offsets of its cells.

        Parameters
        ----------
        reader
            Reads rows of the table.
        cells, genes
            The ids of the axes.
        """
        names = self._check_types(reader.schema)
        counts = np.zeros(len(cells), np.int64)
        last, n_rows = (-1, -1), 0
        for batch in reader.read(np.array([[0, reader.n_rows]]), names):
            self._check_nulls(batch, n_rows)
            ids = [batch.column(name).to_numpy().astype(np.int64) for name in _IDS]
            self._check_order(ids[0], ids[1], (len(cells), len(genes)), last, n_rows)
            zeros = batch.column("value").to_numpy() == 0
            self._check_mask("expression", zeros, n_rows, "value is zero")
            for name, axis, positions in zip(_STRINGS, (cells, genes), ids, strict=True):
                if name in names:
                    differ = pc.not_equal(batch.column(name), axis.take(pa.array(positions)))
                    self._check_rows("expression", differ, f"{name} is not that of the id", n_rows)
            counts += np.bincount(ids[0], minlength=len(cells))
            last, n_rows = (int(ids[0][-1]), int(ids[1][-1])), n_rows + batch.num_rows
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])

    def _check_types(self, schema: pa.Schema) -> list[str]:
        names = list(schema.names)
        if names[-3:] != [*_COLUMNS] or names[:-3] not in ([], [*_STRINGS]):
            self.fail(
                "expression", f"its columns are {', '.join(names)}, not {', '.join(_COLUMNS)}"
            )
        types = {name: str(schema.field(name).type) for name in names}
        allowed = [str(pa.from_numpy_dtype(dtype)) for dtype in VALUE_TYPES]
        for name, known_types in (*((name, _ID_TYPES) for name in _IDS), ("value", allowed)):
            if types[name] not in known_types:
                self.fail(
                    "expression",
                    f"{name} is of type {types[name]}, not one of {', '.join(known_types)}",
                )
        return names

    def _check_order(
        self,
        cells: NDArray[np.int64],
        genes: NDArray[np.int64],
        shape: tuple[int, int],
        last: tuple[int, int],
        n_rows: int,
    ) -> None:
        for name, ids, count in zip(_IDS, (cells, genes), shape, strict=True):
            wrong = (ids < 0) | (ids >= count)
            self._check_mask("expression", wrong, n_rows, f"{name} is not below {count:,}")
        steps = np.diff(cells, prepend=last[0])
        self._check_mask("expression", steps < 0, n_rows, "its cell is before that of the last row")
        rises = np.diff(genes, prepend=last[1])
        wrong = (steps == 0) & (rises <= 0)
        self._check_mask(
            "expression",
            wrong,
            n_rows,
            "its gene is not behind that of the row before, of one cell",
        )

    def _check_nulls(self, batch: pa.RecordBatch, n_rows: int) -> None:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if column.null_count:
                self._check_rows("expression", pc.is_null(column), f"{name} is null", n_rows)

    def _check_rows(self, table: str, wrong: Any, violation: str, n_rows: int = 0) -> None:
        self._check_mask(table, wrong.to_numpy(zero_copy_only=False), n_rows, violation)

    def _check_mask(
        self, table: str, wrong: NDArray[np.bool_], n_rows: int, violation: str
    ) -> None:
        rows = np.flatnonzero(wrong)
        if len(rows):
            self.fail(f"{table}, row {n_rows + int(rows[0]):,}", violation)
