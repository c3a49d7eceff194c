"""Plan an append: add rows to a table, or write it again with wider types."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, get_args

from slaf.dataset.dataset import Dataset
from slaf.errors import DamagedDataset
from slaf.format.config import LEGACY_DIR, table_directories
from slaf.format.schema import EXPRESSION
from slaf.options import Compression, SlotSelection, StoreOptions
from slaf.runs.matrix_tables import matrix_tables, recorded_matrix_tables
from slaf.runs.plan import BaseDataset, Plan, plan_parts
from slaf.sources.concat.members import SAMPLE
from slaf.tables.read import index_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slaf.conversion.slafdb import SlafdbDataset
    from slaf.format.config import SourceRecord
    from slaf.sources.concat.source import Concat

__all__ = [
    "dataset_matrix",
    "dataset_slots",
    "has_gene_order",
    "plan_append",
    "stored_options",
]


def plan_append(dataset: Dataset, inputs: Concat, options: StoreOptions) -> Plan:
    """The plan of a run that adds inputs to a dataset; reads their row offsets.

    Parameters
    ----------
    dataset
        The published dataset.
    inputs
        The dataset and the added inputs.
    options
        The options of its tables.

    Raises
    ------
    InputError
        If one of the inputs cannot be added.
    """
    published = dataset.published
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
        base=BaseDataset.of(published),
        matrix_tables=matrix_tables(inputs, options, recorded_matrix_tables(published)),
        tables={**table_directories(legacy=legacy), **published.tables},
        transforms=published.transforms,
    )
    # More genes may need wider ids, and new layers need new columns.
    for table in (spec.name for spec in plan.partitioned):
        if plan.adds_to(table) and not plan.schema(table).equals(dataset.table(table).schema):
            plan = plan.with_rewrite(table, published.blocks)
    return plan


def stored_options(dataset: Dataset, requested: StoreOptions) -> StoreOptions:
    """The options with which the tables of a dataset were written.

    Parameters
    ----------
    dataset
        The dataset.
    requested
        The options that may differ: genes, slots, the size of chunks, and the gene order.

    Raises
    ------
    DamagedDataset
        If its tables do not have the schema of any options.
    """
    schema = dataset.expression.schema
    plain = str(schema.field("cell_integer_id").type) == "int32"
    # An empty table has no index, therefore those of all tables are considered.
    indexed = {
        column for name in dataset.published.tables for column in index_names(dataset.table(name))
    }
    checksums = dataset.published.checksums
    recorded = (checksums.storage.compression,) if checksums.files else get_args(Compression)
    for compression in recorded:
        options = replace(
            requested,
            compression=compression,
            plain_types=plain,
            string_ids="cell_id" in schema.names,
            create_indices=not indexed.isdisjoint({"gene_integer_id", "gene_id", "cell_id"}),
        )
        if schema.equals(dataset.published.schema(EXPRESSION, options), check_metadata=True):
            return options
    msg = f"{dataset.location}: the columns of expression are not those of this format: {schema}"
    raise DamagedDataset(msg)


def dataset_matrix(sources: Sequence[SourceRecord]) -> str:
    """The converted matrix of the inputs of a dataset; X if they differ."""
    matrices = {source.matrix for source in sources}
    return matrices.pop() if len(matrices) == 1 else "X"


def has_gene_order(dataset: Dataset | SlafdbDataset) -> bool:
    """Whether a dataset has its rows in the order of genes too."""
    return isinstance(dataset, Dataset) and dataset.published.by_gene is not None


def dataset_slots(dataset: Dataset | SlafdbDataset, without: Sequence[str]) -> SlotSelection:
    """The selection of slots of a dataset, for the inputs that are added.

    Annotations of the dataset are left out of the inputs, also where these have the same names.

    Parameters
    ----------
    dataset
        The dataset.
    without
        Further slots to leave out.
    """
    # A dataset of slafdb has no slots: all of the added inputs are converted.
    slots, annotated = SlotSelection(), []
    if isinstance(dataset, Dataset):
        slots = dataset.annotations.record.selection or SlotSelection.nothing()
        # The uns of each input is kept; names of samples are given with the inputs.
        annotated = [
            name
            for name in dataset.published.annotated_names
            if name != f"obs:{SAMPLE}" and not name.startswith("uns:")
        ]
    return replace(slots, without=tuple(dict.fromkeys([*slots.without, *without, *annotated])))
