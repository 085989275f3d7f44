"""Decisions of the models of folds: each decides by the threshold, and the majority counts.

Thresholds are found on out-of-fold predictions, each of which comes from a single model. The mean
of the models is less extreme than any of them, so that a threshold would keep another recall or
precision there than it promises. The median is above a threshold exactly where most of the models
are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbtorch._common.conformal import ConformalMixin

__all__ = ["by_vote", "can_vote"]

Floats = NDArray[np.float64]


def can_vote(cv: Any, estimator: Any) -> bool:
    """Return whether the models of an estimator decide one by one.

    Parameters
    ----------
    cv : object
        Parameter of the estimator that tunes decisions.
    estimator : classifier
        Fitted classifier.

    Returns
    -------
    bool
        True if ``cv`` is ``"oof"``, and the out-of-fold predictions come from single models, which
        predict new rows, too. Those of repeated folds are means already.
    """
    if not (isinstance(cv, str) and cv == "oof" and isinstance(estimator, ConformalMixin)):
        return False
    return estimator._has_fold_models and estimator._times_held_out == 1


def by_vote(estimator: Any, X: Any) -> Floats:
    """Return the median probability of the models of folds.

    Parameters
    ----------
    estimator : classifier
        Classifier that consists of the models of folds.
    X : array-like of shape (n, ...)
        Features.

    Returns
    -------
    ndarray of shape (n, n_classes) or (n, n_labels)
        Medians; those of two classes sum to 1.
    """
    return np.asarray(np.median([proba for proba, _ in estimator._calibrated(X)], axis=0))
