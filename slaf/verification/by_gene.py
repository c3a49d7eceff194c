"""Check the rows that a dataset has in the order of genes: that they are those of `expression`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slaf.arrays import RowRange
from slaf.by_gene import by_gene_of
from slaf.digest import Fingerprint
from slaf.schema import BY_GENE, GENES
from slaf.verification.ordered import GENE_MAJOR, Ordered

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slaf.arrays import Widened
    from slaf.dataset import Dataset
    from slaf.progress import Progress
    from slaf.verification.report import Findings

__all__ = ["check_by_gene", "check_by_gene_digests"]

_COLUMNS = (*GENE_MAJOR.ids, "value")


def check_by_gene(dataset: Dataset, findings: Findings) -> None:
    """Check rows, offsets and blocks of `expression_by_gene`, without its values.

    Parameters
    ----------
    dataset
        Any published dataset.
    findings
        Takes what contradicts.
    """
    proof = by_gene_of(dataset.published)
    with findings.reading(BY_GENE):
        there = BY_GENE in dataset.published.tables
        indexed = "gene_start_index" in dataset.table(GENES).schema.names
        findings.compare("config", f"table {BY_GENE}", proof is not None, there)
        findings.compare("config", "gene_start_index of genes", proof is not None, indexed)
        if proof is None or not (there and indexed):
            return
        ordered = Ordered.of(dataset, BY_GENE)
        table = ordered.table
        findings.compare("config", f"rows of {BY_GENE}", dataset.nnz, table.count_rows())
        for name in _COLUMNS:
            ours, theirs = table.schema.field(name).type, dataset.expression.schema.field(name).type
            findings.compare("config", f"type of {name} of {BY_GENE}", theirs, ours)
        ordered.check_offsets(findings)
        ordered.check_blocks(findings)


def check_by_gene_digests(dataset: Dataset, findings: Findings, seen: Progress) -> None:
    """Read the table: each block has its digest, and all rows are those of `expression`.

    Parameters
    ----------
    dataset
        Whose offsets and blocks are known to be right.
    findings
        Takes what differs.
    seen
        Told of the rows read, and once of all cells.
    """
    proof = by_gene_of(dataset.published)
    if proof is None or BY_GENE not in dataset.published.tables:
        return
    fingerprint = Fingerprint()
    ordered = Ordered.of(dataset, BY_GENE)

    def add(genes: NDArray[Any], cells: NDArray[Any], values: Widened) -> None:
        fingerprint.add(cells, genes, values)

    for block in proof.blocks:
        where = ordered.place(block)
        with findings.reading(where):
            (found,) = ordered.digests(RowRange(block.start, block.stop), findings, add)
            findings.compare("digest", where, block.digest, found)
        seen.advance(0, block.rows)
    # Where a block differs, so do all rows, which is no news.
    if not findings.of("digest", "unreadable"):
        findings.compare(
            "digest", f"all rows of {BY_GENE}", proof.fingerprint, fingerprint.hexdigest()
        )
    seen.advance(dataset.n_cells, 0)
