"""A table as it was read, before anything is decided about its columns."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imbtorch.tables._numbers import numbers_among

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RawTable", "without"]


def without(missing: Collection[str], frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with gaps in place of some words, and of the numbers that they say.

    Parameters
    ----------
    missing : collection of str
        Words that stand for a gap, also with blanks around them.
    frame : DataFrame
        Cells.
    """
    gaps = {*missing, *numbers_among(missing)}

    found = frame.copy(deep=False)
    for name in frame.columns if missing else ():
        column = frame[name]
        if column.dtype.kind == "b":  # True equals 1
            continue
        if column.dtype.kind == "O":
            column = column.map(lambda cell: cell.strip() if isinstance(cell, str) else cell)
        if (is_gap := column.isin(list(gaps))).any():
            found[name] = frame[name].mask(is_gap)
    return found


@dataclass
class RawTable:
    """A table whose columns are numbered.

    Parameters
    ----------
    names : list of str
        Names of the columns; some may be equal.
    frame : DataFrame
        The cells; its columns are called 0, 1, 2, ...
    notes : list of str
        What was decided.
    blank : list of int
        Columns without a name.
    in_doubt : list of int
        Columns of a text file whose points could all separate thousands.
    """

    names: list[str]
    frame: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    blank: list[int] = field(default_factory=list)
    in_doubt: list[int] = field(default_factory=list)
