"""Compare what a dataset has beside its matrix with a source: layers, raw and every slot."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from slaf.format.schema import GENE_COLUMNS, GENES, LAYERS, RAW, RAW_GENES
from slaf.options import ALIGNED_SLOTS
from slaf.sparse.ranges import RowRange
from slaf.verification.against import cell_gene_label, compare_axis, compare_entries
from slaf.verification.elements import compare_elements, compare_names
from slaf.verification.rows import row_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from slaf.dataset.annotations import StoredRaw
    from slaf.dataset.dataset import Dataset
    from slaf.format.records import MatrixRecord
    from slaf.runtime.progress import Progress
    from slaf.sources.base import Matrix, Raw, Source
    from slaf.sparse.batch import Batch
    from slaf.verification.report import DifferenceLog
    from slaf.verification.rows import RowTable

__all__ = ["check_annotations_against"]

_NOTHING = "nothing"


def check_annotations_against(
    dataset: Dataset,
    source: Source,
    findings: DifferenceLog,
    seen: Progress,
    *,
    types: Callable[[Matrix, MatrixRecord], tuple[str, str]],
) -> None:
    """Compare the layers, raw and every slot; what differs is noted under the name of its slot.

    Parameters
    ----------
    dataset
        Whose offsets and blocks are known to be right.
    source
        Opened at the matrix to compare with that of the dataset, with what it should have beside.
    findings
        Takes the differences.
    seen
        Told of the cells compared, once for each table of matrices.
    types
        Of a matrix, the type that is expected and that which is there.
    """
    if (source.info.n_cells, source.info.n_genes) != dataset.shape:
        return
    raw: Raw | None = None
    with findings.reading("what is beside the matrix"):
        raw, layers = source.raw(), source.layers()
        matrices = {LAYERS: layers, RAW: {} if raw is None else {RAW: raw.matrix}}
        _check_layers(dataset, layers, findings)
        if _check_raw(dataset, raw, findings):
            matrices.pop(RAW)
        recorded = dataset.published.annotations.matrices()
        for companion in row_tables(dataset, matrices.keys() & recorded):
            wanted, records = matrices[companion.name], recorded[companion.name]
            pairs = [(one, wanted[one.original]) for one in records if one.original in wanted]
            _compare_values(companion, pairs, types, findings, seen)
    _check_slots(dataset, source, raw, findings)


def _check_layers(dataset: Dataset, wanted: Mapping[str, Matrix], findings: DifferenceLog) -> None:
    there = dataset.annotations.layers
    for name in wanted:
        if name not in there:
            findings.note(LAYERS, repr(name), f"a layer of {wanted[name].dtype}", _NOTHING)
    for name, record in there.items():
        if name not in wanted:
            findings.note(LAYERS, repr(name), _NOTHING, f"a layer of {record.dtype}")


def _check_raw(dataset: Dataset, wanted: Raw | None, findings: DifferenceLog) -> bool:
    """Compare whether there is a raw, and its genes; True if its values are not comparable."""
    there, record = dataset.raw, dataset.annotations.beside.raw
    if wanted is None or there is None or record is None:
        expected = None if wanted is None else wanted.matrix
        findings.compare(RAW, "raw", _told(expected), _told(there))
        return True
    if wanted.genes.num_rows != there.n_genes:
        findings.note(RAW, "number of genes", wanted.genes.num_rows, there.n_genes)
        return True
    with findings.reading(RAW_GENES):
        compare_axis(
            dataset, RAW_GENES, wanted.genes, GENE_COLUMNS, findings, described=record.columns
        )
    return False


def _compare_values(
    companion: RowTable,
    pairs: Sequence[tuple[MatrixRecord, Matrix]],
    types: Callable[[Matrix, MatrixRecord], tuple[str, str]],
    findings: DifferenceLog,
    seen: Progress,
) -> None:
    """Compare the matrices that both have, block by block."""
    for record, matrix in pairs:
        findings.compare("type", f"of {_title(companion, record)}", *types(matrix, record))
    for block in companion.blocks:
        nonzeros = 0
        for record, matrix in pairs:
            with findings.reading(f"{_title(companion, record)}, {block}"):
                for batch in matrix.batches(RowRange(block.start, block.stop)):
                    _compare(companion, record, batch, findings)
                    nonzeros += batch.nnz
        seen.advance(block.stop - block.start, nonzeros)


def _compare(
    companion: RowTable, record: MatrixRecord, batch: Batch, findings: DifferenceLog
) -> None:
    is_raw = companion.name == RAW
    compare_entries(
        companion.name,
        batch,
        companion.entries(batch.rows, record.name),
        partial(cell_gene_label, companion.dataset, genes=RAW_GENES if is_raw else GENES),
        findings,
        matrix="" if is_raw else f"{record.original!r}, ",
    )


def _check_slots(
    dataset: Dataset, source: Source, raw: Raw | None, findings: DifferenceLog
) -> None:
    """Compare every element of obsm, varm, obsp, varp, uns and raw's varm."""
    with findings.reading("uns"):
        slots = source.slots()
        pairs: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
            slot: (getattr(slots, slot), dataset.annotations.slot(slot)) for slot in ALIGNED_SLOTS
        }
        pairs["uns"] = slots.uns, dataset.uns
        if raw is not None and dataset.raw and raw.genes.num_rows == dataset.raw.n_genes:
            pairs["raw varm"] = raw.varm, dataset.raw.varm
        for slot, (expected, found) in pairs.items():
            for key in compare_names(slot, slot, expected, found, findings):
                with findings.reading(f"{slot}[{key!r}]"):
                    where = f"{slot}[{key!r}]"
                    compare_elements(slot, where, expected[key], found[key], findings)


def _told(raw: Matrix | StoredRaw | None) -> str:
    return _NOTHING if raw is None else f"{raw.shape[0]:,} cells × {raw.shape[1]:,} genes"


def _title(companion: RowTable, record: MatrixRecord) -> str:
    return RAW if companion.name == RAW else f"layer {record.original!r}"
