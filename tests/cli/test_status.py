"""`slaf status`: how far a conversion is, and how to finish it."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import anndata
import pytest

import slaf
from slaf.format.validation import with_checksum
from slaf.storage.location import Location
from slaf_cli.report import ExitCode
from tests.builders import counts, write_h5ad
from tests.cli.terminal import StopsAfter, run, stop_after, stopped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STATUS_KEYS = {
    *("place", "state", "published", "parts_done", "parts", "cells_done", "n_cells", "n_genes"),
    *("nonzeros_done", "operation", "sources", "options", "resume", "genes_done", "tables"),
    *("missing", "refused"),
}


def test_a_finished_dataset_says_so(dataset: Path) -> None:
    """Of a dataset the state is finished, and there is nothing to resume."""
    found = run("status", dataset, "--json").succeeded().json
    assert found.keys() == STATUS_KEYS
    assert found["state"] == "finished"
    assert found["published"] is True
    assert found["cells_done"] == found["n_cells"] == 60
    assert found["nonzeros_done"] == slaf.open(dataset).nnz
    assert found["resume"] is None
    assert "state     finished" in run("status", dataset).succeeded().out


def test_a_stopped_run_says_how_far_it_is(source: Path, tmp_path: Path) -> None:
    """Of a conversion that was stopped the parts, cells and nonzeros on disk are printed."""
    output = tmp_path / "out.slaf"
    stop_after(20, source, output, chunk_size=10)
    printed = run("status", output).succeeded().out.splitlines()
    done = counts(60, 20)[:20].nnz
    for line in (
        "state     stopped",
        f"input     {source} (h5ad, X)",
        "parts     2 of 6",
        "cells     20 of 60",
        f"nonzeros  {done:,}",
    ):
        assert line in printed


@pytest.mark.parametrize(
    "options",
    [
        {"chunk_size": 10},
        {"chunk_size": 10, "matrix": "layer:halves", "compression": "small"},
        {"chunk_size": 15, "create_indices": True, "compression": "fast"},
        {"chunk_size": 10, "by_gene": True},
        {"chunk_size": 10, "string_ids": True, "plain_types": True},
    ],
    ids=str,
)
def test_what_it_says_resumes(options: dict[str, Any], source: Path, tmp_path: Path) -> None:
    """The command that it prints is the one that finishes the conversion."""
    output = tmp_path / "with a space.slaf"
    stop_after(20, source, output, **options)
    command = run("status", output, "--json").succeeded().json["resume"]
    assert f"resume    {command}" in run("status", output).succeeded().out
    name, *words = shlex.split(command)
    assert name == "slaf"
    assert "resuming: " in run(*words).succeeded().err
    assert run("status", output, "--json").succeeded().json["state"] == "finished"


def test_an_append_that_leaves_out_the_order_of_genes(source: Path, tmp_path: Path) -> None:
    """Status prints genes that are done, if they are to be ordered."""
    output = tmp_path / "out.slaf"
    slaf.convert(source, output, by_gene=True)
    more = write_h5ad(tmp_path / "more.h5ad", counts(30, 20, seed=5))
    for by_gene, flag in ((False, "--no-by-gene"), (None, "--by-gene")):
        stop_after(10, more, output, chunk_size=5, by_gene=by_gene, appends=True)
        printed = run("status", output).succeeded().out
        assert ("genes     0 of 20 in their own order" in printed) == (by_gene is None)
        found = run("status", output, "--json").succeeded().json
        assert flag in found["resume"].split()
        if by_gene is None:
            run(*shlex.split(found["resume"])[1:]).succeeded()
        else:
            slaf.append(more, output, by_gene=by_gene, chunk_size=5)
            slaf.append(source, output, by_gene=True, allow_duplicate=True)
            more = write_h5ad(tmp_path / "last.h5ad", counts(30, 20, seed=6))


def test_what_only_python_has_is_resumed_there(source: Path, tmp_path: Path) -> None:
    """Where no command can name the input of the run, it says that Python does."""
    output = tmp_path / "out.slaf"
    stop_after(20, anndata.read_h5ad(source), output, chunk_size=10)
    assert "in Python" in run("status", output, "--json").succeeded().json["resume"]


def test_what_no_command_can_name_is_run_again(source: Path, tmp_path: Path) -> None:
    """Of a transform, a removal and an annotation status says to run the same one again."""
    output = tmp_path / "out.slaf"
    other = write_h5ad(tmp_path / "other.h5ad", counts(40, 20, seed=1))

    def check(
        verb: str, effect: str, call: Callable[..., Any], *inputs: Any, **options: Any
    ) -> None:
        with stopped():
            call(*inputs, **options, progress=StopsAfter(0))
        found = run("status", output, "--json").succeeded().json
        assert (found["operation"], found["state"]) == (verb, "stopped")
        again = f"run the same slaf {verb} again, with the same arguments"
        assert found["resume"] == again
        printed = run("status", output).succeeded().out
        assert f"resume    {again}" in printed
        assert effect in printed
        if not found["published"]:
            assert "`slaf status` prints the command" in run("verify", output).failed(3)
        call(*inputs, **options)
        assert run("status", output, "--json").succeeded().json["state"] == "finished"

    check("transform", "stopped\n", slaf.transform, [source, other], output, min_genes=1)
    removed = "stopped; the dataset that it removes cells from can be read meanwhile"
    check("remove", removed, slaf.remove, output, "in.h5ad")
    layers = {"same": slaf.open(output).X.to_memory()}
    annotated = "stopped; the dataset that it annotates can be read meanwhile"
    check("annotate", annotated, slaf.annotate, output, layers=layers)


def test_a_running_conversion_is_told_from_a_stopped_one(source: Path, tmp_path: Path) -> None:
    """While a process holds the output the state is running, from before the first part on."""
    output = tmp_path / "out.slaf"
    with Location(output).lock():
        assert run("status", output, "--json").succeeded().json["state"] == "running"
    stop_after(20, source, output, chunk_size=10)
    with Location(output).lock():
        found = run("status", output, "--json").succeeded().json
    assert found["state"] == "running"
    assert found["parts_done"] == 2
    assert run("status", output, "--json").succeeded().json["state"] == "stopped"


def test_looking_does_not_disturb(source: Path, tmp_path: Path) -> None:
    """A conversion can begin while its status is read again and again."""
    output = tmp_path / "out.slaf"
    stop_after(20, source, output, chunk_size=10)
    before = sorted(path.name for path in output.iterdir())
    run("status", output).succeeded()
    assert sorted(path.name for path in output.iterdir()) == before


def test_a_dataset_that_is_being_replaced(source: Path, tmp_path: Path) -> None:
    """Status says that a dataset that is being replaced can be read, and prints the progress."""
    output = tmp_path / "out.slaf"
    slaf.convert(source, output)
    stop_after(20, source, output, chunk_size=10, overwrite=True)
    found = run("status", output, "--json").succeeded().json
    assert (found["state"], found["published"]) == ("stopped", True)
    assert (found["parts_done"], found["parts"]) == (2, 6)
    assert "can be read meanwhile" in run("status", output).succeeded().out
    assert "--overwrite" not in found["resume"]
    run(*shlex.split(found["resume"])[1:]).succeeded()


def test_nothing_ends_with_3(tmp_path: Path) -> None:
    """Where nothing was begun there is no status."""
    for path in (tmp_path, tmp_path / "none"):
        paragraph = run("status", path).failed(ExitCode.BAD_INPUT)
        assert "neither a dataset nor an unfinished conversion" in paragraph


def test_a_damaged_checkpoint_ends_with_3(tmp_path: Path) -> None:
    """A checkpoint that is not what the program writes is named."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(30, 5))
    output = tmp_path / "out.slaf"
    stop_after(20, source, output, chunk_size=10)
    config = json.loads((output / "config.json").read_bytes())
    del config["checkpoint"]["plan"]["base"]
    (output / "config.json").write_bytes(with_checksum(config))
    assert "the unfinished run is" in run("status", output).failed(ExitCode.BAD_INPUT)
