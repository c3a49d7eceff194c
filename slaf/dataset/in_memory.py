"""InMemory: the methods of a view that read it, or a part of it, into memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slaf.annotations.dataframes import on_axis
from slaf.dataset.base import V
from slaf.dataset.blocks import Blocks
from slaf.errors import DamagedDataset
from slaf.format.schema import CELLS, GENES, RAW

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import anndata
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from slaf.options import Normalization, Strand

__all__ = ["InMemory"]


class InMemory(Blocks[V]):
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
        names = [self.layer_name(name) for name in (self.layers if layers is None else layers)]
        raw, obs, var = self.raw, self.frame(CELLS), self.frame(GENES)
        of_raw = var if raw is None else raw.frame()

        def read(layer: str | None) -> Any:
            return self.to_dask(layer) if lazy else self.lazy_matrix(layer).to_memory()

        return _as_anndata(
            self.label,
            X=read(None),
            obs=obs,
            var=var,
            layers={name: read(name) for name in names},
            obsm=_on_axis(self.obsm, obs),
            varm=_on_axis(self.varm, var),
            obsp=dict(self.obsp),
            varp=dict(self.varp),
            uns=dict(self.uns),
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
        row = self[[cell] if isinstance(cell, str) else cell].lazy_matrix(layer).to_memory()
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
        return self[cells, genes].lazy_matrix(layer).to_memory()[0, 0]

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

        matrix = self.X if layer is None else self.layers[self.layer_name(layer)]
        return pd.DataFrame(
            matrix.to_memory().toarray(), index=self.obs_names, columns=self.var_names
        )

    def coverage(
        self,
        region: str,
        samples: Sequence[str] | str | None = None,
        strand: Strand | None = None,
        normalize: Normalization | None = None,
    ) -> NDArray[Any]:
        """The depth of each base of a region, of files of reads.

        Parameters
        ----------
        region
            As in BED, from 0 and half-open: ``"chr1:100-200"`` has 100 bases; ``"chr1"`` is a whole
            contig. Names of contigs may have "chr" or lack it.
        samples
            The ids of cells, in the order of the result; all in their order if None.
        strand
            "+" or "-": the fragments of one strand; all if None.
        normalize
            "cpm" divides by the millions of reads that count (`total_reads` in obs); "rpkm" by
            these and the kilobases of a bin of one base: it is 1,000 times as much.

        Returns
        -------
        numpy.ndarray
            Samples × bases: uint32, or float64 if normalised.

        Raises
        ------
        SelectionError
            If there is no such sample, contig or region, no coverage, or strands were not counted
            apart.
        """
        from slaf.dataset.coverage import depth

        names = [samples] if isinstance(samples, str) else samples
        view = self if names is None else self[list(names)]
        return depth(view, region, strand, normalize)

    def coverage_runs(
        self,
        region: str,
        strand: Strand | None = None,
        normalize: Normalization | None = None,
    ) -> Iterator[tuple[str, str, int, int, int | float]]:
        """The runs of equal depth in a region: sample, contig, start, stop and depth.

        Parameters
        ----------
        region, strand, normalize
            As for `coverage`.

        Yields
        ------
        tuple
            A run whose depth is not zero, sample by sample.

        Raises
        ------
        SelectionError
            As for `coverage`.
        """
        from slaf.dataset.coverage import named_runs

        return named_runs(self, region, strand, normalize)


def _on_axis(elements: Mapping[str, Any], table: pd.DataFrame) -> dict[str, Any]:
    return {name: on_axis(element, table.index) for name, element in elements.items()}


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
