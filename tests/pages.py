"""The pages of the documentation, and somebody who types what they say."""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slaf_cli.app import make_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nbformat import NotebookNode

__all__ = [
    "PAGES",
    "ROOT",
    "Block",
    "Reader",
    "anchors",
    "blocks",
    "executed",
    "links",
    "name_of",
]

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_BLOCK = re.compile(r"^```(?P<info>[^\n`]+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]\n]+\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(?P<title>.+)$|^::: (?P<object>\S+)$", re.MULTILINE)
_TIME = re.compile(r"^\d{4}-\d\d-\d\dT[\d:]{8}Z ", re.MULTILINE)
_OPERATORS = frozenset("();<>|&")
_LOOSELY = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def executed(notebook: Path, directory: Path) -> NotebookNode:
    """A notebook with the outputs of its cells, which a kernel of Jupyter ran in a directory."""
    # Tests that run pages only start without Jupyter.
    import nbformat
    from nbclient import NotebookClient

    cells: NotebookNode = nbformat.reads(notebook.read_text("utf-8"), as_version=4)  # type: ignore[no-untyped-call]
    where = {"metadata": {"path": str(directory)}}
    NotebookClient(cells, timeout=600, resources=where).execute()
    return cells


def name_of(page: Path) -> str:
    """Its path, as people write it."""
    return page.relative_to(ROOT).as_posix()


def links(page: Path) -> Iterator[str]:
    """The targets of all links."""
    for match in _LINK.finditer(_CODE.sub("", page.read_text(encoding="utf-8"))):
        yield match["target"]


def anchors(page: Path) -> set[str]:
    """What a link into the page may name after `#`."""
    return {
        match["object"] or re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", match["title"]).lower())
        for match in _HEADING.finditer(_CODE.sub("", page.read_text(encoding="utf-8")))
    }


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes
    ----------
    language
        The first word after the fence.
    runs
        Whether tests run it: all do that do not say `no-run`.
    code
        What is in it.
    line
        Where it begins.
    """

    language: str
    runs: bool
    code: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    """All fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        language, *marks = re.findall(r"[\w-]+", match["info"])
        line = text.count("\n", 0, match.start("code"))
        yield Block(language, "no-run" not in marks, match["code"], line)


@dataclass
class Reader:
    """Somebody who types what a page says, from its top to its end, in one directory.

    Attributes
    ----------
    page, directory
        What is read, and where.
    processes
        Whether each command is a process of its own, as the installed program is; else those that
        are nothing but `slaf` and its words run in this one, which takes a tenth of the time.
    """

    page: Path
    directory: Path
    processes: bool = True
    names: dict[str, Any] = field(default_factory=dict)
    printed: str = ""

    def read(self) -> None:
        """Run every block; what it prints is compared where the page says what it prints."""
        languages = {
            "python": self._python,
            "text": self._text,
            "console": self._console,
            "bash": self._bash,
        }
        for block in blocks(self.page):
            if block.runs and block.language in languages:
                languages[block.language](block)

    def _python(self, block: Block) -> None:
        code = "\n" * block.line + block.code
        with contextlib.redirect_stdout(io.StringIO()) as stdout:
            exec(compile(code, str(self.page), "exec"), self.names)  # noqa: S102 - our own page
        self.printed = stdout.getvalue()

    def _text(self, block: Block) -> None:
        """What the Python block before it prints, if it does."""
        if self.printed:
            self._compare(block.code, self.printed, block)
        self.printed = ""

    def _console(self, block: Block) -> None:
        """Commands after `$`; each succeeds, unless the next one shows its exit code."""
        commands = _commands(block.code)
        code = 0
        for number, (command, expected) in enumerate(commands, start=1):
            code, printed = self._run(command, code)
            shown = number < len(commands) and commands[number][0] == "echo $?"
            assert shown or code == 0, f"{self.page}:{block.line}: {command}\n{printed}"
            if expected:
                self._compare(expected, printed, block)

    def _bash(self, block: Block) -> None:
        code, printed = self._shell(f"set -euo pipefail\n{block.code}")
        assert code == 0, f"{self.page}:{block.line}\n{printed}"

    def _run(self, command: str, code: int) -> tuple[int, str]:
        """Run a command after one that ended with this code; how it ends, and what it prints."""
        words = None if self.processes else self._words(command)
        if words is None:
            return self._shell(f"(exit {code}); {command}")
        printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        with (
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
            pytest.raises(SystemExit) as ended,
        ):
            make_app(words)(words, prog_name="slaf")
        return int(ended.value.code or 0), printed.buffer.getvalue().decode()

    def _words(self, command: str) -> list[str] | None:
        """The words after `slaf`, as the shell splits them; None if there is more than that."""
        lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        first, *others = lexer
        if first != "slaf" or any(_OPERATORS.issuperset(word) for word in others):
            return None
        _, printed = self._shell(f"printf '%s\\0' {command}")
        return printed.split("\0")[1:-1]

    def _shell(self, command: str) -> tuple[int, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.directory,
            env=os.environ | {"PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def _compare(self, expected: str, printed: str, block: Block) -> None:
        # Pages show what a terminal shows; times of a log are others on each day.
        expected, printed = _TIME.sub("", expected), _TIME.sub("", printed)
        same = doctest.OutputChecker().check_output(expected, printed, _LOOSELY)
        assert same, f"{self.page}:{block.line}: it prints\n{printed}\nand not\n{expected}"


def _commands(code: str) -> list[tuple[str, str]]:
    """Each command, and what the page says it prints."""
    found: list[tuple[str, str]] = []
    for line in code.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif found[-1][0].endswith("\\") and not found[-1][1]:
            found[-1] = (f"{found[-1][0]}\n{line}", "")
        else:
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
    return found
