"""Calibration errors of the probabilities of all classes, not only of the predicted class."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_scalar
from sklearn.utils.multiclass import check_classification_targets

from imbtorch._common.probabilities import check_proba
from imbtorch.metrics._inputs import as_labels, as_numbers, encode, is_text, row_weights

__all__ = ["adaptive_ece", "classwise_ece"]

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]
_ROUNDING = 1e-9  # tolerance of bin edges: in floats 0.07 * 100 is more than 7


def classwise_ece(
    y_true: ArrayLike,
    proba: ArrayLike,
    n_bins: int = 15,
    *,
    labels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Average the expected calibration errors of the classes.

    For each class the rows are binned by the probability of the class. The error is the mean over
    rows of ``|share of the class - mean probability|`` in the row's bin. Unlike the error of the
    predicted class alone, it includes rare classes, which are seldom predicted.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        True labels, of any type.
    proba : array-like of shape (n, n_classes) or (n,)
        Probabilities in the order of the sorted labels; a vector holds those of the second of two
        labels.
    n_bins : int, default=15
        Number of bins of equal width, ``(j / n_bins, (j + 1) / n_bins]``.
    labels : array-like of shape (n_classes,) or None, default=None
        Labels of the columns of ``proba``, in that order. None takes those of ``y_true``, sorted.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights >= 0 of the rows.

    Returns
    -------
    float
        The error in [0, 1]; 0 is best.

    Raises
    ------
    ValueError
        If ``proba`` does not hold probabilities, or does not fit the labels.

    See Also
    --------
    adaptive_ece : The same with bins of equal mass.

    References
    ----------
    .. [1] Kull et al. (2019). "Beyond temperature scaling: Obtaining well-calibrated multiclass
           probabilities with Dirichlet calibration". :arxiv:`1910.12656`

    Examples
    --------
    >>> from imbtorch.metrics import classwise_ece
    >>> round(classwise_ece([0, 0, 0, 1], [0.3, 0.3, 0.3, 0.3]), 4)
    0.05

    As a scorer; ``labels`` is needed if a fold may lack a class:

    >>> from sklearn.metrics import make_scorer
    >>> scorer = make_scorer(
    ...     classwise_ece, response_method="predict_proba", greater_is_better=False, labels=[0, 1]
    ... )
    """
    return _mean_error(y_true, proba, n_bins, labels, sample_weight, _equal_width)


def adaptive_ece(
    y_true: ArrayLike,
    proba: ArrayLike,
    n_bins: int = 15,
    *,
    labels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Average the calibration errors of the classes over bins of equal mass.

    If most probabilities of a rare class lie near 0, bins of equal width put them all into the
    first bin. Bins of equal mass each have the same number of rows.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        True labels, of any type.
    proba : array-like of shape (n, n_classes) or (n,)
        Probabilities in the order of the sorted labels; a vector holds those of the second of two
        labels.
    n_bins : int, default=15
        Number of bins of equal mass for each class. Equal probabilities are put into the same bin,
        so that the order of the rows does not matter. Bins are weighted by their mass, which may
        therefore differ.
    labels : array-like of shape (n_classes,) or None, default=None
        Labels of the columns of ``proba``, in that order. None takes those of ``y_true``, sorted.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights >= 0 of the rows.

    Returns
    -------
    float
        The error in [0, 1]; 0 is best.

    Raises
    ------
    ValueError
        If ``proba`` does not hold probabilities, or does not fit the labels.

    See Also
    --------
    classwise_ece : The same with bins of equal width.

    References
    ----------
    .. [1] Nixon et al. (2019). "Measuring Calibration in Deep Learning". :arxiv:`1904.01685`

    Examples
    --------
    >>> from imbtorch.metrics import adaptive_ece
    >>> round(adaptive_ece([0, 0, 0, 1], [0.01, 0.02, 0.1, 0.3], n_bins=2), 4)
    0.1575

    As a scorer; ``labels`` is needed if a fold may lack a class:

    >>> from sklearn.metrics import make_scorer
    >>> scorer = make_scorer(
    ...     adaptive_ece, response_method="predict_proba", greater_is_better=False, labels=[0, 1]
    ... )
    """
    return _mean_error(y_true, proba, n_bins, labels, sample_weight, _equal_mass)


def _mean_error(
    y_true: ArrayLike,
    proba: ArrayLike,
    n_bins: int,
    labels: ArrayLike | None,
    sample_weight: ArrayLike | None,
    binning: Callable[[Floats, Floats, int], Codes],
) -> float:
    check_scalar(n_bins, "n_bins", Integral, min_val=1)
    columns = np.asarray(proba)
    if columns.ndim == 1 and columns.size:
        positive = as_numbers(columns, "proba")
        columns = np.column_stack([1 - positive, positive])
    columns = check_proba(columns)
    codes = _column_of_each_row(y_true, labels, columns)
    weights = row_weights(sample_weight, len(codes))
    total = 0.0
    for code, column in enumerate(columns.T):
        surplus = weights * ((codes == code) - column)
        total += np.abs(np.bincount(binning(column, weights, n_bins), surplus)).sum()
    return float(total / (weights.sum() * columns.shape[1]))


def _column_of_each_row(y_true: ArrayLike, labels: ArrayLike | None, columns: Floats) -> Codes:
    truth = as_labels(y_true, "y_true", len(columns))
    check_classification_targets(truth)
    present, codes = encode(truth)
    names = present if labels is None else as_labels(labels, "labels")
    if len(names) != columns.shape[1]:
        raise ValueError(
            f"proba has {columns.shape[1]} columns, but there are {len(names)} labels, "
            f"{names[:10].tolist()}. If y_true lacks a class, give all of them as labels."
        )
    if labels is None:
        return codes
    position = {label: column for column, label in enumerate(names.tolist())}
    unknown = [label for label in present.tolist() if label not in position]
    if unknown or len(position) < len(names) or is_text(names) != is_text(truth):
        raise ValueError(
            f"labels must name each column of proba once; got {names[:10].tolist()}, and y_true "
            f"has {present[:10].tolist()}."
        )
    return np.array([position[label] for label in present.tolist()])[codes]


def _equal_width(column: Floats, weights: Floats, n_bins: int) -> Codes:
    bins: Codes = (np.ceil(column * n_bins - _ROUNDING) - 1).astype(np.intp)
    return bins.clip(0, n_bins - 1)


def _equal_mass(column: Floats, weights: Floats, n_bins: int) -> Codes:
    # the bin of a value is that of the middle of its mass in the cumulative mass of all values
    values, position = np.unique(column, return_inverse=True)
    mass = np.bincount(position, weights, len(values))
    middle = (np.cumsum(mass) - mass / 2) / mass.sum()
    bins: Codes = (middle * n_bins + _ROUNDING).astype(np.intp)
    return bins.clip(0, n_bins - 1)[position]
