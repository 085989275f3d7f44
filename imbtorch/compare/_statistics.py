"""Test differences between strategies on the same folds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

__all__ = ["FEWEST_FOLDS", "LEVEL", "Difference", "holm", "paired_difference", "standard_error"]

Floats = NDArray[np.float64]


LEVEL = 0.95  # of the intervals
FEWEST_FOLDS = (
    3  # with two, the t-distribution has one degree of freedom: the interval says nothing
)


@dataclass(frozen=True)
class Difference:
    """Mean difference over the folds, with its standard error, interval and p-value.

    Parameters
    ----------
    mean : float
        Mean of the differences of the folds.
    error : float
        Its standard error, corrected for training rows that folds share.
    low, high : float
        Ends of the 95% confidence interval of the mean; NaN if the folds cannot give one.
    p_value : float
        Of the hypothesis that there is no difference; NaN if the folds cannot test it.
    """

    mean: float
    error: float
    low: float
    high: float
    p_value: float


def standard_error(values: ArrayLike) -> float:
    """Compute the standard error of a mean over folds; it is 0 for a single fold."""
    numbers = np.asarray(values, dtype=np.float64)
    if len(numbers) < 2:
        return 0.0
    return float(numbers.std(ddof=1) / np.sqrt(len(numbers)))


def paired_difference(values: ArrayLike, reference: ArrayLike, test_share: float) -> Difference:
    """Compare two strategies fold by fold, by the corrected resampled t-test.

    The training rows of folds overlap, so their results are correlated and the usual standard
    error is too small; the correction adds the ratio of test to training rows [1]_. The interval
    has the same error and the quantiles of the same distribution, Student's with ``n_folds - 1``
    degrees of freedom.

    Parameters
    ----------
    values, reference : array-like of shape (n_folds,)
        Metric of each of the two strategies on every fold.
    test_share : float
        Number of test rows divided by the number of training rows.

    Returns
    -------
    Difference
        The difference and its test. Fewer than three folds, or folds that all differ by the same
        amount, do not say how much folds vary: then interval and p-value are NaN. Equal results of
        three or more folds have the p-value 1.

    References
    ----------
    .. [1] Nadeau & Bengio (2003). "Inference for the Generalization Error".
           :doi:`10.1023/A:1024068626366`
    """
    gain = np.asarray(values, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    mean, n = float(gain.mean()), len(gain)
    size = max(float(np.abs(gain).max()), 1e-9)
    if n < 2 or np.ptp(gain) <= 1e-9 * size:  # rounding errors are no variation
        no_difference = n >= FEWEST_FOLDS and mean == 0
        return Difference(mean, 0.0, np.nan, np.nan, 1.0 if no_difference else np.nan)
    error = float(np.sqrt(gain.var(ddof=1) * (1 / n + test_share)))
    if n < FEWEST_FOLDS:
        return Difference(mean, error, np.nan, np.nan, np.nan)
    half = error * float(student.ppf((1 + LEVEL) / 2, n - 1))
    p_value = float(2 * student.sf(abs(mean) / error, n - 1))
    return Difference(mean, error, mean - half, mean + half, p_value)


def holm(p_values: ArrayLike) -> Floats:
    """Adjust p-values for the number of tests by Holm's step-down method [1]_.

    Parameters
    ----------
    p_values : array-like of shape (n,)
        The p-values of the separate tests; NaN remains NaN.

    Returns
    -------
    ndarray of shape (n,)
        Adjusted p-values, at least as large as the given ones and at most 1.

    References
    ----------
    .. [1] Holm (1979). "A simple sequentially rejective multiple test procedure". Scandinavian
           Journal of Statistics 6(2). https://www.jstor.org/stable/4615733
    """
    given = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full_like(given, np.nan)
    known = np.flatnonzero(~np.isnan(given))
    order = known[np.argsort(given[known])]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(given[order] * factors), 1)
    return adjusted
