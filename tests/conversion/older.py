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

__all__ = ["Older", "older"]


@dataclass(frozen=True)
class Older:
    """What such a dataset consists of.

    Attributes
    ----------
    tables
        By name.
    config
        All of config.json.
    files
        Other files of the directory.
    """

    tables: dict[str, pa.Table]
    config: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)

    def write(self, path: Path) -> Path:
        """Write it, `expression` in two fragments."""
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

    def having(self, **config: Any) -> Older:
        """The same with other keys in config.json."""
        return replace(self, config=self.config | config)

    def with_table(self, name: str, table: pa.Table) -> Older:
        """The same with another table."""
        return replace(self, tables=self.tables | {name: table})

    def with_column(self, name: str, column: str, values: Any) -> Older:
        """The same with another column in a table, or one more."""
        table = self.tables[name]
        at = table.schema.get_field_index(column)
        if at < 0:
            return self.with_table(name, table.append_column(column, values))
        return self.with_table(name, table.set_column(at, column, values))

    def without_column(self, name: str, column: str) -> Older:
        """The same without a column of a table."""
        return self.with_table(name, self.tables[name].drop_columns([column]))

    def with_value(self, name: str, column: str, row: int, value: Any) -> Older:
        """The same with another value in a row of a column."""
        found = self.tables[name].column(column)
        values = found.to_pylist()
        values[row] = value
        return self.with_column(name, column, pa.array(values, found.type))


def older(
    matrix: sp.csr_matrix,
    *,
    genes: Sequence[str] = (),
    plain: bool = False,
    strings: bool = False,
) -> Older:
    """A dataset of this matrix: format 0.5, made of one file.

    Parameters
    ----------
    genes
        Their ids, if others than the usual.
    plain
        With int32 ids and float32 values, as of fractions.
    strings
        With string ids in `expression`.
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
    return Older(tables, config)
