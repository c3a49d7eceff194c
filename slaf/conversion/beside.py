"""What stands beside the matrix of the inputs, read as it will be stored."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import xxhash

from slaf.beside import RAW_VARM, FileRecord
from slaf.columns import stored
from slaf.elements import PAIR_COLUMNS, from_arrays, from_pairs
from slaf.errors import InputError
from slaf.schema import CELL_COLUMNS, CELL_PAIRS, GENE_COLUMNS, GENE_PAIRS, RAW_GENES
from slaf.sidecar import pack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from slaf.columns import ColumnSet
    from slaf.elements import Form
    from slaf.sources import Concat
    from slaf.sources.alignment import Ranges

__all__ = ["Kept", "read_beside"]

# A file of elements, and its content.
File = tuple[FileRecord, bytes]


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

    forms: list[Form]
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
    return Kept(
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
        columns, forms = from_arrays(
            elements,
            table.num_rows,
            (*taken, *table.column_names),
            partial(source.missing, slot),
        )
    return _Slot(forms, _left(elements, forms), columns=columns)


def _read_pairs(
    source: Concat, slot: str, elements: Mapping[str, Any], table: str, n: int
) -> _Slot:
    """Read a slot of matrices of all pairs of `n` cells or genes."""
    with _naming(slot, source):
        pairs, forms = from_pairs(elements, n, PAIR_COLUMNS[table])
    return _Slot(forms, _left(elements, forms), pairs=pairs)


def _read_raw(source: Concat) -> _Raw | None:
    """Read the genes of raw, and what stands beside them; None without raw."""
    raw = source.raw()
    if raw is None:
        return None
    genes, columns = stored(raw.genes, GENE_COLUMNS)
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
    data, notes = pack(content)
    digest = xxhash.xxh3_128(data).hexdigest()
    return FileRecord(f"{key}-{digest}.h5", len(data), digest, tuple(notes)), data


def _left(elements: Mapping[str, Any], forms: list[Form]) -> dict[str, Any]:
    return {form.key: elements[form.key] for form in forms if form.name is None}


@contextmanager
def _naming(slot: str, source: Concat) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        error.add_note(f"in {slot} of {source.uri}")
        raise
