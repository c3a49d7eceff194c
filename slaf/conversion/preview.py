"""What a conversion would do, found out without beginning it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from slaf.conversion.beside import read_beside
from slaf.conversion.claim import unfinished_run
from slaf.conversion.estimate import estimate, refuse_if_too_small
from slaf.conversion.plan import Options, counts_elsewhere, likely_type, make_plan
from slaf.conversion.publish import read_axes
from slaf.errors import Locked
from slaf.schema import LAYERS, Compression
from slaf.sources import ReadOptions, open_source
from slaf.sources.companions import named
from slaf.storage import Location

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import anndata

    from slaf.conversion.estimate import Estimate
    from slaf.conversion.plan import Plan
    from slaf.manifest import SourceRecord
    from slaf.sources.base import Extent

__all__ = ["Preview", "preview"]


@dataclass(frozen=True, slots=True)
class Preview:
    """What a conversion would do.

    Attributes
    ----------
    source
        The input.
    output
        Where the dataset would be.
    extent
        How the matrix lies in the input, and how many entries it holds.
    value_type
        The type of values to begin with. A value that it does not hold makes the run begin
        again with a wider one.
    parts, parts_done
        The units of work, and those that an unfinished run has done already.
    expected
        What it would take.
    free
        Bytes that are free on the disk of the output.
    beside
        What goes along with the matrix, in words: layers, raw, obsm and the other slots.
    left_behind
        What the input holds and the dataset will not, in words.
    counts_in
        Where the chosen matrix holds fractions: the matrices that begin with whole numbers.
    """

    source: SourceRecord
    output: str
    extent: Extent
    value_type: str
    parts: int
    parts_done: int
    expected: Estimate
    free: int
    beside: tuple[str, ...]
    left_behind: tuple[str, ...]
    counts_in: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As `slaf convert --dry-run --json` prints it."""
        return asdict(self)


def preview(
    source: str | os.PathLike[str] | anndata.AnnData,
    output: str | os.PathLike[str] | Location,
    *,
    matrix: str = "X",
    genome: str | None = None,
    feature_type: str | None = None,
    measurement: str | None = None,
    format: str | None = None,
    compression: str = Compression.BALANCED,
    chunk_size: int | None = None,
    create_indices: bool = False,
    layers: str | Sequence[str] = "all",
    raw: bool = True,
    workers: int = 0,
    memory: int | None = None,
    scratch: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    restart: bool = False,
) -> Preview:
    """Say what `slaf.convert` would do with these arguments, and refuse what it would refuse.

    Nothing is written. The matrix is not read, so values that no type holds are not found.

    Raises
    ------
    InputError
        If the input cannot be converted.
    ConflictError
        If the output is not free for this conversion.
    StorageError
        If the disk is too small.
    """
    options = Options(
        matrix=matrix,
        compression=Compression(compression),
        chunk_size=chunk_size,
        create_indices=create_indices,
        layers=layers if isinstance(layers, str) else tuple(layers),
        raw=raw,
    )
    location = Location.of(output)
    reading = ReadOptions.beside(
        location,
        matrix,
        memory,
        scratch,
        genome=genome,
        feature_type=feature_type,
        measurement=measurement,
    )
    with open_source(source, format, reading) as opened:
        plan = make_plan(opened, options, reading.choice())
        if location.is_locked():
            msg = f"{location}: another process is writing there"
            raise Locked(msg)
        there = unfinished_run(location, plan, overwrite=overwrite, restart=restart)
        axes = read_axes(opened)
        read_beside(opened, options, axes.cells, axes.genes)
        expected = estimate(plan, opened, reading, workers)
        refuse_if_too_small(location, reading, expected)
        return Preview(
            source=plan.source,
            output=str(location),
            extent=opened.extent(),
            value_type=str(likely_type(opened.peek(), options)),
            parts=len(plan.parts),
            parts_done=len(there.done) if there else 0,
            expected=expected,
            free=location.free(),
            beside=named(opened, _layers(plan), raw=raw),
            left_behind=opened.left_behind(),
            counts_in=counts_elsewhere(opened),
        )


def _layers(plan: Plan) -> list[str]:
    return [
        values.original
        for companion in plan.companions
        for values in companion.values
        if companion.table == LAYERS
    ]
