"""Say what to do with data that no estimator can read; asked only after reading has failed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from itertools import islice
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from imbtorch._common.gaps import is_missing

__all__ = ["explain_features", "explain_labels", "warn_of_spellings"]


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
    _explain_containers(X, error)
    if not isinstance(X, list | tuple) and getattr(getattr(X, "dtype", None), "kind", "") != "O":
        return
    rows = list(X)
    if rows and all(isinstance(row, Mapping) for row in rows[:5]):
        raise ValueError(
            "X is a list of dicts. Make a table of it first: pandas.DataFrame(X)."
        ) from error
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
            "own, give each one as an array: X = [np.asarray(row) for row in X]. Batches are then "
            "padded to one length."
        ) from error
    if isinstance(X, list) and rows and all(len(getattr(row, "shape", ())) for row in rows):
        raise ValueError(
            f"X is a list of {len(rows)} arrays, which are no rows of one shape. Several inputs of "
            "a module are arrays in a tuple or a mapping: tuple(X)."
        ) from error


def _explain_containers(X: Any, error: Exception) -> None:
    """Raise ValueError if ``X`` is no table at all: a path, a loader, a column, nothing."""
    if X is None:
        raise ValueError("X is None. Give the features, one row for each sample.") from error
    if isinstance(X, str | PathLike) or hasattr(X, "readline"):
        raise ValueError(
            "X is the name of a file, or an open file. Read it first, for example with "
            "pandas.read_csv, and separate the column of the labels: X = table.drop(columns='y'), "
            "y = table['y']. The command python -m imbtorch compare reads files."
        ) from error
    if isinstance(X, DataLoader):
        raise ValueError(
            "X is a DataLoader. Give its dataset, X.dataset: the estimator makes the batches, of "
            "batch_size rows."
        ) from error
    if hasattr(X, "__next__"):
        raise ValueError(
            "X is a generator or iterator, whose rows can be read only once. Give the rows as an "
            "array, np.stack(list(X)), or write a torch.utils.data.IterableDataset."
        ) from error
    values = X if hasattr(X, "ndim") else np.asarray(X) if _is_column(X) else None
    if values is None or values.ndim != 1 or not _has_one_value_each(values):
        return
    if hasattr(X, "to_frame"):
        way = "Give a frame: X.to_frame() has one column, and table[['a', 'b']] two of a table."
    elif getattr(values.dtype, "kind", "") in "OU":
        way = (
            "If these are texts, make numbers of them first, for example with sklearn's "
            "TfidfVectorizer; if they are one column of categories, give a frame: "
            "pandas.DataFrame({'name': X})."
        )
    else:
        way = "X.reshape(-1, 1) if X is one column, X.reshape(1, -1) if it is one row."
    raise ValueError(
        f"Expected 2D array, got 1D array instead: X has shape ({len(values)},), but needs a row "
        f"for each sample and a column for each feature. Reshape your data. {way}"
    ) from error


def _is_column(X: Any) -> bool:
    return isinstance(X, list | tuple) and bool(X) and all(np.isscalar(value) for value in X[:100])


def _has_one_value_each(values: Any) -> bool:
    """Return whether the entries are single values: dicts and arrays have messages of their own."""
    if getattr(values.dtype, "kind", "O") != "O":
        return True
    return all(value is None or np.isscalar(value) for value in list(values[:100]))


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
    if isinstance(y, str):
        raise ValueError(
            f"y is the word {y!r}. If it is the name of a column, give the column itself: "
            f"fit(table.drop(columns={y!r}), table[{y!r}])."
        ) from error
    labels = [] if y is None or not hasattr(y, "__iter__") else list(y)
    missing = sum(map(is_missing, labels))
    if missing:
        raise ValueError(
            f"Input y contains NaN or None: {missing} missing values in {len(labels)} rows. "
            "Leave these rows out: known = pandas.notna(y), and then fit(X[known], y[known])."
        ) from error
    known = (str, bytes, bool, int, float, np.generic, np.ndarray, list, tuple, Tensor)
    odd = next(islice((label for label in labels if not isinstance(label, known)), 1), None)
    if odd is not None:
        raise ValueError(
            f"Unknown label type: y holds objects of type {type(odd).__name__}, such as {odd!r}. "
            "Labels are words or numbers: convert them, for example with y.astype(str). Of pd.cut, "
            "labels=False gives the numbers of the intervals."
        ) from error


def warn_of_spellings(classes: NDArray[Any]) -> None:
    """Warn of classes whose names differ only by blanks or by upper and lower case.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        Labels of the classes, sorted.

    Warns
    -----
    UserWarning
        If there are such names: they are different classes, which is rarely what is meant.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> from imbtorch._fit.input_advice import warn_of_spellings
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn_of_spellings(np.array(["no", "yes", "yes "]))
    >>> str(caught[0].message)[:52]
    "The classes 'yes' and 'yes ' differ only by blanks o"
    """
    seen: dict[str, str] = {}
    for label in classes.tolist():
        if not isinstance(label, str):
            continue
        same = seen.setdefault(" ".join(label.split()).casefold(), label)
        if same != label:
            warnings.warn(
                f"The classes {same!r} and {label!r} differ only by blanks or by upper and lower "
                "case, and are different classes. If they mean the same, make them the same "
                "first: y = y.str.strip().str.lower() of a pandas Series.",
                UserWarning,
                stacklevel=2,
            )
            return


def _is_item(row: tuple[Any, ...]) -> bool:
    return any(isinstance(part, Tensor | np.ndarray | Mapping | tuple) for part in row)
