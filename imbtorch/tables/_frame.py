"""The columns of a frame in Python, decided upon as those of a file are."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from imbtorch.tables._columns import Statements, tidy
from imbtorch.tables._words import IN_PYTHON, TableError, some

__all__ = ["checked_frame"]


def checked_frame(X: Any) -> tuple[Any, list[str]]:
    """Decide what the columns of a pandas frame are; return all else as it is.

    Parameters
    ----------
    X : object
        Features.

    Returns
    -------
    X : object
        Features without an index or identifiers; numbers that were text are numbers.
    notes : list of str
        What was decided.

    Raises
    ------
    TableError
        If a column cannot be decided without a guess, or names are not all different.

    Warns
    -----
    UserWarning
        If there are notes.
    """
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(X, pandas.DataFrame):
        return X, []
    if not X.columns.is_unique:
        twice = X.columns[X.columns.duplicated()].unique()
        raise TableError(f"columns of X have the same name: {some(map(repr, twice))}. Rename them.")
    tidied = tidy(X, Statements(ways_out=IN_PYTHON))
    if not tidied.frame.shape[1]:
        raise TableError(f"no column of X is left to learn from: {'; '.join(tidied.notes)}.")
    if tidied.notes:
        warnings.warn(
            "Columns of X were decided upon (check_columns=False takes X as it is): "
            f"{'; '.join(tidied.notes)}.",
            UserWarning,
            stacklevel=3,
        )
    return tidied.frame, tidied.notes
