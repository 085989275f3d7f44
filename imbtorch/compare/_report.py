"""Write a report of a comparison as one HTML file that needs no scripts and no network."""

from __future__ import annotations

from html import escape

from imbtorch.compare._blocks import Block, blocks
from imbtorch.compare._figures import draw
from imbtorch.compare._findings import Findings
from imbtorch.compare._legend import legend
from imbtorch.compare._page import facts, figures, listed, page, program, table
from imbtorch.compare._words import best_of, finished

__all__ = ["html", "html_tables"]


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
    if not len(finished(comparison.table)):
        statuses = comparison.table["status"].items()
        reasons = "; ".join(f"{name}: {status}" for name, status in statuses)
        raise ValueError(f"no strategy was finished, so there is nothing to report ({reasons}).")
    run = comparison.run
    banners = [comparison.interruption, run.warning if run is not None else ""]
    body = [
        *(f'<p class="banner">{escape(text)}</p>' for text in banners if text),
        facts(run.facts) if run is not None else "",
        f"<p>{escape(comparison.data)} Reference: {escape(comparison.reference)}.</p>",
        f'<p class="advice">{escape(comparison.recommendation)}</p>',
        html_tables(comparison),
        "<h2>Figures</h2>",
        figures(draw(comparison)),
        _program(comparison),
        listed("How the table was read", comparison.notes),
        listed("What the numbers mean", [f"{k}. {v}" for k, v in legend(comparison).items()]),
    ]
    return page("Remedies for imbalance, compared", body)


def html_tables(comparison: Findings, heading: str = "h2") -> str:
    """Return the tables of strategies and metrics as HTML.

    Parameters
    ----------
    comparison : Findings
        Result.
    heading : str, default="h2"
        HTML element of the titles.
    """
    tables = blocks(comparison) if len(finished(comparison.table)) else []
    return "\n".join([*(_table(block, heading) for block in tables), _failures(comparison)])


def _table(block: Block, heading: str) -> str:
    rows = []
    for name in block.columns[0].cells:
        cells = (_cell(one.cells[name], name in one.best) for one in block.columns)
        rows.append([escape(name), *cells])
    head = ["strategy", *(column.title for column in block.columns)]
    return f"<{heading}>{escape(block.title)}</{heading}>{table(head, rows)}"


def _cell(text: str, is_best: bool) -> str:
    """Return a cell whose standard error stands below the mean."""
    value, sign, error = text.partition(" ±")
    shown = f"<strong>{escape(value)}</strong>" if is_best else escape(value)
    return f"{shown} <small>±{escape(error)}</small>" if sign else shown


def _failures(comparison: Findings) -> str:
    """Say why strategies have no numbers."""
    status = comparison.table["status"]
    others = status.drop(index=finished(comparison.table).index)
    return listed("Without a result", [f"{name}: {text}" for name, text in others.items()])


def _program(comparison: Findings) -> str:
    if not comparison.code:
        return ""
    best = best_of(comparison.table, comparison.scoring)
    return f"<h2>Code that fits {escape(best)}</h2>{program(comparison.code)}"
