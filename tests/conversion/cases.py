"""Conversions to be stopped: each a source, options, and what is at the output before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import slaf
from slaf.testing.crashing import Crash, CrashingStorage
from tests.builders import counts, write_h5ad
from tests.conversion.stopped import Conversion
from tests.sources.reads import M, N, Read, write_reads

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "appending",
    "appending_a_layer",
    "appending_and_widening",
    "appending_beside",
    "appending_by_gene",
    "appending_genes",
    "appending_nothing",
    "appending_reads",
    "appending_to_a_transform",
    "appending_with_metrics",
    "beside",
    "blank",
    "by_gene",
    "concurrent",
    "empty",
    "indexed",
    "inputs_with_everything",
    "plain",
    "reads",
    "replacing",
    "replacing_and_widening",
    "replacing_what_is_beside",
    "restarting",
    "several",
    "several_with_everything",
    "transforming",
    "widening",
    "widening_beside",
]

N_CELLS, N_GENES = 12, 6


def ending_in(value: float) -> sp.csr_matrix:
    """Counts, but for the very last value."""
    matrix = counts(N_CELLS, N_GENES).toarray()
    matrix[-1, -1] = value
    return sp.csr_matrix(matrix)


def embedding() -> dict[str, Any]:
    """An obsm of an array, and of a table that no column holds."""
    names = [f"cell-{cell}" for cell in range(N_CELLS)]
    frame = pd.DataFrame({"a": np.arange(N_CELLS)}, index=names)
    return {"X_pca": np.arange(N_CELLS * 2, dtype="f4").reshape(N_CELLS, 2), "frame": frame}


def slots(layer: sp.csr_matrix) -> dict[str, Any]:
    """Everything that an AnnData may hold beside X."""
    genes = [f"raw-{gene}" for gene in range(9)]
    raw = anndata.AnnData(counts(N_CELLS, 9, seed=3), var=pd.DataFrame(index=genes))
    return {
        "layers": {"whole": counts(N_CELLS, N_GENES, seed=2), "late": layer},
        "obsm": embedding(),
        "varm": {"loadings": np.ones((N_GENES, 3))},
        "obsp": {"graph": counts(N_CELLS, N_CELLS, seed=4)},
        "varp": {"dense": np.eye(N_GENES)},
        "uns": {"colour": "red", "sizes": np.arange(3)},
        "raw": {"X": raw.X, "var": raw.var},
    }


def plain(folder: Path) -> Conversion:
    """Four parts."""
    source = write_h5ad(folder / "in.h5ad", counts(N_CELLS, N_GENES))
    return Conversion(source, {"chunk_size": 3})


STEPS: dict[str, Any] = {
    "min_genes": 1,
    "mad": {"counts": 3},
    "min_cells": 2,
    "normalize_total": "median",
    "log1p": True,
    "as_layer": "log",
    "chunk_size": 3,
}


def transforming(folder: Path) -> Conversion:
    """Two inputs, filtered, with a layer of logarithms."""
    paths = [folder / f"{name}.h5ad" for name in ("in", "more")]
    for seed, path in enumerate(paths):
        write_h5ad(path, counts(N_CELLS, N_GENES, seed=seed))
    return Conversion(paths[0], STEPS, more=paths[1:], transforms=True)


def appending_to_a_transform(folder: Path) -> Conversion:
    """Cells that are filtered and normalised as those of the dataset were."""
    first = transforming(folder)
    first.run(folder / "before.slaf")
    source = write_h5ad(folder / "new.h5ad", counts(N_CELLS, N_GENES, seed=7))
    options = {"chunk_size": 5}
    return Conversion(source, options, folder / "before.slaf", first.inputs)


def appending_with_metrics(folder: Path) -> Conversion:
    """Cells that are added to a dataset with metrics, which are computed anew."""
    first = plain(folder)
    first.run(folder / "before.slaf")
    before = slaf.open(folder / "before.slaf")
    # Without percentages, which are NaN of an empty cell: no NaN equals another.
    before.annotate(qc=before.qc_metrics(percent_top=[]))
    source = write_h5ad(folder / "new.h5ad", counts(N_CELLS, N_GENES, seed=7))
    return Conversion(source, {"chunk_size": 5}, folder / "before.slaf", first.inputs)


def beside(folder: Path) -> Conversion:
    """With everything that an AnnData may hold, in one part."""
    source = write_h5ad(folder / "in.h5ad", counts(N_CELLS, N_GENES), **slots(ending_in(7)))
    return Conversion(source)


def widening_beside(folder: Path) -> Conversion:
    """With everything; the last cell of a layer asks for a wider type than the parts before."""
    source = write_h5ad(folder / "in.h5ad", counts(N_CELLS, N_GENES), **slots(ending_in(0.5)))
    return Conversion(source, {"chunk_size": 4})


def replacing_what_is_beside(folder: Path) -> Conversion:
    """A dataset with everything is overwritten by one with another uns and no layers."""
    other = write_h5ad(folder / "old.h5ad", counts(N_CELLS, N_GENES), **slots(ending_in(7)))
    slaf.convert(other, folder / "old.slaf")
    source = write_h5ad(
        folder / "in.h5ad", counts(N_CELLS, N_GENES), uns={"colour": "blue"}, obsm=embedding()
    )
    return Conversion(source, {"chunk_size": 6, "overwrite": True}, folder / "old.slaf")


def several_with_everything(folder: Path) -> Conversion:
    """Two inputs with everything, of which one lacks a layer, and one that has its matrix only."""
    first, second = inputs_with_everything(folder)
    bare = write_h5ad(folder / "bare.h5ad", counts(5, N_GENES, seed=7))
    return Conversion(first, {"chunk_size": 6}, more=[second, bare])


def reads(folder: Path) -> Conversion:
    """Three files of reads, each a cell and a part, one of them without reads."""
    first, second, third = files_of_reads(folder)
    return Conversion(first, {"bin_size": 20, "stranded": "F"}, more=[second, third])


def appending_reads(folder: Path) -> Conversion:
    """A file of reads is added to a dataset of two."""
    first, second, third = files_of_reads(folder)
    slaf.convert([first, second], folder / "old.slaf", bin_size=20)
    return Conversion(third, {"bin_size": 20}, folder / "old.slaf", [first, second])


def files_of_reads(folder: Path) -> list[Path]:
    """Three BAM files, the second without reads."""
    some = [Read(0, at * 7, ((M, 9), (N, 5), (M, 4)), 16 * (at % 2)) for at in range(30)]
    return [
        write_reads(folder / f"{name}.bam", alignments)
        for name, alignments in (("a", some), ("b", []), ("c", [*some[::3], Read(2, 0, ((M, 7),))]))
    ]


def appending_beside(folder: Path) -> Conversion:
    """An input with everything is added to a dataset with everything."""
    first, second = inputs_with_everything(folder)
    slaf.convert(first, folder / "old.slaf", chunk_size=6)
    return Conversion(second, {"chunk_size": 6}, folder / "old.slaf", [first])


def appending_a_layer(folder: Path) -> Conversion:
    """What is added has a layer more, so that table is written again, and the others are not."""
    first, second = inputs_with_everything(folder)
    slaf.convert(second, folder / "old.slaf")
    return Conversion(first, {}, folder / "old.slaf", [second])


def inputs_with_everything(folder: Path) -> list[Path]:
    """Two inputs of the same genes, of which the second lacks a layer and a table."""
    first = write_h5ad(folder / "all.h5ad", counts(N_CELLS, N_GENES), **slots(ending_in(7)))
    held = slots(ending_in(9))
    del held["layers"]["late"], held["obsm"]["frame"]
    held["uns"] = {"colour": "blue"}
    second = write_h5ad(folder / "most.h5ad", counts(N_CELLS, N_GENES, seed=5), **held)
    return [first, second]


def indexed(folder: Path) -> Conversion:
    """With an index on every id."""
    source = write_h5ad(folder / "in.h5ad", counts(N_CELLS, N_GENES))
    return Conversion(source, {"chunk_size": 6, "create_indices": True})


def by_gene(folder: Path) -> Conversion:
    """In the order of genes too, two parts at a time."""
    source = write_h5ad(folder / "in.h5ad", counts(N_CELLS, N_GENES))
    return Conversion(source, {"chunk_size": 5, "by_gene": True, "workers": 2})


def appending_by_gene(folder: Path) -> Conversion:
    """Two inputs are added to a dataset that is in the order of genes too, and has other genes."""
    first, second, third = shuffled_inputs(folder)
    slaf.convert(first, folder / "old.slaf", by_gene=True)
    options = {"chunk_size": 4, "join": "union"}
    return Conversion(second, options, folder / "old.slaf", [first], [third])


def concurrent(folder: Path) -> Conversion:
    """Two parts at a time."""
    source = write_h5ad(folder / "in.h5ad", counts(N_CELLS, N_GENES))
    return Conversion(source, {"chunk_size": 4, "workers": 2})


def widening(folder: Path) -> Conversion:
    """The last cell holds what the type of the first parts does not."""
    source = write_h5ad(folder / "in.h5ad", ending_in(70_000))
    return Conversion(source, {"chunk_size": 4})


def replacing(folder: Path) -> Conversion:
    """Another dataset, of more cells and genes, is there to be overwritten."""
    other = write_h5ad(folder / "old.h5ad", counts(20, 9, seed=1))
    slaf.convert(other, folder / "old.slaf", chunk_size=5, create_indices=True)
    source = write_h5ad(folder / "in.h5ad", counts(N_CELLS, N_GENES))
    return Conversion(source, {"chunk_size": 4, "overwrite": True}, folder / "old.slaf")


def replacing_and_widening(folder: Path) -> Conversion:
    """A dataset is overwritten, in two attempts."""
    other = write_h5ad(folder / "old.h5ad", counts(8, 4, seed=1))
    slaf.convert(other, folder / "old.slaf")
    source = write_h5ad(folder / "in.h5ad", ending_in(0.5))
    return Conversion(source, {"chunk_size": 6, "overwrite": True}, folder / "old.slaf")


def restarting(folder: Path) -> Conversion:
    """A conversion of something else is there to be discarded, stopped just before its end."""
    other = write_h5ad(folder / "old.h5ad", counts(20, 9, seed=1))
    stopped = CrashingStorage(folder / "old.slaf", at=30)
    with pytest.raises(Crash):
        slaf.convert(other, stopped, chunk_size=5)
    source = write_h5ad(folder / "in.h5ad", counts(N_CELLS, N_GENES))
    return Conversion(source, {"chunk_size": 6, "restart": True}, folder / "old.slaf")


def empty(folder: Path) -> Conversion:
    """No cells, so no parts."""
    source = write_h5ad(folder / "in.h5ad", sp.csr_matrix(np.zeros((0, N_GENES), np.float32)))
    return Conversion(source, {"create_indices": True})


def blank(folder: Path) -> Conversion:
    """Cells without a single value, so parts without fragments."""
    source = write_h5ad(folder / "in.h5ad", sp.csr_matrix(np.zeros((N_CELLS, N_GENES), np.int32)))
    return Conversion(source, {"chunk_size": 6})


def several(folder: Path) -> Conversion:
    """Three inputs with other genes each, of which one is in the order of its genes."""
    first, *rest = shuffled_inputs(folder)
    return Conversion(first, {"chunk_size": 5, "join": "union"}, more=rest)


def appending(folder: Path) -> Conversion:
    """Two inputs are added, in four parts, to a dataset with an index on every id."""
    first, second, third = shuffled_inputs(folder)
    slaf.convert(first, folder / "old.slaf", chunk_size=5, create_indices=True)
    options = {"chunk_size": 3, "join": "union"}
    return Conversion(second, options, folder / "old.slaf", [first], [third])


def appending_and_widening(folder: Path) -> Conversion:
    """The last value that is added asks for another type, so all rows are written again."""
    first = write_h5ad(folder / "first.h5ad", counts(N_CELLS, N_GENES, seed=1))
    slaf.convert(first, folder / "old.slaf", chunk_size=5)
    source = write_h5ad(folder / "in.h5ad", ending_in(0.5))
    return Conversion(source, {"chunk_size": 6}, folder / "old.slaf", [first])


def appending_genes(folder: Path) -> Conversion:
    """What is added has more genes than 16 bits count, so all rows are written again."""
    first = write_h5ad(folder / "first.h5ad", counts(N_CELLS, N_GENES))
    slaf.convert(first, folder / "old.slaf")
    values = np.array([1, 2], np.int32)
    wide = sp.csr_matrix((values, ([0, 1], [3, 65_536])), (2, 65_537))
    source = write_h5ad(folder / "in.h5ad", wide)
    return Conversion(source, {"join": "union"}, folder / "old.slaf", [first])


def appending_nothing(folder: Path) -> Conversion:
    """Cells without a single value are added to a dataset that holds none either."""
    blanks = sp.csr_matrix(np.zeros((4, N_GENES), np.int32))
    first = write_h5ad(folder / "first.h5ad", blanks)
    slaf.convert(first, folder / "old.slaf")
    source = write_h5ad(folder / "in.h5ad", sp.vstack([blanks, blanks]).tocsr())
    return Conversion(source, {}, folder / "old.slaf", [first])


def shuffled_inputs(folder: Path) -> list[Path]:
    """Inputs of some of the same genes, each in an order of its own."""
    genes = [[0, 1, 2, 3, 4, 5], [5, 4, 7, 1], [2, 8, 0, 9]]
    inputs = []
    for number, chosen in enumerate(genes):
        matrix = counts(8 - number, len(chosen), seed=number)
        layout = sp.csc_matrix(matrix) if number == 1 else matrix
        path = write_h5ad(folder / f"in-{number}.h5ad", layout)
        adata = anndata.read_h5ad(path)
        adata.var_names = [f"gene-{gene}" for gene in chosen]
        adata.write_h5ad(path)
        inputs.append(path)
    return inputs
