"""The columns of a frame in Python, and labels, decided upon as those of a file are."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from numpy.typing import NDArray

from imbtorch.tables._columns import Statements, tidy
from imbtorch.tables._kinds import is_text
from imbtorch.tables._labels import read_labels
from imbtorch.tables._pandas import import_pandas
from imbtorch.tables._words import IN_PYTHON, TableError, some

__all__ = ["checked_frame", "checked_labels"]


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


def checked_labels(y: NDArray[Any]) -> tuple[NDArray[Any], list[str]]:
    """Decide about labels that are words; return all others as they are.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Labels, none of which is missing.

    Returns
    -------
    y : ndarray of shape (n,)
        Labels without blanks around them.
    notes : list of str
        What was decided.

    Raises
    ------
    TableError
        If labels differ only by upper and lower case, or there are too many different ones.

    Warns
    -----
    UserWarning
        If blanks were removed.
    """
    column = import_pandas().Series(y)
    if not is_text(column):
        return y, []
    said = Statements(ways_out=IN_PYTHON)
    labels = read_labels(column, "y", said, drop_unlabelled=False, case=None)
    values = labels.values()
    if (values == y).all():
        return y, labels.notes
    warnings.warn(
        f"Labels were changed (check_columns=False takes y as it is): {'; '.join(labels.notes)}.",
        UserWarning,
        stacklevel=4,
    )
    return values, labels.notes
