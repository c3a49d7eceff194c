"""`slaf.transform` stores or exports what the same steps of a view give, and records them."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

import slaf
from slaf.errors import (
    InputError,
    OutputExists,
    SelectionError,
    TargetError,
    UnfinishedRun,
    VerificationFailed,
)
from slaf.options import StepOptions, options_of
from slaf.testing.crashing import Crash, CrashingStorage
from tests.transforms.test_views import example

if TYPE_CHECKING:
    from pathlib import Path

# What it returns depends on the output, and on `dry_run`.
transform: Any = slaf.transform
RULES: dict[str, Any] = {
    "min_genes": 4,
    "mad": {"counts": 3},
    "max_pct": {"mt": 60},
    "min_cells": 3,
}
IN_THE_MIDDLE = 25


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two inputs, whose genes and layers are the same; with raw."""
    top = tmp_path_factory.mktemp("inputs")
    paths = []
    for at in range(2):
        adata = example("counts", 30, first=0)
        adata.obs_names = [f"cell-{cell + 30 * at}" for cell in range(30)]
        adata.X = adata.X[::-1].copy() if at else adata.X
        adata.raw = adata.copy()
        adata.write_h5ad(top / f"{at}.h5ad")
        paths.append(top / f"{at}.h5ad")
    return paths


def steps(view: slaf.View, options: dict[str, Any]) -> slaf.View:
    """The same by methods of a view."""
    layer = {"layer": options.get("layer")}
    if options.get("standardize_genes"):
        view = view.standardize_genes()
    if "cells" in options or "genes" in options:
        view = view[options.get("cells"), options.get("genes")]
    names = ("min_genes", "max_counts", "mad", "max_pct")
    rules = {name: options[name] for name in names if name in options}
    if rules:
        view = view.filter_cells(**rules, **layer)
    if "sample" in options:
        view = view.sample(options["sample"], seed=3)
    values = layer | {"as_layer": options.get("as_layer")}
    if "downsample_counts" in options:
        view = view.downsample_counts(options["downsample_counts"], seed=3, **values)
        layer = {"layer": options.get("as_layer", options.get("layer"))}
        values = layer
    if "min_cells" in options:
        view = view.filter_genes(min_cells=options["min_cells"], **layer)
    if "normalize_total" in options:
        target = options["normalize_total"]
        view = view.normalize_total(None if target == "median" else target, **values)
        values = {"layer": options.get("as_layer", options.get("layer"))}
    if "log1p" in options:
        view = view.log1p(**values)
    if "sort_by" in options:
        view = view.sort_by(options["sort_by"], first=options.get("first"))
    return view


def assert_equal(one: anndata.AnnData, other: anndata.AnnData) -> None:
    """Ids, X, layers, raw and obsm are equal, bit for bit."""
    assert one.obs_names.to_list() == other.obs_names.to_list()
    assert one.var_names.to_list() == other.var_names.to_list()
    pairs = [(one.X, other.X), (one.raw.X, other.raw.X)]
    assert set(one.layers) == set(other.layers)
    pairs += [(one.layers[name], other.layers[name]) for name in one.layers]
    for first, second in pairs:
        assert first.dtype == second.dtype
        np.testing.assert_array_equal(first.toarray(), second.toarray())
    np.testing.assert_array_equal(one.obsm["X_umap"], other.obsm["X_umap"])
    assert set(one.uns) == set(other.uns)


@st.composite
def chosen(draw: Any) -> dict[str, Any]:
    """Options of some steps."""
    available: dict[str, Any] = {
        "standardize_genes": True,
        "cells": "age > 2",
        "genes": "gene_integer_id <> 4",
        "min_genes": 4,
        "max_counts": 14,
        "mad": {"counts": 2.3},
        "max_pct": {"mt": 45},
        "sample": 9,
        "downsample_counts": 6,
        "min_cells": 3,
        "normalize_total": draw(st.sampled_from(["median", 1e4])),
        "log1p": True,
    }
    names = draw(st.sets(st.sampled_from(sorted(available)), min_size=1))
    options = {name: available[name] for name in available if name in names}
    if names - {"standardize_genes", "cells", "genes", "sample"} and draw(st.booleans()):
        options["layer"] = "counts"
    if names & {"downsample_counts", "normalize_total", "log1p"} and draw(st.booleans()):
        options["as_layer"] = "made"
    return options


def check(inputs: list[Path], options: dict[str, Any], top: Path, *, several: bool) -> None:
    """The dataset equals the view, and verifies against the inputs."""
    given = inputs if several else inputs[:1]
    if not several:
        options |= {"sort_by": "gene", "first": "NTC"} if "sample" in options else {}
    with slaf.scan(given) as view:
        try:
            expected = steps(view, options)
        except SelectionError as error:
            # There are fewer cells than are to be drawn.
            assert "cannot be drawn" in str(error)  # noqa: PT017 - any other error fails
            return
        if 0 in expected.shape or ("first" in options and "NTC" not in set(expected.obs["gene"])):
            return
        expected, before = expected.to_anndata(), view.shape
    made = transform(given, top / "out.slaf", **options, seed=3, chunk_size=8, overwrite=True)
    assert_equal(made.to_anndata(), expected)
    assert len(made.sources) == len(given)
    for step in made.published.transforms:
        assert step.before == before
        before = step.after or (0, 0)
    assert before == made.shape
    assert slaf.verify(made, given).ok


SHORT = settings(
    max_examples=3,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@given(options=chosen(), n_inputs=st.integers(1, 2))
@SHORT
def test_the_dataset_is_the_view(
    inputs: list[Path],
    options: dict[str, Any],
    n_inputs: int,
    tmp_path: Path,
) -> None:
    """A dataset has what the steps of a view give, and equals its inputs through the record."""
    check(inputs, options, tmp_path, several=n_inputs > 1)


@pytest.mark.slow
@given(options=chosen(), n_inputs=st.integers(1, 2))
@settings(SHORT, max_examples=60)
def test_every_dataset_is_the_view(
    inputs: list[Path],
    options: dict[str, Any],
    n_inputs: int,
    tmp_path: Path,
) -> None:
    """As above, of as many options as find rare faults."""
    check(inputs, options, tmp_path, several=n_inputs > 1)


def test_an_export_is_the_view(inputs: list[Path], tmp_path: Path) -> None:
    """By its suffix the output is an export, of inputs or a dataset, sorted over several inputs."""
    options: dict[str, Any] = {"normalize_total": 1e4, "sort_by": "gene", "first": "NTC"}
    made = slaf.convert(inputs, tmp_path / "in.slaf")
    for at, one in enumerate((inputs, tmp_path / "in.slaf")):
        report = transform(one, tmp_path / f"{at}.h5ad", **options)
        assert report.format == "h5ad"
        expected = steps(made, options).to_anndata()
        assert_equal(anndata.read_h5ad(tmp_path / f"{at}.h5ad"), expected)
    report = transform(made, tmp_path / "mtx", output_format="10x_mtx", min_genes=4)
    assert report.format == "10x_mtx"


def test_an_export_has_the_compression_that_is_chosen(inputs: list[Path], tmp_path: Path) -> None:
    """Arrays are packed as asked; what no format or a dataset has is refused before all work."""
    for compression in (None, "none", "lzf"):
        made = tmp_path / f"{compression}.h5ad"
        transform(inputs[0], made, log1p=True, array_compression=compression)
        with h5py.File(made) as file:
            expected = {None: "gzip", "none": None}.get(compression, compression)
            assert file["X/data"].compression == expected
    for output, options in (
        (tmp_path / "out.zarr", {"array_compression": "lzf"}),
        (tmp_path / "out.h5", {"array_compression": "gzip"}),
        (tmp_path / "out.slaf", {"array_compression": "gzip"}),
        (tmp_path / "out", {"output_format": "xlsx"}),
    ):
        for dry_run in (False, True):
            with pytest.raises(TargetError):
                transform(inputs[0], output, log1p=True, dry_run=dry_run, **options)
        assert not output.exists()


# ----------------------------------------------------------------------------------------- appends


def test_an_append_repeats_the_record(inputs: list[Path], tmp_path: Path) -> None:
    """Recorded bounds, genes and targets are applied to cells that come later."""
    first, second = inputs
    options: dict[str, Any] = RULES | {"normalize_total": "median", "log1p": True}
    made = transform(first, tmp_path / "out.slaf", **options)
    steps, (n_before, genes) = made.published.transforms, (made.n_obs, list(made.var_names))
    grown = slaf.append(second, tmp_path / "out.slaf")
    assert grown.published.transforms == steps
    with slaf.scan(second) as view:
        rules, _, target, _ = (dict(step.options) for step in steps)
        expected = view.filter_cells(**rules)[:, genes]
        expected = expected.normalize_total(target["target_sum"]).log1p()
        added = grown[n_before:]
        assert 0 < added.n_obs == expected.n_obs < view.n_obs
        np.testing.assert_array_equal(
            added.X.to_memory().toarray(), expected.X.to_memory().toarray()
        )
    assert slaf.verify(grown, inputs).ok
    with pytest.raises(VerificationFailed):
        slaf.verify(grown, [second, first])


@pytest.mark.parametrize("option", [{"sample": 9}, {"sort_by": "gene"}])
def test_an_append_that_cannot_repeat_it(
    option: dict[str, Any], inputs: list[Path], tmp_path: Path
) -> None:
    """What depends on all cells is refused by name, and the dataset stays."""
    transform(inputs[0], tmp_path / "out.slaf", **option)
    with pytest.raises(InputError, match=f"by {next(iter(option))}, which depends on all cells"):
        slaf.append(inputs[1], tmp_path / "out.slaf")
    assert slaf.verify(tmp_path / "out.slaf", inputs[0]).ok


def test_a_compacted_dataset_keeps_the_record(inputs: list[Path], tmp_path: Path) -> None:
    """Compaction and repair leave the steps in config.json, and repair repeats them."""
    made = transform(inputs, tmp_path / "out.slaf", **RULES, log1p=True, chunk_size=9)
    slaf.compact(tmp_path / "out.slaf")
    assert slaf.open(tmp_path / "out.slaf").published.transforms == made.published.transforms
    file = next((tmp_path / "out.slaf" / "expression.lance" / "data").iterdir())
    file.write_bytes(b"damaged")
    slaf.repair(tmp_path / "out.slaf", inputs)
    assert slaf.verify(tmp_path / "out.slaf", inputs).ok


# ----------------------------------------------------------------------------------------- refused


def test_an_output_that_is_an_input(inputs: list[Path], tmp_path: Path) -> None:
    """It is refused whatever the format and its name, and the input stays as it is."""
    path = tmp_path / "in.h5ad"
    path.write_bytes(inputs[0].read_bytes())
    slaf.convert(path, tmp_path / "in.slaf")
    (tmp_path / "link.slaf").symlink_to(tmp_path / "in.slaf")
    (tmp_path / "link.h5ad").symlink_to(path)
    for one, other in (("in.h5ad",) * 2, ("in.slaf",) * 2, ("in.slaf", "link.slaf"),
                       ("link.h5ad", "in.h5ad")):  # fmt: skip
        for dry_run in (False, True):
            with pytest.raises(OutputExists, match="it is the output and an input"):
                transform(
                    tmp_path / one, tmp_path / other, log1p=True, overwrite=True, dry_run=dry_run
                )
    assert path.read_bytes() == inputs[0].read_bytes()
    assert slaf.verify(tmp_path / "in.slaf", path).ok


@pytest.mark.parametrize("appended", [False, True])
def test_rules_for_genes_are_verified(inputs: list[Path], tmp_path: Path, appended: bool) -> None:  # noqa: FBT001
    """Genes that the rule does not keep are a difference: those of the dataset are no proof."""
    made = transform(inputs[0], tmp_path / "out.slaf", min_cells=17)
    if appended:
        made = slaf.append(inputs[1], made.location)
    given = inputs if appended else inputs[:1]
    assert 0 < made.n_vars < 12
    assert slaf.verify(made, given).ok
    path = tmp_path / "out.slaf" / "config.json"
    config = json.loads(path.read_bytes())
    config["transforms"][0]["options"]["min_cells"] = 1
    del config["digest"]
    path.write_text(json.dumps(config))
    with pytest.raises(VerificationFailed, match="genes, measured by"):
        slaf.verify(tmp_path / "out.slaf", given)


def test_lost_genes_are_kept_by_the_rule_again(inputs: list[Path], tmp_path: Path) -> None:
    """The genes that a rule has kept are repaired from the inputs, without those of the dataset."""
    made = transform(inputs, tmp_path / "out.slaf", min_cells=35)
    wanted = made.to_anndata()
    (file,) = (tmp_path / "out.slaf" / "genes.lance" / "data").iterdir()
    file.write_bytes(b"damaged")
    slaf.repair(made.location, inputs)
    assert_equal(slaf.open(made.location).to_anndata(), wanted)
    assert slaf.verify(made.location, inputs).ok


def test_cells_by_position_are_of_one_run(inputs: list[Path], tmp_path: Path) -> None:
    """A condition on the positions of cells means other cells of an append, which is refused."""
    made = transform(inputs[0], tmp_path / "out.slaf", cells="Cell_Integer_Id < 5")
    assert slaf.verify(made, inputs[0]).ok
    with pytest.raises(InputError, match="chosen or ordered by select, which depends on all"):
        slaf.append(inputs[1], made.location)


def test_a_sample_without_one_of_its_inputs(inputs: list[Path], tmp_path: Path) -> None:
    """Of the cells that were drawn, those of the other inputs are left, and verified."""
    made = transform(inputs, tmp_path / "out.slaf", sample=20, seed=1)
    left = [name for name in made.obs_names if name in slaf.scan(inputs[1]).obs_names]
    made = slaf.remove(made.location, str(inputs[0]))
    assert 0 < len(left) < 20
    assert made.obs_names.to_list() == left
    assert slaf.verify(made, inputs[1]).ok


def test_another_run_is_not_resumed(inputs: list[Path], tmp_path: Path) -> None:
    """A run that was stopped is finished by the same steps alone; others name the difference."""
    with pytest.raises(Crash):
        transform(
            inputs, CrashingStorage(tmp_path / "out.slaf", at=IN_THE_MIDDLE), min_genes=4,
            chunk_size=8,
        )  # fmt: skip
    with pytest.raises(UnfinishedRun, match=r"step 1 was .*'min_genes': 4.0.* and is .*5.0"):
        transform(inputs, tmp_path / "out.slaf", min_genes=5, chunk_size=8)
    with pytest.raises(UnfinishedRun, match="step 1 was"):
        slaf.convert(inputs, tmp_path / "out.slaf", chunk_size=8)
    made = transform(inputs, tmp_path / "out.slaf", min_genes=4, chunk_size=8)
    assert slaf.verify(made, inputs).ok


def test_what_is_refused(inputs: list[Path], tmp_path: Path) -> None:
    """Logarithms twice, negatives, sorting of several inputs and options without use."""
    out = tmp_path / "out.slaf"
    adata = example("counts")
    adata.uns["log1p"] = {}
    adata.X[2, 1] = -1
    adata.write_h5ad(tmp_path / "marked.h5ad")
    with pytest.raises(SelectionError, match="leave uns:log1p out of the input if it is wrong"):
        transform(tmp_path / "marked.h5ad", out, log1p=True)
    with pytest.raises(InputError, match=r"gene 'G1' is -1.0, but only counts"):
        transform(tmp_path / "marked.h5ad", out, log1p=True, without="uns:log1p")
    assert not out.exists()
    with pytest.raises(InputError, match="convert them first, and transform the dataset"):
        transform(inputs, out, sort_by="gene")
    with pytest.raises(TargetError, match="compression is an option of datasets"):
        transform(inputs, tmp_path / "x.h5ad", log1p=True, compression="small")
    for options, message in (
        ({"first": "NTC"}, "first is given, but none of sort_by"),
        ({"as_layer": "x"}, "as_layer is given, but none of downsample_counts"),
        ({"layer": "x", "log1p": False}, "layer is given, but none of min_genes, "),
        ({"mask": {"a": "^A"}, "log1p": True}, "mask is given, but none of max_pct, mad"),
        ({"max_pct": {"mt": "x"}}, "could not convert"),
        ({"normalize_total": 0}, "above 0, or median"),
    ):
        with pytest.raises(ValueError, match=message):
            transform(inputs, out, **options)


# ------------------------------------------------------------------------- no option does nothing

CASES: dict[str, Any] = {
    "standardize_genes": True,
    "cells": "age > 2",
    "genes": "gene_integer_id > 2",
    "min_genes": 5,
    "max_genes": 5,
    "min_counts": 8,
    "max_counts": 8,
    "max_pct": {"mt": 20},
    "mad": {"counts": 1},
    "sample": 7,
    "downsample_counts": 3,
    "min_cells": 17,
    "normalize_total": 100,
    "log1p": True,
    "sort_by": "gene",
}
WITH: dict[str, tuple[Any, dict[str, Any]]] = {
    "seed": (5, {"sample": 7}),
    "mask": ({"mt": "^G"}, {"max_pct": {"mt": 20}}),
    "first": ("NTC", {"sort_by": "gene"}),
    "layer": ("counts", {"min_genes": 7}),
    "as_layer": ("new", {"log1p": True}),
}


def test_every_option_changes_something(inputs: list[Path]) -> None:
    """Each option of a step changes the cells, the genes or the values; none is left out here."""
    assert set(CASES) | set(WITH) == set(options_of(StepOptions))
    from slaf.conversion.transform import with_steps

    def content(**options: Any) -> tuple[Any, ...]:
        found = with_steps(view, StepOptions(**options)).to_anndata()
        matrices = [found.X, *found.layers.values()]
        names = *found.obs_names, *found.var_names, *found.var
        return (*names, *(m.toarray().tobytes() for m in matrices))

    with slaf.scan(inputs[0]) as view:
        for name, value in CASES.items():
            assert content(**{name: value}) != content(), name
        for name, (value, also) in WITH.items():
            assert content(**{name: value}, **also) != content(**also), name


# ------------------------------------------------------------------------------------- the command


def test_the_dry_run_counts(
    inputs: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It says what each rule removes, and writes nothing; a run logs the same before it writes."""
    caplog.set_level(logging.INFO, "slaf")
    preview = transform(inputs, tmp_path / "out.slaf", **RULES, sample=9, dry_run=True)
    made = transform(inputs, tmp_path / "out.slaf", **RULES, sample=9)
    assert (preview.inputs, preview.shape) == ((60, 12), made.shape)
    assert [*map(str, preview.rules)] == [
        message for message in caplog.messages if " removes " in message
    ]
    by_rule = {effect.rule: effect.removed for effect in preview.rules}
    with slaf.scan(inputs) as view:
        assert by_rule["min_genes 4"] == 60 - view.filter_cells(min_genes=4).n_obs
    assert by_rule["sample 9"] > 0
    assert json.loads(json.dumps(preview.to_json()))["shape"] == list(made.shape)
