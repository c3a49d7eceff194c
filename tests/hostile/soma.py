"""TileDB-SOMA experiments from strangers."""

from __future__ import annotations

import shutil
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import tiledbsoma

from slaf.testing.strategies import Stored
from tests.formats.builders import write_soma, write_to
from tests.hostile.case import Case, converted, either, refused
from tests.hostile.edits import copied, flipped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.hostile.edits import Write

__all__ = ["CASES", "DENSE", "SPARSE", "STORED"]

STORED = Stored(
    (5, 4),
    np.array([0, 0, 2, 3, 3, 4]),
    np.array([1, 3, 0, 0, 2, 3]),
    np.array([1, 2, 3, 4, 5, 6], np.int32),
)
X = "ms/RNA/X/data"


def _written(**how: Any) -> Write:
    return copied(lambda folder: write_soma(folder / "in", STORED, **how))


SPARSE, DENSE = _written(), _written(dense=True)
# Join ids with gaps: of a dense layer, so wide that it could not be read at once.
FAR = 2**36


def _spoilt(good: Write, spoil: Callable[[Path], object]) -> Write:
    def write(folder: Path) -> Path:
        path = good(folder)
        spoil(path)
        return path

    return write


def _gone(pattern: str) -> Callable[[Path], None]:
    """Without what matches."""

    def spoil(path: Path) -> None:
        found = sorted(path.glob(pattern))
        assert found, pattern
        for place in found:
            if place.is_dir():
                shutil.rmtree(place)
            else:
                place.unlink()

    return spoil


def _halved(pattern: str, share: float = 0.5) -> Callable[[Path], None]:
    """With the first file that matches cut short."""

    def spoil(path: Path) -> None:
        file = next(p for p in sorted(path.glob(pattern)) if p.is_file())
        data = file.read_bytes()
        file.write_bytes(data[: int(len(data) * share)])

    return spoil


def _emptied(pattern: str) -> Callable[[Path], None]:
    return _halved(pattern, 0)


def _linked(pattern: str, target: str) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        place = min(path.glob(pattern))
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink()
        place.symlink_to(target)

    return spoil


def _with_metadata(where: str, key: str, value: Any) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        with write_to(path / where) as part:
            part.metadata[key] = value

    return spoil


def _replaced(where: str, make: Callable[[Any, str], Any]) -> Callable[[Path], None]:
    """With another array in the place of one."""

    def spoil(path: Path) -> None:
        parent, name = (path / where).parent, (path / where).name
        with write_to(parent) as group:
            del group[name]
        shutil.rmtree(path / where)
        # Of two changes in one millisecond TileDB keeps either.
        time.sleep(0.002)
        with write_to(parent) as group:
            made = make(group, name)
            made.close()

    return spoil


def _add_huge(group: Any, name: str) -> Any:
    return group.add_new_sparse_ndarray(name, type=pa.int32(), shape=(2**62, 2**40))


def _add_small(group: Any, name: str) -> Any:
    return group.add_new_sparse_ndarray(name, type=pa.int32(), shape=(3, 2))


def _add_cube(group: Any, name: str) -> Any:
    return group.add_new_sparse_ndarray(name, type=pa.int32(), shape=(5, 4, 3))


def _add_line(group: Any, name: str) -> Any:
    return group.add_new_sparse_ndarray(name, type=pa.int32(), shape=(5,))


def _add_frame(group: Any, name: str) -> Any:
    schema = pa.schema([("soma_joinid", pa.int64()), ("a", pa.int64())])
    return group.add_new_dataframe(name, schema=schema, domain=[(0, 4)])


def _add_collection(group: Any, name: str) -> Any:
    return group.add_new_collection(name)


def _huge_dense(group: Any, name: str) -> Any:
    return group.add_new_dense_ndarray(name, type=pa.int32(), shape=(FAR, 4))


def _wide_dense(group: Any, name: str) -> Any:
    return group.add_new_dense_ndarray(name, type=pa.int32(), shape=(5, FAR))


def _entry_beyond(path: Path) -> None:
    """An entry of a cell that is none."""
    _replaced(X, partial(_add_of_shape, shape=(9, 4)))(path)
    with write_to(path / X) as array:
        dims = {"soma_dim_0": pa.array([7]), "soma_dim_1": pa.array([1])}
        array.write(pa.table(dims | {"soma_data": pa.array([1], pa.int32())}))


def _add_of_shape(group: Any, name: str, shape: tuple[int, int]) -> Any:
    return group.add_new_sparse_ndarray(name, type=pa.int32(), shape=shape)


def _no_experiment(path: Path) -> None:
    """A collection that says it is something else."""
    shutil.rmtree(path)
    tiledbsoma.Collection.create(str(path)).close()


CASES: dict[str, Case] = {
    "a folder that says it is a group": refused(
        _spoilt(SPARSE, _gone("[!_]*")), "there is no|cannot be|not an experiment"
    ),
    "no metadata": refused(_spoilt(SPARSE, _gone("__meta/*")), "not an experiment"),
    "a collection that is no experiment": refused(
        _spoilt(SPARSE, _no_experiment), "not an experiment"
    ),
    "no obs": refused(_spoilt(SPARSE, _gone("obs")), "obs|cannot be read|not an experiment"),
    "no var": refused(_spoilt(SPARSE, _gone("ms/RNA/var")), "cannot be read|there is no"),
    "no X": refused(_spoilt(SPARSE, _gone("ms/RNA/X")), "cannot be read|no matrix"),
    "no layer": refused(_spoilt(SPARSE, _gone(X)), "cannot be read|no matrix"),
    "no measurement": refused(_spoilt(SPARSE, _gone("ms/RNA")), "cannot be read|measurement"),
    "no schema of obs": refused(_spoilt(SPARSE, _gone("obs/__schema/*")), "cannot be read|obs"),
    "no schema of X": refused(_spoilt(SPARSE, _gone(f"{X}/__schema/*")), "cannot be read"),
    "no fragments of obs": refused(
        _spoilt(SPARSE, _gone("obs/__fragments/*")), "join id|obs|cannot be read"
    ),
    "fragments of obs without a file": refused(
        _spoilt(SPARSE, _gone("obs/__fragments/*/a0.tdb")), "cannot be read|obs"
    ),
    "fragments of X without a file": refused(
        _spoilt(SPARSE, _gone(f"{X}/__fragments/*/a0.tdb")), "cannot be read"
    ),
    "fragments of X without places": refused(
        _spoilt(SPARSE, _gone(f"{X}/__fragments/*/d1.tdb")), "cannot be read"
    ),
    "fragments of X without a description": refused(
        _spoilt(SPARSE, _gone(f"{X}/__fragments/*/__fragment_metadata.tdb")), "cannot be read"
    ),
    "a cut description of X": refused(
        _spoilt(SPARSE, _halved(f"{X}/__fragments/*/__fragment_metadata.tdb")), "cannot be read"
    ),
    "cut values of X": refused(
        _spoilt(SPARSE, _halved(f"{X}/__fragments/*/a0.tdb")), "cannot be read"
    ),
    "empty values of X": refused(
        _spoilt(SPARSE, _emptied(f"{X}/__fragments/*/a0.tdb")), "cannot be read"
    ),
    "cut places of X": refused(
        _spoilt(SPARSE, _halved(f"{X}/__fragments/*/d0.tdb")), "cannot be read"
    ),
    "a cut schema of X": refused(_spoilt(SPARSE, _halved(f"{X}/__schema/*")), "cannot be read"),
    "an empty schema of X": refused(_spoilt(SPARSE, _emptied(f"{X}/__schema/*")), "cannot be read"),
    "a cut group": refused(_spoilt(SPARSE, _halved("__group/*")), "not an experiment|cannot be"),
    "an empty group": refused(_spoilt(SPARSE, _emptied("__group/*")), "not an experiment|cannot"),
    "a group of a measurement that is cut": refused(
        _spoilt(SPARSE, _halved("ms/RNA/__group/*")), "cannot be read"
    ),
    "cut metadata": refused(_spoilt(SPARSE, _halved("__meta/*")), "not an experiment"),
    "cut values of a dense layer": refused(
        _spoilt(DENSE, _halved(f"{X}/__fragments/*/a0.tdb")), "cannot be read"
    ),
    "a dense layer without fragments": refused(
        _spoilt(DENSE, _gone(f"{X}/__fragments/*")), "not written for all|cannot be read"
    ),
    "a sparse layer without fragments": either(_spoilt(SPARSE, _gone(f"{X}/__fragments/*"))),
    "a layer of 2^62 × 2^40": converted(
        _spoilt(SPARSE, _replaced(X, _add_huge)),
        Stored((5, 4), *(np.array([], int) for _ in range(3))),
    ),
    "a layer that is too small": refused(
        _spoilt(SPARSE, _replaced(X, _add_small)), "has the shape 3 × 2"
    ),
    "a layer of three dimensions": refused(_spoilt(SPARSE, _replaced(X, _add_cube)), "dimensions"),
    "a layer of one dimension": refused(_spoilt(SPARSE, _replaced(X, _add_line)), "dimensions"),
    "a layer that is a table": refused(_spoilt(SPARSE, _replaced(X, _add_frame)), "layer|array"),
    "a layer that is a collection": refused(
        _spoilt(SPARSE, _replaced(X, _add_collection)), "layer|array"
    ),
    "an entry of a cell that is none": refused(_spoilt(SPARSE, _entry_beyond), "join id 7"),
    "a dense layer of 2^36 cells": refused(
        _spoilt(DENSE, _replaced(X, _huge_dense)), "not written for all cells"
    ),
    "a dense layer of 2^36 genes": refused(
        _spoilt(DENSE, _replaced(X, _wide_dense)), "not written for all cells"
    ),
    "cells that lie 2^36 apart in a dense layer": refused(
        _spoilt(_written(dense=False, cell_joins=(0, 1, 2, 3, FAR - 1)), _replaced(X, _huge_dense)),
        "apart|not written",
    ),
    "cells that lie 2^36 apart": converted(_written(cell_joins=(0, 1, 2, 3, FAR - 1)), STORED),
    "a name of the index that is no JSON": refused(
        _spoilt(SPARSE, _with_metadata("obs", "soma_dataframe_original_index_name", "{")),
        "cannot be read",
    ),
    "a name of the index that is a list": either(
        _spoilt(SPARSE, _with_metadata("obs", "soma_dataframe_original_index_name", "[1]"))
    ),
    "a name of the index that is a number": either(
        _spoilt(SPARSE, _with_metadata("obs", "soma_dataframe_original_index_name", 7))
    ),
    "cells of one name": converted(_written(obs={"obs_id": ["a"] * 5}), STORED),
    "cells without a name": converted(_written(obs={"obs_id": [""] * 5}), STORED),
    "a name of a megabyte": converted(_written(obs={"obs_id": ["x" * (1 << 20), *"bcde"]}), STORED),
    "a link out of the folder": either(_spoilt(SPARSE, _linked(f"{X}/__fragments/*", "/etc"))),
    "a link to nothing": either(_spoilt(SPARSE, _linked("obs/__fragments/*", "nowhere"))),
    "a link in a circle": refused(_spoilt(SPARSE, _linked("obs", "obs")), "obs|cannot be read"),
    # Where a size of TileDB's own is changed, TileDB takes gigabytes before it notices: 401, 405.
    **{
        f"bytes changed, {seed}": either(flipped(SPARSE, seed))
        for seed in (400, 402, 403, 404, 406, 407, 408, 409)
    },
}
