"""The HTML page of a report, which needs no scripts and no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

__all__ = ["listed", "page", "picture"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76em; margin: 2em auto; padding: 0 1em;
  color: #1a1a1a; background: #fff; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .35em .7em; border-bottom: 1px solid #ddd; text-align: right;
  white-space: nowrap; }
thead th { vertical-align: bottom; white-space: normal; }
th:first-child { text-align: left; }
td.best { font-weight: 700; }
td.failed { text-align: left; color: #8a3300; white-space: normal; }
figure { margin: 2em 0; }
img { max-width: 100%; }
figcaption, .notes { color: #555; font-size: 13px; }
.advice { border-left: 4px solid #0072b2; padding: .2em 1em; }
"""


def page(title: str, body: Iterable[str]) -> str:
    """Return a page of these pieces of HTML.

    Parameters
    ----------
    title : str
        Title of the page, as text.
    body : iterable of str
        Pieces of HTML.
    """
    inside = "\n".join(piece for piece in body if piece)
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(title)}</title><style>{_STYLE}</style></head>
<body>
<h1>{escape(title)}</h1>
{inside}
</body>
</html>
"""


def picture(figure: Any, caption: str) -> str:
    """Return a figure of matplotlib with its caption, as HTML that holds the picture itself."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def listed(notes: Sequence[str]) -> str:
    """Return the notes of the reader as HTML; nothing if there are none."""
    if not notes:
        return ""
    lines = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<h2>How the table was read</h2><ul class="notes">{lines}</ul>'
