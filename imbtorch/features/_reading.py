"""From what the user gives as a table to a matrix of numbers, with scikit-learn's checks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from imbtorch.features._cells import is_frame
from imbtorch.features._columns import TableColumns, find_columns, is_table

__all__ = ["as_table", "needs_reading", "read_table", "stand_in"]


def as_table(X: Any) -> Any:
    """Turn lists into arrays that keep the type of each value; return all else as it is.

    Parameters
    ----------
    X : array-like
        A list of rows, which may hold text beside numbers, or anything else.

    Returns
    -------
    object
        An array of objects for rows that hold text; else ``X``.
    """
    if not isinstance(X, list | tuple):
        return X
    try:
        array = np.asarray(X)
    except ValueError:  # rows of unequal length, which scikit-learn reports
        return X
    return np.asarray(X, dtype=object) if array.dtype.kind in "US" else array


def read_table(
    estimator: Any, X: Any, categorical: Any, columns: TableColumns | None = None
) -> tuple[Any, TableColumns]:
    """Check a table and turn it into a matrix of numbers.

    Parameters
    ----------
    estimator : object
        Estimator that remembers the number of columns and their names, or compares them.
    X : DataFrame, ndarray or CSR matrix of shape (n, n_columns)
        Table.
    categorical : object
        Which columns hold categories, see :func:`find_columns`.
    columns : TableColumns or None, default=None
        Columns of the fit, if there was one; None learns them.

    Returns
    -------
    matrix : ndarray or CSR matrix of shape (n, n_columns)
        Numbers, NaN as gaps, and codes of categories.
    columns : TableColumns
        The columns.

    Raises
    ------
    ValueError
        If the table does not have the columns of the fit, or a column cannot be read.
    """
    X, reset = as_table(X), columns is None
    if not needs_reading(X, categorical, columns):
        matrix = validate_data(
            estimator,
            X,
            reset=reset,
            accept_sparse="csr",
            dtype="numeric",
            ensure_all_finite="allow-nan",
            accept_large_sparse=True,
        )
        names = getattr(estimator, "feature_names_in_", None)
        return matrix, find_columns(matrix, None, names) if columns is None else columns
    validate_data(estimator, X, reset=reset, skip_check_array=True)
    check_array(stand_in(X), ensure_all_finite=False)
    names = getattr(estimator, "feature_names_in_", None)
    if names is None and is_frame(X):
        names = X.columns
    if columns is None:
        columns = find_columns(X, categorical, names)
    return columns.read(X), columns


def needs_reading(X: Any, categorical: Any, columns: TableColumns | None) -> bool:
    """Return whether a table holds more than numbers, so that its columns are read one by one.

    Parameters
    ----------
    X : DataFrame, ndarray or CSR matrix of shape (n, n_columns)
        Table.
    categorical : object
        Which columns hold categories, see :func:`find_columns`.
    columns : TableColumns or None
        Columns of the fit, if there was one.
    """
    if columns is not None:
        return bool(columns.vocabulary) or is_table(X)
    named = categorical is not None and not isinstance(categorical, str)
    return (named and len(categorical) > 0) or is_table(X)


def stand_in(X: Any) -> NDArray[np.float64]:
    """Return zeros of the shape of a table, for checks that only look at the shape."""
    return np.broadcast_to(np.zeros(1), X.shape)
