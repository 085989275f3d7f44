"""Pieces of HTML for notebooks: tables and small curves, without scripts and further packages.

Whatever comes from the user (labels, names of columns, messages of errors) is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

__all__ = ["fragment", "paragraph", "sparkline", "table"]

_LONGEST = 80  # characters of a cell
_WIDTH, _HEIGHT, _MARGIN = 220, 40, 3
_STYLE = """
.imbtorch-view { font: 14px/1.5 system-ui, sans-serif; margin: .6em 0; max-width: 60em; }
.imbtorch-view p { margin: .4em 0; }
.imbtorch-view div.wide { overflow-x: auto; }
.imbtorch-view table { border-collapse: collapse; font: inherit; margin: .4em 0;
  font-variant-numeric: tabular-nums; }
.imbtorch-view caption { text-align: left; padding: .4em 0; caption-side: top; color: inherit; }
.imbtorch-view th, .imbtorch-view td { padding: .2em .8em; text-align: right; background: none;
  border-bottom: 1px solid rgba(128, 128, 128, .35); font-weight: normal; }
.imbtorch-view thead th { font-weight: 600; vertical-align: bottom; }
.imbtorch-view tr > :first-child { text-align: left; }
.imbtorch-view .text { text-align: left; }
.imbtorch-view figure { display: inline-block; margin: .2em 2em .2em 0; }
.imbtorch-view figcaption { font-size: 13px; }
.imbtorch-view svg { display: block; }
"""


def fragment(parts: Iterable[str]) -> str:
    """Put pieces of HTML below each other, with the styles that they need.

    Parameters
    ----------
    parts : iterable of str
        HTML; empty pieces are left out.

    Returns
    -------
    str
        HTML; empty if there is no piece.
    """
    shown = "".join(parts)
    return f'<div class="imbtorch-view"><style>{_STYLE}</style>{shown}</div>' if shown else ""


def paragraph(text: str) -> str:
    """Write a text as a paragraph.

    Examples
    --------
    >>> from imbtorch._common.html import paragraph
    >>> paragraph("a < b")
    '<p>a &lt; b</p>'
    """
    return f"<p>{escape(text)}</p>"


def table(titles: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> str:
    """Write a table, whose first column holds the names of the rows.

    Parameters
    ----------
    titles : sequence of str
        Names of the columns.
    rows : iterable of sequences
        Cells. Numbers are aligned to the right, and NaN is a dash.
    caption : str, default=""
        Text above the table.

    Returns
    -------
    str
        HTML.

    Examples
    --------
    >>> from imbtorch._common.html import table
    >>> page = table(["class", "rows"], [["<b>", 3]])
    >>> "&lt;b&gt;" in page, "<b>" in page
    (True, False)
    """
    lines = [list(row) for row in rows]
    kinds = [
        ' class="text"' if any(isinstance(cell, str) for cell in column) else ""
        for column in zip(*lines, strict=True)
    ] or [""] * len(titles)
    head = "".join(
        f'<th scope="col"{kind}>{escape(title)}</th>'
        for kind, title in zip(kinds, titles, strict=True)
    )
    body = "".join(
        f'<tr><th scope="row">{_text(first)}</th>'
        + "".join(f"<td{kind}>{_text(c)}</td>" for kind, c in zip(kinds[1:], rest, strict=True))
        + "</tr>"
        for first, *rest in lines
    )
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="wide"><table>{above}<thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def sparkline(name: str, values: Sequence[float], *, marked: int | None = None) -> str:
    """Draw a small curve, with its numbers as the text below it.

    Parameters
    ----------
    name : str
        What is drawn, for the text.
    values : sequence of float
        Values at equal distances; those that are not finite are left out.
    marked : int or None, default=None
        Position of the value that gets a dot, such as the best one.

    Returns
    -------
    str
        An SVG picture in a figure; empty if there are fewer than two finite values. Readers of a
        screen get the text.

    Examples
    --------
    >>> from imbtorch._common.html import sparkline
    >>> curve = sparkline("training loss", [0.7, 0.5, 0.4])
    >>> "training loss: 0.7 in the first epoch, 0.4 in the last" in curve
    True
    """
    points = [(i, value) for i, value in enumerate(values) if math.isfinite(value)]
    if len(points) < 2:
        return ""
    numbers = [value for _, value in points]
    low, high = min(numbers), max(numbers)

    def place(i: int, value: float) -> tuple[float, float]:
        share = (value - low) / (high - low) if high > low else 0.5
        x = _MARGIN + (_WIDTH - 2 * _MARGIN) * i / (len(values) - 1)
        return round(x, 1), round(_HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * share, 1)

    line = " ".join("{},{}".format(*place(*point)) for point in points)
    text = f"{name}: {_number(numbers[0])} in the first epoch, {_number(numbers[-1])} in the last"
    dot = ""
    if marked is not None and math.isfinite(values[marked]):
        x, y = place(marked, values[marked])
        dot = f'<circle cx="{x}" cy="{y}" r="3" fill="#d55e00"/>'
        text += f", {_number(values[marked])} in epoch {marked + 1} (dot)"
    return (
        f'<figure><svg role="img" aria-label="{escape(text)}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}"><polyline points="{line}" fill="none" '
        f'stroke="#0072b2" stroke-width="1.5"/>{dot}</svg>'
        f"<figcaption>{escape(text)}</figcaption></figure>"
    )


def _text(value: Any) -> str:
    if isinstance(value, float):
        return _number(value)
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return escape(text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "...")


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "–"
