"""Figures, charts and the notebook of the pages, made anew by each build of the site.

A page marks what it wants by a comment, and none of it is committed:

- ``<!-- made: umap.png | A UMAP of 700 cells -->`` is a file that the examples of this page make; a
  picture is shown, a page is linked and framed.
- ``<!-- chart: CPU, s -->`` is a bar for each row of the table below, by this column.
- ``<!-- notebook -->`` is notebook.ipynb, run, with its outputs.
"""

from __future__ import annotations

import base64
import contextlib
import re
import sys
import tempfile
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # mkdocs loads this file by its path

from tests.pages import Reader, executed  # noqa: E402 - found by the line above

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

_MADE = re.compile(r"^<!-- made: (?P<name>\S+) \| (?P<text>.+) -->$", re.MULTILINE)
_CHART = re.compile(r"^<!-- chart: (?P<column>.+) -->\n+(?P<table>(?:^\|.*\n)+)", re.MULTILINE)
_NOTEBOOK = "<!-- notebook -->"
_EXAMPLE_FILES = ROOT / "docs" / "example-files.md"


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The text of a page with what it marks."""
    made = _Made(page, config, files)
    if _NOTEBOOK in markdown:
        markdown = markdown.replace(_NOTEBOOK, made.notebook())
    if _MADE.search(markdown):
        made.run_examples([match["name"] for match in _MADE.finditer(markdown)])
        markdown = _MADE.sub(lambda match: _shown(match["name"], match["text"]), markdown)
    return _CHART.sub(lambda match: f"{_chart(match)}\n\n{match['table']}", markdown)


class _Made:
    """The files that are made for a page."""

    def __init__(self, page: Page, config: MkDocsConfig, files: Files) -> None:
        self._page, self._config, self._files = page, config, files

    def run_examples(self, names: Sequence[str]) -> None:
        """Run the examples of the page, and add these files to the site."""
        page = ROOT / "docs" / self._page.file.src_uri
        with _folder() as folder:
            for each in (_EXAMPLE_FILES, page):
                Reader(each, folder).read()
            for name in names:
                self._add(name, (folder / name).read_bytes())

    def notebook(self) -> str:
        """The notebook with its outputs, as Markdown."""
        with _folder() as folder:
            cells = executed(ROOT / "docs" / "notebook.ipynb", folder).cells
        # The page has a title of its own.
        return "\n\n".join(self._cell(number, cell) for number, cell in enumerate(cells) if number)

    def _cell(self, number: int, cell: Any) -> str:
        if cell.cell_type == "markdown":
            return str(cell.source)
        outputs = (
            self._output(f"notebook-{number}-{at}.png", o) for at, o in enumerate(cell.outputs)
        )
        return "\n\n".join([f"```python\n{cell.source}\n```", *outputs])

    def _output(self, name: str, output: Any) -> str:
        data = output.get("data", {"text/plain": output.get("text", "")})
        if "image/png" in data:
            self._add(name, base64.b64decode(data["image/png"]))
            return _shown(name, "The picture of the cell above")
        if "text/html" in data:
            return "".join(str(data["text/html"]).splitlines())
        return f"```text\n{data['text/plain'].rstrip()}\n```"

    def _add(self, name: str, content: bytes) -> None:
        path = Path(self._page.file.src_uri).with_name(name).as_posix()
        made = File.generated(self._config, path, content=content)
        if any(file.dest_uri == made.dest_uri for file in self._files):
            raise PluginError(f"{self._page.file.src_uri}: the site has another {made.dest_uri}")
        self._files.append(made)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """An empty current directory."""
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        yield Path(name)


def _shown(name: str, text: str) -> str:
    if not name.endswith(".html"):
        return f"![{text}]({name})"
    style = "width: 100%; height: 30rem; border: 1px solid gray"
    return (
        f'[{text}]({name})\n\n<iframe src="{name}" title="{escape(text)}" style="{style}"></iframe>'
    )


def _chart(match: re.Match[str]) -> str:
    """A drawing of a bar for each row of a table, as long as the number in a column."""
    head, _, *rows = (
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in match["table"].splitlines()
    )
    column = head.index(match["column"])
    # A program that fails has no numbers.
    numbers = [(row[0], row[column].replace(",", "")) for row in rows if len(row) > column]
    bars = [(name, float(number)) for name, number in numbers if number[:1].isdigit()]
    longest = max(value for _, value in bars)
    lines = "".join(_bar(at, name, value, value / longest) for at, (name, value) in enumerate(bars))
    title = escape(f"{match['column']}: the table below as bars")
    size = f'viewBox="0 0 760 {24 * len(bars)}" style="width: 100%; max-width: 760px"'
    style = 'fill="currentColor" font-size="14"'
    return f'<svg {size} role="img" aria-label="{title}" {style}>{lines}</svg>'


def _bar(at: int, name: str, value: float, share: float) -> str:
    y = 24 * at
    return (
        f'<text x="190" y="{y + 17}" text-anchor="end">{escape(name)}</text>'
        f'<rect x="200" y="{y + 4}" width="{max(460 * share, 1):.0f}" height="16" opacity="0.6"/>'
        f'<text x="{208 + 460 * share:.0f}" y="{y + 17}">{value:,.2f}</text>'
    )
