"""The checkpoint of an unfinished run in config.json: its plan and valid attempts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from slaf.errors import DamagedDataset
from slaf.runs.plan import Plan
from slaf.runs.value_types import requested_types

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slaf.format.config import DatasetConfig, Manifest
    from slaf.storage.location import Location

__all__ = ["Checkpoint", "checkpoint_of", "recorded_checkpoint"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An unfinished run; its journal records the finished parts.

    Attributes
    ----------
    plan
        What the run does.
    published
        Whether readers see the result already, and only cleaning is left.
    damaged
        The positions among the plan's sources of those that were found to be damaged, and may
        be repaired: no part of theirs is done.
    attempts
        How often the parts of a source were given up, by its position; receipts of an earlier
        attempt count for nothing.
    directory
        The directory of relative paths of inputs, for a run that `slaf plan` began.
    """

    plan: Plan
    published: bool = False
    damaged: tuple[int, ...] = ()
    attempts: Mapping[int, int] = field(default_factory=dict)
    directory: str | None = None

    def attempt(self, part: int) -> int:
        """The attempt whose receipt of a part counts."""
        return self.attempts.get(self.plan.source_index(self.plan.parts[part].start), 0)

    def without_sources_of(self, parts: Iterable[int]) -> Checkpoint:
        """The checkpoint once it is known that the inputs of these parts are damaged too."""
        starts = (self.plan.parts[index].start for index in parts)
        damaged = tuple(sorted({*self.damaged, *map(self.plan.source_index, starts)}))
        return replace(self._without(damaged), damaged=damaged)

    def resumed(self, plan: Plan) -> Checkpoint:
        """The checkpoint once the same call is made; the same, unless inputs were repaired."""
        repaired = self.plan.with_replaced_inputs(plan, self.damaged)
        if repaired is self.plan:
            return self
        return replace(self._without(self.damaged), plan=repaired, damaged=())

    def _without(self, sources: Iterable[int]) -> Checkpoint:
        """The checkpoint once the parts of these sources are given up."""
        given_up = {source: self.attempts.get(source, 0) + 1 for source in sources}
        return replace(self, attempts={**self.attempts, **given_up})

    def with_requested_types(
        self, location: Location, published: DatasetConfig | None
    ) -> Checkpoint:
        """The checkpoint with the wider types that parts have requested; the same without any.

        Parameters
        ----------
        published
            The dataset that the run adds to, whose rows may have to be written again.
        """
        types = requested_types(location, self.plan)
        if not types:
            return self
        blocks = () if published is None else published.blocks
        return replace(self, plan=self.plan.widened(types, blocks))

    def to_json(self) -> dict[str, Any]:
        """The object of config.json."""
        planned = {} if self.directory is None else {"directory": self.directory}
        return planned | {
            "plan": self.plan.to_json(),
            "journal": self.plan.digest,
            "published": self.published,
            "damaged": list(self.damaged),
            "attempts": {str(source): number for source, number in self.attempts.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Checkpoint:
        """As `to_json` wrote it; of one that is published the plan is enough.

        Raises
        ------
        KeyError, TypeError, ValueError
            If another release wrote it, or it is damaged.
        """
        # The last release had no journal.
        journal = None if data["published"] else data["journal"]
        plan = Plan.from_json(data["plan"])
        if journal is None:
            return cls(plan, published=True)
        if journal != plan.digest:
            msg = "its journal is not that of its plan"
            raise ValueError(msg)
        attempts = {int(source): number for source, number in data["attempts"].items()}
        return cls(
            plan,
            damaged=tuple(data["damaged"]),
            attempts=attempts,
            directory=data.get("directory"),
        )


def checkpoint_of(location: Location, manifest: Manifest) -> Checkpoint | None:
    """The checkpoint of a manifest, with the types that parts have requested; None without one.

    Raises
    ------
    DamagedDataset
        If another release began the run, or it is damaged.
    """
    checkpoint = recorded_checkpoint(location, manifest)
    if checkpoint is None or checkpoint.published:
        return checkpoint
    return checkpoint.with_requested_types(location, manifest.published)


def recorded_checkpoint(location: Location, manifest: Manifest) -> Checkpoint | None:
    """The checkpoint of a manifest as config.json has it; None without one.

    Raises
    ------
    DamagedDataset
        If another release began the run, or it is damaged.
    """
    if manifest.checkpoint is None:
        return None
    try:
        return Checkpoint.from_json(manifest.checkpoint)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        another = isinstance(error, KeyError) and error.args == ("journal",)
        what = "of another release" if another else f"of another release, or damaged ({error!r})"
        msg = (
            f"{location}: the unfinished run is {what}; finish it with the release that began it, "
            "or discard it with --restart"
        )
        raise DamagedDataset(msg) from error
