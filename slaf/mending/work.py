"""The work of a repair, until all that is damaged is written again and proven."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from slaf.conversion.publish import read_axes
from slaf.conversion.run import encode_parts
from slaf.mending.parts import mend_part
from slaf.mending.publish import Mended, data_of
from slaf.mending.whole import Remade, kept_rows, starts_of
from slaf.schema import CELLS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.conversion.checkpoint import PartResult
    from slaf.conversion.claim import Run
    from slaf.conversion.publish import Axes
    from slaf.manifest import Published
    from slaf.mending.publish import Data
    from slaf.mending.survey import Survey
    from slaf.progress import Progress
    from slaf.sources import Concat
    from slaf.storage import Location

__all__ = ["Work", "rows_left"]


def rows_left(
    location: Location, published: Published, survey: Survey
) -> dict[str, pa.Table | None]:
    """The rows of each damaged table that is written whole; None where only an input has them."""
    return {
        name: None if name in survey.lost else kept_rows(location, published, name)
        for name in sorted(survey.tables & published.proof.tables.keys())
    }


@dataclass(frozen=True, slots=True)
class Work:
    """A repair that is under way; nothing of it has its place in the dataset yet.

    Attributes
    ----------
    run
        Which owns the dataset.
    published
        The dataset as it is.
    survey
        What of it is damaged.
    rows
        As `rows_left` gives them.
    """

    run: Run
    published: Published
    survey: Survey
    rows: Mapping[str, pa.Table | None]

    def done(self, source: Concat | None, workers: int, progress: Progress) -> Mended:
        """All that is damaged, written again and proven.

        Parameters
        ----------
        source
            The inputs; None if none are needed.
        workers, progress
            As for `slaf.repair`.

        Raises
        ------
        SourceChanged
            If the inputs do not give what was converted.
        """
        axes = None if source is None else read_axes(source)
        if source is not None and axes is not None:
            self._encode(source, axes, workers, progress)
        run, location = self.run, self.run.location
        data = data_of(location, self.published, self.survey, run.checkpoint)
        tables = {name: rows for name, rows in self.rows.items() if rows is not None}
        files: dict[str, bytes] = {}
        lost = [name for name, rows in self.rows.items() if rows is None]
        if source is not None and axes is not None and (lost or self.survey.elements):
            made = Remade(source, self.published, axes)
            starts = self._starts(data) if CELLS in lost else {}
            tables |= {name: made.table(name, starts) for name in lost}
            files = {name: made.file(name) for name in self.survey.elements}
        return Mended(location, self.published, self.survey, run.checkpoint, data, tables, files)

    def _encode(self, source: Concat, axes: Axes, workers: int, progress: Progress) -> None:
        checkpoint = self.run.checkpoint
        progress.begin(*checkpoint.covered(), checkpoint.plan.cells_to_write)
        encode = partial(self._part, source, axes, progress)
        encode_parts(checkpoint.remaining(), encode, self.run.record, workers)

    def _part(self, source: Concat, axes: Axes, progress: Progress, index: int) -> PartResult:
        plan = self.run.checkpoint.plan
        return mend_part(
            source,
            plan,
            index,
            self.run.location,
            tables=self.survey.parts[plan.parts[index]],
            published=self.published,
            identifiers=axes.identifiers,
            progress=progress,
        )

    def _starts(self, data: Mapping[str, Data]) -> Mapping[str, NDArray[np.int64]]:
        files = {name: one.files(self.published.tables[name]) for name, one in data.items()}
        return starts_of(self.run.location, self.published, files)
