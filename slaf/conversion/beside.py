"""What stands beside the matrix, from the source to the dataset."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import xxhash

from slaf.beside import Beside, FileRecord, LayersRecord, MatrixRecord, RawRecord, is_sidecar
from slaf.columns import stored
from slaf.conversion.encode import part_counts
from slaf.elements import PAIR_COLUMNS, from_arrays, from_pairs
from slaf.errors import InputError
from slaf.held import Held
from slaf.manifest import COMPANIONS, Published
from slaf.readable import as_json
from slaf.schema import (
    CELL_COLUMNS,
    CELL_PAIRS,
    GENE_COLUMNS,
    GENE_PAIRS,
    LAYERS,
    RAW_GENES,
    given_back,
)
from slaf.sidecar import pack
from slaf.tables.write import commit, write_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from slaf.columns import ColumnSet
    from slaf.conversion.checkpoint import Checkpoint
    from slaf.conversion.companions import Companion
    from slaf.conversion.plan import Options, Plan
    from slaf.elements import Form
    from slaf.sources.base import Source
    from slaf.storage import Location

__all__ = [
    "UNS_JSON",
    "Kept",
    "commit_companions",
    "offsets_of",
    "read_beside",
    "remove_leftovers",
    "sidecars_of",
    "write_beside",
    "write_readable",
]

UNS_JSON = "uns.json"
_RAW_VARM = "raw_varm"


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
    """

    cells: Mapping[str, pa.Array]
    genes: Mapping[str, pa.Array]
    tables: Mapping[str, pa.Table]
    forms: Mapping[str, tuple[Form, ...]]
    raw_columns: ColumnSet | None = None
    files: Mapping[str, tuple[FileRecord, bytes]] = field(default_factory=dict)


def read_beside(source: Source, options: Options, cells: pa.Table, genes: pa.Table) -> Kept:
    """Read what stands beside the matrix of a source.

    Parameters
    ----------
    source
        The input.
    options
        Whether raw goes along.
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
                elements, table.num_rows, (*taken, *table.column_names)
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
    raw = source.raw() if options.raw else None
    raw_columns = None
    if raw is not None:
        table, raw_columns = stored(raw.genes, GENE_COLUMNS)
        with _naming("varm of raw", source):
            beside, forms[_RAW_VARM] = from_arrays(
                raw.varm, table.num_rows, (*GENE_COLUMNS, *table.column_names)
            )
        others[_RAW_VARM] = _left(raw.varm, forms[_RAW_VARM])
        ids = pa.array(np.arange(table.num_rows, dtype=np.uint32))
        table = table.add_column(1, "gene_integer_id", ids)
        for name, values in beside.items():
            table = table.append_column(name, values)
        tables[RAW_GENES] = table
    files = {}
    with _naming("what no table holds", source):
        for key, content in (
            ("uns", {"uns": dict(slots.uns)} if slots.uns else {}),
            ("elements", {slot: held for slot, held in others.items() if held}),
        ):
            if content:
                files[key] = _file(key, content)
    return Kept(
        columns["obsm"],
        columns["varm"],
        tables,
        {slot: tuple(found) for slot, found in forms.items() if found},
        raw_columns,
        files,
    )


def commit_companions(location: Location, checkpoint: Checkpoint) -> dict[str, int]:
    """Commit the tables that were written part by part; their versions."""
    plan = checkpoint.plan
    versions = {}
    for companion in plan.companions:
        results = [result.companions[companion.table] for result in checkpoint.results()]
        fragments = [fragment for result in results for fragment in result.fragments]
        name = COMPANIONS[companion.table]
        schema = companion.schema(plan.options)
        versions[companion.table] = commit(location, name, schema, fragments)
    return versions


def offsets_of(location: Location, checkpoint: Checkpoint, table: str) -> NDArray[np.int64]:
    """Where the rows of each cell begin in a table, and after the last, where they end."""
    counts = [part_counts(location, result.index, table) for result in checkpoint.results()]
    return np.cumsum(np.concatenate([np.zeros(1, np.int64), *counts]))


def write_beside(
    location: Location, checkpoint: Checkpoint, kept: Kept
) -> tuple[dict[str, int], Beside]:
    """Write the tables and files that are written whole; their versions, and the record of all."""
    versions = {
        name: write_table(location, COMPANIONS[name], table) for name, table in kept.tables.items()
    }
    for record, content in kept.files.values():
        location.put(record.file, content)
    forms = {slot: found for slot, found in kept.forms.items() if slot != _RAW_VARM}
    layers, raw = None, None
    for companion in checkpoint.plan.companions:
        rows = int(offsets_of(location, checkpoint, companion.table)[-1])
        matrices = _matrices(checkpoint, companion)
        if companion.table == LAYERS:
            layers = LayersRecord(rows, matrices)
        elif kept.raw_columns is not None:
            varm = kept.forms.get(_RAW_VARM, ())
            raw = RawRecord(rows, companion.n_genes, matrices[0], kept.raw_columns, varm)
    files = {key: record for key, (record, _) in kept.files.items()}
    taken = _taken(checkpoint.plan)
    return versions, Beside(layers, raw, forms, files.get("uns"), files.get("elements"), taken)


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
    for name, directory in COMPANIONS.items():
        if name not in published.tables:
            location.remove(directory)
    named = {
        record["file"]
        for key in ("uns", "elements")
        if (record := published.beside.get(key)) is not None
    }
    for file in sidecars_of(location):
        if file not in named:
            location.remove(file)


def sidecars_of(location: Location) -> list[str]:
    """The files of elements that are there."""
    if not location.exists():
        return []
    return [name for name in location.list(".") if is_sidecar(name)]


def _taken(plan: Plan) -> dict[str, Any] | None:
    """What was asked for; None where several inputs leave it all behind."""
    if len(plan.sources) > 1:
        return None
    layers = plan.options.layers
    return {"layers": layers if isinstance(layers, str) else list(layers), "raw": plan.options.raw}


def _matrices(checkpoint: Checkpoint, companion: Companion) -> tuple[MatrixRecord, ...]:
    results = [result.companions[companion.table] for result in checkpoint.results()]
    return tuple(
        MatrixRecord(
            name=values.name,
            original=values.original,
            dtype=given_back(
                values.dtype,
                values.value_type,
                outgrown=any(values.name in result.outgrown for result in results),
            ),
            source_dtype=values.dtype,
            value_type=values.value_type,
            blocks=tuple(block for result in results for block in result.blocks[values.name]),
        )
        for values in companion.values
    )


def _file(key: str, content: Mapping[str, Any]) -> tuple[FileRecord, bytes]:
    data, notes = pack(content)
    digest = xxhash.xxh3_128(data).hexdigest()
    return FileRecord(f"{key}-{digest}.h5", len(data), digest, tuple(notes)), data


def _left(elements: Mapping[str, Any], forms: list[Form]) -> dict[str, Any]:
    return {form.key: elements[form.key] for form in forms if form.name is None}
