"""The compared programs: their installation, and the commands that make their outputs.

Each runs in the best mode of its documentation; `mode` describes it on the page.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.environment import python_of, versions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.inputs import Input, Kind

__all__ = [
    "BY_GENE",
    "FIRST",
    "FIRST_BY_GENE",
    "OURS",
    "PROGRAMS",
    "Program",
    "script",
]

Command = list[str | Path]

OURS = "slaf"
BY_GENE = "slaf, by gene"
FIRST = "slaf, first edition"
FIRST_BY_GENE = "slaf, first edition, by gene"

_TOP = Path(__file__).parents[1]
_FIRST_REVISION = "bffda8cfff8b411a561fd3adb220b73738acad1f"

_SCRIPTS = Path(__file__).parent / "scripts"


def script(python: Path, name: str, *arguments: str | Path) -> Command:
    """The command that runs one of our scripts in the environment of an interpreter."""
    # Isolated from our `slaf`, which slafdb would import, and from the user's environment.
    return [python, "-E", "-s", "-W", "ignore", _SCRIPTS / f"{name}.py", *arguments]


@dataclass(frozen=True, slots=True)
class Program:
    """A program that converts an input into an output.

    Attributes
    ----------
    name
        Name on the page.
    script
        Script of this project that reads its output, and writes it if the program has no command;
        empty if the output is not read.
    convert
        Function of its interpreter, the input, and the paths of input and output; returns the
        command.
    requirements
        Requirements that pip installs; empty for our own environment.
    packages
        Packages whose releases the page lists.
    kinds
        Formats that it claims to read.
    suffix
        Suffix of its outputs.
    mode
        Its mode and the reason for it.
    """

    name: str
    script: str
    convert: Callable[[Path, Input, Path, Path], Command]
    kinds: frozenset[Kind]
    requirements: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    suffix: str = ""
    mode: str = ""

    @property
    def python(self) -> Path:
        """The interpreter of its environment, which is made on first use."""
        if not self.requirements:
            return python_of(OURS)
        package = self.requirements[0].partition("==")[0]
        return python_of(package.rpartition("egg=")[2], *self.requirements)

    def versions(self) -> Mapping[str, str]:
        """The measured releases."""
        return versions(self.python, self.packages)


def _slaf(*options: str) -> Callable[[Path, Input, Path, Path], Command]:
    def command(python: Path, _: Input, path: Path, output: Path) -> Command:
        return [python.with_name("slaf"), "convert", "--quiet", *options, path, output]

    return command


def _slaf_layout(python: Path, source: Input, path: Path, output: Path) -> Command:
    other = "csc" if source.counts.layout == "csr" else "csr"
    return script(python, "with_slaf", "convert", other, path, output)


def _slafdb(*options: str) -> Callable[[Path, Input, Path, Path], Command]:
    def command(python: Path, source: Input, path: Path, output: Path) -> Command:
        return [python.with_name("slaf"), "convert", *options, *soma(source), path, output]

    def soma(source: Input) -> tuple[str, ...]:
        if source.kind != "SOMA":
            return ()
        return ("--format", "tiledb", "--tiledb-layer", "data", "--no-optimized-dtypes")

    return command


def _scripted(name: str) -> Callable[[Path, Input, Path, Path], Command]:
    def command(python: Path, source: Input, path: Path, output: Path) -> Command:
        return script(python, name, "convert", source.kind, path, output)

    return command


def _scdl(python: Path, source: Input, path: Path, output: Path) -> Command:
    dtype = "float32" if source.counts.normalised else "uint16"
    return [*_scripted("with_scdl")(python, source, path, output), dtype]


def _crispyx(python: Path, source: Input, path: Path, output: Path) -> Command:
    kind = source.kind if source.kind == "files" else source.counts.layout
    return script(python, "with_crispyx", "convert", kind, path, output)


def _floor(compression: str) -> Callable[[Path, Input, Path, Path], Command]:
    def command(python: Path, _: Input, path: Path, output: Path) -> Command:
        return script(python, "floor", path, output, compression)

    return command


_FILES: frozenset[Kind] = frozenset({"h5ad", "files", "real"})
_DROPLETS: frozenset[Kind] = frozenset({"10x H5", "10x MTX"})

_BALANCED = Program(
    OURS,
    "with_slaf",
    _slaf(),
    _FILES | _DROPLETS | {"SOMA", "zarr", "MuData", "loom"},
    packages=("slaf", "pylance", "h5py", "anndata", "tiledbsoma"),
    mode="`slaf convert` with its defaults.",
)
_FIRST = Program(
    FIRST,
    "",
    _slaf(),
    _FILES | _DROPLETS,
    requirements=(f"git+{_TOP.as_uri()}@{_FIRST_REVISION}#egg=slaf",),
    packages=("slaf", "pylance", "h5py", "anndata"),
    mode=f"`slaf convert` of this program at revision `{_FIRST_REVISION[:12]}`, of 2026-11-22.",
)
_SLAFDB = Program(
    "slafdb",
    "with_slafdb",
    _slafdb(),
    _FILES | _DROPLETS | {"SOMA"},
    # It reads experiments only if TileDB-SOMA is installed too. The pinned packages of S3 are
    # compatible; without pins pip takes minutes to resolve them.
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
    mode="`slaf convert` with its defaults, which its documentation recommends; for experiments "
    "with `--no-optimized-dtypes`, because the conversion fails with the defaults.",
)

PROGRAMS: dict[str, Program] = {
    program.name: program
    for program in (
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
            mode="`slaf convert --by-gene`: in cell order and in gene order.",
        ),
        *(
            replace(
                _BALANCED,
                name=f"slaf, workers {n}",
                convert=_slaf("--workers", str(n)),
                mode=f"`slaf convert --workers {n}`.",
            )
            for n in (1, 2)
        ),
        _FIRST,
        replace(
            _FIRST,
            name=FIRST_BY_GENE,
            convert=_slaf("--by-gene"),
            mode="The same, with `--by-gene`.",
        ),
        replace(
            _BALANCED,
            name="slaf, to h5ad",
            convert=_slaf_layout,
            kinds=frozenset({"h5ad"}),
            suffix=".h5ad",
            mode="`slaf convert` and then `slaf export --layout`: the output of crispyx, an "
            "uncompressed h5ad file of the other layout.",
        ),
        _SLAFDB,
        replace(
            _SLAFDB,
            name="slafdb, plain types",
            convert=_slafdb("--no-optimized-dtypes"),
            mode="`slaf convert --no-optimized-dtypes`, for reads: with its default types every "
            "filter of its reader raises `ArrowInvalid`.",
        ),
        Program(
            "TileDB-SOMA",
            "with_tiledbsoma",
            _scripted("with_tiledbsoma"),
            _FILES,
            requirements=("tiledbsoma==2.3.0", "anndata==0.12.19"),
            packages=("tiledbsoma", "anndata"),
            suffix=".soma",
            mode="`tiledbsoma.io.from_h5ad` with its defaults; many files are first registered, "
            "then ingested one by one.",
        ),
        Program(
            "anndata to zarr",
            "with_anndata",
            _scripted("with_anndata"),
            _FILES | _DROPLETS,
            requirements=("anndata==0.12.19", "zarr==3.1.6", "zarrs==0.2.3", "scanpy==1.11.5"),
            packages=("anndata", "zarr", "zarrs", "scanpy"),
            suffix=".zarr",
            mode="`read_h5ad` and `write_zarr`, as its guide to zarr 3 recommends for local data: "
            "format 3, shards, and the codecs of `zarrs`. scanpy reads the 10x formats; "
            "`concat_on_disk` joins many files, without `zarrs`, which fails there.",
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
            "logarithms), the narrowest exact type, and `use_X_not_raw`; for many files a "
            "`SingleCellCollection`, flattened.",
        ),
        Program(
            "crispyx",
            "with_crispyx",
            _crispyx,
            _FILES,
            requirements=("crispyx==0.2.2", "anndata==0.12.19", "psutil==7.2.2"),
            packages=("crispyx", "anndata"),
            suffix=".h5ad",
            mode="`pp.convert_to_csc` for a CSR file, and `pp.convert_to_csr` for any other; "
            "`pp.concat_h5ad` for many. It writes h5ad, so compare it with *slaf, to h5ad*.",
        ),
        *(
            Program(
                f"floor, {compression}",
                "",
                _floor(compression),
                frozenset({"h5ad"}),
                suffix=".lance",
                mode="Not a program: ISA-L decompresses X, and `lance.write_dataset` writes its "
                f"arrays as `{compression}` does. No checks, no digests, no obs and var.",
            )
            for compression in ("balanced", "fast")
        ),
    )
}
