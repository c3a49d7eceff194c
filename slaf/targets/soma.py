"""TileDB-SOMA: an experiment with a measurement of X, and one of raw."""

from __future__ import annotations

import gc
import logging
import re
import shutil
import sys
import traceback
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from slaf.errors import StorageError, TargetError
from slaf.runtime.extras import require
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

__all__ = ["FORMAT", "SomaTarget", "has_all_categories"]

_MEASUREMENT: Final = "RNA"
_RAW_MEASUREMENT: Final = "raw"
_LAYER: Final = "data"

# tiledbsoma writes only X and var of raw.
_RAW_VARM: Final = "raw/varm"

# The first release that no tiledbsoma up to 2.3 is for.
_PANDAS_UNKNOWN: Final = 3

# In memory one of ten tables loses its categories.
_MOST_ATTEMPTS = 100

# Batches that are read ahead of the one that is written.
_AHEAD = 2

# Disk errors. The last is the message for a new array if the clock was set back.
_DISK_ERROR = re.compile(r"IO Error|TileDB::IO|is not a SOMA")


class SomaTarget:
    """An experiment: tables as tiledbsoma writes them, X layers as a stream.

    Parameters
    ----------
    contents
        The contents of the export.
    options
        Not used: the format has no choices.

    Raises
    ------
    TargetError
        If there are no cells or no genes, or an id is repeated; on writing, if tiledbsoma refuses.
    """

    def __init__(self, contents: Contents, options: WriteOptions) -> None:  # noqa: ARG002
        for slot, label in (("obs", "cell"), ("var", "gene"), ("raw/var", "gene of raw")):
            if slot in contents.elements:
                _check_ids(contents.elements[slot], label)
        require("tiledbsoma", "a TileDB-SOMA experiment")
        messages: list[str] = []
        self._contents = contents
        self._elements = {
            slot: fit_element(slot, element, messages)
            for slot, element in contents.elements.items()
        }
        messages += [
            f"{slot} (bool) becomes uint8"
            for slot, matrix in contents.matrices.items()
            if matrix.dtype == np.bool_
        ]
        self.left_out = tuple(messages)

    def write(self, path: Path, progress: Progress) -> None:
        """Write the experiment."""
        progress.begin(0, 0, progress_total(self._contents, "csr"))
        with _disk_errors(path):
            self._write(path, progress)

    def _write(self, path: Path, progress: Progress) -> None:
        import tiledbsoma
        import tiledbsoma.io

        # Absolute: TileDB resolves a relative path against the first directory of the process.
        uri = str(path.absolute())
        # Python handles Ctrl-C; TileDB would raise an error of its own.
        context = tiledbsoma.SOMATileDBContext(tiledb_config={"sm.enable_signal_handlers": "false"})
        adata = self._empty_anndata()
        with _warnings_ignored():
            for _ in range(_MOST_ATTEMPTS):
                tiledbsoma.io.from_anndata(
                    uri, adata, _MEASUREMENT, X_layer_name=_LAYER, context=context
                )
                with tiledbsoma.Experiment.open(uri, context=context) as experiment:
                    if has_all_categories(experiment):
                        break
                shutil.rmtree(path)
            else:
                msg = f"{path}: TileDB lost categories {_MOST_ATTEMPTS} times; name another disk"
                raise StorageError(msg)
        with tiledbsoma.Experiment.open(uri, "w", context=context) as experiment:
            for slot, matrix in self._contents.matrices.items():
                measurement = _RAW_MEASUREMENT if slot == RAW else _MEASUREMENT
                name = slot.removeprefix(LAYERS) if slot.startswith(LAYERS) else _LAYER
                _write_layer(experiment.ms[measurement].X[name], matrix, progress)

    def _empty_anndata(self) -> anndata.AnnData:
        """An AnnData without matrix values, from which tiledbsoma creates the arrays."""
        import anndata
        import scipy.sparse as sp

        matrices = {
            slot: sp.csr_matrix(matrix.shape, dtype=_dtype(matrix))
            for slot, matrix in self._contents.matrices.items()
        }
        tables = dict(self._elements)
        raw_var = tables.pop("raw/var", None)
        tables.pop(_RAW_VARM, None)
        layers = {
            slot.removeprefix(LAYERS): matrix
            for slot, matrix in matrices.items()
            if slot.startswith(LAYERS)
        }

        class WithXApart(anndata.AnnData):  # type: ignore[misc]  # it has no types
            """X is not among the layers, where anndata 0.13 has it and tiledbsoma finds no name."""

            @property
            def X(self) -> sp.csr_matrix:  # noqa: N802 - AnnData's name
                """The matrix."""
                return matrices[X]

        adata = WithXApart(layers=layers, **tables)
        if RAW in matrices:
            adata.raw = anndata.AnnData(matrices[RAW], obs=tables["obs"], var=raw_var)
        return adata


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """A context that raises TileDB's disk errors as StorageError."""
    from tiledbsoma import SOMAError

    try:
        yield
    except (RuntimeError, SOMAError) as error:
        is_of_disk = bool(_DISK_ERROR.search(str(error)))
        if not is_of_disk and not isinstance(error, SOMAError):
            raise
        _release_arrays(error)
        reason = " ".join(str(error).split())
        if is_of_disk:
            msg = f"{path}: cannot write it: {reason}"
            raise StorageError(msg) from None
        raise TargetError(_not_written(path, reason)) from None


def _not_written(path: Path, reason: str) -> str:
    """A message about an error of tiledbsoma, whose releases up to 2.3 are not for pandas 3."""
    from importlib.metadata import version

    pandas = version("pandas")
    is_known = int(pandas.partition(".")[0]) < _PANDAS_UNKNOWN
    remedy = "" if is_known else f"it may not know pandas {pandas}: install 'pandas<3', or "
    soma = f"tiledbsoma {version('tiledbsoma')}"
    return f"{path}: {soma} cannot write it ({reason}); {remedy}export to another format"


def _release_arrays(error: BaseException) -> None:
    """Free the open arrays of an error's frames; TileDB prints an error when it closes them."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        context: BaseException | None = error
        while context is not None:
            traceback.clear_frames(context.__traceback__)
            context = context.__context__
        gc.collect()
    finally:
        sys.unraisablehook = hook


def has_all_categories(experiment: Any) -> bool:
    """True if each table of an open experiment has the categories of its values.

    TileDB keeps them in a second schema of a table, which may be lost where both were written in
    the same millisecond: in memory, or on a fast disk.
    """
    return all(map(_has_categories, _tables(experiment)))


def _tables(collection: Any) -> Iterator[Any]:
    """All tables of an experiment, and of the collections in it."""
    import tiledbsoma

    for item in collection.values():
        if isinstance(item, tiledbsoma.DataFrame):
            yield item
        elif isinstance(item, tiledbsoma.Collection | tiledbsoma.Measurement):
            yield from _tables(item)


def _has_categories(table: Any) -> bool:
    import pyarrow as pa

    names = [field.name for field in table.schema if pa.types.is_dictionary(field.type)]
    try:
        if names:
            table.read(column_names=names).concat().validate(full=True)
    except pa.ArrowException:
        return False
    return True


def _write_layer(layer: Any, matrix: Matrix, progress: Progress) -> None:
    import pyarrow as pa

    dtype = _dtype(matrix)
    for batch in prefetch(with_progress(matrix, progress), _AHEAD):
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
    # tiledbsoma writes matrices of booleans, but cannot read them.
    return np.dtype(np.uint8) if matrix.dtype == np.bool_ else matrix.dtype


def _check_ids(frame: pd.DataFrame, label: str) -> None:
    if not len(frame):
        msg = f"there is no {label}, and tiledbsoma writes no experiment without one"
        raise TargetError(msg)
    repeated = frame.index[frame.index.duplicated()]
    if len(repeated):
        msg = f"the {label} id {repeated[0]!r} occurs more than once, which SOMA does not allow"
        raise TargetError(msg)


@contextmanager
def _warnings_ignored() -> Iterator[None]:
    """A context without the warnings of anndata and tiledbsoma about an AnnData without values."""
    tiledbsoma_logger = logging.getLogger("tiledbsoma")
    level = tiledbsoma_logger.level
    tiledbsoma_logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        tiledbsoma_logger.setLevel(level)


def _matches(path: Path) -> bool:
    return (path / "__group").is_dir() and (path / "__meta").is_dir()


FORMAT = TargetFormat(
    name="tiledb",
    description="TileDB-SOMA experiment",
    package="tiledbsoma",
    suffixes=(".soma", ".tiledb"),
    matches=_matches,
    open=SomaTarget,
    # The last has the type of the object.
    marker_files=("__tiledb_group.tdb", "__group", "__meta"),
)
