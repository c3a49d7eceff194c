"""Fixtures of all tests: the corpus of real files, and servers of object storage, each once."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

import slaf
from slaf.errors import InputError
from tests.cloud.servers import Cloud, azurite, fake_gcs, moto

if TYPE_CHECKING:
    from collections.abc import Iterator

# The checks that several files of tests share say what they compared, as tests do.
pytest.register_assert_rewrite("tests.conversion.outputs", "tests.conversion.stopped")

pytest.register_assert_rewrite("slaf.testing.laws")

# The same examples on every run; `HYPOTHESIS_PROFILE=search` looks for new ones, and longer.
_SHARED: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("same", derandomize=True, max_examples=40, **_SHARED)
settings.register_profile("search", max_examples=1000, **_SHARED)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# What is compiled is kept, whatever the environment says of it: otherwise each process that tests
# start compiles all of slaf again, and each that runs tests all of them.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Where the tests run in the background of a shell, Ctrl-C is ignored from the beginning, by them
# and by all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What tests make with tiledbsoma itself would otherwise give Ctrl-C to TileDB for the rest of the
# process: after one it cancels whatever it is asked next.
os.environ.setdefault("TILEDB_SM_ENABLE_SIGNAL_HANDLERS", "false")

# Files of tests lie in memory, where the system has a folder for such files with room: on a disk
# each conversion waits dozens of times until its bytes have arrived. TMPDIR names another place.
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - with the room for it
_ROOM = 4 << 30
if (
    "TMPDIR" not in os.environ
    and os.access(_IN_MEMORY, os.W_OK)
    and not os.statvfs(_IN_MEMORY).f_flag & os.ST_NOEXEC  # a test loads what it has compiled
    and shutil.disk_usage(_IN_MEMORY).free > _ROOM
):
    os.environ["TMPDIR"] = tempfile.tempdir = str(_IN_MEMORY)

# The seconds that each test may take, in pyproject.toml.
_USUAL = 300


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests, that at the end no core waits for one of them."""

    def limit(item: pytest.Item) -> float:
        marker = item.get_closest_marker("timeout")
        return max(_USUAL, marker.args[0] if marker else 0)

    items.sort(key=limit, reverse=True)


_CORPUS = Path(__file__).parents[2] / "shared" / "corpus"


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of sample files next to the checkout; tests that use it are skipped without it."""
    if not _CORPUS.is_dir():
        pytest.skip(f"the corpus of sample files is not at {_CORPUS}")
    return _CORPUS


@pytest.fixture(scope="session")
def converted_corpus(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Path]:
    """The datasets of all h5ad of the corpus that convert, by the file; not to be changed.

    They are made once for all processes of a run.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    inputs = sorted((corpus / "h5ad").glob("*/*.h5*"))
    outputs = {path: folder / "corpus" / f"{path.parent.name}.slaf" for path in inputs}
    with FileLock(folder / "corpus.lock"):
        if not (folder / "corpus").exists():
            for path, output in outputs.items():
                with warnings.catch_warnings(), suppress(InputError):
                    warnings.simplefilter("ignore")
                    slaf.convert(path, output)
    return {path: output for path, output in outputs.items() if output.exists()}


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Cloud]:
    """A bucket of S3."""
    with moto() as cloud:
        yield cloud


@pytest.fixture(scope="session")
def az_server() -> Iterator[Cloud]:
    """A container of Azure."""
    with azurite() as cloud:
        yield cloud


@pytest.fixture(scope="session")
def gs_server() -> Iterator[Cloud]:
    """A bucket of Google."""
    with fake_gcs() as cloud:
        yield cloud
