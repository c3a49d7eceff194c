"""The options of the verbs: records that are the keywords of each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, Literal

from slaf.options.choices import ArrayCompression, Join
from slaf.options.declare import option, options_of
from slaf.options.inputs import InputOptions, ReadOptions, SampleOptions
from slaf.options.steps import StepOptions
from slaf.options.store import PartOptions, StoreOptions, slot_names
from slaf.runtime.progress import Progress

__all__ = [
    "AppendDryRun",
    "AppendOptions",
    "AppendRun",
    "ConvertDryRun",
    "ConvertOptions",
    "ConvertRun",
    "PlanDryRun",
    "PlanOptions",
    "PlanRun",
    "ReadingOptions",
    "RunOptions",
    "ScanOptions",
    "TransformOptions",
]


def _executor(value: Any) -> Any:
    """The executor of parts, checked.

    Raises
    ------
    ValueError
        If it is neither "ray" nor an executor.
    """
    if value != "ray" and not isinstance(value, Executor):
        msg = f"executor is {value!r}, but it is ray, or in Python a concurrent.futures.Executor"
        raise ValueError(msg)
    return value


@dataclass(frozen=True, kw_only=True)
class RunOptions(InputOptions):
    """How `slaf.convert` and `slaf.append` run."""

    allow_duplicate: bool = False
    """Take an input once more that was given, or is in the dataset, already; and inputs of one
    folder or pattern where one has all cell ids of another: time and bytes for both.
    """

    input_storage_options: Mapping[str, str] | None = option(
        None, flag="--input-storage-option", shown=False
    )
    """How to reach the buckets of the inputs, where those are reached in another way; then none of
    `storage_options` holds for the inputs.
    """

    restart: bool = False
    """Discard an unfinished run at the output, be it another: its time is lost."""

    dry_run: bool = False
    """Report what would be done, refuse what cannot work, and write nothing. The matrix is not
    read, so values that no type holds are not found.
    """

    executor: Executor | str | None = option(None, metavar="ray", parse=_executor)
    """Encode the parts by other processes, which reach inputs and output: "ray" for the tasks of a
    Ray cluster (extra `slaf[ray]`), in Python also any `concurrent.futures.Executor`. Ray's take
    credentials from their environment. Less time, and the memory of a part for each.
    """

    ray_address: str | None = None
    """Address of the Ray cluster, like auto or ray://head:10001; by default that of RAY_ADDRESS, or
    else this machine. Its cores decide the time.
    """

    progress: Progress | None = option(None, shown=False)
    """Object that receives the progress of the run, by the two methods of
    `slaf.runtime.progress.Progress`.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ray_address is not None and self.executor != "ray":
            msg = "ray_address is for executor='ray'; name both"
            raise ValueError(msg)
        given = self.input_storage_options or getattr(self, "storage_options", None)
        if self.executor == "ray" and given:
            msg = "storage options are not sent to Ray; set them in the environment of its workers"
            raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class ConvertOptions(RunOptions, SampleOptions, StoreOptions, ReadOptions):
    """The keywords of `slaf.convert`."""

    overwrite: bool = False
    """Replace the dataset at the output, which stays readable until the new one is whole: until
    then bytes for both.
    """


@dataclass(frozen=True, kw_only=True)
class TransformOptions(ConvertOptions, StepOptions):
    """The keywords of `slaf.transform`."""

    dry_run: bool = False
    """Report how many cells and genes each rule removes, and write nothing. The matrix is read as
    often as the rules ask.
    """

    output_format: str | None = None
    """Format to export to, where the name of the output does not say it, as h5ad; slaf for a
    dataset. It decides time and bytes.
    """

    array_compression: ArrayCompression | None = option(None, metavar="gzip|zstd|lzf|none")
    """Compression of the arrays of an export: bytes against time. h5ad has gzip by default, zarr
    zstd, and no lzf.
    """


@dataclass(frozen=True, kw_only=True)
class AppendOptions(RunOptions, PartOptions, ReadOptions):
    """The keywords of `slaf.append`. How the dataset is stored was chosen when it was made."""

    matrix: str = option("", metavar="X|raw|layer:NAME")
    """Matrix of the inputs: X, raw or layer:NAME; the one that the dataset was made of, by default.
    Its nonzeros decide time and bytes.
    """

    join: Literal["strict", "union"] = "strict"
    """strict refuses inputs whose genes are not those of the dataset, in whatever order; union puts
    genes that it has not behind those that it has, which takes more bytes. To leave out genes of
    the dataset, convert all inputs anew.
    """

    without: str | Sequence[str] = option((), parse=slot_names)
    """Leave out a slot, like uns, or one element or column, like obsm:X_pca or obs:batch, besides
    what was left out when the dataset was made: less time and bytes.
    """

    cell_id_prefix: bool | None = None
    """Put the part of its path that tells an input from the others before each cell id, like S01_;
    by default as the dataset was made. A few bytes a cell.
    """

    samples: str | os.PathLike[str] | None = option(None, metavar="FILE|none", parse=os.fspath)
    """Sample sheet (csv or tsv with a header), a row for each sample: its columns become columns of
    obs. One of them has the file name, the path or the sample of each input. By default the sheet
    that was given last is read again; none takes no sheet. A few bytes a cell.
    """

    new_only: bool = False
    """Leave out the inputs whose content the dataset has already: the time to compare them. Where
    nothing is left to append, the command line ends with 7.
    """

    by_gene: bool | None = None
    """Write all nonzeros in the order of genes too, anew with each append: time and bytes; or leave
    that out from now on. By default the dataset stays with them or without.
    """


@dataclass(frozen=True, kw_only=True)
class PlanOptions(ConvertOptions):
    """The keywords of `slaf.plan`: those of `slaf.convert`, or with `append` of `slaf.append`.

    An executor is refused.
    """

    append: bool = False
    """Add the inputs to the dataset at the output. How it is stored was chosen when it was made."""

    matrix: str = option("", metavar="X|raw|layer:NAME")
    """Matrix of the inputs: X, raw or layer:NAME; of an append the one that the dataset was made
    of, by default. Its nonzeros decide time and bytes.
    """

    by_gene: bool | None = None  # type: ignore[assignment]  # of an append also None
    """Also write the nonzeros in the order of genes, which `slaf publish` does: two and a half
    times the time, and half as many bytes again. By default a dataset stays with them or without.
    """

    cell_id_prefix: bool | None = None  # type: ignore[assignment]  # of an append also None
    """Put the part of its path that tells an input from the others before each cell id, like S01_,
    which makes ids that occur in several unique; an append does as the run before it, by default. A
    few bytes a cell.
    """

    new_only: bool = False
    """Leave out the inputs whose content the dataset has already; for an append only."""

    def for_verb(self) -> ConvertOptions | AppendOptions:
        """The options of the verb that is planned.

        Raises
        ------
        ValueError
            If one was chosen that an append does not have.
        """
        if self.executor is not None:
            msg = "executor is for slaf convert and append; the parts of a plan are for slaf part"
            raise ValueError(msg)
        if not self.append:
            if self.new_only:
                msg = "new_only is for an append: there is no dataset yet; name append too"
                raise ValueError(msg)
            chosen = replace(
                self,
                matrix=self.matrix or "X",
                by_gene=bool(self.by_gene),
                cell_id_prefix=bool(self.cell_id_prefix),
            )
            return ConvertOptions.part_of(chosen)
        allowed = {"append", *options_of(AppendOptions)}
        for name, declared in options_of(PlanOptions).items():
            if name not in allowed and getattr(self, name) != declared.default:
                msg = f"{name} was chosen when the dataset was made: leave it out of an append"
                raise ValueError(msg)
        return AppendOptions.part_of(self)


@dataclass(frozen=True, kw_only=True)
class ReadingOptions(InputOptions, ReadOptions):
    """How an input is found and read."""


@dataclass(frozen=True, kw_only=True)
class ScanOptions(SampleOptions, ReadingOptions):
    """The keywords of `slaf.scan`."""

    join: Join = "strict"
    """Genes of several inputs, as for `slaf.convert`."""


# What a verb returns depends on `dry_run`: the records below tell it to type checkers and editors.


@dataclass(frozen=True, kw_only=True)
class ConvertRun(ConvertOptions):
    """The keywords of a conversion."""

    dry_run: Literal[False] = False


@dataclass(frozen=True, kw_only=True)
class ConvertDryRun(ConvertOptions):
    """The keywords of a conversion that is not done."""

    dry_run: Literal[True]


@dataclass(frozen=True, kw_only=True)
class AppendRun(AppendOptions):
    """The keywords of an append."""

    dry_run: Literal[False] = False


@dataclass(frozen=True, kw_only=True)
class AppendDryRun(AppendOptions):
    """The keywords of an append that is not done."""

    dry_run: Literal[True]


@dataclass(frozen=True, kw_only=True)
class PlanRun(PlanOptions):
    """The keywords of a plan."""

    dry_run: Literal[False] = False


@dataclass(frozen=True, kw_only=True)
class PlanDryRun(PlanOptions):
    """The keywords of a plan that is not made."""

    dry_run: Literal[True]
