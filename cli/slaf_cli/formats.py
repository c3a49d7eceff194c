"""`slaf formats`: the formats that can be read and written here."""

from __future__ import annotations

import typer

from slaf_cli import options
from slaf_cli.report import print_json

__all__ = ["formats"]


@options.command()
def formats(
    *,
    json: options.Json = False,
) -> None:
    """List the formats that are read and written.

    One that needs a package that is not installed has the line that installs it.
    """
    import slaf

    listed = slaf.formats()
    if json:
        print_json({"formats": [one.to_json() for one in listed]})
        return
    width = max(len(one.name) for one in listed)
    for one in listed:
        does = " ".join(["reads" if one.reads else "     ", "writes" if one.writes else ""])
        missing = "".join(f"; needs {package}: {line}" for package, line in one.missing.items())
        typer.echo(f"{one.name:<{width}}  {does:<12}  {one.description}{missing}")
