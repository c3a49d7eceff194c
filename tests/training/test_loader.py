"""The loader: batches are what `Dataset.read` gives, in the order of law 10."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from hypothesis import given, settings
from hypothesis import strategies as st

import slaf
from slaf.errors import DatasetError, SelectionError
from slaf.options import docs_of, options_of
from slaf.training.batch import Batch, Padded
from slaf.training.loader import Loader
from slaf.training.options import LoaderOptions
from tests.builders import as_matrix, assert_same_matrix, counts, write_h5ad
from tests.training.conftest import N_CELLS, N_GENES, annotated

if TYPE_CHECKING:
    from pathlib import Path


SMALL: dict[str, Any] = {"batch_size": 32, "block_size": 8, "window_blocks": 16}


def cells_of(batches: Any) -> list[list[int]]:
    """The cells of each batch."""
    return [batch.cells.tolist() for batch in batches]


def flat(*epochs: list[list[int]]) -> list[int]:
    """The cells of all batches."""
    return [cell for batches in epochs for batch in batches for cell in batch]


# ------------------------------------------------------------------------------------------ content


@given(st.data())
def test_a_batch_is_what_read_gives(dataset: slaf.Dataset, data: st.DataObject) -> None:
    """X of any selection, in any order, with repeats, equals `read` of its cells and genes."""
    positions = st.none() | st.lists(st.integers(0, N_GENES - 1), max_size=12)
    genes = data.draw(positions)
    cells = data.draw(st.none() | st.lists(st.integers(0, N_CELLS - 1), min_size=2, max_size=80))
    layer = data.draw(st.sampled_from([None, "spliced", "raw"]))
    batch_size = data.draw(st.integers(2, 40))
    loader = Loader(
        dataset,
        None if cells is None else np.array(cells),
        None if genes is None else np.array(genes, np.int64),
        batch_size=batch_size,
        block_size=data.draw(st.integers(1, 9)),
        window_blocks=batch_size * data.draw(st.integers(1, 3)),
        shuffle=data.draw(st.booleans()),
        layer=layer,
        prefetch=data.draw(st.integers(0, 2)),
        threads=data.draw(st.integers(1, 3)),
    )
    for batch in islice(loader, 4):
        raw = dataset.raw
        assert raw is not None
        whole = raw.X if layer == "raw" else dataset.X if layer is None else dataset.layers[layer]
        expected = whole[batch.cells]
        assert_same_matrix(batch.X, expected if genes is None else expected[:, genes])
        assert batch["X"] is batch.X
        totals = np.asarray(expected.sum(axis=1)).ravel()
        np.testing.assert_allclose(batch.total, totals)


@given(st.integers(0, 1000), st.sampled_from([1, 2, 3]), st.integers(0, 1))
def test_every_cell_comes_once(
    dataset: slaf.Dataset, epoch: int, ranks: int, prefetch: int
) -> None:
    """In every epoch, on any number of ranks, of which each has as many batches."""
    loaders = [
        dataset.loader(rank=at, world_size=ranks, prefetch=prefetch, **SMALL) for at in range(ranks)
    ]
    for loader in loaders:
        loader.set_epoch(epoch)
    batches = [cells_of(loader) for loader in loaders]
    assert {len(each) for each in batches} == {len(loaders[0])}
    assert sorted(flat(*batches)) == list(range(N_CELLS))


def test_what_goes_along(dataset: slaf.Dataset) -> None:
    """Labels, columns, arrays and sources are those of the cells; codes are those of categories."""
    loader = dataset.loader(labels=["cell_type", "donor"], obs="age", obsm="X_pca", **SMALL)
    obs = dataset.obs
    assert loader.categories["cell_type"] == obs["cell_type"].cat.categories.tolist()
    assert loader.categories["donor"] == [f"D{at}" for at in range(7)]
    for batch in loader:
        rows = obs.iloc[batch.cells]
        for name in ("cell_type", "donor"):
            codes = batch.labels[name]
            assert codes.dtype == np.int32
            values = [loader.categories[name][code] if code >= 0 else None for code in codes]
            assert values == [None if pd.isna(v) else v for v in rows[name]]
        np.testing.assert_array_equal(batch.obs["age"], rows["age"])
        np.testing.assert_array_equal(batch.obsm["X_pca"], dataset.obsm["X_pca"][batch.cells])
        assert (batch.source == 0).all()
        assert batch.mask is None
        assert len(batch) == len(batch.cells)


def test_codes_do_not_depend_on_the_selection(dataset: slaf.Dataset) -> None:
    """Codes of a split, or of some cells, are those of all cells."""
    whole = dataset.loader(labels="donor", **SMALL)
    some = dataset["donor IN ('D5', 'D6')"].loader(labels="donor", **SMALL)
    assert whole.categories == some.categories
    assert set(next(iter(some)).labels["donor"]) == {5, 6}


def test_genes_that_were_not_measured(union: slaf.Dataset) -> None:
    """The mask of a batch tells zeros from genes that the input of a cell does not have."""
    loader = union[:, ["e", "a", "b"]].loader(**SMALL)
    for batch in loader:
        expected = np.stack([union.genes_present(int(at))[[4, 0, 1]] for at in batch.source])
        np.testing.assert_array_equal(batch.mask, expected)
    assert next(iter(union[:, ["c", "a"]].loader(**SMALL))).mask is None


@pytest.mark.filterwarnings("ignore:Some cells have zero counts")
@pytest.mark.parametrize("target_sum", [None, 1e4])
@pytest.mark.parametrize("log1p", [False, True])
@pytest.mark.parametrize("to", ["csr", "dense"])
def test_values_are_scanpys(
    dataset: slaf.Dataset, target_sum: float | None, to: str, *, log1p: bool
) -> None:
    """Scaled to a sum over all genes, and their logarithm, as scanpy has them."""
    genes = np.array([7, 2, 30])
    loader = Loader(dataset, genes=genes, to=to, target_sum=target_sum, log1p=log1p, **SMALL)
    for batch in islice(loader, 3):
        adata = dataset[batch.cells].to_anndata()
        if target_sum is not None:
            sc.pp.normalize_total(adata, target_sum=target_sum)
        if log1p:
            sc.pp.log1p(adata)
        expected = as_matrix(adata.X[:, genes])
        found = as_matrix(batch.X)
        np.testing.assert_allclose(found, expected, rtol=2e-6)
        if to == "dense" or log1p or target_sum:
            assert found.dtype == np.float32


def test_padded_is_a_fresh_subset(dataset: slaf.Dataset) -> None:
    """At most `length` nonzeros of each cell, others in every epoch, all of a cell with fewer."""
    ids = np.arange(N_GENES + 1) + 100
    loader = dataset.loader(to="padded", length=9, token_ids=ids, shuffle=False, **SMALL)
    matrix, drawn = dataset.X.to_memory().toarray(), []
    for _ in range(2):
        for batch in loader:
            assert isinstance(batch.X, Padded)
            for cell, genes, values in zip(batch.cells, batch.X.ids, batch.X.values, strict=True):
                present = genes < 100 + N_GENES
                assert (values[~present] == 0).all()
                np.testing.assert_array_equal(matrix[cell, genes[present] - 100], values[present])
                assert present.sum() == min(9, (matrix[cell] != 0).sum())
                assert len(set(genes[present])) == present.sum()
        drawn.append(np.concatenate([batch.X.ids.ravel() for batch in loader]))
    assert not np.array_equal(drawn[0], drawn[1])
    assert len({len(np.unique(each)) for each in drawn}) == 1


def test_tokens_are_geneformers(dataset: slaf.Dataset) -> None:
    """Ids by falling value, divided by the number of each gene; equal ones in order of genes."""
    scale = np.random.default_rng(0).random(N_GENES) + 0.1
    loader = dataset.loader(to="tokens", length=6, gene_scale=scale, **SMALL)
    matrix = dataset.X.to_memory().toarray()
    for batch in loader:
        for cell, ids in zip(batch.cells, batch.X, strict=True):
            (genes,) = np.nonzero(matrix[cell])
            ranked = genes[np.argsort(-matrix[cell, genes] / scale[genes], kind="stable")][:6]
            assert ids.tolist() == [*ranked, *[N_GENES] * (len(ids) - len(ranked))]


# ---------------------------------------------------------------------------------------- selection


def test_splits_are_stable(dataset: slaf.Dataset, tmp_path: Path) -> None:
    """Parts of a split are disjoint, cover all cells, keep donors whole, and stay in an append."""
    donors = dataset.obs["donor"].fillna("")
    cells = [
        set(flat(cells_of(dataset.loader(split=(part, 0.6, 0.1), split_by="donor", **SMALL))))
        for part in ("train", "validation", "test")
    ]
    assert sorted(cell for part in cells for cell in part) == list(range(N_CELLS))
    assert sum(len(set(donors.iloc[list(part)])) for part in cells) == donors.nunique()
    train = dataset.loader(split=("train", 0.9), **SMALL)
    test = dataset.loader(split=("test", 0.9), **SMALL)
    assert train.n_cells + test.n_cells == N_CELLS
    assert 0.85 < train.n_cells / N_CELLS < 0.95
    grown = slaf.convert(dataset.to_anndata(), tmp_path / "grown.slaf")
    grown = slaf.append(annotated(90, 7, dataset.var.index.tolist()), grown.location)
    again = grown.loader(split=("train", 0.9), shuffle=False, **SMALL)
    before = sorted(flat(cells_of(train)))
    assert [cell for cell in flat(cells_of(again)) if cell < N_CELLS] == before


def test_balanced_labels(dataset: slaf.Dataset) -> None:
    """Values of a column are drawn equally often, cells without one never, in every epoch anew."""
    some = dataset["cell_type = 'type 0' OR donor = 'D1'"].loader(
        balance="cell_type", labels="cell_type", samples=6400, **SMALL
    )
    codes = np.concatenate([batch.labels["cell_type"] for batch in some])
    assert len(codes) == 6400
    shares = np.bincount(codes, minlength=5) / len(codes)
    np.testing.assert_allclose(shares, 0.2, atol=0.03)
    donors = dataset.loader(balance="donor", labels="donor", **SMALL)
    first, second = (np.concatenate([batch.cells for batch in donors]) for _ in range(2))
    assert len(first) == N_CELLS
    assert 5 not in first
    assert not np.array_equal(np.sort(first), np.sort(second))


def test_weights(dataset: slaf.Dataset) -> None:
    """Cells are drawn in proportion to their weight, by an array or a column."""
    weights = np.zeros(N_CELLS)
    weights[[3, 600]] = 1, 3
    loader = dataset.loader(weights=weights, samples=4000, **SMALL)
    cells = np.concatenate([batch.cells for batch in loader])
    assert set(cells) == {3, 600}
    assert 0.7 < (cells == 600).mean() < 0.8
    assert len(dataset.loader(weights="age", samples=100, **SMALL)) == 4


def test_sets_of_a_group(dataset: slaf.Dataset) -> None:
    """Each set has one group, each cell comes, and each has a control that matches it."""
    loader = dataset["donor IS NOT NULL"].loader(
        group=["guide", "cell_type"],
        set_size=4,
        controls="guide = 'NTC'",
        match="donor",
        labels="donor",
        **SMALL,
    )
    guide, seen = dataset.obs["guide"], []
    for batch in loader:
        assert len(batch) % 4 == 0
        for name in ("guide", "cell_type"):
            sets = batch.labels[name].reshape(-1, 4)
            assert (sets == sets[:, :1]).all()
        assert batch.controls is not None
        assert (guide.iloc[batch.controls.cells] == "NTC").all()
        np.testing.assert_array_equal(batch.controls.labels["donor"], batch.labels["donor"])
        assert_same_matrix(batch.controls.X, dataset[batch.controls.cells].X.to_memory())
        seen += batch.cells.tolist()
    expected = np.flatnonzero((guide != "NTC") & dataset.obs["donor"].notna())
    assert set(seen) == set(expected)


# -------------------------------------------------------------------------------------------- state


@given(st.data())
def test_resumed_at_any_batch(dataset: slaf.Dataset, data: st.DataObject) -> None:
    """A loader that loads a state goes on with the batches that remained, and the next epochs."""
    options = SMALL | data.draw(
        st.sampled_from([{}, {"balance": "donor"}, {"group": "guide", "set_size": 2}])
    )
    whole = dataset.loader(threads=4, **options)
    whole.set_epoch(3)
    expected = cells_of(whole)
    after = cells_of(whole)
    stop = data.draw(st.integers(0, len(expected)))
    first = dataset.loader(**options)
    first.set_epoch(3)
    batches = iter(first)
    assert cells_of(islice(batches, stop)) == expected[:stop]
    state = json.loads(json.dumps(first.state_dict()))
    resumed = dataset.loader(threads=1, prefetch=0, **options)
    resumed.load_state_dict(state)
    assert cells_of(resumed) == expected[stop:]
    assert cells_of(resumed) == after


@settings(max_examples=15)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=3), st.data())
def test_resumed_on_other_ranks(
    dataset: slaf.Dataset, worlds: list[int], data: st.DataObject
) -> None:
    """What remains of an epoch is shared by any other number of ranks, again and again."""
    seen: list[int] = []
    state: dict[str, Any] | None = None
    for at, world in enumerate(worlds):
        loaders = [dataset.loader(rank=rank, world_size=world, **SMALL) for rank in range(world)]
        for loader in loaders:
            if state is not None:
                loader.load_state_dict(state)
        remaining = len(loaders[0]) - loaders[0].position.batches
        is_last = at == len(worlds) - 1
        stop = remaining if is_last else data.draw(st.integers(0, remaining - 1))
        batches = [cells_of(islice(iter(loader), stop)) for loader in loaders]
        assert {len(each) for each in batches} == {stop}
        seen += flat(*batches)
        states = [loader.state_dict() for loader in loaders]
        assert all(each == states[0] for each in states)
        state = states[0]
    assert sorted(seen) == list(range(N_CELLS))


def test_epochs(dataset: slaf.Dataset) -> None:
    """Each iteration runs the next epoch, also after one that was left."""
    loader = dataset.loader(**SMALL)
    epochs = [cells_of(loader) for _ in range(2)]
    next(iter(loader))
    fourth = cells_of(loader)
    assert epochs[0] != epochs[1]
    loader.set_epoch(1)
    assert cells_of(loader) == epochs[1]
    loader.set_epoch(3)
    assert cells_of(loader) == fourth
    assert loader.state_dict()["epoch"] == 4


def test_too_few_cells_remain(dataset: slaf.Dataset) -> None:
    """A state with fewer cells than ranks need says to begin the next epoch; without any, it is."""
    loader = dataset.loader(**SMALL)
    other = dataset.loader(rank=0, world_size=50, **SMALL)
    state = loader.state_dict() | {"batches": len(loader) - 1}
    with pytest.raises(ValueError, match=r"cells remain of epoch 0, .* set_epoch\(1\)"):
        other.load_state_dict(state)
    other.load_state_dict(state | {"batches": len(loader)})
    assert other.state_dict()["epoch"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1}, "a loader with seed=0, and this one has seed=1"),
        ({"batch_size": 64}, "batch_size=32, and this one has batch_size=64"),
        ({"split": ("train", 0.5)}, "other cells"),
    ],
)
def test_a_state_of_another_loader(
    dataset: slaf.Dataset, options: dict[str, Any], message: str
) -> None:
    """It is refused, and the error names the difference."""
    state = dataset.loader(**SMALL).state_dict()
    with pytest.raises(ValueError, match=message):
        dataset.loader(**SMALL | options).load_state_dict(state)


def test_a_dataset_that_was_replaced(tmp_path: Path) -> None:
    """It is refused, in the middle of an epoch or before; an append or a compaction is not."""
    source = write_h5ad(tmp_path / "a.h5ad", counts(60, 9))
    dataset = slaf.convert(source, tmp_path / "a.slaf", chunk_size=20)
    loader = dataset.loader(**SMALL)
    expected = cells_of(loader)
    slaf.append(write_h5ad(tmp_path / "b.h5ad", counts(8, 9, seed=2)), tmp_path / "a.slaf")
    loader.set_epoch(0)
    assert cells_of(loader) == expected
    slaf.convert(
        write_h5ad(tmp_path / "c.h5ad", counts(60, 9, seed=5)), tmp_path / "a.slaf", overwrite=True
    )
    with pytest.raises(DatasetError, match="it was replaced since it was opened; open it again"):
        next(iter(loader))


def test_replaced_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    """Files that are gone are an error that says that the dataset was replaced."""
    source = write_h5ad(tmp_path / "a.h5ad", counts(600, 9))
    dataset = slaf.convert(source, tmp_path / "a.slaf", chunk_size=100)
    loader = dataset.loader(batch_size=4, block_size=2, window_blocks=2, prefetch=0)
    batches = iter(loader)
    next(batches)
    other = write_h5ad(tmp_path / "c.h5ad", counts(600, 9, seed=5))
    slaf.convert(other, tmp_path / "a.slaf", overwrite=True)
    with pytest.raises(DatasetError, match="it was replaced since it was opened"):
        list(batches)


def test_killed_and_resumed(dataset: slaf.Dataset, tmp_path: Path) -> None:
    """A process that is killed in the middle of reading, and another, have all batches between."""
    script = """
import json, os, sys, slaf
loader = slaf.open(sys.argv[1]).loader(batch_size=32, block_size=8, window_blocks=16, threads=4)
if sys.argv[2] != "-":
    loader.load_state_dict(json.load(open(sys.argv[2])))
for at, batch in enumerate(loader):
    print(json.dumps(batch.cells.tolist()), flush=True)
    json.dump(loader.state_dict(), open(sys.argv[3], "w"))
    if at == int(sys.argv[4]):
        os.kill(os.getpid(), 9)
"""
    state = str(tmp_path / "state.json")
    seen: list[str] = []
    for begin, stop in (("-", "9"), (state, "-1")):
        command = [sys.executable, "-c", script, str(dataset.location), begin, state, stop]
        ran = subprocess.run(command, check=False, capture_output=True, text=True)
        assert ran.returncode in {0, -9}, ran.stderr
        seen += ran.stdout.splitlines()
    assert [json.loads(line) for line in seen] == cells_of(dataset.loader(**SMALL))


# ------------------------------------------------------------------------------------------ options


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "batch_size": (16, {}),
    "shuffle": (False, {}),
    "seed": (1, {}),
    "drop_last": (True, {}),
    "block_size": (4, {}),
    "window_blocks": (8, {}),
    "labels": ("donor", {}),
    "obs": ("age", {}),
    "obsm": ("X_pca", {}),
    "layer": ("spliced", {}),
    "to": ("dense", {}),
    "target_sum": (1e4, {}),
    "log1p": (True, {}),
    "length": (5, {"to": "padded"}),
    "token_ids": (np.arange(N_GENES + 1) * 2, {"to": "tokens"}),
    "gene_scale": (np.arange(N_GENES) + 1.0, {"to": "tokens"}),
    "split": (("train", 0.5), {}),
    "split_by": ("donor", {"split": ("train", 0.5)}),
    "weights": ("age", {}),
    "balance": ("donor", {}),
    "samples": (100, {"balance": "donor"}),
    "group": ("guide", {"set_size": 4}),
    "set_size": (4, {"group": "guide"}),
    "controls": ("guide = 'NTC'", {"group": "guide", "set_size": 4}),
    "match": ("cell_type", {"group": "guide", "set_size": 4, "controls": "guide = 'NTC'"}),
    "rank": (1, {"world_size": 2}),
    "world_size": (2, {"rank": 0}),
    "memory": ("1K", {}),
}
# Options that change no batch; other tests show what they do.
INVISIBLE = {"threads", "prefetch", "cache"}


def outcome(dataset: slaf.Dataset, options: dict[str, Any]) -> str:
    """What a loader gives, as text; or its error."""
    try:
        batch = list(dataset.loader(**options))
    except ValueError as error:
        return str(error)
    return "\n".join(_text(each) for each in batch)


def x_of(batch: Batch) -> tuple[Any, ...]:
    """The arrays of X."""
    return tuple(batch.X) if isinstance(batch.X, Padded) else (batch.X,)


def _text(batch: Batch | None) -> str:
    if batch is None:
        return "-"
    content = [
        type(batch.X),
        [as_matrix(x) for x in x_of(batch)],
        batch.cells,
        batch.labels,
        batch.obs,
        batch.obsm,
    ]
    with np.printoptions(threshold=sys.maxsize):
        return f"{content} {_text(batch.controls)}"


@pytest.mark.parametrize("name", CASES)
def test_no_option_does_nothing(dataset: slaf.Dataset, name: str) -> None:
    """Another value changes batches, or is refused."""
    value, also = CASES[name]
    assert outcome(dataset, SMALL | also | {name: value}) != outcome(dataset, SMALL | also)


def test_every_option_has_a_case() -> None:
    """A new option comes with a value that changes something, and with documentation."""
    assert set(options_of(LoaderOptions)) == set(CASES) | INVISIBLE
    assert set(docs_of(LoaderOptions)) >= set(options_of(LoaderOptions))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batchsize": 3}, TypeError, "no option 'batchsize'; the nearest is 'batch_size'"),
        ({"batch_size": 1}, ValueError, "batch_size is 1, but it is at least 2"),
        ({"batch_size": 100, "window_blocks": 10}, ValueError, "take window_blocks="),
        ({"memory": "many"}, ValueError, "memory is 'many', but it is a number of bytes"),
        ({"split": ("train", 1.5)}, ValueError, r'like \("train", 0.9\)'),
        ({"split_by": "donor"}, ValueError, "split_by does nothing without split"),
        ({"samples": 5}, ValueError, "samples does nothing without weights or balance"),
        ({"length": 5}, ValueError, "length does nothing without"),
        ({"weights": [1.0]}, ValueError, "weights has the shape"),
        ({"weights": np.full(N_CELLS, -1.0)}, ValueError, "weights are numbers from 0 on"),
        ({"weights": "age", "balance": "donor"}, ValueError, "exclude each other"),
        ({"balance": "donor", "shuffle": False}, ValueError, "leave shuffle=False out"),
        ({"group": "guide", "set_size": 5}, ValueError, "take batch_size="),
        ({"rank": 2, "world_size": 2}, ValueError, "rank is 2, but it is below world_size=2"),
        ({"rank": 0}, ValueError, "rank does nothing without world_size"),
        ({"to": "tokens", "log1p": True}, ValueError, "leave them out"),
        ({"token_ids": [1], "to": "padded"}, ValueError, "token_ids has the shape"),
        ({"labels": "doner"}, SelectionError, "no column 'doner'; did you mean 'donor'"),
        ({"obsm": "X_tsne"}, SelectionError, "obsm has no array 'X_tsne'"),
        ({"layer": "unspliced"}, SelectionError, "there is no layer 'unspliced'"),
        ({"world_size": 500, "rank": 0}, ValueError, "too few for 500 ranks and workers"),
        (
            {"group": "guide", "set_size": 4, "controls": "donor = 'D1'", "match": "donor"},
            SelectionError,
            "have no control that agrees",
        ),
    ],
)
def test_wrong_options(
    dataset: slaf.Dataset, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """The error says what to change, in words of the option."""
    with pytest.raises(error, match=message):
        dataset.loader(**SMALL | options)


def test_a_selection_of_no_cells(dataset: slaf.Dataset) -> None:
    """There is nothing to load; and a state of other cells is refused."""
    with pytest.raises(SelectionError, match="no cell is selected"):
        dataset[[]].loader(**SMALL)
    with pytest.raises(ValueError, match="other cells"):
        dataset[:20].loader(**SMALL).load_state_dict(dataset.loader(**SMALL).state_dict())


def test_memory_that_does_not_hold_a_window(dataset: slaf.Dataset) -> None:
    """The error names a `window_blocks`, and a `memory`, with which it works."""
    with pytest.raises(ValueError, match="take window_blocks=") as refused:
        dataset.loader(memory="20K", batch_size=8, block_size=8, window_blocks=80, prefetch=0)
    words = str(refused.value).split("window_blocks=")[1]
    blocks = int(words.split(",")[0])
    dataset.loader(memory="20K", batch_size=8, block_size=8, window_blocks=blocks, prefetch=0)
    with pytest.raises(ValueError, match="memory=") as refused:
        dataset.loader(memory="1K", **SMALL)
    memory = str(refused.value).split('memory="')[1].split('"')[0]
    dataset.loader(memory=memory, **SMALL)


def test_a_forked_process(dataset: slaf.Dataset) -> None:
    """It is told at once to start by spawn."""
    script = """
import os, sys, slaf
loader = slaf.open(sys.argv[1]).loader(batch_size=32)
next(iter(loader))
child = os.fork()
if child == 0:
    try:
        next(iter(loader))
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
    command = [sys.executable, "-W", "ignore", "-c", script, str(dataset.location)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert 'start processes by spawn: multiprocessing_context="spawn"' in ran.stdout


def test_an_abandoned_epoch(dataset: slaf.Dataset) -> None:
    """Leaving an iteration leaves no thread behind."""
    import threading

    before = threading.active_count()
    for batch in dataset.loader(**SMALL):
        assert len(batch)
        break
    del batch
    assert threading.active_count() <= before
