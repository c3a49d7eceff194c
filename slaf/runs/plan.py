"""The plan of a run: inputs, options, types and parts."""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

import xxhash

from slaf.errors import InexactValue
from slaf.format.config import SourceRecord, journal_directory, table_directories
from slaf.format.records import StepRecord
from slaf.format.schema import (
    EXPRESSION,
    TABLES,
    TableSpec,
    allowed_types,
    partitioned_tables,
    value_type_for,
)
from slaf.options import StoreOptions
from slaf.runs.matrix_tables import MatrixTable, matrix_tables, recorded_matrix_tables
from slaf.sources.identity import without_times
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.format.config import DatasetConfig
    from slaf.format.records import Block
    from slaf.sources.concat.source import Concat

__all__ = [
    "PART_NONZEROS",
    "BaseDataset",
    "Plan",
    "likely_type",
    "make_plan",
    "parts_of_blocks",
    "plan_parts",
]


# A part is about this many nonzeros: about one second of work, and one fragment.
PART_NONZEROS = 32 << 20

# Keys that do not identify an input: its location, and copies of the options.
_PLACES = {"identity", "uri", "offset", "measured", "holds", "taken", "sheet"}

# The keys of the last release for the tables; its published runs have to be cleaned up only.
_EARLIER_KEYS = {"value_type", "companions"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseDataset:
    """The published dataset that a run adds to.

    Attributes
    ----------
    n_cells
        Its cells, which stay the first.
    n_sources
        The inputs that it was made of.
    versions
        Of its tables.
    """

    n_cells: int
    n_sources: int
    versions: Mapping[str, int]

    @classmethod
    def of(cls, published: DatasetConfig) -> Self:
        """The base of a run that changes a published dataset."""
        return cls(
            n_cells=published.n_cells,
            n_sources=len(published.sources),
            versions=published.versions,
        )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run, immutable and JSON.

    Attributes
    ----------
    run_id
        Tells this run from another of the same input.
    operation
        "convert", "append", "annotate", "remove", "compact" or "repair".
    sources
        The inputs of the dataset and their identities, in the order of their cells: those of
        the base, and then those of this run.
    n_cells, n_genes
        The shape of the dataset that the run makes.
    options
        What the user chose.
    block_cells
        Cells that one digest covers.
    parts
        The cells to write in runs of whole blocks, in order: the units of work and of resuming.
        None holds cells of two inputs.
    matrix_tables
        The tables that are written in these parts, with their value columns.
    gene_ids
        A digest of the ids of all genes in their order.
    base
        What is added to; None for a new dataset.
    rewrites
        The tables that are written again with the rows of the base; other tables keep their rows
        and get the new ones behind them.
    tables
        The directory of each table.
    transforms
        The steps that all inputs go through before they are stored.
    """

    sources: tuple[SourceRecord, ...]
    n_cells: int
    n_genes: int
    options: StoreOptions
    block_cells: int
    parts: tuple[RowRange, ...]
    matrix_tables: tuple[MatrixTable, ...]
    gene_ids: str = ""
    base: BaseDataset | None = None
    rewrites: tuple[str, ...] = ()
    operation: str = "convert"
    run_id: str = field(default_factory=lambda: uuid4().hex)
    tables: Mapping[str, str] = field(default_factory=table_directories)
    transforms: tuple[StepRecord, ...] = ()

    @classmethod
    def of_dataset(cls, published: DatasetConfig, **fields: Any) -> Self:
        """The plan of a run that writes rows of a published dataset again."""
        return cls(
            sources=published.sources,
            n_cells=published.n_cells,
            n_genes=published.n_genes,
            block_cells=max((block.stop - block.start for block in published.blocks), default=1),
            matrix_tables=recorded_matrix_tables(published),
            base=BaseDataset.of(published),
            transforms=published.transforms,
            **fields,
        )

    @property
    def partitioned(self) -> tuple[TableSpec, ...]:
        """The tables that the run writes in parts: those of matrices, and copies of them."""
        names = {table.table for table in self.matrix_tables}
        return tuple(
            spec
            for spec in partitioned_tables()
            if spec.name in names or (spec.option and getattr(self.options, spec.option))
        )

    def directory(self, table: str) -> str:
        """The directory of a table."""
        return self.tables[table]

    def matrix_table(self, table: str) -> MatrixTable:
        """The table of matrices of this name, or the one that it is a copy of."""
        name = TABLES[table].copies or table
        return next(one for one in self.matrix_tables if one.table == name)

    def schema(self, table: str) -> pa.Schema:
        """The columns of a table that is written in parts."""
        return self.matrix_table(table).schema(self.options, table)

    @property
    def value_type(self) -> str:
        """The type of the values of `expression`."""
        return self.matrix_table(EXPRESSION).values[0].value_type

    def adds_to(self, table: str) -> bool:
        """Whether a table keeps its rows, and gets the new ones behind them."""
        return (
            self.base is not None
            and self.operation != "repair"
            and table in self.base.versions
            and not self.replaces(table)
        )

    def replaces(self, table: str) -> bool:
        """Whether all rows of a table are written again, if the base has it."""
        return table in self.rewrites or bool(TABLES[table].copies)

    def writes(self, part: int, table: str) -> bool:
        """Whether a part has rows of a table: of the cells of the base only if it is rewritten."""
        new = self.base is None or self.parts[part].start >= self.base.n_cells
        return new or table in self.rewrites

    def tables_of(self, axis: str, part: int) -> set[str]:
        """The tables that a part writes, along an axis."""
        return {
            spec.name
            for spec in self.partitioned
            if spec.axis.name == axis and (spec.copies or self.writes(part, spec.name))
        }

    @property
    def cells_to_write(self) -> int:
        """The cells of all parts."""
        return sum(map(len, self.parts))

    @property
    def added(self) -> tuple[SourceRecord, ...]:
        """The inputs of this run."""
        return self.sources if self.base is None else self.sources[self.base.n_sources :]

    def widened(self, types: Mapping[str, Mapping[str, str]], blocks: Sequence[Block] = ()) -> Plan:
        """The plan of a new run with other types of value columns: the same for the same types.

        Parameters
        ----------
        types
            The types of value columns, by table.
        blocks
            The checksum blocks of the base, whose rows in these tables are written again.
        """
        run = f"{self.run_id} {json.dumps(types, sort_keys=True)}"
        tables = tuple(one.widened(types.get(one.table, {})) for one in self.matrix_tables)
        plan = replace(self, matrix_tables=tables, run_id=xxhash.xxh3_128_hexdigest(run.encode()))
        for table in tables:
            if table.table in types:
                plan = plan.with_rewrite(table.table, blocks)
        return plan

    def with_rewrite(self, table: str, blocks: Sequence[Block]) -> Plan:
        """The plan of a run that also writes the existing rows of a table again, with new types.

        Parameters
        ----------
        table
            The table whose types have changed; without existing rows the plan stays as it is.
        blocks
            The checksum blocks of the existing rows.
        """
        if not self.adds_to(table):
            return self
        parts = self.parts if self.rewrites else (*parts_of_blocks(blocks), *self.parts)
        return replace(self, rewrites=(*self.rewrites, table), parts=parts)

    def differences(self, other: Plan) -> Iterator[str]:
        """The differences from `other`, an unfinished run, in words."""
        yield from _differing("", {"operation": other.operation}, {"operation": self.operation})
        yield from _differing("option ", other.options.to_json(), self.options.to_json())
        yield from _differing("step ", _numbered(other.transforms), _numbered(self.transforms))
        counts = {"inputs": len(other.added)}, {"inputs": len(self.added)}
        yield from _differing("number of ", *counts)
        if self.operation == other.operation == "remove":
            stay = (", ".join(source.uri for source in plan.sources) for plan in (other, self))
            yield from _differing("", *({"inputs that stay": uris} for uris in stay))
        for unfinished, source in zip(other.added, self.added, strict=False):
            which = f"input {source.uri}: " if len(self.added) > 1 else "input "
            yield from _differing(which, _choices(unfinished), _choices(source))
            if unfinished.identity != source.identity:
                old, new = map(without_times, (unfinished.identity, source.identity))
                how = "copied or touched" if old == new else "changed"
                parts = ", ".join(_changed_parts(old, new))
                where = f"{parts} of {source.uri}" if parts else source.uri
                yield f"input {where} was {how} since it began"

    def with_replaced_inputs(self, now: Plan, damaged: Sequence[int]) -> Plan:
        """The plan with its inputs as they are now, if only damaged inputs were changed.

        Parameters
        ----------
        now
            The plan of the same call as its inputs are now.
        damaged
            The positions in `sources` of inputs that were damaged: no part of theirs is done.
        """
        n_base = len(self.sources) - len(self.added)
        pairs = list(zip(self.added, now.added, strict=False))
        changed = {
            at
            for at, (old, new) in enumerate(pairs, start=n_base)
            if _describe_source(old) != _describe_source(new)
        }
        alike = (
            len(self.added) == len(now.added)
            and (self.n_cells, self.gene_ids) == (now.n_cells, now.gene_ids)
            and self.parts[len(self.parts) - len(now.parts) :] == now.parts
            and all(old.genes_present == new.genes_present for old, new in pairs)
        )
        if not alike or not changed or not changed.issubset(damaged):
            return self
        return replace(self, sources=now.sources)

    def changed_base(self, other: Plan) -> Iterator[str]:
        """The tables of the base that were changed since `other` was planned, in words."""
        if self.base is not None and other.base is not None:
            yield from _differing("version of ", dict(self.base.versions), other.base.versions)

    def source_index(self, cell: int) -> int:
        """The position in `sources` of the input that a cell comes from."""
        return max(bisect_right(self.sources, cell, key=lambda source: source.offset) - 1, 0)

    def source_of(self, cell: int) -> SourceRecord:
        """The input that a cell comes from."""
        return self.sources[self.source_index(cell)]

    @cached_property
    def digest(self) -> str:
        """The digest of the plan but for its inputs, which may be repaired while it is done."""
        data = replace(self, sources=()).to_json() | {"sources": len(self.sources)}
        return str(xxhash.xxh3_128_hexdigest(json.dumps(data, sort_keys=True).encode()))

    @property
    def journal(self) -> str:
        """The directory of its receipts."""
        return journal_directory(self.digest)

    def to_json(self) -> dict[str, Any]:
        """As the checkpoint has it."""
        data: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        steps = [step.to_json() for step in data.pop("transforms")]
        return data | {
            "sources": [source.to_json() for source in self.sources],
            "tables": dict(self.tables),
            "base": None if self.base is None else asdict(self.base),
            "options": self.options.to_json(),
            "rewrites": list(self.rewrites),
            "parts": [[part.start, part.stop] for part in self.parts],
            "matrix_tables": [table.to_json() for table in self.matrix_tables],
            # Without any, plans have the digests of earlier releases.
            **({"transforms": steps} if steps else {}),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Plan:
        """The plan that `to_json` wrote; of an earlier release without its tables."""
        return cls(
            **{key: value for key, value in data.items() if key not in _EARLIER_KEYS}
            | {
                "sources": tuple(map(SourceRecord.from_json, data["sources"])),
                "base": None if data["base"] is None else BaseDataset(**data["base"]),
                "options": StoreOptions.from_json(data["options"]),
                "parts": tuple(RowRange(start, stop) for start, stop in data["parts"]),
                "rewrites": _tables(data["rewrites"]),
                "matrix_tables": tuple(map(MatrixTable.from_json, data.get("matrix_tables", ()))),
                "transforms": tuple(map(StepRecord.from_json, data.get("transforms", ()))),
            }
        )


def make_plan(
    inputs: Concat, options: StoreOptions, transforms: tuple[StepRecord, ...] = ()
) -> Plan:
    """Plan the conversion of inputs into a dataset of their own; reads their offsets.

    Raises
    ------
    InputError
        If one cannot be converted.
    """
    return Plan(
        sources=inputs.records,
        n_cells=inputs.info.n_cells,
        n_genes=inputs.info.n_genes,
        options=options,
        block_cells=options.block_cells,
        parts=tuple(plan_parts(inputs, options)),
        # No sample decides types: the first batch that does not fit asks for the next one.
        matrix_tables=matrix_tables(inputs, options),
        gene_ids=inputs.gene_digest(),
        transforms=transforms,
    )


def plan_parts(inputs: Concat, options: StoreOptions, first: int = 0) -> Iterator[RowRange]:
    """Parts of whole blocks, from the input `first` on: the fewest blocks that reach the target.

    Blocks begin anew with each input, so that its digests are those that it has by itself.
    """
    block_cells = options.block_cells
    target = 1 if options.chunk_size and not options.compact else PART_NONZEROS
    for index, rows in enumerate(inputs.inputs):
        if index < first:
            continue
        offsets = inputs.offsets(index, block_cells)
        first_block = 0
        for last in range(1, len(offsets)):
            if offsets[last] - offsets[first_block] >= target or last == len(offsets) - 1:
                start, stop = (rows.start + at * block_cells for at in (first_block, last))
                yield RowRange(start, min(stop, rows.stop))
                first_block = last


def parts_of_blocks(blocks: Sequence[Block]) -> Iterator[RowRange]:
    """Parts of whole blocks by which a dataset is written again."""
    first, rows = 0, 0
    for index, block in enumerate(blocks):
        rows += block.rows
        if rows >= PART_NONZEROS or index == len(blocks) - 1:
            yield RowRange(blocks[first].start, block.stop)
            first, rows = index + 1, 0


def likely_type(first: NDArray[Any], options: StoreOptions) -> np.dtype[Any]:
    """The type that the first stored values ask for: a guess, for estimates only."""
    try:
        return value_type_for(first, allowed_types(options))
    except InexactValue:
        return allowed_types(options)[-1]


def _tables(rewrites: Any) -> tuple[str, ...]:
    # The first releases wrote whether `expression` is.
    if isinstance(rewrites, bool):
        return (EXPRESSION,) if rewrites else ()
    return tuple(rewrites)


def _describe_source(source: SourceRecord) -> dict[str, Any]:
    # The location of an input may change between two runs; its content may not.
    return _choices(source) | dict(source.identity)


def _changed_parts(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """The names of the files of an input that have changed; none if it is one file."""
    return (key for key in new if isinstance(new[key], dict) and old.get(key) != new[key])


def _choices(source: SourceRecord) -> dict[str, Any]:
    described = source.to_json()
    return {key: described[key] for key in described if key not in _PLACES}


def _numbered(steps: Sequence[StepRecord]) -> dict[str, Any]:
    return {str(at): step.to_json() for at, step in enumerate(steps, start=1)}


def _differing(what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            yield f"{what}{key} was {old.get(key)} and is {new.get(key)}"
