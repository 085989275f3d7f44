"""Class frequencies of unlabelled rows, from the probabilities of a net."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbtorch._tasks.base import ClassificationTask
from imbtorch._tasks.labels import Labels
from imbtorch.priors import estimate_prior

__all__ = ["prior_of_unlabelled"]

Floats = NDArray[np.float64]


def prior_of_unlabelled(
    task: ClassificationTask, proba: NDArray[Any], source: Floats, sample_weight: Any
) -> Floats:
    """Estimate the class frequencies of unlabelled rows.

    Parameters
    ----------
    task : ClassificationTask
        Classes, or several labels per row.
    proba : ndarray of shape (n, n_classes) or (n, n_labels)
        Probabilities of the rows, which describe ``source``.
    source : ndarray of shape (n_classes,) or (n_labels,)
        Class frequencies, or shares of the rows that have each label.
    sample_weight : array-like of shape (n,) or None
        Weights of the rows.

    Returns
    -------
    ndarray of float64, shape (n_classes,) or (n_labels,)
        The estimate. The share of a label that every training row has, or none, stays.
    """
    if not isinstance(task, Labels):
        return estimate_prior(proba, source, sample_weight=sample_weight)
    found = source.copy()
    for label in np.flatnonzero((source > 0) & (source < 1)):
        p = proba[:, label].astype(np.float64)
        share = source[label]
        both = np.column_stack([1 - p, p]), [1 - share, share]
        found[label] = estimate_prior(*both, sample_weight=sample_weight)[1]
    return found
