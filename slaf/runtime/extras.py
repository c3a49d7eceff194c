"""Packages of the extras, which an installation may lack."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from slaf.errors import MissingPackage

__all__ = ["install_line", "require"]

_EXTRAS: Final = {
    "boto3": "s3",
    "dask": "dask",
    "hdf5plugin": "plugins",
    "obstore": "cloud",
    "pybigtools": "bam",
    "pysam": "bam",
    "ray": "ray",
    "scanpy": "scanpy",
    "skmisc": "scanpy",
    "tiledbsoma": "soma",
    "torch": "torch",
}


def install_line(package: str) -> str:
    """The line that installs the extra with a package."""
    return f"pip install 'slaf[{_EXTRAS[package]}]'"


def require(package: str, purpose: str) -> None:
    """Import a package of an extra.

    Parameters
    ----------
    package
        The name of the package.
    purpose
        The use of the package, as the subject of a sentence.

    Raises
    ------
    MissingPackage
        If it is not installed; the error names the extra.
    """
    try:
        import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        msg = f"{purpose} needs {package}, which is not installed: {install_line(package)}"
        raise MissingPackage(msg) from None
