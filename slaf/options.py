"""The options of the verbs, each declared once: name, type, default, and documentation below it.

The records are what functions pass on, what `slaf.convert` and `slaf.append` take as keywords, and
what the command line makes its own options from. So the module imports no library of arrays.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import operator
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, fields, replace
from functools import cache
from itertools import pairwise
from types import NoneType
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Literal,
    Self,
    TypeAlias,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from slaf.runtime.progress import Progress
from slaf.runtime.resources import default_memory_budget

if TYPE_CHECKING:
    from slaf.storage.location import Location

__all__ = [
    "ALIGNED_SLOTS",
    "COLUMNS",
    "INPUT_CHOICES",
    "LAYER",
    "RAW_VARM",
    "READS_CHOICES",
    "SLOTS",
    "VALUE_STEPS",
    "AppendDryRun",
    "AppendOptions",
    "AppendRun",
    "ArrayCompression",
    "Compression",
    "ConvertDryRun",
    "ConvertOptions",
    "ConvertRun",
    "InputOptions",
    "Join",
    "Layout",
    "Normalization",
    "Option",
    "Options",
    "PartOptions",
    "PlanDryRun",
    "PlanOptions",
    "PlanRun",
    "ReadOptions",
    "RunOptions",
    "SampleOptions",
    "ScanOptions",
    "SlotSelection",
    "StepOptions",
    "StoreOptions",
    "Strand",
    "TransformOptions",
    "UnsMerge",
    "docs_of",
    "one_of",
    "option",
    "options_of",
    "parse_bytes",
]

Compression: TypeAlias = Literal["fast", "balanced", "small"]
Join: TypeAlias = Literal["strict", "union", "intersection"]
UnsMerge: TypeAlias = Literal["same", "unique", "first", "only"]
Layout: TypeAlias = Literal["csr", "csc"]
Strand: TypeAlias = Literal["+", "-"]
Normalization: TypeAlias = Literal["cpm", "rpkm"]
ArrayCompression: TypeAlias = Literal["gzip", "zstd", "lzf", "none"]

LAYER: Final = "layer"
RAW_VARM: Final = "raw_varm"
ALIGNED_SLOTS: Final = ("obsm", "varm", "obsp", "varp")
SLOTS: Final = (*ALIGNED_SLOTS, "uns")
COLUMNS: Final = ("obs", "var")
# The steps that change values.
VALUE_STEPS: Final = ("downsample_counts", "normalize_total", "log1p")
_KINDS: Final = (LAYER, "raw", RAW_VARM, *SLOTS, *COLUMNS)

# The options of files of reads, and all that only some formats know.
READS_CHOICES: Final = (
    *("bin_size", "regions", "chroms", "min_mapq", "exclude_flags", "include_flags"),
    *("stranded", "blacklist"),
)
INPUT_CHOICES: Final = (
    *("genome", "feature_type", "measurement", "modality"),
    *("barcodes", "features", "gene_id_column", "transpose"),
    *READS_CHOICES,
)

# Cells that one digest covers, unless the caller says how many make a part.
_BLOCK_CELLS = 4096

_UNITS: Final = ("", "K", "M", "G", "T")

_T = TypeVar("_T")


# ------------------------------------------------------------------------------ one option, checked


@dataclass(frozen=True, kw_only=True)
class Option:
    """What an option takes.

    Attributes
    ----------
    name, type, default
        As the record declares them.
    flag
        The name on the command line, where it is not the same with hyphens.
    metavar
        What stands for its value there, where that is special.
    minimum
        The least number that it takes.
    parse
        What makes of a value the one that a record has, or raises `ValueError`.
    """

    name: str = ""
    type: Any = None
    default: Any = None
    flag: str = ""
    metavar: str | None = None
    minimum: int | None = None
    parse: Callable[[Any], Any] | None = None

    @property
    def kinds(self) -> frozenset[Any]:
        """The types, one of which its value has."""
        return frozenset(get_args(self.type) or {self.type})

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that it takes, where they are listed."""
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    def checked(self, value: Any) -> Any:
        """The value, if it is one that the option takes.

        Raises
        ------
        ValueError
            If it is not.
        """
        if value is None and NoneType in self.kinds:
            return None
        if self.parse is not None:
            return self.parse(value)
        if self.choices:
            return one_of(self.type, self.name, value)
        if bool in self.kinds:
            if value not in (True, False):
                msg = f"{self.name} is {value!r}, but it is True or False"
                raise ValueError(msg)
            return bool(value)
        return self._number(value) if int in self.kinds else value

    def _number(self, value: Any) -> int:
        try:
            number = operator.index(value)
        except TypeError:
            msg = f"{self.name} is {value!r}, but it is a whole number"
            raise ValueError(msg) from None
        if self.minimum is not None and number < self.minimum:
            msg = f"{self.name} is {number}, but it is at least {self.minimum}"
            raise ValueError(msg)
        return number


_PLAIN = Option()


def option(default: _T, *, shown: bool = True, **declared: Any) -> _T:
    """Declare a field of a record with more than its default.

    Parameters
    ----------
    default
        Its value where none is given.
    shown
        Whether its value, which may be secret, stands in the text of the record.
    declared
        As `Option` has it.
    """
    return field(default=default, repr=shown, metadata={"option": Option(**declared)})


def one_of(choices: Any, name: str, value: object) -> Any:
    """The value of an option, if it is one of its choices.

    Raises
    ------
    ValueError
        If it is none of them.
    """
    allowed = get_args(choices)
    if value not in allowed:
        msg = f"{name} is {value!r}, but it is one of {', '.join(allowed)}"
        raise ValueError(msg)
    return value


def options_of(record: type[Options]) -> Mapping[str, Option]:
    """The options of a record, by name."""
    untyped: Any = record  # mypy takes no frozen dataclass for hashable
    return _options_of(untyped)


@cache
def _options_of(record: Any) -> Mapping[str, Option]:
    hints = get_type_hints(record)
    return {
        each.name: replace(
            each.metadata.get("option", _PLAIN),
            name=each.name,
            type=hints[each.name],
            default=each.default,
        )
        for each in fields(record)
    }


def docs_of(record: type[Options]) -> Mapping[str, str]:
    """What the options of a record do: the docstrings below its fields, each as one line."""
    docs: dict[str, str] = {}
    for base in reversed(record.__mro__[:-1]):
        docs |= _docstrings(base.__module__).get(base.__name__, {})
    return docs


@cache
def _docstrings(module: str) -> Mapping[str, Mapping[str, str]]:
    """The docstrings below the fields of each class of a module; none where its source is not."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except OSError:
        return {}
    return {
        each.name: {
            target.id: " ".join(str(text.value).split())
            for one, other in pairwise(each.body)
            if isinstance(one, ast.AnnAssign)
            and isinstance(target := one.target, ast.Name)
            and isinstance(other, ast.Expr)
            and isinstance(text := other.value, ast.Constant)
        }
        for each in tree.body
        if isinstance(each, ast.ClassDef)
    }


@dataclass(frozen=True, kw_only=True)
class Options:
    """A record of options, immutable and checked.

    Raises
    ------
    ValueError
        If an option has a value that it does not take.
    """

    def __post_init__(self) -> None:
        for each in options_of(type(self)).values():
            object.__setattr__(self, each.name, each.checked(getattr(self, each.name)))

    @classmethod
    def from_keywords(cls, verb: str, keywords: Mapping[str, Any]) -> Self:
        """The record that a caller of a verb describes by keywords.

        Raises
        ------
        TypeError
            If the verb has no such option.
        """
        names = options_of(cls)
        for name in keywords:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1, cutoff=0)
                msg = f"{verb}() has no option {name!r}; the nearest is {near[0]!r}"
                raise TypeError(msg)
        return cls(**keywords)

    @classmethod
    def part_of(cls, options: Options) -> Self:
        """Those of a larger record that this record has too."""
        return cls(**{name: getattr(options, name) for name in options_of(cls)})

    def to_json(self) -> dict[str, Any]:
        """As config.json has it."""
        values = {name: getattr(self, name) for name in options_of(type(self))}
        return {n: list(v) if isinstance(v, tuple) else v for n, v in values.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """As `to_json` wrote it; what is absent has its default.

        Raises
        ------
        TypeError, ValueError
            If it has an option, or a value of one, of another release.
        """
        return cls(**data)


# ------------------------------------------------------------------------------------------ records


def parse_bytes(size: int | str) -> int:
    """The bytes of a size, like 500000000, "500MB" or "2G"; units are powers of 1024.

    Raises
    ------
    ValueError
        If it is no size.

    Examples
    --------
    >>> parse_bytes("1.5KB"), parse_bytes("2G")
    (1536, 2147483648)
    """
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", str(size).strip(), re.IGNORECASE)
    if matched is None:
        msg = f'memory is {size!r}, but it is a number of bytes, like 500000000, "500MB" or "2GB"'
        raise ValueError(msg)
    return int(float(matched[1]) * 1024 ** _UNITS.index(matched[2].upper()))


def _slot_names(names: str | Sequence[str]) -> tuple[str, ...]:
    """What `without` names: slots and elements of slots.

    Raises
    ------
    ValueError
        If one of them is something that no input can have.
    """
    listed = (names,) if isinstance(names, str) else tuple(names)
    for name in listed:
        if name.partition(":")[0] not in _KINDS:
            msg = (
                f"{name!r} is nothing that could be left out; name one of {', '.join(_KINDS)}, or "
                "an element or a column of one, like obsm:X_pca or obs:batch"
            )
            raise ValueError(msg)
    return listed


def _strandedness(value: Any) -> str:
    """The strands of a library.

    Raises
    ------
    ValueError
        If it is none.
    """
    return str(one_of(Literal["R", "F", "U"], "stranded", value))


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
class ReadOptions(Options):
    """How an input is read: the record that formats get."""

    matrix: str = option("X", metavar="X|raw|layer:NAME")
    """Matrix of the input: X, raw or layer:NAME. Its nonzeros decide time and bytes."""

    genome: str | None = None
    """Genome of a 10x H5 file of several: its matrix, or its features of the matrix of all. Its
    nonzeros decide time and bytes.
    """

    feature_type: str | None = None
    """Features of a 10x matrix, like 'Gene Expression'; all by default. Fewer take fewer bytes."""

    measurement: str | None = None
    """Measurement of a TileDB-SOMA experiment; RNA, or the only one, by default. Its nonzeros
    decide time and bytes.
    """

    modality: str | None = None
    """Modality of a MuData; rna, or the only one, by default. Its nonzeros decide time and
    bytes.
    """

    barcodes: str | os.PathLike[str] | None = option(None, metavar="FILE", parse=os.fspath)
    """Table of the cells of an MTX file (tsv, csv or txt, also gzipped; with or without a header),
    where its name does not tell. Changes no time or memory.
    """

    features: str | os.PathLike[str] | None = option(None, metavar="FILE", parse=os.fspath)
    """Table of the genes of an MTX file, like `barcodes`. Changes no time or memory."""

    gene_id_column: str | None = None
    """Column of the genes of an MTX file that holds their ids: its name in the header, or its
    number from 1. Changes no time or memory.
    """

    transpose: bool | None = None
    """Whether the rows of an MTX file are cells; by default its tables and the names of its files
    tell. Changes no time or memory.
    """

    bin_size: int | None = option(None, metavar="BASES", minimum=1)
    """Bases of a bin, which is a gene of a file of reads; 1,000 by default. Fewer take more time
    and bytes.
    """

    regions: str | os.PathLike[str] | None = option(None, metavar="BED", parse=os.fspath)
    """BED file of the regions that are the genes of a file of reads, in place of bins. Fewer take
    fewer bytes.
    """

    chroms: str | None = option(None, metavar="REGEX|main|all")
    """Contigs of a file of reads: those whose whole name the expression matches, the main ones
    (chromosomes and the mitochondrial genome), or all, by default. Fewer take less time and bytes.
    """

    min_mapq: int | None = option(None, minimum=0)
    """Least mapping quality of a read that counts; 0 by default. Changes no time."""

    exclude_flags: int | None = option(None, minimum=0)
    """Sum of the SAM flags that a read must not have to count; by default 3844: unmapped,
    secondary, of failed quality, duplicate, supplementary. Unmapped reads never count. Changes no
    time.
    """

    include_flags: int | None = option(None, minimum=0)
    """Sum of the SAM flags which a read that counts has all; 0 by default. Changes no time."""

    stranded: str | None = option(None, metavar="R|F|U", parse=_strandedness)
    """Count forward and reverse fragments apart in the table of coverage: F where the first read
    of a fragment has its strand, R where it has the other one (dUTP); U, the default, counts them
    together. Apart they take more bytes.
    """

    blacklist: str | os.PathLike[str] | None = option(None, metavar="BED", parse=os.fspath)
    """BED file of regions: a read with an aligned base in one of them does not count. Changes no
    time.
    """

    workers: int = option(0, minimum=0)
    """Parts that are encoded at once, each by a thread of its own; with 0 the calling thread
    encodes one after the other. More take more memory and less time.
    """

    memory: int | str | None = option(None, parse=parse_bytes)
    """Bytes of memory, like "2G", that sorting may take where the input is not in the order of
    cells; by default a quarter of what the machine or the container has free, at most 2 GiB. It
    takes no more than it needs; with much less it takes more time.
    """

    scratch: str | os.PathLike[str] | None = None
    """Directory for what sorting cannot keep in `memory`; next to the dataset by default. A fast
    disk takes less time.
    """

    storage_options: Mapping[str, str] | None = option(None, flag="--storage-option", shown=False)
    """How to reach buckets, by the names that Lance and obstore have for it. What is not given is
    taken from the environment, where secrets are better left. Time-outs and retries change the
    time.
    """

    stage: str | os.PathLike[str] | None = None
    """Directory into which an input from a bucket or the web is downloaded first, and where it is
    kept: takes its bytes on disk. By default only what is needed is fetched.
    """

    def near(self, location: Location) -> Self:
        """The options for a dataset at this location: what spills lies next to it by default.

        There the disk is as large as the work asks for, which the system's own directory for
        temporary files often is not.
        """
        from slaf.storage.urls import local_path

        scratch = None if self.scratch is None else local_path(self.scratch)
        if scratch is None and not location.is_remote:
            parent = location.path.absolute().parent
            scratch = parent if parent.is_dir() else None
        return replace(self, memory=self.memory_budget, scratch=scratch)

    @property
    def memory_budget(self) -> int:
        """Bytes that sorting may take."""
        return default_memory_budget() if self.memory is None else parse_bytes(self.memory)

    @property
    def readers(self) -> int:
        """Threads that read cells at once, and share the memory."""
        return max(self.workers, 1)

    def choice(self) -> dict[str, str | bool | int]:
        """What was chosen of the input, besides its matrix."""
        chosen = {name: getattr(self, name) for name in INPUT_CHOICES}
        return {name: value for name, value in chosen.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class PartOptions(Options):
    """How a run is divided."""

    chunk_size: int | None = option(None, metavar="CELLS", minimum=1)
    """Cells written, digested and checkpointed at a time; by default about 32 million nonzeros.
    Fewer lose less to an interruption, and take more time and bytes.
    """

    compact: bool = False
    """Gather chunks, however small, into parts of about 32 million nonzeros: less time and bytes
    than `chunk_size` alone, and more lost to an interruption.
    """


@dataclass(frozen=True, kw_only=True)
class SlotSelection(Options):
    """What of an input is converted besides its matrix."""

    layers: str | Sequence[str] = option(
        "all",
        metavar="all|none|strict|A,B",
        parse=lambda layers: layers if isinstance(layers, str) else tuple(layers),
    )
    """Further matrices of the same genes: all, none, or some by name. Their nonzeros add time and
    bytes. Where an input lacks what another has, values are missing; strict converts all, and
    refuses inputs if one lacks a layer, raw or an element of obsm or obsp that another
    has.
    """

    raw: bool = True
    """Convert what AnnData calls raw, where it is not the matrix itself; without it a conversion
    takes less time and bytes.
    """

    without: str | Sequence[str] = option((), parse=_slot_names)
    """Leave out a slot, like uns, or one element or column, like obsm:X_pca or obs:batch; a column
    of var is left out of raw too. Less time and bytes.
    """

    uns_merge: UnsMerge = "unique"
    """The uns of several inputs, by the rules of `anndata.concat`: what is the same in all, what
    has one value only, the first value, or what one input alone has. The uns of each is stored
    too. Changes no time, few bytes.
    """

    @property
    def is_strict(self) -> bool:
        """Whether all inputs must have the same."""
        return self.layers == "strict"

    @property
    def wanted(self) -> tuple[str, ...]:
        """The layers that are chosen by name."""
        if not isinstance(self.layers, str):
            return tuple(self.layers)
        return () if self.layers in {"all", "none", "strict"} else (self.layers,)

    def includes(self, name: str) -> bool:
        """Whether something of this name is converted: "layer:NAME", "raw", "obsm:KEY", …."""
        kind, _, key = name.partition(":")
        if name in self.without or kind in self.without:
            return False
        if kind == LAYER:
            return self.layers in {"all", "strict"} or key in self.wanted
        return self.raw if kind in {"raw", RAW_VARM} else True

    def of(self, names: Iterable[str]) -> Iterator[str]:
        """Those of the names that are converted."""
        return filter(self.includes, names)

    @classmethod
    def nothing(cls) -> Self:
        """The selection of nothing besides the matrix."""
        return cls(layers="none", raw=False, without=SLOTS)


@dataclass(frozen=True, kw_only=True)
class StoreOptions(SlotSelection, PartOptions):
    """What decides the bytes of a dataset: the record that a plan has, and its checkpoint."""

    join: Join = "strict"
    """Genes of several inputs, which are aligned by their ids: strict refuses inputs that have not
    the same, union takes all, intersection those that all have. Fewer take fewer bytes.
    """

    compression: Compression = "balanced"
    """Bytes against time: about 2.9, 2.2 or 1.6 bytes a nonzero for counts."""

    create_indices: bool = option(default=False, flag="--indices")
    """Also index the ids of cells and genes: time and bytes for quicker look-ups."""

    string_ids: bool = False
    """Also store the ids of cell and gene as text with each nonzero, for readers that look nothing
    up: more time and bytes.
    """

    by_gene: bool = False
    """Also write the nonzeros in the order of genes, for genes to be read as fast as cells are: two
    and a half times the time, and half as many bytes again.
    """

    plain_types: bool = False
    """Store int32 ids in all tables and float32 values (float64 where that alone is exact), for
    readers that know no unsigned integers: more bytes.
    """

    @property
    def block_cells(self) -> int:
        """Cells that one digest covers."""
        return self.chunk_size or _BLOCK_CELLS

    @property
    def slots(self) -> SlotSelection:
        """What is converted besides the matrix."""
        return SlotSelection.part_of(self)


@dataclass(frozen=True, kw_only=True)
class InputOptions(Options):
    """How inputs are found."""

    format: str | None = None
    """Format of the inputs (h5ad, zarr, mudata, loom, 10x_h5, 10x_mtx, tiledb, scdl, bam or
    slaf) where
    their content leaves a doubt. Changes no time, memory or bytes.
    """


@dataclass(frozen=True, kw_only=True)
class SampleOptions(Options):
    """The names of the cells and samples of several inputs."""

    cell_id_prefix: bool = False
    """Put the part of its path that tells an input from the others before each cell id, like S01_,
    which makes ids that occur in several unique. A few bytes a cell.
    """

    samples: str | os.PathLike[str] | None = option(None, metavar="FILE", parse=os.fspath)
    """Sample sheet (csv or tsv with a header), a row for each sample: its columns become columns of
    obs. One of them has the file name, the path or the sample of each input. A few bytes a cell.
    """


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


def _number(value: Any) -> float:
    """A number, also as text.

    Raises
    ------
    ValueError
        If it is none, or not finite.
    """
    number = float(value)
    if number != number or abs(number) == float("inf"):  # noqa: PLR0124 - NaN
        msg = f"{value!r} is no number"
        raise ValueError(msg)
    return number


def _total(value: Any) -> float | str:
    """The target of a normalisation: a number above zero, or "median".

    Raises
    ------
    ValueError
        If it is neither.
    """
    if value == "median":
        return "median"
    if not (number := _number(value)) > 0:
        msg = f"normalize_total is {value!r}, but it is a number above 0, or median"
        raise ValueError(msg)
    return number


def _named(values: Any) -> tuple[str, ...]:
    """NAME=VALUE of each name; from a mapping too."""
    if isinstance(values, Mapping):
        return tuple(f"{name}={value}" for name, value in values.items())
    return (values,) if isinstance(values, str) else tuple(values)


def _named_numbers(values: Any) -> tuple[str, ...]:
    named = _named(values)
    for pair in named:
        _number(pair.partition("=")[2])
    return named


@dataclass(frozen=True, kw_only=True)
class StepOptions(Options):
    """The steps of `slaf.transform`, in the order in which they are done."""

    standardize_genes: bool = False
    """Take the version off the gene ids of Ensembl, before genes are aligned; refused where two
    genes would have one id. The column original_gene_id of var has the ids before.
    """

    cells: str | None = option(None, metavar="FILTER")
    """Only the cells for which this condition on obs is true. Fewer take less time and bytes."""

    genes: str | None = option(None, metavar="FILTER")
    """Only the genes for which this condition on var is true. Fewer take fewer bytes."""

    min_genes: float | None = option(None, parse=_number)
    """Only cells with at least so many values above zero; reads the matrix once more."""

    max_genes: float | None = option(None, parse=_number)
    """Only cells with at most so many values above zero; reads the matrix once more."""

    min_counts: float | None = option(None, parse=_number)
    """Only cells whose values sum to at least so much; reads the matrix once more."""

    max_counts: float | None = option(None, parse=_number)
    """Only cells whose values sum to at most so much; reads the matrix once more."""

    max_pct: str | Sequence[str] = option((), metavar="NAME=PERCENT", parse=_named_numbers)
    """Only cells with at most so many percent of their sum in the genes of a name, as mt=10; reads
    the matrix once more.
    """

    mad: str | Sequence[str] = option((), metavar="NAME=N", parse=_named_numbers)
    """Only cells within so many median absolute deviations of the median of counts or genes (of
    their logarithms), or of the percentage of the genes of a name: counts=5, mt=3; reads the matrix
    once more.
    """

    mask: str | Sequence[str] = option((), metavar="NAME=PATTERN", parse=_named)
    """Genes of a name: a regular expression that is searched in ids and symbols, as ribo='^RP[SL]';
    mt, ribo and hb are known for human symbols. Changes no time.
    """

    sample: int | None = option(None, minimum=0)
    """Only so many cells, drawn at random by `seed` and their ids. Fewer take less time."""

    downsample_counts: int | None = option(None, minimum=0)
    """Draw counts of each cell, by `seed` and its id, until it has no more than so many: a second
    for twenty million counts.
    """

    seed: int = option(0, minimum=0)
    """The seed of `sample` and `downsample_counts`. Changes no time."""

    min_cells: float | None = option(None, parse=_number)
    """Only genes with values above zero in at least so many of the cells that are left; reads the
    matrix once more.
    """

    normalize_total: float | str | None = option(None, metavar="TOTAL|median", parse=_total)
    """Multiply the values of each cell so that their sum is this, as 1e4, or the median of the sums
    before, which reads the matrix once more.
    """

    log1p: bool = False
    """Take the natural logarithm of one more than each value; refused of logarithms."""

    sort_by: str | None = option(None, metavar="COLUMN")
    """Write the cells in the order of a column of obs: by categories, else ascending. Takes scratch
    for values that are not read in that order.
    """

    first: str | None = option(None, metavar="LABEL")
    """The value of the column of `sort_by` whose cells come first, as NTC. Changes no time."""

    layer: str | None = None
    """The layer that is counted and changed instead of X. Its nonzeros decide time."""

    as_layer: str | None = None
    """Store changed values as a new layer of this name, next to the one they were made of: time and
    bytes for both.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, needed in (("first", ("sort_by",)), ("as_layer", VALUE_STEPS)):
            if getattr(self, name) is not None and not any(map(self._has, needed)):
                msg = f"{name} is given, but none of {', '.join(needed)}, for which it is"
                raise ValueError(msg)

    def _has(self, name: str) -> bool:
        value = getattr(self, name)
        return value is not None and value is not False


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

    without: str | Sequence[str] = option((), parse=_slot_names)
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
class ScanOptions(InputOptions, SampleOptions, ReadOptions):
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
