"""The genes of a planned run, stored with its receipts: a part opens its own input alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from slaf.annotations.lazy_table import LazyColumn, id_column
from slaf.errors import UnfinishedRun
from slaf.format.validation import Range, Record, checksum_error, with_checksum
from slaf.sources.concat.planned import GeneList

if TYPE_CHECKING:
    from slaf.runs.plan import Plan
    from slaf.sources.base import Source
    from slaf.sources.concat.source import Concat
    from slaf.storage.location import Location

__all__ = ["PlannedGenes", "read_planned_genes", "write_planned_genes"]


class _Stored(Record, frozen=True):
    """The file.

    Attributes
    ----------
    genes
        The ids of all genes; None where each input makes them, as bins.
    raw_genes
        The ids of all genes of raw; None without raw.
    raw_present
        The genes that the raw of each input has, as ranges of positions; empty for one input.
    """

    genes: tuple[str, ...] | None
    raw_genes: tuple[str, ...] | None
    raw_present: tuple[tuple[Range, ...], ...]


@dataclass(frozen=True, slots=True)
class PlannedGenes:
    """The genes of a planned run.

    Attributes
    ----------
    ids
        The ids of all genes; None for those that each input has.
    raw_ids
        The ids of all genes of raw; None without raw.
    raw_present
        The genes that the raw of each input has; empty for one input.
    """

    ids: pa.Array | None
    raw_ids: pa.Array | None
    raw_present: tuple[tuple[Range, ...], ...]

    def of_input(self, plan: Plan, index: int, source: Source) -> tuple[GeneList, GeneList | None]:
        """The genes of an input, and of its raw.

        Parameters
        ----------
        plan
            The plan.
        index
            The position of the input in its sources.
        source
            The input, open.
        """
        ids = id_column(source.lazy_genes()) if self.ids is None else self.ids
        genes = GeneList(ids, plan.sources[index].genes_present)
        if self.raw_ids is None:
            return genes, None
        present = self.raw_present[index] if self.raw_present else None
        return genes, GeneList(self.raw_ids, present)

    def of_base(self, dataset: Source) -> tuple[GeneList, GeneList | None]:
        """The genes of the dataset that is added to, which are the first."""
        ids = id_column(dataset.lazy_genes()) if self.ids is None else self.ids
        raw = None if self.raw_ids is None else GeneList(self.raw_ids)
        return GeneList(ids), raw


def write_planned_genes(location: Location, plan: Plan, inputs: Concat) -> None:
    """Write the genes of all inputs, next to the receipts of a plan."""
    raw, ids = inputs.raw(), inputs.gene_ids
    stored = _Stored(
        None if isinstance(ids, LazyColumn) else tuple(ids.to_pylist()),
        None if raw is None else tuple(raw.genes.column(0).to_pylist()),
        () if raw is None else raw.genes_present,
    )
    location.put(_name(plan), with_checksum(stored.to_json()))


def read_planned_genes(location: Location, plan: Plan) -> PlannedGenes:
    """The genes that `write_planned_genes` wrote.

    Parameters
    ----------
    plan
        The plan that config.json has.

    Raises
    ------
    UnfinishedRun
        If they are missing or damaged.
    """
    raw = location.read(_name(plan)) or b""
    try:
        data = json.loads(raw)
        stored = None if checksum_error(raw, data) else _Stored.from_json(data)
    except (RecursionError, TypeError, ValueError):
        stored = None
    if stored is None:
        msg = (
            f"{location}: the genes of the plan are not there; run `slaf plan` again with the same "
            "inputs and options, which keeps the parts that are done"
        )
        raise UnfinishedRun(msg)
    return PlannedGenes(_array(stored.genes), _array(stored.raw_genes), stored.raw_present)


def _array(ids: tuple[str, ...] | None) -> pa.Array | None:
    return None if ids is None else pa.array(ids, pa.string())


def _name(plan: Plan) -> str:
    return f"{plan.journal}/genes.json"
