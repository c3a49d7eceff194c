"""What stands beside the matrix, written: its tables, its files, and the record of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slaf.beside import (
    RAW_VARM,
    Beside,
    LayersRecord,
    MatrixRecord,
    RawRecord,
    beside_of,
    is_sidecar,
)
from slaf.conversion.offsets import results_of
from slaf.digest import BlockDigest
from slaf.held import Held
from slaf.manifest import Block, Published, folders
from slaf.readable import as_json
from slaf.schema import LAYERS, given_back
from slaf.tables.commit import append, commit, stay
from slaf.tables.write import write_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from slaf.conversion.beside import Kept
    from slaf.conversion.checkpoint import Checkpoint
    from slaf.conversion.companions import Companion
    from slaf.storage import Location

__all__ = [
    "UNS_JSON",
    "commit_companions",
    "remove_leftovers",
    "sidecars_of",
    "write_beside",
    "write_readable",
]

UNS_JSON = "uns.json"


def commit_companions(location: Location, checkpoint: Checkpoint) -> dict[str, int]:
    """Commit the tables that were written part by part; their versions."""
    plan = checkpoint.plan
    versions = {}
    for companion in plan.companions:
        table, name = companion.table, plan.folder(companion.table)
        fragments = [
            fragment
            for result in results_of(checkpoint, table)
            for fragment in result.companions[table].fragments
        ]
        if plan.base is None or not plan.adds_to(table):
            versions[table] = commit(location, name, companion.schema(plan.options), fragments)
        elif fragments:
            before = plan.base.versions[table]
            versions[table] = append(location, name, fragments, before, plan.run_id)
        else:
            versions[table] = stay(location, name, plan.base.versions[table])
    return versions


def write_beside(
    location: Location,
    checkpoint: Checkpoint,
    kept: Kept,
    before: Published | None,
    starts: Mapping[str, NDArray[np.int64]],
) -> tuple[dict[str, int], Beside]:
    """Write the tables and files that are written whole; their versions, and the record of all.

    Parameters
    ----------
    location, checkpoint
        The run.
    kept
        What stands beside the matrix.
    before
        What readers see until now.
    starts
        As `slaf.conversion.offsets.starts_of` gives them.
    """
    plan = checkpoint.plan
    versions = {
        name: write_table(location, plan.folder(name), table) for name, table in kept.tables.items()
    }
    # What several inputs have alike is one file.
    files = {record.file: content for record, content in filter(None, kept.unses)}
    files |= {record.file: content for record, content in kept.files.values()}
    for file, content in files.items():
        location.put(file, content)
    forms = {slot: found for slot, found in kept.forms.items() if slot != RAW_VARM}
    layers, raw = None, None
    for companion in plan.companions:
        rows = int(starts[companion.table][-1])
        matrices = _matrices(checkpoint, companion, before)
        if companion.table == LAYERS:
            layers = LayersRecord(rows, matrices)
        elif kept.raw_columns is not None:
            varm, measured = kept.forms.get(RAW_VARM, ()), kept.measured
            raw = RawRecord(rows, companion.n_genes, matrices[0], kept.raw_columns, varm, measured)
    records = {key: record for key, (record, _) in kept.files.items()}
    return versions, Beside(
        layers,
        raw,
        forms,
        records.get("uns"),
        records.get("elements"),
        plan.options.taking.to_json(),
        tuple(one and one[0] for one in kept.unses),
    )


def write_readable(location: Location, published: Published) -> None:
    """Put uns as JSON beside the file that a dataset has it in, or remove an older one."""
    if "uns" not in published.beside:
        location.remove(UNS_JSON)
        return
    content = as_json(Held(location, published).uns)
    if location.read(UNS_JSON) != content:
        location.put(UNS_JSON, content)


def remove_leftovers(location: Location, published: Published) -> None:
    """Remove the tables and files that are of another dataset than this one."""
    for name, directory in folders(published.tables).items():
        if name not in published.tables:
            location.remove(directory)
    named = {record.file for record in beside_of(published).files}
    for file in sidecars_of(location):
        if file not in named:
            location.remove(file)


def sidecars_of(location: Location) -> list[str]:
    """The files of elements that are there."""
    if not location.exists():
        return []
    return [name for name in location.list(".") if is_sidecar(name)]


def _matrices(
    checkpoint: Checkpoint, companion: Companion, before: Published | None
) -> tuple[MatrixRecord, ...]:
    plan, table = checkpoint.plan, companion.table
    results = [result.companions[table] for result in results_of(checkpoint, table)]
    there = {}
    if before is not None and plan.base is not None:
        there = {one.original: one for one in beside_of(before).matrices().get(table, ())}
    made = []
    for values in companion.values:
        blocks = [block for result in results for block in result.blocks[values.name]]
        known = there.get(values.original)
        outgrown = any(values.name in result.outgrown for result in results)
        if plan.adds_to(table) and known is not None:
            blocks = [*known.blocks, *blocks]
        elif before is not None and plan.base is not None and table not in plan.rewrites:
            blocks = [*map(_empty, before.blocks), *blocks]
        if known is not None and plan.base is not None:
            several = plan.base.n_sources > 1
            own = _given_back(known.source_dtype, known.value_type, several=several)
            outgrown |= known.dtype != own
        dtype = _given_back(values.dtype, values.value_type, several=len(plan.sources) > 1)
        made.append(
            MatrixRecord(
                name=values.name,
                original=values.original,
                dtype=values.value_type if outgrown else dtype,
                source_dtype=values.dtype,
                value_type=values.value_type,
                blocks=tuple(blocks),
            )
        )
    return tuple(made)


def _given_back(dtype: str, value_type: str, *, several: bool) -> str:
    # Of several inputs one may have whole numbers that the common type of all does not hold.
    wide = several and value_type == "int64" and np.dtype(dtype).kind == "f"
    return given_back(dtype, value_type, outgrown=wide)


def _empty(block: Block) -> Block:
    """What a block of cells is that have no values."""
    digest = BlockDigest()
    digest.add_lengths(np.zeros(block.stop - block.start, np.int64))
    return Block(block.start, block.stop, 0, digest.hexdigest())
