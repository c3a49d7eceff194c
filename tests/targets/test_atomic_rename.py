"""Atomic output: whole or absent, wherever the export is stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slaf.errors import Locked, OutputExists, StorageError
from slaf.targets.atomic_rename import atomic_output, staging_dir
from slaf.testing.crashing import Crash, CrashingStorage, Failure, Moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from slaf.storage.location import Location

OLD, NEW = "old", "new"
KINDS = ("file", "folder")


def write(path: Path, kind: str, text: str) -> None:
    """Write an output: a file, or a folder of files and folders."""
    if kind == "file":
        path.write_text(text)
        return
    (path / "below" / "empty").mkdir(parents=True)
    (path / "mark").write_text(text)
    (path / "below" / "b").write_text(text)


def content(path: Path, kind: str) -> str | None:
    """The text of all files of an output; None if there is no output."""
    if not path.exists():
        return None
    if kind == "file":
        return path.read_text()
    texts = {(path / "mark").read_text(), (path / "below" / "b").read_text()}
    assert (path / "below" / "empty").is_dir()
    (text,) = texts
    return text


def matches(path: Path) -> bool:
    """Whether an output may be replaced: any file, and a folder with the marker file."""
    return path.is_file() or (path / "mark").is_file()


def publish(output: Path, kind: str, staging: Location, text: str = NEW) -> None:
    """Publish an output, and replace an older one."""
    with atomic_output(output, matches, overwrite=True, staging=staging) as path:
        write(path, kind, text)


def recorded_actions(folder: Path, kind: str, old: str | None) -> list[str]:
    """The actions of a publication on the disk."""
    output = folder / "out"
    if old is not None:
        write(output, kind, old)
    storage = CrashingStorage(staging_dir(output).path)
    publish(output, kind, storage)
    assert content(output, kind) == NEW
    return [effect.action for effect in storage.effects]


@pytest.mark.parametrize("failure", [Failure.CRASH, Failure.FULL])
@pytest.mark.parametrize("old", [None, OLD])
@pytest.mark.parametrize("kind", KINDS)
def test_stopped_at_any_effect(
    kind: str, old: str | None, failure: Failure, tmp_path: Path
) -> None:
    """The output is old, new or absent, never a part; and the next export is whole."""
    (tmp_path / "whole").mkdir()
    actions = recorded_actions(tmp_path / "whole", kind, old)
    assert "sync" in actions[: actions.index("publish")]
    assert ("set aside" in actions) == (kind == "folder" and old is not None)
    for at in range(len(actions)):
        for moment in Moment:
            folder = tmp_path / f"{at}-{moment}"
            folder.mkdir()
            output = folder / "out"
            if old is not None:
                write(output, kind, old)
            staging = CrashingStorage(staging_dir(output).path, at, moment, failure)
            with pytest.raises((Crash, StorageError)):
                publish(output, kind, staging)
            result = content(output, kind)
            assert result in {old, NEW, None}
            if result is None and old is not None:
                # Between two renames: the next export restores it.
                assert "set aside" in actions
            if actions.index("publish") > at:
                assert result != NEW
            after = after_failed_export(output, kind)
            assert after == (NEW if result == NEW else old)
            publish(output, kind, staging_dir(output))
            assert content(output, kind) == NEW
            assert [path.name for path in folder.iterdir()] == ["out"]


def after_failed_export(output: Path, kind: str) -> str | None:
    """The output after another export that failed."""

    class Failed(Exception):
        pass

    with (
        pytest.raises(Failed),
        atomic_output(output, matches, overwrite=True, staging=staging_dir(output)),
    ):
        raise Failed
    assert [path.name for path in output.parent.iterdir() if path != output] == []
    return content(output, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_leaves_nothing(kind: str, tmp_path: Path) -> None:
    """An error while writing leaves no output and no temporary files."""
    output = tmp_path / "above" / "out"

    def fail(path: Path) -> None:
        write(path, kind, NEW)
        msg = "no"
        raise ValueError(msg)

    with (
        pytest.raises(ValueError, match="no"),
        atomic_output(output, matches, overwrite=False, staging=staging_dir(output)) as path,
    ):
        fail(path)
    assert list((tmp_path / "above").iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupt_is_raised(kind: str, tmp_path: Path) -> None:
    """KeyboardInterrupt is raised even if the temporary files cannot be removed."""
    output = tmp_path / "out"

    def stop(staging: CrashingStorage) -> None:
        with atomic_output(output, matches, overwrite=False, staging=staging) as path:
            write(path, kind, NEW)
            raise KeyboardInterrupt

    recorder = CrashingStorage(staging_dir(output).path)
    with pytest.raises(KeyboardInterrupt):
        stop(recorder)
    at = [effect.action for effect in recorder.effects].index("remove")
    with pytest.raises(KeyboardInterrupt):
        stop(CrashingStorage(recorder.path, at, failure=Failure.FULL))
    assert not output.exists()
    publish(output, kind, staging_dir(output))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    "create",
    [Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")],
    ids=["folder", "file", "link"],
)
def test_an_existing_output_is_refused(create: Callable[[Path], None], tmp_path: Path) -> None:
    """Without --overwrite whatever exists at the output stays, and nothing is written."""
    output = tmp_path / "out"
    create(output)
    with (
        pytest.raises(OutputExists, match="--overwrite replaces it"),
        atomic_output(output, matches, overwrite=False, staging=staging_dir(output)),
    ):
        pytest.fail("it began")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_another_format_is_never_replaced(tmp_path: Path) -> None:
    """A folder of another format is refused with --overwrite too."""
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").touch()
    with pytest.raises(OutputExists, match="is not replaced; remove it"):
        publish(tmp_path / "thesis", "folder", staging_dir(tmp_path / "thesis"))
    assert (tmp_path / "thesis" / "chapter").exists()


def test_an_output_of_another_program_is_not_replaced(tmp_path: Path) -> None:
    """An output that another program creates during the export stays."""
    output = tmp_path / "out"

    def publish_both() -> None:
        with atomic_output(output, matches, overwrite=False, staging=staging_dir(output)) as path:
            write(path, "file", NEW)
            write(output, "file", "theirs")

    with pytest.raises(OutputExists):
        publish_both()
    assert output.read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_one_export_at_a_time(tmp_path: Path) -> None:
    """A second export to the same output is refused while the first runs, which continues."""
    output = tmp_path / "out"
    with atomic_output(output, matches, overwrite=False, staging=staging_dir(output)) as path:
        write(path, "file", NEW)
        with pytest.raises(Locked):
            publish(output, "file", staging_dir(output), "theirs")
    assert output.read_text() == NEW
