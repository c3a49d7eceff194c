"""TileDB-SOMA: an experiment of one measurement, and of raw's own if there is a raw."""

from __future__ import annotations

import gc
import logging
import re
import sys
import traceback
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from slaf.errors import StorageError, TargetError
from slaf.runtime.prefetch import prefetch
from slaf.sparse.casting import exact_cast
from slaf.targets.base import TargetFormat
from slaf.targets.contents import LAYERS, RAW, X
from slaf.targets.csr import progress_total, with_progress
from slaf.targets.soma_elements import fit_element

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import anndata
    import pandas as pd

    from slaf.runtime.progress import Progress
    from slaf.targets.base import WriteOptions
    from slaf.targets.contents import Contents, Matrix

__all__ = ["FORMAT", "SomaTarget"]

_MEASUREMENT: Final = "RNA"
_RAW_MEASUREMENT: Final = "raw"
_LAYER: Final = "data"

# tiledbsoma writes of raw only X and var.
_RAW_VARM: Final = "raw/varm"
_AHEAD = 2

# The last is what it says of an array that it has just written, when the clock was set back.
_OF_THE_DISK = re.compile(r"IO Error|TileDB::IO|is not a SOMA")


class SomaTarget:
    """An experiment: its tables as tiledbsoma writes them, its X layers streamed.

    Parameters
    ----------
    contents
        What it will hold.
    options
        Nothing is left to choose.

    Raises
    ------
    TargetError
        If there are no cells or no genes, or an id stands for several.
    """

    def __init__(self, contents: Contents, options: WriteOptions) -> None:  # noqa: ARG002
        for slot, what in (("obs", "cell"), ("var", "gene"), ("raw/var", "gene of raw")):
            if slot in contents.elements:
                _check_ids(contents.elements[slot], what)
        notes: list[str] = []
        self._contents = contents
        self._elements = {
            slot: fit_element(slot, element, notes) for slot, element in contents.elements.items()
        }
        for slot, matrix in contents.matrices.items():
            if matrix.dtype == np.bool_:
                notes.append(f"{slot} (bool) becomes uint8")
        self._left_out = tuple(notes)

    def left_out(self) -> tuple[str, ...]:
        """What TileDB has no type for, and tiledbsoma no place."""
        return self._left_out

    def write(self, path: Path, seen: Progress) -> None:
        """Write the experiment."""
        seen.begin(0, 0, progress_total(self._contents, "csr"))
        with _telling_of_the_disk(path):
            self._write(path, seen)

    def _write(self, path: Path, seen: Progress) -> None:
        import tiledbsoma
        import tiledbsoma.io

        # Absolute: TileDB takes a relative path from where the process once began.
        uri = str(path.absolute())
        # A Ctrl-C is for Python to tell; TileDB would cancel what it does, and report that.
        context = tiledbsoma.SOMATileDBContext(tiledb_config={"sm.enable_signal_handlers": "false"})
        with _quietly():
            tiledbsoma.io.from_anndata(
                uri, self._without_values(), _MEASUREMENT, X_layer_name=_LAYER, context=context
            )
        with tiledbsoma.Experiment.open(uri, "w", context=context) as experiment:
            for slot, matrix in self._contents.matrices.items():
                measurement = _RAW_MEASUREMENT if slot == RAW else _MEASUREMENT
                name = slot.removeprefix(LAYERS) if slot.startswith(LAYERS) else _LAYER
                _write_layer(experiment.ms[measurement].X[name], matrix, seen)

    def _without_values(self) -> anndata.AnnData:
        """All but the values of the matrices, for which tiledbsoma makes the arrays."""
        import anndata
        import scipy.sparse as sp

        empty = {
            slot: sp.csr_matrix(matrix.shape, dtype=_dtype(matrix))
            for slot, matrix in self._contents.matrices.items()
        }
        tables = dict(self._elements)
        obs, raw_var = tables["obs"], tables.pop("raw/var", None)
        tables.pop(_RAW_VARM, None)
        layers = {
            slot.removeprefix(LAYERS): matrix
            for slot, matrix in empty.items()
            if slot.startswith(LAYERS)
        }
        found = anndata.AnnData(empty[X], layers=layers, **tables)
        if RAW in empty:
            found.raw = anndata.AnnData(empty[RAW], obs=obs, var=raw_var)
        return found


@contextmanager
def _telling_of_the_disk(path: Path) -> Iterator[None]:
    """Raise what TileDB says of the disk, in one of several ways, as what it is."""
    from tiledbsoma import SOMAError

    try:
        yield
    except (RuntimeError, SOMAError) as error:
        if not _OF_THE_DISK.search(str(error)):
            raise
        _let_go(error)
        msg = f"{path}: cannot write it: {' '.join(str(error).split())}"
        raise StorageError(msg) from None


def _let_go(error: BaseException) -> None:
    """Let go of what TileDB has open, which cannot be closed either, and would say so."""
    before = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        found: BaseException | None = error
        while found is not None:
            traceback.clear_frames(found.__traceback__)
            found = found.__context__
        gc.collect()
    finally:
        sys.unraisablehook = before


def _write_layer(layer: Any, matrix: Matrix, seen: Progress) -> None:
    import pyarrow as pa

    dtype = _dtype(matrix)
    for batch in prefetch(with_progress(matrix, seen), _AHEAD):
        if batch.nnz:
            layer.write(
                pa.table(
                    {
                        "soma_dim_0": batch.cells().astype(np.int64),
                        "soma_dim_1": batch.genes.astype(np.int64),
                        "soma_data": exact_cast(batch.values, dtype),
                    }
                )
            )


def _dtype(matrix: Matrix) -> np.dtype[Any]:
    # tiledbsoma writes matrices of booleans, and cannot read them.
    return np.dtype(np.uint8) if matrix.dtype == np.bool_ else matrix.dtype


def _check_ids(frame: pd.DataFrame, what: str) -> None:
    if not len(frame):
        msg = f"there is no {what}, and tiledbsoma writes no experiment without one"
        raise TargetError(msg)
    if not frame.index.is_unique:
        twice = frame.index[frame.index.duplicated()][0]
        msg = f"the {what} id {twice!r} occurs more than once, which an experiment does not allow"
        raise TargetError(msg)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what anndata and tiledbsoma say of an AnnData that holds no values."""
    log = logging.getLogger("tiledbsoma")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def _is_one(path: Path) -> bool:
    return (path / "__group").is_dir() and (path / "__meta").is_dir()


FORMAT = TargetFormat(
    name="tiledb",
    description="TileDB-SOMA experiment",
    suffixes=(".soma", ".tiledb"),
    is_one=_is_one,
    open=SomaTarget,
    # What it is stands in the last.
    marks=("__tiledb_group.tdb", "__group", "__meta"),
)
