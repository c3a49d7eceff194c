"""Datasets as slafdb 0.5.2 writes them, without slafdb."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import lance
import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import scipy.sparse as sp

__all__ = ["SlafdbFiles", "slafdb_files"]


@dataclass(frozen=True)
class SlafdbFiles:
    """Tables, config.json and files of a dataset that slafdb wrote.

    Attributes
    ----------
    tables
        Tables by name.
    config
        The content of config.json.
    files
        Content of the other files, by name.
    """

    tables: dict[str, pa.Table]
    config: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)

    def write(self, path: Path) -> Path:
        """Write the dataset, each table in two fragments."""
        path.mkdir()
        for name, table in self.tables.items():
            half = table.num_rows // 2
            for rows, mode in ((table.slice(0, half), "create"), (table.slice(half), "append")):
                lance.write_dataset(
                    rows,
                    path / f"{name}.lance",
                    mode=mode,
                    data_storage_version="2.2",
                    enable_v2_manifest_paths=True,
                )
        (path / "config.json").write_text(json.dumps(self.config, indent=2))
        for name, content in self.files.items():
            (path / name).write_bytes(content)
        return path

    def with_config(self, **config: Any) -> SlafdbFiles:
        """Return a copy with other keys in config.json."""
        return replace(self, config=self.config | config)

    def with_table(self, name: str, table: pa.Table) -> SlafdbFiles:
        """Return a copy with another table."""
        return replace(self, tables=self.tables | {name: table})

    def with_column(self, name: str, column: str, values: Any) -> SlafdbFiles:
        """Return a copy with a column of a table replaced or added."""
        table = self.tables[name]
        at = table.schema.get_field_index(column)
        if at < 0:
            return self.with_table(name, table.append_column(column, values))
        return self.with_table(name, table.set_column(at, column, values))

    def without_column(self, name: str, column: str) -> SlafdbFiles:
        """Return a copy without a column of a table."""
        return self.with_table(name, self.tables[name].drop_columns([column]))

    def with_value(self, name: str, column: str, row: int, value: Any) -> SlafdbFiles:
        """Return a copy with another value in a row of a column."""
        stored = self.tables[name].column(column)
        values = stored.to_pylist()
        values[row] = value
        return self.with_column(name, column, pa.array(values, stored.type))


def slafdb_files(
    matrix: sp.csr_matrix,
    *,
    genes: Sequence[str] = (),
    plain: bool = False,
    strings: bool = False,
) -> SlafdbFiles:
    """Make a dataset of format 0.5 from one matrix.

    Parameters
    ----------
    genes
        Gene ids; gene-0, gene-1 … by default.
    plain
        Store int32 ids and float32 values.
    strings
        Store string ids in `expression`.
    """
    n_cells, n_genes = matrix.shape
    cell_ids = np.array([f"old-{cell}" for cell in range(n_cells)], np.str_)
    gene_ids = np.array(list(genes) or [f"gene-{gene}" for gene in range(n_genes)])
    of_cells = np.repeat(np.arange(n_cells), np.diff(matrix.indptr))
    types = (np.int32, np.int32, np.float32) if plain else (np.uint32, np.uint16, np.uint16)
    columns: tuple[np.ndarray[Any, Any], ...] = (of_cells, matrix.indices, matrix.data)
    names = ("cell_integer_id", "gene_integer_id", "value")
    expression = {n: c.astype(t) for n, c, t in zip(names, columns, types, strict=True)}
    if strings:
        texts = {"cell_id": cell_ids[of_cells], "gene_id": gene_ids[matrix.indices]}
        expression = texts | expression
    depth = pa.array([None if cell == 1 else cell / 4 for cell in range(n_cells)], pa.float64())
    obs = {
        "batch": pa.array([f"b{cell % 3}" for cell in range(n_cells)], pa.string()),
        "depth": depth,
        "plate": pa.array(np.arange(n_cells, dtype=np.int8)),
        "cell_id": pa.array(cell_ids),
        "cell_integer_id": pa.array(np.arange(n_cells)),
        "cell_start_index": pa.array(matrix.indptr[:-1].astype(np.int64)),
    }
    var = {
        "length": pa.array(np.arange(n_genes)),
        "gene_id": pa.array(gene_ids),
        "gene_integer_id": pa.array(np.arange(n_genes)),
    }
    config = {
        "format_version": "0.5",
        "array_shape": [n_cells, n_genes],
        "n_cells": n_cells,
        "n_genes": n_genes,
        "tables": {name: f"{name}.lance" for name in ("expression", "cells", "genes")},
        "optimizations": {"use_integer_keys": True, "optimize_storage": not strings},
        "metadata": {"expression_count": matrix.nnz, "sparsity": 0.8, "density": 0.2},
        "created_at": "2026-03-01T12:00:00.000000",
    }
    tables = {
        "expression": pa.table(expression),
        "cells": pa.table(obs),
        "genes": pa.table(var),
    }
    return SlafdbFiles(tables, config)
