"""Blocks of cells: iterated, mapped, and as chunks of dask arrays; and groups of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import numpy as np

from slaf.dataset.aggregate import group_labels
from slaf.dataset.base import BaseView, V
from slaf.errors import MissingPackage, SelectionError
from slaf.runtime.extras import require
from slaf.sparse.ranges import RowRange, split_by_nnz

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    import pandas as pd
    import scipy.sparse as sp

__all__ = ["Blocks"]

T = TypeVar("T")

# Nonzeros in a block, unless its number of cells is chosen: some 32 MB as CSR.
_BLOCK_NONZEROS = 1 << 22


class Blocks(BaseView[V]):
    """Blocks and groups of the cells of a view; a base class of views."""

    def blocks(self, rows: int | None = None, *, layer: str | None = None) -> Iterator[V]:
        """Views of neighbouring cells, which together are all cells, in order.

        Parameters
        ----------
        rows
            The number of cells of a block; None for as many as have some four million values, which
            is the same memory for any dataset.
        layer
            The layer whose values are counted instead of those of X, or "raw".

        Raises
        ------
        SelectionError
            If `rows` is not positive, or there is no such layer.

        Examples
        --------
        >>> import anndata, numpy, slaf
        >>> view = slaf.scan(anndata.AnnData(numpy.eye(5, 2)))
        >>> [block.n_obs for block in view.blocks(2)]
        [2, 2, 1]
        """
        for cells in _bounds(self, rows, layer):
            yield self[cells.start : cells.stop]

    def map_blocks(
        self, function: Callable[[V], T], rows: int | None = None, *, layer: str | None = None
    ) -> Iterator[T]:
        """The results of a function of each block, in order, each computed when it is asked for.

        Parameters
        ----------
        function
            Called with the view of a block.
        rows, layer
            As for `blocks`.

        Examples
        --------
        >>> import anndata, numpy, slaf
        >>> view = slaf.scan(anndata.AnnData(numpy.eye(5, 2)))
        >>> [float(total) for total in view.map_blocks(lambda block: block.sum(), rows=2)]
        [2.0, 0.0, 0.0]
        """
        return map(function, self.blocks(rows, layer=layer))

    def to_dask(self, layer: str | None = None, rows: int | None = None) -> Any:
        """X or a layer as a dask array, whose chunks are CSR blocks of whole cells.

        Nothing is read until dask computes it, in threads or processes. The functions of scanpy
        that know dask take it.

        Parameters
        ----------
        layer
            The layer instead of X, or "raw".
        rows
            The number of cells of a chunk, as for `blocks`.

        Returns
        -------
        dask.array.Array
            Of `scipy.sparse.csr_matrix`.

        Raises
        ------
        MissingPackage
            If dask is not installed.
        SelectionError
            If there is no such layer.
        """
        require("dask", "a dask array")
        import dask.array as da
        import scipy.sparse as sp

        matrix = self.lazy_matrix(layer)
        bounds = list(_bounds(self, rows, layer)) or [RowRange(0, 0)]
        # Two views of one source may differ in what is done to its values: no name is used twice.
        name = f"slaf-{uuid4().hex}"
        graph = {
            (name, at, 0): (_read, self[cells.start : cells.stop], layer)
            for at, cells in enumerate(bounds)
        }
        chunks = (tuple(map(len, bounds)), (matrix.shape[1],))
        return da.Array(graph, name, chunks, meta=sp.csr_matrix((0, 0), dtype=matrix.dtype))

    def highly_variable_genes(
        self, flavor: str = "seurat", *, layer: str | None = None, **options: Any
    ) -> pd.DataFrame:
        """Highly variable genes, by scanpy's own code on the lazy AnnData.

        Parameters
        ----------
        flavor
            "seurat" or "cell_ranger", of values after log1p; "seurat_v3" or "seurat_v3_paper", of
            counts, with scanpy 1.12 or newer.
        layer
            The layer instead of X.
        options
            By keyword, as for `scanpy.pp.highly_variable_genes`.

        Returns
        -------
        pandas.DataFrame
            As scanpy returns it: a row for each gene.

        Raises
        ------
        MissingPackage
            If scanpy or dask is not installed, or scanpy is too old for the flavor.
        """
        require("scanpy", "highly_variable_genes")
        from importlib.metadata import version

        import scanpy

        installed = version("scanpy")
        if flavor.startswith("seurat_v3"):
            require("skmisc", f"the flavor {flavor!r}")
            if tuple(map(int, installed.split(".")[:2])) < (1, 12):
                msg = (
                    f"the flavor {flavor!r} of scanpy {installed} needs all values in "
                    "memory; install scanpy 1.12 or newer, or call scanpy on view.to_anndata()"
                )
                raise MissingPackage(msg)
        columns = [options["batch_key"]] if options.get("batch_key") is not None else []
        import anndata

        adata = anndata.AnnData(
            self.to_dask(layer), obs=self.obs_columns(columns), var=self.var[[]].copy()
        )
        found: pd.DataFrame = scanpy.pp.highly_variable_genes(
            adata, flavor=flavor, inplace=False, **options
        )
        return found

    def groups(self, by: str | Sequence[str]) -> dict[Hashable, V]:
        """The views of the cells of each group, by label.

        They are read fast where the cells of a group are neighbours, as after a sort.

        Parameters
        ----------
        by
            A column of obs, or several, for tuples of labels: cells of equal values are a group;
            those with a missing value are in none.

        Returns
        -------
        dict
            In the order of categories, else of labels; cells keep their order.

        Raises
        ------
        SelectionError
            If there is no such column.

        Examples
        --------
        >>> import anndata, numpy, pandas, slaf
        >>> obs = pandas.DataFrame({"gene": ["NTC", "A", "NTC"]}, index=["1", "2", "3"])
        >>> view = slaf.scan(anndata.AnnData(numpy.eye(3), obs))
        >>> {label: group.obs_names.to_list() for label, group in view.groups("gene").items()}
        {'A': ['2'], 'NTC': ['1', '3']}
        """
        codes, table = group_labels(self, by)
        order = np.argsort(codes, kind="stable")
        ends = np.searchsorted(codes[order], np.arange(len(table) + 1))
        rows = table.itertuples(index=False, name=None)
        labels = [row[0] if isinstance(by, str) else row for row in rows]
        return {
            label: self[order[first:last]]
            for label, first, last in zip(labels, ends, ends[1:], strict=False)
        }


def _bounds(view: BaseView[Any], rows: int | None, layer: str | None) -> Iterator[RowRange]:
    """The cells of each block."""
    matrix = view.lazy_matrix(layer)
    if rows is not None:
        if rows < 1:
            msg = f"a block of {rows} cells holds none; choose a positive number, or None"
            raise SelectionError(msg)
        yield from RowRange(0, view.n_obs).split(rows)
        return
    for start, stop in split_by_nnz(matrix.matrix.indptr_estimate(1), _BLOCK_NONZEROS):
        yield RowRange(start, stop)


def _read(view: BaseView[Any], layer: str | None) -> sp.csr_matrix:
    """A block, in a thread or process of dask."""
    return view.lazy_matrix(layer).to_memory()
