"""BaseView: selections, matrices and annotations of a view; the base class of its methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, TypeVar

from slaf.annotations.columns import ColumnSet
from slaf.annotations.read_only import ReadOnlyDict, ReadOnlyMapping, refuse
from slaf.dataset.axes import Axes
from slaf.dataset.lazy_matrix import LazyMatrix, composed
from slaf.dataset.names import AxisNames
from slaf.dataset.raw import RawView
from slaf.dataset.selection import resolve_indexer
from slaf.errors import SelectionError
from slaf.format.schema import CELLS, GENES, RAW
from slaf.sources.identity import content_identity
from slaf.sources.selection import SelectedSource, element_pairs, element_rows
from slaf.sparse.ranges import RowRange, as_positions

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from slaf.dataset.selection import Indexer
    from slaf.sources.base import Source
    from slaf.sources.matrix import Matrix
    from slaf.sparse.ranges import Rows
    from slaf.transforms.base import SourceStep

    Positions = NDArray[np.int64] | None

__all__ = ["BaseView", "Step", "V"]

V = TypeVar("V", bound="BaseView[Any]")


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a view as it was resolved: the call that does the same to other cells.

    Attributes
    ----------
    name
        The method of a view.
    options
        Its keywords, as JSON, with the numbers that were computed.
    removed
        The number of cells or genes that each rule removes by itself.
    before, after
        The shape of what it was done to, and of what it gave.
    """

    name: str
    options: Mapping[str, Any]
    removed: Mapping[str, int] = field(default_factory=dict)
    before: tuple[int, int] = (0, 0)
    after: tuple[int, int] = (0, 0)


class BaseView(Axes, ABC, Generic[V]):
    """Selections, matrices and annotations of a view; the base class of those with its methods.

    Its parameter V is the type of the views that methods return: `View`.
    """

    origin: V
    steps: tuple[Step, ...]

    @abstractmethod
    def _part(self, cells: Positions, genes: Positions, steps: tuple[Step, ...]) -> V:
        """The view of some cells and genes of the origin."""

    @abstractmethod
    def _changed(self, change: SourceStep, steps: tuple[Step, ...]) -> V:
        """The view of all of this one, with its values or gene ids changed."""

    # ------------------------------------------------------------------------------------ selection

    def __len__(self) -> int:
        return self.n_obs

    def __getitem__(self, index: Any) -> V:
        cells, genes = _two_axes(index)
        rows, columns = self.resolve(CELLS, cells), self.resolve(GENES, genes)
        return self._part(
            composed(self.cells, _partial(rows, self.n_obs)),
            composed(self.genes, _partial(columns, self.n_vars)),
            self.steps,
        )

    def resolve(self, axis: str, indexer: Indexer) -> Rows:
        """The positions in the view of some cells or genes, in the requested order.

        Parameters
        ----------
        axis
            "cells" or "genes".
        indexer
            As in ``view[cells, genes]``; None for all.

        Raises
        ------
        SelectionError
            If one of them does not exist, or is ambiguous.
        """
        return resolve_indexer(indexer, AxisNames(self, axis))

    def __iter__(self) -> NoReturn:
        msg = "cells are read in batches: by .X.batches(), or by slices, as in view[0:100]"
        raise TypeError(msg)

    def __array__(self, *_arguments: Any, **_keywords: Any) -> NoReturn:
        msg = (
            "a view is not an array: view.X.to_memory() is its matrix as CSR, view.to_df() a dense "
            "data frame, view.to_anndata() all of it"
        )
        raise TypeError(msg)

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        refuse("a view")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what was opened."""

    def obs_vector(self, key: str, layer: str | None = None) -> NDArray[Any]:
        """A column of obs, or the values of a gene, as an array with an element for each cell.

        Parameters
        ----------
        key
            The name of a column, or the id or symbol of a gene.
        layer
            The layer of the gene instead of X, or "raw".

        Raises
        ------
        KeyError
            If there is none, or both.
        """
        return self._vector(CELLS, GENES, key, layer)

    def var_vector(self, key: str, layer: str | None = None) -> NDArray[Any]:
        """A column of var, or the values of a cell, as an array with an element for each gene.

        Parameters
        ----------
        key, layer
            As for `obs_vector`, with the id of a cell.

        Raises
        ------
        KeyError
            If there is none, or both.
        """
        return self._vector(GENES, CELLS, key, layer)

    # ------------------------------------------------------------------------------------- matrices

    @property
    def X(self) -> LazyMatrix:  # noqa: N802 - AnnData's name
        """The matrix; slices read it as CSR."""
        return self._lazy(None)

    @property
    def layers(self) -> Mapping[str, LazyMatrix]:
        """Further matrices of the same cells and genes, by name."""
        return ReadOnlyMapping("layers", self.source.info.layers, self._lazy)

    @property
    def raw(self) -> RawView | None:
        """The matrix that AnnData calls raw, with genes of its own; None without one."""
        raw = self.source.raw()
        return None if raw is None else RawView(self.source, raw, self.cells)

    def lazy_matrix(self, layer: str | None = None) -> LazyMatrix:
        """X, a layer or "raw" of the view; raw has genes of its own.

        Raises
        ------
        SelectionError
            If there is no such layer.
        """
        if layer == RAW and self.raw is not None:
            return self.raw.X
        return self._lazy(layer)

    def layer_name(self, layer: str) -> str:
        """The name of a layer, if there is one.

        Raises
        ------
        SelectionError
            If there is none.
        """
        if layer not in self.source.info.layers:
            names = ", ".join(map(repr, self.source.info.layers)) or "none at all"
            msg = f"there is no layer {layer!r}; there are {names}"
            raise SelectionError(msg)
        return layer

    def matrix(self, layer: str | None = None) -> Matrix:
        """The matrix, a layer or "raw" of the origin; `cells` and `genes` are positions in it.

        Raises
        ------
        SelectionError
            If there is no such layer.
        """
        return self.source.matrix(self._matrix_name(layer))

    # ---------------------------------------------------------------------------------- annotations

    @property
    def obsm(self) -> Mapping[str, Any]:
        """Arrays and tables with a row for each cell, by name; each is read on access."""
        slot = self.source.slots().obsm
        return ReadOnlyMapping("obsm", slot, lambda key: element_rows(slot[key], self.cells))

    @property
    def varm(self) -> Mapping[str, Any]:
        """Arrays and tables with a row for each gene, by name; each is read on access."""
        slot = self.source.slots().varm
        return ReadOnlyMapping("varm", slot, lambda key: element_rows(slot[key], self.genes))

    @property
    def obsp(self) -> Mapping[str, Any]:
        """Matrices of cells × cells, by name; each is read on access."""
        slot = self.source.slots().obsp
        return ReadOnlyMapping("obsp", slot, lambda key: element_pairs(slot[key], self.cells))

    @property
    def varp(self) -> Mapping[str, Any]:
        """Matrices of genes × genes, by name; each is read on access."""
        slot = self.source.slots().varp
        return ReadOnlyMapping("varp", slot, lambda key: element_pairs(slot[key], self.genes))

    @property
    def uns(self) -> dict[str, Any]:
        """The unstructured annotation; of several inputs, merged."""
        return ReadOnlyDict(self.source.slots().uns)

    # ---------------------------------------------------------------------------------- as a source

    def as_source(self) -> Source:
        """The view as an input: what `convert`, `export` and `diff` read."""
        return _ViewSource(self)

    # -------------------------------------------------------------------------------------- private

    def _lazy(self, layer: str | None) -> LazyMatrix:
        label = "X" if layer is None else f"layers[{layer!r}]"
        return LazyMatrix(self.source, self._matrix_name(layer), label, self.cells, self.genes)

    def _matrix_name(self, layer: str | None) -> str | None:
        if layer is None or (layer == RAW and self.source.raw() is not None):
            return layer
        return self.source.info.layers[self.layer_name(layer)]

    def _vector(self, axis: str, other: str, key: str, layer: str | None) -> NDArray[Any]:
        columns = self.source.columns(axis)
        chosen = [c for c in columns.columns if c.original == key]
        try:
            at = as_positions(AxisNames(self, other).named(key))
        except SelectionError as error:
            if chosen:
                index = columns.columns[0]
                frame = self._columns(axis, ColumnSet((index, chosen[0]), columns.index_name))
                return frame[key].to_numpy()
            raise KeyError(str(error)) from None
        table, one = ("obs", "gene") if axis == CELLS else ("var", "cell")
        if chosen:
            msg = (
                f"{key!r} is a column of {table} and a {one}; take {table}[{key!r}], or X of the "
                f"{one}"
            )
            raise KeyError(msg)
        view = self[:, at] if axis == CELLS else self[at]
        matrix = LazyMatrix(
            self.source, self._matrix_name(layer), layer or "X", view.cells, view.genes
        )
        return matrix.to_memory().toarray().ravel()


class _ViewSource(SelectedSource):
    """A view as an input; closing it leaves the view open."""

    def __init__(self, view: BaseView[Any]) -> None:
        super().__init__(view.source, view.cells, view.genes)
        if view.steps:
            steps = [[step.name, step.options] for step in view.steps]
            self.info = replace(self.info, identity={**self.info.identity, "steps": steps})
        if view.cells is None and view.genes is None:
            return
        digest = content_identity(
            b"all" if at is None else at.tobytes() for at in (view.cells, view.genes)
        )
        info, (n_cells, n_genes) = self.info, view.source.matrix().shape
        part = f"{info.n_cells:,} of {n_cells:,} cells × {info.n_genes:,} of {n_genes:,} genes"
        identity = {**info.identity, "selection": digest["sample"]}
        uri = f"<{part} of {info.uri}>"
        self.info = replace(info, uri=uri, identity=identity, reads=info.places)

    def close(self) -> None:
        """Leave the source of the view open."""


def _two_axes(index: Any) -> tuple[Any, Any]:
    """The indexers of cells and genes.

    Raises
    ------
    SelectionError
        If there are more.
    """
    indices = index if isinstance(index, tuple) else (index,)
    if len(indices) > 2:  # noqa: PLR2004 - cells and genes
        indices = tuple(one for one in indices if one is not Ellipsis)
    if len(indices) > 2:  # noqa: PLR2004 - cells and genes
        msg = f"a view has two dimensions, cells and genes, and not {len(indices)}"
        raise SelectionError(msg)
    cells, genes = (*indices, slice(None))[:2]
    return cells, genes


def _partial(rows: Rows, size: int) -> Positions:
    """Positions; None for all in their order."""
    if isinstance(rows, RowRange) and rows == RowRange(0, size):
        return None
    return as_positions(rows)
