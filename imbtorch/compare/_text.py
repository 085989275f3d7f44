"""The result of a comparison as text for a terminal."""

from __future__ import annotations

import textwrap

from imbtorch.compare._blocks import Block, blocks
from imbtorch.compare._findings import Findings
from imbtorch.compare._legend import legend
from imbtorch.compare._words import finished

__all__ = ["as_text"]

_WIDTH = 100


def as_text(comparison: Findings) -> str:
    """Return the tables, what their numbers mean, and the recommendation.

    Parameters
    ----------
    comparison : Findings
        Result.
    """
    run = comparison.run
    cut = "Interrupted: the tables show the strategies that were finished."
    parts = [
        comparison.data,
        f"{run.budget}; seed {run.seed}." if run is not None else "",
        run.warning if run is not None else "",
        cut if comparison.interrupted else "",
    ]
    done = finished(comparison.table)
    tables = [_table(block) for block in blocks(comparison)] if len(done) else []
    others = comparison.table["status"].drop(index=done.index)
    tables.append("\n".join(f"{name}  {status}" for name, status in others.items()))
    notes = (
        [textwrap.fill(note, _WIDTH) for note in legend(comparison).values()] if len(done) else []
    )
    advice = textwrap.fill(comparison.recommendation, _WIDTH)
    head = "\n".join(textwrap.fill(part, _WIDTH) for part in parts if part)
    return "\n\n".join(part for part in [head, *tables, "\n".join(notes), advice] if part)


def _table(block: Block) -> str:
    """Return a table below its title; * marks the best numbers of a column."""
    names = list(block.columns[0].cells)
    width = max(map(len, names))
    titles = [textwrap.wrap(column.title, 13) for column in block.columns]
    height = max(map(len, titles))
    lines = [" " * width for _ in range(height)] + [f"{name:<{width}}" for name in names]
    for column, title in zip(block.columns, titles, strict=True):
        words = [*[""] * (height - len(title)), *title]
        cells = [
            column.cells[name] + ("*" if name in column.best else " " if column.best else "")
            for name in names
        ]
        broad = max(map(len, [*words, *cells])) + 2
        lines = [
            line + text.rjust(broad) for line, text in zip(lines, [*words, *cells], strict=True)
        ]
    return "\n".join([block.title, "", *(line.rstrip() for line in lines)])
