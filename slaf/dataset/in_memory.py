"""InMemory: the methods of a view that read it, or a part of it, into memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from slaf.annotations.dataframes import on_axis
from slaf.errors import DamagedDataset
from slaf.format.schema import CELLS, GENES, RAW

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import anndata
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from slaf.dataset.view import View

__all__ = ["InMemory"]


class InMemory:
    """A view in memory; a base class of views."""

    def to_anndata(
        self, *, layers: Sequence[str] | None = None, lazy: bool = False
    ) -> anndata.AnnData:
        """All of the view as an AnnData in memory, or with matrices that dask reads.

        X, the layers and raw are CSR; all else is as in the input. Raw keeps all of its genes.

        Parameters
        ----------
        layers
            The names of the layers to read; None for all.
        lazy
            Whether X, the layers and raw are dask arrays, as `to_dask` makes them.

        Raises
        ------
        SelectionError
            If there is no such layer.
        DamagedDataset, InputError
            If no AnnData can hold it, or it cannot be read.
        MissingPackage
            If it is lazy and dask is not installed.
        """
        if isinstance(layers, str):
            layers = [layers]
        view = cast("View", self)
        names = [view.layer_name(name) for name in (view.layers if layers is None else layers)]
        raw, obs, var = view.raw, view.frame(CELLS), view.frame(GENES)
        of_raw = var if raw is None else raw.frame()

        def read(layer: str | None) -> Any:
            return view.to_dask(layer) if lazy else view.lazy_matrix(layer).to_memory()

        return _as_anndata(
            view.label,
            X=read(None),
            obs=obs,
            var=var,
            layers={name: read(name) for name in names},
            obsm=_on_axis(view.obsm, obs),
            varm=_on_axis(view.varm, var),
            obsp=dict(view.obsp),
            varp=dict(view.varp),
            uns=dict(view.uns),
            raw=None
            if raw is None
            else {"X": read(RAW), "var": of_raw, "varm": _on_axis(raw.varm, of_raw)},
        )

    def row(
        self, cell: int | str, layer: str | None = None, *, dense: bool = False
    ) -> tuple[NDArray[np.int32], NDArray[Any]] | NDArray[Any]:
        """The nonzeros of one cell.

        Parameters
        ----------
        cell
            Its position (negative ones count from the end) or its id.
        layer
            The layer instead of X, or "raw".
        dense
            Whether to return a value for each gene.

        Returns
        -------
        tuple or numpy.ndarray
            The positions of genes and their values; or with `dense` all values.

        Raises
        ------
        SelectionError
            If there is no such cell or layer.
        """
        view = cast("View", self)
        row = view[[cell] if isinstance(cell, str) else cell].lazy_matrix(layer).to_memory()
        if dense:
            values: NDArray[Any] = row.toarray()[0]
            return values
        return row.indices, row.data

    def value(self, cell: int | str, gene: int | str, layer: str | None = None) -> Any:
        """The value of one cell and gene; 0 where none is stored.

        Parameters
        ----------
        cell, gene
            A position (negative ones count from the end), an id, or the symbol of a gene.
        layer
            The layer instead of X.

        Raises
        ------
        SelectionError
            If there is no such cell, gene or layer.
        """
        cells, genes = ([at] if isinstance(at, str) else at for at in (cell, gene))
        return cast("View", self)[cells, genes].lazy_matrix(layer).to_memory()[0, 0]

    def to_memory(self) -> anndata.AnnData:
        """As `to_anndata`, by the name that a backed AnnData has for it."""
        return self.to_anndata()

    def to_df(self, layer: str | None = None) -> pd.DataFrame:
        """The matrix or a layer as a dense data frame, cells × genes.

        Parameters
        ----------
        layer
            The layer instead of X.
        """
        import pandas as pd

        view = cast("View", self)
        matrix = view.X if layer is None else view.layers[view.layer_name(layer)]
        return pd.DataFrame(
            matrix.to_memory().toarray(), index=view.obs_names, columns=view.var_names
        )


def _as_anndata(label: str, **parts: Any) -> anndata.AnnData:
    """An AnnData of these parts, which an earlier release may have stored unfit."""
    import anndata

    try:
        return anndata.AnnData(**parts)
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        msg = (
            f"{label}: no AnnData can hold it ({error}); `slaf verify` says why, and "
            "converting the inputs again mends it"
        )
        raise DamagedDataset(msg) from error


def _on_axis(elements: Mapping[str, Any], table: pd.DataFrame) -> dict[str, Any]:
    """The elements of obsm or varm, whose tables have the index of their axis."""
    return {name: on_axis(element, table.index) for name, element in elements.items()}
