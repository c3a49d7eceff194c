"""The programs that are compared: how each is installed, and what command makes its output.

Each is run in the best way its documentation has; `mode` says which that is, for the page.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.environment import python_of, versions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.inputs import Input, Kind

__all__ = ["BY_GENE", "OURS", "PROGRAMS", "Program", "script"]

Words = list[str | Path]

OURS = "slaf"
BY_GENE = "slaf, by gene"

_SCRIPTS = Path(__file__).parent / "scripts"


def script(python: Path, name: str, *arguments: str | Path) -> Words:
    """The command that runs one of our scripts in the environment of an interpreter."""
    # Our own `slaf` must not be found by slafdb, nor what the user has set.
    return [python, "-E", "-s", "-W", "ignore", _SCRIPTS / f"{name}.py", *arguments]


@dataclass(frozen=True, slots=True)
class Program:
    """A way to turn an input into an output.

    Attributes
    ----------
    name
        What it is called on the page.
    script
        Which of our scripts reads its output, and perhaps writes it.
    convert
        From its interpreter, the input, its path and that of the output, to the command.
    requirements
        What pip installs for it; nothing for our own environment.
    packages
        Those whose releases the page tells.
    kinds
        The formats that it says it reads.
    suffix
        What its outputs' names end with.
    mode
        How it is run, and why so.
    """

    name: str
    script: str
    convert: Callable[[Path, Input, Path, Path], Words]
    kinds: frozenset[Kind]
    requirements: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    suffix: str = ""
    mode: str = ""

    @property
    def python(self) -> Path:
        """The interpreter of its environment, which is made if it is not there."""
        name = self.requirements[0].partition("==")[0] if self.requirements else OURS
        return python_of(name, *self.requirements)

    def versions(self) -> Mapping[str, str]:
        """The releases that are measured."""
        return versions(self.python, self.packages)


def _slaf(*options: str) -> Callable[[Path, Input, Path, Path], Words]:
    def command(python: Path, _: Input, path: Path, output: Path) -> Words:
        return [python.with_name("slaf"), "convert", "--quiet", *options, path, output]

    return command


def _slaf_layout(python: Path, wanted: Input, path: Path, output: Path) -> Words:
    other = "csc" if wanted.counts.layout == "csr" else "csr"
    return script(python, "with_slaf", "convert", other, path, output)


def _slafdb(*options: str) -> Callable[[Path, Input, Path, Path], Words]:
    def command(python: Path, wanted: Input, path: Path, output: Path) -> Words:
        return [python.with_name("slaf"), "convert", *options, *soma(wanted), path, output]

    def soma(wanted: Input) -> tuple[str, ...]:
        if wanted.kind != "SOMA":
            return ()
        return ("--format", "tiledb", "--tiledb-layer", "data", "--no-optimized-dtypes")

    return command


def _scripted(name: str) -> Callable[[Path, Input, Path, Path], Words]:
    def command(python: Path, wanted: Input, path: Path, output: Path) -> Words:
        return script(python, name, "convert", wanted.kind, path, output)

    return command


def _scdl(python: Path, wanted: Input, path: Path, output: Path) -> Words:
    dtype = "float32" if wanted.counts.normalised else "uint16"
    return [*_scripted("with_scdl")(python, wanted, path, output), dtype]


def _crispyx(python: Path, wanted: Input, path: Path, output: Path) -> Words:
    kind = wanted.kind if wanted.kind == "files" else wanted.counts.layout
    return script(python, "with_crispyx", "convert", kind, path, output)


def _floor(compression: str) -> Callable[[Path, Input, Path, Path], Words]:
    def command(python: Path, _: Input, path: Path, output: Path) -> Words:
        return script(python, "floor", path, output, compression)

    return command


_FILES: frozenset[Kind] = frozenset({"h5ad", "files"})
_DROPLETS: frozenset[Kind] = frozenset({"10x H5", "10x MTX"})

_BALANCED = Program(
    OURS,
    "with_slaf",
    _slaf(),
    _FILES | _DROPLETS | {"SOMA"},
    packages=("slaf", "pylance", "h5py", "anndata", "tiledbsoma"),
    mode="`slaf convert`, with its defaults.",
)
_SLAFDB = Program(
    "slafdb",
    "with_slafdb",
    _slafdb(),
    _FILES | _DROPLETS | {"SOMA"},
    # It reads experiments only where TileDB-SOMA is installed too. Those of S3 fit each other,
    # which pip would take minutes to find out.
    requirements=(
        "slafdb==0.5.2",
        "pylance==14.0.2",
        "tiledb==0.36.1",
        "tiledbsoma==2.3.0",
        "s3fs==2026.9.0",
        "aiobotocore==3.10.0",
        "boto3==1.43.117",
    ),
    packages=("slafdb", "pylance", "anndata", "tiledbsoma"),
    mode="`slaf convert`, with its defaults, which its documentation recommends; of experiments "
    "with `--no-optimized-dtypes`, because the conversion fails by default.",
)

PROGRAMS: dict[str, Program] = {
    one.name: one
    for one in (
        _BALANCED,
        replace(
            _BALANCED,
            name="slaf, fast",
            convert=_slaf("--compression", "fast"),
            mode="`slaf convert --compression fast`.",
        ),
        replace(
            _BALANCED,
            name="slaf, small",
            convert=_slaf("--compression", "small"),
            mode="`slaf convert --compression small`.",
        ),
        replace(
            _BALANCED,
            name=BY_GENE,
            convert=_slaf("--by-gene"),
            mode="`slaf convert --by-gene`: in the order of cells, and in that of genes too.",
        ),
        replace(
            _BALANCED,
            name="slaf, to h5ad",
            convert=_slaf_layout,
            kinds=frozenset({"h5ad"}),
            suffix=".h5ad",
            mode="`slaf convert` and then `slaf export --layout`, to what crispyx makes: an h5ad "
            "file of the other layout, not packed.",
        ),
        _SLAFDB,
        replace(
            _SLAFDB,
            name="slafdb, plain types",
            convert=_slafdb("--no-optimized-dtypes"),
            mode="`slaf convert --no-optimized-dtypes`, for reads: of its default types its reader "
            "raises `ArrowInvalid` wherever it filters.",
        ),
        Program(
            "TileDB-SOMA",
            "with_tiledbsoma",
            _scripted("with_tiledbsoma"),
            _FILES,
            requirements=("tiledbsoma==2.3.0", "anndata==0.12.19"),
            packages=("tiledbsoma", "anndata"),
            suffix=".soma",
            mode="`tiledbsoma.io.from_h5ad`, with its defaults; many files are registered first, "
            "and then ingested one by one.",
        ),
        Program(
            "anndata to zarr",
            "with_anndata",
            _scripted("with_anndata"),
            _FILES | _DROPLETS,
            requirements=("anndata==0.12.19", "zarr==3.1.6", "zarrs==0.2.3", "scanpy==1.11.5"),
            packages=("anndata", "zarr", "zarrs", "scanpy"),
            suffix=".zarr",
            mode="`read_h5ad` and `write_zarr`, as its guide to zarr 3 has it for local data: "
            "the format 3, shards, and the codecs of `zarrs`. scanpy reads the 10x formats; many "
            "files are joined by `concat_on_disk`, without `zarrs`, which fails there.",
        ),
        Program(
            "bionemo-scdl",
            "with_scdl",
            _scdl,
            _FILES,
            requirements=("bionemo-scdl==0.1.3", "anndata==0.12.19"),
            packages=("bionemo-scdl", "anndata", "torch"),
            suffix=".scdl",
            mode="`SingleCellMemMapDataset` with `data_dtype` `uint16` for counts (`float32` for "
            "logarithms), the narrowest that holds them, and `use_X_not_raw`; a "
            "`SingleCellCollection` of many files, flattened.",
        ),
        Program(
            "crispyx",
            "with_crispyx",
            _crispyx,
            _FILES,
            requirements=("crispyx==0.2.2", "anndata==0.12.19", "psutil==7.2.2"),
            packages=("crispyx", "anndata"),
            suffix=".h5ad",
            mode="`pp.convert_to_csc` of a file stored by cells, and `pp.convert_to_csr` of any "
            "other; `pp.concat_h5ad` of many. It writes h5ad, so compare it with "
            "*slaf, to h5ad*.",
        ),
        *(
            Program(
                f"floor, {compression}",
                "floor",
                _floor(compression),
                frozenset({"h5ad"}),
                suffix=".lance",
                mode="Not a program: X is inflated by ISA-L, and the arrays are handed to "
                f"`lance.write_dataset`, as `{compression}` has them. Nothing is checked, digested "
                "or kept beside.",
            )
            for compression in ("balanced", "fast")
        ),
    )
}
