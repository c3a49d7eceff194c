"""What an append will do: only the new rows are written, where the table can keep the others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import numpy as np

from slaf.dataset.dataset import Dataset
from slaf.errors import DamagedDataset
from slaf.format.config import LEGACY_DIR, table_directories
from slaf.format.schema import EXPRESSION, VALUE, table_schema
from slaf.options import Compression, SlotSelection, StoreOptions
from slaf.runs.matrix_tables import matrix_tables, recorded_matrix_tables
from slaf.runs.plan import PART_NONZEROS, BaseDataset, Plan, plan_parts
from slaf.sparse.ranges import RowRange
from slaf.tables.read import index_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slaf.conversion.slafdb import SlafdbDataset
    from slaf.format.config import SourceRecord
    from slaf.format.records import Block
    from slaf.sources.concat.source import Concat

__all__ = [
    "dataset_matrix",
    "dataset_slots",
    "has_gene_order",
    "plan_to_add",
    "stored_options",
    "with_rewrite",
]


def plan_to_add(there: Dataset, inputs: Concat, options: StoreOptions) -> Plan:
    """Plan to add inputs to a dataset; reads their offsets.

    Parameters
    ----------
    there
        The dataset as it is published.
    inputs
        The dataset, and what is added.
    options
        Those that its tables were made with.

    Raises
    ------
    InputError
        If one of the inputs cannot be added.
    """
    published = there.published
    legacy = published.tables[EXPRESSION].startswith(f"{LEGACY_DIR}/")
    plan = Plan(
        operation="append",
        sources=inputs.records,
        n_cells=inputs.info.n_cells,
        n_genes=inputs.info.n_genes,
        options=options,
        block_cells=options.block_cells,
        parts=tuple(plan_parts(inputs, options, first=1)),
        gene_ids=inputs.gene_digest(),
        base=BaseDataset(
            n_cells=there.n_cells,
            n_sources=len(there.sources),
            versions=published.versions,
        ),
        matrix_tables=matrix_tables(inputs, options, recorded_matrix_tables(published)),
        tables={**table_directories(legacy=legacy), **published.tables},
    )
    # More genes may ask for wider ids, and layers that are new for a column of their own.
    for table in (spec.name for spec in plan.partitioned):
        if plan.adds_to(table) and not plan.schema(table).equals(there.table(table).schema):
            plan = with_rewrite(plan, table, published.blocks)
    return plan


def with_rewrite(plan: Plan, table: str, blocks: Sequence[Block]) -> Plan:
    """The plan of a run that also writes again what is there of a table: its types have changed.

    Parameters
    ----------
    plan
        To add something.
    table
        Which has other types now.
    blocks
        Of what is there.
    """
    if not plan.adds_to(table):
        return plan
    parts = plan.parts if plan.rewrites else (*_parts_of(blocks), *plan.parts)
    return replace(plan, rewrites=(*plan.rewrites, table), parts=parts)


def stored_options(dataset: Dataset, asked: StoreOptions) -> StoreOptions:
    """The options that made the tables of a dataset as they are, for what is added to it.

    Parameters
    ----------
    dataset
        What is added to.
    asked
        What may differ from it: the matrix, the genes, the size of chunks, and whether rows are
        written in the order of genes too.

    Raises
    ------
    DamagedDataset
        If its tables are not as this program writes them.
    """
    schema = dataset.expression.schema
    plain = str(schema.field("cell_integer_id").type) == "int32"
    # Where there is nothing to look up there is no index: that of another table tells.
    indexed = {
        column for name in dataset.published.tables for column in index_names(dataset.table(name))
    }
    for compression in get_args(Compression):
        options = replace(
            asked,
            compression=compression,
            plain_types=plain,
            string_ids="cell_id" in schema.names,
            create_indices=not indexed.isdisjoint({"gene_integer_id", "gene_id", "cell_id"}),
        )
        types = {VALUE: np.dtype(dataset.published.value_type)}
        expected = table_schema(EXPRESSION, types, dataset.n_genes, options)
        if schema.equals(expected, check_metadata=True):
            return options
    msg = f"{dataset.location}: the columns of expression are not those of this format: {schema}"
    raise DamagedDataset(msg)


def _parts_of(blocks: Sequence[Block]) -> Iterator[RowRange]:
    """The blocks of a dataset in runs that make parts: how it is written again."""
    first, rows = 0, 0
    for index, block in enumerate(blocks):
        rows += block.rows
        if rows >= PART_NONZEROS or index == len(blocks) - 1:
            yield RowRange(blocks[first].start, block.stop)
            first, rows = index + 1, 0


def dataset_matrix(sources: Sequence[SourceRecord]) -> str:
    """The matrix that was taken of every input of a dataset; X, where they differ."""
    matrices = {source.matrix for source in sources}
    return matrices.pop() if len(matrices) == 1 else "X"


def has_gene_order(there: Dataset | SlafdbDataset) -> bool:
    """Whether a dataset has its rows in the order of genes too."""
    return isinstance(there, Dataset) and there.published.by_gene is not None


def dataset_slots(there: Dataset | SlafdbDataset, without: Sequence[str]) -> SlotSelection:
    """What was taken of the inputs of a dataset beside their matrices: it is of others too.

    Parameters
    ----------
    there
        The dataset.
    without
        What to leave out besides.
    """
    # What slafdb wrote has nothing besides its matrix, for want of this program.
    slots = SlotSelection()
    if isinstance(there, Dataset):
        slots = there.annotations.beside.taken or SlotSelection.nothing()
    return replace(slots, without=tuple(dict.fromkeys([*slots.without, *without])))
