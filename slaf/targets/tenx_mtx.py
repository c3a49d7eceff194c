"""10x MTX: the folder of Matrix Market, features and barcodes of Cell Ranger 3 and later."""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from slaf.errors import TargetError
from slaf.runtime.prefetch import prefetch
from slaf.sparse.casting import exact_cast
from slaf.targets.base import TargetFormat
from slaf.targets.csr import with_progress
from slaf.targets.tenx_features import dropped_by_10x, features_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from slaf.runtime.progress import Progress
    from slaf.sparse.batch import Batch
    from slaf.targets.base import WriteOptions
    from slaf.targets.contents import Contents

__all__ = ["FORMAT", "TenxMtxTarget"]


# What Cell Ranger puts behind the type of a feature of its multiome kits.
_PLACE = ("chromosome", "start", "end")
_AHEAD = 2
_LEVEL = 2
_THREADS = 2


class TenxMtxTarget:
    """Three packed text files; entries are in the order of cells.

    Parameters
    ----------
    contents
        Of which it holds X, the ids, and the names and types of genes.
    options
        Nothing is left to choose.

    Raises
    ------
    TargetError
        If an id or a name would not be one field of one line.
    """

    def __init__(self, contents: Contents, options: WriteOptions) -> None:  # noqa: ARG002
        self._contents = contents
        features = features_of(contents.var)
        self._place = _PLACE if all(name in features.rest for name in _PLACE) else ()
        self._features = [features.ids, features.names, features.types]
        self._features += [list(features.rest[name]) for name in self._place]
        self._barcodes = [str(name) for name in contents.obs.index]
        rest = tuple(name for name in features.rest if name not in self._place)
        self._left_out = dropped_by_10x(contents, (*features.left_out, *rest))
        for what, texts in (("cell_id", self._barcodes), *(("gene", f) for f in self._features)):
            _check_fields(what, texts)

    def left_out(self) -> tuple[str, ...]:
        """All but X, the ids, and the names and types of genes."""
        return self._left_out

    def write(self, path: Path, seen: Progress) -> None:
        """Write the folder."""
        matrix = self._contents.x
        n_cells, n_genes = matrix.shape
        path.mkdir()
        with _packed(path / "barcodes.tsv.gz") as file:
            _write_lines(file, [self._barcodes])
        with _packed(path / "features.tsv.gz") as file:
            _write_lines(file, self._features)
        seen.begin(0, 0, n_cells if matrix.is_counted else 2 * n_cells)
        n_entries = matrix.n_entries
        if not matrix.is_counted:
            # It comes before the entries.
            n_entries = sum(batch.nnz for batch in with_progress(matrix, seen))
        whole = matrix.value_type.kind != "f"
        with _packed(path / "matrix.mtx.gz") as file:
            field = "integer" if whole else "real"
            file.write(f"%%MatrixMarket matrix coordinate {field} general\n%\n".encode())
            file.write(f"{n_genes} {n_cells} {n_entries}\n".encode())
            for batch in prefetch(with_progress(matrix, seen), _AHEAD):
                _write_entries(file, batch, np.dtype(np.int64 if whole else np.float64))


def _write_entries(file: IO[bytes], batch: Batch, dtype: np.dtype[Any]) -> None:
    import polars as pl

    # As float64: the shortest text of a float32 is another float64.
    values = exact_cast(batch.values, dtype)
    if dtype.kind == "f" and not np.isfinite(values).all():
        wrong = int(np.argmin(np.isfinite(values)))
        msg = (
            f"cell {batch.cell_of(wrong)} has the value {values[wrong]} for gene "
            f"{batch.genes[wrong]}, for which Matrix Market has no word"
        )
        raise TargetError(msg)
    lines = pl.DataFrame(
        {"gene": batch.genes + np.uint32(1), "cell": batch.cells() + np.uint32(1), "value": values}
    )
    text = io.BytesIO()
    lines.write_csv(text, include_header=False, separator=" ")
    file.write(text.getbuffer())


def _write_lines(file: IO[bytes], columns: Sequence[Sequence[str]]) -> None:
    lines = ("\t".join(fields) + "\n" for fields in zip(*columns, strict=True))
    file.write("".join(lines).encode())


def _check_fields(what: str, texts: Sequence[str]) -> None:
    for row, text in enumerate(texts):
        if not text or any(character in text for character in "\t\n\r"):
            msg = (
                f"the {what} {text!r} of row {row} is empty, or has a tab or a line break in it, "
                "and cannot be a field of a 10x MTX folder"
            )
            raise TargetError(msg)


@contextmanager
def _packed(path: Path) -> Iterator[IO[bytes]]:
    from isal import igzip_threaded

    opened: IO[bytes] = igzip_threaded.open(  # type: ignore[no-untyped-call]  # it has no types
        path, "wb", compresslevel=_LEVEL, threads=_THREADS
    )
    with opened as file:
        yield file


def _is_one(path: Path) -> bool:
    return (path / "matrix.mtx.gz").is_file()


FORMAT = TargetFormat(
    name="10x_mtx",
    description="10x MTX folder of Cell Ranger (v3)",
    suffixes=(),
    is_one=_is_one,
    open=TenxMtxTarget,
    marks=("matrix.mtx.gz",),
)
