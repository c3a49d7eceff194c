"""What a view gives is what AnnData gives when the same steps are done in memory."""

from __future__ import annotations

import pickle
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anndata
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp
from hypothesis import given, settings

import slaf
from slaf.annotations.equality import equal_elements
from slaf.errors import NotADataset, ReadOnlyError, SelectionError
from slaf.testing.strategies import Stored
from tests.builders import counts, write_stored
from tests.formats.builders import Mtx, write_soma, write_v3
from tests.formats.store_builders import write_h5mu, write_loom
from tests.sources.reads import M, Read, write_reads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hypothesis.strategies import SearchStrategy

N_CELLS, N_GENES = 24, 10
KINDS = (
    *("dataset", "by_gene", "view", "slaf"),
    *("anndata", "csr", "csc", "dense", "zarr", "10x_h5", "10x_mtx", "soma"),
    *("h5mu", "loom", "scdl", "several", "bam"),
)
# Those with every slot of the example, and those with at least the columns of its genes.
WHOLE = {"dataset", "by_gene", "view", "slaf", "anndata", "zarr"}
WITH_SYMBOLS = WHOLE | {"csr", "csc", "dense", "scdl", "several"}
# The genes of files of reads are bins, and each is named by its place.
BINS = {f"gene-{at}": f"chr1:{10 * at}-{10 * at + 10}" for at in range(N_GENES)}
SYMBOLS = ["CD3D", "MS4A1", *(f"G{at}" for at in range(2, N_GENES - 2))]


def example() -> anndata.AnnData:
    """Something in every slot, symbols of genes, and a column with missing values."""
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {
            "louvain": pd.Categorical([str(at % 3) for at in range(N_CELLS)]),
            "pct": np.where(np.arange(N_CELLS) % 4, rng.random(N_CELLS), np.nan),
        },
        index=[f"cell-{at}" for at in range(N_CELLS)],
    )
    var = pd.DataFrame(
        {"gene_name": [*SYMBOLS, "DUP", "DUP"]}, index=[f"gene-{at}" for at in range(N_GENES)]
    )
    adata = anndata.AnnData(counts(N_CELLS, N_GENES), obs=obs, var=var)
    adata.layers["counts"] = counts(N_CELLS, N_GENES, seed=1)
    adata.obsm["X_umap"] = rng.random((N_CELLS, 2))
    adata.varm["loadings"] = rng.random((N_GENES, 3))
    adata.obsp["graph"] = sp.csr_matrix(np.eye(N_CELLS, k=1))
    adata.varp["genes"] = rng.random((N_GENES, N_GENES))
    adata.uns["note"] = {"a": 1}
    raw = pd.DataFrame(index=[f"raw-{at}" for at in range(N_GENES + 2)])
    adata.raw = anndata.AnnData(counts(N_CELLS, N_GENES + 2, seed=2), obs=obs[[]], var=raw)
    return adata


@pytest.fixture(scope="module")
def adata() -> anndata.AnnData:
    """The example in memory."""
    return example()


@pytest.fixture(scope="module")
def views(
    adata: anndata.AnnData, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, slaf.View]]:
    """The views of the same cells and genes, by what they are views of."""
    top = tmp_path_factory.mktemp("views")
    matrix = adata.X.tocoo()
    stored = Stored(adata.shape, matrix.row, matrix.col, matrix.data.astype(np.int32))
    adata.write_h5ad(top / "in.h5ad")
    with quiet():
        adata.write_zarr(top / "in.zarr")
    one = {"csr": top / "csr.h5ad", "csc": top / "csc.h5ad", "dense": top / "dense.h5ad"}
    for layout, path in one.items():
        write_stored(path, stored, layout, obs=adata.obs, var=adata.var)
    halves = [top / "first.h5ad", top / "second.h5ad"]
    adata[:9].write_h5ad(halves[0])
    adata[9:].write_h5ad(halves[1])
    dataset = slaf.convert(top / "in.h5ad", top / "out.slaf", chunk_size=7)
    slaf.export(dataset, top / "scdl", format="scdl")
    inputs: dict[str, Any] = one | {
        "anndata": adata,
        "zarr": top / "in.zarr",
        "slaf": top / "out.slaf",
        "10x_h5": write_v3(top / "in.h5", stored),
        "10x_mtx": Mtx(order="shuffled").write(top / "mtx", stored),
        "soma": write_soma(top / "soma", stored),
        "h5mu": write_h5mu(top / "in.h5mu", rna=stored),
        "loom": write_loom(top / "in.loom", stored),
        "scdl": top / "scdl",
        "several": halves,
    }
    found = {name: slaf.scan(path, memory=1 << 10) for name, path in inputs.items()}
    found["bam"] = slaf.scan(write_samples(top, adata), memory=1 << 10, bin_size=10)
    backwards = np.arange(N_CELLS)[::-1]
    yield found | {
        "dataset": dataset,
        "by_gene": slaf.convert(top / "in.h5ad", top / "by_gene.slaf", by_gene=True),
        "view": dataset[backwards][backwards],
    }
    for view in found.values():
        view.close()


def write_samples(folder: Path, adata: anndata.AnnData) -> list[Path]:
    """A file of reads for each cell, with as many reads of one base in each bin as the gene has."""
    paths = []
    for name, row in zip(adata.obs_names, adata.X.toarray().astype(int), strict=True):
        alignments = [Read(0, 10 * at, ((M, 1),)) for at, n in enumerate(row) for _ in range(n)]
        path = folder / f"{name}.bam"
        paths.append(write_reads(path, alignments, [("chr1", 10 * N_GENES)]))
    return paths


# -------------------------------------------------------------------------------------------- law 9


def indexers(n: int, name: str) -> SearchStrategy[tuple[Any, Any]]:
    """An index of a view, and the positions that it stands for."""
    one = st.integers(-n, n - 1)
    every = np.arange(n)
    same = st.one_of(
        st.slices(n),
        one,
        st.lists(one, max_size=n),
        st.lists(one, max_size=n).map(lambda chosen: np.array(chosen, np.int16)),
        st.lists(st.booleans(), min_size=n, max_size=n),
    ).map(lambda index: (index, np.atleast_1d(every[_array(index)])))
    ids = st.lists(st.integers(0, n - 1), max_size=n).map(
        lambda chosen: ([f"{name}-{at}" for at in chosen], np.array(chosen, np.int64))
    )
    filters = st.integers(0, n).map(
        lambda least: (f"{name}_integer_id >= {least}", every[every >= least])
    )
    masks = st.tuples(st.permutations(range(n)), st.sets(st.integers(0, n - 1))).map(
        lambda drawn: (
            pd.Series([at in drawn[1] for at in drawn[0]], [f"{name}-{at}" for at in drawn[0]]),
            np.array(sorted(drawn[1]), np.int64),
        )
    )
    return st.one_of(same, ids, filters, masks)


def _array(index: Any) -> Any:
    """A list as numpy takes it, empty too."""
    if not isinstance(index, list):
        return index
    return np.array(index, np.int64 if not index else None)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=settings().max_examples // 5)
@given(cells=indexers(N_CELLS, "cell"), genes=indexers(N_GENES, "gene"), data=st.data())
def test_any_selection(  # noqa: PLR0917 - fixtures and what is drawn
    kind: str,
    views: dict[str, slaf.View],
    adata: anndata.AnnData,
    cells: Any,
    genes: Any,
    data: st.DataObject,
) -> None:
    """Any selection of cells and genes, also of a selection, is that of AnnData in memory."""
    view, expected = views[kind], in_memory(adata, cells[1], genes[1])
    index, ids = genes[0], expected.var_names.to_list()
    if kind in WITH_SYMBOLS:
        index = with_symbols(index, data)
    if kind == "bam":
        index, ids = as_bins(index), [BINS[gene] for gene in ids]
    found = view[cells[0], index]
    if data.draw(st.booleans()) and found.n_obs:
        chosen = data.draw(st.lists(st.integers(-found.n_obs, found.n_obs - 1), max_size=5))
        found, expected = (
            found[chosen],
            in_memory(expected, np.array(chosen, np.int64), slice(None)),
        )
    assert found.shape == (len(found), found.n_vars) == expected.shape
    assert found.obs_names.to_list() == expected.obs_names.to_list()
    assert found.var_names.to_list() == ids
    assert (found.X.to_memory() != expected.X).nnz == 0
    if found.n_obs > 1:
        assert (found.X[1:].toarray() == expected.X[1:].toarray()).all()
    if kind in WHOLE:
        assert_same(found, expected)


def with_symbols(genes: Any, data: st.DataObject) -> Any:
    """Ids of genes, of which some are replaced by symbols; another index as it is."""
    symbols = {f"gene-{at}": symbol for at, symbol in enumerate(SYMBOLS)}
    if not isinstance(genes, list) or not all(isinstance(gene, str) for gene in genes):
        return genes
    return [symbols.get(gene, gene) if data.draw(st.booleans()) else gene for gene in genes]


def as_bins(genes: Any) -> Any:
    """An index by the names of bins instead of those of genes; another index as it is."""
    if isinstance(genes, pd.Series):
        return genes.rename(BINS)
    if isinstance(genes, list):
        return [BINS.get(gene, gene) for gene in genes]
    return genes


def in_memory(adata: anndata.AnnData, cells: Any, genes: Any) -> anndata.AnnData:
    """A view of an AnnData; categories that no cell of it has are kept, as pandas does."""
    with anndata.settings.override(remove_unused_categories=False):
        return adata[cells][:, genes]


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore anndata's warnings of repeated names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def assert_same(view: slaf.View, expected: anndata.AnnData) -> None:
    """Compare all slots of a view with those of a view of an AnnData."""
    with quiet():
        found, expected = view.to_anndata(), expected.copy()
    pd.testing.assert_frame_equal(found.obs, expected.obs)
    pd.testing.assert_frame_equal(found.var, expected.var)
    assert (found.layers["counts"] != expected.layers["counts"]).nnz == 0
    assert (found.raw.X != expected.raw.X).nnz == 0
    for slot in ("obsm", "varm", "obsp", "varp", "uns"):
        for key, element in getattr(expected, slot).items():
            assert equal_elements(getattr(found, slot)[key], element), (slot, key)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_missing_passes_no_filter(
    kind: str, views: dict[str, slaf.View], adata: anndata.AnnData
) -> None:
    """A filter takes the cells for which the condition is true, and not those without a value."""
    view = views[kind]
    if "pct" not in view.obs:
        pytest.skip("this format has no columns of cells")
    expected = adata.obs_names[(adata.obs["pct"] > 0.2) & (adata.obs["louvain"] != "1")]
    assert view["pct > 0.2 AND louvain <> '1'"].obs_names.to_list() == expected.to_list()
    assert view["NOT pct <= 0.2"].n_obs == (adata.obs["pct"] > 0.2).sum()
    assert view["pct IS NULL"].n_obs == adata.obs["pct"].isna().sum()


def test_a_view_of_a_view_is_exported_and_converted(
    views: dict[str, slaf.View], adata: anndata.AnnData, tmp_path: Path
) -> None:
    """Export, convert, diff and SQL take views, of a dataset and of an input."""
    for at, kind in enumerate(("dataset", "csc", "anndata")):
        view = views[kind]["louvain = '2'"][:, ["MS4A1", "gene-0"]]
        expected = adata[adata.obs["louvain"] == "2"][:, ["gene-1", "gene-0"]]
        view.write_h5ad(tmp_path / f"{at}.h5ad")
        with quiet():
            back = anndata.read_h5ad(tmp_path / f"{at}.h5ad")
        assert (back.X != expected.X).nnz == 0
        assert back.var_names.to_list() == ["gene-1", "gene-0"]
        made = slaf.convert(view, tmp_path / f"{at}.slaf")
        assert slaf.diff(view, made).ok
        assert slaf.verify(made, view).ok
        sums = view.sql(
            "SELECT gene_id, SUM(value) AS s FROM expression JOIN var USING (gene_integer_id) "
            "GROUP BY gene_id ORDER BY gene_id"
        )
        totals = np.asarray(expected.X.sum(axis=0)).ravel()[::-1]
        assert sums["s"].to_list() == totals[totals > 0].tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_view_is_pickled(kind: str, views: dict[str, slaf.View]) -> None:
    """A pickled view is the same view, of a dataset and of an input."""
    if kind == "anndata":
        pytest.skip("an AnnData is pickled whole")
    view = views[kind][[5, 2], :3]
    again = pickle.loads(pickle.dumps(view))  # noqa: S301 - our own
    assert (again.X.to_memory() != view.X.to_memory()).nnz == 0
    again.origin.close()


# --------------------------------------------------------------------------------- the first tries


def test_the_first_tries(
    views: dict[str, slaf.View], adata: anndata.AnnData, tmp_path: Path
) -> None:
    """What a user of scanpy tries first works, or says what to write instead."""
    ds = views["dataset"]
    assert repr(ds).splitlines()[0].endswith("24 cells × 10 genes, float32")
    assert (ds.shape, ds.n_obs, len(ds)) == (adata.shape, N_CELLS, N_CELLS)
    assert (ds.X.to_memory() != adata.X).nnz == 0
    pd.testing.assert_frame_equal(ds.obs.head(), adata.obs.head())
    assert ds.obs_names.equals(adata.obs_names)
    assert (ds[:20].X.to_memory() != adata.X[:20]).nnz == 0
    assert (ds[:, "CD3D"].X.to_memory() != adata[:, "gene-0"].X).nnz == 0
    assert ds[ds.obs.louvain == "1"].n_obs == (adata.obs.louvain == "1").sum()
    np.testing.assert_array_equal(ds.obsm["X_umap"], adata.obsm["X_umap"])
    assert (ds.layers["counts"][:] != adata.layers["counts"]).nnz == 0
    raw = ds.raw
    assert raw is not None
    assert (raw.X.to_memory() != adata.raw.X).nnz == 0
    assert (raw[:, "raw-3"].X.to_memory() != adata.raw[:, "raw-3"].X).nnz == 0
    assert ds.uns == adata.uns
    np.testing.assert_array_equal(ds.obs_vector("CD3D"), adata.obs_vector("gene-0"))
    assert ds.obs_vector("louvain").tolist() == adata.obs["louvain"].tolist()
    cell, column = adata.obs_names[3], adata.var.columns[0]
    np.testing.assert_array_equal(ds.var_vector(cell), adata.var_vector(cell))
    assert ds.var_vector(column).tolist() == adata.var[column].tolist()
    with pytest.raises(KeyError, match="no cells with the id 'nothing'"):
        ds.var_vector("nothing")
    pd.testing.assert_frame_equal(ds.to_df(), adata.to_df())
    assert ds.to_memory().shape == adata.shape
    ds.write_h5ad(tmp_path / "x.h5ad")
    with pytest.raises(NotADataset, match=r"slaf\.scan"):
        slaf.open(tmp_path / "x.h5ad")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        sc.pl.umap(ds.to_anndata(), show=False)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("CD3D", "'CD3D' is no cell, and no filter on cells: there is no column 'CD3D'"),
        ("louvain = 1", "louvain holds text, and 1 is a number; write text in single quotes"),
        ("louvain = '1' & pct > 1", "write AND instead of &"),
        ((slice(None), ["CD3E", "nowhere"]), "'CD3E', 'nowhere' \\('CD3E' is like 'CD3D'"),
        ((slice(None), "DUP"), "'DUP' is the symbol of several genes; select them by position"),
        ((0, 0, 0), "two dimensions, cells and genes, and not 3"),
        (pd.Series([True], ["cell-0"]), "the index of the mask lacks 23 of the cells"),
        (pd.Series([True, None] * 12, dtype="boolean"), "missing values; decide on them with"),
        (slice("cell-1", "nowhere"), "there are no cells with the id 'nowhere'"),
    ],
)
def test_a_selection_that_is_none(index: Any, message: str, views: dict[str, slaf.View]) -> None:
    """What cannot be selected is refused in one sentence, of a dataset and of a scan alike."""
    for kind in ("dataset", "anndata"):
        with pytest.raises(SelectionError, match=message):
            views[kind][index]


def test_what_is_no_input() -> None:
    """An array, a backed AnnData and an option that is misspelt are refused with what to write."""
    with pytest.raises(TypeError, match=r"ndarray is no input: .* anndata\.AnnData\(matrix"):
        slaf.scan(np.eye(3))
    with pytest.raises(TypeError, match="no option 'memry'; the nearest is 'memory'"):
        slaf.scan(example(), memry=3)


def test_a_backed_anndata(tmp_path: Path) -> None:
    """An AnnData of a file is refused, dense or sparse: the file itself is read."""
    for at, matrix in enumerate((np.eye(3), sp.eye(3).tocsr())):
        anndata.AnnData(matrix).write_h5ad(tmp_path / f"{at}.h5ad")
        backed = anndata.read_h5ad(tmp_path / f"{at}.h5ad", backed="r")
        with pytest.raises(slaf.InputError, match="backed by a file; convert that file instead"):
            slaf.scan(backed)
        backed.file.close()


def test_sizes_and_names(views: dict[str, slaf.View], adata: anndata.AnnData) -> None:
    """Memory may be text, and one layer a name."""
    assert slaf.scan(adata, memory="2G").shape == adata.shape
    assert list(views["dataset"].to_anndata(layers="counts").layers) == ["counts"]
    with pytest.raises(SelectionError, match="no layer 'c'; there are 'counts'"):
        views["dataset"].to_anndata(layers="c")


def test_slices_of_ids(views: dict[str, slaf.View], adata: anndata.AnnData) -> None:
    """A slice of ids includes its end, as in AnnData."""
    expected = adata["cell-3":"cell-6", "gene-1":].obs_names
    assert views["csr"]["cell-3":"cell-6", "gene-1":].obs_names.equals(expected)


def test_a_name_that_is_a_filter_too(tmp_path: Path) -> None:
    """An id that is also a condition is refused with both readings."""
    obs = pd.DataFrame({"good": [True, False]}, index=["good", "b"])
    view = slaf.scan(anndata.AnnData(np.eye(2), obs=obs))
    with pytest.raises(SelectionError, match=r"write \['good'\] for the cell, or \(good\) = true"):
        view["good"]
    assert view[["good"]].n_obs == view["(good) = true"].n_obs == 1
    del tmp_path


# -------------------------------------------------------------------------------------- assignments


def assign(view: Any) -> Iterator[Any]:
    """Assignments to a view and to what it gives."""
    yield lambda: view.obs.__setitem__("new", 1)
    yield lambda: view.obs.loc.__setitem__(("cell-0", "pct"), 1)
    yield lambda: view.obs.insert(0, "new", 1)
    yield lambda: view.obs.rename(columns={"pct": "x"}, inplace=True)  # noqa: PD002 - refused
    yield lambda: setattr(view.obs, "index", range(N_CELLS))
    yield lambda: view.obs.pop("pct")
    yield lambda: view.var.iloc.__setitem__(0, 1)
    yield lambda: setattr(view, "obs", None)
    yield lambda: setattr(view, "X", None)
    yield lambda: view.__setitem__((0, 0), 1)
    yield lambda: view.layers.__setitem__("new", 1)
    yield lambda: view.obsm.__setitem__("new", 1)
    yield lambda: view.uns.__setitem__("new", 1)
    yield lambda: view.uns.update(new=1)


@pytest.mark.parametrize("kind", ["dataset", "anndata"])
def test_nothing_is_assigned_silently(kind: str, views: dict[str, slaf.View]) -> None:
    """An assignment, which would be lost, is refused with what to do; copies can be changed."""
    view = views[kind]
    before = view.obs.copy()
    for attempt in assign(view):
        with pytest.raises(ReadOnlyError, match="annotate, or change a copy"):
            attempt()
    pd.testing.assert_frame_equal(view.obs, before)
    copy = view.obs.copy()
    copy["new"] = 1
    filtered = view.obs[view.obs["pct"] > 0.5]
    filtered = filtered.assign(new=2)
    assert type(copy) is type(filtered) is pd.DataFrame
    assert "new" not in view.obs


def test_a_view_is_no_array(views: dict[str, slaf.View]) -> None:
    """What would read all by accident says what to write instead."""
    view = views["dataset"]
    with pytest.raises(TypeError, match=r"view\.X\.to_memory\(\) is its matrix"):
        np.asarray(view)
    with pytest.raises(TypeError, match=r"X\.to_memory\(\)\.toarray\(\)"):
        np.asarray(view.X)
    with pytest.raises(
        AttributeError, match=r"X is not in memory; write X\.to_memory\(\)\.toarray"
    ):
        view.X.toarray()
    with pytest.raises(TypeError, match="in batches"):
        list(view)
    with pytest.raises(SelectionError, match=r"X\[cells\]\[:, genes\]"):
        view.X[[0, 1], [0, 1]]
    assert view.X[3, 1] == view.X[3][0, 1]


def test_what_is_shown_is_escaped() -> None:
    """HTML has a fold-out for each slot, no script, and nothing that is not escaped."""
    obs = pd.DataFrame({"<script>alert(1)</script>": [1, 2]}, index=["a", "b"])
    html = slaf.scan(anndata.AnnData(np.eye(2), obs=obs))._repr_html_()
    assert "<details><summary>obs (1)</summary>" in html
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_a_closed_scan(tmp_path: Path) -> None:
    """A scan is a context manager; closed, it says so, and its scratch is gone."""
    matrix = sp.csc_matrix(counts(200, 50))
    anndata.AnnData(matrix).write_h5ad(tmp_path / "in.h5ad")
    (tmp_path / "scratch").mkdir()
    with slaf.scan(tmp_path / "in.h5ad", memory=1 << 10, scratch=tmp_path / "scratch") as view:
        assert view.X[:3].shape == (3, 50)
    assert not list((tmp_path / "scratch").iterdir())
    with pytest.raises(ValueError, match="the scan is closed"):
        view.X[:3]


def test_categories_without_values_are_converted(tmp_path: Path) -> None:
    """A view of cells without a value in a categorical column is converted with all categories."""
    kinds = pd.Categorical(["x", None, "y"])
    adata = anndata.AnnData(np.eye(3, dtype=np.float32), pd.DataFrame({"kind": kinds}, list("abc")))
    part = slaf.convert(adata, tmp_path / "whole.slaf")[["b"]]
    made = slaf.convert(part, tmp_path / "part.slaf")
    assert made.obs["kind"].cat.categories.to_list() == ["x", "y"]
    assert slaf.diff(part, made).differences == ()
