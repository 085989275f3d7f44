"""Convert labels to integer codes, and split rows into training and validation parts."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = [
    "class_ranks",
    "encode_label_matrix",
    "random_holdout",
    "rarest_label",
    "stratified_holdout",
]

Codes = NDArray[np.integer[Any]]


def encode_label_matrix(y: Any) -> Any:
    """Convert a dense or sparse matrix of labels to CSR.

    Parameters
    ----------
    y : ndarray or sparse matrix of shape (n, n_labels)
        Zeros and ones.

    Returns
    -------
    csr_array of uint8, shape (n, n_labels)
        The matrix, which stores the ones but not the zeros.

    Raises
    ------
    ValueError
        If ``y`` holds values other than 0 and 1.
    """
    values = y.data if sparse.issparse(y) else np.asarray(y)
    if values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all():
        odd = np.unique(values[~np.isin(values, (0, 1))])[:5].tolist()
        raise ValueError(
            f"y has {y.shape[1]} columns, so it must be a matrix of labels, 0 or 1; got {odd}. Use "
            "ImbalancedNetRegressor for continuous targets, or fit one classifier for each column "
            "(sklearn.multioutput.MultiOutputClassifier). Unknown label type."
        )
    matrix = sparse.csr_array(y, dtype=np.uint8)
    matrix.eliminate_zeros()
    return matrix


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
        Labels; ones are stored, zeros are not.

    Returns
    -------
    codes : ndarray of int, shape (n,)
        Group of each row.
    names : ndarray of int
        Numbers of the groups.
    """
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
