"""TransformedView: a view whose values pass through a step."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from slaf.dataset.view import View
from slaf.transforms.base import TransformedSource

if TYPE_CHECKING:
    from slaf.dataset.steps import Step
    from slaf.sources.base import Source
    from slaf.transforms.base import ValueStep

__all__ = ["TransformedView"]


class TransformedView(View):
    """The view of all of another view, with the values of one matrix changed.

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
    step: ValueStep

    def __init__(self, base: View, step: ValueStep, steps: tuple[Step, ...]) -> None:
        super().__init__(self, steps=steps)
        self.__dict__.update(base=base, step=step)
        # What cannot be done is refused now.
        self.source  # noqa: B018

    def __reduce__(self) -> tuple[Any, ...]:
        return TransformedView, (self.base, self.step, self.steps)

    @cached_property
    def source(self) -> Source:
        """The other view as a source, with these values."""
        return TransformedSource(self.base.as_source(), self.step)

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
