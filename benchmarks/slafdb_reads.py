"""Read our datasets with slafdb 0.5.2, and compare the result with the source.

Run by hand: ``python -m benchmarks.slafdb_reads FILE.h5ad``. It makes an environment of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

import slaf
from benchmarks.programs import PROGRAMS
from slaf.annotations.uns import as_json

CELLS = slice(5, 105)
GENES = slice(0, 500)
SLOTS = ("layers", "obsm", "varm", "obsp", "varp", "uns")

# Runs in the other environment, where `slaf` is slafdb's package.
READER = """
import hashlib, json, sys

import numpy as np
import scipy.sparse as sp
from slaf import SLAFArray
from slaf.integrations.anndata import LazyAnnData


def matrix_of(matrix):
    entries = sp.csr_matrix(matrix).astype(np.float64)
    entries.eliminate_zeros()
    entries.sort_indices()
    pieces = (entries.indptr.astype("<i8"), entries.indices.astype("<i8"), entries.data)
    digest = hashlib.sha256(b"".join(piece.tobytes() for piece in pieces)).hexdigest()
    return [list(entries.shape), entries.nnz, digest]


array = SLAFArray(sys.argv[1])
first, last, low, high = map(int, sys.argv[2:])
total = array.query("SELECT SUM(CAST(value AS DOUBLE)) AS s, COUNT(*) AS n FROM expression")
genes = array.query(
    "SELECT gene_integer_id AS g, SUM(CAST(value AS DOUBLE)) AS s FROM expression "
    "GROUP BY gene_integer_id ORDER BY g"
)
part = array.get_submatrix(cell_selector=slice(first, last), gene_selector=slice(low, high))
content = {
    "shape": list(array.shape),
    "sum": total["s"][0],
    "count": total["n"][0],
    "genes": dict(zip(map(str, genes["g"].to_list()), genes["s"].to_list())),
    "submatrix": sorted(zip(*(part[name].to_list() for name in ("cell_id", "gene_id", "value")))),
    "obs": array.obs.columns,
}
lazy = LazyAnnData(array)
content["layers"] = {
    name: matrix_of(lazy.layers[name].compute()) for name in lazy.layers.keys()
}
for slot in ("obsm", "varm", "obsp", "varp"):
    elements = getattr(lazy, slot)
    content[slot] = {name: matrix_of(elements[name]) for name in elements.keys()}
content["uns"] = dict(lazy.uns)
print("RESULT" + json.dumps(content))
"""


def read_by_slafdb(python: Path, dataset: Path) -> dict[str, Any]:
    """The content of a dataset as slafdb reads it."""
    bounds = [str(edge) for part in (CELLS, GENES) for edge in (part.start, part.stop)]
    # Isolated from the `slaf` of this folder.
    command = [str(python), "-I", "-c", READER, str(dataset), *bounds]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    content: dict[str, Any] = json.loads(line.removeprefix("RESULT"))
    return content


def expected_of(dataset: slaf.Dataset) -> dict[str, Any]:
    """The same content of a dataset that was verified against its source."""
    matrix = dataset.X.to_memory().astype(np.float64)
    sums = np.asarray(matrix.sum(axis=0)).ravel()
    stored = np.bincount(matrix.indices, minlength=matrix.shape[1])
    part = matrix[CELLS, GENES].tocoo()
    cells, genes = list(dataset.obs.index[CELLS]), list(dataset.var.index[GENES])
    return {
        "shape": list(dataset.shape),
        "sum": matrix.sum(),
        "count": matrix.nnz,
        "genes": {str(gene): sums[gene] for gene in np.flatnonzero(stored)},
        "submatrix": sorted(
            (cells[cell], genes[gene], value)
            for cell, gene, value in zip(part.row, part.col, part.data, strict=True)
        ),
        **slots_of(dataset),
    }


def slots_of(dataset: slaf.Dataset) -> dict[str, Any]:
    """Layers, obsm, varm, obsp, varp and uns, in the form of the reader in the other environment.

    slafdb reads the content of tables: numeric arrays and matrices, by the names of columns.
    """
    annotations = dataset.annotations
    content: dict[str, Any] = {
        "layers": {
            record.name: matrix_of(dataset.layers[name].to_memory())
            for name, record in annotations.layers.items()
        }
    }
    for slot in ("obsm", "varm", "obsp", "varp"):
        forms = [form for form in annotations.record.specs.get(slot, ()) if form.name is not None]
        elements = annotations.slot(slot)
        content[slot] = {form.name: matrix_of(elements[form.key]) for form in forms}
    content["uns"] = json.loads(as_json(dataset.uns)) if dataset.uns else {}
    return content


def matrix_of(matrix: Any) -> list[Any]:
    """Shape, number of nonzeros, and a digest of their positions and values."""
    dense = matrix if hasattr(matrix, "toarray") else np.asarray(matrix).reshape(len(matrix), -1)
    entries = sp.csr_matrix(dense).astype(np.float64)
    entries.eliminate_zeros()
    entries.sort_indices()
    pieces = (entries.indptr.astype("<i8"), entries.indices.astype("<i8"), entries.data)
    digest = hashlib.sha256(b"".join(piece.tobytes() for piece in pieces)).hexdigest()
    return [list(entries.shape), entries.nnz, digest]


def is_equal(name: str, found: Any, expected: Any) -> bool:
    """Whether slafdb reads the expected; sums of fractions may differ in their last digits."""
    if name in SLOTS:
        return bool(found == expected)
    if name == "genes":
        return found.keys() == expected.keys() and np.allclose(
            [found[key] for key in expected], list(expected.values()), rtol=1e-9
        )
    if name == "submatrix":
        ids = [entry[:2] for entry in expected]
        values = [entry[2] for entry in expected]
        return [tuple(entry[:2]) for entry in found] == ids and np.allclose(
            [entry[2] for entry in found], values, rtol=1e-6
        )
    return bool(np.allclose(found, expected, rtol=1e-9))


def main() -> int:
    """Convert, read with both, compare, and print a line for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--matrix", default="X")
    parser.add_argument("--python", type=Path, help="interpreter of an environment with slafdb")
    arguments = parser.parse_args()
    python = arguments.python or PROGRAMS["slafdb"].python
    differs = 0
    with tempfile.TemporaryDirectory() as folder:
        for layout, plain in (("as converted by default", False), ("plain_types=True", True)):
            output = Path(folder) / f"{plain}.slaf"
            dataset = slaf.convert(
                arguments.file, output, matrix=arguments.matrix, plain_types=plain
            )
            slaf.verify(dataset, arguments.file)
            found, expected = read_by_slafdb(python, output), expected_of(dataset)
            for name, value in expected.items():
                equal = is_equal(name, found[name], value)
                differs += not equal
                shown = f"{len(value):,} entries" if isinstance(value, list | dict) else value
                print(f"{layout}: {name} ({shown}): {'equal' if equal else 'DIFFERS'}")
    return 1 if differs else 0


if __name__ == "__main__":
    sys.exit(main())
