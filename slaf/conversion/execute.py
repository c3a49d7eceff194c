"""Execute a run: encode the remaining parts, restart with a wider type, publish."""

from __future__ import annotations

import logging
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from slaf.errors import DamagedInput, InputError
from slaf.format.schema import EXPRESSION
from slaf.kernels import are_compiled
from slaf.runs.annotations import encode_annotations
from slaf.runs.encode import NeedsWiderType, encode_part
from slaf.runs.gene_encodings import choose_gene_encodings
from slaf.runs.gene_order import sort_by_gene
from slaf.runs.output_run import OutputRun
from slaf.runs.publish import publish
from slaf.runtime.executors import run_parts
from slaf.sources.names import is_named_counts

if TYPE_CHECKING:
    from collections.abc import Callable

    from slaf.conversion.prepare import AxisTables, Prepared
    from slaf.runs.plan import Plan
    from slaf.runs.publish import Axes
    from slaf.runtime.progress import Progress
    from slaf.sources.concat.source import Concat

__all__ = ["DamagedParts", "encode_unsorted", "execute_run", "log_warnings"]

logger = logging.getLogger("slaf")


# Nonzeros that are written in a second or two; a restart that repeats fewer is not reported.
_REPORTED_NONZEROS = 1 << 24


def execute_run(
    run: OutputRun,
    prepared: Prepared,
    tables: AxisTables,
    workers: int,
    *,
    progress: Progress,
    elsewhere: Callable[[OutputRun, Prepared, Progress], None] | None = None,
) -> None:
    """Finish a run: encode its parts, sort rows by gene, publish.

    Parameters
    ----------
    elsewhere
        Encodes parts by other processes: those of inputs in the order of cells.
    """
    if run.checkpoint.published:
        run.clean_up()
        return
    axes = tables.axes
    if elsewhere is not None:
        encode_unsorted(run, prepared, axes, workers, progress)
        elsewhere(run, prepared, progress)
    choose_gene_encodings(run, prepared.inputs, () if run.base is None else run.base.tables)
    _encode(run, prepared.inputs, axes, workers, progress=progress)
    sort_by_gene(run, prepared.reading, workers, progress)
    annotations = tables.annotations or encode_annotations(prepared.inputs, axes.cells, axes.genes)
    publish(run, axes, f"slaf {version('slaf')}", annotations)


def encode_unsorted(
    run: OutputRun, prepared: Prepared, axes: Axes, workers: int, progress: Progress
) -> tuple[str, ...]:
    """Encode the parts of inputs that are not in the order of cells, which are sorted once.

    Returns the locations of these inputs.
    """
    inputs, n_base = prepared.inputs, len(run.plan.sources) - len(run.plan.added)
    choose_gene_encodings(run, inputs, () if run.base is None else run.base.tables)
    first = len(inputs.inputs) - len(run.plan.added)
    unsorted = {
        n_base + at for at in range(len(run.plan.added)) if not inputs.is_sorted(first + at)
    }

    def remaining(run: OutputRun) -> list[int]:
        plan = run.plan
        starts = ((part, plan.parts[part].start) for part in run.remaining())
        return [
            part
            for part, start in starts
            if (plan.base is None or start >= plan.base.n_cells)
            and plan.source_index(start) in unsorted
        ]

    if unsorted:
        _encode(run, inputs, axes, workers, progress=progress, remaining=remaining)
    return tuple(run.plan.sources[at].uri for at in sorted(unsorted))


def _encode(
    run: OutputRun,
    inputs: Concat,
    axes: Axes,
    workers: int,
    *,
    progress: Progress,
    remaining: Callable[[OutputRun], list[int]] = OutputRun.remaining,
) -> None:
    """Encode parts that remain; restart with a wider type if a value needs it."""
    while True:
        plan = run.plan
        cells, nonzeros = run.covered()
        progress.begin(cells, nonzeros, plan.cells_to_write)
        damaged = DamagedParts()
        encode = partial(
            encode_part,
            inputs,
            plan,
            location=run.location,
            identifiers=axes.identifiers,
            base=run.base,
            progress=progress,
        )
        try:
            run_parts(remaining(run), encode, run.record, workers, failed=damaged.note)
        except NeedsWiderType as misfit:
            _, n_discarded = run.covered()
            blocks = () if run.base is None else run.base.blocks
            run.begin(plan.widened(misfit.types, blocks))
            _log_rewrite(plan, run.plan, n_discarded)
        except InputError as error:
            damaged.keep_others(run, error)
            raise
        else:
            return


class DamagedParts:
    """The parts of a run whose inputs turn out to be damaged."""

    def __init__(self) -> None:
        self._indices: set[int] = set()

    def note(self, part: int, error: BaseException) -> None:
        """Take note of a part that failed, if its input is damaged."""
        if isinstance(error, DamagedInput):
            self._indices.add(part)

    def keep_others(self, run: OutputRun, error: InputError) -> None:
        """Keep the parts of other inputs until the damaged one is replaced; or give the run up."""
        several = isinstance(error, DamagedInput) and len(run.plan.added) > 1
        if several and (n_kept := run.keep_without(self._indices)):
            error.add_note(
                f"{n_kept} of {len(run.plan.parts)} parts are kept: repair it and run the "
                "same again, or discard them with --restart"
            )
        else:
            run.abandon()


def _log_rewrite(previous: Plan, plan: Plan, n_discarded: int) -> None:
    rewritten = [table for table in plan.rewrites if table not in previous.rewrites]
    if EXPRESSION in rewritten:
        logger.info("a value asks for %s: the dataset is written again with it", plan.value_type)
    elif rewritten:
        logger.info("a value asks for a wider type: %s is written again with it", rewritten[0])
    elif n_discarded >= _REPORTED_NONZEROS:
        logger.info(
            "a value asks for %s: beginning again (%s nonzeros are written a second time)",
            plan.value_type if plan.value_type != previous.value_type else "a wider type",
            f"{n_discarded:,}",
        )


def log_warnings(prepared: Prepared) -> None:
    """Log the remarks on the inputs, before any part is written."""
    inputs = prepared.inputs
    # Who changes values has seen which matrix they are of.
    count_matrices = () if prepared.plan.transforms else inputs.matrices_with_counts()
    if count_matrices:
        # By its name alone: another matrix of whole numbers may be anything.
        first = count_matrices[0]
        advice = (
            f"if you want counts, use --matrix {first}"
            if is_named_counts(first)
            else ("--matrix takes another matrix")
        )
        logger.warning(
            "%s holds fractions, but %s whole numbers: %s",
            inputs.info.matrix,
            " and ".join(count_matrices),
            advice,
        )
    if not are_compiled():
        logger.info(
            "slaf was installed without a C compiler, and is slower: `pip install` it anew with one"
        )
    if inputs.info.not_converted:
        logger.warning("not converted: %s", "; ".join(inputs.info.not_converted))
    for note in inputs.notes():
        logger.warning("%s", note)
