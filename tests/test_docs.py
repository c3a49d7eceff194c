"""The documentation: its examples run, it leaves nothing out, its links lead somewhere."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import tomllib
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
import typer
from scipy.io import mmwrite

import slaf
import slaf.dataset.source
import slaf.errors
from slaf.options import INPUT_CHOICES
from slaf.sources import FORMATS
from slaf.storage.location import Location
from slaf.testing.strategies import Stored
from slaf_cli.app import make_app
from slaf_cli.report import ExitCode, exit_code
from tests.cloud.servers import upload
from tests.conversion.slafdb_datasets import slafdb_files
from tests.formats.builders import Mtx, write_genomes, write_soma, write_v3
from tests.pages import PAGES, ROOT, Reader, anchors, blocks, executed, links, name_of
from tests.sources.reads import M, Read, write_reads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import anndata

    from tests.cloud.servers import Cloud

REFERENCE = ROOT / "docs" / "reference"
# The page that makes the files of all others.
EXAMPLE_FILES = ROOT / "docs" / "example-files.md"
# How many blocks of each page nobody runs, for they need a clone, a network or another program.
NOT_RUN = {
    "README.md": 1,
    "docs/benchmarks.md": 1,
    "docs/index.md": 1,
    "docs/how-to/azure.md": 2,
    "docs/how-to/buckets.md": 1,
    "docs/how-to/cron.md": 1,
    "docs/how-to/gcs.md": 3,
    "docs/how-to/machines.md": 5,
    "docs/how-to/processes.md": 1,
    "docs/how-to/s3.md": 4,
    "docs/how-to/train.md": 1,
    "docs/how-to/umap.md": 2,
}
# The pages whose commands run as the installed program, each in a process of its own.
AS_INSTALLED = {"docs/tutorial.md"}
# The extras that the examples of pages need.
NEEDS = {
    "azure.md": "cloud",
    "bam.md": "bam",
    "buckets.md": "cloud",
    "compute.md": "scanpy",
    "export.md": "plugins",
    "from-scanpy.md": "scanpy",
    "gcs.md": "cloud",
    "s3.md": "cloud",
    "soma.md": "soma",
    "umap.md": "scanpy",
}
CLOUDS = {"s3": "s3_server", "gcs": "gs_server", "azure": "az_server", "export": "s3_server"}

_EXAMPLE_FILE = re.compile(
    r"\b(?:pbmc|normalised|panel|deep|healthy|ill)\.h5ad|\bsheet\.csv|slaf convert (samples|runs)\b"
)
_TEST = re.compile(r"`(?P<path>(?:tests|slaf)/[\w/]+\.py)(?:::(?P<names>[\w:]+))?`")


class Stopped(Exception):
    """A conversion that somebody stopped."""


class StopsHalfway:
    """Stops a conversion after some cells."""

    def __init__(self, cells: int) -> None:
        self.left = cells

    def begin(self, cells: int, nonzeros: int, total_cells: int) -> None:
        """The work begins."""

    def advance(self, cells: int, nonzeros: int) -> None:  # noqa: ARG002 - as Progress has it
        """Stop when all of them are done."""
        self.left -= cells
        if self.left < 0:
            raise Stopped


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages take for granted: inputs of each format, and a conversion that was stopped."""
    directory = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        reader = Reader(EXAMPLE_FILES, directory)
        reader.read()
    pbmc, normalised = reader.names["pbmc"], reader.names["normalised"]
    _write_tenx(pbmc, directory / "filtered_feature_bc_matrix")
    _write_other_formats(normalised, directory)
    _write_slafdb(pbmc, directory)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        with pytest.raises(Stopped):
            slaf.convert("pbmc.h5ad", "stopped.slaf", chunk_size=100, progress=StopsHalfway(200))
        slaf.convert("samples/healthy.h5ad", "halfway.slaf", chunk_size=100)
        with pytest.raises(Stopped):
            slaf.append(
                "samples/ill.h5ad", "halfway.slaf", chunk_size=100, progress=StopsHalfway(200)
            )
    return directory


def _write_tenx(adata: anndata.AnnData, folder: Path) -> None:
    folder.mkdir()
    mmwrite(folder / "matrix.mtx", sp.coo_matrix(adata.X.T.astype(np.int32)))
    features = [f"{id_}\t{name}\tGene Expression\n" for id_, name in adata.var["gene_name"].items()]
    (folder / "features.tsv").write_text("".join(features))
    (folder / "barcodes.tsv").write_text("".join(f"{name}\n" for name in adata.obs_names))


def _write_other_formats(adata: anndata.AnnData, directory: Path) -> None:
    counts, logged = (_stored(matrix) for matrix in (adata.layers["spliced"], adata.X))
    whole = replace(counts, values=counts.values.astype(np.int32))
    antibodies = 3
    types = ["Gene Expression"] * (adata.n_vars - antibodies) + ["Antibody Capture"] * antibodies
    features = {"id": adata.var_names, "name": adata.var["gene_name"], "feature_type": types}
    encoded = {name: [text.encode() for text in texts] for name, texts in features.items()}
    h5 = write_v3(directory / "filtered_feature_bc_matrix.h5", whole, features=encoded)
    (directory / "outs").mkdir()
    shutil.copy(h5, directory / "outs")
    write_genomes(directory / "human-mouse.h5", {"hg19": whole, "mm10": whole})
    for prefix in ("GSM1_healthy_", "GSM2_ill_"):
        Mtx(prefix=prefix).write(directory / "GSE123", whole)
    named = Mtx(packed=False).write(directory / "named", whole)
    (named / "matrix.mtx").rename(directory / "gene_mat.mtx")
    for table, name in ((adata.obs_names, "cells.csv"), (adata.var_names, "genes.csv")):
        header = "barcode" if name == "cells.csv" else "symbol,ensembl"
        rows = (text if name == "cells.csv" else f"{text}-name,{text}" for text in table)
        (directory / name).write_text("\n".join([header, *rows]))
    shutil.rmtree(named)
    _write_reads(directory)
    write_soma(directory / "pbmc_soma", logged, layers={"counts": counts, "data": logged})


def _write_reads(directory: Path) -> None:
    contigs = (("chr1", 5000), ("chr2", 3000))
    for seed, name in enumerate(("control", "treated")):
        random = np.random.default_rng(seed)
        alignments = [
            Read(at % 2, int(random.integers(0, 2900)), ((M, 100),), 1024 if at < 20 else 0)
            for at in range(390)
        ]
        alignments += [Read(0, 60, ((M, 100),))] * 10
        write_reads(directory / f"{name}.bam", alignments, contigs)


def _write_slafdb(adata: anndata.AnnData, directory: Path) -> None:
    """Datasets of slafdb, of one file and of two."""
    earlier = slafdb_files(adata.X[:350], genes=adata.var_names)
    earlier.write(directory / "earlier.slaf")
    starts = earlier.tables["cells"].column("cell_start_index").to_numpy()
    anew = np.where(np.arange(len(starts)) < 200, starts, starts - starts[200])
    earlier.with_column("cells", "cell_start_index", pa.array(anew)).write(
        directory / "of-two-files.slaf"
    )


def _stored(matrix: Any) -> Stored:
    cells, genes = matrix.nonzero()
    return Stored(matrix.shape, cells, genes, np.asarray(matrix[cells, genes]).ravel())


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_examples_run(
    page: Path,
    examples: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Every example of a page runs, in order, and prints what the page says."""
    # With the times of the files, by which a stopped conversion knows its input.
    if page != EXAMPLE_FILES:
        shutil.copytree(examples, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    cloud = request.getfixturevalue(CLOUDS[page.stem]) if page.stem in CLOUDS else None
    with _bucket(cloud, tmp_path, monkeypatch):
        Reader(page, tmp_path, processes=name_of(page) in AS_INSTALLED).read()


def test_the_notebook_runs(tmp_path: Path) -> None:
    """Each cell of the notebook runs in a kernel of Jupyter, and warns of nothing."""
    notebook = ROOT / "docs" / "notebook.ipynb"
    assert all(not cell.get("outputs") for cell in json.loads(notebook.read_text("utf-8"))["cells"])
    for cell in executed(notebook, tmp_path).cells:
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr", output["text"]


def test_what_the_site_makes_is_made_by_the_examples() -> None:
    """A figure that the build shows on a page is a file that an example of this page writes."""
    for page in PAGES:
        code = "".join(block.code for block in blocks(page) if block.runs)
        for name in re.findall(r"^<!-- made: (\S+) ", page.read_text("utf-8"), re.MULTILINE):
            assert name in code, f"{name_of(page)}: {name}"


@contextmanager
def _bucket(cloud: Cloud | None, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the page of a cloud takes for granted: a bucket with an input, and credentials."""
    if cloud is None:
        yield
        return
    there = replace(cloud, root=f"{cloud.name}://my-bucket")
    bucket = Location(there.root, there.options)
    for name in bucket.list("."):
        bucket.remove(name)
    upload(there, folder / "pbmc.h5ad")
    for name, value in there.environment(folder).items():
        monkeypatch.setenv(name, value)
    yield


def test_code_blocks_are_known_to_the_site() -> None:
    """The site takes attributes of a block in braces only: other blocks would be shown as text."""
    for page in (ROOT / "docs").rglob("*.md"):
        assert not re.findall(r"^```\w+ .*", page.read_text(encoding="utf-8"), re.MULTILINE), page


def test_every_page_says_where_its_files_come_from() -> None:
    """A page whose examples use an example file links the page that makes them."""
    for page in PAGES:
        code = "".join(block.code for block in blocks(page) if block.runs)
        if page != EXAMPLE_FILES and _EXAMPLE_FILE.search(code):
            assert any(EXAMPLE_FILES.name in link for link in links(page)), name_of(page)


def test_few_examples_are_not_run() -> None:
    """The blocks that no test runs are these, and no more."""
    found = {name_of(page): sum(not block.runs for block in blocks(page)) for page in PAGES}
    assert {name: count for name, count in found.items() if count} == NOT_RUN


def test_command_line_reference_is_current() -> None:
    """docs/reference/cli.md is what the app is now; `python docs/generate_cli.py` renews it."""
    generator = runpy.run_path(str(ROOT / "docs" / "generate_cli.py"))
    assert generator["PAGE"].read_text(encoding="utf-8") == generator["page"]()


def test_every_command_and_option_is_documented() -> None:
    """Each command, argument and option of the app stands in the reference, with a help text."""
    page = (REFERENCE / "cli.md").read_text(encoding="utf-8")
    group: Any = typer.main.get_command(make_app())
    for name, command in group.commands.items():
        section = page.split(f"\n## slaf {name}\n")[1].split("\n## ")[0]
        for parameter in command.params:
            assert parameter.help, f"slaf {name}: {parameter.name} has no help text"
            assert parameter.help in section
            if parameter.param_type_name == "option":
                for option in parameter.opts:
                    assert re.search(rf"`[^`]*{option}\b", section), f"slaf {name} {option}"


def test_every_format_is_documented() -> None:
    """Each format of inputs stands in the page about converting."""
    page = (ROOT / "docs/how-to/convert.md").read_text(encoding="utf-8")
    assert re.findall(
        r"^\| `(\w+)` \|", page.split("\n## Inputs")[1].split("\n## ")[0], re.MULTILINE
    ) == [format.name for format in FORMATS]


@pytest.mark.parametrize("name", slaf.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    """Each public name of slaf has its entry: errors in their page, the rest in Python's."""
    thing = getattr(slaf, name)
    if isinstance(thing, type) and issubclass(thing, Exception):
        assert f"| `{name}`" in (REFERENCE / "errors.md").read_text(encoding="utf-8")
    else:
        assert f"slaf.{name}" in anchors(REFERENCE / "python.md")


def test_every_extra_is_documented() -> None:
    """Each extra that users install stands in the table of the home page."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    users = project["optional-dependencies"].keys() - {"dev", "test-torch"}
    assert users == set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))


@pytest.mark.parametrize("page", NEEDS)
def test_a_page_names_the_extra_that_its_examples_need(page: str) -> None:
    """Somebody with a plain installation reads which extra to install."""
    assert f"slaf[{NEEDS[page]}]" in (ROOT / "docs/how-to" / page).read_text(encoding="utf-8")


def test_every_choice_of_an_input_is_specified() -> None:
    """Each option that a source records as its choice stands in the format on disk."""
    page = (ROOT / "docs/format.md").read_text(encoding="utf-8")
    (choice,) = re.findall(r"^\| `choice` \|(.*)\|$", page, re.MULTILINE)
    assert re.findall(r"`(\w+)`", choice) == list(INPUT_CHOICES)


def test_the_citation_names_this_version() -> None:
    """CITATION.cff has the version of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"\nversion: {project['version']}\n" in (ROOT / "CITATION.cff").read_text("utf-8")


def exit_code_of(error: Any) -> int | None:
    """The exit code of a command that ends by an error of this class."""
    if not (isinstance(error, type) and issubclass(error, Exception)):
        return None
    # Without what its own __init__ asks for.
    made: Exception = type(error.__name__, (error,), {"__init__": lambda _: None})()
    return int(exit_code(made))


def test_every_error_and_exit_code_is_documented() -> None:
    """Each class of error stands in the page of errors, under what it is, and each exit code."""
    page = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    codes = {name: exit_code_of(thing) for name, thing in vars(slaf.errors).items()}
    for name, thing in vars(slaf.errors).items():
        if isinstance(thing, type) and issubclass(thing, Exception):
            builtins = [base.__name__ for base in thing.__bases__ if base.__module__ == "builtins"]
            shown = f" (`{builtins[0]}`)" if builtins and name != "SlafError" else ""
            column = "" if name == "SlafError" else f" {codes[name]}"
            assert f"| `{name}`{shown} |{column} |" in page
    rows = dict(re.findall(r"^\| (\d+) \|(.*)\|$", page, re.MULTILINE))
    assert rows.keys() == {str(code.value) for code in ExitCode}
    for name, thing in vars(slaf.errors).items():
        if slaf.SlafError in getattr(thing, "__bases__", ()):
            assert f"`{name}`" in rows[str(codes[name])]


def test_every_documented_error_says_what_to_do() -> None:
    """Each row of the catalogue of errors is one that there is, with its cause and a remedy."""
    page = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    _, _, catalogue = page.partition("## Errors")
    rows = re.findall(r"^\| `(\w+)`[^|]*\|[^|]*\|([^|]*)\|([^|]*)\|$", catalogue, re.MULTILINE)
    assert len(rows) == len(re.findall(r"^\| `", catalogue, re.MULTILINE))
    for name, cause, remedy in rows:
        assert issubclass(getattr(slaf.errors, name), slaf.SlafError)
        assert cause.strip(), name
        # The bases are told by those that derive from them.
        is_base = getattr(slaf.errors, name).__subclasses__() != []
        assert remedy.strip() or is_base, name


@pytest.mark.parametrize(
    "page",
    [*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"))],
    ids=name_of,
)
def test_links_lead_somewhere(page: Path) -> None:
    """Each link inside the project leads to a file and a heading that exist."""
    for link in links(page):
        target, _, anchor = link.partition("#")
        if "://" not in link:
            file = page.parent / target if target else page
            assert file.is_file(), link
            assert not anchor or anchor in anchors(file), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_named_tests_exist(page: Path) -> None:
    """A test that a page names as the proof of a promise is there."""
    for match in _TEST.finditer(page.read_text(encoding="utf-8")):
        file = ROOT / match["path"]
        assert file.is_file(), match["path"]
        for name in filter(None, (match["names"] or "").split("::")):
            assert re.search(rf"(def|class) {name}\b", file.read_text(encoding="utf-8")), match[0]
