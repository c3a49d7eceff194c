"""Commands that write to a bucket, killed at random moments until they are done."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import slaf
from slaf.storage.location import Location
from slaf_cli.report import ExitCode
from tests.builders import counts, write_h5ad
from tests.cloud.outputs import (
    contents,
    files_of,
    finished_parts,
    output_of,
    published,
    unaccounted,
)
from tests.cloud.proxy import Fault, Proxy
from tests.faults.orders import Befallen

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping
    from pathlib import Path

    from tests.cloud.servers import Cloud
    from tests.faults.commands import Commands
    from tests.faults.orders import Ended

__all__ = ["Kills", "conversions", "exports"]

CELLS_A_PART = 2
OPTIONS: dict[str, Any] = {"chunk_size": CELLS_A_PART}
_KILLED = -signal.SIGKILL


class Operation(Protocol):
    """A command that is killed, and given again.

    Attributes
    ----------
    reach
        How much of it the first one is killed in.
    """

    reach: ClassVar[float]

    def prepare(self, cloud: Cloud) -> None:
        """Put into an empty place what is there before."""

    def words(self, cloud: Cloud) -> tuple[str, ...]:
        """The command, without the options that reach the bucket."""

    @property
    def begins_anew(self) -> bool:
        """Whether what is whole is made once more."""

    @property
    def refused(self) -> ExitCode:
        """How it ends where all is whole and it does not begin anew."""

    def seen(self, cloud: Cloud) -> str:
        """What a reader finds: "nothing", "the older" or "the newer", whole; else it fails."""

    def kept(self, cloud: Cloud) -> set[str]:
        """The files of the parts that are done, which nobody may write again."""

    def check(self, cloud: Cloud, kept: set[str]) -> None:
        """Check that it equals that of a disk, has these files, and that nothing else is left."""


@dataclass(frozen=True)
class Converting:
    """`slaf convert` or `slaf append`; its output is called `x`."""

    reach: ClassVar[float] = 0.25

    source: Path
    expected: dict[str, Any]
    older: Path | None = None
    before: dict[str, Any] | None = None
    appends: bool = False

    def prepare(self, cloud: Cloud) -> None:
        """Convert the older input."""
        if self.older is not None:
            slaf.convert(self.older, cloud.at("x"), **OPTIONS, storage_options=cloud.options)

    def words(self, cloud: Cloud) -> tuple[str, ...]:
        """The command."""
        call = "append" if self.appends else "convert"
        more = ["--overwrite"] if self.begins_anew else []
        chunks = ["--chunk-size", str(CELLS_A_PART)]
        return (call, str(self.source), cloud.at("x"), *chunks, *more)

    @property
    def begins_anew(self) -> bool:
        """With `--overwrite`."""
        return self.older is not None and not self.appends

    @property
    def refused(self) -> ExitCode:
        """An append finds its input there, a conversion its output."""
        return ExitCode.ALREADY_IN_DATASET if self.appends else ExitCode.CONFLICT

    def seen(self, cloud: Cloud) -> str:
        """By `slaf.open`, and by reading all of it."""
        found = self._found(cloud)
        if found is None:
            assert self.before is None, "the older dataset is not there any more"
            return "nothing"
        if found == self.before:
            return "the older"
        assert found == self.expected
        return "the newer"

    def kept(self, cloud: Cloud) -> set[str]:
        """By the checkpoint."""
        return finished_parts(self._place(cloud))

    def check(self, cloud: Cloud, kept: set[str]) -> None:
        """By `config.json`, with the digests of all blocks, and by the tables."""
        assert self.seen(cloud) == "the newer"
        assert not unaccounted(self._place(cloud))
        fragments = slaf.open(self._place(cloud)).expression.get_fragments()
        files = {file.path for part in fragments for file in part.data_files()}
        assert kept <= files, "a part that was done was written again"

    def _place(self, cloud: Cloud) -> Location:
        return Location(cloud.at("x"), cloud.options)

    def _found(self, cloud: Cloud) -> dict[str, Any] | None:
        return published(cloud, "x")


@dataclass(frozen=True)
class Copying(Converting):
    """`slaf copy`, of a dataset on a disk, to nothing or over another; its output is called `x`."""

    reach: ClassVar[float] = 0.5

    def words(self, cloud: Cloud) -> tuple[str, ...]:
        """The command."""
        return ("copy", str(self.source), cloud.at("x"), "--overwrite")

    @property
    def begins_anew(self) -> bool:
        """A copy that is whole is left as it is."""
        return False

    def kept(self, cloud: Cloud) -> set[str]:
        """None: a copy has no parts."""
        del cloud
        return set()

    def _found(self, cloud: Cloud) -> dict[str, Any] | None:
        found = published(cloud, "x")
        return None if found is None else anywhere(found)


def anywhere(output: dict[str, Any]) -> dict[str, Any]:
    """The same, whatever the directories of its tables are called."""
    config = {key: value for key, value in output["config"].items() if key != "tables"}
    return output | {"config": config}


@dataclass(frozen=True)
class Exporting:
    """`slaf export --overwrite`, over an older export."""

    reach: ClassVar[float] = 1.0

    name: str
    dataset: Path
    expected: dict[str, bytes]
    older: Path
    before: dict[str, bytes]
    mark: str
    scratch: Path

    def prepare(self, cloud: Cloud) -> None:
        """Export the older dataset."""
        slaf.export(self.older, cloud.at(self.name), storage_options=cloud.options)

    def words(self, cloud: Cloud) -> tuple[str, ...]:
        """The command."""
        where = ["--scratch", str(self.scratch), "--overwrite"]
        return ("export", str(self.dataset), cloud.at(self.name), *where)

    @property
    def begins_anew(self) -> bool:
        """Always."""
        return True

    @property
    def refused(self) -> ExitCode:
        """Never."""
        return ExitCode.DONE

    def seen(self, cloud: Cloud) -> str:
        """By what readers know it by; then all of it must be there."""
        found = {name: data for name, data in contents(cloud).items() if name[0] != "."}
        if self.mark not in found:
            assert self.mark != self.name, "the older file is not there any more"
            return "nothing"
        if found == self.before:
            return "the older"
        assert found == self.expected
        return "the newer"

    def kept(self, cloud: Cloud) -> set[str]:
        """None: an export begins anew."""
        del cloud
        return set()

    def check(self, cloud: Cloud, kept: set[str]) -> None:
        """By its files, which are those of a disk; the scratch folder is empty again."""
        assert not kept
        assert contents(cloud) == self.expected
        assert not list(self.scratch.iterdir())


def conversions(folder: Path, n_parts: int) -> dict[str, Operation]:
    """Of so many parts; `folder` is for inputs, and for what is expected."""
    source = write_h5ad(folder / "in.h5ad", counts(n_parts * CELLS_A_PART, 20))
    older = write_h5ad(folder / "old.h5ad", counts(7, 20, seed=1))
    for name in ("old", "both"):
        slaf.convert(older, folder / f"{name}.slaf", **OPTIONS)
    slaf.append(source, folder / "both.slaf", **OPTIONS)
    slaf.convert(source, folder / "new.slaf", **OPTIONS)
    new, old, both = (output_of(Location(folder / f"{n}.slaf")) for n in ("new", "old", "both"))
    return {
        "append": Converting(source, both, older, old, appends=True),
        "convert": Converting(source, new),
        "convert --overwrite": Converting(source, new, older, old),
        "copy": Copying(folder / "new.slaf", anywhere(new)),
        "copy --overwrite": Copying(folder / "new.slaf", anywhere(new), older, anywhere(old)),
    }


def exports(folder: Path) -> dict[str, Operation]:
    """Of a file and of a folder, over older ones of their kind."""
    found: dict[str, Operation] = {}
    for which, n_cells in (("old", 7), ("new", 24)):
        matrix = counts(n_cells, 20, seed=n_cells)
        slaf.convert(write_h5ad(folder / f"{which}.h5ad", matrix), folder / f"{which}.slaf")
        (folder / which).mkdir()
    scratch = folder / "scratch"
    scratch.mkdir()
    for name, mark in (("out.h5ad", "out.h5ad"), ("out.zarr", "out.zarr/.zgroup")):
        for which in ("old", "new"):
            slaf.export(folder / f"{which}.slaf", folder / which / name)
        found[f"export {name}"] = Exporting(
            name,
            folder / "new.slaf",
            files_of(folder / "new" / name),
            folder / "old.slaf",
            files_of(folder / "old" / name),
            mark,
            scratch,
        )
    return found


class _Strike:
    """Kills a process at one of its requests, which the server gets nevertheless, or does not."""

    def __init__(self, at: int, *, arrives: bool) -> None:
        self._at = at
        self._arrives = arrives
        self._seen = 0
        self._lock = threading.Lock()
        self._known = threading.Event()
        self._pid = 0

    def at(self, pid: int) -> None:
        """The process."""
        self._pid = pid
        self._known.set()

    def __call__(self, method: str, path: str, number: int) -> Fault | None:
        """What happens to a request."""
        del method, path, number
        with self._lock:
            number, self._seen = self._seen, self._seen + 1
        if number != self._at:
            return None
        self._known.wait()
        os.kill(self._pid, signal.SIGKILL)
        return None if self._arrives else Fault.CUT_BEFORE


@dataclass
class Kills:
    """A campaign of kills in one bucket.

    Attributes
    ----------
    landed
        How many kills there were, by operation, by how, and by what a reader saw then.
    parts
        Of kills of a conversion: how many had so many parts done.
    chains
        How many times an operation was finished after kills.
    """

    commands: Commands
    folder: Path
    proxy: Proxy
    cloud: Cloud
    rng: random.Random
    landed: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    parts: Counter[int] = field(default_factory=Counter)
    chains: int = 0

    def run(self, operations: Mapping[str, Operation], kills: int) -> None:
        """Kill until there were so many, one operation after the other."""
        whole = {name: self._whole(operation) for name, operation in operations.items()}
        for number in count():
            name = list(operations)[number % len(operations)]
            self._chain(name, operations[name], *whole[name])
            if sum(self.landed.values()) >= kills:
                return

    def __str__(self) -> str:
        lines = [f"{sum(self.landed.values())} kills on {self.cloud.name}"]
        lines += [f"  {n:>4}  {' · '.join(key)}" for key, n in sorted(self.landed.items())]
        done = ", ".join(f"{parts}: {n}" for parts, n in sorted(self.parts.items()))
        lines.append(f"  kills by parts that were done: {done}")
        lines.append(f"  {self.chains} times finished by the same command, equal to that of a disk")
        return "\n".join(lines)

    def _whole(self, operation: Operation) -> tuple[int, float]:
        """The requests and the seconds that it takes when nobody kills it."""
        cloud = self.cloud.fresh()
        operation.prepare(cloud)
        before = len(self.proxy.passed)
        ended = self._start(operation, cloud).wait()
        assert ended.code == 0, ended.err
        operation.check(cloud, set())
        return len(self.proxy.passed) - before, ended.seconds

    def _chain(self, name: str, operation: Operation, requests: int, seconds: float) -> None:
        """Kill one command after the other, until one has nothing to do, and look each time."""
        cloud = self.cloud.fresh()
        operation.prepare(cloud)
        kept: set[str] = set()
        newer = False
        story: list[str] = []
        for attempt in count():
            # Each goes a little further; who begins anew goes all the way.
            reach = operation.reach + attempt / 8
            ended, how = self._killed(operation, cloud, requests, seconds, reach)
            if ended.code != _KILLED:
                refused = newer and not operation.begins_anew and ended.code == operation.refused
                assert refused or ended.code == 0, ended.err
                break
            seen = operation.seen(cloud)
            gone = newer and seen != "the newer" and isinstance(operation, Converting)
            assert not gone, "what was whole is gone"
            newer = seen == "the newer"
            files = operation.kept(cloud)
            if not newer:
                assert kept <= files, "a part that was done was written again"
                kept = files
            elif not files and operation.begins_anew:
                # That command was done, and the next one replaces what it made.
                kept = set()
            self.landed[name, how, f"then a reader finds {seen}"] += 1
            if isinstance(operation, Converting):
                self.parts[len(files)] += 1
            story.append(f"{how}: {seen}, {len(files)} parts done")
        try:
            operation.check(cloud, kept)
        except AssertionError as error:
            error.add_note("; ".join(story))
            raise
        self.chains += 1

    def _killed(
        self, operation: Operation, cloud: Cloud, requests: int, seconds: float, reach: float
    ) -> tuple[Ended, str]:
        how = self.rng.choice(("at a time", "before a request", "amid a request"))
        if how == "at a time":
            after = self.rng.uniform(0, seconds * reach)
            ended = self._start(operation, cloud).wait(kill_after=after)
        else:
            strike = _Strike(
                self.rng.randrange(int(requests * reach)), arrives=how == "amid a request"
            )
            self.proxy.rule = strike
            command = self._start(operation, cloud)
            strike.at(command.pid)
            ended = command.wait()
        self.proxy.rule = lambda *_: None
        self.proxy.settle()
        return ended, how

    def _start(self, operation: Operation, cloud: Cloud) -> Any:
        there = cloud.via(self.proxy.endpoint)
        words = (*operation.words(there), *there.words(), "--quiet")
        return self.commands.start(words, self.folder, Befallen())
