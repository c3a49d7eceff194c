"""An input: counts in a format, made unless it is there."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from benchmarks.inputs.h5ad import write_h5ad
from benchmarks.inputs.samples import write_samples
from benchmarks.inputs.shuffled import write_shuffled
from benchmarks.inputs.soma import write_soma
from benchmarks.inputs.tenx import write_h5, write_mtx

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.inputs.counts import Counts

__all__ = ["FOLDER", "Input", "Kept", "Kind", "kept"]

Kind = Literal["h5ad", "10x H5", "10x MTX", "shuffled MTX", "SOMA", "files"]

FOLDER = Path(__file__).parents[2] / "build" / "bench"

_WRITERS: dict[Kind, tuple[str, Callable[[Path, Counts], int]]] = {
    "h5ad": (".h5ad", write_h5ad),
    "10x H5": (".h5", write_h5),
    "10x MTX": ("-mtx", write_mtx),
    "shuffled MTX": ("-shuffled", write_shuffled),
    "SOMA": ("-soma", write_soma),
    "files": ("-files", write_samples),
}


@dataclass(frozen=True, slots=True)
class Input:
    """Counts in a format.

    Attributes
    ----------
    counts
        What is in it.
    kind
        Its format.
    """

    counts: Counts
    kind: Kind = "h5ad"

    @property
    def name(self) -> str:
        """What the file or folder is called."""
        return self.counts.name + _WRITERS[self.kind][0]


@dataclass(frozen=True, slots=True)
class Kept:
    """An input that is there.

    Attributes
    ----------
    path
        Of the file or folder.
    nonzeros
        How many it has.
    """

    path: Path
    nonzeros: int


def kept(wanted: Input, folder: Path = FOLDER) -> Kept:
    """The file or folder, made unless it is there already, and how many nonzeros it has."""
    path = folder / "inputs" / wanted.name
    note = path.with_name(f"{path.name}.json")
    if not note.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(path)
        nonzeros = _WRITERS[wanted.kind][1](path, wanted.counts)
        note.write_text(json.dumps({"nonzeros": nonzeros}))
    return Kept(path, json.loads(note.read_text())["nonzeros"])


def _remove(path: Path) -> None:
    """Remove what a stopped run has left."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
