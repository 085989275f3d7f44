"""Convert labels to integer codes, and split rows into training and validation parts."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = [
    "absent_masses",
    "class_ranks",
    "encode_label_matrix",
    "has_unknown",
    "present_labels",
    "random_holdout",
    "rarest_label",
    "split_unknown",
    "stratified_holdout",
    "unknown_labels",
]

Codes = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]


def encode_label_matrix(y: Any) -> Any:
    """Convert a dense or sparse matrix of labels to CSR.

    Parameters
    ----------
    y : ndarray or sparse matrix of shape (n, n_labels)
        Zeros and ones, and NaN where a label is not known.

    Returns
    -------
    csr_array of uint8 or int8, shape (n, n_labels)
        The matrix, which stores the ones but not the zeros. Only if a label is not known, the type
        is int8, and -1 is stored for it.

    Raises
    ------
    ValueError
        If ``y`` holds values other than 0, 1 and NaN.
    """
    values = y.data if sparse.issparse(y) else np.asarray(y)
    valid = np.isin(values, (0, 1)) & (values.dtype.kind in "biuf")
    if valid.all():
        matrix = sparse.csr_array(y, dtype=np.uint8)
        matrix.eliminate_zeros()
        return matrix
    missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, dtype=bool)
    if not (valid | missing).all():
        wrong = values[~np.isin(values, (0, 1)) & ~missing]
        if wrong.dtype.kind == "O":  # words and None cannot be sorted together
            wrong = np.array([str(value) for value in wrong])
        odd = np.unique(wrong)[:5].tolist()
        raise ValueError(
            f"y has {y.shape[1]} columns, so it must be a matrix of labels, 0 or 1; got {odd}. "
            "Where a label is not known, give NaN. Use ImbalancedNetRegressor for continuous "
            "targets, or fit one classifier for each column "
            "(sklearn.multioutput.MultiOutputClassifier). Unknown label type."
        )
    if sparse.issparse(y):
        matrix = sparse.csr_array(y)
        codes = np.where(np.isnan(matrix.data), -1, matrix.data).astype(np.int8)
        matrix = sparse.csr_array((codes, matrix.indices, matrix.indptr), shape=matrix.shape)
        matrix.eliminate_zeros()
        return matrix
    return sparse.csr_array(np.where(missing, -1, values).astype(np.int8))


def has_unknown(matrix: Any) -> bool:
    """Return whether an encoded label matrix may hold labels that are not known."""
    return bool(matrix.dtype.kind == "i")


def present_labels(matrix: Any) -> Any:
    """Return an encoded label matrix in which unknown labels count as absent."""
    return (matrix > 0).astype(np.uint8) if has_unknown(matrix) else matrix


def unknown_labels(matrix: Any) -> Any:
    """Return a matrix that is 1 where a label is not known; None if all labels are known."""
    return (matrix < 0).astype(np.uint8) if has_unknown(matrix) else None


def absent_masses(total: float, present: Floats, unknown: Floats) -> Floats:
    """Return the weight of the rows without each label: neither with it, nor unknown.

    Parameters
    ----------
    total : float
        Weight of all rows.
    present, unknown : ndarray of shape (n_labels,)
        Weight of the rows with each label, and of those in which it is not known.

    Returns
    -------
    ndarray of shape (n_labels,)
        Numbers >= 0; what rounding leaves of a label without such rows is 0.
    """
    absent = total - present - unknown
    return np.where(absent > 1e-12 * total, absent, 0.0)


def split_unknown(y: Any) -> tuple[Any, Any] | None:
    """Find the labels that are not known in a matrix of labels.

    Parameters
    ----------
    y : array-like, frame or sparse matrix
        Targets as the user gave them. NaN, None and pandas.NA stand for labels that are not known.

    Returns
    -------
    tuple of two matrices of shape (n, n_labels), or None
        The labels as numbers with NaN where a label is not known, and the same with 0 there. None
        if all labels are known, or ``y`` is not a matrix of numbers with two or more columns.

    Examples
    --------
    >>> from imbtorch._data.targets import split_unknown
    >>> split_unknown([[1, None], [0, 1]])[0]
    array([[ 1., nan],
           [ 0.,  1.]])
    >>> split_unknown([[1, 0], [0, 1]]) is None
    True
    """
    if sparse.issparse(y):
        if y.dtype.kind != "f" or y.shape[1] < 2:
            return None
        labels = sparse.csr_array(y)
        missing = np.isnan(labels.data)
        if not missing.any():
            return None
        filled = labels.copy()
        filled.data = np.where(missing, 0.0, labels.data)
        return labels, filled
    try:
        values = _as_numbers(y)
    except (TypeError, ValueError, RuntimeError):
        return None  # the validation of y says what is wrong with it
    if values.ndim != 2 or values.shape[1] < 2 or values.dtype.kind != "f":
        return None
    missing = np.isnan(values)
    return (values, np.where(missing, 0.0, values)) if missing.any() else None


def _as_numbers(y: Any) -> NDArray[Any]:
    """Convert to an array of numbers; missing values become NaN, words raise ValueError."""
    if isinstance(y, str):
        raise ValueError("y is a word.")
    is_pandas = hasattr(y, "isna") and hasattr(y, "to_numpy")
    values = y.to_numpy(na_value=np.nan) if is_pandas else np.asarray(y)
    if values.dtype.kind in "biuf":
        return np.asarray(values)
    if values.dtype.kind != "O" or any(isinstance(value, str) for value in values.flat):
        raise ValueError("y holds words or dates.")
    return values.astype(np.float64)


def class_ranks(y: Any, classes: NDArray[Any]) -> list[int]:
    """Find the order of the classes, for losses that need one.

    Parameters
    ----------
    y : array-like
        Targets as the user gave them: an ordered Categorical (or a Series of one, or a polars Enum)
        has an order of its own. Numbers are ordered as they are.
    classes : ndarray of shape (n_classes,)
        The classes, sorted.

    Returns
    -------
    list of int
        Place of each class in the order of the classes.

    Raises
    ------
    ValueError
        If there are three or more classes that are words without an order.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from imbtorch._data.targets import class_ranks
    >>> y = pd.Categorical(["high", "low"], categories=["low", "medium", "high"], ordered=True)
    >>> class_ranks(y, np.array(["high", "low"]))
    [1, 0]
    """
    labels = classes.tolist()
    dtype: Any = getattr(y, "dtype", None)
    if dtype is None and hasattr(y, "dtypes"):  # a frame of one column
        dtype = list(y.dtypes)[0]
    if getattr(dtype, "ordered", type(dtype).__name__ == "Enum"):
        place = {label: i for i, label in enumerate(list(dtype.categories))}
        order = sorted(labels, key=place.__getitem__)
        return [order.index(label) for label in labels]
    if len(labels) > 2 and any(isinstance(label, str) for label in labels):
        raise ValueError(
            f"The loss needs an order of the classes, and the words {labels} have none: sorted by "
            "the alphabet, distances between them mean nothing. Give y as an ordered Categorical, "
            "pd.Categorical(y, categories=['low', 'medium', 'high'], ordered=True) with your own "
            "words from the lowest to the highest, or as whole numbers 0, 1, 2, ..."
        )
    return list(range(len(labels)))


def stratified_holdout(
    codes: Codes, fraction: float, seed: int, classes: NDArray[Any]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split row numbers into a training and a validation part, class by class.

    Every class with at least two rows has at least one row on each side. A class with a single
    row stays in the training part.

    Parameters
    ----------
    codes : ndarray of int, shape (n,)
        Class of each row.
    fraction : float in (0, 1)
        Share of each class to hold out.
    seed : int
        Seed of the random choice of rows.
    classes : ndarray of shape (n_classes,)
        Labels, for the warning.

    Returns
    -------
    train, valid : ndarray of int
        Sorted row numbers.

    Warns
    -----
    UserWarning
        If a class has a single row and so cannot be held out.
    """
    rng = np.random.default_rng(seed)
    counts = np.bincount(codes, minlength=len(classes))
    holdout = np.clip(np.rint(fraction * counts), 1, counts - 1).astype(int)
    holdout[counts < 2] = 0
    alone = classes[counts == 1].tolist()
    if alone:
        warnings.warn(
            f"The classes {alone} have a single row each: they stay in the training part, and do "
            "not count in the validation score.",
            UserWarning,
            stacklevel=2,
        )
    by_class = np.argsort(codes, kind="stable")
    ends = np.cumsum(counts)
    drawn = [
        rng.choice(by_class[end - count : end], size=size, replace=False)
        for end, count, size in zip(ends, counts, holdout, strict=True)
    ]
    held_out = np.zeros(len(codes), dtype=bool)
    held_out[np.concatenate(drawn)] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def random_holdout(
    n_rows: int, fraction: float, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split row numbers into a training and a validation part, at random.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    fraction : float in (0, 1)
        Share of the rows to hold out; at least one row is on each side.
    seed : int
        Seed of the draw.

    Returns
    -------
    train, valid : ndarray of int
        Sorted row numbers.

    Raises
    ------
    ValueError
        If there are fewer than two rows.
    """
    if n_rows < 2:
        raise ValueError(
            f"No row is left to validate on: got {n_rows} sample (n_samples={n_rows}). Use "
            "validation_fraction=None and early_stopping=False."
        )
    size = int(np.clip(np.rint(fraction * n_rows), 1, n_rows - 1))
    held_out = np.zeros(n_rows, dtype=bool)
    held_out[np.random.default_rng(seed).choice(n_rows, size, replace=False)] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def rarest_label(matrix: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Group the rows of a label matrix by the rarest label of each row.

    Rows without a label form one group. Groups of a single row are merged into another group, so
    that hundreds of rare labels do not cause a warning each.

    Parameters
    ----------
    matrix : csr_array of shape (n, n_labels)
        Encoded labels, see :func:`encode_label_matrix`. Unknown labels count as absent.

    Returns
    -------
    codes : ndarray of int, shape (n,)
        Group of each row.
    names : ndarray of int
        Numbers of the groups.
    """
    matrix = present_labels(matrix)
    counts = np.asarray(matrix.astype(np.int64).sum(axis=0)).ravel()
    rank = np.empty(len(counts), dtype=np.intp)
    rank[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    labelled = np.diff(matrix.indptr) > 0
    codes = np.full(matrix.shape[0], len(counts), dtype=np.intp)
    starts = matrix.indptr[:-1][labelled]
    codes[labelled] = np.minimum.reduceat(rank[matrix.indices], starts)
    names, codes = np.unique(codes, return_inverse=True)
    alone = np.bincount(codes, minlength=len(names)) < 2
    codes = np.where(alone[codes], np.flatnonzero(~alone)[0] if (~alone).any() else 0, codes)
    names, codes = np.unique(codes, return_inverse=True)
    return codes, names
