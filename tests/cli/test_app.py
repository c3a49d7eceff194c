"""The command line as a whole: what it imports, how it ends, what goes where."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
import pytest
import typer
from typer.main import get_command

import slaf
from slaf.annotations.equality import equal_elements
from slaf.errors import (
    AlreadyInDataset,
    ConversionInProgress,
    DamagedInput,
    DuplicateInput,
    Locked,
    NoSuchInput,
    NotADataset,
    OutputExists,
    QueryError,
    SelectionError,
    StorageError,
    VerificationFailed,
)
from slaf.kernels import are_compiled
from slaf.runtime.resources import cpu_count
from slaf.testing.strategies import Stored
from slaf.verification.report import Report
from slaf_cli.app import make_app
from slaf_cli.export import note_about_output
from slaf_cli.options import parse_bytes
from slaf_cli.report import ExitCode, edge, in_bytes, lines
from slaf_cli.running import watched
from tests.builders import counts, names, write_h5ad
from tests.cli.terminal import SLAF, run, start
from tests.formats.store_builders import write_loom

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

COMMANDS = ("convert", "info", "status", "verify", "query")
HEAVY = {"anndata", "h5py", "lance", "numpy", "pandas", "polars", "pyarrow", "scanpy", "scipy"}
HEAVY |= {"obstore", "pydantic", "tiledbsoma", "tqdm"}


# What starts within 0.3 and 0.5 seconds, of modules, with room for what other releases import.
MOST_FOR_HELP, MOST_FOR_INFO = 300, 550


def all_modules_of(*words: str | Path, ends: int = ExitCode.DONE) -> list[str]:
    """The modules that are there when a command has ended, with this exit code."""
    code = (
        "import sys\n"
        "from slaf_cli.app import main\n"
        f"sys.argv = {['slaf', *map(str, words)]!r}\n"
        "try:\n    main()\nexcept SystemExit as end:\n"
        f"    assert (end.code or 0) == {int(ends)}\n"
        "print(*sys.modules, file=sys.stderr)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ended.stderr.split()


def modules_of(*words: str | Path, ends: int = ExitCode.DONE) -> set[str]:
    """The top-level packages that a command imports."""
    return {name.partition(".")[0] for name in all_modules_of(*words, ends=ends)}


@pytest.mark.parametrize("words", [["--help"], ["--version"], *([c, "--help"] for c in COMMANDS)])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    """Asking for help or the version imports no library of arrays, tables or formats."""
    assert not modules_of(*words) & HEAVY


def test_a_call_imports_its_own_command_alone() -> None:
    """A call that names a command imports the modules of no other; help imports all."""
    commands = {"slaf_cli.part", "slaf_cli.convert", "slaf_cli.dataset_report"}
    for word, module in (("part", "slaf_cli.part"), ("report", "slaf_cli.dataset_report")):
        assert commands.intersection(all_modules_of(word, "--help")) == {module}
    assert commands <= set(all_modules_of("--help"))


def test_info_and_status_of_a_dataset_open_no_table(dataset: Path) -> None:
    """Info and status import no library of tables: config.json suffices."""
    for command in ("info", "status"):
        imported = modules_of(command, dataset)
        heavy = {"anndata", "h5py", "lance", "obstore", "pandas", "polars", "scipy"}
        assert not imported & heavy


@pytest.mark.parametrize(
    "words",
    [
        *(["convert", "none.h5ad", "out.slaf"], ["append", "none.h5ad", "none.slaf"]),
        *(["info", "none.h5ad"], ["query", "none.h5ad", "SELECT 1"], ["verify", "none.h5ad"]),
        *(["export", "none.h5ad", "out.h5ad"], ["diff", "none.h5ad", "none.slaf"]),
    ],
    ids=lambda words: words[0],
)
def test_a_wrong_path_is_told_before_anything_heavy_is_imported(
    words: list[str], tmp_path: Path
) -> None:
    """A path where nothing is costs no library of arrays, tables or formats."""
    command, *rest = words
    paths = [each if " " in each else tmp_path / each for each in rest]
    printed = all_modules_of(command, *paths, ends=ExitCode.BAD_INPUT)
    assert "none.h5ad:" in " ".join(printed)
    assert not {name.partition(".")[0] for name in printed} & HEAVY


def test_verify_imports_no_format(dataset: Path) -> None:
    """A dataset is verified against its own digests without the libraries of inputs."""
    assert not modules_of("verify", dataset) & {"anndata", "h5py", "polars", "scipy", "zarr"}


@pytest.mark.parametrize("words", [["--help"], ["info"], ["query", "SELECT 1 AS one"]])
def test_what_cannot_be_printed_is_no_success(words: list[str], dataset: Path) -> None:
    """The program ends at once, but not before all that it printed is where it belongs."""
    command, *rest = words
    path = [] if command == "--help" else [str(dataset)]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [SLAF, command, *path, *rest], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert ended.returncode
    assert ended.stderr
    whole = subprocess.run([SLAF, command, *path, *rest], capture_output=True, check=True)
    assert whole.stdout.endswith(b"\n")


def test_what_is_still_to_be_printed_at_the_end() -> None:
    """Text that waits for the end, and cannot be written then, makes it a failure of storage."""
    code = "import sys; from slaf_cli.process import end; sys.stdout.write('x'); end(0)"
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-c", code],
            stdout=full,
            stderr=subprocess.PIPE,
            env=buffered,
            check=False,
        )
    assert ended.returncode == ExitCode.STORAGE
    assert b"No space left" in ended.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed(closed: str, source: Path, tmp_path: Path) -> None:
    """What would be printed there goes nowhere, and what is to be done is done."""
    command = f"{SLAF} convert {source} {tmp_path}/out.slaf {closed}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert (ended.returncode, b"Traceback" in ended.stderr) == (0, False)
    assert slaf.verify(tmp_path / "out.slaf", against=source).ok
    again = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert again.returncode == ExitCode.CONFLICT


def test_an_error_that_cannot_be_printed(dataset: Path) -> None:
    """The exit code tells it all the same."""
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run([SLAF, "convert", dataset, dataset], stderr=full, check=False)
    assert ended.returncode == ExitCode.CONFLICT


def test_starting_takes_few_modules(dataset: Path) -> None:
    """`slaf --help` and `slaf info DATASET` import no more than starts at once."""
    assert len(all_modules_of("--help")) < MOST_FOR_HELP
    assert len(all_modules_of("info", dataset)) < MOST_FOR_INFO


# Libraries that take a tenth of a second and more to import.
SLOW_TO_IMPORT = {"anndata", "pandas", "scipy", "zarr", "polars", "duckdb", "tiledbsoma"}
SLOW_TO_IMPORT |= {"hdf5plugin"}


def test_a_plain_conversion_imports_no_library_of_other_formats(tmp_path: Path) -> None:
    """What is done with a plain h5ad, and the conversion of a loom, need none of the slow ones."""
    path = write_h5ad(tmp_path / "in.h5ad", counts(30, 20))
    output, planned = tmp_path / "out.slaf", tmp_path / "planned.slaf"
    assert not SLOW_TO_IMPORT.intersection(all_modules_of("plan", path, planned))
    assert not SLOW_TO_IMPORT.intersection(all_modules_of("part", planned))
    # Arrow asks for pandas where it makes an array of Python's values.
    assert SLOW_TO_IMPORT.intersection(all_modules_of("info", path)) <= {"pandas"}
    assert not SLOW_TO_IMPORT.intersection(all_modules_of("convert", path, output))
    assert not SLOW_TO_IMPORT.intersection(all_modules_of("status", output))
    assert not SLOW_TO_IMPORT.intersection(all_modules_of("verify", output, "--against", path))
    one = Stored((1, 1), np.array([0]), np.array([0]), np.array([3], np.float32))
    loom = write_loom(tmp_path / "in.loom", one)
    assert not SLOW_TO_IMPORT.intersection(all_modules_of("convert", loom, tmp_path / "loom.slaf"))


@pytest.mark.parametrize("command", ["part", "convert"])
@pytest.mark.parametrize("own", [None, "3"])
def test_threads_of_lance(command: str, own: str | None) -> None:
    """Processes at one plan share the cores: one thread each; a value from outside stays."""
    code = (
        "import os, sys\n"
        "from slaf_cli.app import main\n"
        f"sys.argv = ['slaf', {command!r}, '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n"
        "    print(os.environ['LANCE_CPU_THREADS'], file=sys.stderr)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "LANCE_CPU_THREADS"}
    environment |= {"LANCE_CPU_THREADS": own} if own else {}
    called = [sys.executable, "-c", code]
    ended = subprocess.run(called, env=environment, capture_output=True, text=True, check=True)
    expected = own or ("1" if command == "part" else str(cpu_count()))
    assert ended.stderr.split() == [expected]


@pytest.mark.parametrize("first", ["lance", "pandas"])
def test_pyarrow_knows_pandas_once_it_is_there(first: str) -> None:
    """Values of pandas are what they are to pyarrow, whichever of the two is imported first."""
    code = (
        f"import sys\nimport slaf.tables, {first}\n"
        "print('pandas' in sys.modules)\n"
        "import lance, pandas, pyarrow\n"
        "column = pandas.Series([1.5, None, 2.5])\n"
        "table = pyarrow.table({'a': column})\n"
        "print(table['a'].null_count, table.to_pandas().equals(column.to_frame('a')))\n"
        "table = pyarrow.table({'a': [1.5, None]}).to_pandas()\n"
        "print(type(table).__name__, pyarrow.lib._pandas_api.have_pandas)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == [str(first == "pandas"), "1", "True", "DataFrame", "True"]


def test_plain_slots_need_no_anndata(tmp_path: Path) -> None:
    """Arrays, text and numbers in obsm and uns are converted, transformed and exported alone."""
    uns = {"title": "tiny", "pca": {"variance": np.ones(2), "k": 2, "solver": None}}
    obs = names("cell", 30).assign(kind=pd.Categorical(["a", "b"] * 15), n=1.5)
    adata = anndata.AnnData(counts(30, 20), obs=obs, obsm={"X_pca": np.ones((30, 2))}, uns=uns)
    adata.write_h5ad(tmp_path / "in.h5ad")
    source, dataset = tmp_path / "in.h5ad", tmp_path / "out.slaf"
    steps = ("--normalize-total", "1e4", "--log1p")
    for words in (
        ("convert", source, dataset),
        ("transform", dataset, tmp_path / "log.slaf", *steps),
    ):
        assert not SLOW_TO_IMPORT.intersection(all_modules_of(*words))
    exported = all_modules_of("transform", dataset, tmp_path / "log.h5ad", *steps)
    assert not SLOW_TO_IMPORT.intersection(exported)
    exported = all_modules_of("export", dataset, tmp_path / "again.h5ad")
    assert not SLOW_TO_IMPORT.intersection(exported)
    again = anndata.read_h5ad(tmp_path / "log.h5ad")
    assert equal_elements(dict(again.uns), {**uns, "log1p": {"base": None}})
    pd.testing.assert_frame_equal(again.obs, obs)


def test_no_command_is_a_usage_error() -> None:
    """`slaf` alone shows its help and ends with 2."""
    ended = run()
    assert ended.code == ExitCode.USAGE
    assert "Write a dataset:" in ended.out + ended.err


def test_version_is_printed() -> None:
    """`slaf --version` prints the version of the package."""
    kernels = "with" if are_compiled() else "without"
    described = f"slaf {version('slaf')}, {kernels} compiled kernels\n"
    assert run("--version").succeeded().out == described


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_a_command_does(command: str) -> None:
    """Every command, and every option of it, has a help text."""
    printed = run(command, "--help").succeeded().out
    assert f"Usage: slaf {command}" in printed
    group = typer.main.get_command(make_app())
    for parameter in group.commands[command].params:  # type: ignore[attr-defined]
        assert parameter.help, parameter.name


@pytest.mark.parametrize(
    "words",
    [
        ["convert", "in.h5ad"],
        ["convert", "in.h5ad", "out.slaf", "--compresion", "fast"],
        ["convert", "in.h5ad", "out.slaf", "--compression", "most"],
        ["convert", "in.h5ad", "out.slaf", "--chunk-size", "0"],
        ["convert", "in.h5ad", "out.slaf", "--workers", "-1"],
        ["convert", "in.h5ad", "out.slaf", "--without", "nope"],
        ["append", "in.h5ad", "out.slaf", "--without", "nope:x"],
        ["convert", "in.h5ad", "out.slaf", "--memory", "lots"],
        ["info", "--quiet", "in.h5ad"],
        ["query", "made.slaf", "SELECT 1", "--format", "xlsx"],
        ["transmogrify"],
    ],
)
def test_usage_errors_end_with_2(words: list[str]) -> None:
    """What the command line cannot mean is refused with 2, on stderr."""
    ended = run(*words)
    assert ended.code == ExitCode.USAGE
    assert ended.out == ""
    assert "Error: " in ended.err


class Panic(BaseException):
    """An error of a library in Rust, which is no Exception."""


def export_of() -> AbstractContextManager[object]:
    """A block that writes an export."""
    return note_about_output("none.h5ad")


def conversion_of() -> AbstractContextManager[object]:
    """A block that writes a dataset."""
    return watched("none.slaf", {}, quiet=True, json=False)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DamagedInput("x"), ExitCode.BAD_INPUT),
        (NotADataset("x"), ExitCode.BAD_INPUT),
        (ConversionInProgress("x"), ExitCode.BAD_INPUT),
        (SelectionError("x"), ExitCode.BAD_INPUT),
        (QueryError("x"), ExitCode.BAD_INPUT),
        (OutputExists("x"), ExitCode.CONFLICT),
        (Locked("x"), ExitCode.CONFLICT),
        (DuplicateInput("x"), ExitCode.CONFLICT),
        (AlreadyInDataset("x"), ExitCode.ALREADY_IN_DATASET),
        (VerificationFailed("x", Report("x", ())), ExitCode.VERIFICATION_FAILED),
        (StorageError(28, "x"), ExitCode.STORAGE),
        (PermissionError(13, "x"), ExitCode.STORAGE),
        (MemoryError(), ExitCode.STORAGE),
        (RuntimeError("can't start new thread"), ExitCode.STORAGE),
        (ImportError("x.so: failed to map segment from shared object"), ExitCode.STORAGE),
        (ZeroDivisionError("x"), ExitCode.BUG),
        (Panic("x"), ExitCode.BUG),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("around", [nullcontext, export_of, conversion_of])
def test_each_error_has_its_exit_code(
    error: BaseException,
    code: ExitCode,
    around: Callable[[], AbstractContextManager[object]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever a command raises becomes one line on stderr and the exit code of its kind."""
    with pytest.raises(typer.Exit) as ended, edge(quiet=False, verbose=False), around():
        raise error
    assert ended.value.exit_code == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "StopIteration" not in printed.err
    assert printed.err.startswith("slaf: ")
    assert printed.err.count("\n") == 1
    assert "Errno" not in printed.err or not isinstance(error, StorageError)


@pytest.mark.parametrize("error", [NoSuchInput("a: no\nfile"), QueryError("x"), OSError(5, "x")])
def test_an_error_is_printed_in_json(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    """With JSON, stdout has the error with the exit code, its name, one line, and the remedy."""
    error.add_note("4 parts are done")
    with pytest.raises(typer.Exit) as ended, edge(quiet=True, verbose=False, json=True):
        raise error
    printed = capsys.readouterr()
    (told,) = json.loads(printed.out).values()
    assert set(told) == {"code", "message", "what", "remedy"}
    assert told["code"] == ended.value.exit_code
    assert told["what"] == type(error).__name__
    assert told["remedy"] == ("check the path" if isinstance(error, NoSuchInput) else None)
    assert "; ".join(filter(None, [told["message"], told["remedy"]])) in printed.err
    assert told["message"].endswith("4 parts are done")


@pytest.mark.parametrize(
    "words", [["info"], ["convert", "a", "b", "--wokers", "2"], ["verify", "x", "--sample", "0"]]
)
def test_a_wrong_call_is_told_in_json(words: list[str]) -> None:
    """With `--json` a missing argument, an unknown option or a bad value is told in JSON too."""
    ended = run(*words, "--json")
    assert ended.code == ExitCode.USAGE
    assert ended.json["error"]["what"] == "UsageError"
    assert ended.json["error"]["code"] == ExitCode.USAGE
    assert ended.json["error"]["message"] in " ".join(ended.err.split())
    assert run(*words).out == ""


def test_an_error_of_many_lines_becomes_one_paragraph(capsys: pytest.CaptureFixture[str]) -> None:
    """Messages of other libraries with several lines are printed on one."""
    with pytest.raises(typer.Exit), edge(quiet=False, verbose=False):
        raise QueryError("no such\n\n  column")
    assert capsys.readouterr().err == "slaf: no such column\n"


def test_an_unexpected_error_is_called_a_bug(capsys: pytest.CaptureFixture[str]) -> None:
    """An error that nobody foresaw says so, with its type, and asks to be reported."""
    with pytest.raises(typer.Exit), edge(quiet=False, verbose=False):
        raise ZeroDivisionError("by zero")
    assert "this is a bug in slaf (ZeroDivisionError: by zero)" in capsys.readouterr().err


def test_verbose_shows_the_traceback(tmp_path: Path) -> None:
    """With --verbose the traceback comes before the paragraph."""
    ended = run("info", tmp_path / "nowhere", "--verbose")
    assert ended.code == ExitCode.BAD_INPUT
    assert ended.err.startswith("Traceback")
    assert ended.err.splitlines()[-1].startswith("slaf: ")


def test_a_reader_that_goes_away_is_no_error(dataset: Path) -> None:
    """`slaf query | head` ends quietly, whatever of the result was not read."""
    wide = "SELECT a.*, b.* FROM expression a CROSS JOIN cells b"
    for _ in range(3):
        with start("query", dataset, wide, "--format", "csv") as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.read(10) == "cell_integ"
            process.stdout.close()
            assert process.stderr.read() == ""
        assert process.returncode == ExitCode.UNREAD


def test_the_console_script_is_installed() -> None:
    """`slaf` is installed next to the interpreter and runs."""
    ended = subprocess.run([SLAF, "--version"], capture_output=True, text=True, check=True)
    assert ended.stdout.startswith(f"slaf {version('slaf')}, ")


@pytest.mark.parametrize("verb", ["convert", "append", "compact", "repair", "report"])
def test_what_the_library_can_do_the_command_can_reach(verb: str) -> None:
    """Every argument of the function, but for the progress it tells, is one of the command."""
    command = get_command(make_app()).commands[verb]  # type: ignore[attr-defined]
    options = {parameter.name for parameter in command.params}
    keywords = inspect.signature(getattr(slaf, verb)).parameters.keys() - {"progress"}
    assert keywords <= options


def test_what_commands_do_is_said_whole() -> None:
    """The list of commands cuts no sentence."""
    printed = run("--help").succeeded().out.partition("Write a dataset:")[2].splitlines()
    listed = [line for line in printed if line.startswith("  ")]
    assert len(listed) == len(make_app().registered_commands)
    assert all(line.endswith(".") and "..." not in line for line in listed)


@pytest.mark.parametrize("option", ["--storage-option", "--input-storage-option"])
def test_an_option_that_is_no_pair_is_named(option: str) -> None:
    """What is not KEY=VALUE is refused by the name of the option it was given to."""
    ended = run("convert", "in.h5ad", "out.slaf", option, "secret")
    assert ended.code == ExitCode.USAGE
    assert f"for {option}: " in ended.err
    assert "secret" not in ended.err


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1), ("512M", 512 << 20), ("2G", 2 << 30), ("1.5k", 1536), ("3 GiB", 3 << 30)],
)
def test_sizes_are_read(text: str, number: int) -> None:
    """Sizes are numbers with a unit, which counts in powers of 1024."""
    assert parse_bytes(text) == number


@pytest.mark.parametrize("text", ["", "0", "-1", "2X", "G", "1e9", "1,5G"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """What is not a positive size is a usage error."""
    with pytest.raises(typer.BadParameter):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1500, "1.50 kB"),
        (999_400, "999 kB"),
        (999_999, "1.00 MB"),
        (45_678_901, "45.7 MB"),
        (2_345_678, "2.35 MB"),
        (3.2e9, "3.20 GB"),
        (7e15, "7,000 TB"),
    ],
)
def test_bytes_are_told_in_three_digits(number: float, text: str) -> None:
    """Bytes are printed in the unit with few digits."""
    assert in_bytes(number) == text


def test_lines_are_aligned() -> None:
    """Values stand below each other, further lines of one value too."""
    assert lines([("a", 1), ("long", "x\ny"), ("none", "")]) == "a     1\nlong  x\n      y\nnone"
