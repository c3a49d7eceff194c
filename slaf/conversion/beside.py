"""What stands beside the matrix, from the source to the dataset."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import xxhash

from slaf.beside import (
    RAW_VARM,
    Beside,
    FileRecord,
    LayersRecord,
    MatrixRecord,
    RawRecord,
    beside_of,
    is_sidecar,
)
from slaf.columns import stored
from slaf.conversion.encode import part_counts
from slaf.dataset import Dataset
from slaf.digest import BlockDigest
from slaf.elements import PAIR_COLUMNS, from_arrays, from_pairs
from slaf.errors import InputError
from slaf.held import Held
from slaf.manifest import Block, Published, folders
from slaf.readable import as_json
from slaf.schema import (
    CELL_COLUMNS,
    CELL_PAIRS,
    EXPRESSION,
    GENE_COLUMNS,
    GENE_PAIRS,
    LAYERS,
    RAW_GENES,
    given_back,
)
from slaf.sidecar import pack
from slaf.tables.commit import append, commit, stay
from slaf.tables.write import write_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from slaf.columns import ColumnSet
    from slaf.conversion.checkpoint import Checkpoint, PartResult
    from slaf.conversion.companions import Companion
    from slaf.elements import Form
    from slaf.sources import Concat
    from slaf.sources.alignment import Ranges
    from slaf.sources.base import Source
    from slaf.storage import Location

__all__ = [
    "UNS_JSON",
    "Kept",
    "blocks_of",
    "commit_companions",
    "offsets_of",
    "read_beside",
    "remove_leftovers",
    "results_of",
    "sidecars_of",
    "write_beside",
    "write_readable",
]

UNS_JSON = "uns.json"


@contextmanager
def _naming(slot: str, source: Source) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        error.add_note(f"in {slot} of {source.uri}")
        raise


@dataclass(frozen=True, slots=True)
class Kept:
    """What stands beside the matrix, as it will be stored.

    Attributes
    ----------
    cells, genes
        Columns that go behind those of the user.
    tables
        Whole tables by name.
    forms
        What the elements of each slot were; of raw's varm under "raw_varm".
    raw_columns
        What the columns of raw's genes were; None without raw.
    files
        The files by the key of config.json, "uns" and "elements", with their content.
    unses
        Of several inputs, the file of the uns of each; None of one that has none.
    measured
        Of several inputs, the genes that the raw of each has.
    """

    cells: Mapping[str, pa.Array]
    genes: Mapping[str, pa.Array]
    tables: Mapping[str, pa.Table]
    forms: Mapping[str, tuple[Form, ...]]
    raw_columns: ColumnSet | None = None
    files: Mapping[str, tuple[FileRecord, bytes]] = field(default_factory=dict)
    unses: tuple[tuple[FileRecord, bytes] | None, ...] = ()
    measured: tuple[Ranges, ...] = ()


def read_beside(source: Concat, cells: pa.Table, genes: pa.Table) -> Kept:
    """Read what stands beside the matrix of the inputs.

    Parameters
    ----------
    source
        All inputs.
    cells, genes
        The tables that it will stand in, with the user's columns.

    Raises
    ------
    InputError
        If something of it would not come back as it was; the error says what.
    """
    slots = source.slots()
    forms: dict[str, list[Form]] = {}
    others: dict[str, dict[str, Any]] = {}
    tables: dict[str, pa.Table] = {}
    columns: dict[str, dict[str, pa.Array]] = {}
    for slot, table, taken in (
        ("obsm", cells, CELL_COLUMNS),
        ("varm", genes, GENE_COLUMNS),
    ):
        elements = getattr(slots, slot)
        with _naming(slot, source):
            columns[slot], forms[slot] = from_arrays(
                elements,
                table.num_rows,
                (*taken, *table.column_names),
                partial(source.missing, slot),
            )
        others[slot] = _left(elements, forms[slot])
    for slot, name, n in (
        ("obsp", CELL_PAIRS, source.n_cells),
        ("varp", GENE_PAIRS, source.n_genes),
    ):
        elements = getattr(slots, slot)
        with _naming(slot, source):
            pairs, forms[slot] = from_pairs(elements, n, PAIR_COLUMNS[name])
        others[slot] = _left(elements, forms[slot])
        if pairs is not None:
            tables[name] = pairs
    raw = source.raw()
    raw_columns = None
    measured: tuple[Ranges, ...] = ()
    if raw is not None:
        measured = raw.measured
        table, raw_columns = stored(raw.genes, GENE_COLUMNS)
        with _naming("varm of raw", source):
            beside, forms[RAW_VARM] = from_arrays(
                raw.varm,
                table.num_rows,
                (*GENE_COLUMNS, *table.column_names),
                partial(source.missing, RAW_VARM),
            )
        others[RAW_VARM] = _left(raw.varm, forms[RAW_VARM])
        ids = pa.array(np.arange(table.num_rows, dtype=np.uint32))
        table = table.add_column(1, "gene_integer_id", ids)
        for name, values in beside.items():
            table = table.append_column(name, values)
        tables[RAW_GENES] = table
    files, of_each = {}, []
    with _naming("what no table holds", source):
        # Read once, both for one of all and to be kept as they are.
        unses = source.unses()
        uns = dict(source.merged(unses))
        for key, content in (
            ("uns", {"uns": uns} if uns else {}),
            ("elements", {slot: held for slot, held in others.items() if held}),
        ):
            if content:
                files[key] = _file(key, content)
        if len(source.records) > 1:
            of_each = [_file("uns", {"uns": dict(one)}) if one else None for one in unses]
    return Kept(
        columns["obsm"],
        columns["varm"],
        tables,
        {slot: tuple(found) for slot, found in forms.items() if found},
        raw_columns,
        files,
        tuple(of_each),
        measured,
    )


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


def results_of(checkpoint: Checkpoint, table: str) -> list[PartResult]:
    """The parts that have rows of a table, in order."""
    plan = checkpoint.plan
    return [result for result in checkpoint.results() if plan.writes(result.index, table)]


def offsets_of(
    location: Location, checkpoint: Checkpoint, table: str, before: Published | None
) -> NDArray[np.int64]:
    """Where the rows of each cell begin in a table, and after the last, where they end.

    Parameters
    ----------
    before
        What readers see until now: the rows that stay as they are.
    """
    plan = checkpoint.plan
    known = np.zeros(1, np.int64)
    if plan.base is not None and table not in plan.rewrites:
        known = np.zeros(plan.base.n_cells + 1, np.int64)
        if before is not None and plan.adds_to(table):
            known = Dataset(location, before).offsets(table)
    counts = [part_counts(location, r.index, table) for r in results_of(checkpoint, table)]
    ends = known[-1] + np.cumsum(np.concatenate([np.zeros(1, np.int64), *counts]))
    return np.append(known[:-1], ends)


def write_beside(
    location: Location, checkpoint: Checkpoint, kept: Kept, before: Published | None
) -> tuple[dict[str, int], Beside]:
    """Write the tables and files that are written whole; their versions, and the record of all."""
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
        rows = int(offsets_of(location, checkpoint, companion.table, before)[-1])
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


def blocks_of(published: Published | None) -> dict[str, tuple[Block, ...]]:
    """The blocks of a dataset by table, and column of values as in "layers.spliced"."""
    if published is None:
        return {}
    found = {EXPRESSION: published.blocks}
    for table, matrices in beside_of(published).matrices().items():
        found |= {f"{table}.{matrix.name}": matrix.blocks for matrix in matrices}
    return found


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


def _file(key: str, content: Mapping[str, Any]) -> tuple[FileRecord, bytes]:
    data, notes = pack(content)
    digest = xxhash.xxh3_128(data).hexdigest()
    return FileRecord(f"{key}-{digest}.h5", len(data), digest, tuple(notes)), data


def _left(elements: Mapping[str, Any], forms: list[Form]) -> dict[str, Any]:
    return {form.key: elements[form.key] for form in forms if form.name is None}
