"""TileDB-SOMA: a measurement of an experiment, by its join ids."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from slaf.errors import DamagedInput, MissingMatrix
from slaf.sources.base import Slots, SourceFormat
from slaf.sources.identity import content_identity
from slaf.sources.soma_layer import SomaLayer, reading_soma
from slaf.sources.soma_remote import context, tiledb_uri
from slaf.sources.soma_table import JOIN_ID, ordered, with_ids
from slaf.storage import blamed, cause, remote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    import pyarrow as pa
    import tiledbsoma
    from numpy.typing import NDArray

    from slaf.arrays import Batch, RowRange
    from slaf.sources.base import Extent, Matrix, ReadOptions

__all__ = ["FORMAT", "SomaSource"]

_LAYER = "layer:"
_DEFAULT_LAYER = "data"
_DEFAULT_MEASUREMENT = "RNA"
_SLOTS = ("obsm", "varm", "obsp", "varp", "uns")


class SomaSource:
    """One X layer of one measurement; cells and genes in the order of their join ids.

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
        import tiledbsoma

        self._path = path
        self.uri = str(path)
        self.matrix = options.matrix
        _check_files(path)
        try:
            self._experiment = _experiment(path)
        except (tiledbsoma.SOMAError, ValueError, TypeError) as error:
            raise blamed(
                self.uri,
                error,
                lambda text: DamagedInput(f"{path}: not an experiment that can be opened ({text})"),
            ) from cause(self.uri, error)
        try:
            with reading_soma(self.uri):
                self._open(options)
        except BaseException:
            self._experiment.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._experiment.close()

    def identity(self) -> Mapping[str, Any]:
        """A digest of the names, sizes and times of all files of the experiment."""
        return content_identity(
            f"{where}\0{status.st_size}\0{status.st_mtime_ns}\n".encode()
            for where, status in _files(self._path)
        )

    def matrices(self) -> tuple[str, ...]:
        """The X layers."""
        return tuple(_LAYER + name for name in self._layers())

    def left_behind(self) -> tuple[str, ...]:
        """The other layers and measurements, and the slots that a conversion does not take."""
        here = self._measurement
        layers = [_LAYER + name for name in self._layers() if name != self._layer_name]
        held = {slot: _names(here[slot]) for slot in _SLOTS if slot in here}
        slots = [f"{slot} ({', '.join(names)})" for slot, names in held.items() if names]
        others = [name for name in self._experiment.ms if name != self._measurement_name]
        return (*layers, *slots, *(f"measurement {name}" for name in others))

    def extent(self) -> Extent:
        """How much the layer holds."""
        return self._layer.extent()

    def peek(self, matrix: str | None = None) -> NDArray[Any]:
        """The values of the first cells."""
        if matrix is None or matrix == self.matrix:
            return self._layer.peek()
        return self._open_layer(self._find(matrix)).peek()

    def nonzeros_before(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells: as if spread evenly."""
        return self._layer.nonzeros_before(step)

    def cells(self) -> pa.Table:
        """The cells: `cell_id`, then obs."""
        with reading_soma(self.uri):
            return with_ids(self._experiment.obs, self._obs, "cell_id", self.uri)

    def genes(self) -> pa.Table:
        """The genes: `gene_id`, then var."""
        with reading_soma(self.uri):
            return with_ids(self._measurement.var, self._var, "gene_id", self.uri)

    def layers(self) -> Mapping[str, Matrix]:
        """None: TileDB does not bear that several of its arrays are read beside each other."""
        return {}

    def raw(self) -> None:
        """None, as of layers."""

    def slots(self) -> Slots:
        """None, as of layers."""
        return Slots()

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        yield from self._layer.batches(rows)

    def _open(self, options: ReadOptions) -> None:
        self._measurement_name = self._choose(options.measurement)
        self._measurement: tiledbsoma.Measurement = self._experiment.ms[self._measurement_name]
        self._obs = ordered(self._experiment, "obs", self.uri)
        measurement = f"{self.uri}, measurement {self._measurement_name}"
        self._var = ordered(self._measurement, "var", measurement)
        self.n_cells, self.n_genes = self._obs.num_rows, self._var.num_rows
        self._layer_name = self._find(options.matrix)
        self._layer = self._open_layer(self._layer_name)
        self.dtype = self._layer.dtype

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

    def _layers(self) -> list[str]:
        return list(self._measurement.X) if "X" in self._measurement else []

    def _find(self, matrix: str) -> str:
        """The name of the X layer that is meant."""
        have = self._layers()
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
        ids = (table.column(JOIN_ID).to_numpy() for table in (self._obs, self._var))
        with reading_soma(place):
            return SomaLayer(self._measurement.X[name], place, *ids)


def _check_files(path: Path) -> None:
    """Check that all that lies in a folder are files: TileDB would wait for a pipe."""
    if remote(path) is not None:
        return
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder) / name
            if not file.is_file():
                msg = f"{file}: it is not a file"
                raise DamagedInput(msg)


def _names(collection: Any) -> list[str]:
    """What is in a collection; the scalars of uns are its metadata."""
    return [*collection, *(key for key in collection.metadata if not key.startswith("soma_"))]


def _experiment(path: Path) -> tiledbsoma.Experiment:
    import tiledbsoma

    elsewhere = remote(path)
    if elsewhere is None:
        # Absolute: TileDB takes a relative path from where the process once began.
        return tiledbsoma.Experiment.open(str(path.absolute()))
    reach = tiledbsoma.SOMATileDBContext(tiledb_config=dict(context(elsewhere)))
    return tiledbsoma.Experiment.open(tiledb_uri(elsewhere), context=reach)


def _files(path: Path) -> Iterator[tuple[str, Any]]:
    """The files of an experiment, and what is known of them, in order."""
    elsewhere = remote(path)
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
