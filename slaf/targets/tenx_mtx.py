"""10x MTX: the folder of matrix, features and barcodes of Cell Ranger 3 and later."""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from slaf.errors import TargetError
from slaf.runtime.prefetch import prefetch
from slaf.sparse.casting import exact_cast
from slaf.targets.base import TargetFormat
from slaf.targets.csr import with_progress
from slaf.targets.tenx_features import dropped_by_10x, features_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slaf.runtime.progress import Progress
    from slaf.sparse.batch import Batch
    from slaf.targets.base import WriteOptions
    from slaf.targets.contents import Contents

__all__ = ["FORMAT", "TenxMtxTarget"]


# Columns that Cell Ranger writes after the feature type for multiome kits.
_REGION = ("chromosome", "start", "end")

# Batches that are read ahead of the one that is written.
_AHEAD = 2
_GZIP_LEVEL = 2
_GZIP_THREADS = 2


class TenxMtxTarget:
    """Three gzipped text files, with entries in order of cells.

    Parameters
    ----------
    contents
        The contents of the export; the format holds X, the ids, and names and types of genes.
    options
        Not used: the format has no choices.

    Raises
    ------
    TargetError
        If an id or a name cannot be a field of a line.
    """

    def __init__(self, contents: Contents, options: WriteOptions) -> None:  # noqa: ARG002
        self._contents = contents
        features = features_of(contents.var)
        region = _REGION if all(name in features.rest for name in _REGION) else ()
        self._features = [features.ids, features.names, features.types]
        self._features += [features.rest[name] for name in region]
        self._barcodes = [str(name) for name in contents.obs.index]
        rest = tuple(name for name in features.rest if name not in region)
        self.left_out = dropped_by_10x(contents, (*features.left_out, *rest))
        _check_fields("cell_id", self._barcodes)
        for fields in self._features:
            _check_fields("gene", fields)

    def write(self, path: Path, progress: Progress) -> None:
        """Write the folder."""
        matrix = self._contents.x
        n_cells, n_genes = matrix.shape
        path.mkdir()
        with _gzipped(path / "barcodes.tsv.gz") as file:
            _write_lines(file, [self._barcodes])
        with _gzipped(path / "features.tsv.gz") as file:
            _write_lines(file, self._features)
        progress.begin(0, 0, n_cells if matrix.is_counted else 2 * n_cells)
        n_entries = matrix.n_entries
        if not matrix.is_counted:
            # The header has the number of entries.
            n_entries = sum(batch.nnz for batch in with_progress(matrix, progress))
        integers = matrix.value_type.kind != "f"
        with _gzipped(path / "matrix.mtx.gz") as file:
            field = "integer" if integers else "real"
            file.write(f"%%MatrixMarket matrix coordinate {field} general\n%\n".encode())
            file.write(f"{n_genes} {n_cells} {n_entries}\n".encode())
            for batch in prefetch(with_progress(matrix, progress), _AHEAD):
                _write_entries(file, batch, np.dtype(np.int64 if integers else np.float64))


def _write_entries(file: IO[bytes], batch: Batch, dtype: np.dtype[Any]) -> None:
    import polars as pl

    # As float64: the shortest text of a float32 is read as another float64.
    values = exact_cast(batch.values, dtype)
    if dtype.kind == "f" and not np.isfinite(values).all():
        at = int(np.argmin(np.isfinite(values)))
        msg = (
            f"cell {batch.cell_of(at)} has the value {values[at]} for gene {batch.genes[at]}, "
            "which Matrix Market cannot hold"
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


def _check_fields(label: str, texts: Sequence[str]) -> None:
    for row, text in enumerate(texts):
        if not text or set("\t\n\r") & set(text):
            msg = (
                f"the {label} {text!r} of row {row} is empty, or has a tab or a line break, and "
                "cannot be a field of a 10x MTX folder"
            )
            raise TargetError(msg)


def _gzipped(path: Path) -> IO[bytes]:
    from isal import igzip_threaded

    file: IO[bytes] = igzip_threaded.open(  # type: ignore[no-untyped-call]  # it has no types
        path, "wb", compresslevel=_GZIP_LEVEL, threads=_GZIP_THREADS
    )
    return file


def _matches(path: Path) -> bool:
    return (path / "matrix.mtx.gz").is_file()


FORMAT = TargetFormat(
    name="10x_mtx",
    description="10x MTX folder of Cell Ranger (v3)",
    suffixes=(),
    matches=_matches,
    open=TenxMtxTarget,
    marker_files=("matrix.mtx.gz",),
)
