"""What the datasets hold that are kept here; once released, no line of it may change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CONTENTS", "counts", "everything", "fractions"]


def counts() -> anndata.AnnData:
    """Whole numbers as float32 up to 16 bits, an empty cell and gene, and columns of every type."""
    rng = np.random.default_rng(20)
    x = rng.poisson(0.7, (12, 9)).astype(np.float32)
    x[3], x[:, 4], x[11, 8] = 0, 0, 65_535
    return anndata.AnnData(sp.csr_matrix(x), obs=_obs(12), var=_var(9))


def fractions() -> anndata.AnnData:
    """float64 that float32 does not hold, negatives, infinity and NaN; ids alone."""
    x = np.zeros((5, 4))
    x[0, 1], x[1, 0], x[1, 3], x[4, 2], x[4, 3] = 0.1, -2.5, np.nan, np.inf, 1e-300
    obs = pd.DataFrame(index=_strings(f"c{i}" for i in range(5)))
    var = pd.DataFrame(index=_strings(f"g{i}" for i in range(4)))
    return anndata.AnnData(sp.csr_matrix(x), obs=obs, var=var)


def everything() -> anndata.AnnData:
    """Something in every slot, some of it what no table holds."""
    rng = np.random.default_rng(21)
    adata = fractions()
    whole = rng.poisson(0.7, (5, 4)).astype(np.int32)
    adata.layers["counts"] = sp.csr_matrix(whole)
    adata.layers["halves"] = sp.csr_matrix(whole * 0.5)
    genes = pd.DataFrame(index=_strings(f"r{i}" for i in range(6)))
    adata.raw = anndata.AnnData(
        sp.csr_matrix(rng.poisson(0.7, (5, 6)).astype(np.float32)), obs=adata.obs, var=genes
    )
    adata.obsm["X_pca"] = (np.arange(10, dtype=np.float32) / 7).reshape(5, 2)
    adata.obsm["table"] = pd.DataFrame({"n": np.arange(5)}, index=adata.obs_names)
    adata.varm["PCs"] = (np.arange(8) / 3).reshape(4, 2)
    adata.obsp["graph"] = sp.csr_matrix(np.eye(5)[[1, 0, 3, 2, 4]] / 3)
    adata.varp["links"] = sp.csr_matrix(np.eye(4, dtype=np.float32))
    adata.uns = {"colour": "blue", "sizes": np.arange(3), "deep": {"of": 1.5}}
    return adata


def _obs(n_cells: int) -> pd.DataFrame:
    numbers = np.arange(n_cells)
    stage_codes = np.where(numbers == n_cells - 1, -1, numbers % 3)
    names = pd.Index(["late", "early", "mid", "never"], dtype=object)
    stages = pd.Categorical.from_codes(stage_codes, names, ordered=True)
    nullable = [None if number % 4 == 0 else int(number) for number in numbers]
    columns = {
        "stage": stages,
        "batch": pd.Categorical(_strings(f"b{number % 2}" for number in numbers)),
        "note": _strings(["", "naïve", *("x" * number for number in numbers[2:])]),
        "depth": numbers / 7,
        "pct_mt": np.where(numbers == 2, np.nan, numbers / 3).astype(np.float32),
        "small": numbers.astype(np.int8),
        "seen": numbers % 2 == 0,
        "rank": pd.array(nullable, dtype="Int64"),
        "kept": pd.array([None, *(numbers[1:] > 5)], dtype="boolean"),
        "cell_id": _strings(f"own-{number}" for number in numbers),
        "n.genes µ": numbers.astype(np.uint16),
        "_rowid": -numbers.astype(np.int64),
    }
    index = _strings(f"AAC-{number}" for number in numbers)
    return pd.DataFrame(columns, index=index.rename("barcode"))


def _var(n_genes: int) -> pd.DataFrame:
    numbers = np.arange(n_genes)
    columns = {
        "symbol": _strings(f"GENE{number}" for number in numbers),
        "highly_variable": numbers % 3 == 0,
        "feature_types": pd.Categorical(_strings("Gene Expression" for _ in numbers)),
    }
    return pd.DataFrame(columns, index=_strings(f"ENSG{number:05d}" for number in numbers))


def _strings(values: Iterable[str]) -> pd.Index[Any]:
    """Strings as every pandas can hold them: newer ones choose another type by themselves."""
    return pd.Index(list(values), dtype=object)


CONTENTS = {"counts": counts, "fractions": fractions, "everything": everything}
