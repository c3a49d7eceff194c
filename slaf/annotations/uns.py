"""Whatever uns may hold as JSON that people and other programs read; not the way back."""

from __future__ import annotations

import io
import json
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import msgspec
import numpy as np

from slaf.annotations.equality import equal_elements, is_sparse
from slaf.errors import InputError

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

__all__ = ["TypeHint", "as_json", "read_elements", "write_elements"]


# Of a larger array only the shape and the type are told.
_MOST_ELEMENTS: Final = 100_000


def as_json(value: Any) -> bytes:
    """The value as JSON: arrays as lists, tables as lists by column, NaN as null.

    Examples
    --------
    >>> as_json({"pca": {"variance": np.array([0.5, np.nan])}}).decode().split()
    ['{', '"pca":', '{', '"variance":', '[', '0.5,', 'null', ']', '}', '}']
    """
    return json.dumps(_plain(value), indent=1, ensure_ascii=False, allow_nan=False).encode(
        errors="surrogatepass"
    )


def _plain(value: Any) -> Any:  # noqa: PLR0911 - one for each kind of element
    if isinstance(value, Mapping):
        return {str(key): _plain(held) for key, held in value.items()}
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, np.ndarray):
        return _plain_array(value)
    if isinstance(value, list | tuple):
        return [_plain(held) for held in value]
    if hasattr(value, "columns") and hasattr(value, "index"):
        columns = {str(name): _plain(value[name].tolist()) for name in value.columns}
        return {"index": _plain(value.index.tolist()), "columns": columns}
    if is_sparse(value):
        kind = type(value).__name__
        return {"shape": list(value.shape), "dtype": str(value.dtype), "stored": value.nnz} | {
            "kind": kind
        }
    return _plain(value.tolist()) if hasattr(value, "tolist") else str(value)


def _plain_array(array: NDArray[Any]) -> Any:
    if array.size > _MOST_ELEMENTS:
        return {"shape": list(array.shape), "dtype": str(array.dtype)}
    if array.dtype.names is not None:
        return {name: _plain_array(array[name]) for name in array.dtype.names}
    return _plain(array.tolist())


_SCALARS = {kind.__name__: kind for kind in (bool, int, float, str)}
_SCALAR = "scalar"


class TypeHint(msgspec.Struct, frozen=True, omit_defaults=True):
    """The type of an element that anndata reads as another type.

    Attributes
    ----------
    path
        The keys that lead to it.
    kind
        The Python type: "list", "int", "recarray", …; "scalar" of any of numpy's.
    dtype
        Of numpy's, the type of the elements, as numpy describes it.
    """

    path: tuple[str, ...]
    kind: str
    dtype: Any = None


def write_elements(elements: Mapping[str, Any]) -> tuple[bytes, list[TypeHint]]:
    """The content of a file that holds these elements, and what it does not say of them.

    Parameters
    ----------
    elements
        By name; mappings of mappings become groups.

    Raises
    ------
    InputError
        If one cannot be written, or would come back changed; the error says which.
    """
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, element in elements.items():
            _write(file, name, element, (name,))
    found = read_elements(buffer, [])
    notes = [note for name in elements for note in _hints(elements[name], found[name], (name,))]
    return buffer.getvalue(), notes


def read_elements(file: str | os.PathLike[str] | BinaryIO, notes: list[TypeHint]) -> dict[str, Any]:
    """The elements that `pack` was given.

    Parameters
    ----------
    file
        The file, or its content.
    notes
        What came with it.
    """
    import anndata
    import h5py

    with _quietly(), h5py.File(file, "r") as opened:
        found = {name: anndata.io.read_elem(opened[name]) for name in opened}
    for note in notes:
        *above, last = note.path
        holder = found
        for key in above:
            holder = holder[key]
        holder[last] = _restored(holder[last], note)
    return found


def _write(file: Any, name: str, element: Any, path: tuple[str, ...]) -> None:
    """Write one element, key by key, so that an error can say which it is about."""
    import anndata
    from anndata._io.specs.registry import IORegistryError

    if isinstance(element, Mapping):
        with _quietly():
            anndata.io.write_elem(file, name, {})
        # A file gives them back in this order: so the same elements are the same bytes again.
        for key, value in sorted(element.items(), key=lambda item: str(item[0])):
            if not isinstance(key, str) or "/" in key or not key:
                msg = f"{_place(path)} has the key {key!r}, which no file holds; rename it"
                raise InputError(msg)
            _write(file[name], key, value, (*path, key))
        return
    try:
        with _quietly():
            anndata.io.write_elem(file, name, element)
    except (IORegistryError, OSError, TypeError, ValueError, RuntimeError, LookupError) as error:
        reason = str(error).partition("\n")[0]
        msg = (
            f"{_place(path)} holds a {type(element).__name__}, which anndata cannot write "
            f"({reason}); remove or change it"
        )
        raise InputError(msg) from error


def _hints(was: Any, found: Any, path: tuple[str, ...]) -> Iterator[TypeHint]:
    if equal_elements(was, found):
        return
    if isinstance(was, Mapping) and isinstance(found, Mapping) and set(was) == set(found):
        for key in was:
            yield from _hints(was[key], found[key], (*path, key))
        return
    note = _hint(was, path)
    if not _is_restored(was, found, note):
        msg = (
            f"{_place(path)} holds a {type(was).__name__} that would come back as a "
            f"{type(found).__name__} that is not the same; remove or change it"
        )
        raise InputError(msg)
    yield note


def _hint(was: Any, path: tuple[str, ...]) -> TypeHint:
    if isinstance(was, np.generic):
        return TypeHint(path, _SCALAR, was.dtype.str)
    if is_sparse(was):
        return TypeHint(path, type(was).__name__)
    dtype = _descr(was.dtype) if isinstance(was, np.ndarray) else None
    return TypeHint(path, type(was).__name__, dtype)


def _is_restored(was: Any, found: Any, note: TypeHint) -> bool:
    try:
        return equal_elements(was, _restored(found, note))
    except (TypeError, ValueError, AttributeError):
        return False


def _restored(found: Any, note: TypeHint) -> Any:
    if note.kind in _SCALARS:
        return _SCALARS[note.kind](found)
    if note.kind in {"list", "tuple"}:
        values = found.tolist() if hasattr(found, "tolist") else list(found)
        return values if note.kind == "list" else tuple(values)
    if is_sparse(found):
        import scipy.sparse as sp

        return getattr(sp, note.kind)(found)
    if note.dtype is None:
        return found
    if note.kind == _SCALAR:
        return _dtype(note.dtype).type(found)
    array = np.asarray(found).astype(_dtype(note.dtype))
    return array.view(np.recarray) if note.kind == "recarray" else array


def _descr(dtype: np.dtype[Any]) -> Any:
    """A type as JSON can hold it."""
    if dtype.names is None:
        return dtype.str
    return [[name, _descr(dtype[name])] for name in dtype.names]


def _dtype(described: Any) -> np.dtype[Any]:
    if isinstance(described, str):
        return np.dtype(described)
    return np.dtype([(name, _dtype(kind)) for name, kind in described])


def _place(path: tuple[str, ...]) -> str:
    return path[0] + "".join(f"[{key!r}]" for key in path[1:])


@contextmanager
def _quietly() -> Iterator[None]:
    import anndata

    with (
        warnings.catch_warnings(),
        anndata.settings.override(allow_write_nullable_strings=True),
    ):
        warnings.simplefilter("ignore")
        yield
