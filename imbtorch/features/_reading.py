"""From what the user gives as a table to a matrix of numbers, with scikit-learn's checks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from imbtorch.features._cells import is_frame
from imbtorch.features._columns import TableColumns, as_table, needs_reading, read_new_table

__all__ = ["read_table", "stand_in"]


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
        Which columns hold categories, see :func:`read_new_table`.
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
        return matrix, columns or TableColumns.named(matrix.shape[1], names)
    validate_data(estimator, X, reset=reset, skip_check_array=True)
    check_array(stand_in(X), ensure_all_finite=False)
    names = getattr(estimator, "feature_names_in_", None)
    if names is None and is_frame(X):
        names = X.columns
    if columns is not None:
        return columns.read(X), columns
    columns, matrix = read_new_table(X, categorical, names)
    return matrix, columns


def stand_in(X: Any) -> NDArray[np.float64]:
    """Return zeros of the shape of a table, for checks that only look at the shape."""
    return np.broadcast_to(np.zeros(1), X.shape)
