"""What an append will do: only the new rows are written, where the table can keep the others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from slaf.arrays import RowRange
from slaf.conversion.plan import PART_NONZEROS, Base, Options, Plan, cut
from slaf.errors import DamagedDataset, NotYet
from slaf.manifest import TABLES
from slaf.schema import Compression, expression_schema
from slaf.sources import GeneSet
from slaf.tables.read import index_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slaf.dataset import Dataset
    from slaf.manifest import Block, SourceRecord
    from slaf.sources import Concat

__all__ = ["added_genes", "options_of", "plan_to_add", "refuse_beside", "rewriting", "usual_matrix"]


def plan_to_add(there: Dataset, inputs: Concat, options: Options) -> Plan:
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
    plan = Plan(
        operation="append",
        sources=inputs.records,
        n_cells=inputs.n_cells,
        n_genes=inputs.n_genes,
        options=options,
        value_type=there.published.value_type,
        block_cells=options.block_cells,
        parts=tuple(cut(inputs, options, first=1)),
        gene_ids=inputs.gene_digest(),
        base=Base(
            n_cells=there.n_cells,
            n_sources=len(there.sources),
            versions=there.published.versions,
        ),
        rewrites=False,
        tables=there.published.tables,
    )
    if plan.schema.equals(there.expression.schema):
        return plan
    # More genes may ask for wider ids.
    return rewriting(plan, there.published.blocks)


def rewriting(plan: Plan, blocks: Sequence[Block]) -> Plan:
    """The plan of a run that also writes again what is there, because a type has changed.

    Parameters
    ----------
    plan
        To add something.
    blocks
        Of what is there.
    """
    if plan.base is None or plan.rewrites:
        return plan
    return replace(plan, rewrites=True, parts=(*_parts_of(blocks), *plan.parts))


def options_of(dataset: Dataset, asked: Options) -> Options:
    """The options that made the tables of a dataset as they are, for what is added to it.

    Parameters
    ----------
    dataset
        What is added to.
    asked
        What may differ from it: the matrix, the genes and the size of chunks.

    Raises
    ------
    DamagedDataset
        If its tables are not as this program writes them.
    """
    schema = dataset.expression.schema
    plain = str(schema.field("cell_integer_id").type) == "int32"
    # Where there is nothing to look up there is no index: that of another table tells.
    indexed = {column for name in TABLES for column in index_names(dataset.table(name))}
    for compression in Compression:
        options = replace(
            asked,
            compression=compression,
            plain_types=plain,
            string_ids="cell_id" in schema.names,
            create_indices=not indexed.isdisjoint({"gene_integer_id", "gene_id", "cell_id"}),
        )
        expected = expression_schema(
            np.dtype(dataset.published.value_type),
            dataset.n_genes,
            compression,
            integer_ids=options.plain_types,
            string_ids=options.string_ids,
        )
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


def usual_matrix(sources: Sequence[SourceRecord]) -> str:
    """The matrix that was taken of every input of a dataset; X, where they differ."""
    matrices = {source.matrix for source in sources}
    return matrices.pop() if len(matrices) == 1 else "X"


def refuse_beside(there: Dataset) -> None:
    """Refuse to add to a dataset that has more than its matrix, which would not grow with it.

    Raises
    ------
    NotYet
        Naming what it has.
    """
    beside = there.held.beside
    layers = () if beside.layers is None else beside.layers.matrices
    names = {"layers": [layer.original for layer in layers]}
    names |= {slot: [form.key for form in forms] for slot, forms in beside.forms.items()}
    has = [f"{slot} ({', '.join(found)})" for slot, found in names.items() if found]
    has += [slot for slot in ("raw", "uns") if getattr(beside, slot) is not None]
    if has:
        avoidable = not beside.forms and beside.uns is None
        way = " or keep them out of this one with --layers none and --no-raw" if avoidable else ""
        msg = (
            f"{there.location}: it has {', '.join(has)} beside its matrix, to which this release "
            f"adds nothing; convert all inputs anew into one dataset, which takes their matrix "
            f"alone{',' if way else ''}{way}"
        )
        raise NotYet(msg)


def added_genes(genes: str) -> GeneSet:
    """Which genes to take of what is added.

    Raises
    ------
    ValueError
        If genes of the dataset would have to be left out.
    """
    chosen = GeneSet(genes)
    if chosen is GeneSet.INTERSECTION:
        msg = "genes='intersection' would take genes from the dataset; convert all inputs anew"
        raise ValueError(msg)
    return chosen
