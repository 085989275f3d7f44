"""A table as it was read, before anything is decided about its columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RawTable"]


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
