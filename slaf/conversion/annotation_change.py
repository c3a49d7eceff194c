"""The change of a dataset that an annotation makes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from slaf.format.records import AnnotatedRecord

if TYPE_CHECKING:
    from slaf.conversion.annotation_input import Annotating
    from slaf.dataset.dataset import Dataset
    from slaf.format.config import DatasetConfig
    from slaf.format.records import ComputedRecord

__all__ = ["AnnotationChange"]


@dataclass(frozen=True)
class AnnotationChange:
    """New content of a dataset, and the names of content to drop.

    Attributes
    ----------
    dataset
        The dataset.
    added
        The new content, which is added or replaces other, in the order of the dataset.
    dropped
        The names to drop.
    computed
        The columns that were computed of the dataset, be they new or not.
    """

    dataset: Dataset
    added: Annotating
    dropped: frozenset[str]
    computed: ComputedRecord | None = None

    @property
    def published(self) -> DatasetConfig:
        """The record of the dataset before."""
        return self.dataset.published

    @cached_property
    def changes(self) -> frozenset[str]:
        """The names of all that is added, replaced or dropped."""
        return self.dropped | frozenset(self.added.names)

    @cached_property
    def record(self) -> AnnotatedRecord:
        """The record of all that the dataset will be annotated with, without digests."""
        before, new = self.published.annotated, [self.computed] if self.computed else []
        names = {*self.published.annotated_names, *self.changes}
        names.update(name for one in new for name in one.names)
        gone = self.changes.union(*(one.names for one in new))
        kept = () if before is None else before.computed_but(gone)
        return AnnotatedRecord(tuple(sorted(names)), computed=(*kept, *new))

    @property
    def is_new(self) -> bool:
        """True if the annotation writes anything."""
        before = self.published.annotated
        is_recorded = before is not None and self.record.computed == before.computed
        return bool(self.changes) or not (self.computed is None or is_recorded)

    def has_changed(self, *kinds: str) -> bool:
        """True if content of these kinds, as "obs" or "layer", is added, replaced or dropped."""
        return any(name.partition(":")[0] in kinds for name in self.changes)
