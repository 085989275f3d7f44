"""Regression errors for data in which some targets are rare or more important."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral, Real

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_scalar

from imbtorch.metrics._inputs import as_numbers, frequency_groups, row_weights

__all__ = ["error_by_density", "sera"]

Floats = NDArray[np.float64]
_ROUNDING = 1e-9  # tolerance of bin edges: in floats 0.3 / 0.1 is less than 3


def _mean_absolute(errors: Floats, weights: Floats) -> float:
    return float(np.average(errors, weights=weights))


def _mean_squared(errors: Floats, weights: Floats) -> float:
    return float(np.average(errors**2, weights=weights))


def _geometric_mean(errors: Floats, weights: Floats) -> float:
    with np.errstate(divide="ignore"):  # one error of 0 makes the mean 0
        logs = np.log(errors[weights > 0])
    return float(np.exp(np.average(logs, weights=weights[weights > 0])))


_METRICS: dict[str, Callable[[Floats, Floats], float]] = {
    "mae": _mean_absolute,
    "mse": _mean_squared,
    "gmean": _geometric_mean,
}


def error_by_density(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    y_train: ArrayLike,
    *,
    thresholds: Sequence[float] = (20, 100),
    n_bins: int = 100,
    bin_width: float | None = None,
    metric: str = "mae",
    sample_weight: ArrayLike | None = None,
) -> dict[str, float]:
    """Compute the error of rows whose targets have many, a medium number of, or few training rows.

    The range of the target is divided into bins. The number of training rows in the bin of a row
    decides to which group the row belongs. The paper calls the groups many-shot, medium-shot and
    few-shot regions.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        True targets.
    y_pred : array-like of shape (n,)
        Predictions.
    y_train : array-like of shape (n_train,)
        Targets of the training rows. A bin without training rows belongs to the group "few".
    thresholds : pair of numbers, default=(20, 100)
        Training rows per bin: "few" means fewer than the first number, "many" more than the second.
    n_bins : int, default=100
        Number of bins of equal width over the range of ``y_train``.
    bin_width : float or None, default=None
        Width of bins that start at 0, in units of the target, instead of ``n_bins``; the paper
        uses 1 for ages in years.
    metric : {"mae", "mse", "gmean"}, default="mae"
        Mean absolute error, mean squared error, or geometric mean of the absolute errors.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights >= 0 of the rows that are evaluated.

    Returns
    -------
    dict of str to float
        ``{"many": ..., "medium": ..., "few": ...}``, in units of the target, squared for "mse";
        NaN for a group without rows.

    Raises
    ------
    ValueError
        If lengths differ, a value is not finite, or a parameter is out of range.

    References
    ----------
    .. [1] Yang et al. (2021). "Delving into Deep Imbalanced Regression". :arxiv:`2102.09554`

    Examples
    --------
    >>> from imbtorch.metrics import error_by_density
    >>> ages = [30] * 200 + [50] * 60 + [70] * 5
    >>> error_by_density([30, 50, 70, 70], [31, 48, 65, 61], ages, bin_width=1)
    {'many': 1.0, 'medium': 2.0, 'few': 7.0}

    A function that returns this dictionary can be a scorer of several metrics for
    ``cross_validate``; see :func:`recall_by_frequency`.
    """
    if metric not in _METRICS:
        raise ValueError(f"metric must be one of {sorted(_METRICS)}; got {metric!r}.")
    truth = as_numbers(y_true, "y_true")
    errors = np.abs(as_numbers(y_pred, "y_pred", len(truth)) - truth)
    weights = row_weights(sample_weight, len(truth))
    counts = _training_rows(truth, as_numbers(y_train, "y_train"), n_bins, bin_width)
    return {
        name: _METRICS[metric](errors[group], weights[group])
        if weights[group].any()
        else float("nan")
        for name, group in frequency_groups(counts, thresholds).items()
    }


def _training_rows(
    truth: Floats, train: Floats, n_bins: int, bin_width: float | None
) -> NDArray[np.intp]:
    """Return the number of training rows in the bin of each value of ``truth``."""
    if bin_width is None:
        check_scalar(n_bins, "n_bins", Integral, min_val=1)
        low, high = train.min(), train.max()
        width = (high - low) / n_bins or 1.0
    else:
        check_scalar(bin_width, "bin_width", Real, min_val=0, include_boundaries="neither")
        low, high, width = 0.0, np.inf, bin_width

    def bins(values: Floats) -> Floats:
        numbers: Floats = np.floor((values - low) / width + _ROUNDING)
        # the last bin includes its upper end, as in np.histogram
        return np.where(values == high, n_bins - 1, numbers)

    known, rows = np.unique(bins(train), return_counts=True)
    wanted = bins(truth)
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[place] == wanted, rows[place], 0)


def sera(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    relevance: ArrayLike | Callable[[Floats], ArrayLike],
    sample_weight: ArrayLike | None = None,
) -> float:
    """Compute the squared error-relevance area: squared errors weighted by relevance.

    It is the integral over ``t`` in [0, 1] of the sum of squared errors of the rows whose relevance
    is at least ``t``, which equals ``sum(relevance * (y_pred - y_true)**2)``.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        True targets.
    y_pred : array-like of shape (n,)
        Predictions.
    relevance : array-like of shape (n,) or callable
        Relevance of each true target, in [0, 1]; or a function that computes it from ``y_true``.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights >= 0 of the rows; a weight of 2 counts as two rows.

    Returns
    -------
    float
        The area, at least 0, in squared units of the target. It grows with the number of rows.

    Raises
    ------
    ValueError
        If lengths differ, a value is not finite, or a relevance lies outside [0, 1].

    References
    ----------
    .. [1] Ribeiro and Moniz (2020). "Imbalanced regression and extreme value prediction".
           :doi:`10.1007/s10994-020-05900-9`

    Examples
    --------
    >>> from imbtorch.metrics import sera
    >>> round(sera([0, 1.5, 2], [0.2, 1, 3], [0, 0.3, 1]), 4)
    1.075

    As a scorer, with a function of the target:

    >>> import numpy as np
    >>> from sklearn.metrics import make_scorer
    >>> def high_prices(y):
    ...     return np.clip((y - 20) / 30, 0, 1)
    >>> scorer = make_scorer(sera, greater_is_better=False, relevance=high_prices)
    """
    truth = as_numbers(y_true, "y_true")
    errors = as_numbers(y_pred, "y_pred", len(truth)) - truth
    phi = as_numbers(
        relevance(truth) if callable(relevance) else relevance, "relevance", len(truth)
    )
    if (phi < 0).any() or (phi > 1).any():
        raise ValueError(
            f"relevance must lie in [0, 1]; got values in [{phi.min():g}, {phi.max():g}]."
        )
    weighted = phi * errors**2
    if sample_weight is None:
        return float(weighted.sum())
    weights = as_numbers(sample_weight, "sample_weight", len(truth))
    if (weights < 0).any():
        raise ValueError("sample_weight must be >= 0.")
    return float(weights @ weighted)
