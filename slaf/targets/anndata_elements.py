"""The tables and small slots as anndata writes them, and what of them it cannot."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pandas as pd

__all__ = ["Fitted", "drop_unwritable", "write_elements"]


# What HDF5 and zarr take for a place, or anndata for the index.
_NO_NAMES = frozenset({"", ".", "..", "_index"})
Fitted = tuple[dict[str, Any], tuple[str, ...]]


def drop_unwritable(elements: Mapping[str, Any], scratch: Callable[[], Any]) -> Fitted:
    """The elements as they can be written, and in words what is left out or held otherwise.

    Parameters
    ----------
    elements
        By slot: frames, and dictionaries of any depth.
    scratch
        Gives an empty group in memory, of the kind that is to be written to. Whatever anndata
        refuses to write there is left out.
    """
    held: dict[str, Any] = {}
    notes: list[str] = []
    with _writing():
        for slot, element in elements.items():
            held[slot] = _fit(slot, element, scratch, notes)
    return held, tuple(notes)


def write_elements(
    group: Any, elements: Mapping[str, Any], options: Mapping[str, Any] | None = None
) -> None:
    """Write elements that are `fitted` under the names of their slots.

    Parameters
    ----------
    group
        Of h5py or zarr.
    elements
        By slot.
    options
        What `create_dataset` takes.
    """
    from anndata.io import write_elem

    with _writing():
        for slot, element in elements.items():
            write_elem(group, slot, element, dataset_kwargs=dict(options or {}))


def _fit(place: str, element: Any, scratch: Callable[[], Any], notes: list[str]) -> Any:
    import pandas as pd

    if isinstance(element, pd.DataFrame):
        return _fit_frame(place, element, scratch, notes)
    if not isinstance(element, dict):
        return element
    held = {}
    for name, value in element.items():
        where = f"{place}[{name!r}]"
        fit = _fit(where, value, scratch, notes)
        if _refused(scratch, name, fit):
            notes.append(f"{where} ({type(value).__name__}) is left out")
        else:
            held[name] = fit
    return held


def _fit_frame(
    place: str, frame: pd.DataFrame, scratch: Callable[[], Any], notes: list[str]
) -> pd.DataFrame:
    found = frame.copy(deep=False)
    for name in frame.columns:
        column, otherwise = _plainer(frame[name])
        where = f"{place}[{name!r}]"
        # Of text any row may be refused, of the rest only the type.
        probe = column if column.dtype.kind == "O" else column.iloc[:1]
        if _refused(scratch, name, probe.to_frame().reset_index(drop=True).rename_axis(None)):
            notes.append(f"{where} ({frame[name].dtype}) is left out")
            del found[name]
        elif otherwise:
            notes.append(f"{where} ({frame[name].dtype}) becomes {otherwise}")
            found[name] = column
    title = frame.index.name
    # A column of the same name takes the place of the index: it has to hold the same.
    taken = title in found.columns and not found.index.to_series().equals(found[title])
    if title is not None and (taken or not _is_name(title)):
        notes.append(f"the name of the index of {place}, {title!r}, is left out")
        found.index.name = None
    return found


def _plainer(column: pd.Series[Any]) -> tuple[pd.Series[Any], str]:
    """A column of Python objects as what anndata has a word for, and that in words."""
    import pandas as pd

    dtype: Any = column.dtype
    strings = isinstance(dtype, pd.ArrowDtype) and dtype.kind == "O"
    if dtype != np.dtype(object) and not strings:
        return column, ""
    kinds = {type(value) for value in column.dropna()}
    if kinds == {bool} and not column.hasnans:
        return column.astype(bool), "booleans"
    if kinds <= {str} and (column.hasnans or strings):
        return column.astype("string"), "nullable strings"
    return column, ""


def _refused(scratch: Callable[[], Any], name: Any, element: Any) -> bool:
    from anndata.io import write_elem

    if not _is_name(name):
        return True
    if _is_numeric(element):
        return False
    try:
        write_elem(scratch(), "element", element)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - the error of anndata's registry has no public name
        return True
    return False


def _is_numeric(element: Any) -> bool:
    """Whether it is of those that are large, and that anndata always writes."""
    import scipy.sparse as sp

    return sp.issparse(element) or (
        isinstance(element, np.ndarray) and element.dtype.kind in "biuf"
    )


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and name not in _NO_NAMES and not set("/\0") & set(name)


@contextmanager
def _writing() -> Iterator[None]:
    """Let anndata write strings of which some are missing: no release that is still read cannot."""
    import warnings

    import anndata

    with (
        warnings.catch_warnings(),
        anndata.settings.override(allow_write_nullable_strings=True),
    ):
        # zarr-python 3 says of strings in zarr 3 that they are not specified yet.
        warnings.filterwarnings("ignore", module="zarr")
        yield
