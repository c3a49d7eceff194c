"""Elements that no table holds, in an HDF5 file by anndata's own writer, and back as they were.

anndata gives some things back as others: a list as an array, text of fixed length as objects. What
such a thing was is noted beside the file; what cannot be given back as it was is refused.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from slaf.equality import is_sparse, same
from slaf.errors import InputError

if TYPE_CHECKING:
    import os

__all__ = ["Note", "pack", "unpack"]

_SCALARS = {kind.__name__: kind for kind in (bool, int, float, str)}
_SCALAR = "scalar"


@dataclass(frozen=True, slots=True)
class Note:
    """What an element was that anndata gives back as something else.

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

    def to_json(self) -> dict[str, Any]:
        """As config.json has it."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Note:
        """As `to_json` wrote it."""
        return cls(tuple(data["path"]), data["kind"], data.get("dtype"))


def pack(elements: Mapping[str, Any]) -> tuple[bytes, list[Note]]:
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
    found = unpack(buffer, [])
    notes = [note for name in elements for note in _notes(elements[name], found[name], (name,))]
    return buffer.getvalue(), notes


def unpack(file: str | os.PathLike[str] | BinaryIO, notes: list[Note]) -> dict[str, Any]:
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
    from anndata._io.specs.registry import IORegistryError  # which anndata names nowhere else

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


def _notes(was: Any, found: Any, path: tuple[str, ...]) -> Iterator[Note]:
    if same(was, found):
        return
    if isinstance(was, Mapping) and isinstance(found, Mapping) and set(was) == set(found):
        for key in was:
            yield from _notes(was[key], found[key], (*path, key))
        return
    note = _note(was, path)
    if not _is_restored(was, found, note):
        msg = (
            f"{_place(path)} holds a {type(was).__name__} that would come back as a "
            f"{type(found).__name__} that is not the same; remove or change it"
        )
        raise InputError(msg)
    yield note


def _note(was: Any, path: tuple[str, ...]) -> Note:
    if isinstance(was, np.generic):
        return Note(path, _SCALAR, was.dtype.str)
    if is_sparse(was):
        return Note(path, type(was).__name__)
    dtype = _descr(was.dtype) if isinstance(was, np.ndarray) else None
    return Note(path, type(was).__name__, dtype)


def _is_restored(was: Any, found: Any, note: Note) -> bool:
    try:
        return same(was, _restored(found, note))
    except (TypeError, ValueError, AttributeError):
        return False


def _restored(found: Any, note: Note) -> Any:
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
