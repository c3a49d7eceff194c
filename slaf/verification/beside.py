"""Check what a dataset has beside its matrix: layers, raw, obsm, varm, obsp, varp, uns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from slaf.arrays import RowRange, as_float64
from slaf.beside import SLOTS
from slaf.digest import BlockDigest
from slaf.equality import same
from slaf.manifest import COMPANIONS
from slaf.schema import LAYERS, RAW, RAW_GENES
from slaf.tables.read import scan
from slaf.verification.digests import same_values
from slaf.verification.report import SHOWN_OF_A_KIND

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from slaf.arrays import Batch
    from slaf.beside import MatrixRecord
    from slaf.dataset import Dataset
    from slaf.sources import Source
    from slaf.sources.base import Matrix
    from slaf.verification.report import Findings

__all__ = [
    "check_beside",
    "check_beside_digests",
    "check_beside_readable",
    "check_matrices_against",
    "check_slots_against",
]

_ENTRY_COLUMNS = ("cell_integer_id", "gene_integer_id")


@dataclass(frozen=True, slots=True)
class _Companion:
    """A table of further matrices: its columns of values, and where each cell's rows begin."""

    dataset: Dataset
    table: str
    matrices: Sequence[MatrixRecord]
    offsets: NDArray[np.int64]


def check_beside(dataset: Dataset, findings: Findings) -> None:
    """Check rows, offsets and blocks of the tables beside `expression`, without their values.

    Parameters
    ----------
    dataset
        Any published dataset.
    findings
        Takes what contradicts.
    """
    with findings.reading("what is beside the matrix"):
        beside = dataset.held.beside
        expected = {LAYERS: beside.layers is not None, RAW: beside.raw is not None}
        expected[RAW_GENES] = expected[RAW]
        for name, wanted in expected.items():
            findings.compare("config", f"table {name}", wanted, name in dataset.published.tables)
        for name in COMPANIONS:
            if name in dataset.published.tables and not findings.of("config"):
                dataset.table(name).count_rows()
        if findings.of("config"):
            return
        for companion in _companions(dataset):
            rows = dataset.table(companion.table).count_rows()
            where = f"rows of {companion.table}"
            findings.compare("config", where, int(companion.offsets[-1]), rows)
            _check_offsets(companion, findings)
            _check_blocks(companion, findings)
        if beside.raw is not None:
            found = dataset.table(RAW_GENES).count_rows()
            findings.compare("config", f"rows of {RAW_GENES}", beside.raw.n_genes, found)


def check_beside_digests(dataset: Dataset, findings: Findings, chosen: Sequence[int]) -> None:
    """Read blocks of the layers and of raw, and compare the digest of each.

    Parameters
    ----------
    dataset
        Whose offsets and blocks are known to be right.
    findings
        Takes the blocks that differ.
    chosen
        The positions of the blocks to read.
    """
    for companion in _companions(dataset):
        for at in chosen:
            block = dataset.published.blocks[at]
            with findings.reading(f"{companion.table}, {block}"):
                found = _digests(companion, RowRange(block.start, block.stop), findings)
                for matrix, digest in zip(companion.matrices, found, strict=True):
                    where = f"{companion.table}, {matrix.original}, {block}"
                    findings.compare("digest", where, matrix.blocks[at].digest, digest)


def check_beside_readable(dataset: Dataset, findings: Findings) -> None:
    """Read every element of the slots, and hold the files against their digests."""
    beside = dataset.held.beside
    for record in (beside.uns, beside.elements):
        if record is None:
            continue
        content = dataset.location.read(record.file)
        if content is None:
            findings.note("unreadable", record.file, "a file", "nothing")
        else:
            found = xxhash.xxh3_128(content).hexdigest()
            findings.compare("digest", record.file, record.digest, found)
    if findings.of("unreadable", "digest"):
        return
    for slot in SLOTS:
        elements = dataset.held.slot(slot)
        for key in elements:
            with findings.reading(f"{slot} {key!r}"):
                elements[key]
    if dataset.raw is not None:
        with findings.reading(RAW_GENES):
            _ = dataset.raw.var, dict(dataset.raw.varm)
    with findings.reading("uns"):
        _ = dataset.uns


def check_matrices_against(dataset: Dataset, source: Source, findings: Findings) -> None:
    """Compare every value of the layers and of raw with the source's.

    Parameters
    ----------
    dataset
        Whose offsets and blocks are known to be right.
    source
        Opened at the matrix that was converted.
    findings
        Takes the differences.
    """
    taken = dataset.held.beside.taken or {}
    if taken.get("layers") == "all":
        findings.compare("layers", "names", sorted(source.layers()), sorted(dataset.layers))
    if taken.get("raw"):
        findings.compare("raw", "there", source.raw() is not None, dataset.raw is not None)
    for companion in _companions(dataset):
        matrices = _of_source(source, companion.table)
        for record in companion.matrices:
            where = f"{companion.table}, {record.original}"
            if record.original not in matrices:
                findings.note("layers", where, "nothing", "a matrix")
                continue
            matrix = matrices[record.original]
            findings.compare("type", f"of {where}", str(matrix.dtype), record.source_dtype)
            for block in dataset.published.blocks:
                with findings.reading(f"{where}, {block}"):
                    for batch in matrix.batches(RowRange(block.start, block.stop)):
                        _compare(companion, record, batch, findings)


def check_slots_against(dataset: Dataset, source: Source, findings: Findings) -> None:
    """Compare every element of obsm, varm, obsp, varp, uns and raw's varm with the source's."""
    if dataset.held.beside.taken is None:
        return
    slots, raw = source.slots(), source.raw()
    pairs: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = [
        (slot, getattr(slots, slot), dataset.held.slot(slot)) for slot in SLOTS
    ]
    with findings.reading("uns"):
        pairs.append(("uns", slots.uns, dataset.uns))
    if raw is not None and dataset.raw is not None:
        pairs.append(("varm of raw", raw.varm, dataset.raw.varm))
    for slot, expected, found in pairs:
        findings.compare("slots", f"names in {slot}", sorted(expected), sorted(found))
        for key in expected:
            if key not in found:
                continue
            with findings.reading(f"{slot} {key!r}"):
                theirs = found[key]
                if not same(expected[key], theirs):
                    findings.note("slots", f"{slot} {key!r}", _told(expected[key]), _told(theirs))


def _companions(dataset: Dataset) -> Iterator[_Companion]:
    held = dataset.held
    if held.beside.layers is not None:
        yield _Companion(dataset, LAYERS, held.beside.layers.matrices, held.layer_offsets)
    if held.beside.raw is not None:
        yield _Companion(dataset, RAW, (held.beside.raw.matrix,), held.raw_offsets)


def _of_source(source: Source, table: str) -> Mapping[str, Matrix]:
    if table == LAYERS:
        return source.layers()
    raw = source.raw()
    return {} if raw is None else {RAW: raw.matrix}


def _check_offsets(companion: _Companion, findings: Findings) -> None:
    name, offsets = f"{companion.table}_start_index", companion.offsets
    findings.compare("offsets", f"{name} of the first cell", 0, int(offsets[0]))
    for cell in np.flatnonzero(np.diff(offsets) < 0)[:SHOWN_OF_A_KIND]:
        findings.note(
            "offsets", f"{name} after cell {cell}", f"≥ {offsets[cell]}", offsets[cell + 1]
        )


def _check_blocks(companion: _Companion, findings: Findings) -> None:
    blocks = companion.dataset.published.blocks
    expected = [(block.start, block.stop) for block in blocks]
    for matrix in companion.matrices:
        found = [(block.start, block.stop) for block in matrix.blocks]
        where = f"blocks of {companion.table}, {matrix.original}"
        findings.compare("config", where, expected, found)


def _digests(companion: _Companion, cells: RowRange, findings: Findings) -> list[str]:
    """Of each column of values, the digest of some cells."""
    names = [matrix.name for matrix in companion.matrices]
    digests = [BlockDigest() for _ in names]
    lengths = [np.zeros(len(cells), np.int64) for _ in names]
    starts = companion.offsets[cells.start : cells.stop + 1]
    owners, at = np.repeat(np.arange(len(cells)), np.diff(starts)), 0
    for ids, genes, columns in _rows(companion, names, cells):
        owned = owners[at : at + len(ids)]
        for row in np.flatnonzero(ids != owned + cells.start)[:SHOWN_OF_A_KIND]:
            where = f"cell_integer_id of row {int(starts[0]) + at + row} of {companion.table}"
            findings.note("order", where, owned[row] + cells.start, ids[row])
        for column, (valid, values) in enumerate(columns):
            lengths[column] += np.bincount(owned[valid], minlength=len(cells))
            digests[column].add_entries(genes[valid], as_float64(values))
        at += len(ids)
    for digest, counts in zip(digests, lengths, strict=True):
        digest.add_lengths(counts)
    return [digest.hexdigest() for digest in digests]


def _rows(
    companion: _Companion, names: Sequence[str], cells: RowRange
) -> Iterator[tuple[NDArray[Any], NDArray[Any], list[tuple[NDArray[np.bool_], NDArray[Any]]]]]:
    """Cell ids, gene ids, and of each column which rows have a value, and the values."""
    rows = RowRange(int(companion.offsets[cells.start]), int(companion.offsets[cells.stop]))
    table = companion.dataset.table(companion.table)
    for batch in scan(table, rows, (*_ENTRY_COLUMNS, *names)):
        ids, genes, *values = batch.columns
        found = [
            (
                column.is_valid().to_numpy(zero_copy_only=False),
                column.drop_null().to_numpy(zero_copy_only=False),
            )
            for column in values
        ]
        yield ids.to_numpy(), genes.to_numpy(), found


def _compare(companion: _Companion, record: MatrixRecord, batch: Batch, findings: Findings) -> None:
    pieces = [
        (ids[valid], genes[valid], values)
        for ids, genes, [(valid, values)] in _rows(companion, [record.name], batch.rows)
    ]
    ids, genes, values = (
        np.concatenate([piece[at] for piece in pieces]) if pieces else np.empty(0, np.uint32)
        for at in range(3)
    )
    if (
        np.array_equal(batch.cells(), ids)
        and np.array_equal(batch.genes, genes)
        and same_values(batch.values, values)
    ):
        return
    expected = _entries(batch.cells(), batch.genes, batch.values)
    found = _entries(ids, genes, values)
    where, before = f"{companion.table}, {record.original}", findings.counts["value"]
    for place in sorted(expected.keys() | found.keys()):
        one, other = expected.get(place, 0), found.get(place, 0)
        if one != other and not (one != one and other != other):  # noqa: PLR0124 - NaN
            findings.note("value", f"{where}, cell {place[0]}, gene {place[1]}", one, other)
    # The same entries, then, in disorder, or one of them several times.
    if before == findings.counts["value"]:
        cells = f"cells {batch.rows.start} to {batch.rows.stop}"
        findings.note("order", f"{where}, {cells}", "ascending", "the same entries in disorder")


def _entries(
    cells: NDArray[Any], genes: NDArray[Any], values: NDArray[Any]
) -> dict[tuple[int, int], Any]:
    places = zip(cells.tolist(), genes.tolist(), strict=True)
    return dict(zip(places, values.tolist(), strict=True))


def _told(element: Any) -> str:
    shape, dtype = getattr(element, "shape", None), getattr(element, "dtype", None)
    about = [type(element).__name__, *(str(fact) for fact in (shape, dtype) if fact is not None)]
    return repr(element) if shape is None and np.isscalar(element) else " ".join(about)
