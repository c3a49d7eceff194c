"""The table in the order of genes, from parts on disk to what is published of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.by_gene import ByGene
from slaf.conversion.encode import SCRATCH
from slaf.digest import Fingerprint
from slaf.errors import DamagedDataset
from slaf.schema import BY_GENE
from slaf.tables.commit import commit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slaf.arrays import RowRange
    from slaf.conversion.checkpoint import Checkpoint
    from slaf.storage import Location

__all__ = ["commit_by_gene", "gene_offsets_of", "proof_by_gene", "put_counts"]

_LENGTHS = np.dtype("<u4")


def put_counts(location: Location, genes: RowRange, counts: NDArray[np.int64]) -> None:
    """Note the numbers of rows of genes that are on disk, for `gene_offsets_of`."""
    location.put(_counts_name(genes), counts.astype(_LENGTHS).tobytes())


def commit_by_gene(location: Location, checkpoint: Checkpoint) -> dict[str, int]:
    """Commit the table, if the run has made it; its version by its name."""
    plan = checkpoint.plan
    if not plan.options.by_gene:
        return {}
    fragments = [fragment for part in checkpoint.by_gene for fragment in part.fragments]
    return {BY_GENE: commit(location, plan.folder(BY_GENE), plan.schema_by_gene, fragments)}


def gene_offsets_of(location: Location, checkpoint: Checkpoint) -> NDArray[np.int64] | None:
    """Where the rows of each gene begin, and after the last, where they end; None without any."""
    if not checkpoint.plan.options.by_gene:
        return None
    counts = [np.zeros(1, np.int64)]
    for part in checkpoint.by_gene:
        raw = location.read(_counts_name(part.genes))
        if raw is None:
            msg = f"{location}: {_counts_name(part.genes)} is missing; begin again with --restart"
            raise DamagedDataset(msg)
        counts.append(np.frombuffer(raw, _LENGTHS).astype(np.int64))
    return np.cumsum(np.concatenate(counts))


def proof_by_gene(checkpoint: Checkpoint) -> dict[str, Any]:
    """What config.json says of the table; nothing, if the run has not made it."""
    if not checkpoint.plan.options.by_gene:
        return {}
    blocks = tuple(block for part in checkpoint.by_gene for block in part.blocks)
    total = Fingerprint.total(part.fingerprint for part in checkpoint.by_gene)
    return ByGene(blocks, total).to_json()


def _counts_name(genes: RowRange) -> str:
    return f"{SCRATCH}/genes-{genes.start:06d}.counts"
