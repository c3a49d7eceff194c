"""slaf.infer: columns that may hold perturbations and symbols, and ids of genes with versions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from slaf.dataset.names import SYMBOLS
from slaf.dataset.scan import open_or_scan
from slaf.errors import InputError
from slaf.transforms.gene_ids import standard_gene_ids
from slaf.transforms.labels import controls_among

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from slaf.dataset.dataset import View
    from slaf.sources.base import Inputs

__all__ = ["Inference", "PerturbationColumn", "infer"]

_NAMES: Final = frozenset(
    {
        *("perturbation", "perturbations", "gene_target", "target", "target_gene", "condition"),
        *("target_gene_name", "guide", "guide_id", "guide_identity", "sgrna", "grna", "treatment"),
    }
)
# More labels than perturbations of any screen: ids, not labels.
_MOST_LABELS = 50_000


@dataclass(frozen=True, slots=True)
class PerturbationColumn:
    """A column of obs that may hold perturbations.

    Attributes
    ----------
    column
        Its name.
    n_labels
        The number of its labels.
    controls
        Those that are names of controls.
    """

    column: str
    n_labels: int
    controls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inference:
    """Candidates; nothing was changed.

    Attributes
    ----------
    perturbations
        Columns of obs, those with a control first.
    symbols
        Columns of var by the usual names of symbols.
    n_versioned
        The number of gene ids that have a version of Ensembl.
    conflict
        The reason why these cannot lose it; empty if they can.
    """

    perturbations: tuple[PerturbationColumn, ...]
    symbols: tuple[str, ...]
    n_versioned: int
    conflict: str

    def to_json(self) -> dict[str, Any]:
        """As `slaf info --infer --json` prints it."""
        return asdict(self)


def infer(dataset_or_inputs: View | Inputs, **options: Any) -> Inference:
    """Columns that may hold perturbations and symbols, and whether gene ids have versions.

    Parameters
    ----------
    dataset_or_inputs
        A dataset, a view, or inputs as for `slaf.scan`.
    options
        By keyword, as for `slaf.scan`.

    Raises
    ------
    InputError
        If it cannot be read.

    Examples
    --------
    >>> import anndata, numpy, slaf
    >>> adata = anndata.AnnData(numpy.eye(3, 2), obs={"guide": ["TP53", "NTC", "TP53"]})
    >>> slaf.infer(adata).perturbations
    (PerturbationColumn(column='guide', n_labels=2, controls=('NTC',)),)
    """
    with open_or_scan(dataset_or_inputs, **options) as view:
        obs, ids = view.obs, view.var_names.to_list()
        columns = {str(name) for name in view.var.columns}
    conflict, n_versioned = "", 0
    try:
        n_versioned = sum(a != b for a, b in zip(ids, standard_gene_ids(ids), strict=True))
    except InputError as error:
        conflict = str(error)
    found = sorted(_perturbations(obs), key=lambda one: not one.controls)
    symbols = tuple(name for name in SYMBOLS if name in columns)
    return Inference(tuple(found), symbols, n_versioned, conflict)


def _perturbations(obs: pd.DataFrame) -> Iterator[PerturbationColumn]:
    for name in map(str, obs.columns):
        column = obs[name]
        if column.dtype.kind != "O" and str(column.dtype) not in {"category", "string", "str"}:
            continue
        labels = column.dropna().unique()
        if not 0 < len(labels) <= _MOST_LABELS:
            continue
        controls = controls_among(labels)
        if controls or (name.casefold() in _NAMES and len(labels) > 1):
            yield PerturbationColumn(name, len(labels), tuple(controls))
