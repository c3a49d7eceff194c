"""The result of `dry_run=True`, and the signature of the verbs that take it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import wraps
from textwrap import fill, indent
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from msgspec import to_builtins

from slaf.format.schema import EXPRESSION
from slaf.options import Options, docs_of, options_of
from slaf.runs.plan import likely_type
from slaf.sources.slots import describe_slots

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from slaf.conversion.prepare import Prepared
    from slaf.dataset.dataset import Dataset
    from slaf.format.config import SourceRecord
    from slaf.runs.estimate import Estimate
    from slaf.runs.output_run import OutputRun
    from slaf.sources.base import Inputs, MatrixSize
    from slaf.storage.location import Location

__all__ = ["Preview", "preview", "with_options"]

Run = ParamSpec("Run")
DryRun = ParamSpec("DryRun")
Record = TypeVar("Record", bound=Options)


@dataclass(frozen=True, slots=True)
class Preview:
    """The report of a dry run of `slaf.convert` or `slaf.append`.

    Attributes
    ----------
    operation
        "convert" or "append".
    sources
        The inputs.
    output
        The location of the dataset.
    n_cells, n_genes
        The shape that the dataset would have.
    shared_genes
        The number of genes that all inputs have.
    extent
        Layout and number of entries of the matrices in the inputs.
    value_type
        The type of values to begin with. A value that it does not hold makes the run begin
        again with a wider one.
    rewrites
        Whether the rows of a dataset that is added to would be written again.
    parts, parts_done
        The units of work, and those that an unfinished run has done already.
    expected
        The disk space, memory and time that the run would take.
    free
        Bytes that are free on the disk of the output; None in a bucket.
    beside
        Layers, raw, obsm and the other slots that would be converted, as text.
    left_behind
        The content of the inputs that the dataset would not have, as text.
    counts_in
        If the chosen matrix holds fractions, the matrices that begin with whole numbers.
    notes
        Remarks on inputs that are brought together, as text.
    """

    operation: str
    sources: tuple[SourceRecord, ...]
    output: str
    n_cells: int
    n_genes: int
    shared_genes: int
    extent: MatrixSize
    value_type: str
    rewrites: bool
    parts: int
    parts_done: int
    expected: Estimate
    free: int | None
    beside: tuple[str, ...]
    left_behind: tuple[str, ...]
    counts_in: tuple[str, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As `--dry-run --json` prints it."""
        data: dict[str, Any] = to_builtins(self)
        return data


class Verb(Protocol[Run, DryRun]):
    """A function of inputs, a location, and options as keywords; a dry run gives a `Preview`."""

    @overload
    def __call__(
        self,
        inputs: Inputs,
        output: str | os.PathLike[str] | Location,
        /,
        *args: Run.args,
        **options: Run.kwargs,
    ) -> Dataset: ...

    @overload
    def __call__(
        self,
        inputs: Inputs,
        output: str | os.PathLike[str] | Location,
        /,
        *args: DryRun.args,
        **options: DryRun.kwargs,
    ) -> Preview: ...


def with_options(
    record: type[Record], _run: Callable[Run, object], _dry_run: Callable[DryRun, object]
) -> Callable[[Callable[[Inputs, Any, Record], Dataset | Preview]], Verb[Run, DryRun]]:
    """Make a verb of a function of inputs, a location and a record: the options are its keywords.

    Parameters
    ----------
    record
        The options that the function takes.
    _run, _dry_run
        The same for type checkers, without and with `dry_run=True`.
    """
    options, docs = options_of(record), docs_of(record)

    def decorate(function: Callable[[Inputs, Any, Record], Dataset | Preview]) -> Any:
        @wraps(function)
        def verb(inputs: Inputs, output: Any, /, **keywords: Any) -> Dataset | Preview:
            return function(inputs, output, record.from_keywords(function.__name__, keywords))

        declared = inspect.signature(function)
        positional = [
            each.replace(kind=inspect.Parameter.POSITIONAL_ONLY)
            for each in list(declared.parameters.values())[:2]
        ]
        keywords = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=each.type
            )
            for name, each in options.items()
        ]
        documented = [f"{name}\n{indent(fill(docs.get(name, ''), 92), '    ')}" for name in options]
        verb.__doc__ = "\n".join(
            [inspect.getdoc(function) or "", "", "Other Parameters", "-" * 16, *documented]
        )
        vars(verb)["__signature__"] = declared.replace(parameters=[*positional, *keywords])
        return verb

    return decorate


def preview(ready: Prepared, unfinished: OutputRun | None) -> Preview:
    """What a prepared run would do, or what is left of it.

    Raises
    ------
    StorageError
        If the disk is too small for it.
    """
    plan, inputs = ready.plan, ready.inputs
    tables = ready.tables()
    return Preview(
        operation=plan.operation,
        sources=plan.added,
        output=str(ready.location),
        n_cells=plan.n_cells,
        n_genes=plan.n_genes,
        shared_genes=inputs.shared_genes(),
        extent=inputs.info.size,
        value_type=str(likely_type(inputs.matrix().sample_values(), plan.options)),
        rewrites=EXPRESSION in plan.rewrites,
        parts=len(plan.parts),
        parts_done=len(unfinished.parts()) if unfinished else 0,
        expected=ready.estimate(tables),
        free=ready.location.free(),
        beside=describe_slots(inputs),
        left_behind=inputs.info.not_converted,
        counts_in=inputs.matrices_with_counts(),
        notes=inputs.notes(),
    )
