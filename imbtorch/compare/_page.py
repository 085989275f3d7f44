"""The HTML page of a report, which needs no scripts and no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

__all__ = ["facts", "figures", "listed", "page", "program", "table"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1140px; margin: 2em auto; padding: 0 1em;
  color: #1a1a1a; background: #fff; }
h1 { font-size: 1.7em; line-height: 1.2; } h2 { font-size: 1.2em; margin: 1.8em 0 .5em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: .35em .8em; border-bottom: 1px solid #ddd; text-align: right;
  white-space: nowrap; vertical-align: baseline; }
thead th { vertical-align: bottom; white-space: normal; max-width: 9em; }
tr > :first-child { text-align: left; position: sticky; left: 0; background: #fff; }
tbody th { font-weight: 500; }
small { color: #555; font-size: 12px; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .15em 1.2em;
  margin: 1em 0; }
dt { color: #555; } dd { margin: 0; overflow-wrap: anywhere; }
dd code { white-space: pre-wrap; }
pre { background: #f5f5f5; padding: 1em; overflow-x: auto; font-size: 13px; line-height: 1.45; }
.figures { display: grid; gap: 0 1.5em;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 30em), 1fr)); }
figure { margin: 1.2em 0; }
img { max-width: 100%; height: auto; }
figcaption, .notes { color: #444; font-size: 14px; }
.notes li { margin: .4em 0; overflow-wrap: anywhere; }
.advice { border-left: 4px solid #0072b2; padding: .2em 1em; }
.banner { border: 2px solid #8a3300; background: #fff4ec; padding: .6em 1em; font-weight: 600; }
@media (max-width: 600px) {
  body { margin: 1em auto; }
  dl { grid-template-columns: minmax(0, 1fr); gap: 0; } dd { margin-bottom: .5em; }
  th, td { padding: .35em .5em; font-size: 13px; }
  tbody th { white-space: normal; min-width: 6.5em; }
  small { display: block; }
}
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
<head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><style>{_STYLE}</style></head>
<body>
<h1>{escape(title)}</h1>
{inside}
</body>
</html>
"""


def facts(lines: Mapping[str, str]) -> str:
    """Return lines with a title each, as HTML.

    Parameters
    ----------
    lines : mapping of str to str
        Texts by title.
    """
    pairs = (f"<dt>{escape(k)}</dt><dd>{_fact(k, v)}</dd>" for k, v in lines.items())
    return f"<dl>{''.join(pairs)}</dl>"


def _fact(title: str, text: str) -> str:
    return f"<code>{escape(text)}</code>" if title == "Command" else escape(text)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table that scrolls in a box of its own where it is wider than the page.

    Parameters
    ----------
    head : sequence of str
        Titles of the columns, as text.
    rows : iterable of sequence of str
        Cells, as HTML; the first one of a row is its name.
    """
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    lines = "".join(
        f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for name, *cells in rows
    )
    return (
        f'<div class="wide"><table><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table>'
        "</div>"
    )


def figures(drawn: Mapping[str, Any]) -> str:
    """Return figures of matplotlib, two beside each other where there is room for them.

    Parameters
    ----------
    drawn : mapping of str to Figure
        Figures by caption; the pictures are part of the HTML.
    """
    pictures = "".join(_picture(figure, caption) for caption, figure in drawn.items())
    return f'<div class="figures">{pictures}</div>'


def _picture(figure: Any, caption: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def program(text: str) -> str:
    """Return code as HTML, which scrolls in a box of its own."""
    return f"<pre><code>{escape(text)}</code></pre>"


def listed(title: str, notes: Sequence[str]) -> str:
    """Return a title and a list as HTML; nothing if the list is empty."""
    if not notes:
        return ""
    lines = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<h2>{escape(title)}</h2><ul class="notes">{lines}</ul>'
