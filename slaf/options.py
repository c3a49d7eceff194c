"""The options of every verb, each declared once: its type, default and documentation.

Light to import: the command line makes its own options from these before it loads anything.
"""

from __future__ import annotations

import operator
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias, get_args

from slaf.runtime.resources import default_memory_budget

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping

    from slaf.storage.location import Location

__all__ = [
    "ALIGNED_SLOTS",
    "INPUT_CHOICES",
    "LAYER",
    "RAW_VARM",
    "SLOTS",
    "Compression",
    "GeneSet",
    "ReadOptions",
    "SlotSelection",
    "UnsMerge",
    "one_of",
]

# How hard `expression` is packed. fast: Lance's bit packing only; balanced: zstd on the values;
# small: gene ids as uint32, which zstd packs far better than uint16, and zstd on both.
Compression: TypeAlias = Literal["fast", "balanced", "small"]

# Genes of several inputs. strict: those that every input has, others are refused; union: all that
# any input has; intersection: those that all inputs have.
GeneSet: TypeAlias = Literal["strict", "union", "intersection"]

# The uns of several inputs, by the rules of `anndata.concat`. same: what is the same in all;
# unique: what has one value only; first: the first value; only: what one input alone has.
UnsMerge: TypeAlias = Literal["same", "unique", "first", "only"]

LAYER: Final = "layer"
RAW_VARM: Final = "raw_varm"
ALIGNED_SLOTS: Final = ("obsm", "varm", "obsp", "varp")
SLOTS: Final = (*ALIGNED_SLOTS, "uns")
_KINDS: Final = (LAYER, "raw", RAW_VARM, *SLOTS)

# The options that only some formats know.
INPUT_CHOICES: Final = ("genome", "feature_type", "measurement")


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


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How an input is to be read.

    Attributes
    ----------
    matrix
        "X", "raw" or "layer:NAME".
    memory
        Bytes that sorting may take, for what is not in the order of cells; None for a quarter of
        what the machine or the container has free, at most 2 GiB.
    scratch
        The directory for what does not fit in `memory`; None for the system's.
    genome
        Of a 10x H5 file of several genomes, the one to read.
    feature_type
        Of a 10x matrix, the features to keep: "Gene Expression", say. None for all.
    measurement
        Of a SOMA experiment, the measurement to read; None for RNA, or the only one.
    workers
        Threads that encode parts, each of which reads cells and shares `memory`; 0 for the
        caller's own thread.
    storage_options
        How to reach an input that is in a bucket.
    stage
        The directory into which such an input is downloaded first; None to read it where it is.
    """

    matrix: str = "X"
    memory: int | None = None
    scratch: str | os.PathLike[str] | None = None
    genome: str | None = None
    feature_type: str | None = None
    measurement: str | None = None
    workers: int = 0
    storage_options: Mapping[str, str] | None = field(default=None, repr=False)
    stage: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        # Text, which only the command takes, would fail much later, as if a file were damaged.
        if self.memory is not None and operator.index(self.memory) < 0:
            msg = f"memory is {self.memory}, but it is a number of bytes"
            raise ValueError(msg)

    def near(self, location: Location) -> ReadOptions:
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
        return default_memory_budget() if self.memory is None else self.memory

    @property
    def readers(self) -> int:
        """How many threads read cells at once."""
        return max(self.workers, 1)

    def choice(self) -> dict[str, str]:
        """What was chosen of the input, beside its matrix."""
        chosen = {name: getattr(self, name) for name in INPUT_CHOICES}
        return {name: value for name, value in chosen.items() if value is not None}


@dataclass(frozen=True, slots=True)
class SlotSelection:
    """What to take along with the matrix of an input.

    Attributes
    ----------
    layers
        "all", "none", or the names of those to take; "strict" takes all, and refuses inputs of
        which one lacks a layer, raw, or an element of obsm or obsp that another has.
    raw
        Whether raw goes along.
    without
        What stays behind: "obsm", say, or "obsm:X_pca", "uns:log", "layer:scaled".
    uns_merge
        What becomes of uns where several inputs have one.

    Raises
    ------
    ValueError
        If `without` names something that no input can have.
    """

    layers: str | tuple[str, ...] = "all"
    raw: bool = True
    without: tuple[str, ...] = ()
    uns_merge: UnsMerge = "unique"

    def __post_init__(self) -> None:
        for name in self.without:
            if name.partition(":")[0] not in _KINDS:
                msg = (
                    f"{name!r} is nothing that could be left out; name one of "
                    f"{', '.join(_KINDS)}, or an element of one, like obsm:X_pca"
                )
                raise ValueError(msg)

    @property
    def is_strict(self) -> bool:
        """Whether all inputs must have the same."""
        return self.layers == "strict"

    @property
    def wanted(self) -> tuple[str, ...]:
        """The layers that are asked for by name."""
        if isinstance(self.layers, tuple):
            return self.layers
        return () if self.layers in {"all", "none", "strict"} else (self.layers,)

    def includes(self, name: str) -> bool:
        """Whether something of this name is taken: "layer:NAME", "raw", "obsm:KEY", …."""
        kind, _, key = name.partition(":")
        if name in self.without or kind in self.without:
            return False
        if kind == LAYER:
            return self.layers in {"all", "strict"} or key in self.wanted
        return self.raw if kind in {"raw", RAW_VARM} else True

    def of(self, names: Iterable[str]) -> Iterator[str]:
        """Those of the names that are taken."""
        return filter(self.includes, names)

    def to_json(self) -> dict[str, Any]:
        """As config.json has it."""
        layers = self.layers if isinstance(self.layers, str) else list(self.layers)
        return asdict(self) | {
            "layers": layers,
            "without": list(self.without),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> Self:
        """As `to_json` wrote it; None stands for nothing at all."""
        if data is None:
            return cls("none", raw=False, without=SLOTS)
        layers = data["layers"]
        return cls(
            layers if isinstance(layers, str) else tuple(layers),
            data["raw"],
            tuple(data.get("without", ())),
            data.get("uns_merge", "unique"),
        )
