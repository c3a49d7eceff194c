"""TileDB-SOMA: a measurement of an experiment, by its join ids."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slaf.errors import DamagedInput, MissingMatrix
from slaf.runtime.extras import require
from slaf.runtime.lazy import DeferredMapping, LazyMapping
from slaf.runtime.worker_thread import WorkerThread
from slaf.sources.base import Source, SourceFormat, SourceInfo, choices
from slaf.sources.contents import Raw, Slots
from slaf.sources.identity import content_identity
from slaf.sources.soma.context import AMPLE, LITTLE, Memory, context_of, tiledb_uri
from slaf.sources.soma.elements import (
    SLOTS,
    not_converted,
    raw_not_converted,
    read_element,
    read_uns,
    slot_names,
)
from slaf.sources.soma.layer import Arrays, SomaLayer, soma_errors
from slaf.sources.soma.tables import JOIN_ID, read_sorted, with_id_column
from slaf.storage.paths import as_remote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    import pyarrow as pa
    import tiledbsoma
    from numpy.typing import NDArray

    from slaf.options import ReadOptions
    from slaf.sources.matrix import Matrix

__all__ = ["FORMAT", "SomaSource"]

_LAYER = "layer:"
_DEFAULT_LAYER = "data"
_DEFAULT_MEASUREMENT = "RNA"
_EXPERIMENT_MEMBERS = frozenset({"obs", "ms"})

# The measurement in which tiledbsoma.io writes the raw of an AnnData.
_RAW = "raw"


class SomaSource(Source):
    """One X layer of one measurement; cells and genes in the order of their join ids.

    All calls of TileDB run in one thread, one after the other: the experiment is opened, read and
    closed there, and what leaves it is a copy. No other thread ever opens, reads or frees an object
    of TileDB.

    Parameters
    ----------
    path
        The experiment.
    options
        `measurement` names one (RNA by default, or the only one); the matrix "layer:NAME" is an X
        layer, and "X" the one called data, or the only one.

    Raises
    ------
    MissingMatrix
        If there is no such measurement or layer; the error lists the names.
    DamagedInput
        If it cannot be opened, or its arrays contradict each other.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        super().__init__()
        self._path = path
        self._uri = str(path)
        _check_files(path)
        self._thread = WorkerThread("slaf-soma")
        try:
            self._thread.call(self._open, options)
        except BaseException:  # nothing stays open, also after Ctrl-C
            self._thread.close()
            raise

    def close(self) -> None:
        """Close the experiment, and end the thread."""
        self._thread.call(self._close)
        self._thread.close()

    def read_cells(self) -> pa.Table:
        """The cells: `cell_id`, then obs."""
        return self._cells

    def read_genes(self) -> pa.Table:
        """The genes: `gene_id`, then var."""
        return self._genes

    def open_matrix(self, name: str) -> Matrix:
        """An X layer."""
        if name == _RAW and self._raw_layer is not None:
            return self._thread.call(self._open_raw).matrix
        layer = self._find(name)
        label = f"{self._uri}, X layer {layer} of {self._measurement_name}"
        return SomaLayer(
            self._arrays(self._measurement_name, layer), label, *self._ids, self._thread
        )

    def open_raw(self) -> Raw | None:
        """The measurement called raw, with one X layer, if another measurement was chosen."""
        return None if self._raw_layer is None else self._thread.call(self._open_raw)

    def slots(self) -> Slots:
        """The slots of the measurement."""
        return self._once("slots", self._slots)

    def _slots(self) -> Slots:
        aligned = {
            slot: LazyMapping(
                names, partial(self._element, self._measurement_name, slot, self._ids[axis])
            )
            for (slot, names), axis in zip(self._slot_names.items(), (0, 1, 0, 1), strict=True)
        }
        return Slots(**aligned, uns=DeferredMapping(lambda: self._thread.call(self._uns)))

    def _arrays(self, measurement: str, layer: str) -> Arrays:
        return Arrays(
            lambda: self._experiment.ms[measurement].X[layer],
            lambda: self._with_little_memory.ms[measurement].X[layer],
        )

    def _open(self, options: ReadOptions) -> None:
        require("tiledbsoma", f"{self._path}: a TileDB-SOMA experiment")
        with soma_errors(self._uri, ": not an experiment that can be opened"):
            self._experiment = _experiment(self._path, AMPLE)
            self._with_little_memory = _experiment(self._path, LITTLE)
        try:
            with soma_errors(self._uri):
                self._open_measurement(options)
        except BaseException:  # nothing stays open, also after Ctrl-C
            self._close()
            raise

    def _close(self) -> None:
        """Close all that was opened by way of the experiment, and drop it."""
        self._with_little_memory.close()
        self._experiment.close()
        del self._with_little_memory, self._experiment

    def _open_measurement(self, options: ReadOptions) -> None:
        self._measurement_name = self._choose(options.measurement)
        measurement = self._measurement
        obs = read_sorted(self._experiment, "obs", self._uri)
        label = f"{self._uri}, measurement {self._measurement_name}"
        var = read_sorted(measurement, "var", label)
        self._ids = (obs.column(JOIN_ID).to_numpy(), var.column(JOIN_ID).to_numpy())
        self._cells = with_id_column(self._experiment.obs, obs, "cell_id", self._uri)
        self._genes = with_id_column(measurement.var, var, "gene_id", self._uri)
        self._layer_names = list(measurement.X) if "X" in measurement else []
        chosen = self._find(options.matrix)
        self._raw_layer = self._find_raw()
        self._slot_names = {slot: slot_names(measurement, slot) for slot in SLOTS}
        self.info = SourceInfo.of(
            self.matrix(options.matrix),
            options.matrix,
            uri=self._uri,
            format="tiledb",
            identity=_identity(self._path),
            matrices=tuple(_LAYER + name for name in self._layer_names),
            layers={name: _LAYER + name for name in self._layer_names if name != chosen},
            not_converted=self._not_converted(),
        )

    @property
    def _measurement(self) -> tiledbsoma.Measurement:
        return self._experiment.ms[self._measurement_name]

    def _choose(self, name: str | None) -> str:
        names = list(self._experiment.ms) if "ms" in self._experiment else []
        if name is None:
            name = names[0] if len(names) == 1 else _DEFAULT_MEASUREMENT
        if name not in names:
            listed = choices("--measurement", names)
            msg = f"{self._uri}: there is no measurement {name!r}; {listed}"
            raise MissingMatrix(msg)
        return name

    def _find(self, matrix: str) -> str:
        """The X layer of a matrix: "X" or "layer:NAME"."""
        names = self._layer_names
        name = matrix.removeprefix(_LAYER)
        if matrix == "X":
            name = names[0] if len(names) == 1 else _DEFAULT_LAYER
        if name not in names or matrix == _RAW:
            listed = choices("--matrix", (_LAYER + layer for layer in names))
            msg = (
                f"{self._uri}: measurement {self._measurement_name} has no matrix {matrix!r}; "
                f"{listed}"
            )
            raise MissingMatrix(msg)
        return name

    def _find_raw(self) -> str | None:
        """The only X layer of the measurement called raw, if it is not the chosen measurement."""
        if self._measurement_name == _RAW or _RAW not in self._experiment.ms:
            return None
        raw = self._experiment.ms[_RAW]
        names = list(raw.X) if "X" in raw and "var" in raw else []
        return names[0] if len(names) == 1 else None

    def _open_raw(self) -> Raw:
        measurement, name = self._experiment.ms[_RAW], str(self._raw_layer)
        label = f"{self._uri}, measurement {_RAW}"
        with soma_errors(label):
            var = read_sorted(measurement, "var", label)
            ids = var.column(JOIN_ID).to_numpy()
            genes = with_id_column(measurement.var, var, "gene_id", label)
            names = slot_names(measurement, "varm")
        matrix = SomaLayer(
            self._arrays(_RAW, name),
            f"{self._uri}, X layer {name} of {_RAW}",
            self._ids[0],
            ids,
            self._thread,
        )
        return Raw(matrix, genes, LazyMapping(names, partial(self._element, _RAW, "varm", ids)))

    def _element(self, measurement: str, slot: str, ids: NDArray[np.int64], name: str) -> Any:
        label = f"{self._uri}, measurement {measurement}"
        return self._thread.call(
            lambda: read_element(self._experiment.ms[measurement], slot, name, ids, label)
        )

    def _uns(self) -> dict[str, Any]:
        measurement = self._measurement
        label = f"{self._uri}, measurement {self._measurement_name}, uns"
        return read_uns(measurement["uns"], label) if "uns" in measurement else {}

    def _not_converted(self) -> tuple[str, ...]:
        """The other measurements, and elements that an AnnData cannot hold."""
        of_experiment = [
            f"{name} of the experiment"
            for name in self._experiment
            if name not in _EXPERIMENT_MEMBERS
        ]
        used = {self._measurement_name, *([] if self._raw_layer is None else [_RAW])}
        others = [f"measurement {name}" for name in self._experiment.ms if name not in used]
        of_raw = []
        if self._raw_layer is not None:
            of_raw = [f"{what} of raw" for what in raw_not_converted(self._experiment.ms[_RAW])]
        return (*not_converted(self._measurement), *of_experiment, *others, *of_raw)


def _check_files(path: Path) -> None:
    """Check that a folder holds only files: TileDB would wait for a pipe."""
    if as_remote(path) is not None:
        return
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder) / name
            if not file.is_file():
                msg = f"{file}: it is not a file"
                raise DamagedInput(msg)


def _experiment(path: Path, memory: Memory) -> tiledbsoma.Experiment:
    import tiledbsoma

    remote = as_remote(path)
    # Absolute: TileDB resolves a relative path in the first working directory of the process.
    uri = str(path.absolute()) if remote is None else tiledb_uri(remote)
    return tiledbsoma.Experiment.open(uri, context=context_of(remote, memory))


def _identity(path: Path) -> Mapping[str, Any]:
    """A digest of the names, sizes and times of all files."""
    return content_identity(
        f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode()
        for name, status in _files(path)
    )


def _files(path: Path) -> Iterator[tuple[str, Any]]:
    """The files of an experiment with their status, in order."""
    remote = as_remote(path)
    if remote is not None:
        yield from remote.walk_files()
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
    package="tiledbsoma",
    recognises=_recognises,
    open=SomaSource,
    looks_for="a TileDB group (a folder with __group)",
    choices=frozenset({"measurement"}),
)
