"""An input: counts in a format, made on first use."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.inputs.h5ad import write_h5ad
from benchmarks.inputs.real import write_repeated
from benchmarks.inputs.samples import write_samples
from benchmarks.inputs.shuffled import write_shuffled
from benchmarks.inputs.soma import write_soma
from benchmarks.inputs.stores import write_loom, write_mudata, write_zarr
from benchmarks.inputs.tenx import write_h5, write_mtx

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.inputs.counts import Counts
    from benchmarks.inputs.real import RealCounts

__all__ = ["FOLDER", "CachedInput", "Input", "Kind", "cached_input"]

Kind = Literal[
    "h5ad", "10x H5", "10x MTX", "shuffled MTX", "SOMA", "files", "zarr", "MuData", "loom", "real"
]

FOLDER = Path(__file__).parents[2] / "build" / "bench"

_WRITERS: dict[Kind, tuple[str, Callable[[Path, Any], int]]] = {
    "h5ad": (".h5ad", write_h5ad),
    "10x H5": (".h5", write_h5),
    "10x MTX": ("-mtx", write_mtx),
    "shuffled MTX": ("-shuffled", write_shuffled),
    "SOMA": ("-soma", write_soma),
    "files": ("-files", write_samples),
    "zarr": (".zarr", write_zarr),
    "MuData": (".h5mu", write_mudata),
    "loom": (".loom", write_loom),
    "real": (".h5ad", write_repeated),
}


@dataclass(frozen=True, slots=True)
class Input:
    """Counts in a format.

    Attributes
    ----------
    counts
        The counts; for the kind `real` a file of real ones.
    kind
        The format.
    """

    counts: Counts | RealCounts
    kind: Kind = "h5ad"

    @property
    def name(self) -> str:
        """Name of the file or folder."""
        return self.counts.name + _WRITERS[self.kind][0]


@dataclass(frozen=True, slots=True)
class CachedInput:
    """An input on disk.

    Attributes
    ----------
    path
        The file or folder.
    nonzeros
        Its number of nonzeros.
    """

    path: Path
    nonzeros: int


def cached_input(source: Input, folder: Path = FOLDER) -> CachedInput:
    """The file or folder of an input, made on first use, and its number of nonzeros."""
    path = folder / "inputs" / source.name
    record = path.with_name(f"{path.name}.json")
    if not record.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(path)
        nonzeros = _WRITERS[source.kind][1](path, source.counts)
        record.write_text(json.dumps({"nonzeros": nonzeros}))
    return CachedInput(path, json.loads(record.read_text())["nonzeros"])


def _remove(path: Path) -> None:
    """Remove the incomplete input of a stopped run."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
