"""Layers, raw, obsm, varm, obsp, varp and uns of several inputs are merged; appends add to them."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

import slaf
from slaf.annotations.equality import equal_elements
from slaf.errors import DamagedDataset, GeneMismatch, InexactValue, InputError, MissingMatrix
from slaf.format.schema import CELLS, EXPRESSION, GENES, RAW_GENES
from slaf.format.validation import with_checksum
from slaf.testing.crashing import Crash, CrashingStorage
from tests.builders import counts, examples
from tests.conversion.outputs import output_of, tree, unaccounted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slaf.options import UnsMerge

N_GENES = 5
GENES_OF_ALL = [f"gene-{gene}" for gene in range(N_GENES)]


@dataclass(frozen=True)
class Sample:
    """An AnnData to be: how many cells, its genes, what it holds, and the seed of it."""

    n_cells: int
    genes: tuple[int, ...]
    holds: frozenset[str]
    seed: int

    def adata(self) -> anndata.AnnData:
        """The AnnData, all of whose values differ from those of other seeds."""
        rng = np.random.default_rng(self.seed)
        obs = pd.DataFrame(index=[f"{self.seed}-{cell}" for cell in range(self.n_cells)])
        var = pd.DataFrame(index=[f"gene-{gene}" for gene in self.genes])
        n_cells, n_genes = self.n_cells, len(self.genes)
        late = counts(n_cells, n_genes, seed=self.seed + 8)
        late.data *= 0.5
        numbers = rng.integers(0, 3, n_cells)
        frame = pd.DataFrame({"n": numbers, "s": numbers.astype(str).astype(object)}, obs.index)
        everything: dict[str, tuple[str, Any]] = {
            "whole": ("layers", counts(n_cells, n_genes, seed=self.seed + 9).astype(np.int32)),
            "late": ("layers", late),
            "X_pca": ("obsm", rng.random((n_cells, 2)).astype(np.float32)),
            "ints": ("obsm", rng.integers(0, 9, (n_cells, 1), dtype=np.int16)),
            "frame": ("obsm", frame),
            "graph": ("obsp", counts(n_cells, n_cells, seed=self.seed)),
            "PCs": ("varm", rng.random((n_genes, 2))),
            "links": ("varp", counts(n_genes, n_genes, seed=self.seed)),
        }
        adata = anndata.AnnData(counts(n_cells, n_genes, seed=self.seed), obs=obs, var=var)
        for name, (slot, element) in everything.items():
            if name in self.holds:
                getattr(adata, slot)[name] = element
        if "raw" in self.holds:
            genes = [*var.index, f"raw-{self.seed % 2}"]
            raw = counts(n_cells, n_genes + 1, seed=self.seed + 5)
            adata.raw = anndata.AnnData(raw, obs=obs, var=pd.DataFrame(index=genes))
            adata.raw.varm["PCs"] = rng.random((n_genes + 1, 2))
        if "uns" in self.holds:
            adata.uns = {"same": "x", "seed": self.seed, "deep": {"of": np.arange(self.seed)}}
        return adata


SLOTS = ("whole", "late", "raw", "X_pca", "ints", "frame", "graph", "PCs", "links", "uns")
EVERYTHING = frozenset(SLOTS)


@st.composite
def samples(draw: st.DrawFn) -> list[Sample]:
    """Two to four, each with some of the genes in an order of its own, and some of the slots."""
    return [
        Sample(
            draw(st.integers(1, 6)),
            tuple(draw(st.permutations(range(N_GENES)))[: draw(st.integers(1, N_GENES))]),
            draw(st.frozensets(st.sampled_from(SLOTS))),
            seed,
        )
        for seed in range(1, 1 + draw(st.integers(2, 4)))
    ]


def by_gene(matrix: Any, genes: pd.Index, wanted: pd.Index) -> np.ndarray[Any, Any]:
    """Dense, in another order of genes; zero for those that there are not."""
    frame = pd.DataFrame(sp.csr_matrix(matrix).toarray(), columns=genes)
    return frame.reindex(columns=wanted, fill_value=0).to_numpy()


def check(ds: slaf.Dataset, adatas: list[anndata.AnnData]) -> None:
    """What a dataset gives back of each input is what it held; of what it lacked, nothing."""
    start = 0
    for at, adata in enumerate(adatas):
        cells = slice(start, start + adata.n_obs)
        start += adata.n_obs
        check_matrices(ds, at, cells, adata)
        check_obsm(ds, cells, adata)
        if "graph" in ds.obsp:
            rows: Any = ds.obsp["graph"][cells].toarray()
            within = adata.obsp["graph"].toarray() if "graph" in adata.obsp else 0
            assert np.array_equal(rows[:, cells], np.zeros((adata.n_obs,) * 2) + within)
            assert np.count_nonzero(rows) == np.count_nonzero(within)
        assert equal_elements(ds.uns_of(at), dict(adata.uns))


def check_matrices(ds: slaf.Dataset, at: int, cells: slice, adata: anndata.AnnData) -> None:
    """The layers and raw of one input, by the ids of genes."""
    genes = ds.var.index
    for name in ds.layers:
        expected: Any = np.zeros((adata.n_obs, len(genes)))
        if name in adata.layers:
            expected = by_gene(adata.layers[name], adata.var_names, genes)
        assert np.array_equal(ds[cells].layers[name].to_memory().toarray(), expected)
    if ds.raw is None or ds.stored_raw is None:
        return
    measured = [
        name for run in ds.stored_raw.genes_present[at] for name in ds.raw.var.index[slice(*run)]
    ]
    expected = np.zeros((adata.n_obs, ds.raw.n_vars))
    if adata.raw is not None:
        expected = by_gene(adata.raw.X, adata.raw.var_names, ds.raw.var.index)
        assert set(measured) == set(adata.raw.var_names)
    else:
        assert measured == []
    assert np.array_equal(ds.raw.X[cells].toarray(), expected)


def check_obsm(ds: slaf.Dataset, cells: slice, adata: anndata.AnnData) -> None:
    """The arrays and the table of one input."""
    for name in ("X_pca", "ints"):
        if name in ds.obsm:
            held = ds.obsm[name][cells]
            expected = adata.obsm.get(name, np.full(held.shape, np.nan))
            assert np.array_equal(held, expected, equal_nan=True)
    if "frame" not in ds.obsm:
        return
    frame = ds.obsm["frame"].iloc[cells]
    assert list(frame.index) == list(adata.obs_names)
    if "frame" in adata.obsm:
        assert frame["n"].tolist() == adata.obsm["frame"]["n"].tolist()
        assert frame["s"].tolist() == adata.obsm["frame"]["s"].tolist()
    else:
        assert frame.isna().all(axis=None)


@examples(5)
@given(samples())
def test_what_each_input_held_comes_back(
    tmp_path_factory: pytest.TempPathFactory, chosen: list[Sample]
) -> None:
    """Of several inputs each gives what it has, whatever others have; and they are verified."""
    folder = tmp_path_factory.mktemp("several")
    adatas = [sample.adata() for sample in chosen]
    ds = slaf.convert(adatas, folder / "out.slaf", join="union", chunk_size=2)
    check(ds, adatas)
    slaf.verify(ds, against=adatas)


@examples(5)
@given(samples())
def test_appends_are_one_conversion(
    tmp_path_factory: pytest.TempPathFactory, chosen: list[Sample]
) -> None:
    """Inputs that are added one after the other give the tables that all at once give."""
    folder = tmp_path_factory.mktemp("appended")
    adatas = [sample.adata() for sample in chosen]
    whole = slaf.convert(adatas, folder / "whole.slaf", join="union", chunk_size=2)
    ds = slaf.convert(adatas[0], folder / "out.slaf", chunk_size=2)
    for adata in adatas[1:]:
        ds = slaf.append(adata, folder / "out.slaf", join="union", chunk_size=2)
    check(ds, adatas)
    slaf.verify(ds, against=adatas)
    ours, theirs = output_of(folder / "out.slaf"), output_of(folder / "whole.slaf")
    assert ours.tables == theirs.tables
    assert ours.files == theirs.files
    assert ours.config.keys() == theirs.config.keys()
    keys = {"layers", "raw", "obsm", "varm", "obsp", "varp", "uns", "unses", "elements", "taken"}
    for key in keys & ours.config.keys():
        assert ours.config[key] == theirs.config[key]
    assert ds.shape == whole.shape


def full(seed: int, **more: Any) -> anndata.AnnData:
    """Everything, of all genes in their order."""
    adata = Sample(4, tuple(range(N_GENES)), EVERYTHING, seed).adata()
    for slot, elements in more.items():
        getattr(adata, slot).update(elements)
    return adata


def test_what_is_lacking_is_null(tmp_path: Path) -> None:
    """In the tables, what an input lacks is null, or not there; a NaN of an input stays one."""
    nan = np.full((4, 2), np.nan, np.float32)
    plain = Sample(3, tuple(range(N_GENES)), frozenset(), 8).adata()
    ds = slaf.convert([full(1, obsm={"X_pca": nan}), plain], tmp_path / "out.slaf")
    ds = slaf.append(full(2), tmp_path / "out.slaf", join="union")
    column = ds.table(CELLS).to_table()["X_pca"]
    assert column.is_null().to_pylist() == [False] * 4 + [True] * 3 + [False] * 4
    assert np.isnan(column[0].as_py()).all()
    held = ds.table("layers").to_table()
    assert not {4, 5, 6} & set(held["cell_integer_id"].to_pylist())
    held_by = [source.slots or () for source in ds.sources]
    assert ["layer:whole" in names for names in held_by] == [True, False, True]


def test_an_append_leaves_the_rows_that_are_there(tmp_path: Path) -> None:
    """Layers and raw grow by what is added: the files of what was there stay as they are."""
    output = tmp_path / "out.slaf"
    slaf.convert(full(1), output)
    names = [f"{table}.lance/data" for table in ("layers", "raw", "expression")]
    before = {name: set((output / name).iterdir()) for name in names}
    slaf.append(full(3), output)
    for name in names:
        assert before[name] < set((output / name).iterdir())


def test_a_wider_value_writes_one_table_again(tmp_path: Path) -> None:
    """A value that asks for a wider type of a layer has that table written again, and no other."""
    output = tmp_path / "out.slaf"
    first = Sample(4, tuple(range(N_GENES)), frozenset({"whole", "raw"}), 1).adata()
    wide = Sample(4, tuple(range(N_GENES)), frozenset({"whole", "raw"}), 3).adata()
    wide.layers["whole"].data[-1] = 70_000
    slaf.convert(first, output, chunk_size=2)
    kept = {name: set((output / f"{name}.lance/data").iterdir()) for name in (EXPRESSION, "raw")}
    before = set((output / "layers.lance/data").iterdir())
    ds = slaf.append(wide, output)
    for name, files in kept.items():
        assert files < set((output / f"{name}.lance/data").iterdir())
    assert not before & set((output / "layers.lance/data").iterdir())
    check(ds, [first, wide])
    slaf.verify(ds, against=[first, wide])


def test_strict_refuses_what_one_lacks(tmp_path: Path) -> None:
    """With `layers="strict"` all inputs must have the same layers, raw, obsm and obsp."""
    output = tmp_path / "out.slaf"
    slaf.convert([full(1), full(3)], output, layers="strict")
    for slot, name in {"whole": "layer:whole", "raw": "raw", "X_pca": "obsm:X_pca"}.items():
        other = Sample(4, tuple(range(N_GENES)), EVERYTHING - {slot}, 5).adata()
        with pytest.raises(MissingMatrix, match=f"has no {name}, which"):
            slaf.convert([full(1), other], tmp_path / "other.slaf", layers="strict")
        before = tree(output)
        with pytest.raises(MissingMatrix, match=f"has no {name}, which"):
            slaf.append(other, output, join="union")
        assert tree(output) == before
    assert not (tmp_path / "other.slaf").exists()


@pytest.mark.parametrize(
    ("how", "kept"),
    [
        ("same", {"all": 1}),
        ("unique", {"all": 1, "two": 2, "one": 3}),
        ("first", {"all": 1, "two": 2, "one": 3, "unlike": 4}),
        ("only", {"one": 3}),
    ],
)
def test_uns_is_merged_as_anndata_does(how: UnsMerge, kept: dict[str, int], tmp_path: Path) -> None:
    """The uns of several inputs is merged by each rule, and that of each input is kept too."""
    unses: list[dict[str, int]] = [
        {"all": 1, "two": 2, "unlike": 4},
        {"all": 1, "two": 2, "unlike": 5},
        {"all": 1, "one": 3, "unlike": 6},
    ]
    adatas = [Sample(2, (0, 1), frozenset(), seed).adata() for seed in range(3)]
    for adata, uns in zip(adatas, unses, strict=True):
        adata.uns = uns
    ds = slaf.convert(adatas[:2], tmp_path / "out.slaf", uns_merge=how)
    ds = slaf.append(adatas[2], tmp_path / "out.slaf")
    assert ds.uns == kept
    assert [ds.uns_of(at) for at in range(3)] == unses
    assert dict(anndata.concat(adatas, uns_merge=how).uns) == kept


def test_what_is_left_out(tmp_path: Path) -> None:
    """Slots, and elements, can be left out; of what is added later too."""
    without = ("obsm:frame", "uns", "varp", "layer:late", "raw")
    ds = slaf.convert([full(1), full(3)], tmp_path / "out.slaf", without=without)
    ds = slaf.append(full(5), tmp_path / "out.slaf", without=["obsm:ints"])
    assert list(ds.layers) == ["whole"]
    assert (list(ds.obsm), list(ds.varp), ds.uns, ds.raw) == (["X_pca", "ints"], [], {}, None)
    assert np.isnan(ds.obsm["ints"][8:]).all()
    slaf.verify(ds, against=[full(1), full(3), full(5)])
    with pytest.raises(MissingMatrix, match=r"no obsm:X_umap to leave out; .* obsm:X_pca"):
        slaf.convert(full(1), tmp_path / "other.slaf", without=["obsm:X_umap"])
    with pytest.raises(MissingMatrix, match="no obs:age to leave out; there is nothing"):
        slaf.convert(full(1), tmp_path / "other.slaf", without=["obs:age"])
    with pytest.raises(ValueError, match="'age' is nothing that could be left out"):
        slaf.convert(full(1), tmp_path / "other.slaf", without=["age"])


@pytest.mark.parametrize(
    ("element", "message"),
    [
        (np.full((4, 2), "text", object), "obsm:X_pca is a ndarray of float32"),
        (pd.DataFrame({"a": range(4)}, [f"3-{cell}" for cell in range(4)]), "a DataFrame of"),
        (np.full((4, 2), 2**62 + 1), "does not fit float64, the type for the values of all"),
    ],
)
def test_what_nothing_holds_together_is_refused(element: Any, message: str, tmp_path: Path) -> None:
    """Elements of two kinds are refused by name, and can be left out."""
    other = full(3, obsm={"X_pca": element})
    with pytest.raises(InputError, match=message) as refused:
        slaf.convert([full(1), other], tmp_path / "out.slaf")
    assert "--without obsm:X_pca" in "".join((str(refused.value), *refused.value.__notes__))
    assert not (tmp_path / "out.slaf").exists()
    slaf.convert([full(1), other], tmp_path / "out.slaf", without=["obsm:X_pca"])


def test_an_element_of_raw_can_be_left_out(tmp_path: Path) -> None:
    """What its refusal advises works, for what is added later too."""
    adatas = [full(1), full(2), full(3)]
    for adata in adatas:
        adata.raw.varm["note"] = np.full((N_GENES + 1, 1), "text", object)
    inputs, output = adatas[:2], tmp_path / "out.slaf"
    with pytest.raises(InputError, match="leave it out with --without raw_varm:note"):
        slaf.convert(inputs, output, join="union")
    slaf.convert(inputs, output, join="union", without=["raw_varm:note"])
    ds = slaf.append(adatas[2], output, join="union")
    assert ds.raw is not None
    assert list(ds.raw.varm) == ["PCs"]
    slaf.verify(ds, against=adatas)


@pytest.mark.parametrize(
    ("what", "option", "left_out"),
    [
        ("raw", "--no-raw", {"raw": False}),
        ("layer 'whole'", "--without layer:whole", {"without": ["layer:whole"]}),
    ],
)
def test_a_value_that_no_type_holds_is_named(
    what: str, option: str, left_out: dict[str, Any], tmp_path: Path
) -> None:
    """Its input, matrix, cell and gene are said, and how to do without it."""
    bad = full(3)
    wrong = sp.csr_matrix(([np.uint64(2**64 - 1)], ([2], [1])), (4, N_GENES + (what == "raw")))
    if what == "raw":
        bad.raw = anndata.AnnData(wrong, bad.obs, bad.raw.var)
    else:
        bad.layers["whole"] = wrong
    path, output = tmp_path / "bad.h5ad", tmp_path / "out.slaf"
    bad.write_h5ad(path)
    message = (
        rf"bad\.h5ad: {what} holds 18446744073709551615 at cell 2 \('3-2'\), gene 'gene-1', "
        rf".*leave {what} out with {option}"
    )
    with pytest.raises(InexactValue, match=message):
        slaf.convert([full(1), path], output)
    assert not output.exists()
    slaf.convert(full(1), output)
    with pytest.raises(InexactValue, match=message):
        slaf.append(path, output)
    slaf.convert([full(1), path], output, overwrite=True, **left_out)


class Watched:
    """Counts how often encoding began."""

    begun = 0

    def begin(self, cells: int, nonzeros: int, total_cells: int) -> None:  # noqa: ARG002
        """Once more."""
        self.begun += 1

    def advance(self, cells: int, nonzeros: int) -> None:
        """Nothing."""


def test_what_cannot_be_added_is_refused_before_a_cell_is_written(tmp_path: Path) -> None:
    """An element of another kind than that of the dataset, and one to leave out that is nowhere."""
    output = tmp_path / "out.slaf"
    slaf.convert(full(1), output, without=["obsm:ints"])
    other = full(3, obsm={"X_pca": np.full((4, 2), "text", object)})
    before = tree(output)
    watched = Watched()
    with pytest.raises(InputError, match="obsm:X_pca is a ndarray of float32"):
        slaf.append(other, output, progress=watched)
    with pytest.raises(MissingMatrix, match="no obsm:X_pac to leave out"):
        slaf.append(other, output, without=["obsm:X_pac"], progress=watched)
    assert (tree(output), watched.begun) == (before, 0)
    slaf.append(other, output, without=["obsm:X_pca"])
    # What the dataset is without may be said again of inputs that have none of it.
    plain = full(5)
    del plain.obsm["ints"]
    slaf.append(plain, output, without=["obsm:ints"], progress=watched)
    assert watched.begun == 1


def test_the_genes_of_raw_are_aligned_as_those_of_the_matrix(tmp_path: Path) -> None:
    """Raws of other genes ask for the union, be the genes of the matrices the same."""
    with pytest.raises(GeneMismatch, match=r"raw of .* its genes are not those of raw") as refused:
        slaf.convert([full(1), full(2)], tmp_path / "out.slaf")
    assert "--no-raw" in "".join(refused.value.__notes__)
    ds = slaf.convert([full(1), full(2)], tmp_path / "out.slaf", join="union")
    assert ds.raw is not None
    assert list(ds.raw.var.index) == [*GENES_OF_ALL, "raw-1", "raw-0"]


def test_more_columns_are_filled_up(tmp_path: Path) -> None:
    """An embedding of fewer columns has NaN in those that it lacks, as `anndata.concat` does."""
    wide = full(3, obsm={"X_pca": np.ones((4, 3), np.float32)})
    ds = slaf.convert([full(1), wide], tmp_path / "out.slaf")
    assert ds.obsm["X_pca"].shape == (8, 3)
    assert np.isnan(ds.obsm["X_pca"]).tolist() == [[False, False, True]] * 4 + [[False] * 3] * 4


def test_the_first_of_those_that_differ_is_kept(tmp_path: Path) -> None:
    """Of varm and varp, which genes have once, the first is kept; others are named."""
    found = slaf.convert([full(1), full(3)], tmp_path / "out.slaf", dry_run=True)
    assert any(
        "that of the first is kept: varm (PCs), varp (links)" in note for note in found.notes
    )
    ds = slaf.convert([full(1), full(3)], tmp_path / "out.slaf")
    assert equal_elements(ds.varm["PCs"], full(1).varm["PCs"])
    assert equal_elements(ds.varp["links"], full(1).varp["links"])
    assert ds.table(GENES).to_table()["PCs"].null_count == 0


def test_sparse_integers_beyond_float64(tmp_path: Path) -> None:
    """Among more genes, the values of a sparse varm stay what they are, whatever their size."""
    most = 2**53 + 1
    first = Sample(3, (0, 1), frozenset(), 1).adata()
    first.varm["big"] = sp.csr_matrix(np.array([[most], [-most]], np.int64))
    other = Sample(3, (1, 2), frozenset(), 2).adata()
    ds = slaf.convert([first, other], tmp_path / "out.slaf", join="union")
    assert ds.varm["big"].toarray().tolist() == [[most], [-most], [0]]
    assert ds.varm["big"].dtype == np.int64


def test_what_stays_takes_no_room(tmp_path: Path) -> None:
    """What an append takes of the disk counts no values of the layers and of raw that are there."""
    plain = Sample(2, tuple(range(N_GENES)), frozenset(), 3).adata()
    ds = slaf.convert(full(1), tmp_path / "full.slaf")
    bare = slaf.convert(full(1)[:, :].copy(), tmp_path / "bare.slaf", layers="none", raw=False)
    with_all = slaf.append(plain, ds.location, dry_run=True).estimate
    without = slaf.append(plain, bare.location, dry_run=True).estimate
    # The genes of raw are written anew.
    genes = ds.table(RAW_GENES).to_table().nbytes
    assert with_all.bytes == without.bytes + genes
    assert with_all.least_bytes == without.least_bytes


def test_an_append_that_was_given_up_leaves_nothing(tmp_path: Path) -> None:
    """What it had committed of layers is gone with the next append, be it one without any."""
    output, source = tmp_path / "out.slaf", full(3)
    slaf.convert(full(1), output)
    recorder = CrashingStorage(shutil.copytree(output, tmp_path / "recorded.slaf"))
    slaf.append(source, recorder)
    done = [at for at, effect in enumerate(recorder.effects) if str(effect).startswith("commit")]
    with pytest.raises(Crash):
        slaf.append(source, CrashingStorage(output, done[-1]))
    plain = Sample(2, tuple(range(N_GENES)), frozenset(), 5).adata()
    slaf.append(plain, output, restart=True)
    assert not unaccounted(output)
    slaf.verify(output, against=[full(1), plain])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda config: config.update(taken={"layers": "all"}), "key 'raw' is missing in taken"),
        (lambda config: config.update(taken={"raw": True}), "key 'layers' is missing in taken"),
        (
            lambda config: config["sources"][1]["taken"].pop("raw"),
            r"key 'raw' is missing in sources\[1\]\.taken",
        ),
        (lambda config: config.update(taken={"layers": 3}), r"taken\.layers is '3'"),
        (lambda config: config["taken"].update(uns_merge="last"), r"taken\.uns_merge is 'last'"),
        (lambda config: config["sources"][1].update(holds="obsm:X_pca"), r"sources\[1\].holds"),
        (lambda config: config["sources"][0].update(taken=[]), r"sources\[0\].taken"),
        (lambda config: config["unses"].pop(), "unses is .* one for each source"),
    ],
    ids=[
        "no raw",
        "no layers",
        "no raw of a source",
        "no names",
        "no such rule",
        "no list",
        "no object",
        "one too few",
    ],
)
def test_a_config_that_was_edited(
    change: Callable[[dict[str, Any]], None], named: str, tmp_path: Path
) -> None:
    """What config.json says of what was taken is held against its rules when it is read."""
    slaf.convert([full(1), full(3)], tmp_path / "out.slaf")
    file = tmp_path / "out.slaf" / "config.json"
    config = json.loads(file.read_bytes())
    change(config)
    file.write_bytes(with_checksum(config))
    with pytest.raises(DamagedDataset, match=named):
        slaf.open(tmp_path / "out.slaf")


def test_several_in_memory_are_told_apart(tmp_path: Path) -> None:
    """AnnDatas have no names of their own: they are counted, through appends too."""
    ds = slaf.convert([full(1), full(3)], tmp_path / "out.slaf")
    ds = slaf.append(full(5), tmp_path / "out.slaf")
    assert [source.uri for source in ds.sources] == ["<AnnData>", "<AnnData 2>", "<AnnData 3>"]
    names = ds.table("cells").to_table().column("source_file").unique().to_pylist()
    assert names == ["<AnnData>", "<AnnData 2>", "<AnnData 3>"]
    wrong = full(7, obsm={"X_pca": np.full((4, 2), "text", object)})
    with pytest.raises(InputError, match=r"in .*out\.slaf, but .* in <AnnData 4>"):
        slaf.append(wrong, tmp_path / "out.slaf")


def test_prefixes_that_do_not_make_ids_unique(tmp_path: Path) -> None:
    """Nothing is promised of an option that is on already."""
    for name, cell in (("pbmc", "1_AAAC"), ("pbmc_1", "AAAC")):
        adata = anndata.AnnData(counts(1, 3), pd.DataFrame(index=[cell]))
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
    inputs = [tmp_path / "pbmc.h5ad", tmp_path / "pbmc_1.h5ad"]
    found = slaf.convert(
        inputs, tmp_path / "out.slaf", cell_id_prefix=True, allow_duplicate=True, dry_run=True
    )
    (note,) = found.notes
    assert note == "1 cell ids occur more than once: `source_file` tells them apart"
