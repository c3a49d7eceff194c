"""uns, and elements that no table holds, to HDF5 and back; uns to JSON for other programs."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import msgspec
import numpy as np

from slaf.annotations.equality import equal_elements, is_sparse
from slaf.annotations.plain_elements import NotPlainError, is_plain, read_plain, write_plain
from slaf.annotations.text import as_objects, text_labels, with_labels
from slaf.errors import InputError

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

__all__ = ["TypeHint", "anndata_settings", "as_json", "read_elements", "write_elements"]


# The JSON of a larger array is its shape and type.
_MAX_JSON_ELEMENTS: Final = 100_000


def as_json(value: Any) -> bytes:
    """The JSON of a value, for other programs: arrays as lists, frames by column, NaN as null.

    It cannot be read back as AnnData.

    Examples
    --------
    >>> as_json({"pca": {"variance": np.array([0.5, np.nan])}}).decode().split()
    ['{', '"pca":', '{', '"variance":', '[', '0.5,', 'null', ']', '}', '}']
    """
    text = json.dumps(value, default=_json_default)
    value = json.loads(text, parse_constant=lambda _: None)
    return json.dumps(value, indent=1, ensure_ascii=False).encode(errors="surrogatepass")


def _json_default(value: Any) -> Any:
    """The JSON of a value that is of no type of JSON."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, np.ndarray):
        return _array_as_json(value)
    if hasattr(value, "columns") and hasattr(value, "index"):
        columns = {str(name): value[name].tolist() for name in value.columns}
        return {"index": value.index.tolist(), "columns": columns}
    if is_sparse(value):
        described = {"shape": list(value.shape), "dtype": str(value.dtype), "stored": value.nnz}
        return described | {"kind": type(value).__name__}
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _array_as_json(array: NDArray[Any]) -> Any:
    if array.size > _MAX_JSON_ELEMENTS:
        return {"shape": list(array.shape), "dtype": str(array.dtype)}
    if array.dtype.names is not None:
        return {name: _array_as_json(array[name]) for name in array.dtype.names}
    return array.tolist()


_SCALARS = {kind.__name__: kind for kind in (bool, int, float, str)}
_SCALAR = "scalar"
_TEXT = "text"


class TypeHint(msgspec.Struct, frozen=True, omit_defaults=True):
    """The type of an element that anndata reads back as another type.

    Attributes
    ----------
    path
        The keys of the element.
    kind
        The Python type: "list", "int", "recarray", …; "scalar" for numpy's scalars, "text" for a
        table or an array of pandas.
    dtype
        The type of the elements of a numpy array, as numpy describes it; of "text" its types.
    """

    path: tuple[str, ...]
    kind: str
    dtype: Any = None


def write_elements(elements: Mapping[str, Any]) -> tuple[bytes, list[TypeHint]]:
    """The content of an HDF5 file with these elements, and the hints to read it back.

    Parameters
    ----------
    elements
        By name; mappings become groups.

    Raises
    ------
    InputError
        If an element cannot be written, or is not read back unchanged; the error names it.
    """
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, element in elements.items():
            _write(file, name, element, (name,))
    read_back = read_elements(buffer, [])
    hints = [h for name in elements for h in _hints(elements[name], read_back[name], (name,))]
    return buffer.getvalue(), hints


def read_elements(file: str | os.PathLike[str] | BinaryIO, hints: list[TypeHint]) -> dict[str, Any]:
    """The elements that `write_elements` wrote.

    Parameters
    ----------
    file
        The file, or its content.
    hints
        As `write_elements` gave them.
    """
    import h5py

    with h5py.File(file, "r") as opened:
        elements = {name: _read(opened[name]) for name in opened}
    for hint in hints:
        *groups, last = hint.path
        group = elements
        for key in groups:
            group = group[key]
        group[last] = _restored(group[last], hint)
    return elements


def _read(node: Any) -> Any:
    if node.attrs.get("encoding-type") == "dict":
        return {name: _read(node[name]) for name in node}
    with suppress(NotPlainError):
        return read_plain(node)
    import anndata

    with anndata_settings():
        return anndata.io.read_elem(node)


@contextmanager
def anndata_settings(ignored_module: str = "") -> Iterator[None]:
    """A context in which anndata writes nullable strings and some warnings are ignored.

    Parameters
    ----------
    ignored_module
        The module whose warnings are ignored; all warnings if empty.
    """
    import anndata

    with (
        warnings.catch_warnings(),
        # Every supported release of anndata reads them.
        anndata.settings.override(allow_write_nullable_strings=True),
    ):
        warnings.filterwarnings("ignore", module=ignored_module)
        yield


def _write(file: Any, name: str, element: Any, path: tuple[str, ...]) -> None:
    """Write an element, mappings key by key, so that an error names the key."""
    if isinstance(element, Mapping):
        file.create_group(name).attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})
        # In the order in which HDF5 lists them: equal elements give equal bytes.
        for key, value in sorted(element.items(), key=lambda item: str(item[0])):
            if not isinstance(key, str) or "/" in key or not key:
                msg = (
                    f"{_joined(path)} has the key {key!r}, which HDF5 cannot store; rename it, or "
                    f"{_leave_out((*path, key))}"
                )
                raise InputError(msg)
            _write(file[name], key, value, (*path, key))
        return
    element = as_objects(element)
    if is_plain(element):
        write_plain(file, name, element)
        return
    import anndata
    from anndata._io.specs.registry import IORegistryError

    try:
        with anndata_settings():
            anndata.io.write_elem(file, name, element)
    except (IORegistryError, OSError, TypeError, ValueError, RuntimeError, LookupError) as error:
        reason = str(error).partition("\n")[0]
        msg = (
            f"{_joined(path)} holds a {type(element).__name__}, which anndata cannot write "
            f"({reason}); change it, or {_leave_out(path)}"
        )
        raise InputError(msg) from error


def _hints(element: Any, read_back: Any, path: tuple[str, ...]) -> Iterator[TypeHint]:
    mappings = isinstance(element, Mapping) and isinstance(read_back, Mapping)
    if mappings and set(element) == set(read_back):
        for key in element:
            yield from _hints(element[key], read_back[key], (*path, key))
        return
    labels = text_labels(element)
    if not labels and equal_elements(element, read_back):
        return
    # Also for text that is equal here: another pandas may read another type.
    hint = TypeHint(path, _TEXT, labels) if labels else _hint(element, path)
    if not _is_restored(element, read_back, hint):
        msg = (
            f"{_joined(path)} holds a {type(element).__name__}, which anndata reads back as a "
            f"{type(read_back).__name__} that is not equal; change it, or {_leave_out(path)}"
        )
        raise InputError(msg)
    yield hint


def _hint(element: Any, path: tuple[str, ...]) -> TypeHint:
    if isinstance(element, np.generic):
        return TypeHint(path, _SCALAR, element.dtype.str)
    dtype = _descr(element.dtype) if isinstance(element, np.ndarray) else None
    return TypeHint(path, type(element).__name__, dtype)


def _is_restored(element: Any, read_back: Any, hint: TypeHint) -> bool:
    try:
        return equal_elements(element, _restored(read_back, hint))
    except (TypeError, ValueError, AttributeError):
        return False


def _restored(read_back: Any, hint: TypeHint) -> Any:  # noqa: PLR0911 - one for each kind
    if hint.kind == _TEXT:
        return with_labels(read_back, hint.dtype)
    if hint.kind in _SCALARS:
        return _SCALARS[hint.kind](read_back)
    if hint.kind in {"list", "tuple"}:
        values = read_back.tolist() if hasattr(read_back, "tolist") else list(read_back)
        return values if hint.kind == "list" else tuple(values)
    if is_sparse(read_back):
        import scipy.sparse as sp

        return getattr(sp, hint.kind)(read_back)
    if hint.dtype is None:
        return read_back
    if hint.kind == _SCALAR:
        return _dtype(hint.dtype).type(read_back)
    array = np.asarray(read_back).astype(_dtype(hint.dtype))
    return array.view(np.recarray) if hint.kind == "recarray" else array


def _descr(dtype: np.dtype[Any]) -> Any:
    """The JSON of a numpy type."""
    if dtype.names is None:
        # Of text of any length, which anndata reads from zarr, `str` is not a name of the type.
        return dtype.char if dtype.kind == "T" else dtype.str
    return [[name, _descr(dtype[name])] for name in dtype.names]


def _dtype(descr: Any) -> np.dtype[Any]:
    if isinstance(descr, str):
        return np.dtype(descr)
    return np.dtype([(name, _dtype(field)) for name, field in descr])


def _leave_out(path: tuple[Any, ...]) -> str:
    """How to leave out the element with these keys; of uns the whole first key."""
    return f"leave it out with --without {':'.join(map(str, path[:2]))}"


def _joined(path: tuple[str, ...]) -> str:
    return path[0] + "".join(f"[{key!r}]" for key in path[1:])
