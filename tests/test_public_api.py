"""The public names, what importing them costs, and what the wheel holds."""

from __future__ import annotations

import gc
import inspect
import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

import slaf
from slaf import errors
from slaf.errors import DamagedInput, SlafError, VerificationFailed
from slaf.runtime.imports import import_at_once
from slaf.verification.report import Difference, Report

CHECKOUT = Path(__file__).parents[1]
# What takes long to import, and is needed only by some of what the package does.
HEAVY = {
    *("numpy", "scipy", "pandas", "pyarrow", "lance", "polars", "anndata", "scanpy", "h5py"),
    *("hdf5plugin", "tiledbsoma", "typer", "tqdm", "xxhash", "filelock", "isal", "obstore"),
}


@pytest.mark.parametrize("name", slaf.__all__)
def test_a_name(name: str) -> None:
    """Every public name is there, listed, and says what it is for."""
    found = getattr(slaf, name)
    assert name in dir(slaf)
    assert (found.__doc__ or "").strip()


@pytest.mark.parametrize("error", [*SlafError.__subclasses__(), DamagedInput])
def test_an_error_of_another_process(error: type[SlafError]) -> None:
    """An error that another process raised is the same here, with its report and its notes."""
    report = Report("out.slaf", ("tables",), (Difference("rows", "cells", "3", "2"),))
    raised = error("text", report) if issubclass(error, VerificationFailed) else error("text")
    raised.add_note("4 parts are done")
    received = pickle.loads(pickle.dumps(raised))  # noqa: S301 - our own
    assert type(received) is error
    assert str(received) == str(raised)
    assert vars(received) == vars(raised)


@pytest.mark.parametrize("name", slaf.__all__)
def test_what_a_name_offers(name: str) -> None:
    """Every public method and property of a public class says what it is for."""
    found = getattr(slaf, name)
    if not inspect.isclass(found):
        return
    for member, value in vars(found).items():
        if not member.startswith("_") and (callable(value) or isinstance(value, property)):
            assert (inspect.getdoc(value) or "").strip(), member


def test_the_names_are_sorted() -> None:
    """The list of names is sorted and without repetition."""
    assert slaf.__all__ == sorted(set(slaf.__all__))


def test_no_other_name() -> None:
    """A name that is not there is an AttributeError that says so."""
    with pytest.raises(AttributeError, match="module 'slaf' has no attribute 'nothing'"):
        slaf.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_the_packages_do_not_shadow_the_functions() -> None:
    """A function keeps its name whatever part of the package was imported before."""
    code = (
        "import slaf.conversion.convert, slaf.verification.verify, slaf.dataset.info\n"
        "import slaf.targets.export, slaf\n"
        "verbs = slaf.convert, slaf.verify, slaf.info, slaf.status, slaf.open, slaf.export\n"
        "assert all(map(callable, verbs))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_error_is_in_the_tree() -> None:
    """Each error derives from SlafError, says what it is for, and is drawn in the tree."""
    found = [e for e in vars(errors).values() if inspect.isclass(e) and issubclass(e, Exception)]
    assert len(found) > 10
    for error in found:
        assert issubclass(error, slaf.SlafError)
        assert (error.__doc__ or "").strip()
        assert error.__name__ in (errors.__doc__ or "")


def modules_after(code: str) -> set[str]:
    """The packages that are imported once this code has run, in a process of its own."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return {name.split(".")[0] for name in json.loads(ran.stdout)}


@pytest.mark.parametrize("code", ["import slaf", "import slaf; slaf.SlafError; dir(slaf)"])
def test_importing_costs_nothing(code: str) -> None:
    """`import slaf`, and its errors, import nothing but Python's own library."""
    found = modules_after(code)
    assert not found & HEAVY
    assert found - set(sys.stdlib_module_names) <= modules_after("") | {"slaf"}


def test_opening_imports_no_writer() -> None:
    """Opening a dataset imports neither the formats that are read nor the program."""
    found = modules_after("import slaf; slaf.open")
    assert not found & {"anndata", "h5py", "tiledbsoma", "scanpy", "lance", "typer", "tqdm"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names of the files in a wheel that is built from what a container image copies."""
    top = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.so")
    for line in (CHECKOUT / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            admitted = CHECKOUT / line[1:]
            copy = partial(shutil.copytree, ignore=ignored) if admitted.is_dir() else shutil.copy
            copy(admitted, top / "copy" / admitted.name)
    options = ["--wheel", "--no-isolation", "--outdir", str(top / "dist")]
    built = subprocess.run(
        [sys.executable, "-m", "build", *options, str(top / "copy")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (file,) = (top / "dist").iterdir()
    with zipfile.ZipFile(file) as archive:
        return archive.namelist()


def test_the_wheel_holds_two_packages(wheel: list[str]) -> None:
    """The wheel holds `slaf` and `slaf_cli`, and nothing that others would import by accident."""
    tops = {name.split("/")[0] for name in wheel}
    (metadata,) = (top for top in tops if top.endswith(".dist-info"))
    assert tops == {"slaf", "slaf_cli", metadata}
    assert f"{metadata}/entry_points.txt" in wheel
    assert f"{metadata}/licenses/LICENSE" in wheel


def test_the_image_reaches_buckets_and_ray() -> None:
    """The container image has the extras with which the page about machines uses it."""
    assert "[cloud,ray]" in (CHECKOUT / "Dockerfile").read_text()


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_the_wheel_holds_the_compiled_kernels(wheel: list[str]) -> None:
    """Where there is a C compiler, the wheel has the library, and not its source."""
    assert "slaf/kernels/kernels.so" in wheel
    assert "slaf/kernels/kernels.c" not in wheel


def test_the_wheel_holds_every_module(wheel: list[str]) -> None:
    """Every module of the checkout is in the wheel, and the markers that they are typed."""
    for package, folder in (("slaf", CHECKOUT / "slaf"), ("slaf_cli", CHECKOUT / "cli/slaf_cli")):
        expected = {
            f"{package}/{file.relative_to(folder).as_posix()}" for file in folder.rglob("*.py")
        }
        found = {name for name in wheel if name.startswith(f"{package}/")}
        assert found - {"slaf/kernels/kernels.so"} == expected | {f"{package}/py.typed"}


@pytest.mark.parametrize("name", ["this_module_is_not_there", "json.tool"])
@pytest.mark.parametrize("is_enabled", [True, False])
def test_imports_leave_the_search_for_cycles_as_it_was(name: str, is_enabled: bool) -> None:  # noqa: FBT001
    """Python looks for cycles after an import as before, also after one that fails."""
    was_enabled = gc.isenabled()
    (gc.enable if is_enabled else gc.disable)()
    sys.modules.pop(name, None)
    try:
        with suppress(ModuleNotFoundError):
            import_at_once(name)
        assert gc.isenabled() is is_enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()


def test_what_an_import_makes_is_old_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cycles are looked for once among many objects of an import, and not again soon."""
    (tmp_path / "many_objects.py").write_text("made = [[] for _ in range(5_000)]")
    monkeypatch.syspath_prepend(tmp_path)
    was_enabled = gc.isenabled()
    gc.enable()
    try:
        made = import_at_once("many_objects").made
        old = {id(one) for one in gc.get_objects(generation=2)}
        assert all(id(one) in old for one in made)
    finally:
        sys.modules.pop("many_objects", None)
        if not was_enabled:
            gc.disable()
