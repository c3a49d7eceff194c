"""What is stopped by the campaign: each a command, and what must come of it in the end."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

import slaf
from tests.builders import counts, write_h5ad
from tests.conversion import cases
from tests.conversion.outputs import published
from tests.conversion.stopped import Conversion

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slaf.storage.location import Location

__all__ = ["FEW", "MANY", "Operation"]

N_PARTS = 24


class Operation(Protocol):
    """A command that may be stopped, and is then given again."""

    def prepare(self, folder: Path) -> Path:
        """Put into an empty folder what is there before; the output."""

    def words(self, output: Path) -> tuple[str, ...]:
        """The command."""

    def uninterrupted(self, output: Path) -> Any:
        """What comes of it when nothing stops it."""

    def check_stopped(self, output: Path, expected: Any) -> None:
        """Check that there is all of it, or what was there before, or nothing."""

    def finish(self, output: Path, expected: Any) -> None:
        """Give the command again, and check what comes of it."""

    def rows(self, output: Path) -> Counter[Any] | None:
        """What can be read there, row by row; None if there is nothing."""

    def lock(self, output: Path) -> Path:
        """The lock of whoever writes it."""


@dataclass(frozen=True)
class Converting:
    """`slaf convert`, `slaf append` or `slaf transform`."""

    conversion: Conversion

    def prepare(self, folder: Path) -> Path:
        """Put the older dataset, or unfinished run, there."""
        return self.conversion.prepare(folder / "out.slaf")

    def words(self, output: Path) -> tuple[str, ...]:
        """The command."""
        call = "convert" if self.conversion.added_to is None else "append"
        call = "transform" if self.conversion.transforms else call
        inputs = [self.conversion.source, *self.conversion.more]
        options: list[str] = []
        for name, value in self.conversion.options.items():
            flag = "--" + name.removeprefix("create_").replace("_", "-")
            several = value.items() if isinstance(value, dict) else [(value,)]
            for pair in several:
                options += [flag] if value is True else [flag, "=".join(map(str, pair))]
        return (call, *map(str, inputs), str(output), *options, "--quiet")

    def uninterrupted(self, output: Path) -> Any:
        """The dataset."""
        self.conversion.run(output)
        return published(output)

    def check_stopped(self, output: Path, expected: Any) -> None:
        """Check it as the crash law does."""
        self.conversion.check_stopped(output, expected)

    def finish(self, output: Path, expected: Any) -> None:
        """Finish it as the crash law does."""
        self.conversion.finish(output, expected)

    def rows(self, output: Path) -> Counter[Any] | None:
        """The rows of `expression`."""
        seen = published(output)
        if seen is None:
            return None
        return Counter(tuple(row.values()) for row in seen.tables["expression"].to_pylist())

    def lock(self, output: Path) -> Path:
        """In the dataset."""
        return output / ".lock"


@dataclass(frozen=True)
class Compaction(Conversion):
    """One call of `slaf.compact`, on what the inputs were appended to."""

    def run(self, output: Path | Location) -> None:
        """Make the call."""
        slaf.compact(output, **self.options)


@dataclass(frozen=True)
class Compacting(Converting):
    """`slaf compact`."""

    def words(self, output: Path) -> tuple[str, ...]:
        """The command."""
        options = [f"--{name}={value}" for name, value in self.conversion.options.items()]
        return ("compact", str(output), *options, "--quiet")


@dataclass(frozen=True)
class Annotation(Conversion):
    """One call of `slaf.annotate`, with a table and the result of an analysis."""

    def run(self, output: Path | Location) -> None:
        """Make the call."""
        slaf.annotate(output, **self.options, replace=True)


@dataclass(frozen=True)
class Annotating(Converting):
    """`slaf annotate`."""

    def words(self, output: Path) -> tuple[str, ...]:
        """The command."""
        obs, result = (str(self.conversion.options[name]) for name in ("obs", "from_anndata"))
        return ("annotate", str(output), "--obs", obs, "--from", result, "--replace", "--quiet")


@dataclass(frozen=True)
class Removal(Conversion):
    """One call of `slaf.remove`, on what the inputs were appended to."""

    def run(self, output: Path | Location) -> None:
        """Make the call."""
        slaf.remove(output, **self.options)


@dataclass(frozen=True)
class Removing(Converting):
    """`slaf remove`."""

    def words(self, output: Path) -> tuple[str, ...]:
        """The command."""
        return ("remove", str(output), "--source", self.conversion.options["source"], "--quiet")


@dataclass(frozen=True)
class Copy(Conversion):
    """One call of `slaf.copy`, over another dataset or to nothing."""

    def run(self, output: Path | Location) -> None:
        """Make the call."""
        slaf.copy(self.options["dataset"], output, overwrite=True)


@dataclass(frozen=True)
class Copying(Converting):
    """`slaf copy`."""

    def words(self, output: Path) -> tuple[str, ...]:
        """The command."""
        dataset = str(self.conversion.options["dataset"])
        return ("copy", dataset, str(output), "--overwrite", "--quiet")


@dataclass(frozen=True)
class Exporting:
    """`slaf export`.

    Attributes
    ----------
    dataset
        What is exported.
    name
        The name of the output.
    older
        The dataset of an export that is there to be replaced; None for nothing.
    options
        What else the command says.
    """

    dataset: Path
    name: str
    older: Path | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def prepare(self, folder: Path) -> Path:
        """Export the older dataset."""
        if self.older is not None:
            slaf.export(self.older, folder / self.name, **self.options)
        return folder / self.name

    def words(self, output: Path) -> tuple[str, ...]:
        """The command."""
        options = [word for item in self.options.items() for word in (f"--{item[0]}", item[1])]
        return ("export", str(self.dataset), str(output), *options, "--overwrite", "--quiet")

    def uninterrupted(self, output: Path) -> Any:
        """What is there before it, and the files that it makes."""
        before = _contents(output)
        self._export(output)
        return before, _contents(output)

    def check_stopped(self, output: Path, expected: Any) -> None:
        """Check that there is the older export, the newer or none, and nothing else to be seen."""
        shown = [path.name for path in output.parent.iterdir() if path.name[0] != "."]
        # Between two renames of a folder there is none: the next export brings the older back.
        assert shown in ([], [self.name])
        assert not shown or _contents(output) in expected

    def finish(self, output: Path, expected: Any) -> None:
        """Export again."""
        self._export(output)
        assert _contents(output) == expected[1]
        left = [path.name for path in output.parent.iterdir() if path != output]
        assert not left, f"left behind: {left}"

    def rows(self, output: Path) -> Counter[Any] | None:
        """What its files hold."""
        found = _contents(output)
        return None if found is None else Counter(found.items())

    def lock(self, output: Path) -> Path:
        """In the folder where it is written."""
        return output.parent / f".{output.name}.new" / ".lock"

    def _export(self, output: Path) -> None:
        slaf.export(self.dataset, output, overwrite=True, **self.options)


def _contents(output: Path) -> dict[str, bytes] | None:
    """What is in each file of an export; of an experiment, whose files tell the time, its rows."""
    if not output.exists():
        return None
    if output.is_file():
        return {"": output.read_bytes()}
    if output.suffix == ".soma":
        with tempfile.TemporaryDirectory() as folder:
            made = slaf.convert(output, f"{folder}/in.slaf")
            tables = {name: made.table(name).to_table() for name in made.published.tables}
            return {name: repr(table.to_pydict()).encode() for name, table in tables.items()}
    files = [path for path in output.rglob("*") if path.is_file()]
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in files}


def many_parts(folder: Path) -> Conversion:
    """One part after the other."""
    source = write_h5ad(folder / "in.h5ad", counts(2 * N_PARTS, 20))
    return Conversion(source, {"chunk_size": 2})


def two_at_a_time(folder: Path) -> Conversion:
    """Two parts at a time."""
    source = write_h5ad(folder / "in.h5ad", counts(2 * N_PARTS, 20))
    return Conversion(source, {"chunk_size": 2, "workers": 2})


def many_files(folder: Path) -> Conversion:
    """Ten files."""
    files = [write_h5ad(folder / f"{n}.h5ad", counts(4 + n % 3, 20, seed=n)) for n in range(10)]
    return Conversion(files[0], {"chunk_size": 3}, more=files[1:])


def append_of_many_parts(folder: Path, n_parts: int = N_PARTS) -> Conversion:
    """Two files at a time, to a dataset that has indices."""
    older = write_h5ad(folder / "old.h5ad", counts(10, 20, seed=1))
    slaf.convert(older, folder / "old.slaf", chunk_size=3, create_indices=True)
    halves = [write_h5ad(folder / f"{n}.h5ad", counts(n_parts, 20, seed=n)) for n in (2, 3)]
    options = {"chunk_size": 2, "workers": 2}
    return Conversion(halves[0], options, folder / "old.slaf", [older], halves[1:])


def after_appends(folder: Path, **options: str) -> Operation:
    """Three inputs, appended one after the other, and everything beside their matrices."""
    first, second = cases.inputs_with_everything(folder)
    third = write_h5ad(folder / "bare.h5ad", counts(5, 6, seed=7))
    slaf.convert(first, folder / "old.slaf", create_indices=True)
    for more in (second, third):
        slaf.append(more, folder / "old.slaf")
    return Compacting(Compaction(first, options, folder / "old.slaf", more=[second, third]))


def removal(folder: Path) -> Removal:
    """The second of three inputs, with everything beside their matrices, and the gene order."""
    first, second = cases.inputs_with_everything(folder)
    third = write_h5ad(folder / "bare.h5ad", counts(5, 6, seed=7))
    slaf.convert(first, folder / "old.slaf", create_indices=True, by_gene=True, chunk_size=5)
    for more in (second, third):
        slaf.append(more, folder / "old.slaf", chunk_size=2)
    options = {"source": second.name}
    return Removal(first, options, folder / "old.slaf", more=[third])


def copied(folder: Path, *, replacing: bool = False) -> Copy:
    """A dataset with everything, copied to nothing or over another."""
    first, second = cases.inputs_with_everything(folder)
    slaf.convert(first, folder / "in.slaf", chunk_size=5, by_gene=True)
    if replacing:
        slaf.convert(second, folder / "old.slaf", create_indices=True)
    found = folder / "old.slaf" if replacing else None
    return Copy(first, {"dataset": folder / "in.slaf"}, found)


def annotation(folder: Path) -> Operation:
    """A column, and elements and a layer that replace others and that need a wider type."""
    first, _ = cases.inputs_with_everything(folder)
    adata = slaf.convert(first, folder / "old.slaf", chunk_size=3).to_anndata()
    adata.obs.assign(mark=range(adata.n_obs))[["mark"]].to_csv(folder / "marks.csv")
    for name, layer in list(adata.layers.items()):
        adata.layers[name] = layer * 70_000
    adata.layers["more"] = adata.X * 0.5
    adata.obsm["X_new"] = np.ones((adata.n_obs, 2))
    adata.uns["new"] = {"by": "hand"}
    adata.write_h5ad(folder / "result.h5ad")
    options = {"obs": folder / "marks.csv", "from_anndata": folder / "result.h5ad"}
    return Annotating(Annotation(first, options, folder / "old.slaf", more=[]))


def _converting(case: Callable[[Path], Conversion]) -> Callable[[Path], Operation]:
    return lambda folder: Converting(case(folder))


def _exporting(
    name: str, *, replacing: bool = False, **options: str
) -> Callable[[Path], Operation]:
    def made(folder: Path) -> Operation:
        whole = name.endswith((".h5ad", ".zarr"))
        case = cases.beside(folder) if whole else cases.plain(folder)
        case.run(folder / "in.slaf")
        if replacing:
            slaf.convert(write_h5ad(folder / "old.h5ad", counts(7, 5)), folder / "old.slaf")
        older = folder / "old.slaf" if replacing else None
        return Exporting(folder / "in.slaf", name, older, options)

    return made


# To try another command, add a line.
FEW: dict[str, Callable[[Path], Operation]] = {
    "convert, everything beside the matrix": _converting(cases.beside),
    "append, some parts": _converting(partial(append_of_many_parts, n_parts=8)),
    "compact": after_appends,
    "annotate": annotation,
    "remove": lambda folder: Removing(removal(folder)),
    "copy, over a dataset": lambda folder: Copying(copied(folder, replacing=True)),
    "transform": _converting(cases.transforming),
    "export, h5ad": _exporting("out.h5ad", layout="csc"),
    "export, over a zarr": _exporting("out.zarr", replacing=True),
}
MANY = FEW | {
    "convert, many files": _converting(many_files),
    "copy": lambda folder: Copying(copied(folder)),
    "append, many parts": _converting(append_of_many_parts),
    "convert, many parts": _converting(many_parts),
    "convert, two parts at a time": _converting(two_at_a_time),
    "convert, over a dataset": _converting(cases.replacing_and_widening),
    "convert, over everything": _converting(cases.replacing_what_is_beside),
    "convert, a layer widens": _converting(cases.widening_beside),
    "convert, restarting": _converting(cases.restarting),
    "convert, indexed": _converting(cases.indexed),
    "convert, by gene": _converting(cases.by_gene),
    "convert, other genes": _converting(cases.several),
    "append, with metrics": _converting(cases.appending_with_metrics),
    "append, other genes": _converting(cases.appending),
    "append, by gene": _converting(cases.appending_by_gene),
    "append, widening": _converting(cases.appending_and_widening),
    "append, everything beside the matrix": _converting(cases.appending_beside),
    "append, a layer that is new": _converting(cases.appending_a_layer),
    "append, to a transform": _converting(cases.appending_to_a_transform),
    "compact, another compression": partial(after_appends, compression="small"),
    "export, over an h5ad": _exporting("out.h5ad", replacing=True),
    "export, 10x H5": _exporting("out.h5"),
    "export, 10x MTX": _exporting("out", format="10x_mtx"),
    "export, TileDB": _exporting("out.soma"),
}
