"""Methods of a view that are verbs elsewhere; each is imported when it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import os

    from slaf.dataset.view import View
    from slaf.targets.export import ExportReport

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
