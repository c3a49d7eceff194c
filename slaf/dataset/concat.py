"""slaf.concat: views end to end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slaf.dataset.scan import Scan, scan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slaf.dataset.view import View
    from slaf.options import Join

__all__ = ["concat"]


def concat(views: Sequence[View], *, join: Join = "strict", cell_id_prefix: bool = False) -> Scan:
    """Views end to end: their cells below each other, their genes aligned by id; nothing is read.

    Views of datasets, of inputs, and of parts of them may be mixed. Layers, raw and annotations are
    merged as those of several inputs of `slaf.convert`.

    Parameters
    ----------
    views
        In the order of their cells.
    join
        The genes: "strict" if all must have the same, "union" or "intersection".
    cell_id_prefix
        Whether to put the name of its view before each cell id.

    Returns
    -------
    Scan
        A view; closing it leaves the views open.

    Raises
    ------
    GeneMismatch
        If the genes cannot be aligned as chosen.
    InputError
        If there is no view, or one cannot be read.

    Examples
    --------
    >>> import anndata, numpy, slaf
    >>> view = slaf.scan(anndata.AnnData(numpy.eye(4, 3)))
    >>> both = slaf.concat([view[2:], view[:1]])
    >>> both.obs_names.to_list()
    ['2', '3', '0']
    """
    return scan(list(views), join=join, cell_id_prefix=cell_id_prefix)
