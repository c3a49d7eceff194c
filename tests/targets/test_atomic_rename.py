"""An output is there whole or not at all, wherever its export is stopped."""

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


def seen(path: Path, kind: str) -> str | None:
    """What a reader sees: one of the texts, the same everywhere; or nothing."""
    if not path.exists():
        return None
    if kind == "file":
        return path.read_text()
    texts = {(path / "mark").read_text(), (path / "below" / "b").read_text()}
    assert (path / "below" / "empty").is_dir()
    (text,) = texts
    return text


def matches(path: Path) -> bool:
    """Whether what is there may be replaced: any file, and a folder with the mark."""
    return path.is_file() or (path / "mark").is_file()


def publish(output: Path, kind: str, staging: Location, text: str = NEW) -> None:
    """Publish an output, in the place of what is there."""
    with atomic_output(output, matches, overwrite=True, staging=staging) as path:
        write(path, kind, text)


def effects(folder: Path, kind: str, before: str | None) -> list[str]:
    """What a publication changes on the disk."""
    output = folder / "out"
    if before is not None:
        write(output, kind, before)
    storage = CrashingStorage(staging_dir(output).path)
    publish(output, kind, storage)
    assert seen(output, kind) == NEW
    return [effect.action for effect in storage.effects]


@pytest.mark.parametrize("failure", [Failure.CRASH, Failure.FULL])
@pytest.mark.parametrize("before", [None, OLD])
@pytest.mark.parametrize("kind", KINDS)
def test_stopped_at_any_effect(
    kind: str, before: str | None, failure: Failure, tmp_path: Path
) -> None:
    """There is the old output, the new one or none, never a part; and the next export is whole."""
    (tmp_path / "whole").mkdir()
    actions = effects(tmp_path / "whole", kind, before)
    assert "sync" in actions[: actions.index("publish")]
    assert ("set aside" in actions) == (kind == "folder" and before is not None)
    for at in range(len(actions)):
        for moment in Moment:
            folder = tmp_path / f"{at}-{moment}"
            folder.mkdir()
            output = folder / "out"
            if before is not None:
                write(output, kind, before)
            staging = CrashingStorage(staging_dir(output).path, at, moment, failure)
            with pytest.raises((Crash, StorageError)):
                publish(output, kind, staging)
            found = seen(output, kind)
            assert found in {before, NEW, None}
            if found is None and before is not None:
                # Between two renames: whoever comes next brings it back.
                assert "set aside" in actions
            if actions.index("publish") > at:
                assert found != NEW
            after = found_after_refusal(output, kind)
            assert after == (NEW if found == NEW else before)
            publish(output, kind, staging_dir(output))
            assert seen(output, kind) == NEW
            assert [path.name for path in folder.iterdir()] == ["out"]


def found_after_refusal(output: Path, kind: str) -> str | None:
    """What is there once another export has come, and failed."""

    class Failed(Exception):
        pass

    with (
        pytest.raises(Failed),
        atomic_output(output, matches, overwrite=True, staging=staging_dir(output)),
    ):
        raise Failed
    assert [path.name for path in output.parent.iterdir() if path != output] == []
    return seen(output, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_leaves_nothing(kind: str, tmp_path: Path) -> None:
    """What raises while it writes leaves neither an output nor what it has written."""
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
def test_what_ended_it_is_told(kind: str, tmp_path: Path) -> None:
    """An export that is told to stop says so, even where what it wrote cannot be removed."""
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
    "occupy",
    [Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")],
    ids=["folder", "file", "link"],
)
def test_what_is_there_is_refused(occupy: Callable[[Path], None], tmp_path: Path) -> None:
    """Without --overwrite whatever is at the output stays, and nothing is written beside it."""
    output = tmp_path / "out"
    occupy(output)
    with (
        pytest.raises(OutputExists, match="--overwrite replaces it"),
        atomic_output(output, matches, overwrite=False, staging=staging_dir(output)),
    ):
        pytest.fail("it began")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_another_thing_is_never_replaced(tmp_path: Path) -> None:
    """A folder that is no such output is refused with --overwrite too."""
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").touch()
    with pytest.raises(OutputExists, match="is not replaced; remove it"):
        publish(tmp_path / "thesis", "folder", staging_dir(tmp_path / "thesis"))
    assert (tmp_path / "thesis" / "chapter").exists()


def test_what_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    """An output that another program has put there since the export began stays."""
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
    """A second export to the same place is refused while the first one runs, and harms it not."""
    output = tmp_path / "out"
    with atomic_output(output, matches, overwrite=False, staging=staging_dir(output)) as path:
        write(path, "file", NEW)
        with pytest.raises(Locked):
            publish(output, "file", staging_dir(output), "theirs")
    assert output.read_text() == NEW
