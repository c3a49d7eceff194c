"""What stands beside the matrix of the inputs, read as it will be stored."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import xxhash

from slaf.annotations.arrays import PAIR_COLUMNS, arrays_to_columns, pairs_to_table
from slaf.annotations.columns import to_lance
from slaf.annotations.uns import as_json, write_elements
from slaf.dataset.annotations import Annotations
from slaf.errors import InputError
from slaf.format.config import DatasetConfig, table_paths
from slaf.format.digests import BlockDigest
from slaf.format.records import (
    RAW_VARM,
    AnnotationsRecord,
    Block,
    FileRecord,
    LayersRecord,
    MatrixRecord,
    RawRecord,
    SlotRecord,
    is_uns_file,
)
from slaf.format.schema import (
    CELL_COLUMNS,
    CELL_PAIRS,
    GENE_COLUMNS,
    GENE_PAIRS,
    LAYERS,
    RAW_GENES,
    read_dtype,
)
from slaf.runs.row_offsets import layer_results
from slaf.tables.commit import append, commit, keep_version
from slaf.tables.write import write_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from slaf.annotations.arrays import ElementSpec
    from slaf.annotations.columns import ColumnSet
    from slaf.runs.checkpoint import Checkpoint
    from slaf.runs.layers import LayerTable
    from slaf.sources.concat.genes import Ranges
    from slaf.sources.concat.source import Concat
    from slaf.storage.location import Location

__all__ = [
    "UNS_JSON",
    "EncodedAnnotations",
    "commit_layers",
    "encode_annotations",
    "remove_leftovers",
    "uns_files",
    "write_annotations",
    "write_uns_json",
]


# A file of elements, and its content.
File = tuple[FileRecord, bytes]


@dataclass(frozen=True, slots=True)
class EncodedAnnotations:
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
    forms: Mapping[str, tuple[ElementSpec, ...]]
    raw_columns: ColumnSet | None = None
    files: Mapping[str, File] = field(default_factory=dict)
    unses: tuple[File | None, ...] = ()
    measured: tuple[Ranges, ...] = ()

    @property
    def nbytes(self) -> int:
        """The memory that all of it takes."""
        files = [*self.files.values(), *filter(None, self.unses)]
        stored = [*self.cells.values(), *self.genes.values(), *self.tables.values()]
        return int(sum(one.nbytes for one in stored) + sum(len(content) for _, content in files))


@dataclass(frozen=True, slots=True)
class _Slot:
    """What becomes of the elements of a slot: columns of a table, a table of pairs, and the rest.

    Attributes
    ----------
    forms
        What the elements were.
    left
        Those that no table holds.
    columns
        Of a slot of arrays, those that stand in the table of its axis.
    pairs
        Of a slot of pairs, the table; None if it would hold nothing.
    """

    forms: list[ElementSpec]
    left: Mapping[str, Any]
    columns: Mapping[str, pa.Array] = field(default_factory=dict)
    pairs: pa.Table | None = None


@dataclass(frozen=True, slots=True)
class _Raw:
    """What becomes of the genes of raw."""

    genes: pa.Table
    columns: ColumnSet
    varm: _Slot
    measured: tuple[Ranges, ...]


def encode_annotations(source: Concat, cells: pa.Table, genes: pa.Table) -> EncodedAnnotations:
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
    found = {
        "obsm": _read_arrays(source, "obsm", slots.obsm, cells, CELL_COLUMNS),
        "varm": _read_arrays(source, "varm", slots.varm, genes, GENE_COLUMNS),
        "obsp": _read_pairs(source, "obsp", slots.obsp, CELL_PAIRS, source.n_cells),
        "varp": _read_pairs(source, "varp", slots.varp, GENE_PAIRS, source.n_genes),
    }
    tables = {CELL_PAIRS: found["obsp"].pairs, GENE_PAIRS: found["varp"].pairs}
    raw = _read_raw(source)
    if raw is not None:
        found[RAW_VARM] = raw.varm
        tables[RAW_GENES] = raw.genes
    files, unses = _pack(source, {slot: dict(one.left) for slot, one in found.items() if one.left})
    return EncodedAnnotations(
        found["obsm"].columns,
        found["varm"].columns,
        {name: table for name, table in tables.items() if table is not None},
        {slot: tuple(one.forms) for slot, one in found.items() if one.forms},
        None if raw is None else raw.columns,
        files,
        unses,
        () if raw is None else raw.measured,
    )


def _read_arrays(
    source: Concat, slot: str, elements: Mapping[str, Any], table: pa.Table, taken: tuple[str, ...]
) -> _Slot:
    """Read a slot of arrays with a row for each row of a table, which has columns of its own."""
    with _naming("varm of raw" if slot == RAW_VARM else slot, source):
        columns, forms = arrays_to_columns(
            elements,
            table.num_rows,
            (*taken, *table.column_names),
            partial(source.missing, slot),
        )
    return _Slot(forms, _not_stored(elements, forms), columns=columns)


def _read_pairs(
    source: Concat, slot: str, elements: Mapping[str, Any], table: str, n: int
) -> _Slot:
    """Read a slot of matrices of all pairs of `n` cells or genes."""
    with _naming(slot, source):
        pairs, forms = pairs_to_table(elements, n, PAIR_COLUMNS[table])
    return _Slot(forms, _not_stored(elements, forms), pairs=pairs)


def _read_raw(source: Concat) -> _Raw | None:
    """Read the genes of raw, and what stands beside them; None without raw."""
    raw = source.raw()
    if raw is None:
        return None
    genes, columns = to_lance(raw.genes, GENE_COLUMNS)
    varm = _read_arrays(source, RAW_VARM, raw.varm, genes, GENE_COLUMNS)
    ids = pa.array(np.arange(genes.num_rows, dtype=np.uint32))
    genes = genes.add_column(1, "gene_integer_id", ids)
    for name, values in varm.columns.items():
        genes = genes.append_column(name, values)
    return _Raw(genes, columns, varm, raw.measured)


def _pack(
    source: Concat, left: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, File], tuple[File | None, ...]]:
    """The files of uns and of the elements that no table holds; and of several inputs their uns."""
    files: dict[str, File] = {}
    with _naming("what no table holds", source):
        # Read once, both for one of all and to be kept as they are.
        unses = source.unses()
        uns = dict(source.merged(unses))
        if uns:
            files["uns"] = _file("uns", {"uns": uns})
        if left:
            files["elements"] = _file("elements", left)
        if len(source.records) == 1:
            return files, ()
        return files, tuple(_file("uns", {"uns": dict(one)}) if one else None for one in unses)


def _file(key: str, content: Mapping[str, Any]) -> File:
    data, notes = write_elements(content)
    digest = xxhash.xxh3_128(data).hexdigest()
    return FileRecord(f"{key}-{digest}.h5", len(data), digest, tuple(notes)), data


def _not_stored(elements: Mapping[str, Any], forms: list[ElementSpec]) -> dict[str, Any]:
    return {form.key: elements[form.key] for form in forms if form.name is None}


@contextmanager
def _naming(slot: str, source: Concat) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        error.add_note(f"in {slot} of {source.uri}")
        raise


UNS_JSON = "uns.json"


def commit_layers(location: Location, checkpoint: Checkpoint) -> dict[str, int]:
    """Commit the tables that were written part by part; their versions."""
    plan = checkpoint.plan
    versions = {}
    for companion in plan.companions:
        table, name = companion.table, plan.folder(companion.table)
        fragments = [
            fragment
            for result in layer_results(checkpoint, table)
            for fragment in result.companions[table].fragments
        ]
        if plan.base is None or not plan.adds_to(table):
            versions[table] = commit(location, name, companion.schema(plan.options), fragments)
        elif fragments:
            before = plan.base.versions[table]
            versions[table] = append(location, name, fragments, before, plan.run_id)
        else:
            versions[table] = keep_version(location, name, plan.base.versions[table])
    return versions


def write_annotations(
    location: Location,
    checkpoint: Checkpoint,
    kept: EncodedAnnotations,
    before: DatasetConfig | None,
    starts: Mapping[str, NDArray[np.int64]],
) -> tuple[dict[str, int], AnnotationsRecord]:
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
        As `slaf.runs.row_offsets.all_row_offsets` gives them.
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
    unses = tuple(one and one[0] for one in kept.unses)
    return versions, AnnotationsRecord(
        taken=plan.options.taking.to_record(),
        layers=layers,
        raw=raw,
        unses=unses if any(unses) else (),
        uns=records.get("uns"),
        elements=records.get("elements"),
        **{slot: SlotRecord(forms) for slot, forms in kept.forms.items() if slot != RAW_VARM},
    )


def write_uns_json(location: Location, published: DatasetConfig) -> None:
    """Put uns as JSON beside the file that a dataset has it in, or remove an older one."""
    if published.annotations.uns is None:
        location.remove(UNS_JSON)
        return
    content = as_json(Annotations(location, published).uns)
    if location.read(UNS_JSON) != content:
        location.put(UNS_JSON, content)


def remove_leftovers(location: Location, published: DatasetConfig) -> None:
    """Remove the tables and files that are of another dataset than this one."""
    for name, directory in table_paths(published.tables).items():
        if name not in published.tables:
            location.remove(directory)
    named = {record.file for record in published.annotations.files}
    for file in uns_files(location):
        if file not in named:
            location.remove(file)


def uns_files(location: Location) -> list[str]:
    """The files of elements that are there."""
    if not location.exists():
        return []
    return [name for name in location.list(".") if is_uns_file(name)]


def _matrices(
    checkpoint: Checkpoint, companion: LayerTable, before: DatasetConfig | None
) -> tuple[MatrixRecord, ...]:
    plan, table = checkpoint.plan, companion.table
    results = [result.companions[table] for result in layer_results(checkpoint, table)]
    there = {}
    if before is not None and plan.base is not None:
        there = {one.original: one for one in before.annotations.matrices().get(table, ())}
    made = []
    for values in companion.values:
        blocks = [block for result in results for block in result.blocks[values.name]]
        known = there.get(values.original)
        dtype_overflowed = any(values.name in result.dtype_overflowed for result in results)
        if plan.adds_to(table) and known is not None:
            blocks = [*known.blocks, *blocks]
        elif before is not None and plan.base is not None and table not in plan.rewrites:
            blocks = [*map(_empty, before.blocks), *blocks]
        if known is not None and plan.base is not None:
            several = plan.base.n_sources > 1
            own = _read_dtype(known.source_dtype, known.value_type, several=several)
            dtype_overflowed |= known.dtype != own
        dtype = _read_dtype(values.dtype, values.value_type, several=len(plan.sources) > 1)
        made.append(
            MatrixRecord(
                name=values.name,
                original=values.original,
                dtype=values.value_type if dtype_overflowed else dtype,
                source_dtype=values.dtype,
                value_type=values.value_type,
                blocks=tuple(blocks),
            )
        )
    return tuple(made)


def _read_dtype(dtype: str, value_type: str, *, several: bool) -> str:
    # Of several inputs one may have whole numbers that the common type of all does not hold.
    wide = several and value_type == "int64" and np.dtype(dtype).kind == "f"
    return read_dtype(dtype, value_type, dtype_overflowed=wide)


def _empty(block: Block) -> Block:
    """What a block of cells is that have no values."""
    digest = BlockDigest()
    digest.add_lengths(np.zeros(block.stop - block.start, np.int64))
    return Block(block.span, 0, digest.hexdigest())
