"""slaf.gene_overlap: the genes that several inputs have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.dataset.scan import open_or_scan

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from slaf.dataset.dataset import View
    from slaf.sources.base import Inputs

__all__ = ["GeneOverlap", "gene_overlap"]


@dataclass(frozen=True)
class GeneOverlap:
    """The genes that several inputs have in common, by id.

    Attributes
    ----------
    n_genes
        The number of ids of each input.
    shared
        The number of ids that each two have in common: inputs × inputs.
    jaccard
        `shared`, divided by the number of ids of either; NaN for two without genes.
    in_all, in_any
        The number of ids of all, and of any.
    """

    n_genes: pd.Series[int]
    shared: pd.DataFrame
    jaccard: pd.DataFrame
    in_all: int
    in_any: int

    def to_json(self) -> dict[str, Any]:
        """As `slaf info --json` prints it."""
        numbers = self.jaccard.astype(object).where(self.jaccard.notna(), None)
        return {
            "n_genes": self.n_genes.to_list(),
            "shared": self.shared.to_numpy().tolist(),
            "jaccard": numbers.to_numpy().tolist(),
            "in_all": self.in_all,
            "in_any": self.in_any,
        }


def gene_overlap(inputs: Sequence[View | Inputs], **options: Any) -> GeneOverlap:
    """The genes that several datasets, views or inputs have in common; no values are read.

    Parameters
    ----------
    inputs
        Each a dataset, a view, or an input as for `slaf.scan`.
    options
        By keyword, as for `slaf.scan`.

    Raises
    ------
    InputError, DatasetError
        If one cannot be read.

    Examples
    --------
    >>> import anndata, numpy, slaf
    >>> view = slaf.scan(anndata.AnnData(numpy.eye(4)))
    >>> overlap = slaf.gene_overlap([view[:, :3], view[:, 1:]])
    >>> overlap.in_all, float(overlap.jaccard.iloc[0, 1])
    (2, 0.5)
    """
    import pandas as pd

    labels, ids = [], []
    for one in inputs:
        with open_or_scan(one, **options) as view:
            labels.append(view.label)
            ids.append(set(view.var_names))
    shared = np.array([[len(one & other) for other in ids] for one in ids], np.int64)
    either = np.array([[len(one | other) for other in ids] for one in ids], np.float64)
    shared = shared.reshape(len(ids), len(ids))
    with np.errstate(invalid="ignore"):
        jaccard = shared / either.reshape(shared.shape)
    return GeneOverlap(
        pd.Series([len(one) for one in ids], index=labels, dtype=np.int64),
        pd.DataFrame(shared, index=labels, columns=labels),
        pd.DataFrame(jaccard, index=labels, columns=labels),
        len(set.intersection(*ids)) if ids else 0,
        len(set().union(*ids)),
    )
