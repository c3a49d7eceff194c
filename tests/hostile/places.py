"""Inputs that are not the file one thinks they are, or have a name that nobody expects."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from slaf_cli.report import ExitCode
from tests.hostile import h5ad, mtx, soma, tenx_h5
from tests.hostile.case import Case, Fate, converted, either, refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hostile.edits import Write

__all__ = ["CASES"]

FILE, FOLDER = h5ad.CSR, mtx.folder_of()


def _named(name: str, good: Write = FILE) -> Write:
    """A good input under another name."""

    def write(folder: Path) -> Path:
        return good(folder).rename(folder / name)

    return write


def _instead(put: Callable[[Path], object], inside: str = "", good: Write = FOLDER) -> Write:
    """A good folder in which something else is in the place of a file."""

    def write(folder: Path) -> Path:
        path = good(folder)
        place = path / inside
        if place.is_dir():
            shutil.rmtree(place)
        elif place.exists():
            place.unlink()
        put(place)
        return path

    return write


def _alone(put: Callable[[Path], object]) -> Write:
    """Something that is no file at all."""

    def write(folder: Path) -> Path:
        put(folder / "in.h5ad")
        return folder / "in.h5ad"

    return write


def _link(target: str) -> Callable[[Path], None]:
    return lambda place: place.symlink_to(target)


def _socket(place: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    # Its path may have 108 bytes only.
    before = Path.cwd()
    os.chdir(place.parent)
    try:
        server.bind(place.name)
    finally:
        os.chdir(before)
        server.close()


def _elsewhere(folder: Path) -> Path:
    """A folder whose files are all links to another folder."""
    (folder / "other").mkdir()
    good = FOLDER(folder / "other")
    (folder / "in").mkdir()
    for file in good.iterdir():
        (folder / "in" / file.name).symlink_to(file)
    return folder / "in"


def _through_link(folder: Path) -> Path:
    (folder / "other").mkdir()
    good = FILE(folder / "other")
    (folder / "link.h5ad").symlink_to(good)
    return folder / "link.h5ad"


def _within_itself(folder: Path) -> Path:
    path = FOLDER(folder)
    (path / "again").symlink_to(path)
    return path


def _folder_of_itself(folder: Path) -> Path:
    (folder / "in").mkdir()
    (folder / "in" / "again").symlink_to(folder / "in")
    return folder / "in"


def _detour(folder: Path) -> Path:
    path = FILE(folder)
    (folder / "down").mkdir()
    return folder / "down" / ".." / path.name


def _deep(folder: Path) -> Path:
    deep = folder.joinpath(*["d" * 100] * 20)
    deep.mkdir(parents=True)
    return FILE(folder).rename(deep / "in.h5ad")


def _many(folder: Path) -> Path:
    """A folder of three thousand files, none of which is an input."""
    (folder / "in").mkdir()
    for number in range(3000):
        (folder / "in" / f"{number}.txt").write_bytes(b"x")
    return folder / "in"


def _config(content: bytes) -> Write:
    """A folder that is no dataset, but has a config.json."""

    def write(folder: Path) -> Path:
        path = FOLDER(folder)
        (path / "config.json").write_bytes(content)
        return path

    return write


def _text(content: bytes) -> Write:
    def write(folder: Path) -> Path:
        (folder / "in.h5ad").write_bytes(content)
        return folder / "in.h5ad"

    return write


NAMES = {
    "spaces": "a file with  spaces .h5ad",
    "quotes": 'it\'s "quoted" `here` $HOME $(ls).h5ad',
    "a newline": "two\nlines.h5ad",
    "a tab and a bell": "tab\tbell\a.h5ad",
    "colours": "\x1b[31mred\x1b[0m.h5ad",
    "many scripts": "Größe-細胞-ячейка-🧬.h5ad",
    "another direction": "\u202egnp.h5ad",
    "a percent and a question": "100%?#&=.h5ad",
    "braces": "{0}{name!r}%s.h5ad",
    "a backslash": "a\\nb.h5ad",
    "255 bytes": "x" * 250 + ".h5ad",
    "a name that is hidden": ".h5ad",
    "a name of dots": "...",
    "a dash": "-rf.h5ad",
}

CASES: dict[str, Case] = {
    **{f"a name with {what}": converted(_named(name), h5ad.STORED) for what, name in NAMES.items()},
    "a name of bytes that are no text": refused(
        _named(os.fsdecode(b"\xff\xfe.h5ad")), "not text in UTF-8; rename it"
    ),
    "a folder of bytes that are no text": refused(
        _named(os.fsdecode(b"\xff\xfe"), FOLDER), "not text in UTF-8; rename it"
    ),
    **{
        f"a folder with {what}": converted(_named(NAMES[what], FOLDER), mtx.STORED)
        for what in ("spaces", "a newline", "many scripts")
    },
    "an experiment with spaces": converted(_named("a soma, with spaces", soma.SPARSE), soma.STORED),
    "an experiment with a percent": converted(_named("100%20percent", soma.SPARSE), soma.STORED),
    "a 10x file with a newline": converted(_named("a\nb.h5", tenx_h5.V3), tenx_h5.STORED),
    "a name of a URL": Case(
        lambda _folder: Path("s3:/" + "/bucket/in.h5ad"), Fate.REFUSED, "no such file"
    ),
    "a way around": converted(_detour, h5ad.STORED),
    "a long way": either(_deep),
    "a way that is too long": refused(
        lambda folder: folder / ("x" * 5000), "too long", code=ExitCode.STORAGE
    ),
    "nothing there": refused(lambda folder: folder / "nothing.h5ad", "no such file"),
    "a link": converted(_through_link, h5ad.STORED),
    "a link to nothing": refused(_alone(_link("nowhere")), "no such file"),
    "a link to itself": refused(_alone(_link("in.h5ad")), "no such file|link"),
    "a link to the file system": refused(
        _alone(_link("/usr/lib")), "no known format|cannot|more than"
    ),
    "a link to zeros without end": refused(_alone(_link("/dev/zero")), "no known format"),
    "a link to nothing at all": refused(_alone(_link("/dev/null")), "no known format"),
    "a link to a terminal": refused(_alone(_link("/dev/tty")), "no known format"),
    "a link to memory that nobody may read": refused(
        _alone(_link("/proc/self/mem")), "cannot", code=ExitCode.STORAGE
    ),
    "a pipe": refused(_alone(os.mkfifo), "no known format"),
    "a socket": refused(_alone(_socket), "no known format"),
    "an empty folder": refused(_alone(Path.mkdir), "no known format"),
    "an empty file": refused(_text(b""), "the file is empty"),
    "one byte": refused(_text(b"\x89"), "no known format"),
    "a script": refused(_text(b"#!/bin/sh\nrm -rf /\n"), "no known format"),
    "the signature of HDF5 alone": refused(_text(b"\x89HDF\r\n\x1a\n"), "readable"),
    "the signature of HDF5 and zeros": refused(
        _text(b"\x89HDF\r\n\x1a\n" + bytes(4000)), "readable"
    ),
    "the signature of HDF5 and ones": refused(
        _text(b"\x89HDF\r\n\x1a\n" + b"\xff" * 4000), "readable"
    ),
    "an archive": refused(_text(b"PK\x03\x04" + bytes(1000)), "not a readable zip file"),
    "files that are links elsewhere": converted(_elsewhere, mtx.STORED),
    "a folder within itself": converted(_within_itself, mtx.STORED),
    "a folder of nothing but itself": refused(_folder_of_itself, "no known format"),
    "a folder of three thousand files": refused(_many, "no known format"),
    "a matrix that is a pipe": refused(_instead(os.mkfifo, "matrix.mtx"), "matrix.mtx"),
    "barcodes that are a pipe": refused(_instead(os.mkfifo, "barcodes.tsv"), "barcodes"),
    "features that are a pipe": refused(_instead(os.mkfifo, "features.tsv"), "features"),
    "a matrix that is a folder": refused(_instead(Path.mkdir, "matrix.mtx"), "matrix.mtx"),
    "barcodes that are a folder": refused(_instead(Path.mkdir, "barcodes.tsv"), "barcodes"),
    "a matrix that is a device": refused(_instead(_link("/dev/zero"), "matrix.mtx"), "matrix.mtx"),
    "barcodes that are a device": refused(_instead(_link("/dev/zero"), "barcodes.tsv"), "barcodes"),
    "a matrix that is a link to nothing": refused(
        _instead(_link("nowhere"), "matrix.mtx"), "matrix.mtx"
    ),
    "a matrix that is a link to itself": refused(
        _instead(_link("matrix.mtx"), "matrix.mtx"), "matrix.mtx"
    ),
    "features that are a link to passwords": refused(
        _instead(_link("/etc/passwd"), "features.tsv"), "features.tsv: it has"
    ),
    "a matrix that nobody may read": refused(
        _instead(_link("/proc/self/mem"), "matrix.mtx"), "cannot", code=ExitCode.STORAGE
    ),
    "a part of an experiment that is a pipe": refused(
        _instead(os.mkfifo, "obs/__schema/pipe", soma.SPARSE), "pipe|not a file"
    ),
    "a group of an experiment that is a pipe": refused(
        _instead(os.mkfifo, "__group/pipe", soma.SPARSE), "pipe|not a file"
    ),
    "a config that is a pipe": converted(_instead(os.mkfifo, "config.json"), mtx.STORED),
    "a config that is a device": converted(_instead(_link("/dev/zero"), "config.json"), mtx.STORED),
    "a config that is a folder": converted(_instead(Path.mkdir, "config.json"), mtx.STORED),
    "a config that is nested without end": converted(_config(b"[" * 1_000_000), mtx.STORED),
    "a config that is a number without end": converted(_config(b"9" * 1_000_000), mtx.STORED),
    "a config that is no text": converted(_config(b"\xff\xfe"), mtx.STORED),
    "a config that is a list": converted(_config(b'["format_version"]'), mtx.STORED),
    "a config of fifty megabytes": converted(_config(b" " * (50 << 20)), mtx.STORED),
}
