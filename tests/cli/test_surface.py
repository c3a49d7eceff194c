"""Log lines and files, help, completion, head, schema, and tables that fit the terminal."""

from __future__ import annotations

import gzip
import inspect
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import anndata
import pandas as pd
import pytest
import typer

import slaf
from slaf.options import AppendOptions, ConvertOptions, PlanOptions, options_of
from slaf_cli import options, progress
from slaf_cli.app import make_app
from slaf_cli.progress import Bar
from slaf_cli.report import ExitCode, edge
from tests.builders import counts, write_h5ad
from tests.cli.terminal import SLAF, TIME, at_terminal, in_shell, run

HALVES = ("--matrix", "layer:halves")


def test_lines_have_times_off_a_terminal(source: Path, tmp_path: Path) -> None:
    """Off a terminal a log line begins with its time, on a terminal it does not."""
    ended = run("convert", source, tmp_path / "out.slaf", *HALVES).succeeded()
    assert re.fullmatch(rf"{TIME} layer:halves holds fractions.*\n", ended.err)
    code, printed = at_terminal("convert", source, tmp_path / "seen.slaf", *HALVES)
    assert code == 0
    assert "\nlayer:halves holds fractions" in f"\n{printed}"


def test_a_log_file(source: Path, tmp_path: Path) -> None:
    """A log file gets each line with its time, the result or the error, and the exit code."""
    log, output = tmp_path / "slaf.log", tmp_path / "out.slaf"
    words = ("--log-file", log, "--quiet", "--json")
    assert run("convert", source, output, *HALVES, *words).succeeded().err.count("\n") == 1
    run("convert", source, output, *HALVES, *words).failed(4)
    lines = log.read_text().splitlines()
    assert all(re.match(TIME, line) for line in lines)
    expected = ("begin: in ", "layer:halves holds", "...: 60 cells", "end: exit code 0", "begin: ")
    for line, start in zip(lines, expected, strict=False):
        assert start.removeprefix("...") in line
    assert f"slaf: {output}: a finished dataset is there" in lines[-2]
    assert lines[-1].endswith("end: exit code 4")


def test_the_end_in_a_log_file(dataset: Path, source: Path, tmp_path: Path) -> None:
    """A log file ends with the exit code of the command, and only a bug is called one."""
    other = write_h5ad(tmp_path / "other.h5ad", counts(60, 20, seed=1))
    for words, code, text in (
        (("diff", dataset, other), 5, "begin: in "),
        (("query", dataset), 2, "slaf: Invalid value for SQL: give the SQL"),
        (("verify", dataset, "--sample", "1", "--quick"), 2, "leave out --quick"),
        (("annotate", dataset), 2, "nothing to do"),
        (("transform", source, tmp_path / "out", "--as-layer", "x"), 2, "as_layer"),
        (("info", tmp_path / "none.h5ad"), 3, "none.h5ad"),
    ):
        log = tmp_path / f"{words[0]}.log"
        assert run(*words, "--log-file", log).code == code
        *_, last, end = log.read_text().splitlines()
        assert text in last
        assert "bug" not in last
        assert end.endswith(f"end: exit code {code}")


def test_a_reader_that_leaves_in_a_log_file(tmp_path: Path) -> None:
    """A log file has the exit code of a command whose reader has gone."""
    log = tmp_path / "slaf.log"
    with pytest.raises(typer.Exit) as ended, edge(quiet=False, verbose=False, log_file=log):
        raise BrokenPipeError
    assert ended.value.exit_code == ExitCode.UNREAD
    assert log.read_text().endswith(f"end: exit code {ExitCode.UNREAD}\n")


def test_each_command_has_the_options_of_the_log() -> None:
    """Each command has --json, --verbose and --log-file."""
    for command in make_app().registered_commands:
        assert command.callback is not None
        names = inspect.signature(command.callback).parameters
        assert {"json", "verbose", "log_file"} <= names.keys(), command.callback.__name__


def test_a_log_file_that_cannot_be_written(source: Path, tmp_path: Path) -> None:
    """A log file that cannot be opened ends the command before it does anything."""
    run("convert", source, tmp_path / "out", "--log-file", tmp_path / "no" / "log").failed(6)
    assert not (tmp_path / "out").exists()


def test_progress_as_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off a terminal progress is a line now and then, also while nothing advances."""
    monkeypatch.setattr(progress, "_SECONDS", 0.01)
    with edge(quiet=False, verbose=False), Bar(shown=True) as bar:
        bar.begin(10, 100, 40)
        bar.advance(10, 50)
        time.sleep(0.2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 1
    assert re.fullmatch(
        rf"{TIME} progress: 20 of 40 cells \(50%\), 150 nonzeros, .* M/s, .*B", lines[-1]
    )


def test_quiet_has_no_progress(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--quiet leaves lines of progress out."""
    monkeypatch.setattr(progress, "_SECONDS", 0.01)
    with edge(quiet=True, verbose=False), Bar(shown=False) as bar:
        bar.begin(0, 0, 40)
        time.sleep(0.05)
    assert capsys.readouterr().err == ""


def test_every_option_has_a_purpose() -> None:
    """Each option of a conversion and an append is listed in the help by its purpose."""
    names = {*options_of(ConvertOptions), *options_of(AppendOptions), *options_of(PlanOptions)}
    assert set(options._PURPOSE_OF) == names - {"progress"}  # noqa: SLF001 - the table itself
    printed = run("convert", "--help").succeeded().out
    places = [printed.index(f"\n{title}:") for title in ("Arguments", "Input", "Run", "Output")]
    assert places == sorted(places)


def test_commands_by_purpose() -> None:
    """The help lists every command once, by purpose."""
    printed = run("--help").succeeded().out
    commands = [
        info.name or getattr(info.callback, "__name__", "")
        for info in make_app().registered_commands
    ]
    for command in commands:
        assert len(re.findall(rf"^  {command} ", printed, re.MULTILINE)) == 1
    assert "\nTrust it:\n" in printed


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (["convert"], "INPUT..."),
        (["convert", "in.h5ad"], "OUTPUT"),
        (["append", "in.h5ad"], "DATASET"),
        (["export", "a.slaf"], "OUTPUT"),
        (["query"], "DATASET"),
    ],
)
def test_the_missing_argument(words: list[str], missing: str) -> None:
    """The argument that is missing is named."""
    ended = run(*words)
    assert (ended.code, f"Missing argument '{missing}'" in ended.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["convert", "a", "b", "--workers", "x"], "'--workers': it is no whole number"),
        (["convert", "a", "b", "--chunk-size", "0"], "'--chunk-size': it is 1 or more"),
        (["convert", "a", "b", "--compression", "x"], "'--compression': 'x' is not one of 'fast'"),
        (["open", "a"], "No such command 'open'. `slaf info` and `slaf head` show"),
        (["apend", "a"], "Did you mean 'append'"),
    ],
)
def test_a_wrong_call_in_plain_words(words: list[str], message: str) -> None:
    """A wrong call is told in words of this program, and not of the libraries below it."""
    ended = run(*words)
    assert ended.code == 2
    assert message in ended.err


def test_a_packed_file_says_how_to_unpack_it(tmp_path: Path) -> None:
    """A file of gzip that is no input is refused with the line that unpacks it."""
    path = tmp_path / "counts.gz"
    path.write_bytes(gzip.compress(b"anything"))
    told = run("convert", path, tmp_path / "out.slaf").failed(3)
    assert "a file packed by gzip: unpack it with `gunzip -k" in told


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    """Each shell gets the commands that begin with what was typed."""
    words = {"COMP_WORDS": "slaf sch", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "slaf sch"}
    ask = os.environ | words | {"_SLAF_COMPLETE": f"complete_{shell}"}
    if shell == "fish":
        ask["_TYPER_COMPLETE_FISH_ACTION"] = "get-args"
    ended = subprocess.run([SLAF], env=ask, capture_output=True, text=True, check=True)
    assert "schema" in ended.stdout
    assert "convert" not in ended.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_in_a_shell(shell: str, tmp_path: Path) -> None:
    """Once installed, the first Tab in a real shell writes the command out."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    path = f"{Path(SLAF).parent}:{os.environ['PATH']}"
    env = {"HOME": str(tmp_path), "PATH": path, "TERM": "xterm", "LANG": "C.UTF-8"}
    install = [SLAF, "--install-completion", shell]
    ended = subprocess.run(install, env=env, capture_output=True, text=True, check=True)
    assert f"{shell} completion installed" in ended.stdout
    assert "schema" in in_shell(shell, env, "slaf sch\t", "schema")


def test_the_script_of_a_named_shell() -> None:
    """The script is that of the shell which is named; a shell that is none is refused."""
    for code, words, text in (
        (0, ("--show-completion", "zsh"), "#compdef slaf"),
        (0, ("--show-completion=fish",), "complete --command slaf"),
        (2, ("--show-completion", "sh"), "'sh' is not one of 'bash', 'zsh', 'fish'"),
    ):
        ended = subprocess.run([SLAF, *words], check=False, capture_output=True, text=True)
        assert (ended.returncode, text in ended.stdout + ended.stderr) == (code, True)
        assert "Value error" not in ended.stderr


def test_head(source: Path, dataset: Path) -> None:
    """The first rows of a dataset are those of its input, in each table."""
    for table in ("obs", "var", "expression"):
        words = ("-n", "3", "--table", table, "--json")
        found = run("head", dataset, *words).succeeded().json
        of_input = run("head", source, *words).succeeded().json
        assert len(found) == 3
        # A dataset has further columns, such as the name of the input.
        assert [{key: row[key] for key in of_input[0]} for row in found] == of_input
    assert found[0]["value"] == slaf.open(dataset).value(
        found[0]["cell_integer_id"], found[0]["gene_integer_id"]
    )
    assert run("head", dataset, "--table", "uns").code == 2
    assert run("head", dataset, "-n", "-1").code == 2


def test_schema(source: Path, dataset: Path) -> None:
    """The schema lists each column that SQL reads, with its type."""
    found = run("schema", dataset, "--json").succeeded().json
    listed = {(row["table"], row["column"]): row["type"] for row in found}
    assert listed["expression", "value"] == "BIGINT"
    assert listed["cells", "depth"] == "DOUBLE"
    assert "| cells " in run("schema", source).succeeded().out


def test_a_table_fits_the_terminal(tmp_path: Path) -> None:
    """On a terminal long texts are cut and columns left out, which are named; not in a pipe."""
    columns = {f"column-{number:02d}": "x" * 90 for number in range(12)}
    obs = pd.DataFrame(columns, index=[f"cell-{cell}" for cell in range(3)])
    path = write_h5ad(tmp_path / "in.h5ad", counts(3, 4))
    adata = anndata.read_h5ad(path)
    adata.obs = obs
    adata.write_h5ad(path)
    code, printed = at_terminal("head", path, "-n", "1")
    lines = printed.splitlines()
    assert code == 0
    assert all(len(line) <= 120 for line in lines)
    assert "xxx…" in printed
    assert re.search(r"\d of 14 columns; not shown: .*column-11", " ".join(lines))
    assert "x" * 90 in run("head", path, "-n", "1").out


def test_query_in_json(dataset: Path) -> None:
    """--json of a query prints rows, or the error."""
    found = run("query", dataset, "SELECT COUNT(*) AS n FROM obs", "--json").succeeded().json
    assert found == [{"n": 60}]
    ended = run("query", dataset, "SELECT nothing FROM obs", "--json")
    assert json.loads(ended.out)["error"]["what"] == "QueryError"
    assert run("query", dataset, "SELECT 1", "--json", "--format", "csv").code == 2
