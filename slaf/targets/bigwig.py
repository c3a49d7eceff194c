"""bigWig: the coverage of each sample as a file, in a folder with a table of them."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from slaf.dataset.coverage import Region, scale_factors
from slaf.errors import StorageError, TargetError
from slaf.runtime.extras import require
from slaf.sparse.casting import first_inexact
from slaf.targets.base import TargetFormat

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slaf.dataset.coverage import CoverageReader
    from slaf.runtime.progress import Progress
    from slaf.sparse.runs import Runs
    from slaf.targets.base import WriteOptions
    from slaf.targets.contents import Contents

__all__ = ["FORMAT", "BigWigTarget"]

_TABLE: Final = "samples.tsv"
_SUFFIX: Final = ".bw"

# The modules of the exceptions of pybigtools: of its errors, and of its panics.
_PYBIGTOOLS: Final = ("pybigtools", "pyo3_runtime")


class BigWigTarget:
    """A bigWig file for each sample, and ``samples.tsv``, which names them.

    Parameters
    ----------
    contents
        The contents of the export; the format holds the coverage.
    options
        The strand, and whether depths are divided by the total of reads.

    Raises
    ------
    TargetError
        If there is no coverage, or two samples would have one file.
    """

    left_out: tuple[str, ...] = ("all but the coverage is left out",)

    def __init__(self, contents: Contents, options: WriteOptions) -> None:
        if contents.coverage is None:
            msg = "bigWig holds coverage, which only datasets of BAM or CRAM files have"
            raise TargetError(msg)
        self._reader: CoverageReader = contents.coverage
        self._strand = options.strand
        self._normalize: Any = "cpm" if options.cpm else None
        samples = [str(name) for name in self._reader.view.obs_names]
        self._files = {name: f"{name.replace('/', '_')}{_SUFFIX}" for name in samples}
        if len(set(self._files.values())) < len(samples):
            msg = "several samples would have one file of the same name; rename them"
            raise TargetError(msg)

    def write(self, path: Path, progress: Progress) -> None:
        """Write the folder.

        Raises
        ------
        TargetError
            If a depth is no float32, in which the format has it.
        StorageError
            If a file is not whole.
        """
        path.mkdir()
        factors = scale_factors(self._reader.view, self._normalize)
        progress.begin(0, 0, len(self._files))
        lines = ["sample\tfile\tstrand\tscale"]
        for at, (sample, file) in enumerate(self._files.items()):
            # One cell at a time: the runs of a contig are in memory.
            reader = self._reader.of(self._reader.view[at : at + 1])
            _write_file(path / file, self._intervals(reader, float(factors[at])), reader)
            lines.append(f"{sample}\t{file}\t{self._strand or 'both'}\t{float(factors[at])!r}")
            progress.advance(1, 0)
        (path / _TABLE).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _intervals(self, reader: CoverageReader, factor: float) -> Iterator[tuple[str, Runs, Any]]:
        """The runs of each contig, and their values."""
        for contig, (name, length) in enumerate(reader.coverage.contigs):
            (runs,) = reader.runs(Region(contig, name, 0, length), self._strand)
            if (
                self._normalize is None
                and first_inexact(runs.depth, np.dtype(np.float32)) is not None
            ):
                msg = (
                    f"{name}: a depth of {runs.depth.max():,} is not held exactly by bigWig, whose "
                    "values are float32; export it with --cpm, or use the dataset"
                )
                raise TargetError(msg)
            yield name, runs, runs.depth * factor


def _not_whole(path: Path, cause: BaseException | None) -> StorageError:
    """The error of a file that has not all values, with what pybigtools says of it."""
    msg = f"{path}: it is not whole on the disk; make room, and export again"
    error = StorageError(None, msg)
    if cause is not None:
        error.add_note(f"pybigtools: {' '.join(str(cause).split())}")
    return error


def _write_file(
    path: Path, contigs: Iterator[tuple[str, Runs, Any]], reader: CoverageReader
) -> None:
    require("pybigtools", "bigWig")
    import pybigtools

    # What is refused at once is refused before there is a file: pybigtools prints of an empty one.
    contigs = chain(list(islice(contigs, 1)), contigs)
    caught: list[BaseException] = []
    n_bases = 0

    def values() -> Iterator[tuple[str, int, int, float]]:
        nonlocal n_bases
        try:
            for name, runs, depth in contigs:
                columns = runs.start.tolist(), runs.stop.tolist(), depth.tolist()
                # Without an interval a contig would be missing in the file.
                rows = zip(*columns, strict=True) if len(runs.start) else [(0, 1, 0.0)]
                for start, stop, value in rows:
                    n_bases += stop - start
                    yield name, start, stop, value
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - pybigtools would print it; raised below
            caught.append(error)

    n_written, cause = None, None
    try:
        file = pybigtools.open(str(path), "w")
        file.write(dict(reader.coverage.contigs), values())
        file.close()
        written = pybigtools.open(str(path))
        n_written = written.info()["summary"]["basesCovered"]
        written.close()
    except BaseException as error:
        # On a full disk it panics, or reads less than a bigWig.
        if type(error).__module__ not in _PYBIGTOOLS:
            raise
        cause = error
    if caught:
        raise caught[0]
    if n_written != n_bases:
        raise _not_whole(path, cause) from cause


def _matches(path: Path) -> bool:
    return (path / _TABLE).is_file() and any(path.glob(f"*{_SUFFIX}"))


FORMAT = TargetFormat(
    name="bigwig",
    description="bigWig",
    package="pybigtools",
    suffixes=(),
    matches=_matches,
    open=BigWigTarget,
    has_strands=True,
    marker_files=(_TABLE,),
)
