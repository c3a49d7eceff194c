"""Types of text in pandas, which its releases choose differently.

pandas 2 keeps text as Python objects, pandas 3 in a type `str` of its own. Both are `TEXT` here: as
a file says only that there is text, it is read as the pandas of the reader has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pandas as pd
    from numpy.typing import NDArray

__all__ = [
    "OBJECTS",
    "STRING",
    "TEXT",
    "as_objects",
    "is_text_type",
    "label_of",
    "made_alike",
    "text_array",
    "text_index",
    "text_labels",
    "text_type",
    "with_labels",
]

# In `Column.dtype`: text in the type that pandas itself gives it.
TEXT: Final = "object"
# Text as Python objects, where pandas itself has another type for it.
OBJECTS: Final = "O"
# The start of pandas' string types; the storage follows.
STRING: Final = "string["

_INDEX: Final = "index"
_NAMES: Final = "columns"
_VALUES: Final = "values"


def text_type() -> Any:
    """The type that pandas itself gives text: objects in pandas 2, `str` from pandas 3 on."""
    import pandas as pd

    return pd.Index([""]).dtype


def _pandas_has_objects() -> bool:
    # numpy calls its type of objects equal to types of pandas.
    return isinstance(text_type(), np.dtype)


def text_index(values: Iterable[Any], name: Any = None) -> pd.Index[Any]:
    """An index of text, of that type though it may be empty."""
    import pandas as pd

    index: pd.Index[Any] = pd.Index(list(values), dtype=text_type(), name=name)
    return index


def is_text_type(name: str) -> bool:
    """True for a type of text, as `Column` names it."""
    return name in {TEXT, OBJECTS} or name.startswith(STRING)


def label_of(values: Any) -> tuple[str, str | None] | None:
    """The type of text and the marker of missing values, as `Column` has them.

    None for what is not text. Text of pandas 3 is `TEXT` only if there is some, and none missing:
    only then anndata reads it back from what it writes of objects.
    """
    dtype = values.dtype
    if dtype == np.dtype(object):
        return (TEXT if _pandas_has_objects() else OBJECTS), "None"
    label = _string_label(dtype)
    if label is not None and dtype == text_type() and len(values) and not values.isna().any():
        return TEXT, "None"
    return label


def _string_label(dtype: Any) -> tuple[str, str] | None:
    import pandas as pd

    if not isinstance(dtype, pd.StringDtype):
        return None
    return f"{STRING}{dtype.storage}]", "NA" if dtype.na_value is pd.NA else "nan"


def text_array(objects: NDArray[np.object_], dtype: str, missing: str | None) -> Any:
    """Text in its type.

    Parameters
    ----------
    objects
        The text, None where it is missing.
    dtype, missing
        As `label_of` gives them.
    """
    import pandas as pd

    if dtype.startswith(STRING):
        return pd.array(objects, dtype=_string_type(dtype, missing))
    if dtype == TEXT and not _pandas_has_objects():
        return pd.array(objects, dtype=text_type())
    if missing == "nan":
        objects[pd.isna(objects)] = np.nan
    return objects


def text_labels(element: Any) -> list[list[Any]]:
    """Where a table or an array of pandas has text of other types than `TEXT`, and these types.

    A file does not tell them apart as pandas does.
    """
    labels = (
        # An array of strings is no array of numpy, as an array of objects would be.
        (where, _string_label(values.dtype) if values is element else label_of(values))
        for where, values in _parts(element)
    )
    return [[where, *label] for where, label in labels if label is not None and label[0] != TEXT]


def with_labels(element: Any, labels: Iterable[Iterable[Any]]) -> Any:
    """A table or an array of pandas with its text in these types.

    Parameters
    ----------
    element
        The element, which is not changed.
    labels
        As `text_labels` gives them.
    """
    parts = dict(_parts(element))
    for where, dtype, missing in labels:
        text = text_array(_objects(parts[where]), str(dtype), missing)
        element = _replaced(element, where, text)
    return element


def as_objects(element: Any) -> Any:
    """A table or categories with `TEXT` as Python objects, which every anndata writes alike."""
    of_text = [
        (where, OBJECTS, "None")
        for where, values in _parts(element)
        if values is not element and values.dtype != np.dtype(object) and _is_plain(values)
    ]
    return with_labels(element, of_text)


def _is_plain(values: Any) -> bool:
    label = label_of(values)
    return label is not None and label[0] == TEXT


def made_alike(first: Any, second: Any) -> tuple[Any, Any]:
    """Two elements with their text as Python objects wherever it is of different types."""
    types, others = _types(first), _types(second)
    different = [where for where in types if types[where] != others.get(where, types[where])]
    as_plain = [(where, OBJECTS, "None") for where in different]
    return with_labels(first, as_plain), with_labels(second, as_plain)


def _types(element: Any) -> dict[str | int, str]:
    labels = ((where, label_of(values)) for where, values in _parts(element))
    return {where: label[0] for where, label in labels if label is not None}


def _string_type(dtype: str, missing: str | None) -> Any:
    import pandas as pd

    storage = dtype[len(STRING) : -1]
    if missing is None:
        import pyarrow as pa

        # Arrow's own strings, which pandas writes alike.
        return pd.ArrowDtype(pa.string())
    return pd.StringDtype(storage, na_value=np.nan) if missing == "nan" else pd.StringDtype(storage)


def _parts(element: Any) -> Iterator[tuple[str | int, Any]]:
    """The axes and columns of a table, or an array of pandas itself; of categories their values."""
    if type(element).__module__.partition(".")[0] != "pandas":
        return
    import pandas as pd

    if isinstance(element, pd.DataFrame):
        yield _INDEX, element.index
        yield _NAMES, element.columns
        for at in range(element.shape[1]):
            yield at, _values(element.iloc[:, at])
    elif isinstance(element, pd.api.extensions.ExtensionArray):
        yield _VALUES, _values(element)


def _values(column: Any) -> Any:
    return getattr(column.dtype, "categories", column)


def _objects(values: Any) -> NDArray[np.object_]:
    objects: NDArray[np.object_] = values.to_numpy(object, copy=True, na_value=None)
    return objects


def _replaced(element: Any, where: str | int, text: Any) -> Any:
    """An element with other text in one of its parts."""
    import pandas as pd

    if where == _VALUES:
        return _with_text(element, text)
    if isinstance(where, str):
        axis = 0 if where == _INDEX else 1
        name = element.axes[axis].name
        return element.set_axis(pd.Index(text, dtype=text.dtype, name=name), axis=axis)
    changed = element.copy(deep=False)
    values = _with_text(element.iloc[:, where].array, text)
    # Without the type pandas 3 infers strings from objects.
    changed.isetitem(where, pd.Series(values, index=element.index, dtype=values.dtype))
    return changed


def _with_text(array: Any, text: Any) -> Any:
    import pandas as pd

    if not hasattr(array, "categories"):
        return text
    categories = pd.Index(text, dtype=text.dtype)
    return pd.Categorical.from_codes(array.codes, categories=categories, ordered=array.ordered)
