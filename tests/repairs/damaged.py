"""A dataset with everything, and what is done to its files."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import slaf
from tests.builders import counts, write_h5ad
from tests.conversion.cases import N_CELLS, N_GENES, ending_in, files_of_reads, slots
from tests.conversion.outputs import output_of, unaccounted

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from tests.conversion.outputs import Output

__all__ = ["Original", "flip", "make_original", "make_original_of_reads", "proven_files"]


@dataclass(frozen=True)
class Original:
    """A dataset that is whole.

    Attributes
    ----------
    inputs
        What it was made of.
    path
        Where it is.
    """

    inputs: list[Path]
    path: Path

    @cached_property
    def output(self) -> Output:
        """All that must be the same after it was repaired."""
        return output_of(self.path)

    def copy(self, path: Path) -> Path:
        """A copy, to be damaged."""
        shutil.rmtree(path, ignore_errors=True)
        return shutil.copytree(self.path, path)

    def check(self, repaired: Path) -> None:
        """Check that a dataset is equal to this one in every byte of meaning."""
        assert _wherever(output_of(repaired)) == _wherever(self.output)
        assert not unaccounted(repaired)
        assert slaf.verify(repaired, against=self.inputs).ok


def _wherever(output: Output) -> Output:
    """The same without the directories of the tables: those of a damaged version are new."""
    return replace(output, config=output.config | {"tables": sorted(output.config["tables"])})


def make_original(folder: Path, chunk_size: int = 4) -> Original:
    """A dataset with something in every table and file, and with every index, in parts."""
    source = write_h5ad(folder / "in.h5ad", counts(N_CELLS, N_GENES), **slots(ending_in(0.5)))
    slaf.convert(
        source, folder / "out.slaf", chunk_size=chunk_size, create_indices=True, by_gene=True
    )
    return Original([source], folder / "out.slaf")


def make_original_of_reads(folder: Path) -> Original:
    """A dataset of files of reads, with coverage."""
    inputs = files_of_reads(folder)
    slaf.convert(inputs, folder / "out.slaf", bin_size=20, stranded="R", create_indices=True)
    return Original(inputs, folder / "out.slaf")


def proven_files(dataset: Path) -> list[str]:
    """The files that config.json has a checksum of."""
    config = json.loads((dataset / "config.json").read_bytes())
    return [one["file"] for one in config["proof"]["files"]]


def flip(file: Path, rng: random.Random) -> int:
    """Change one byte of a file, at random; where."""
    content = bytearray(file.read_bytes())
    at = rng.randrange(len(content))
    content[at] ^= rng.randrange(1, 256)
    file.write_bytes(content)
    return at
