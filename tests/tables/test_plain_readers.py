"""A dataset is read by Lance, Polars and DuckDB alone, without this package."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pytest

import slaf
from tests.builders import counts, write_h5ad

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

N_CELLS, N_GENES = 20, 8

# What a reader needs to know: where the tables are, and which version of each is published.
OPEN = """
import json, sys
import lance

directory = sys.argv[1]
with open(f"{directory}/config.json") as file:
    config = json.load(file)
expression, cells, genes = (
    lance.dataset(f"{directory}/{config['tables'][name]}", version=config["versions"][name])
    for name in ("expression", "cells", "genes")
)
"""

CLOSE = """
assert not any(name.split(".")[0] in {"slaf", "slaf_cli"} for name in sys.modules)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small h5ad."""
    return write_h5ad(tmp_path_factory.mktemp("plain") / "in.h5ad", counts(N_CELLS, N_GENES))


@pytest.fixture(scope="module")
def adata(source: Path) -> anndata.AnnData:
    """The content of the h5ad."""
    return anndata.read_h5ad(source)


@pytest.fixture(scope="module", params=[False, True], ids=["stored", "plain"])
def dataset(request: pytest.FixtureRequest, source: Path) -> Path:
    """Its dataset, with unsigned integers, and with types that every reader supports."""
    path = source.with_name(f"plain-{request.param}.slaf")
    slaf.convert(source, path, chunk_size=6, plain_types=request.param, string_ids=request.param)
    return path


def answers(code: str, dataset: Path) -> Any:
    """Run a program that does not import this package; its results."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", OPEN + code + CLOSE, str(dataset)],
        capture_output=True,
        text=True,
        check=False,
        cwd=dataset,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def per_batch(adata: anndata.AnnData) -> list[list[Any]]:
    """The sum of the values of each batch."""
    return [
        [name, float(adata.X[(adata.obs["batch"] == name).to_numpy()].sum())]
        for name in adata.obs["batch"].cat.categories
    ]


def per_gene(adata: anndata.AnnData) -> list[list[Any]]:
    """The sum of the values of each gene."""
    totals = adata.X.sum(axis=0).A1.tolist()
    return sorted([name, total] for name, total in zip(adata.var_names, totals, strict=True))


def test_lance(dataset: Path, adata: anndata.AnnData) -> None:
    """Lance counts, filters and takes, and finds the rows of a cell by `cell_start_index`."""
    found = answers(
        """
starts = cells.to_table(["cell_start_index"])["cell_start_index"].to_pylist()
starts.append(expression.count_rows())
rows = expression.scanner(offset=starts[11], limit=starts[12] - starts[11]).to_table()
found = {
    "shape": [cells.count_rows(), genes.count_rows()],
    "nnz": expression.count_rows(),
    "starts": starts,
    "owners": sorted(set(rows["cell_integer_id"].to_pylist())),
    "genes": rows["gene_integer_id"].to_pylist(),
    "values": rows["value"].to_pylist(),
    "taken": expression.take([starts[11]])["value"].to_pylist(),
    "filtered": expression.to_table(filter="cell_integer_id = 11")["value"].to_pylist(),
    "large": expression.count_rows("value > 5"),
    "ids": cells.to_table(["cell_id"], filter="batch = 'b1'")["cell_id"].to_pylist(),
}
""",
        dataset,
    )
    cell = adata.X[11]
    assert found["shape"] == list(adata.shape)
    assert found["nnz"] == adata.X.nnz
    assert found["starts"] == adata.X.indptr.tolist()
    assert found["owners"] == [11]
    assert found["genes"] == cell.indices.tolist()
    assert found["values"] == found["filtered"] == cell.data.tolist()
    assert found["taken"] == cell.data[:1].tolist()
    assert found["large"] == int((adata.X.data > 5).sum())
    assert found["ids"] == adata.obs_names[adata.obs["batch"] == "b1"].to_list()


def test_polars(dataset: Path, adata: anndata.AnnData) -> None:
    """Polars scans the tables, joins and groups them; Lance filters before Polars sees a row."""
    found = answers(
        """
import polars as pl

nonzeros = pl.scan_pyarrow_dataset(expression)
obs, var = pl.from_arrow(cells.to_table()).lazy(), pl.from_arrow(genes.to_table()).lazy()
batches = (
    nonzeros.join(obs, on="cell_integer_id")
    .group_by(pl.col("batch").cast(pl.String))
    .agg(pl.col("value").cast(pl.Float64).sum())
    .sort("batch")
)
totals = (
    var.join(nonzeros, on="gene_integer_id", how="left")
    .group_by("gene_id")
    .agg(pl.col("value").cast(pl.Float64).sum())
    .sort("gene_id")
)
one = pl.from_arrow(expression.to_table(filter="cell_integer_id = 11"))
found = {
    "nnz": nonzeros.select(pl.len()).collect().item(),
    "batches": [list(row) for row in batches.collect().iter_rows()],
    "genes": [list(row) for row in totals.collect().iter_rows()],
    "one": one["value"].to_list(),
}
""",
        dataset,
    )
    assert found["nnz"] == adata.X.nnz
    assert found["batches"] == per_batch(adata)
    assert found["genes"] == per_gene(adata)
    assert found["one"] == adata.X[11].data.tolist()


DUCKDB_JOINS = """
import duckdb

BATCHES = '''
    SELECT batch, SUM(value) FROM nonzeros JOIN obs USING (cell_integer_id)
    GROUP BY ALL ORDER BY 1
'''
GENES = '''
    SELECT var.gene_id, SUM(COALESCE(value, 0)) FROM var LEFT JOIN nonzeros USING (gene_integer_id)
    GROUP BY ALL ORDER BY 1
'''
found = []
for nonzeros, obs, var in (
    (expression.scanner(), cells.scanner(), genes.scanner()),
    (expression.to_table(), cells.to_table(), genes.to_table()),
    (expression, cells, genes),
):
    [[nnz]] = duckdb.sql("SELECT COUNT(*) FROM nonzeros").fetchall()
    batches, totals = duckdb.sql(BATCHES).fetchall(), duckdb.sql(GENES).fetchall()
    found.append([nnz, *([[name, float(total)] for name, total in q] for q in (batches, totals))])
"""


def test_duckdb(dataset: Path, adata: anndata.AnnData) -> None:
    """DuckDB counts, joins and groups Lance's scanners, Arrow tables and Lance's datasets."""
    found = answers(DUCKDB_JOINS, dataset)
    assert found == [[adata.X.nnz, per_batch(adata), per_gene(adata)]] * 3


# Conditions in SQL, and what they mean for arrays of cells, genes and values.
CONDITIONS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "cell_integer_id = 11": lambda cell, _gene, _value: cell == 11,
    "cell_integer_id BETWEEN 3 AND 6": lambda cell, _gene, _value: (cell >= 3) & (cell <= 6),
    "value > 5": lambda _cell, _gene, value: value > 5,
    "gene_integer_id IN (1, 2, 3) AND value < 9": (
        lambda _cell, gene, value: np.isin(gene, (1, 2, 3)) & (value < 9)
    ),
}

DUCKDB_FILTERS = """
import duckdb

found = []
for where in {conditions}:
    for nonzeros, obs in (
        (expression.scanner(), cells.scanner()),
        (expression.to_table(), cells.to_table()),
        (expression.scanner().to_reader(), cells.scanner().to_reader()),
    ):
        joined = "nonzeros JOIN obs USING (cell_integer_id)"
        query = f"SELECT COUNT(*), SUM(value) FROM {{joined}} WHERE {{where}}"
        [[n, total]] = duckdb.sql(query).fetchall()
        found.append([n, float(total)])
nonzeros = expression.scanner(columns=["value"], filter="cell_integer_id = 11")
found.append([float(value) for (value,) in duckdb.sql("SELECT * FROM nonzeros").fetchall()])
"""


def test_duckdb_filters(dataset: Path, adata: anndata.AnnData) -> None:
    """DuckDB filters rows of a scanner, a table or a reader, after Lance filtered them.

    Given the dataset itself it hands the filter down, which Lance refuses for unsigned columns.
    """
    *found, in_lance = answers(DUCKDB_FILTERS.format(conditions=list(CONDITIONS)), dataset)
    entries = adata.X.tocoo()
    expected = []
    for holds in CONDITIONS.values():
        kept = entries.data[holds(entries.row, entries.col, entries.data)]
        expected += [[len(kept), float(kept.sum())]] * 3
    assert all(n for n, _ in expected)
    assert found == expected
    assert in_lance == adata.X[11].data.tolist()


def test_duckdb_and_a_replaced_dataset(source: Path, tmp_path: Path) -> None:
    """The newest version of each table is the published one, once a run has ended."""
    path = tmp_path / "out.slaf"
    slaf.convert(source, path, chunk_size=3, create_indices=True)
    slaf.convert(source, path, chunk_size=5, overwrite=True)
    found = answers(
        """
newest = [lance.dataset(f"{directory}/{name}.lance") for name in config["tables"]]
found = [[table.version, table.count_rows()] for table in newest]
""",
        path,
    )
    published = slaf.open(path)
    assert found == [
        [published.table(name).version, published.table(name).count_rows()]
        for name in published.published.tables
    ]
