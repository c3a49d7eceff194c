"""Check the rows that a dataset has in the order of genes: that they are those of `expression`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slaf.arrays import RowRange, as_float64
from slaf.by_gene import ByGene, GeneBlock, by_gene_of
from slaf.digest import BlockDigest, Fingerprint
from slaf.schema import BY_GENE, GENES
from slaf.tables.read import scan
from slaf.verification.report import SHOWN_OF_A_KIND

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slaf.dataset import Dataset
    from slaf.progress import Progress
    from slaf.verification.report import Findings

__all__ = ["check_by_gene", "check_by_gene_digests"]

_COLUMNS = ("gene_integer_id", "cell_integer_id", "value")


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
        offsets = dataset.gene_offsets if there and indexed else None
        if proof is None or offsets is None:
            return
        table = dataset.table(BY_GENE)
        findings.compare("config", f"rows of {BY_GENE}", dataset.nnz, table.count_rows())
        for name in _COLUMNS:
            ours, theirs = table.schema.field(name).type, dataset.expression.schema.field(name).type
            findings.compare("config", f"type of {name} of {BY_GENE}", theirs, ours)
        _check_offsets(offsets, findings)
        _check_blocks(proof, offsets, findings)


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
    proof, offsets = by_gene_of(dataset.published), dataset.gene_offsets
    if proof is None or offsets is None:
        return
    fingerprint = Fingerprint()
    for block in proof.blocks:
        where = f"{BY_GENE}, {block}"
        with findings.reading(where):
            found = _digest(dataset, block, offsets, fingerprint, findings)
            findings.compare("digest", where, block.digest, found)
        seen.advance(0, block.rows)
    # Where a block differs, so do all rows, which is no news.
    if not findings.of("digest", "unreadable"):
        findings.compare(
            "digest", f"all rows of {BY_GENE}", proof.fingerprint, fingerprint.hexdigest()
        )
    seen.advance(dataset.n_cells, 0)


def _digest(
    dataset: Dataset,
    block: GeneBlock,
    offsets: NDArray[np.int64],
    fingerprint: Fingerprint,
    findings: Findings,
) -> str:
    counts = np.diff(offsets[block.start : block.stop + 1])
    digest = BlockDigest()
    digest.add_lengths(counts)
    owners = np.repeat(np.arange(block.start, block.stop), counts)
    rows = RowRange(int(offsets[block.start]), int(offsets[block.stop]))
    at = 0
    for batch in scan(dataset.table(BY_GENE), rows, _COLUMNS):
        genes, cells, values = (column.to_numpy(zero_copy_only=False) for column in batch.columns)
        expected = owners[at : at + len(genes)]
        for row in np.flatnonzero(genes != expected)[:SHOWN_OF_A_KIND]:
            where = f"gene_integer_id of row {rows.start + at + row} of {BY_GENE}"
            findings.note("order", where, expected[row], genes[row])
        widened = as_float64(values)
        digest.add_entries(cells, widened)
        fingerprint.add(cells, genes, widened)
        at += len(genes)
    return digest.hexdigest()


def _check_offsets(offsets: NDArray[np.int64], findings: Findings) -> None:
    findings.compare("offsets", "gene_start_index of the first gene", 0, int(offsets[0]))
    for gene in np.flatnonzero(np.diff(offsets) < 0)[:SHOWN_OF_A_KIND]:
        findings.note(
            "offsets",
            f"gene_start_index after gene {gene}",
            f"≥ {offsets[gene]}",
            offsets[gene + 1],
        )


def _check_blocks(proof: ByGene, offsets: NDArray[np.int64], findings: Findings) -> None:
    n_genes = len(offsets) - 1
    stop = 0
    for block in proof.blocks:
        where = f"first gene of the block at {block.start}"
        findings.compare("config", f"{where} of {BY_GENE}", stop, block.start)
        stop = block.stop
        if stop <= n_genes:
            rows = int(offsets[stop] - offsets[block.start])
            findings.compare("offsets", f"{BY_GENE}, {block}", block.rows, rows)
    findings.compare("config", f"genes in blocks of {BY_GENE}", n_genes, stop)
