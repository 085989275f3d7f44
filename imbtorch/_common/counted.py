"""Metrics of decisions between two classes, from weighted counts, at many thresholds at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["COUNTED", "Counted", "fbeta"]

Floats = NDArray[np.float64]
Counted = Callable[[Floats, Floats, Floats, Floats], Floats]


def _share(part: Floats, whole: Floats, empty: float = 0.0) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, part / whole, empty)


def _mcc(tp: Floats, fp: Floats, fn: Floats, tn: Floats) -> Floats:
    root = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return _share(tp * tn - fp * fn, root)


COUNTED: dict[str, Counted] = {
    "accuracy": lambda tp, fp, fn, tn: (tp + tn) / (tp + fp + fn + tn),
    "balanced_accuracy": lambda tp, fp, fn, tn: (tp / (tp + fn) + tn / (tn + fp)) / 2,
    "false_positive_rate": lambda tp, fp, fn, tn: fp / (fp + tn),
    "geometric_mean": lambda tp, fp, fn, tn: np.sqrt(tp / (tp + fn) * tn / (tn + fp)),
    "jaccard": lambda tp, fp, fn, tn: tp / (tp + fp + fn),
    "matthews_corrcoef": _mcc,
    "positive_rate": lambda tp, fp, fn, tn: (tp + fp) / (tp + fp + fn + tn),
    "precision": lambda tp, fp, fn, tn: _share(tp, tp + fp, empty=np.nan),
    "recall": lambda tp, fp, fn, tn: tp / (tp + fn),
    "specificity": lambda tp, fp, fn, tn: tn / (tn + fp),
}


def fbeta(beta: float) -> Counted:
    """Return the F-measure that weighs recall ``beta`` times as much as precision.

    Parameters
    ----------
    beta : float
        Weight of the recall; 1 for the F1 score.

    Returns
    -------
    callable
        Function of true positives, false positives, false negatives and true negatives.

    Examples
    --------
    >>> float(fbeta(1)(np.array(1.0), np.array(1.0), np.array(1.0), np.array(5.0)))
    0.5
    """

    def metric(tp: Floats, fp: Floats, fn: Floats, tn: Floats) -> Floats:
        weighted = (1 + beta**2) * tp
        return weighted / (weighted + beta**2 * fn + fp)

    return metric
