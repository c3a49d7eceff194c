"""`slaf query`: SQL in, rows out, in six formats."""

from __future__ import annotations

import json
from io import BytesIO
from subprocess import run as run_process
from typing import TYPE_CHECKING

import polars as pl
import pytest

import slaf
from slaf_cli.report import ExitCode
from tests.cli.terminal import SLAF, at_terminal, run, stop_after

if TYPE_CHECKING:
    from pathlib import Path

TOP = (
    "SELECT gene_id, SUM(value) AS total FROM expression JOIN genes USING (gene_integer_id) "
    "GROUP BY gene_id ORDER BY total DESC, gene_id LIMIT 3"
)


def test_a_table_is_printed(dataset: Path) -> None:
    """By default the rows are a table for people, whole and without types."""
    expected = slaf.open(dataset).sql(TOP).rows()
    printed = run("query", dataset, TOP).succeeded().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed]
    assert cells[0] == ["gene_id", "total"]
    assert cells[2:] == [[name, str(total)] for name, total in expected]


def test_no_row_and_no_column_is_cut(dataset: Path) -> None:
    """However many rows there are, and however long they are, all is printed."""
    printed = run("query", dataset, "SELECT * FROM cells").succeeded().out
    assert len(printed.splitlines()) == 62
    assert "…" not in printed
    assert "cell-59" in printed


def test_csv(dataset: Path) -> None:
    """CSV has a line of names and a line a row."""
    expected = [f"{name},{total}" for name, total in slaf.open(dataset).sql(TOP).rows()]
    printed = run("query", dataset, TOP, "--format", "csv").succeeded().out
    assert printed.splitlines() == ["gene_id,total", *expected]


def test_csv_of_no_rows_has_its_names(dataset: Path) -> None:
    """A result without rows still has its columns."""
    sql = "SELECT cell_id FROM cells WHERE cell_id = 'none'"
    assert run("query", dataset, sql, "--format", "csv").succeeded().out == "cell_id\n"


def test_json(dataset: Path) -> None:
    """JSON is one list of objects."""
    expected = slaf.open(dataset).sql(TOP).to_dicts()
    assert run("query", dataset, TOP, "--format", "json").succeeded().json == expected


def test_parquet_to_a_pipe(dataset: Path) -> None:
    """Parquet goes to stdout where that is no terminal, with the types of the tables."""
    words = [SLAF, "query", str(dataset), TOP, "--format", "parquet"]
    written = run_process(words, capture_output=True, check=True).stdout
    assert pl.read_parquet(BytesIO(written)).equals(slaf.open(dataset).sql(TOP))


def test_parquet_to_a_terminal_is_a_usage_error(dataset: Path) -> None:
    """No terminal is filled with Parquet."""
    code, printed = at_terminal("query", dataset, TOP, "--format", "parquet")
    assert code == ExitCode.USAGE
    assert "--output" in printed


@pytest.mark.parametrize("format", ["table", "csv", "json", "parquet"])
def test_output_takes_the_result(format: str, dataset: Path, tmp_path: Path) -> None:
    """--output writes what stdout would have got, replacing the file, and prints nothing."""
    file = tmp_path / "result"
    file.write_text("older")
    ended = run("query", dataset, TOP, "--format", format, "--output", file).succeeded()
    assert ended.out == ""
    words = [SLAF, "query", str(dataset), TOP, "--format", format]
    assert file.read_bytes() == run_process(words, capture_output=True, check=True).stdout
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


@pytest.mark.parametrize("suffix", ["csv", "JSON", "parquet"])
def test_the_suffix_of_the_output_says_the_format(
    suffix: str, dataset: Path, tmp_path: Path
) -> None:
    """Without a format a file has the one that it is called by."""
    query = "SELECT cell_id FROM cells LIMIT 2"
    explicit, named = tmp_path / "explicit", tmp_path / f"named.{suffix}"
    run("query", dataset, query, "--format", suffix.lower(), "--output", explicit).succeeded()
    run("query", dataset, query, "--output", named).succeeded()
    assert named.read_bytes() == explicit.read_bytes()
    run("query", dataset, query, "--format", "table", "--output", named).succeeded()
    assert b"|" in named.read_bytes()


def test_a_failed_query_leaves_the_file(dataset: Path, tmp_path: Path) -> None:
    """A query that cannot be run, or written, leaves the file that was there."""
    file = tmp_path / "result.csv"
    file.write_text("older")
    for sql in ("SELECT nothing FROM cells", "SELECT ARRAY_AGG(value) AS v FROM expression"):
        words = ("query", dataset, sql, "--format", "csv", "--output", file)
        run(*words).failed(ExitCode.BAD_INPUT)
    assert file.read_text() == "older"
    assert [path.name for path in tmp_path.iterdir()] == ["result.csv"]


def test_a_wrong_query_ends_with_3(dataset: Path) -> None:
    """Invalid SQL and unknown tables are refused, with the nearest name."""
    for sql, message in (
        ("SELEC 1", "it is no SQL at 'SELEC'"),
        ("SELECT * FROM cell", "there is no table 'cell'; the nearest is 'cells'"),
        ("SELECT depht FROM obs", "there is no column 'depht'; the nearest is 'depth'"),
    ):
        assert message in run("query", dataset, sql).failed(ExitCode.BAD_INPUT)


def test_lines_of_json_and_tabs(dataset: Path) -> None:
    """NDJSON has an object a line, TSV tabs."""
    expected = slaf.open(dataset).sql(TOP).to_dicts()
    lines = run("query", dataset, TOP, "--format", "ndjson").succeeded().out.splitlines()
    assert list(map(json.loads, lines)) == expected
    first, *lines = run("query", dataset, TOP, "--format", "tsv").succeeded().out.splitlines()
    assert first == "gene_id\ttotal"
    assert [line.split("\t")[0] for line in lines] == [row["gene_id"] for row in expected]


def test_sql_of_a_file_and_of_stdin(dataset: Path, tmp_path: Path) -> None:
    """SQL may be in a file or come from stdin; one of these has to be."""
    (tmp_path / "top.sql").write_text(f"-- the top\n{TOP};\n")
    expected = slaf.open(dataset).sql(TOP).to_dicts()
    query = ("query", dataset, "--format", "json")
    assert run(*query, "--file", tmp_path / "top.sql").succeeded().json == expected
    for words in (["-"], ["--file", "-"]):
        ran = run_process(
            [SLAF, *map(str, query), *words], input=TOP, check=True, capture_output=True, text=True
        )
        assert json.loads(ran.stdout) == expected
    for both in ((), (TOP, "--file", tmp_path / "top.sql")):
        ended = run(*query, *both)
        assert ended.code == ExitCode.USAGE
        assert "give the SQL, or a file of it with --file" in ended.err


def test_lists_are_for_json(dataset: Path) -> None:
    """What CSV cannot hold it refuses, and JSON holds."""
    sql = "SELECT ARRAY_AGG(value) AS v FROM expression"
    refused = run("query", dataset, sql, "--format", "csv").failed(ExitCode.BAD_INPUT)
    assert "--format json" in refused
    found = json.loads(run("query", dataset, sql, "--format", "json").succeeded().out)
    assert len(found[0]["v"]) == slaf.open(dataset).nnz


def test_what_is_no_dataset_ends_with_3(source: Path, tmp_path: Path) -> None:
    """An input, nothing, and an unfinished conversion have no tables to query."""
    output = tmp_path / "out.slaf"
    stop_after(20, source, output, chunk_size=10)
    for path in (source, tmp_path / "none", output):
        run("query", path, "SELECT 1").failed(ExitCode.BAD_INPUT)


def test_a_file_that_cannot_be_written_ends_with_6(dataset: Path, tmp_path: Path) -> None:
    """Where the file cannot be made, it is the disk that refused."""
    run("query", dataset, TOP, "--output", tmp_path / "no" / "where").failed(ExitCode.STORAGE)
