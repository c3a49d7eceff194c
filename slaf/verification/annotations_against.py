"""Compare layers, raw, obsm, varm, obsp, varp and uns of a dataset with a source."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from slaf.format.schema import GENE_COLUMNS, GENES, LAYERS, RAW, RAW_GENES
from slaf.options import ALIGNED_SLOTS, LAYER
from slaf.runtime.lazy import LazyMapping
from slaf.sparse.ranges import RowRange
from slaf.verification.against import cell_gene_label, compare_axis, compare_entries
from slaf.verification.elements import ElementComparison
from slaf.verification.rows import row_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from slaf.dataset.annotations import StoredRaw
    from slaf.dataset.dataset import Dataset
    from slaf.format.records import MatrixRecord
    from slaf.runtime.progress import Progress
    from slaf.sources.base import Source
    from slaf.sources.contents import Raw
    from slaf.sources.matrix import Matrix
    from slaf.sparse.batch import Batch
    from slaf.verification.report import DifferenceLog
    from slaf.verification.rows import RowTable

__all__ = ["check_annotations_against"]

_NOTHING = "nothing"
T = TypeVar("T")

# Gives the expected and the actual type of a matrix.
MatrixTypes: TypeAlias = "Callable[[Matrix, MatrixRecord], tuple[str, str]]"


def check_annotations_against(
    dataset: Dataset,
    source: Source,
    differences: DifferenceLog,
    progress: Progress,
    *,
    types: MatrixTypes,
    ignored: Collection[str] = (),
) -> None:
    """Compare layers, raw and every slot; the kind of a difference is its slot.

    Parameters
    ----------
    dataset
        A dataset with correct offsets and blocks.
    source
        The source, opened at the matrix that is compared with X, with the expected slots.
    differences
        Collects differences.
    progress
        Advances by the cells compared, once for each table of layers or raw.
    types
        Gives the expected and the actual type of a matrix.
    ignored
        The names, "layer:NAME", "obsm:KEY", …, that are not compared.
    """
    if (source.info.n_cells, source.info.n_genes) != dataset.shape:
        return
    raw: Raw | None = None
    with differences.catching("layers, raw and annotations"):
        raw, layers = source.raw(), _without(source.layers(), LAYER, ignored)
        matrices: dict[str, Mapping[str, Matrix]] = {LAYERS: layers}
        _check_layer_names(
            layers, _without(dataset.annotations.layers, LAYER, ignored), differences
        )
        if _raw_is_comparable(dataset, raw, differences) and raw is not None:
            matrices[RAW] = {RAW: raw.matrix}
        recorded = dataset.published.annotations.matrices()
        for table in row_tables(dataset, matrices.keys() & recorded):
            expected, records = matrices[table.name], recorded[table.name]
            pairs = [(r, expected[r.original]) for r in records if r.original in expected]
            _compare_values(table, pairs, types, differences, progress)
    _check_slots(dataset, source, raw, differences, ignored)


def _without(elements: Mapping[str, T], kind: str, ignored: Collection[str]) -> Mapping[str, T]:
    """The elements whose names, as "obsm:KEY", are compared."""
    return LazyMapping(
        [key for key in elements if f"{kind}:{key}" not in ignored], elements.__getitem__
    )


def _check_layer_names(
    expected: Mapping[str, Matrix], stored: Mapping[str, MatrixRecord], differences: DifferenceLog
) -> None:
    for name in (name for name in expected if name not in stored):
        layer = f"a layer of {expected[name].dtype}"
        differences.note(LAYERS, repr(name), layer, _NOTHING)
    for name in (name for name in stored if name not in expected):
        differences.note(LAYERS, repr(name), _NOTHING, f"a layer of {stored[name].dtype}")


def _raw_is_comparable(dataset: Dataset, expected: Raw | None, differences: DifferenceLog) -> bool:
    """Compare presence and genes of raw; whether its values can be compared."""
    stored, record = dataset.stored_raw, dataset.annotations.record.raw
    if expected is None or stored is None or record is None:
        matrix = None if expected is None else expected.matrix
        differences.compare(RAW, "raw", _shape_text(matrix), _shape_text(stored))
        return False
    if expected.genes.num_rows != stored.n_genes:
        differences.note(RAW, "number of genes", expected.genes.num_rows, stored.n_genes)
        return False
    with differences.catching(RAW_GENES):
        compare_axis(
            dataset, RAW_GENES, expected.genes, GENE_COLUMNS, differences, columns=record.columns
        )
    return True


def _compare_values(
    table: RowTable,
    pairs: Sequence[tuple[MatrixRecord, Matrix]],
    types: MatrixTypes,
    differences: DifferenceLog,
    progress: Progress,
) -> None:
    """Compare matrices that dataset and source both have, block by block."""
    for record, matrix in pairs:
        differences.compare("type", f"of {_title(table, record)}", *types(matrix, record))
    for block in table.blocks:
        nonzeros = 0
        for record, matrix in pairs:
            with differences.catching(f"{_title(table, record)}, {block}"):
                for batch in matrix.batches(RowRange(block.start, block.stop)):
                    _compare_batch(table, record, batch, differences)
                    nonzeros += batch.nnz
        progress.advance(block.stop - block.start, nonzeros)


def _compare_batch(
    table: RowTable, record: MatrixRecord, batch: Batch, differences: DifferenceLog
) -> None:
    is_raw = table.name == RAW
    compare_entries(
        table.name,
        batch,
        table.entries(batch.rows, record.name),
        partial(cell_gene_label, table.dataset, genes=RAW_GENES if is_raw else GENES),
        differences,
        prefix="" if is_raw else f"{record.original!r}, ",
    )


def _check_slots(
    dataset: Dataset,
    source: Source,
    raw: Raw | None,
    differences: DifferenceLog,
    ignored: Collection[str],
) -> None:
    """Compare every element of obsm, varm, obsp, varp, uns and varm of raw."""
    with differences.catching("uns"):
        slots = source.slots()
        pairs: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
            slot: (getattr(slots, slot), dataset.annotations.slot(slot)) for slot in ALIGNED_SLOTS
        }
        pairs["uns"] = slots.uns, dict(dataset.uns)
        stored_raw = dataset.stored_raw
        if raw is not None and stored_raw and raw.genes.num_rows == stored_raw.n_genes:
            pairs["raw varm"] = raw.varm, stored_raw.varm
        for slot, whole in pairs.items():
            expected, stored = (_without(elements, slot, ignored) for elements in whole)
            comparison = ElementComparison(slot, differences)
            for key in comparison.compare_keys(slot, expected, stored):
                where = f"{slot}[{key!r}]"
                with differences.catching(where):
                    comparison.compare(where, expected[key], stored[key])


def _shape_text(raw: Matrix | StoredRaw | None) -> str:
    return _NOTHING if raw is None else f"{raw.shape[0]:,} cells × {raw.shape[1]:,} genes"


def _title(table: RowTable, record: MatrixRecord) -> str:
    return RAW if table.name == RAW else f"layer {record.original!r}"
