"""How far a conversion is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from slaf.errors import DamagedDataset, NotADataset
from slaf.format.config import CONFIG, Manifest, SourceRecord, load
from slaf.format.records import Block
from slaf.sparse.ranges import RowRange
from slaf.storage.location import Location

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from slaf.format.config import DatasetConfig

__all__ = ["ConversionStatus", "State", "status"]


class State(StrEnum):
    """How far a conversion is."""

    FINISHED = "finished"
    """There is a dataset, and nothing is unfinished."""

    RUNNING = "running"
    """A process is writing."""

    STOPPED = "stopped"
    """No process is writing, and what it has done so far is kept for the same command."""


@dataclass(frozen=True, slots=True)
class ConversionStatus:
    """How far a conversion is.

    Attributes
    ----------
    place
        The output.
    state
        Whether it is finished, running or stopped.
    published
        Whether there is a dataset to read, be it an older one that is being replaced.
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
        "convert", "append", "repair" or "compact".
    options
        What the unfinished run was asked for; empty when it is finished.
    genes_done
        Genes whose nonzeros are on disk in their own order, if the run was asked for that.
    tables
        The tables of the dataset that is there to read.
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

    def to_json(self) -> dict[str, Any]:
        """As `slaf status --json` prints it."""
        data: dict[str, Any] = to_builtins(self)
        return data


def status(
    output: str | os.PathLike[str] | Location,
    *,
    storage_options: Mapping[str, str] | None = None,
) -> ConversionStatus:
    """How far the conversion to this output is; reads only config.json, and may be called often.

    Raises
    ------
    NotADataset
        If nothing was begun there.
    DamagedDataset
        If its config.json is not what this program writes.
    """
    location = Location.of(output, storage_options)
    manifest, running = load(location) or Manifest(), location.is_locked()
    published, checkpoint = manifest.published, manifest.checkpoint
    if published is not None and (checkpoint is None or checkpoint.get("published")):
        return _of_published(location, published, running=running)
    if checkpoint is not None:
        return _of_checkpoint(location, manifest, checkpoint, running=running)
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


def _of_checkpoint(
    location: Location, manifest: Manifest, checkpoint: Mapping[str, Any], *, running: bool
) -> ConversionStatus:
    try:
        plan = checkpoint["plan"]
        sources = tuple(map(SourceRecord.from_json, plan["sources"]))
        options, operation = plan["options"], plan["operation"]
        # A repair and a compaction are of those of the dataset.
        adds = plan["base"] and operation == "append"
        before = plan["base"]["n_sources"] if adds else 0
        n_cells = sum(stop - start for start, stop in plan["parts"])
        n_genes = plan["n_genes"]
        done = checkpoint["done"].values()
        blocks = [Block.from_json(block) for part in done for block in part["blocks"]]
        genes = [RowRange(*part["genes"]) for part in checkpoint.get("by_gene", ())]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        msg = f"{location}: the checkpoint in {CONFIG} is damaged ({error!r})"
        raise DamagedDataset(msg) from error
    parts_done, parts = manifest.progress()
    return ConversionStatus(
        str(location),
        State.RUNNING if running else State.STOPPED,
        published=manifest.published is not None,
        parts_done=parts_done,
        parts=parts,
        cells_done=sum(block.stop - block.start for block in blocks),
        n_cells=n_cells,
        n_genes=n_genes,
        nonzeros_done=sum(block.rows for block in blocks),
        sources=sources[before:],
        operation=operation,
        options=options,
        genes_done=sum(map(len, genes)),
        tables=() if manifest.published is None else tuple(manifest.published.tables),
    )
