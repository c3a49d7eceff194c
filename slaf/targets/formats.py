"""slaf.formats: the formats that can be read and written here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

from slaf import sources, targets
from slaf.dataset import source as dataset_source
from slaf.runtime.extras import install_line

__all__ = ["FormatInfo", "formats"]


@dataclass(frozen=True, slots=True)
class FormatInfo:
    """A format of inputs, of exports, or of both.

    Attributes
    ----------
    name
        Its name for `--format`.
    description
        Its name for people.
    reads, writes
        Whether inputs and exports may have it.
    suffixes
        The suffixes of exports of this format; others are chosen by name.
    missing
        The packages that it needs and that are not installed, each with the line that installs it.
    """

    name: str
    description: str
    reads: bool
    writes: bool
    suffixes: tuple[str, ...]
    missing: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """As `slaf formats --json` prints it."""
        return asdict(self)


def formats() -> list[FormatInfo]:
    """The formats that can be read and written here, and the packages that some lack.

    Examples
    --------
    >>> [one.name for one in formats() if one.reads and one.writes][:2]
    ['h5ad', 'zarr']
    """
    inputs = {one.name: one for one in [*sources.FORMATS, dataset_source.FORMAT]}
    outputs = {one.name: one for one in targets.FORMATS}
    found = []
    for name in dict.fromkeys([*inputs, *outputs]):
        read, written = inputs.get(name), outputs.get(name)
        packages = {one.package for one in (read, written) if one is not None and one.package}
        found.append(
            FormatInfo(
                name,
                next(one.description for one in (read, written) if one is not None),
                reads=read is not None,
                # A dataset is what `slaf convert` writes.
                writes=written is not None or read is dataset_source.FORMAT,
                suffixes=() if written is None else written.suffixes,
                missing={one: install_line(one) for one in packages if _is_missing(one)},
            )
        )
    return found


def _is_missing(package: str) -> bool:
    try:
        return find_spec(package) is None
    except ValueError:  # None in `sys.modules`
        return True
