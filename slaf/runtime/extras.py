"""Packages of the extras, which an installation may lack."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from slaf.errors import MissingPackage

__all__ = ["require"]

_EXTRAS: Final = {
    "boto3": "s3",
    "hdf5plugin": "plugins",
    "obstore": "cloud",
    "pybigtools": "bam",
    "pysam": "bam",
    "ray": "ray",
    "tiledbsoma": "soma",
    "torch": "torch",
}


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
        install = f"pip install 'slaf[{_EXTRAS[package]}]'"
        msg = f"{purpose} needs {package}, which is not installed: {install}"
        raise MissingPackage(msg) from None
