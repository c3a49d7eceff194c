"""SLAFConverter: conversion as an object that holds its options."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slaf.conversion.append import append
from slaf.conversion.convert import convert
from slaf.sources import choices_of

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import anndata

    from slaf.dataset.dataset import Dataset
    from slaf.sources.base import Inputs
    from slaf.storage.location import Location

__all__ = ["SLAFConverter"]

_ALL_CELLS = 2**31 - 1

# Which the library takes too where nothing is chosen, and else the only one.
_DEFAULT_MEASUREMENT = "RNA"


@dataclass(frozen=True)
class SLAFConverter:
    """Converts inputs with one set of options; underneath it is `slaf.convert`.

    Attributes
    ----------
    use_integer_keys
        `expression` refers to cells and genes by integers, which the format demands. False
        adds the string ids beside them.
    chunked
        False writes the matrix as one part, which cannot be resumed in its middle; the memory
        that it takes is bounded either way.
    chunk_size
        Cells written, digested and checkpointed at a time; None for about 32 million nonzeros.
    sort_metadata
        True is refused: cells and genes keep the order of the input.
    create_indices
        Also index the ids of cells and genes: bytes for quicker look-ups.
    optimize_storage
        False adds the string ids beside the integers in `expression`.
    use_optimized_dtypes
        False stores int32 ids and float32 values (float64 where that alone is exact).
    enable_v2_manifest
        False is refused: tables always have Lance's v2 manifest paths.
    compact_after_write
        True leaves fragments of about 32 million rows however small `chunk_size` is, and
        checkpoints after each fragment instead of each chunk.
    tiledb_collection_name
        The measurement to take of a TileDB-SOMA experiment; "RNA" means RNA, or the only one.
    enable_checkpointing
        False begins again where a conversion was interrupted, instead of resuming it.
    compression
        "fast", "balanced" or "small": bytes against time.
    matrix
        Which matrix becomes `expression`: "X", "raw" or "layer:NAME".
    genes
        Which genes to take of several inputs: "strict", "union" or "intersection".
    storage_options
        How to reach the buckets of inputs and outputs, by the names that Lance and obstore have
        for it; what is not said is taken from the environment.
    layers
        Which further matrices go along: "all", "none", "strict", or a list of names.
    raw
        Take along what AnnData calls raw.
    without
        What else to leave out: "uns", say, or "obsm:X_pca".
    uns_merge
        What becomes of the uns of several inputs: "same", "unique", "first" or "only".
    by_gene
        Also write the rows of `expression` in the order of genes: bytes for genes to be read as
        fast as cells are.

    Raises
    ------
    ValueError
        If an option asks for what the format rules out.
    """

    use_integer_keys: bool = True
    chunked: bool = True
    chunk_size: int | None = None
    sort_metadata: bool = False
    create_indices: bool = False
    optimize_storage: bool = True
    use_optimized_dtypes: bool = True
    enable_v2_manifest: bool = True
    compact_after_write: bool = False
    tiledb_collection_name: str = "RNA"
    enable_checkpointing: bool = True
    compression: str = "balanced"
    matrix: str = "X"
    genes: str = "strict"
    storage_options: Mapping[str, str] | None = field(default=None, repr=False)
    layers: str | Sequence[str] = "all"
    raw: bool = True
    without: Sequence[str] = ()
    uns_merge: str = "unique"
    by_gene: bool = False

    def __post_init__(self) -> None:
        if self.sort_metadata:
            msg = (
                "sort_metadata=True is not possible: cells and genes keep the order of the "
                "input, so that the dataset can be compared with it; sort when you query"
            )
            raise ValueError(msg)
        if not self.enable_v2_manifest:
            msg = "enable_v2_manifest=False is not possible: the format asks for v2 manifest paths"
            raise ValueError(msg)

    def convert(
        self,
        input_path: Inputs,
        output_path: str | os.PathLike[str] | Location,
        input_format: str = "auto",
    ) -> Dataset:
        """Convert inputs into a dataset, or finish a conversion that was stopped.

        Parameters
        ----------
        input_path
            A file, a folder of inputs, or a list of these.
        output_path
            A directory that does not exist yet, or the URL of one in a bucket.
        input_format
            "h5ad", "10x_h5", "10x_mtx" or "tiledb"; "auto" finds it by the content.

        Raises
        ------
        SlafError
            As `slaf.convert` does.
        """
        format = None if input_format == "auto" else input_format
        measurement = self._measurement(input_path, format)
        options = self._how_stored() | self._how_written()
        return convert(input_path, output_path, format=format, measurement=measurement, **options)

    def convert_anndata(
        self, adata: anndata.AnnData, output_path: str | os.PathLike[str] | Location
    ) -> Dataset:
        """Convert an AnnData in memory, which is not changed.

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
        return convert(adata, output_path, **self._how_stored() | self._how_written())

    def append(
        self,
        input_path: Inputs,
        existing_slaf_path: str | os.PathLike[str] | Location,
        input_format: str = "auto",
    ) -> Dataset:
        """Add the cells of inputs to a dataset, or finish an append that was stopped.

        The dataset stays stored as it is: of this converter's options only `matrix` and those
        that say how to write and to resume have an effect.

        Parameters
        ----------
        input_path
            A file, a folder of inputs, or a list of these.
        existing_slaf_path
            A published dataset.
        input_format
            "h5ad", "10x_h5", "10x_mtx" or "tiledb"; "auto" finds it by the content.

        Raises
        ------
        SlafError
            As `slaf.append` does.
        """
        format = None if input_format == "auto" else input_format
        measurement = self._measurement(input_path, format)
        options = self._how_written()
        return append(
            input_path, existing_slaf_path, format=format, measurement=measurement, **options
        )

    def _measurement(self, inputs: Inputs, format: str | None) -> str | None:
        """The measurement to take, if the inputs have measurements and the user chose one."""
        if self.tiledb_collection_name == _DEFAULT_MEASUREMENT:
            return None
        choices = choices_of(inputs, format, self.storage_options)
        return self.tiledb_collection_name if "measurement" in choices else None

    def _how_written(self) -> dict[str, Any]:
        return {
            "matrix": self.matrix,
            "genes": self.genes,
            "chunk_size": self.chunk_size if self.chunked else _ALL_CELLS,
            "compact": self.compact_after_write,
            "restart": not self.enable_checkpointing,
            "storage_options": self.storage_options,
            "without": self.without,
        }

    def _how_stored(self) -> dict[str, Any]:
        return {
            "compression": self.compression,
            "create_indices": self.create_indices,
            "string_ids": not (self.use_integer_keys and self.optimize_storage),
            "plain_types": not self.use_optimized_dtypes,
            "layers": self.layers,
            "raw": self.raw,
            "uns_merge": self.uns_merge,
            "by_gene": self.by_gene,
        }
