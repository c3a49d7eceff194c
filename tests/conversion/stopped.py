"""The crash law, as a check of one conversion or append that is stopped and called again."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import slaf
from slaf.errors import DuplicateInput, OutputExists
from tests.conversion.outputs import (
    finished_parts,
    output_of,
    published,
    published_parts,
    unaccounted,
)

if TYPE_CHECKING:
    from pathlib import Path

    from slaf.storage.location import Location
    from tests.conversion.outputs import Output

__all__ = ["Conversion", "points"]


def points(n_effects: int, most: int | None, seed: object) -> list[int]:
    """The effects at which a call is stopped, in order.

    Parameters
    ----------
    n_effects
        How many it has.
    most
        How many of them are chosen; None for all.
    seed
        Chooses them: other ones for another case.
    """
    if most is None or most >= n_effects:
        return list(range(n_effects))
    return sorted(random.Random(str(seed)).sample(range(n_effects), most))


@dataclass(frozen=True)
class Conversion:
    """One call of `slaf.convert`, `append` or `transform`, which may be stopped and made again.

    Attributes
    ----------
    source, more
        The input, and what follows it.
    options
        What else the call says.
    found
        What is at the output before it, to be copied there; None for nothing.
    added_to
        The inputs of the dataset that is there, if the call appends to it; None if it converts.
    transforms
        Whether it is one of `slaf.transform`.
    """

    source: Path
    options: dict[str, Any] = field(default_factory=dict)
    found: Path | None = None
    added_to: list[Path] | None = None
    more: list[Path] = field(default_factory=list)
    transforms: bool = False

    @property
    def inputs(self) -> list[Path]:
        """The inputs of the dataset that the call makes."""
        return [*(self.added_to or []), self.source, *self.more]

    @cached_property
    def before(self) -> Output | None:
        """The dataset that is at the output before the call, if there is one."""
        return None if self.found is None else published(self.found)

    def prepare(self, path: Path) -> Path:
        """Put at this path what the conversion is to find."""
        if self.found is not None:
            shutil.copytree(self.found, path)
        return path

    def run(self, output: Path | Location) -> None:
        """Make the call."""
        call: Any = slaf.convert if self.added_to is None else slaf.append
        call = slaf.transform if self.transforms else call
        call([self.source, *self.more], output, **self.options)

    def uninterrupted(self, path: Path) -> Output:
        """What the call makes when nothing stops it."""
        self.run(self.prepare(path))
        slaf.verify(path, against=self.inputs)
        assert not unaccounted(path)
        return output_of(path)

    def check_stopped(self, path: Path, expected: Output) -> None:
        """Check that readers see all of the dataset, or what was there before, or nothing."""
        seen = published(path)
        assert seen in (self.before, expected)
        if seen is not None:
            slaf.verify(path)

    def finish(self, path: Path, expected: Output) -> None:
        """Make the call again, after it was stopped, and check what comes of it."""
        kept = self._kept(path, expected)
        try:
            self.run(path)
        except (OutputExists, DuplicateInput):
            # It was stopped when all had been done: the dataset itself says so.
            assert published(path) == expected
        assert output_of(path) == expected
        left = unaccounted(path)
        assert not left
        assert kept <= set(published_parts(path)), "a part that was done was written again"
        slaf.verify(path)

    def _kept(self, path: Path, expected: Output) -> set[Any]:
        """The files of parts that are done and have to stay as they are."""
        parts = finished_parts(path)
        if not parts:
            return set()
        checkpoint = json.loads((path / "config.json").read_bytes())["checkpoint"]
        # A type that proves too narrow makes all parts void, and so does asking to start over.
        types = {"expression": expected.config["value_type"], **_types_beside(expected.config)}
        void = any(
            column["value_type"] != types.get(column["original"])
            for table in checkpoint["plan"]["matrix_tables"]
            for column in table["values"]
        )
        if void or (self.options.get("restart") and not checkpoint["published"]):
            return set()
        return {file for files in parts.values() for file in files}


def _types_beside(config: dict[str, Any]) -> dict[str, str]:
    """The types of the values of the layers and of raw."""
    columns = [*config.get("layers", {}).get("columns", [])]
    columns += [config["raw"]["matrix"]] if "raw" in config else []
    return {column["original"]: column["value_type"] for column in columns}
