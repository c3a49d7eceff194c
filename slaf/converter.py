"""SLAFConverter: convert and append with the keywords of slafdb."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slaf.conversion.append import append
from slaf.conversion.convert import convert
from slaf.options import (
    AppendOptions,
    ConvertOptions,
    Options,
    ReadOptions,
    StoreOptions,
    options_of,
)
from slaf.sources import choices_of

if TYPE_CHECKING:
    import os

    import anndata

    from slaf.dataset.dataset import Dataset
    from slaf.sources.base import Inputs
    from slaf.storage.location import Location

__all__ = ["SLAFConverter"]

_ALL_CELLS = 2**31 - 1

# The default of slafdb; `slaf.convert` has the same one, or takes the only measurement.
_DEFAULT_MEASUREMENT = "RNA"
_DEFAULT_LAYER = "data"


@dataclass(frozen=True, kw_only=True)
class SLAFConverter(StoreOptions, ReadOptions):
    """Convert inputs with one set of options, by `slaf.convert` and `slaf.append`.

    The options are those of `slaf.options.StoreOptions` and `slaf.options.ReadOptions`, and the
    keywords of slafdb.

    Raises
    ------
    ValueError
        If an option contradicts the format.
    """

    use_integer_keys: bool = True
    """`expression` has integer ids, which the format requires; False adds string ids."""

    chunked: bool = True
    """False writes the matrix as one part, which cannot be resumed; memory is bounded anyway."""

    sort_metadata: bool = False
    """True is refused: cells and genes have the order of the input."""

    optimize_storage: bool = True
    """False adds string ids to `expression`."""

    use_optimized_dtypes: bool = True
    """False stores int32 ids and float32 values (float64 if only that is exact)."""

    enable_v2_manifest: bool = True
    """False is refused: tables always have Lance's v2 manifest paths."""

    compact_after_write: bool = False
    """True writes fragments of about 32 million rows, whatever `chunk_size` is, and checkpoints
    after each fragment in place of each chunk.
    """

    tiledb_collection_name: str = _DEFAULT_MEASUREMENT
    """Measurement of a TileDB-SOMA experiment; "RNA" means RNA, or the only one."""

    tiledb_layer_name: str = _DEFAULT_LAYER
    """X layer of a TileDB-SOMA experiment; "data" means the layer data, or the only one."""

    max_rows_per_file: int | None = None
    """Any number is refused: `chunk_size` is the number of cells in a file."""

    enable_checkpointing: bool = True
    """False restarts an interrupted conversion instead of resuming it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sort_metadata:
            msg = (
                "sort_metadata=True is not possible: cells and genes keep the order of the "
                "input, so that the dataset can be compared with it; sort when you query"
            )
            raise ValueError(msg)
        if not self.enable_v2_manifest:
            msg = "enable_v2_manifest=False is not possible: the format asks for v2 manifest paths"
            raise ValueError(msg)
        if self.max_rows_per_file is not None:
            msg = (
                f"max_rows_per_file={self.max_rows_per_file} is not possible: a file has the rows "
                "of chunk_size cells, or about 32 million rows without chunk_size"
            )
            raise ValueError(msg)
        if self.tiledb_layer_name != _DEFAULT_LAYER and self.matrix != "X":
            msg = (
                f"tiledb_layer_name={self.tiledb_layer_name!r} and matrix={self.matrix!r} name two "
                "matrices; leave out one"
            )
            raise ValueError(msg)

    def convert(
        self,
        input_path: Inputs,
        output_path: str | os.PathLike[str] | Location,
        input_format: str = "auto",
        *,
        skip_validation: bool = False,
    ) -> Dataset:
        """Convert inputs into a dataset, or finish a stopped conversion.

        Parameters
        ----------
        input_path
            A file, a folder of inputs, or a list of these.
        output_path
            A directory that does not exist yet, or the URL of one in a bucket.
        input_format
            "h5ad", "10x_h5", "10x_mtx" or "tiledb"; "auto" detects it by content.
        skip_validation
            True is refused: what is converted is always checked.

        Raises
        ------
        SlafError
            As `slaf.convert` does.
        ValueError
            If `skip_validation` is True.
        """
        _check_validation(skip_validation=skip_validation)
        options = self._keywords(ConvertOptions, input_path, input_format)
        return convert(input_path, output_path, dry_run=False, **options)

    def convert_anndata(
        self, adata: anndata.AnnData, output_path: str | os.PathLike[str] | Location
    ) -> Dataset:
        """Convert an AnnData in memory, without changing it.

        Parameters
        ----------
        adata
            Cells × genes.
        output_path
            A directory that does not exist yet, or the URL of one in a bucket.

        Raises
        ------
        SlafError
            As `slaf.convert` does.
        """
        return self.convert(adata, output_path)

    def append(
        self,
        input_path: Inputs,
        existing_slaf_path: str | os.PathLike[str] | Location,
        input_format: str = "auto",
        *,
        skip_validation: bool = False,
    ) -> Dataset:
        """Add the cells of inputs to a dataset, or finish a stopped append.

        The storage options of the dataset are kept: only options of `slaf.append` have an effect.

        Parameters
        ----------
        input_path
            A file, a folder of inputs, or a list of these.
        existing_slaf_path
            A published dataset.
        input_format
            "h5ad", "10x_h5", "10x_mtx" or "tiledb"; "auto" detects it by content.
        skip_validation
            True is refused: what is added is always checked.

        Raises
        ------
        SlafError
            As `slaf.append` does.
        ValueError
            If `skip_validation` is True.
        """
        _check_validation(skip_validation=skip_validation)
        options = self._keywords(AppendOptions, input_path, input_format)
        # By default a dataset keeps or lacks `expression_by_gene` as before.
        options["by_gene"] = self.by_gene or None
        return append(input_path, existing_slaf_path, dry_run=False, **options)

    def _keywords(self, record: type[Options], inputs: Inputs, input_format: str) -> dict[str, Any]:
        """Keywords of `slaf.convert` or `slaf.append` for the options."""
        format = None if input_format == "auto" else input_format
        chosen = {name: getattr(self, name) for name in options_of(type(self))} | {
            "format": format,
            **self._of_experiment(inputs, format),
            "chunk_size": self.chunk_size if self.chunked else _ALL_CELLS,
            "compact": self.compact or self.compact_after_write,
            "string_ids": self.string_ids or not (self.use_integer_keys and self.optimize_storage),
            "plain_types": self.plain_types or not self.use_optimized_dtypes,
            "restart": not self.enable_checkpointing,
        }
        return {name: chosen[name] for name in options_of(record) if name in chosen}

    def _of_experiment(self, inputs: Inputs, format: str | None) -> dict[str, str | None]:
        """The measurement and the matrix: the chosen ones, if the inputs have measurements."""
        names = (self.tiledb_collection_name, self.tiledb_layer_name)
        chosen: dict[str, str | None] = {"measurement": self.measurement, "matrix": self.matrix}
        if names == (_DEFAULT_MEASUREMENT, _DEFAULT_LAYER):
            return chosen
        if "measurement" not in choices_of(inputs, format, self.storage_options):
            return chosen
        if names[0] != _DEFAULT_MEASUREMENT:
            chosen["measurement"] = self.measurement or names[0]
        if names[1] != _DEFAULT_LAYER:
            chosen["matrix"] = f"layer:{names[1]}"
        return chosen


def _check_validation(*, skip_validation: bool) -> None:
    if skip_validation:
        msg = (
            "skip_validation=True is not possible: a value that was not checked may be wrong; "
            "leave it out"
        )
        raise ValueError(msg)
