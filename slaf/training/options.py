"""The options of a loader, each declared once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from slaf.options import Options, option, parse_bytes
from slaf.training.order import fitting_window_blocks

__all__ = ["LoaderOptions", "Output"]

Output: TypeAlias = Literal["csr", "dense", "padded", "tokens"]

_SPLITS: Final = ("train", "validation", "test")


def _names(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _positive(name: str) -> Any:
    def parse(value: Any) -> float:
        number = float(value)
        if not 0 < number < float("inf"):
            msg = f"{name} is {value!r}, but it is a number above 0"
            raise ValueError(msg)
        return number

    return parse


def _split(value: Any) -> tuple[str, tuple[float, ...]]:
    """The name of a part, and the shares of the parts before the last."""
    name, *shares = (value,) if isinstance(value, str) else value
    if len(shares) == 1 and isinstance(shares[0], tuple):
        shares = list(shares[0])
    sizes = tuple(map(float, shares))
    if name not in _SPLITS or len(sizes) not in {1, 2} or min(sizes) <= 0 or sum(sizes) >= 1:
        msg = (
            f'split is {value!r}, but it is a part and the share of training, like ("train", 0.9) '
            'and ("test", 0.9), or the shares of training and validation, like '
            '("validation", 0.8, 0.1); the parts are train, validation and test'
        )
        raise ValueError(msg)
    return name, sizes


@dataclass(frozen=True, kw_only=True, eq=False)
class LoaderOptions(Options):
    """The keywords of `Dataset.loader`."""

    batch_size: int = option(256, minimum=2)
    """Cells of a batch."""

    shuffle: bool = True
    """Whether to permute the cells in every epoch; else they come in the order of the selection."""

    seed: int = 0
    """Any whole number, which decides the order, the cells drawn and the genes drawn."""

    drop_last: bool = False
    """Whether to leave out some cells of an epoch so that every batch has `batch_size` cells. By
    default each cell comes once, and a few batches at the end of an epoch have fewer cells.
    """

    block_size: int = option(64, minimum=1)
    """Neighbouring cells that are read together. More take less time, and mix less."""

    window_blocks: int | None = option(None, minimum=1)
    """Blocks that are in memory and shuffled together; by default 256, or the nearest number whose
    cells make whole batches. More take more memory, and mix more.
    """

    labels: str | Sequence[str] = option((), parse=_names)
    """Columns of obs whose codes are in `batch.labels`, as int32, −1 for a missing value. The codes
    are positions in `loader.categories`: the categories of the column, or its values in order, of
    all cells of the dataset.
    """

    obs: str | Sequence[str] = option((), parse=_names)
    """Columns of obs whose values are in `batch.obs`."""

    obsm: str | Sequence[str] = option((), parse=_names)
    """Arrays of obsm whose rows are in `batch.obsm`."""

    layer: str | None = None
    """The layer to read instead of X; or "raw"."""

    to: Output = "csr"
    """The type of `batch.X`: "csr" for a scipy.sparse.csr_matrix in the type of the source; "dense"
    for a float32 array; "padded" for the ids and float32 values of the nonzeros, at most `length`
    of them, drawn anew each time; "tokens" for the ids of the nonzeros by falling value.
    """

    target_sum: float | None = option(None, parse=_positive("target_sum"))
    """The number to which the values of each cell are scaled to add up, over all genes of the
    dataset, also of those that are not selected.
    """

    log1p: bool = False
    """Whether to take the natural logarithm of 1 + value, after scaling."""

    length: int | None = option(None, minimum=1)
    """The most ids of a cell, for "padded" and "tokens"; 2,048 by default."""

    token_ids: Any = None
    """For "padded" and "tokens", the id of each selected gene, followed by the id that fills short
    rows; by default positions of the selected genes, and their number.
    """

    gene_scale: Any = None
    """For "tokens", a number for each selected gene by which its values are divided before they are
    ranked, like Geneformer's medians.
    """

    split: tuple[Any, ...] | None = option(None, parse=_split)
    """A part of the cells and the share of training, like ("train", 0.9) and ("test", 0.9); or also
    the share of validation: ("validation", 0.8, 0.1). A hash of the value of `split_by` decides,
    so that appended cells change the part of no other.
    """

    split_by: str | None = None
    """The column of obs whose values are not divided by `split`; the cell id by default."""

    weights: Any = None
    """A weight for each selected cell, or a column of obs: cells are drawn with replacement, with
    probabilities in proportion.
    """

    balance: str | None = None
    """A column of obs whose values are drawn equally often, with replacement. Cells without a value
    are not drawn.
    """

    samples: int | None = option(None, minimum=2)
    """With `weights` or `balance`, the cells drawn in an epoch; by default as many as there are."""

    group: str | Sequence[str] = option((), parse=_names)
    """Columns of obs, like a perturbation: batches consist of sets of `set_size` cells that agree
    in them. A last set is completed by cells of the same group. Their codes are labels.
    """

    set_size: int | None = option(None, minimum=1)
    """With `group`, the cells of a set; it divides `batch_size`."""

    controls: str | None = None
    """With `group`, a filter on cells, like ``"gene = 'NTC'"``: these cells are in no set; for each
    cell of a set one of them is drawn into `batch.controls`.
    """

    match: str | Sequence[str] = option((), parse=_names)
    """With `controls`, columns of obs in which a control agrees with its cell."""

    rank: int | None = option(None, minimum=0)
    """The number of this process, from 0 on; that of torch.distributed by default, if it runs."""

    world_size: int | None = option(None, minimum=1)
    """The number of processes, which share the cells of an epoch."""

    cache: str | os.PathLike[str] | None = None
    """A folder for a memory map of the selected cells and genes, which is made if it does not
    exist: single cells are read from it many times faster than from the tables.
    """

    threads: int | None = option(None, minimum=1)
    """Threads that read; by default 2, and 32 if the dataset is in a bucket, where they wait."""

    memory: Any = option("500MB", parse=parse_bytes)
    """Bytes of memory, like "500MB", that the loader and its workers take together."""

    prefetch: int = option(2, minimum=0)
    """Batches that are made ahead; with 0 nothing is read ahead either."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_together(self)

    @property
    def blocks(self) -> int:
        """Blocks in a window."""
        return self.window_blocks or fitting_window_blocks(self.batch_size, self.block_size)


def _check_together(options: LoaderOptions) -> None:
    """Refuse options that would do nothing without another one, or together with it.

    Raises
    ------
    ValueError
        With the options to add or to leave out.
    """
    ids, draws = options.to in {"padded", "tokens"}, ("weights", "balance")
    drawn = [name for name in draws if getattr(options, name) is not None]
    rules = (
        ("split_by", options.split is not None, "split"),
        ("length", ids, 'to="padded" or to="tokens"'),
        ("token_ids", ids, 'to="padded" or to="tokens"'),
        ("gene_scale", options.to == "tokens", 'to="tokens"'),
        ("samples", bool(drawn), "weights or balance"),
        ("set_size", bool(options.group), "group"),
        ("group", options.set_size is not None, "set_size"),
        ("controls", bool(options.group), "group and set_size"),
        ("match", options.controls is not None, "controls"),
        ("rank", options.world_size is not None, "world_size"),
        ("world_size", options.rank is not None, "rank"),
    )
    for name, holds, other in rules:
        value = getattr(options, name)
        is_given = len(value) > 0 if isinstance(value, tuple) else value is not None
        if is_given and not holds:
            msg = f"{name} does nothing without {other}; add it, or leave {name} out"
            raise ValueError(msg)
    if options.to == "tokens" and (options.target_sum is not None or options.log1p):
        msg = 'target_sum and log1p change no order of genes; leave them out with to="tokens"'
        raise ValueError(msg)
    if len(drawn) + bool(options.group) > 1:
        msg = "weights, balance and group exclude each other; give one of them"
        raise ValueError(msg)
    if drawn and not options.shuffle:
        msg = f"{drawn[0]} draws cells at random; leave shuffle=False out"
        raise ValueError(msg)
    if options.set_size is not None and options.batch_size % options.set_size:
        fitting = max(round(options.batch_size / options.set_size), 1) * options.set_size
        msg = (
            f"batch_size={options.batch_size} is no whole number of sets of "
            f"set_size={options.set_size}; take batch_size={fitting}"
        )
        raise ValueError(msg)
    if options.rank is not None and options.rank >= (options.world_size or 1):
        msg = f"rank is {options.rank}, but it is below world_size={options.world_size}"
        raise ValueError(msg)
