"""HDF5 enumerations, which R writes for logical columns and factors, with names and missing values.

anndata and h5py read the codes as numbers: R's NA, the code 2 of a logical, would be a value.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from slaf.annotations.plain_elements import NotPlainError, read_plain
from slaf.annotations.text import text_index
from slaf.errors import InputError
from slaf.sources.hdf5.links import try_resolve

if TYPE_CHECKING:
    import h5py

__all__ = ["decode_enumeration", "is_enumeration", "read_decoded"]

_MISSING: Final = "NA"
_LOGICAL: Final = frozenset({"FALSE", "TRUE", _MISSING})


def is_enumeration(element: Any) -> bool:
    """Whether an element is an array of an enumeration; booleans of h5py are none."""
    import h5py

    return isinstance(element, h5py.Dataset) and h5py.check_enum_dtype(element.dtype) is not None


def read_decoded(element: h5py.Group | h5py.Dataset) -> Any:
    """An element as anndata reads it, with the names of enumerations in place of their codes.

    Raises
    ------
    InputError
        As `decode_enumeration` does.
    """
    if is_enumeration(element):
        return decode_enumeration(element)
    if element.attrs.get("encoding-type") == "dict":
        return {name: read_decoded(element[name]) for name in element}
    with suppress(NotPlainError):
        return read_plain(element)
    import anndata

    return _with_enumerations(element, anndata.io.read_elem(element))


def _with_enumerations(element: Any, value: Any) -> Any:
    """The enumerations in a table or a mapping, and in mappings below it, decoded."""
    import pandas as pd

    names: Any = value if isinstance(value, dict | pd.DataFrame) else ()
    for name in names:
        member = try_resolve(element, name)
        if is_enumeration(member):
            value[name] = decode_enumeration(member)
        elif isinstance(value, dict) and member is not None:
            value[name] = _with_enumerations(member, value[name])
    return value


def decode_enumeration(dataset: h5py.Dataset) -> Any:
    """An enumeration as a nullable boolean array or a categorical; a single value as Python has it.

    "NA" is missing, and so is R's integer NA, the least of its type.

    Raises
    ------
    InputError
        If it has more than one dimension, or a code without a name.
    """
    import h5py
    import pandas as pd

    names = {code: name for name, code in h5py.check_enum_dtype(dataset.dtype).items()}
    codes = np.asarray(dataset[()])
    missing = [code for code, name in names.items() if name == _MISSING]
    missing.append(np.iinfo(codes.dtype).min)
    is_missing = np.isin(codes, missing) & ~np.isin(
        codes, [code for code, name in names.items() if name != _MISSING]
    )
    unnamed = ~is_missing & ~np.isin(codes, list(names))
    if codes.ndim > 1 or unnamed.any():
        what = f"the code {codes[unnamed][0]} without a name" if unnamed.any() else "a matrix"
        msg = f"{dataset.name} is an enumeration with {what}; write it as numbers or text"
        raise InputError(msg)
    logical = set(names.values()) <= _LOGICAL
    if codes.ndim == 0:
        name = None if is_missing else names[int(codes)]
        return name if name is None or not logical else name == "TRUE"
    if logical:
        true = [code for code, name in names.items() if name == "TRUE"]
        return pd.arrays.BooleanArray(np.isin(codes, true), is_missing)
    levels = sorted(code for code, name in names.items() if name != _MISSING)
    positions = np.where(is_missing, -1, np.searchsorted(levels, codes))
    categories = text_index(names[code] for code in levels)
    return pd.Categorical.from_codes(positions, categories=categories)
