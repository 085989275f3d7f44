"""The result of a comparison as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from imbtorch.compare._blocks import Block, Column, blocks
from imbtorch.compare._findings import Findings
from imbtorch.compare._legend import legend
from imbtorch.compare._words import finished

__all__ = ["as_text"]

_WIDTH, _NAME_WIDTH, _TITLE_WIDTH = 100, 30, 13


def as_text(comparison: Findings) -> str:
    """Return the tables, what their numbers mean, and the recommendation.

    Parameters
    ----------
    comparison : Findings
        Result.
    """
    run = comparison.run
    parts = [
        comparison.data,
        f"{run.budget}; seed {run.seed}." if run is not None else "",
        run.warning if run is not None else "",
        comparison.interruption,
    ]
    done = finished(comparison.table)
    tables = [_table(block) for block in blocks(comparison)] if len(done) else []
    others = comparison.table["status"].drop(index=done.index)
    tables.append("\n".join(_filled(f"{name}  {status}") for name, status in others.items()))
    notes = (
        [textwrap.fill(note, _WIDTH) for note in legend(comparison).values()] if len(done) else []
    )
    advice = textwrap.fill(comparison.recommendation, _WIDTH)
    head = "\n".join(textwrap.fill(part, _WIDTH) for part in parts if part)
    return "\n\n".join(part for part in [head, *tables, "\n".join(notes), advice] if part)


def _filled(text: str) -> str:
    """Return text in lines of at most 100 characters; blanks within it stay."""
    return textwrap.fill(text, _WIDTH, subsequent_indent="  ")


def _table(block: Block) -> str:
    """Return a table below its title, in parts below each other where it is too wide.

    Long names take several lines. * marks the best numbers of a column.
    """
    names = list(block.columns[0].cells)
    lines_of = {name: textwrap.wrap(name, _NAME_WIDTH) or [""] for name in names}
    width = max(len(line) for lines in lines_of.values() for line in lines)
    parts: list[list[Column]] = [[]]
    room = _WIDTH - width
    for column in block.columns:
        if parts[-1] and (room < _broad(column)):
            parts.append([])
            room = _WIDTH - width
        parts[-1].append(column)
        room -= _broad(column)
    return "\n\n".join([_filled(block.title), *(_part(part, lines_of, width) for part in parts)])


def _part(columns: list[Column], lines_of: Mapping[str, list[str]], width: int) -> str:
    """Return some columns beside the names, which are wrapped to a width."""
    height = max(len(_title(column)) for column in columns)
    lines = [" " * width] * height
    lines += [f"{line:<{width}}" for wrapped in lines_of.values() for line in wrapped]
    for column in columns:
        title, broad = _title(column), _broad(column)
        cells = [*[""] * (height - len(title)), *title]
        for name, wrapped in lines_of.items():
            cells += [_cell(column, name), *[""] * (len(wrapped) - 1)]
        lines = [line + cell.rjust(broad) for line, cell in zip(lines, cells, strict=True)]
    return "\n".join(line.rstrip() for line in lines)


def _title(column: Column) -> list[str]:
    return textwrap.wrap(column.title, _TITLE_WIDTH)


def _cell(column: Column, name: str) -> str:
    mark = "*" if name in column.best else " " if column.best else ""
    return f"{column.cells[name]}{mark}"


def _broad(column: Column) -> int:
    """Return the width of a column, with the blanks in front of it."""
    return 2 + max(map(len, [*_title(column), *(_cell(column, name) for name in column.cells)]))
