"""Counts of a real file, whose cells are repeated until they are enough to measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.inputs.counts import Layout

__all__ = ["RealCounts", "write_repeated"]

_ENOUGH = 5_000_000


@dataclass(frozen=True, slots=True)
class RealCounts:
    """Counts of a file of any format that this program reads.

    Attributes
    ----------
    path
        The file.
    layout, normalised
        Those of the repeated file.
    """

    path: Path
    layout: Layout = "csr"
    normalised: bool = False

    @property
    def name(self) -> str:
        """Name of the repeated file, without suffix."""
        return f"real-{self.path.stem}"


def write_repeated(path: Path, counts: RealCounts) -> int:
    """Write an h5ad file of five million nonzeros or more; its number of nonzeros."""
    import anndata
    import scipy.sparse as sp

    import slaf

    once = slaf.scan(counts.path).to_anndata()
    bare = anndata.AnnData(sp.csr_matrix(once.X), obs=once.obs, var=once.var)
    times = -(-_ENOUGH // bare.X.nnz)
    repeated = anndata.concat([bare] * times, keys=range(times), index_unique="-", merge="same")
    repeated.write_h5ad(path, compression="gzip")
    nonzeros: int = repeated.X.nnz
    return nonzeros
