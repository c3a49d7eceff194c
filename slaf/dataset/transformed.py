"""TransformedView: a view whose values or gene ids are changed by a step."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from slaf.dataset.view import View

if TYPE_CHECKING:
    from slaf.dataset.steps import Step
    from slaf.sources.base import Source
    from slaf.transforms.base import SourceStep

__all__ = ["TransformedView"]


class TransformedView(View):
    """The view of all of another view, with the values of one matrix, or its gene ids, changed.

    Parameters
    ----------
    base
        The other view.
    step
        The change of the values.
    steps
        All steps until then.
    """

    base: View
    step: SourceStep

    def __init__(self, base: View, step: SourceStep, steps: tuple[Step, ...]) -> None:
        super().__init__(self, steps=steps)
        self.__dict__.update(base=base, step=step)
        # What cannot be done is refused now.
        self.source  # noqa: B018

    def __reduce__(self) -> tuple[Any, ...]:
        return TransformedView, (self.base, self.step, self.steps)

    @cached_property
    def source(self) -> Source:
        """The other view as a source, seen through the step."""
        return self.step.applied(self.base.as_source())

    @property
    def root(self) -> View:
        """The dataset, or the scan."""
        return self.base.root

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return self.base.n_obs

    @property
    def n_vars(self) -> int:
        """Number of genes."""
        return self.base.n_vars
