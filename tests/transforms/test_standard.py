"""Standard gene ids and labels, and the candidates that are listed for them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import slaf
from slaf.errors import InputError, VerificationFailed
from slaf_cli.report import ExitCode
from tests.cli.terminal import run

if TYPE_CHECKING:
    from pathlib import Path

P53, DDX, KRT = "ENSG00000141510", "ENSG00000223972", "ENSMUSG00000022947"
transform: Any = slaf.transform


def write(path: Path, genes: list[str], first: int = 0) -> Path:
    """Two cells with all of these genes, and raw."""
    values = np.arange(1, 2 * len(genes) + 1, dtype=np.float32).reshape(2, -1) + first
    obs = pd.DataFrame(
        {"guide": ["sg-TP53", "sg-non-targeting"]}, index=[f"c{first}", f"c{first + 1}"]
    )
    adata = anndata.AnnData(values, obs=obs, var=pd.DataFrame(index=genes))
    adata.raw = adata.copy()
    adata.write_h5ad(path)
    return path


@given(st.lists(st.text(alphabet="ENSG0123456789.-M", max_size=20), unique=True, max_size=8))
@settings(max_examples=50, deadline=None)
def test_other_ids_stay(ids: list[str]) -> None:
    """What is no id of Ensembl with a version stays, and standard ids are standard."""
    try:
        standard = slaf.standard_gene_ids(ids)
    except InputError:
        return
    assert slaf.standard_gene_ids(standard) == standard
    for one, new in zip(ids, standard, strict=True):
        assert one == new or (one.startswith("ENS") and one.startswith(f"{new}."))


def test_ids_of_ensembl_lose_their_version() -> None:
    """Of any species and kind; symbols with a point and pseudoautosomal copies keep it."""
    ids = [f"{P53}.18", f"{KRT}.7", "HLA-A.2", "AC0123.4", f"{DDX}.5_PAR_Y", "ENST00000456328.2"]
    expected = [P53, KRT, "HLA-A.2", "AC0123.4", f"{DDX}.5_PAR_Y", "ENST00000456328"]
    assert slaf.standard_gene_ids(ids) == expected
    with pytest.raises(InputError, match=rf"'{P53}.1' and '{P53}.2' would both be '{P53}'"):
        slaf.standard_gene_ids([f"{P53}.1", f"{P53}.2"])


def test_inputs_are_aligned_by_standard_ids(tmp_path: Path) -> None:
    """Versions that differ are one gene; the record repeats it in verify, append and repair."""
    first = write(tmp_path / "a.h5ad", [f"{P53}.1", "X.1", f"{DDX}.5"])
    second = write(tmp_path / "b.h5ad", [f"{DDX}.6", f"{P53}.2", "X.1"], first=10)
    third = write(tmp_path / "c.h5ad", [P53, "X.1", DDX], first=20)
    made = transform([first, second], tmp_path / "out.slaf", standardize_genes=True)
    assert made.var_names.to_list() == [P53, "X.1", DDX]
    assert made.raw.var_names.to_list() == [P53, "X.1", DDX]
    assert made.var["original_gene_id"].to_list() == [f"{P53}.1", "X.1", f"{DDX}.5"]
    assert made.X[2].toarray().tolist() == [[12, 13, 11]]
    assert [step.name for step in made.published.transforms] == ["standardize_genes"]
    assert slaf.verify(made, [first, second]).ok
    made = slaf.append(third, made.location)
    assert made.shape == (6, 3)
    assert slaf.verify(made, [first, second, third]).ok
    (file,) = (tmp_path / "out.slaf" / "genes.lance" / "data").iterdir()
    file.write_bytes(b"damaged")
    slaf.repair(made.location, [first, second, third])
    made = slaf.open(made.location)
    assert made.var_names.to_list() == [P53, "X.1", DDX]
    other = write(tmp_path / "d.h5ad", [f"{P53}.3", "X.1", f"{DDX}.5"])
    with pytest.raises(VerificationFailed, match="original_gene_id"):
        slaf.verify(made, [other, second, third])
    again = transform(made, tmp_path / "again.slaf", standardize_genes=True)
    assert again.var.equals(made.var)


def test_genes_that_would_be_one(tmp_path: Path) -> None:
    """They are refused with the input and both ids; nothing is written."""
    path = write(tmp_path / "a.h5ad", [f"{P53}.1", f"{P53}.2"])
    with pytest.raises(InputError, match=rf"a.h5ad: genes '{P53}.1' and '{P53}.2' would both"):
        transform(path, tmp_path / "out.slaf", standardize_genes=True)
    assert not (tmp_path / "out.slaf").exists()


def test_a_view_with_standard_ids(tmp_path: Path) -> None:
    """It selects by them, and goes along with other steps."""
    with slaf.scan(write(tmp_path / "a.h5ad", [f"{P53}.1", "X.1"])) as scan:
        view = scan.normalize_total(10).standardize_genes()
        assert view[:, P53].var_names.to_list() == [P53]
        found = view[:, [P53]].X.to_memory().toarray().ravel()
        np.testing.assert_allclose(found, [10 / 3, 30 / 7], rtol=1e-6)
        assert view.log1p()[:, "original_gene_id = 'X.1'"].var_names.to_list() == ["X.1"]


def test_standard_labels() -> None:
    """Controls get one name, prefixes and suffixes go, and genes like KNTC1 stay."""
    labels = pd.Series(["sg-TP53_KO", "sg-non-targeting", None, "NTC", "KNTC1", "Mock 7", "ctrl"])
    found = slaf.standard_labels(
        labels, strip_prefix="sg-", strip_suffix=["_KD", "_KO"], control="NTC", aliases=["mock 7"]
    )
    assert found.to_list() == ["TP53", "NTC", np.nan, "NTC", "KNTC1", "NTC", "NTC"]
    assert set(found.cat.categories) == {"KNTC1", "NTC", "TP53"}
    assert slaf.standard_labels(labels).to_list()[:2] == ["sg-TP53_KO", "sg-non-targeting"]
    with pytest.raises(InputError, match="no label is a control; name theirs by aliases"):
        slaf.standard_labels(pd.Series(["TP53"]), control="NTC")
    with pytest.raises(InputError, match="nothing of the label 'sg-' is left"):
        slaf.standard_labels(pd.Series(["sg-"]), strip_prefix="sg-")


def test_the_commands(tmp_path: Path) -> None:
    """`info --infer` lists candidates and changes nothing; `annotate` adds them on request."""
    path = write(tmp_path / "a.h5ad", [f"{P53}.1", "X.1"])
    slaf.convert(path, tmp_path / "a.slaf")
    for target in (path, tmp_path / "a.slaf"):
        found = run("info", target, "--infer", "--json").succeeded().json["inferred"][str(target)]
        assert found["perturbations"] == [{"column": "guide", "n_labels": 2, "controls": []}]
        assert (found["n_versioned"], found["symbols"], found["conflict"]) == (1, [], "")
    assert "1 ids have a version" in run("info", path, "--infer").succeeded().out
    (tmp_path / "map.tsv").write_text(f"id\tsymbol\n{P53}\tTP53\nENSG00000000003\tTSPAN6\n")
    words = ("--labels", "guide", "--strip-prefix", "sg-", "--control", "NTC")
    done = run("annotate", tmp_path / "a.slaf", *words, "--gene-ids", "gene", "--symbols",
               tmp_path / "map.tsv").succeeded()  # fmt: skip
    assert "2 of 2 labels change\nsg-TP53 -> TP53\nsg-non-targeting -> NTC" in done.err
    assert "1 of 2 genes have a symbol" in done.err
    made = slaf.open(tmp_path / "a.slaf")
    assert made.obs["perturbation"].to_list() == ["TP53", "NTC"]
    assert made.var["gene"].to_list() == [P53, "X.1"]
    assert made.var["gene_symbol"].to_list()[0] == "TP53"
    inferred = slaf.infer(made)
    assert [one.column for one in inferred.perturbations] == ["perturbation", "guide"]
    assert inferred.perturbations[0].controls == ("NTC",)
    assert inferred.symbols == ("gene_symbol",)
    assert run("annotate", tmp_path / "a.slaf", "--control", "NTC").code == ExitCode.USAGE
    json.dumps(inferred.to_json())
