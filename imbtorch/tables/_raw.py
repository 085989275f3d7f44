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
    sample : list of list of str
        The first rows of a text file, as text.
    """

    names: list[str]
    frame: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    blank: list[int] = field(default_factory=list)
    sample: list[list[str]] = field(default_factory=list)
