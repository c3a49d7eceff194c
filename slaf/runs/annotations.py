"""Annotations: obsm, varm, obsp, varp, uns and the genes of raw, encoded and written."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import xxhash

from slaf.annotations.arrays import arrays_to_columns, pairs_to_table
from slaf.annotations.columns import to_lance
from slaf.annotations.uns import write_elements
from slaf.errors import InputError
from slaf.format.digests import BlockDigest
from slaf.format.records import (
    AnnotationsRecord,
    Block,
    ContigRecord,
    CoverageRecord,
    FileRecord,
    LayersRecord,
    MatrixRecord,
    RawRecord,
    SlotRecord,
)
from slaf.format.schema import (
    CELL_COLUMNS,
    COUNTS,
    COVERAGE,
    GENE_COLUMNS,
    LAYERS,
    RAW,
    RAW_GENES,
    narrowest_count,
    pair_table,
    read_dtype,
)
from slaf.options import RAW_VARM

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from slaf.annotations.arrays import ElementSpec
    from slaf.annotations.columns import ColumnSet
    from slaf.annotations.lazy_table import AnyTable
    from slaf.runs.matrix_tables import MatrixTable, ValueColumn
    from slaf.runs.output_run import OutputRun
    from slaf.sources.concat.genes import Ranges
    from slaf.sources.concat.source import Concat
    from slaf.storage.location import Location

__all__ = [
    "EncodedAnnotations",
    "File",
    "elements_file",
    "encode_annotations",
    "put_files",
    "write_annotations",
]


# A file of elements, and its content.
File = tuple[FileRecord, bytes]


@dataclass(frozen=True, slots=True)
class EncodedAnnotations:
    """The annotations of the inputs, as they will be stored.

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
    uns_per_source
        Of several inputs, the file of the uns of each; None of one that has none.
    measured
        Of several inputs, the genes that the raw of each has.
    contigs
        The contigs of coverage.
    """

    cells: Mapping[str, pa.Array]
    genes: Mapping[str, pa.Array]
    tables: Mapping[str, pa.Table]
    forms: Mapping[str, tuple[ElementSpec, ...]]
    raw_columns: ColumnSet | None = None
    files: Mapping[str, File] = field(default_factory=dict)
    uns_per_source: tuple[File | None, ...] = ()
    measured: tuple[Ranges, ...] = ()
    contigs: tuple[tuple[str, int], ...] = ()

    @property
    def nbytes(self) -> int:
        """The memory that all of it takes."""
        files = [*self.files.values(), *filter(None, self.uns_per_source)]
        stored = [*self.cells.values(), *self.genes.values(), *self.tables.values()]
        return int(sum(one.nbytes for one in stored) + sum(len(content) for _, content in files))


@dataclass(frozen=True, slots=True)
class _Slot:
    """The elements of a slot: columns of a table, a table of pairs, and the rest.

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
    """The genes of raw, as they will be stored."""

    genes: pa.Table
    columns: ColumnSet
    varm: _Slot
    measured: tuple[Ranges, ...]


def encode_annotations(source: Concat, cells: pa.Table, genes: AnyTable) -> EncodedAnnotations:
    """Read the annotations of the inputs.

    Parameters
    ----------
    source
        All inputs.
    cells, genes
        The tables of cells and genes, with the user's columns.

    Raises
    ------
    InputError
        If an element cannot be stored exactly; the error names it.
    """
    slots = source.slots()
    encoded = {
        "obsm": _read_arrays(source, "obsm", slots.obsm, cells, CELL_COLUMNS),
        "varm": _read_arrays(source, "varm", slots.varm, genes, GENE_COLUMNS),
        "obsp": _read_pairs(source, "obsp", slots.obsp, source.info.n_cells),
        "varp": _read_pairs(source, "varp", slots.varp, source.info.n_genes),
    }
    tables = {pair_table(slot).name: encoded[slot].pairs for slot in ("obsp", "varp")}
    raw = _read_raw(source)
    if raw is not None:
        encoded[RAW_VARM] = raw.varm
        tables[RAW_GENES] = raw.genes
    coverage = source.coverage()
    files, uns_per_source = _pack(
        source, {slot: dict(elements.left) for slot, elements in encoded.items() if elements.left}
    )
    return EncodedAnnotations(
        encoded["obsm"].columns,
        encoded["varm"].columns,
        {name: table for name, table in tables.items() if table is not None},
        {slot: tuple(elements.forms) for slot, elements in encoded.items() if elements.forms},
        None if raw is None else raw.columns,
        files,
        uns_per_source,
        () if raw is None else raw.measured,
        () if coverage is None else coverage.contigs,
    )


def _read_arrays(
    source: Concat, slot: str, elements: Mapping[str, Any], table: AnyTable, taken: tuple[str, ...]
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


def _read_pairs(source: Concat, slot: str, elements: Mapping[str, Any], n: int) -> _Slot:
    """Read a slot of matrices of all pairs of `n` cells or genes."""
    with _naming(slot, source):
        pairs, forms = pairs_to_table(elements, n, pair_table(slot).ids)
    return _Slot(forms, _not_stored(elements, forms), pairs=pairs)


def _read_raw(source: Concat) -> _Raw | None:
    """Read the genes of raw and their varm; None without raw."""
    raw = source.raw()
    if raw is None:
        return None
    genes, columns = to_lance(raw.genes, GENE_COLUMNS)
    varm = _read_arrays(source, RAW_VARM, raw.varm, genes, GENE_COLUMNS)
    ids = pa.array(np.arange(genes.num_rows, dtype=np.uint32))
    genes = genes.add_column(1, "gene_integer_id", ids)
    for name, values in varm.columns.items():
        genes = genes.append_column(name, values)
    return _Raw(genes, columns, varm, raw.genes_present)


def _pack(
    source: Concat, left: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, File], tuple[File | None, ...]]:
    """The files of uns and of elements that no table holds; with several inputs the uns of each."""
    files: dict[str, File] = {}
    with _naming("what no table holds", source):
        # Read once, for the merged uns and for the uns of each input.
        uns_per_source = source.uns_per_source()
        uns = dict(source.merge_uns(uns_per_source))
        if uns:
            files["uns"] = elements_file("uns", {"uns": uns})
        if left:
            files["elements"] = elements_file("elements", left)
        if len(source.records) == 1:
            return files, ()
        return files, tuple(
            elements_file("uns", {"uns": dict(one)}) if one else None for one in uns_per_source
        )


def elements_file(key: str, content: Mapping[str, Any]) -> File:
    """The record and the content of a file of elements, "uns" or "elements".

    Raises
    ------
    InputError
        If an element cannot be stored exactly; the error names it.
    """
    data, notes = write_elements(content)
    digest = xxhash.xxh3_128(data).hexdigest()
    return FileRecord(f"{key}-{digest}.h5", len(data), digest, tuple(notes)), data


def put_files(location: Location, files: Iterable[File]) -> None:
    """Write files of elements, but for those that are there: a bucket would give these new tags."""
    # Equal elements of several inputs are one file, whose name has the digest of its content.
    for file, content in {record.file: content for record, content in files}.items():
        if location.size_of(file) != len(content):
            location.put(file, content)


def _not_stored(elements: Mapping[str, Any], forms: list[ElementSpec]) -> dict[str, Any]:
    return {form.key: elements[form.key] for form in forms if form.name is None}


@contextmanager
def _naming(slot: str, source: Concat) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        error.add_note(f"in {slot} of {source.info.uri}")
        raise


def write_annotations(
    run: OutputRun, annotations: EncodedAnnotations, offsets: Mapping[str, NDArray[np.int64]]
) -> AnnotationsRecord:
    """Write the files of elements; the record of layers, raw and all annotations.

    Parameters
    ----------
    annotations
        The annotations.
    offsets
        The row offsets of the tables that are written in parts.
    """
    files = [*annotations.files.values(), *filter(None, annotations.uns_per_source)]
    put_files(run.location, files)
    layers, raw, coverage = None, None, None
    for table in run.plan.matrix_tables:
        rows = int(offsets[table.table][-1])
        if table.table == LAYERS:
            layers = LayersRecord(rows, _matrices(run, table))
        elif table.table == COVERAGE:
            contigs = tuple(ContigRecord(*contig) for contig in annotations.contigs)
            coverage = CoverageRecord(rows, contigs, _matrices(run, table))
        elif table.table == RAW and annotations.raw_columns is not None:
            raw = RawRecord(
                rows=rows,
                n_genes=table.n_genes,
                matrix=_matrices(run, table)[0],
                columns=annotations.raw_columns,
                varm=annotations.forms.get(RAW_VARM, ()),
                genes_present=annotations.measured,
            )
    records = {key: record for key, (record, _) in annotations.files.items()}
    uns_per_source = tuple(one and one[0] for one in annotations.uns_per_source)
    slots = {slot: SlotRecord(one) for slot, one in annotations.forms.items() if slot != RAW_VARM}
    return AnnotationsRecord(
        selection=run.plan.options.slots,
        layers=layers,
        raw=raw,
        coverage=coverage,
        uns_per_source=uns_per_source if any(uns_per_source) else (),
        uns=records.get("uns"),
        elements=records.get("elements"),
        **slots,
    )


def _matrices(run: OutputRun, table: MatrixTable) -> tuple[MatrixRecord, ...]:
    """The records of the value columns of a table."""
    recorded = {}
    if run.base is not None:
        matrices = run.base.annotations.matrices().get(table.table, ())
        recorded = {matrix.original: matrix for matrix in matrices}
    return tuple(
        MatrixRecord(
            name=column.name,
            original=column.original,
            dtype=_matrix_dtype(run, table.table, column, recorded.get(column.original)),
            source_dtype=column.dtype,
            value_type=column.value_type,
            blocks=_matrix_blocks(run, table.table, column, recorded.get(column.original)),
        )
        for column in table.values
    )


def _matrix_blocks(
    run: OutputRun, table: str, column: ValueColumn, recorded: MatrixRecord | None
) -> tuple[Block, ...]:
    """The blocks of all cells: those of the base have no values of a new matrix."""
    if run.base is None or table in run.plan.rewrites or recorded is not None:
        return run.blocks(table, column.name)
    return (*map(_empty, run.base.blocks), *run.blocks(table, column.name))


def _matrix_dtype(
    run: OutputRun, table: str, column: ValueColumn, recorded: MatrixRecord | None
) -> str:
    """The type that a matrix is read back in."""
    overflowed = any(column.name in result.dtype_overflowed for result in run.results(table))
    if recorded is not None and run.plan.base is not None:
        several = run.plan.base.n_sources > 1
        before = _read_dtype(recorded.source_dtype, recorded.value_type, several=several)
        overflowed |= recorded.dtype != before
    several = len(run.plan.sources) > 1
    dtype = _read_dtype(column.dtype, column.value_type, several=several)
    if not overflowed:
        return dtype
    beyond = any(column.name in result.beyond_uint16 for result in run.results(table))
    beyond |= recorded is not None and not np.can_cast(recorded.dtype, COUNTS[0])
    return narrowest_count(column.value_type, beyond_uint16=beyond)


def _read_dtype(dtype: str, value_type: str, *, several: bool) -> str:
    # Of several inputs one may have whole numbers that the common type of all does not hold.
    wide = several and value_type == "int64" and np.dtype(dtype).kind == "f"
    return read_dtype(dtype, value_type, dtype_overflowed=wide)


def _empty(block: Block) -> Block:
    """What a block of cells is that have no values."""
    digest = BlockDigest()
    digest.add_lengths(np.zeros(block.stop - block.start, np.int64))
    return Block(block.span, 0, digest.hexdigest())
