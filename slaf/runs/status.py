"""The progress of a run at an output."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from slaf.errors import NotADataset
from slaf.format.config import CONFIG, Manifest, load
from slaf.format.schema import CELL_ORDER, GENE_ORDER
from slaf.runs.checkpoint import checkpoint_of
from slaf.runs.journal import Journal
from slaf.runtime.job_arrays import indices_text
from slaf.sources.samples import last_sheet
from slaf.storage.location import Location

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from slaf.format.config import DatasetConfig, SourceRecord
    from slaf.runs.checkpoint import Checkpoint
    from slaf.runs.plan import Plan

__all__ = ["ConversionStatus", "State", "status"]


class State(StrEnum):
    """The state of a run."""

    FINISHED = "finished"
    """There is a dataset, and nothing is unfinished."""

    RUNNING = "running"
    """A process is writing."""

    STOPPED = "stopped"
    """No process is writing; the same command continues the run."""

    PLANNED = "planned"
    """`slaf plan` began it; any process encodes its parts, and `slaf publish` ends it."""


@dataclass(frozen=True, slots=True)
class ConversionStatus:
    """The state and progress of a run.

    Attributes
    ----------
    place
        The output.
    state
        Whether it is finished, running, stopped or planned.
    published
        Whether there is a dataset to read, also one that is being replaced.
    parts_done, parts
        The units of work and of resuming. Of a finished conversion both are 0: it is no longer
        in parts.
    cells_done, n_cells, n_genes
        Cells on disk, those that the run writes in all, and the genes of the whole.
    nonzeros_done
        Rows of `expression` on disk.
    sources
        The inputs of the run, or of the dataset; none while a process is about to begin.
    operation
        "convert", "append", "transform", "annotate", "remove", "repair" or "compact".
    options
        The options of the unfinished run, those of samples where they are not those of the dataset;
        empty when it is finished.
    genes_done
        Genes whose nonzeros are on disk in gene order, with the option `by_gene`.
    tables
        The tables of the published dataset.
    missing
        The parts that are not done, by their indices, like "3,7-9"; "" for none.
    refused
        The receipts that count for nothing, and why.
    """

    place: str
    state: State
    published: bool
    parts_done: int = 0
    parts: int = 0
    cells_done: int = 0
    n_cells: int = 0
    n_genes: int = 0
    nonzeros_done: int = 0
    sources: tuple[SourceRecord, ...] = ()
    operation: str = "convert"
    options: Mapping[str, Any] | None = None
    genes_done: int = 0
    tables: tuple[str, ...] = ()
    missing: str = ""
    refused: Mapping[str, str] | None = None

    def to_json(self) -> dict[str, Any]:
        """As `slaf status --json` prints it."""
        data: dict[str, Any] = to_builtins(self)
        return data


def status(
    output: str | os.PathLike[str] | Location,
    *,
    storage_options: Mapping[str, str] | None = None,
) -> ConversionStatus:
    """How far the conversion to this output is; reads config.json and the receipts of the parts.

    Raises
    ------
    NotADataset
        If nothing was begun there.
    DamagedDataset
        If its config.json is not what this program writes, or the run is of another release.
    """
    location = Location.of(output, storage_options)
    manifest, running = load(location) or Manifest(), location.is_locked()
    checkpoint = checkpoint_of(location, manifest)
    if manifest.published is not None and (checkpoint is None or checkpoint.published):
        return _of_published(location, manifest.published, running=running)
    if checkpoint is not None:
        state = State.STOPPED if checkpoint.directory is None else State.PLANNED
        state = State.RUNNING if running else state
        return _of_run(location, manifest, checkpoint, state)
    if running:
        return ConversionStatus(str(location), State.RUNNING, published=False)
    msg = f"{location}: there is neither a dataset nor an unfinished conversion (no {CONFIG})"
    raise NotADataset(msg)


def _of_published(
    location: Location, published: DatasetConfig, *, running: bool
) -> ConversionStatus:
    return ConversionStatus(
        str(location),
        State.RUNNING if running else State.FINISHED,
        published=True,
        cells_done=published.n_cells,
        n_cells=published.n_cells,
        n_genes=published.n_genes,
        nonzeros_done=published.expression_count,
        sources=published.sources,
        tables=tuple(published.tables),
    )


def _of_run(
    location: Location, manifest: Manifest, checkpoint: Checkpoint, state: State
) -> ConversionStatus:
    plan, previous = checkpoint.plan, manifest.published
    journal = Journal.read(location, checkpoint)
    cells_done, nonzeros_done = journal.covered()
    return ConversionStatus(
        str(location),
        state,
        published=previous is not None,
        parts_done=len(journal.parts[CELL_ORDER.name]),
        parts=len(plan.parts),
        cells_done=cells_done,
        n_cells=plan.cells_to_write,
        n_genes=plan.n_genes,
        nonzeros_done=nonzeros_done,
        # An append is of the inputs that it adds.
        sources=plan.added if plan.operation == "append" else plan.sources,
        operation="transform" if plan.transforms and plan.base is None else plan.operation,
        options=plan.options.to_json() | _sample_options(plan),
        genes_done=sum(len(part.rows) for part in journal.parts[GENE_ORDER.name].values()),
        tables=() if previous is None else tuple(previous.tables),
        missing=indices_text(journal.missing()),
        refused=journal.refused,
    )


def _sample_options(plan: Plan) -> dict[str, Any]:
    """The options of samples that differ from what the run takes without them."""
    earlier = plan.sources[: len(plan.sources) - len(plan.added)]
    prefixed, was_prefixed = (any(s.prefix for s in some) for some in (plan.added, earlier))
    sheet, last = (last_sheet(some) for some in (plan.added, earlier))
    return {
        "cell_id_prefix": None if prefixed == was_prefixed else prefixed,
        "samples": None if sheet == last else sheet or "none",
    }
