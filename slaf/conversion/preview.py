"""Preview: the result of `dry_run=True`, and the signature of the verbs that have it."""

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
    from slaf.format.config import SourceRecord
    from slaf.runs.estimate import Estimate
    from slaf.runs.output_run import OutputRun
    from slaf.sources.base import Inputs
    from slaf.sources.matrix import MatrixSize
    from slaf.sources.search import LeftOut
    from slaf.storage.location import Location

__all__ = ["Preview", "preview", "with_keywords", "with_options"]

Run = ParamSpec("Run")
DryRun = ParamSpec("DryRun")
Record = TypeVar("Record", bound=Options)
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


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
    size
        Layout and number of entries of the matrices in the inputs.
    value_type
        The first type of values. The run restarts with a wider type if it does not hold a value.
    rewrites
        Whether an append would write the rows of the dataset again.
    parts, parts_done
        The parts of the run, and the parts that an unfinished run has finished.
    estimate
        The disk space, memory and time that the run would take.
    free
        Bytes that are free on the disk of the output; None in a bucket.
    annotations
        Layers, raw, obsm and the other slots that would be converted, as text.
    not_converted
        The content of the inputs that would not be converted, as text.
    counts_in
        If the chosen matrix has fractions, the matrices whose first values are whole numbers.
    left_out
        Contents of the folders of inputs that are not converted, and why.
    notes
        Remarks on inputs that are concatenated, as text.
    """

    operation: str
    sources: tuple[SourceRecord, ...]
    output: str
    n_cells: int
    n_genes: int
    shared_genes: int
    size: MatrixSize
    value_type: str
    rewrites: bool
    parts: int
    parts_done: int
    estimate: Estimate
    free: int | None
    annotations: tuple[str, ...]
    not_converted: tuple[str, ...]
    counts_in: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As `--dry-run --json` prints it."""
        data: dict[str, Any] = to_builtins(self)
        return data


class Verb(Protocol[Run, DryRun, Result_co]):
    """A function of inputs, a location, and options as keywords; a dry run gives a `Preview`."""

    @overload
    def __call__(
        self,
        inputs: Inputs,
        output: str | os.PathLike[str] | Location,
        /,
        *args: Run.args,
        **options: Run.kwargs,
    ) -> Result_co: ...

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
) -> Callable[[Callable[[Inputs, Any, Record], Result | Preview]], Verb[Run, DryRun, Result]]:
    """Decorate a function of inputs, a location and a record: options become its keywords.

    Parameters
    ----------
    record
        The record of the options.
    _run, _dry_run
        The same options for type checkers, without and with `dry_run=True`.
    """
    decorate: Any = with_keywords(record)
    return decorate  # type: ignore[no-any-return] # `Verb` has overloads that no decorator infers


def with_keywords(
    record: type[Record],
) -> Callable[[Callable[[Inputs, Any, Record], Result]], Callable[..., Result]]:
    """Decorate a function of inputs, a location and a record: options become its keywords."""
    options, docs = options_of(record), docs_of(record)

    def decorate(function: Callable[[Inputs, Any, Record], Result]) -> Callable[..., Result]:
        @wraps(function)
        def verb(inputs: Inputs, output: Any, /, **keywords: Any) -> Result:
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


def preview(prepared: Prepared, unfinished: OutputRun | None) -> Preview:
    """The preview of a prepared run, or of the rest of an unfinished one.

    Raises
    ------
    StorageError
        If the disk is too small.
    """
    plan, inputs = prepared.plan, prepared.inputs
    tables = prepared.tables()
    return Preview(
        operation=plan.operation,
        sources=plan.added,
        output=str(prepared.location),
        n_cells=plan.n_cells,
        n_genes=plan.n_genes,
        shared_genes=inputs.shared_genes(),
        size=inputs.info.size,
        value_type=str(likely_type(inputs.matrix().sample_values(), plan.options)),
        rewrites=EXPRESSION in plan.rewrites,
        parts=len(plan.parts),
        parts_done=len(unfinished.parts()) if unfinished else 0,
        estimate=prepared.estimate(tables),
        free=prepared.location.free(),
        annotations=describe_slots(inputs),
        not_converted=inputs.info.not_converted,
        counts_in=inputs.matrices_with_counts(),
        left_out=prepared.left_out,
        notes=inputs.notes(),
    )
