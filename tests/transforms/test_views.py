"""A chain of steps on a view gives what scanpy and AnnData give in memory."""

from __future__ import annotations

import pickle
import warnings
from typing import TYPE_CHECKING, Any

import anndata
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp
from hypothesis import Phase, given, settings

import slaf
from slaf.errors import InputError, SelectionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hypothesis.strategies import SearchStrategy

N_CELLS, N_GENES = 30, 12
BASES = ("counts", "integers", "fractions", "union")


def example(base: str, n_cells: int = N_CELLS, first: int = 0) -> anndata.AnnData:
    """Counts, 64-bit integers, or fractions of which one is NaN; some cells are empty."""
    rng = np.random.default_rng(BASES.index(base) + first)
    dense: Any = rng.poisson(0.8, (n_cells, N_GENES)).astype(np.float32)
    dense[3] = 0
    if base == "integers":
        dense = dense.astype(np.int64)
    if base == "fractions":
        dense = dense * rng.random(dense.shape)
        dense[5, 2] = np.nan
    obs = pd.DataFrame(
        {
            "gene": pd.Categorical(rng.choice(["NTC", "a", "B"], n_cells), ["a", "NTC", "B"]),
            "age": np.where(rng.random(n_cells) < 0.2, np.nan, rng.integers(0, 9, n_cells)),
        },
        index=[f"cell-{at}" for at in range(first, first + n_cells)],
    )
    names = [f"{'MT-' if at % 5 == 0 else 'G'}{at + first // 10}" for at in range(N_GENES)]
    adata = anndata.AnnData(sp.csr_matrix(dense), obs=obs, var=pd.DataFrame(index=names))
    layer = rng.poisson(1.5, dense.shape).astype(np.float32)
    adata.layers["counts"] = sp.csr_matrix(layer)
    adata.obsm["X_umap"] = rng.random((n_cells, 2))
    return adata


def union() -> list[anndata.AnnData]:
    """Two inputs with some genes in common."""
    return [example("union", 18), example("union", 12, first=30)]


@pytest.fixture(scope="module")
def bases(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, tuple[anndata.AnnData, list[slaf.View]]]]:
    """For each content the AnnData in memory, and views of it: a scan, and a dataset."""
    top = tmp_path_factory.mktemp("bases")
    found = {}
    for base in BASES:
        inputs = union() if base == "union" else [example(base)]
        join = "outer" if base == "union" else "inner"
        whole = anndata.concat(inputs, join=join) if len(inputs) > 1 else inputs[0]
        made = slaf.convert(inputs, top / f"{base}.slaf", join="union", chunk_size=7)
        # `anndata.concat` sorts the genes of a union.
        found[base] = (whole[:, made.var_names].copy(), [slaf.scan(inputs, join="union"), made])
    yield found
    for _, views in found.values():
        views[0].close()


# ------------------------------------------------------------------------------ the same in memory


def x_of(adata: anndata.AnnData, layer: str | None) -> Any:
    """X or a layer."""
    return adata.X if layer is None else adata.layers[layer]


def sums(matrix: Any) -> Any:
    """The sum of each row."""
    return np.asarray(matrix.sum(axis=1, dtype=np.float64)).ravel()


def put(adata: anndata.AnnData, options: dict[str, Any], matrix: Any) -> anndata.AnnData:
    """The AnnData with new values of X or a layer."""
    adata = adata.copy()
    target = options.get("as_layer") or options.get("layer")
    if target is None:
        adata.X = matrix
    else:
        adata.layers[target] = matrix
    return adata


def in_memory(  # noqa: C901, PLR0911, PLR0915 - a branch for each step
    adata: anndata.AnnData, name: str, options: dict[str, Any], after: Any
) -> Any:
    """What scanpy and AnnData make of it; `after` is the view, of which drawn cells are taken."""
    adata = adata.copy()
    matrix = x_of(adata, options.get("layer")).copy()
    kept = {key: value for key, value in options.items() if key not in ("layer", "as_layer")}
    if name == "select":
        return adata[options["cells"]][:, options["genes"]].copy()
    if name == "mad":
        totals = np.log1p(sums(adata.X))
        values = totals[np.isfinite(totals)]
        middle = np.median(values)
        spread = options["n"] * np.median(np.abs(values - middle))
        return adata[(totals >= middle - spread) & (totals <= middle + spread)].copy()
    if name == "pct":
        mt = adata.var_names.str.startswith("MT-")
        with np.errstate(invalid="ignore"):
            percent = np.nan_to_num(sums(adata.X[:, mt]) / sums(adata.X) * 100, nan=0.0)
        percent[np.isnan(sums(adata.X))] = np.nan
        return adata[percent <= options["most"]].copy()
    if name.startswith("filter"):
        for rule, bound in kept.items():
            sub = anndata.AnnData(x_of(adata, options.get("layer")).copy())
            method = sc.pp.filter_cells if name == "filter_cells" else sc.pp.filter_genes
            mask, _ = method(sub, **{rule: bound}, inplace=False)
            adata = (adata[mask] if name == "filter_cells" else adata[:, mask]).copy()
        return adata
    if name == "sample":
        assert after.n_obs == options["n"]
        chosen = adata.obs_names.isin(after.obs_names)
        return adata[chosen].copy()
    if name == "sort_by":
        column = adata.obs[options["column"]]
        ranks = column.cat.codes.replace(-1, 99) if column.dtype == "category" else column
        keys = ranks.fillna(99).to_numpy(float)
        if "first" in options:
            keys = np.where(column == options["first"], -1, keys)
        return adata[np.argsort(keys, kind="stable")].copy()
    if name == "downsample_counts":
        drawn = after.lazy_matrix(options.get("as_layer") or options.get("layer")).to_memory()
        assert (drawn > matrix).nnz == 0
        assert (drawn < 0).nnz == 0
        expected = np.minimum(sums(matrix), options["counts_per_cell"])
        np.testing.assert_array_equal(sums(drawn), expected)
        return put(adata, options, drawn)
    if name == "normalize_total":
        totals = sums(matrix)
        target = options.get("target_sum") or float(np.median(totals[totals > 0]))
        some = anndata.AnnData(matrix)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            sc.pp.normalize_total(some, target_sum=target)
        return put(adata, options, some.X)
    assert name == "log1p"
    if np.isnan(matrix.data).any():
        matrix.data = np.log1p(matrix.data)  # scanpy refuses NaN
        return put(adata, options, matrix)
    return put(adata, options, sc.pp.log1p(anndata.AnnData(matrix), copy=True).X)


def on_view(view: slaf.View, name: str, options: dict[str, Any]) -> slaf.View:
    """The same step of a view."""
    if name == "select":
        return view[options["cells"]][:, options["genes"]]
    if name == "mad":
        return view.filter_cells(mad={"counts": options["n"]})
    if name == "pct":
        return view.filter_cells(max_pct={"mt": options["most"]})
    result: slaf.View = getattr(view, name)(**options)
    return result


def assert_same(view: slaf.View, adata: anndata.AnnData) -> None:
    """Ids, tables and integers are equal, and floats are near."""
    found = view.to_anndata()
    assert found.obs_names.to_list() == adata.obs_names.to_list()
    assert found.var_names.to_list() == adata.var_names.to_list()
    # AnnData forgets categories that no cell has any more.
    columns = ["gene", "age"]
    pd.testing.assert_frame_equal(found.obs[columns], adata.obs[columns], check_categorical=False)
    np.testing.assert_array_equal(found.obsm["X_umap"], adata.obsm["X_umap"])
    assert set(found.layers) == set(adata.layers)
    for layer in (None, *adata.layers):
        one, other = x_of(found, layer), x_of(adata, layer)
        assert one.dtype == other.dtype
        rtol = 1e-6 if one.dtype.kind == "f" else 0
        np.testing.assert_allclose(one.toarray(), other.toarray(), rtol=rtol, equal_nan=True)


# -------------------------------------------------------------------------------------------- law 9

LAYERS = st.sampled_from([{}, {}, {"layer": "counts"}])


@st.composite
def step(  # noqa: C901, PLR0911 - a branch for each step
    draw: Any, adata: anndata.AnnData, at: int
) -> tuple[str, dict[str, Any]]:
    """A step that this AnnData can take."""
    n_cells, n_genes = adata.shape
    names = ["select", "filter_cells", "filter_genes", "mad", "pct", "sample", "sort_by"]
    layer = draw(LAYERS)
    matrix = x_of(adata, layer.get("layer"))
    name = draw(st.sampled_from([*names, "downsample_counts", "normalize_total", "log1p"]))
    if name == "select":
        cells = draw(st.permutations(range(n_cells)))[: draw(st.integers(1, n_cells))]
        genes = draw(st.lists(st.integers(0, n_genes - 1), min_size=1, unique=True))
        return name, {"cells": cells, "genes": genes}
    if name in ("filter_cells", "filter_genes"):
        other = "genes" if name == "filter_cells" else "cells"
        rules: dict[str, SearchStrategy[float]] = {
            f"min_{other}": st.integers(0, 4),
            f"max_{other}": st.integers(4, 30),
            "min_counts": st.integers(0, 6).map(lambda n: n + 0.37),
            "max_counts": st.integers(4, 90).map(lambda n: n + 0.37),
        }
        chosen = draw(st.sets(st.sampled_from(sorted(rules)), min_size=1, max_size=2))
        return name, {rule: draw(rules[rule]) for rule in sorted(chosen)} | layer
    if name == "mad":
        if not (adata.X.data == np.floor(adata.X.data)).all():
            # Of normalised cells the deviations are errors of rounding.
            return "filter_cells", {"min_counts": 3.37}
        return name, {"n": draw(st.sampled_from([0.71, 2.31]))}
    if name == "pct":
        has = adata.var_names.str.startswith("MT-").any()
        return (name, {"most": 31.3}) if has else ("sample", {"n": n_cells})
    if name == "sample":
        return name, {"n": draw(st.integers(1, n_cells)), "seed": draw(st.integers(0, 3))}
    if name == "sort_by":
        first = {"first": "NTC"} if (adata.obs["gene"] == "NTC").any() else {}
        return name, draw(
            st.sampled_from([{"column": "gene"}, {"column": "gene", **first}, {"column": "age"}])
        )
    if draw(st.booleans()):
        layer = layer | {"as_layer": f"made-{at}"}
    if name == "downsample_counts" and (matrix.data == np.floor(matrix.data)).all():
        return name, {"counts_per_cell": draw(st.integers(0, 12))} | layer
    if name == "normalize_total" and (sums(matrix) > 0).any():
        return name, draw(st.sampled_from([{}, {"target_sum": 17.0}])) | layer
    return "log1p", layer


def check_chain(data: st.DataObject, bases: dict[str, tuple[Any, Any]], longest: int) -> None:
    """Draw a chain, do it on a view and in memory, and compare."""
    base = data.draw(st.sampled_from(BASES))
    adata, views = bases[base]
    view = data.draw(st.sampled_from(views))
    for at in range(data.draw(st.integers(1, longest))):
        if 0 in adata.shape:
            break
        name, options = data.draw(step(adata, at))
        try:
            after = on_view(view, name, options)
        except SelectionError as error:
            assert "logarithms already" in str(error)  # noqa: PT017 - any other error fails
            break
        adata = in_memory(adata, name, options, after)
        view = after
        assert view.shape == adata.shape, (name, options)
    assert_same(view, adata)
    if data.draw(st.booleans()) and view.n_obs:
        cells = data.draw(st.lists(st.integers(0, view.n_obs - 1), max_size=4))
        expected = adata.X[cells]
        np.testing.assert_allclose(
            view.X[cells].toarray(), expected.toarray(), rtol=1e-6, equal_nan=True
        )


@given(st.data())
@settings(max_examples=25, deadline=None, phases=[Phase.generate], report_multiple_bugs=False)
def test_a_chain_equals_scanpy(bases: dict[str, tuple[Any, Any]], data: st.DataObject) -> None:
    """Steps of a view give the cells, genes, orders and values that they give in memory."""
    check_chain(data, bases, 6)


@pytest.mark.slow
@given(st.data())
@settings(max_examples=400, deadline=None, phases=[Phase.generate])
def test_many_chains_equal_scanpy(bases: dict[str, tuple[Any, Any]], data: st.DataObject) -> None:
    """As above, for as many chains as find rare faults."""
    check_chain(data, bases, 6)


# ----------------------------------------------------------------------------------------- refused


def test_what_is_refused() -> None:
    """Logarithms of logarithms, negative values and fractions that are drawn say what to do."""
    adata = example("counts")
    view = slaf.scan(adata)
    with pytest.raises(SelectionError, match="X holds logarithms already; take the logarithm of"):
        view.log1p().normalize_total(1.0).log1p()
    marked = adata.copy()
    marked.uns["log1p"] = {}
    with pytest.raises(SelectionError, match='as uns\\["log1p"\\] says'):
        slaf.scan(marked).log1p()
    assert slaf.scan(marked).log1p(layer="counts").uns == {"log1p": {}}
    with pytest.raises(SelectionError, match=r"layers\['new'\] holds logarithms"):
        view.log1p(as_layer="new").log1p(layer="new")
    adata.X[4, 7] = -2
    adata.layers["half"] = abs(adata.X) * 0.5
    view = slaf.scan(adata)
    for step in ("log1p", "normalize_total"):
        with pytest.raises(InputError, match=r"X at cell 'cell-4', gene 'G7' is -2.0, but only"):
            getattr(view, step)().X.to_memory()
    with pytest.raises(InputError, match=r"layers\['half'\] at cell .* whole numbers up to"):
        view.downsample_counts(1, layer="half").layers["half"].to_memory()
    with pytest.raises(SelectionError, match="there is no layer 'none' whose values could be"):
        view.log1p(layer="none")
    with pytest.raises(SelectionError, match="a layer 'half' already; give the result another"):
        view.log1p(as_layer="half")
    with pytest.raises(SelectionError, match="31 cells cannot be drawn of 30"):
        view.sample(31)
    with pytest.raises(SelectionError, match=r"no id or symbol of a gene matches '\^RP"):
        view.filter_cells(max_pct={"ribo": 5})
    with pytest.raises(SelectionError, match="called 'x'; give their pattern by --mask x="):
        view.filter_cells(mad={"x": 5})
    with pytest.raises(SelectionError, match="no cell has 'none' in 'gene'; there are"):
        view.sort_by("gene", first="none")
    with pytest.raises(SelectionError, match="obs has no column 'none'; it has 'gene', 'age'"):
        view.sort_by("none")


def test_draws_depend_on_ids_alone() -> None:
    """What is drawn does not depend on the order of cells, nor on which others there are."""
    view = slaf.scan(example("counts"))
    backwards = view[::-1]
    chosen = set(view.sample(9, seed=4).obs_names)
    assert chosen == set(backwards.sample(9, seed=4).obs_names)
    assert chosen != set(view.sample(9, seed=5).obs_names)
    whole: Any = view.downsample_counts(4, seed=1).X.to_memory()
    part = backwards[::2].downsample_counts(4, seed=1).X.to_memory()
    assert (whole[::-1][::2] != part).nnz == 0
    assert (whole != view.downsample_counts(4, seed=2).X.to_memory()).nnz


def test_draws_are_uniform() -> None:
    """Each count has the same chance, over many cells."""
    adata = anndata.AnnData(sp.csr_matrix(np.tile([30.0, 10.0, 60.0], (4000, 1))))
    drawn = slaf.scan(adata).downsample_counts(20).X.to_memory()
    np.testing.assert_allclose(np.asarray(drawn.mean(axis=0)).ravel(), [6, 2, 12], rtol=0.02)


def test_a_transformed_view_is_a_view(tmp_path: Any) -> None:
    """It is pickled, converted, exported and verified, and tells its steps with their numbers."""
    adata = example("counts")
    adata.raw = adata.copy()
    view = slaf.scan(adata).filter_cells(min_genes=3, mad={"counts": 3})
    view = view.normalize_total().log1p(as_layer="log").sort_by("gene")[:20]
    assert [step.name for step in view.steps] == [
        *("filter_cells", "normalize_total", "log1p", "sort_by")
    ]
    assert view.steps[1].options["target_sum"] > 0
    assert set(view.steps[0].removed) == {"min_genes 3", *list(view.steps[0].removed)[1:]}
    again = pickle.loads(pickle.dumps(view))  # noqa: S301 - our own
    assert again.steps == view.steps
    made = slaf.convert(view, tmp_path / "out.slaf")
    assert slaf.verify(made, again).ok
    assert slaf.diff(view, made).ok
    view.write_h5ad(tmp_path / "out.h5ad")
    back = anndata.read_h5ad(tmp_path / "out.h5ad")
    np.testing.assert_array_equal(back.X.toarray(), view.X.to_memory().toarray())
    assert (back.raw.X != adata.raw[view.obs_names].X).nnz == 0
