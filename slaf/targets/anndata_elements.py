"""obs, var, obsm, varm, obsp, varp and uns in the types that anndata writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.annotations.dataframes import is_frame
from slaf.annotations.equality import is_sparse
from slaf.annotations.plain_elements import is_plain, write_plain
from slaf.annotations.uns import anndata_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd

__all__ = ["drop_unwritable", "is_name", "write_elements"]


# Path names in HDF5 and zarr, and anndata's name for the index.
_RESERVED = frozenset({"", ".", "..", "_index"})


def drop_unwritable(
    elements: Mapping[str, Any], new_group: Callable[[], Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The elements that anndata can write, and messages about the others.

    Parameters
    ----------
    elements
        By slot: frames, plain tables, and dictionaries of any depth.
    new_group
        Makes an empty group in memory, of the kind to write to. What anndata refuses to write
        there is left out.
    """
    messages: list[str] = []
    writable = {
        slot: _fit(slot, element, new_group, messages) for slot, element in elements.items()
    }
    return writable, tuple(messages)


def write_elements(
    group: Any, elements: Mapping[str, Any], array_options: Mapping[str, Any] | None = None
) -> None:
    """Write elements under the names of their slots.

    Parameters
    ----------
    group
        A group of h5py or zarr.
    elements
        By slot, as `drop_unwritable` gives them.
    array_options
        Keywords of h5py or zarr for arrays.
    """
    for slot, element in elements.items():
        # anndata takes no key with a slash, as in "raw/var".
        parent, _, name = slot.rpartition("/")
        _write(group[parent] if parent else group, name, element, dict(array_options or {}))


def _write(group: Any, name: str, element: Any, array_options: dict[str, Any]) -> None:
    import h5py

    if isinstance(group, h5py.Group) and is_plain(element):
        write_plain(group, name, element, array_options)
        return
    from anndata.io import write_elem

    # zarr-python 3 warns that strings are not in the specification of zarr 3 yet.
    with anndata_settings("zarr"):
        write_elem(group, name, element, dataset_kwargs=array_options)


def _fit(label: str, element: Any, new_group: Callable[[], Any], messages: list[str]) -> Any:
    if is_frame(element):
        return _fit_frame(label, element, new_group, messages)
    if not isinstance(element, dict):
        return element
    writable = {}
    for name, value in element.items():
        label_of_value = f"{label}[{name!r}]"
        fitted = _fit(label_of_value, value, new_group, messages)
        if _is_writable(new_group, name, fitted):
            writable[name] = fitted
        else:
            messages.append(f"{label_of_value} ({type(value).__name__}) is left out")
    return writable


def _fit_frame(
    label: str, frame: pd.DataFrame, new_group: Callable[[], Any], messages: list[str]
) -> pd.DataFrame:
    fitted = frame.copy(deep=False)
    for name in frame.columns:
        column, new_type = _fit_column(frame[name])
        column_label = f"{label}[{name!r}] ({frame[name].dtype})"
        # Strings are refused by value, others by type.
        sample = column if column.dtype.kind == "O" else column.iloc[:1]
        sample_frame = sample.to_frame().reset_index(drop=True).rename_axis(None)
        if not _is_writable(new_group, name, sample_frame):
            messages.append(f"{column_label} is left out")
            del fitted[name]
        elif new_type:
            messages.append(f"{column_label} becomes {new_type}")
            fitted[name] = column
    index_name = fitted.index.name
    # anndata stores a column with the name of the index in place of the index.
    differs = index_name in fitted.columns and not fitted.index.to_series().equals(
        fitted[index_name]
    )
    if index_name is not None and (differs or not is_name(index_name)):
        messages.append(f"the name of the index of {label}, {index_name!r}, is left out")
        fitted.index.name = None
    return fitted


def _fit_column(column: pd.Series[Any]) -> tuple[pd.Series[Any], str]:
    """A column in a type of anndata, and the name of the type; "" for one that has it already."""
    import pandas as pd

    dtype: Any = column.dtype
    if isinstance(dtype, pd.Float32Dtype | pd.Float64Dtype):
        return _fit_floats(column)
    arrow_strings = isinstance(dtype, pd.ArrowDtype) and dtype.kind == "O"
    if dtype != np.dtype(object) and not arrow_strings:
        return column, ""
    kinds = {type(value) for value in column.dropna()}
    if kinds == {bool} and not column.hasnans:
        return column.astype(bool), "booleans"
    if kinds <= {str} and (column.hasnans or arrow_strings):
        return column.astype("string"), "nullable strings"
    return column, ""


def _fit_floats(column: pd.Series[Any]) -> tuple[pd.Series[Any], str]:
    """Nullable floats, which AnnData on disk has not: NaN is the missing value there."""
    import pandas as pd

    dtype: Any = column.dtype
    plain = dtype.numpy_dtype
    values = column.to_numpy(plain, na_value=np.nan)
    has_both = column.isna().any() and np.isnan(values).sum() > column.isna().sum()
    told = ", where NaN and missing values are one" if has_both else ", with NaN where missing"
    return pd.Series(values, column.index, name=column.name), f"{plain}{told}"


def _is_writable(new_group: Callable[[], Any], name: Any, element: Any) -> bool:
    if not is_name(name):
        return False
    # Sparse matrices may be large.
    if is_sparse(element) or is_plain(element):
        return True
    try:
        _write(new_group(), "element", element, {})
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - the error of anndata's registry has no public name
        return False
    return True


def is_name(name: Any) -> bool:
    """Whether anndata can write an element of this name, and reads it back."""
    return isinstance(name, str) and name not in _RESERVED and not set("/\0") & set(name)
