"""Say what to do with data that no estimator can read; asked only after reading has failed."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["explain_features", "explain_labels"]


def explain_features(X: Any, error: Exception) -> None:
    """Raise ValueError if ``X`` is of a known form that cannot be read.

    Parameters
    ----------
    X : object
        Features as the user gave them.
    error : Exception
        What reading them has raised.

    Raises
    ------
    ValueError
        If the form is known; the message says what to do instead.

    Examples
    --------
    >>> from imbtorch._fit.input_advice import explain_features
    >>> try:
    ...     explain_features([[1.0], [1.0, 2.0]], ValueError("inhomogeneous"))
    ... except ValueError as better:
    ...     print(str(better)[:42])
    The rows of X have different lengths, 1 to
    """
    if isinstance(X, Tensor) and X.dtype == torch.bfloat16:
        raise ValueError(
            "X is a tensor of dtype bfloat16, which numpy does not have. Give it as float32: "
            "X.float()."
        ) from error
    if not isinstance(X, list | tuple) and getattr(getattr(X, "dtype", None), "kind", "") != "O":
        return
    rows = list(X)
    if rows and all(isinstance(row, tuple) and _is_item(row) for row in rows[:5]):
        raise ValueError(
            "X is a list of items of a torch Dataset, which cross-validation and searches make "
            "when they take rows out of one. Give them rows = imbtorch.DatasetRows(dataset) as X, "
            "and rows.y as y."
        ) from error
    lengths = {len(row) for row in rows if hasattr(row, "__len__") and not isinstance(row, str)}
    if len(lengths) > 1:
        raise ValueError(
            f"The rows of X have different lengths, {min(lengths)} to {max(lengths)}. A table "
            "needs all of its columns in each row. If the rows are sequences, for a module of your "
            "own, give each one as an array: X = [np.asarray(row) for row in X]."
        ) from error
    if isinstance(X, list) and rows and all(len(getattr(row, "shape", ())) for row in rows):
        raise ValueError(
            f"X is a list of {len(rows)} arrays, which are no rows of one shape. Several inputs of "
            "a module are arrays in a tuple or a mapping: tuple(X)."
        ) from error


def explain_labels(y: Any, error: Exception) -> None:
    """Raise ValueError if labels are missing, or objects that are neither words nor numbers.

    Parameters
    ----------
    y : array-like of shape (n,)
        Labels as the user gave them.
    error : Exception
        What reading them has raised.

    Raises
    ------
    ValueError
        If there are such labels; the message says what to do instead.

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch._fit.input_advice import explain_labels
    >>> labels = np.array([{"a"}, {"b"}], dtype=object)
    >>> try:
    ...     explain_labels(labels, ValueError("Unknown label type"))
    ... except ValueError as better:
    ...     print(str(better)[:42])
    Unknown label type: y holds objects of typ
    """
    if isinstance(y, Tensor) and y.dtype == torch.bfloat16:
        raise ValueError(
            "y is a tensor of dtype bfloat16, which numpy does not have. Give it as float32: "
            "y.float()."
        ) from error
    labels = [] if y is None or isinstance(y, str) or not hasattr(y, "__iter__") else list(y)
    missing = sum(label is None or type(label).__name__ == "NAType" for label in labels)
    if missing:
        raise ValueError(
            f"y has {missing} missing labels (pd.NA or None) in {len(labels)} rows. Leave these "
            "rows out: X[y.notna()], y[y.notna()]."
        ) from error
    known = (str, bytes, bool, int, float, np.generic, np.ndarray, list, tuple, Tensor)
    odd = next(islice((label for label in labels if not isinstance(label, known)), 1), None)
    if odd is not None:
        raise ValueError(
            f"Unknown label type: y holds objects of type {type(odd).__name__}, such as {odd!r}. "
            "Labels are words or numbers: convert them, for example with y.astype(str). Of pd.cut, "
            "labels=False gives the numbers of the intervals."
        ) from error


def _is_item(row: tuple[Any, ...]) -> bool:
    return any(isinstance(part, Tensor | np.ndarray | Mapping | tuple) for part in row)
