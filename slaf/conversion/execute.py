"""Conversion: plan, parts, publish."""

from __future__ import annotations

import logging
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from slaf.conversion.plan_append import with_rewrite
from slaf.errors import DamagedInput, InputError
from slaf.format.schema import EXPRESSION
from slaf.runs.annotations import encode_annotations
from slaf.runs.encode import NeedsWiderType, encode_part
from slaf.runs.gene_order import sort_by_gene
from slaf.runs.publish import publish
from slaf.runtime.executors import run_parts

if TYPE_CHECKING:
    from slaf.conversion.prepare import AxisTables, Prepared
    from slaf.runs.journal import PartResult
    from slaf.runs.output_run import OutputRun
    from slaf.runs.plan import Plan
    from slaf.runs.publish import Axes
    from slaf.runtime.progress import Progress
    from slaf.sources.concat.source import Concat

__all__ = ["execute_run", "log_warnings"]

logger = logging.getLogger("slaf")


# Nonzeros that are written in a second or two: how many of them were, depends on the cores.
_WORTH_TELLING = 1 << 24


def execute_run(
    run: OutputRun, ready: Prepared, tables: AxisTables, workers: int, progress: Progress
) -> None:
    """All that is left to do of a run: its parts, the rows in the order of genes, and the end."""
    if run.checkpoint.published:
        run.clean_up()
        return
    axes = tables.axes
    _encode(run, ready.inputs, axes, workers, progress)
    sort_by_gene(run, ready.reading, workers, progress)
    annotations = tables.annotations or encode_annotations(ready.inputs, axes.cells, axes.genes)
    publish(run, axes, f"slaf {version('slaf')}", annotations)


def _encode(run: OutputRun, inputs: Concat, axes: Axes, workers: int, progress: Progress) -> None:
    """Write the parts that remain; begin again with a wider type where a value asks for it."""
    while True:
        plan = run.plan
        cells, nonzeros = run.covered()
        progress.begin(cells, nonzeros, plan.cells_to_write)
        damaged: set[int] = set()
        encode = partial(
            _encode_readable,
            damaged,
            inputs,
            plan,
            location=run.location,
            identifiers=axes.identifiers,
            base=run.base,
            progress=progress,
        )
        try:
            run_parts(run.remaining(), encode, run.record, workers)
        except NeedsWiderType as misfit:
            _, lost = run.covered()
            run.begin(
                with_rewrite(
                    misfit.wider, misfit.table, () if run.base is None else run.base.blocks
                )
            )
            _log_rewrite(plan, run.plan, lost)
        except InputError as error:
            several = isinstance(error, DamagedInput) and len(plan.added) > 1
            # Of several inputs those that are done stay so, until the damaged one is repaired.
            if several and (n_kept := run.keep_without(damaged)):
                error.add_note(
                    f"{n_kept} of {len(plan.parts)} parts are kept: mend it and run the "
                    "same again, or discard them with --restart"
                )
            else:
                run.abandon()
            raise
        else:
            return


def _encode_readable(
    damaged: set[int], inputs: Concat, plan: Plan, index: int, **how: Any
) -> PartResult:
    """Encode a part; note those of which the input turns out to be damaged."""
    try:
        return encode_part(inputs, plan, index, **how)
    except DamagedInput:
        damaged.add(index)
        raise


def _log_rewrite(before: Plan, now: Plan, lost: int) -> None:
    again = [table for table in now.rewrites if table not in before.rewrites]
    if EXPRESSION in again:
        logger.info("a value asks for %s: the dataset is written again with it", now.value_type)
    elif again:
        logger.info("a value asks for a wider type: %s is written again with it", again[0])
    elif lost >= _WORTH_TELLING:
        logger.info(
            "a value asks for %s: beginning again (%s nonzeros are written a second time)",
            now.value_type if now.value_type != before.value_type else "a wider type",
            f"{lost:,}",
        )


def log_warnings(inputs: Concat) -> None:
    """Say what a user would want to know before the work begins."""
    elsewhere = inputs.matrices_with_counts()
    if elsewhere:
        logger.warning(
            "%s holds fractions, but %s whole numbers: if you want counts, use --matrix %s",
            inputs.info.matrix,
            " and ".join(elsewhere),
            elsewhere[0],
        )
    left = inputs.info.not_converted
    if left:
        logger.warning("not converted: %s", "; ".join(left))
    for note in inputs.notes():
        logger.warning("%s", note)
