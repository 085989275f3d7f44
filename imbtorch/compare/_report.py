"""Write a report of a comparison as one HTML file that needs no scripts and no network."""

from __future__ import annotations

from html import escape

import numpy as np

from imbtorch.compare._figures import draw
from imbtorch.compare._findings import Findings
from imbtorch.compare._page import listed, page, picture
from imbtorch.compare._words import NOTES, cell, columns_of, epochs_cell, finished, metric_of

__all__ = ["html", "html_table"]


def html(comparison: Findings) -> str:
    """Return the report as HTML.

    Parameters
    ----------
    comparison : Findings
        Result with at least one finished strategy.

    Raises
    ------
    ValueError
        If no strategy is finished.
    """
    table = comparison.table
    if not len(finished(table)):
        reasons = "; ".join(f"{name}: {status}" for name, status in table["status"].items())
        raise ValueError(f"no strategy was finished, so there is nothing to report ({reasons}).")
    figures = [picture(figure, caption) for caption, figure in draw(comparison).items()]
    cut = "<p><strong>Interrupted: not all strategies ran.</strong></p>"
    notes = NOTES.replace("* marks the best mean", "bold is the best mean")
    body = [
        f"<p>{escape(comparison.data)} Reference: {escape(comparison.reference)}.</p>",
        cut if comparison.interrupted else "",
        f'<p class="advice">{escape(comparison.recommendation)}</p>',
        f'<div class="wide">{html_table(comparison)}</div>',
        f'<p class="notes">{escape(notes)}</p>',
        *figures,
        listed(comparison.notes),
    ]
    return page("Remedies for imbalance, compared", body)


def html_table(comparison: Findings) -> str:
    """Return the table of strategies and metrics as HTML."""
    table, done = comparison.table, finished(comparison.table)
    names = columns_of(table, comparison.scoring)
    names = [names[0], "difference", "p_value", *names[1:], "epochs", "seconds"]
    titles = {"difference": "difference", "p_value": "p", "seconds": "seconds to fit"}
    head = "".join(f"<th>{escape(titles.get(n, metric_of(n).title))}</th>" for n in names)
    lines = []
    for strategy in table.index:
        if strategy in done.index:
            cells = "".join(_cell(comparison, strategy, name) for name in names)
        else:
            status = escape(table.loc[strategy, "status"])
            cells = f'<td class="failed" colspan="{len(names)}">{status}</td>'
        lines.append(f"<tr><th>{escape(strategy)}</th>{cells}</tr>")
    return (
        f"<table><thead><tr><th>strategy</th>{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table>"
    )


def _cell(comparison: Findings, strategy: str, name: str) -> str:
    done = finished(comparison.table)
    value = done.loc[strategy, name]
    if name == "epochs":
        return f"<td>{epochs_cell(value)}</td>"
    if name in {"p_value", "seconds"}:
        digits = 3 if name == "p_value" else 2
        return "<td>–</td>" if np.isnan(value) else f"<td>{value:.{digits}f}</td>"
    metric = metric_of(comparison.scoring if name == "difference" else name)
    best = (metric.sign * done[name]).round(metric.decimals).max()
    is_best = name != "difference" and round(metric.sign * value, metric.decimals) == best
    kind = ' class="best"' if is_best else ""
    return f"<td{kind}>{cell(done, strategy, name, metric.decimals)}</td>"
