"""Methods of a view that are verbs elsewhere; each is imported when it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from slaf.errors import SelectionError

if TYPE_CHECKING:
    import os

    from slaf.dataset.dataset import Dataset
    from slaf.dataset.view import View
    from slaf.targets.export import ExportReport
    from slaf.training.loader import Loader

__all__ = ["Verbs"]


class Verbs:
    """The base class of views."""

    def write_h5ad(self, output: str | os.PathLike[str], **options: Any) -> ExportReport:
        """Write the view as an h5ad file; memory does not grow with the number of cells.

        Parameters
        ----------
        output
            A path or a URL.
        options
            By keyword, as for `slaf.export`.
        """
        from slaf.targets.export import export

        return export(cast("View", self), output, format="h5ad", **options)

    def write_zarr(self, output: str | os.PathLike[str], **options: Any) -> ExportReport:
        """Write the view as AnnData in zarr; memory does not grow with the number of cells.

        Parameters
        ----------
        output
            A path or a URL.
        options
            By keyword, as for `slaf.export`.
        """
        from slaf.targets.export import export

        return export(cast("View", self), output, format="zarr", **options)

    def loader(self, **options: Any) -> Loader:
        """Batches of cells for training, shuffled in every epoch, in bounded memory.

        `batch.X` has the genes of the view, in its order.

        Parameters
        ----------
        options
            By keyword, each field of `slaf.training.options.LoaderOptions`.

        Returns
        -------
        slaf.training.loader.Loader
            Its iteration gives an epoch of batches; `torch()` is a dataset of PyTorch.

        Raises
        ------
        SelectionError
            If a requested column or layer does not exist.
        TypeError, ValueError
            If an option is unknown, or does not fit; the error names one that does.
        """
        from slaf.dataset.dataset import Dataset
        from slaf.training.loader import Loader

        view = cast("View", self)
        if not isinstance(view.origin, Dataset):
            msg = f"{view.label}: a loader reads datasets; convert it with slaf.convert first"
            raise SelectionError(msg)
        return Loader(view.origin, view.cells, view.genes, **options)

    def annotate(self, **changes: Any) -> Dataset:
        """Add columns, elements and layers to the dataset in place, replace them, or drop some.

        Datasets that are open stay as they are.

        Parameters
        ----------
        changes
            By keyword, each parameter of `slaf.annotate`: `obs`, `obsm`, `from_anndata`, ….

        Returns
        -------
        Dataset
            The new dataset.

        Raises
        ------
        InputError
            If an id is unknown or repeated, or something is there with other values.
        SelectionError
            If the view is a part of a dataset, or of inputs.
        """
        from slaf.conversion.annotate import annotate

        return annotate(cast("View", self), **changes)
