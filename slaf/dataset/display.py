"""Text and HTML that say what is inside a view, without reading values."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from slaf.format.schema import CELLS, GENES

if TYPE_CHECKING:
    from slaf.dataset.base import BaseView

__all__ = ["as_html", "as_text"]

# Names of one slot in a text, and in a fold-out of HTML.
_LISTED = 12
_UNFOLDED = 200


def as_text(view: BaseView[Any]) -> str:
    """The shape, and the names in each slot, as AnnData shows itself."""
    lines = [_title(view)]
    for slot, names in contents(view).items():
        more = f", and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
        lines.append(f"    {slot}: {', '.join(map(repr, names[:_LISTED]))}{more}")
    return "\n".join(lines)


def as_html(view: BaseView[Any]) -> str:
    """The same with a fold-out for each slot; everything is escaped, and there is no script."""
    parts = [f"<div><b>{escape(_title(view))}</b>"]
    for slot, names in contents(view).items():
        more = f"<li>and {len(names) - _UNFOLDED:,} more</li>" if len(names) > _UNFOLDED else ""
        items = "".join(f"<li><code>{escape(name)}</code></li>" for name in names[:_UNFOLDED])
        title = f"<summary>{escape(slot)} ({len(names):,})</summary>"
        parts.append(f"<details>{title}<ul>{items}{more}</ul></details>")
    return "".join([*parts, "</div>"])


def contents(view: BaseView[Any]) -> dict[str, list[str]]:
    """The names in each slot that has any."""
    source, raw = view.source, view.raw
    slots = source.slots()
    found = {
        "obs": [c.original for c in source.columns(CELLS).columns if c.original is not None],
        "var": [c.original for c in source.columns(GENES).columns if c.original is not None],
        "layers": list(source.info.layers),
        "raw": [] if raw is None else [f"{raw.n_vars:,} genes"],
        "obsm": list(slots.obsm),
        "varm": list(slots.varm),
        "obsp": list(slots.obsp),
        "varp": list(slots.varp),
        "uns": list(slots.uns),
    }
    return {slot: names for slot, names in found.items() if names}


def _title(view: BaseView[Any]) -> str:
    n_cells, n_genes = view.shape
    kind = type(view.origin).__name__
    part = "" if view is view.origin else "View of "
    return f"{part}{kind} {view.label!r}: {n_cells:,} cells × {n_genes:,} genes, {view.X.dtype}"
