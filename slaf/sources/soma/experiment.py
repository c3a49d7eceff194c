"""TileDB-SOMA: a measurement of an experiment, by its join ids."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from slaf.errors import DamagedInput, MissingMatrix
from slaf.runtime.lazy import DeferredMapping, LazyMapping
from slaf.runtime.worker_thread import WorkerThread
from slaf.sources.base import Raw, Slots, SourceFormat
from slaf.sources.identity import content_identity
from slaf.sources.soma.context import context_of, tiledb_uri
from slaf.sources.soma.elements import (
    ALIGNED,
    PAIRED,
    element_of,
    left_beside_raw,
    left_of,
    names_of,
    uns_of,
)
from slaf.sources.soma.layer import SomaLayer, soma_errors
from slaf.sources.soma.tables import JOIN_ID, read_sorted, with_id_column
from slaf.storage.errors import safe_cause, translate_lance_error
from slaf.storage.paths import as_remote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    import pyarrow as pa
    import tiledbsoma
    from numpy.typing import NDArray

    from slaf.options import ReadOptions
    from slaf.sources.base import Matrix, MatrixSize
    from slaf.sparse.batch import Batch
    from slaf.sparse.ranges import RowRange

__all__ = ["FORMAT", "SomaSource"]

_LAYER = "layer:"
_DEFAULT_LAYER = "data"
_DEFAULT_MEASUREMENT = "RNA"
_OF_EXPERIMENT = frozenset({"obs", "ms"})

# Where tiledbsoma.io puts the raw of an AnnData.
_RAW = "raw"


class SomaSource:
    """One X layer of one measurement; cells and genes in the order of their join ids.

    Whatever TileDB does is done in one thread: that in which the experiment was opened reads it
    and closes it, one thing after the other, and what comes out of it is a copy. So nothing of
    TileDB's is ever open, read or let go of in another thread, whoever asks and whenever.

    Parameters
    ----------
    path
        The experiment.
    options
        `measurement` names one (RNA, or the only one); the matrix "layer:NAME" is an X layer,
        and "X" the one called data, or the only one.

    Raises
    ------
    MissingMatrix
        If there is no such measurement or layer; the error lists those there are.
    DamagedInput
        If it cannot be opened, or its arrays contradict each other.
    """

    format = "tiledb"

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self._path = path
        self.uri = str(path)
        self.matrix = options.matrix
        _check_files(path)
        self._thread = WorkerThread("slaf-soma")
        try:
            self._thread.call(self._open, options)
        except BaseException:
            self._thread.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._thread.call(self._close)
        self._thread.close()

    def identity(self) -> Mapping[str, Any]:
        """A digest of the names, sizes and times of all files of the experiment."""
        return content_identity(
            f"{where}\0{status.st_size}\0{status.st_mtime_ns}\n".encode()
            for where, status in _files(self._path)
        )

    def matrices(self) -> tuple[str, ...]:
        """The X layers."""
        return tuple(_LAYER + name for name in self._layer_names)

    def left_behind(self) -> tuple[str, ...]:
        """The other measurements, and what no AnnData has a place for."""
        return self._thread.call(self._left_behind)

    def extent(self) -> MatrixSize:
        """How much the layer holds."""
        return self._layer.extent()

    def sample_values(self, matrix: str | None = None) -> NDArray[Any]:
        """The values of the first cells."""
        if matrix is None or matrix == self.matrix:
            return self._layer.sample_values()
        return self._open_layer(self._find(matrix)).sample_values()

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells: as if spread evenly."""
        return self._layer.indptr_estimate(step)

    def cells(self) -> pa.Table:
        """The cells: `cell_id`, then obs."""
        return self._cells

    def genes(self) -> pa.Table:
        """The genes: `gene_id`, then var."""
        return self._genes

    def layers(self) -> Mapping[str, Matrix]:
        """The other X layers of the measurement."""
        others = [name for name in self._layer_names if name != self._layer_name]
        return LazyMapping(others, self._open_layer, keep=True)

    def raw(self) -> Raw | None:
        """The measurement called raw, of one X layer, if another one was chosen."""
        return None if self._raw_layer is None else self._thread.call(self._open_raw)

    def slots(self) -> Slots:
        """Those of the measurement."""
        names = self._slot_names
        aligned = {
            slot: LazyMapping(
                names[slot], partial(self._element, self._measurement_name, slot, self._ids[at])
            )
            for slot, at in (("obsm", 0), ("varm", 1), ("obsp", 0), ("varp", 1))
        }
        return Slots(**aligned, uns=DeferredMapping(lambda: self._thread.call(self._uns)))

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        yield from self._layer.batches(rows)

    def _open(self, options: ReadOptions) -> None:
        import tiledbsoma

        try:
            self._experiment = _experiment(self._path)
        except (tiledbsoma.SOMAError, ValueError, TypeError) as error:
            raise translate_lance_error(
                self.uri,
                error,
                lambda text: DamagedInput(
                    f"{self._path}: not an experiment that can be opened ({text})"
                ),
            ) from safe_cause(self.uri, error)
        try:
            with soma_errors(self.uri):
                self._open_measurement(options)
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        """Close all that was opened by way of the experiment, and let go of it."""
        self._experiment.close()
        del self._experiment

    def _open_measurement(self, options: ReadOptions) -> None:
        self._measurement_name = self._choose(options.measurement)
        here = self._measurement
        obs = read_sorted(self._experiment, "obs", self.uri)
        place = f"{self.uri}, measurement {self._measurement_name}"
        var = read_sorted(here, "var", place)
        self._ids = (obs.column(JOIN_ID).to_numpy(), var.column(JOIN_ID).to_numpy())
        self.n_cells, self.n_genes = obs.num_rows, var.num_rows
        self._cells = with_id_column(self._experiment.obs, obs, "cell_id", self.uri)
        self._genes = with_id_column(here.var, var, "gene_id", self.uri)
        self._layer_names = list(here.X) if "X" in here else []
        self._layer_name = self._find(options.matrix)
        self._layer = self._open_layer(self._layer_name)
        self.dtype = self._layer.dtype
        self._slot_names = {slot: names_of(here, slot) for slot in (*ALIGNED, *PAIRED)}
        self._raw_layer = self._find_raw()

    @property
    def _measurement(self) -> tiledbsoma.Measurement:
        return self._experiment.ms[self._measurement_name]

    def _choose(self, name: str | None) -> str:
        have = list(self._experiment.ms) if "ms" in self._experiment else []
        if name is None:
            name = have[0] if len(have) == 1 else _DEFAULT_MEASUREMENT
        if name not in have:
            msg = (
                f"{self.uri}: there is no measurement {name!r}; choose one with --measurement: "
                f"{', '.join(have) or 'none at all'}"
            )
            raise MissingMatrix(msg)
        return name

    def _find(self, matrix: str) -> str:
        """The name of the X layer that is meant."""
        have = self._layer_names
        name = matrix.removeprefix(_LAYER)
        if matrix == "X":
            name = have[0] if len(have) == 1 else _DEFAULT_LAYER
        if name not in have or matrix == "raw":
            layers = ", ".join(_LAYER + layer for layer in have) or "none at all"
            msg = (
                f"{self.uri}: measurement {self._measurement_name} has no matrix {matrix!r}; "
                f"choose one with --matrix: {layers}"
            )
            raise MissingMatrix(msg)
        return name

    def _open_layer(self, name: str) -> SomaLayer:
        place = f"{self.uri}, X layer {name} of {self._measurement_name}"
        cells, genes = self._ids
        return SomaLayer(lambda: self._measurement.X[name], place, cells, genes, self._thread)

    def _find_raw(self) -> str | None:
        """The X layer of the measurement that is the raw of the chosen one, if there is one."""
        if self._measurement_name == _RAW or _RAW not in self._experiment.ms:
            return None
        raw = self._experiment.ms[_RAW]
        names = list(raw.X) if "X" in raw and "var" in raw else []
        return names[0] if len(names) == 1 else None

    def _open_raw(self) -> Raw:
        measurement, name = self._experiment.ms[_RAW], str(self._raw_layer)
        place = f"{self.uri}, measurement {_RAW}"
        with soma_errors(place):
            var = read_sorted(measurement, "var", place)
            ids = var.column(JOIN_ID).to_numpy()
            genes = with_id_column(measurement.var, var, "gene_id", place)
            names = names_of(measurement, "varm")
        matrix = SomaLayer(
            lambda: self._experiment.ms[_RAW].X[name],
            f"{self.uri}, X layer {name} of {_RAW}",
            self._ids[0],
            ids,
            self._thread,
        )
        return Raw(matrix, genes, LazyMapping(names, partial(self._element, _RAW, "varm", ids)))

    def _element(self, measurement: str, slot: str, ids: NDArray[np.int64], name: str) -> Any:
        place = f"{self.uri}, measurement {measurement}"
        return self._thread.call(
            lambda: element_of(self._experiment.ms[measurement], slot, name, ids, place)
        )

    def _uns(self) -> dict[str, Any]:
        here = self._measurement
        place = f"{self.uri}, measurement {self._measurement_name}, uns"
        return uns_of(here["uns"], place) if "uns" in here else {}

    def _left_behind(self) -> tuple[str, ...]:
        with soma_errors(self.uri):
            above = [name for name in self._experiment if name not in _OF_EXPERIMENT]
            here = left_of(self._measurement)
            others = [
                f"measurement {name}"
                for name in self._experiment.ms
                if name != self._measurement_name and not (name == _RAW and self._raw_layer)
            ]
            beside = []
            if self._raw_layer is not None:
                beside = [f"{what} of raw" for what in left_beside_raw(self._experiment.ms[_RAW])]
        return (*here, *(f"{name} of the experiment" for name in above), *others, *beside)


def _check_files(path: Path) -> None:
    """Check that all that lies in a folder are files: TileDB would wait for a pipe."""
    if as_remote(path) is not None:
        return
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder) / name
            if not file.is_file():
                msg = f"{file}: it is not a file"
                raise DamagedInput(msg)


def _experiment(path: Path) -> tiledbsoma.Experiment:
    import tiledbsoma

    elsewhere = as_remote(path)
    # Absolute: TileDB takes a relative path from where the process once began.
    uri = str(path.absolute()) if elsewhere is None else tiledb_uri(elsewhere)
    return tiledbsoma.Experiment.open(uri, context=context_of(elsewhere))


def _files(path: Path) -> Iterator[tuple[str, Any]]:
    """The files of an experiment, and what is known of them, in order."""
    elsewhere = as_remote(path)
    if elsewhere is not None:
        yield from elsewhere.walk_files()
        return
    for file in sorted(path.rglob("*")):
        if file.is_file():
            yield file.relative_to(path).as_posix(), file.stat()


def _recognises(path: Path) -> bool:
    # https://github.com/TileDB-Inc/TileDB/blob/main/format_spec/group.md
    return path.is_dir() and (path / "__group").is_dir()


FORMAT = SourceFormat(
    name="tiledb",
    description="TileDB-SOMA experiment",
    recognises=_recognises,
    open=SomaSource,
    looks_for="a TileDB group (a folder with __group)",
    choices=frozenset({"measurement"}),
)
